"""Generations inside the host.

A job takes the host's own queue lock, so it and what people start wait for each other. Below it are the look
at what the host's names mean (``models``), the generation as the host's API makes it (without its
network, so ``--api`` is not needed), and putting everything back. Written against Forge and Classic.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import importlib
import importlib.util
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stablequeue_client.shared.wire.jobs import CHOICES, DEFAULTS
from stablequeue_client.webui.host import page_build_lock
from stablequeue_client.webui.host.compat import Host, api_fields, api_form, borrow_options
from stablequeue_client.webui.host.models import HostModels, distrust_loras, loaded_models_of
from stablequeue_client.webui.host.scripts import translate_choices
from stablequeue_client.webui.host.styles import sent_styles

_WATCHED = ("sd_model_checkpoint", "forge_additional_modules", "sd_vae")
_KEPT = (*_WATCHED, "sd_checkpoint_hash")
_ROOM_MIN = 256 * 1024
"""Free bytes without which no picture can be saved."""
_ROOM_KNOWN = 64 * 1024 * 1024
"""Where there is less, a picture that could not be saved may have been larger than what is free."""
_TRY_S = 0.1


@dataclass(frozen=True)
class ObservedStep:
    """What stood in memory at a step of the sampler."""

    checkpoint: str
    modules: frozenset[str]
    loras: frozenset[str]
    hires: bool


@dataclass
class Generated:
    """What came of a generation. ``pictures``: PNG bytes with their texts. ``interrupted``: somebody stopped
    it, so they are not finished. ``error``: that it failed, and ``exception`` with what; drop it soon, since
    it holds what the host had in hand. ``meddled``: the owner chose other models meanwhile. ``unapplied``:
    paths of LoRAs of which nothing was applied. ``prepared``: the host took the whole job.
    """

    pictures: list[bytes] = field(default_factory=list)
    interrupted: bool = False
    error: str = ""
    steps: list[ObservedStep] = field(default_factory=list)
    lora_failures: int = 0
    embeddings: dict[str, str] = field(default_factory=dict)
    meddled: bool = False
    exception: Exception | None = None
    unapplied: set[str] = field(default_factory=set)
    prepared: bool = False


class GenerationHost(HostModels):
    """The host as the runner uses it. All but ``acquire``, ``interrupt``, ``progress`` and ``notice`` belong
    between ``acquire`` and ``release``."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._defaults: dict[bool, tuple[Any, list[Any]]] = {}
        self._running = False
        self._asked_to_stop = False
        self._before: dict[str, Any] = {}
        self._all_before: dict[str, Any] = {}
        self._is_script = False
        self._chosen: dict[str, Any] = {}
        self._ours: list[Any] = []
        self._applied: tuple[int, str] | None = None
        self._unapplied: set[str] = set()
        self._room_wanted: dict[str, int] = {}

    # --- taking turns -----------------------------------------------------------------------------------

    def acquire(self, give_up: Callable[[], bool]) -> bool:
        """Take the host's queue lock; False when ``give_up`` says so first. People who wait go before us."""
        from modules import call_queue

        while not give_up():
            if call_queue.queue_lock.acquire(blocking=False):
                return True
            time.sleep(_TRY_S)
        return False

    def release(self) -> None:
        from modules import call_queue

        call_queue.queue_lock.release()

    def interrupt(self) -> None:
        """Stop our own generation, and nobody else's."""
        self._asked_to_stop = True
        if self._running:
            from modules import shared

            shared.state.interrupt()

    def progress(self) -> float | None:
        """Of our generation, 0 to 1; None when none runs."""
        if not self._running:
            return None
        from modules import shared

        state = shared.state
        jobs, steps = max(state.job_count, 1), state.sampling_steps
        done = state.job_no / jobs + (state.sampling_step / steps / jobs if steps > 0 else 0.0)
        return float(min(max(done, 0.0), 1.0))

    # --- what it understands ----------------------------------------------------------------------------

    def fields(self, img2img: bool) -> frozenset[str]:
        """The fields that the host's API takes for this kind of generation."""
        return api_fields(img2img)

    def option_sections(self) -> dict[str, str]:
        """Each option with its page of the settings; those that no API may change stand under ``API``."""
        from modules import shared

        found = {}
        for key, info in shared.opts.data_labels.items():
            section = (info.section or ("",))[0] or ""
            found[key] = "API" if getattr(info, "restrict_api", False) or info.do_not_save else section
        return found

    def style_names(self) -> frozenset[str]:
        from modules import shared

        return frozenset(shared.prompt_styles.styles)

    def translate_choices(self, values: dict[str, Any], img2img: bool) -> dict[str, Any] | str:
        """``values`` with this host's places for what scripts choose from lists, or why that cannot be."""
        from modules import scripts

        values = dict(values)
        words = values.pop(CHOICES, None)
        with page_build_lock.asking_scripts():
            runner = scripts.scripts_img2img if img2img else scripts.scripts_txt2img
            return translate_choices(values, words, runner)

    # --- the generation ---------------------------------------------------------------------------------

    def generate(self, values: Mapping[str, Any], embeddings: Sequence[str]) -> Generated:
        """Make the pictures that ``values``, the JSON of the host's own API, ask for. Never raises.

        Checkpoint and settings are afterwards as their owner left them.
        """
        made = Generated()
        self._asked_to_stop = False
        values = _with_defaults(values)

        def work() -> None:
            try:
                with sent_styles(values) as named:
                    self._generate(named, embeddings, made)
            except Exception as error:
                made.error, made.exception = type(error).__name__, error
                made.pictures.clear()

        self._keep_settings(values)
        borrow_options(self._of_owner)
        try:
            if importlib.util.find_spec("modules_forge.main_thread") is not None:
                from modules_forge import main_thread

                main_thread.run_and_wait_result(work)
            else:
                work()
        finally:
            self._running = False
            made.meddled = self._put_settings_back(values)
            borrow_options(None)
            self.heal()
        return made

    def _generate(self, values: dict[str, Any], embeddings: Sequence[str], made: Generated) -> None:
        from modules import processing, shared

        img2img = bool(values.get("init_images"))
        form = api_form(img2img)(**values)
        runner, script, arguments = self._script_arguments(form, img2img)
        fields = self._processing_fields(form, img2img)
        make = processing.StableDiffusionProcessingTxt2Img
        if img2img:
            make = processing.StableDiffusionProcessingImg2Img
        if self.lora_state() != self._applied:
            distrust_loras()
        with contextlib.closing(make(sd_model=shared.sd_model, **fields)) as p:
            if img2img:
                p.init_images = [_picture(one) for one in form.init_images]
            p.is_api = True
            p.scripts = runner
            p.outpath_samples, p.outpath_grids = self._folders(img2img)
            p.script_args = tuple(arguments) if script is None else arguments
            made.prepared = True
            with _watching(self._host, made, self._unapplied, self.notice):
                shared.state.begin(job="stablequeue")
                self._running = True
                if self._asked_to_stop:
                    shared.state.interrupt()
                try:
                    processed = None if script is None else runner.run(p, *p.script_args)
                    if processed is None:
                        processed = processing.process_images(p)
                    state = shared.state
                    made.interrupted = state.interrupted or state.skipped or state.stopping_generation
                    made.embeddings = self.embeddings_in_memory(embeddings)
                finally:
                    self._running = False
                    shared.state.end()
                    shared.total_tqdm.clear()
        self._applied = None if made.lora_failures else self.lora_state()
        made.pictures = _pngs(processed)

    def _script_arguments(self, form: Any, img2img: bool) -> tuple[Any, Any, list[Any]]:
        """The scripts of this kind of generation, the selected one, and the arguments of all, as the host's
        API makes them."""
        from modules import scripts
        from modules.api.api import Api

        api = Api.__new__(Api)  # only its functions: the whole one would add routes
        with page_build_lock.asking_scripts():
            runner = scripts.scripts_img2img if img2img else scripts.scripts_txt2img
            kept = self._defaults.get(img2img)
            if kept is None or kept[0] is not runner:
                if not runner.scripts:
                    runner.initialize_scripts(img2img)
                kept = self._defaults[img2img] = (runner, api.init_default_script_args(runner))
        script, index = api.get_selectable_script(form.script_name, runner)
        return runner, script, api.init_script_args(form, kept[1], script, index, runner)

    def _processing_fields(self, form: Any, img2img: bool) -> dict[str, Any]:
        """The form's values for the host's own object, with the sampler that the host really has."""
        from modules import sd_samplers

        fields = dict(vars(form))
        for name in ("script_name", "script_args", "alwayson_scripts", "infotext", "send_images"):
            fields.pop(name, None)
        fields.pop("save_images", None)
        fields.pop("include_init_images", None)
        sampler = fields.get("sampler_name") or fields.get("sampler_index")
        if hasattr(sd_samplers, "get_sampler_and_scheduler"):
            sampler, schedule = sd_samplers.get_sampler_and_scheduler(sampler, fields.get("scheduler"))
            if not fields.get("scheduler") and schedule != "Automatic":
                fields["scheduler"] = schedule
        if sampler not in sd_samplers.all_samplers_map:
            raise LookupError(f"The sampler {sampler} is not here.")
        fields.update(
            sampler_name=sampler, sampler_index=None, do_not_save_samples=False, do_not_save_grid=False
        )
        if img2img and fields.get("mask"):
            fields["mask"] = _picture(fields["mask"])
        return fields

    def _folders(self, img2img: bool) -> tuple[str, str]:
        """Return where the page saves pictures and grids."""
        from modules import shared

        kind, opts = ("img2img" if img2img else "txt2img"), shared.opts
        samples = opts.outdir_samples or getattr(opts, f"outdir_{kind}_samples")
        return samples, opts.outdir_grids or getattr(opts, f"outdir_{kind}_grids")

    def output_folders(self) -> list[tuple[str, str]]:
        """(path, setting) of the folders that pictures and grids are saved in."""
        from modules import shared

        found = {}
        for kind in ("txt2img", "img2img"):
            for what in ("samples", "grids"):
                for name in (f"outdir_{what}", f"outdir_{kind}_{what}"):
                    path = shared.opts.data.get(name) or self._host.option_default(name)
                    if path:
                        found[os.path.abspath(str(path))] = name
                        break
        return list(found.items())

    def trouble(self, *, failed: bool) -> OSError | None:
        """Return what keeps every picture from being saved, with the folder; None when nothing does.
        ``failed``: saving failed before, so that it is tried, and there must be more room than then."""
        for path, _ in self.output_folders():
            try:
                folder = _existing(path)
                if not os.access(folder, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
                free = shutil.disk_usage(folder).free
                wanted = _ROOM_MIN
                if failed:
                    wanted = self._room_wanted.setdefault(path, free + _ROOM_MIN if free < _ROOM_KNOWN else 0)
                    with tempfile.TemporaryFile(dir=folder) as file:
                        file.write(bytes(_ROOM_MIN))
                if free < wanted:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            except OSError as error:
                return OSError(error.errno, error.strerror, path)
        self._room_wanted.clear()
        return None

    # --- settings ---------------------------------------------------------------------------------------

    def notice(self) -> None:
        """To be called now and then while it generates: what its owner chose meanwhile is kept."""
        from modules import shared

        if not self._running:
            return
        for key in {*_WATCHED, *(key for key, _ in self._ours)} & shared.opts.data.keys():
            if key in _WATCHED and key not in self._before:
                continue  # the host itself chooses one when it has none
            value = shared.opts.data[key]
            if not any(self._same(key, value, one) for one in self._allowed(key)):
                self._chosen[key] = copy.deepcopy(value)

    def _allowed(self, key: str) -> list[Any]:
        """The values that are not its owner's: those of the job, and what was there before."""
        ours = [value for of_key, value in self._ours if of_key == key]
        return [self._before[key] if key in self._before else self._host.option_default(key), *ours]

    def _same(self, key: str, one: Any, other: Any) -> bool:
        if one == other or str(one) == str(other):  # a host may keep a number as what its setting is
            return True
        if key == "sd_model_checkpoint":
            from modules import sd_models

            infos = [sd_models.get_closet_checkpoint_match(name) for name in (one, other)]
            return infos[0] is not None and infos[0] is infos[1]
        if key == "forge_additional_modules":
            return sorted(map(os.path.basename, one or [])) == sorted(map(os.path.basename, other or []))
        return False

    def _keep_settings(self, values: Mapping[str, Any]) -> None:
        from modules import shared

        settings = values.get("override_settings") or {}
        data = shared.opts.data
        self._before = {key: copy.deepcopy(data[key]) for key in (*settings, *_KEPT) if key in data}
        self._all_before, self._is_script = dict(data), bool(values.get("script_name"))
        self._chosen = {}
        self._ours = list(settings.items())
        for name in ("hr_checkpoint_name", "refiner_checkpoint"):
            if values.get(name):
                self._ours.append(("sd_model_checkpoint", values[name]))
        self._ours.append(("forge_additional_modules", values.get("hr_additional_modules") or []))

    def _of_owner(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """All options as they were before the job, but for those that the owner changed since. What a script
        sets while it runs cannot be told from that."""
        found = dict(self._all_before)
        if self._is_script:
            return found
        for key, value in dict(data).items():
            if key == "sd_checkpoint_hash" or (key in found and found[key] == value):
                continue
            ours = [one for of_key, one in self._ours if of_key == key]
            before = found[key] if key in found else self._host.option_default(key)
            if not any(self._same(key, value, one) for one in (before, *ours)):
                found[key] = value
        return {**found, **self._chosen}

    def _put_settings_back(self, values: Mapping[str, Any]) -> bool:
        """All as before, but for what the owner chose meanwhile; whether that concerns models.

        The hosts leave a setting that does not stand in config.json as the job had it.
        """
        from modules import shared

        data = shared.opts.data
        chosen = {} if values.get("script_name") else dict(self._chosen)
        wanted = {**self._before, **chosen}
        for key in values.get("override_settings") or {}:
            if key not in self._before and key in data:
                del data[key]
        for key, value in wanted.items():
            if key not in data or data[key] != value:
                data[key] = value
        if self._host.is_forge:
            self._select_model()
        return not chosen.keys().isdisjoint(_WATCHED)

    def _select_model(self) -> None:
        """Forge loads what stands in its loading parameters, not what the options say."""
        from modules import sd_models, shared
        from modules_forge import main_entry

        parameters = sd_models.model_data.forge_loading_parameters
        modules = parameters.get("additional_modules") or []
        same = parameters.get("checkpoint_info") is sd_models.select_checkpoint()
        if not same or sorted(modules) != sorted(shared.opts.data.get("forge_additional_modules") or []):
            main_entry.refresh_model_loading_parameters()


# --- parts ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _watching(host: Host, made: Generated, unapplied: set[str], look: Callable[[], None]) -> Iterator[None]:
    """Note what stands in memory at each step of the sampler, and whether LoRAs were left out or did nothing
    (``unapplied``: paths, as far as known from before: a host that has them in memory applies them once).
    ``look`` is called at each step too."""
    from modules import script_callbacks

    networks: Any = sys.modules.get("networks")
    applied: frozenset[str] = frozenset()

    def at_step(params: Any) -> None:
        look()
        memory = loaded_models_of(host)
        hires = bool(getattr(getattr(params.denoiser, "p", None), "is_hr_pass", False))
        seen = ObservedStep(memory.checkpoint, memory.modules, applied, hires)
        if seen not in made.steps[-4:]:
            made.steps.append(seen)

    def load_lora(model: Any, clip: Any, lora: Any, *arguments: Any, **named: Any) -> Any:
        answer = apply(model, clip, lora, *arguments, **named)
        path = named.get("filename") or (arguments[2] if len(arguments) > 2 else "")
        changed = answer[0] is not model or answer[1] is not clip
        (unapplied.discard if changed else unapplied.add)(str(path))
        return answer

    def load_networks(*arguments: Any, **named: Any) -> Any:
        nonlocal applied
        applied = frozenset()
        try:
            answer = load(*arguments, **named)
        except Exception:
            made.lora_failures += 1
            distrust_loras()
            raise
        loaded = networks.loaded_networks
        applied = frozenset(str(item.network_on_disk.filename) for item in loaded)
        made.unapplied = set(applied & unapplied)
        if len(loaded) < len(set(arguments[0] if arguments else named.get("names", ()))):
            made.lora_failures += 1
        return answer

    load: Any = getattr(networks, "load_networks", None)
    apply: Any = getattr(networks, "load_lora_for_models", None)
    script_callbacks.on_cfg_denoiser(at_step)
    if networks is not None:
        networks.load_networks = load_networks
        if apply is not None:
            networks.load_lora_for_models = load_lora
    try:
        yield
    finally:
        if networks is not None:
            networks.load_networks = load
            if apply is not None:
                networks.load_lora_for_models = apply
        script_callbacks.remove_callbacks_for_function(at_step)


def _existing(path: str) -> str:
    """The folder, or the nearest one above it that is there: the hosts make what is missing. Raises
    NotADirectoryError for a file or a broken link in the way."""
    while not os.path.lexists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return path


def _with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` whose override settings also put right what stood at its default where the job was made."""
    from modules import shared

    found = dict(values)
    now, labels = shared.opts.data, shared.opts.data_labels
    defaults = found.pop(DEFAULTS, None) or {}
    differing = {key: value for key, value in defaults.items() if now.get(key, labels[key].default) != value}
    if differing:
        found["override_settings"] = {**differing, **(found.get("override_settings") or {})}
    return found


def _picture(text: Any) -> Any:
    """A PIL image of base64, as the host's API reads it."""
    from modules.api.api import decode_base64_to_image

    return decode_base64_to_image(str(text))


def _pngs(processed: Any) -> list[bytes]:
    """The pictures with their generation texts, as the hosts write them into a PNG."""
    from PIL import Image  # type: ignore[import-not-found,unused-ignore]

    found = []
    for number, image in enumerate(processed.images):
        if not isinstance(image, Image.Image):
            image = Image.fromarray(image)
        texts = processed.infotexts
        text = image.info.get("parameters") or (texts[number] if number < len(texts) else "")
        found.append(_png(image, text))
    return found


def _png(image: Any, text: str) -> bytes:
    from PIL import PngImagePlugin  # type: ignore[import-not-found,unused-ignore]

    info = PngImagePlugin.PngInfo()
    if text:
        info.add_text("parameters", text)
    if image.mode not in ("RGB", "RGBA", "L", "I;16"):
        image = image.convert("RGBA" if "A" in image.mode else "RGB")
    out = io.BytesIO()
    image.save(out, format="PNG", pnginfo=info)
    return out.getvalue()
