"""The host as the rest of the extension sees it. Every difference between WebUIs stands in this file.

Written against the sources of Forge (gradio 4.40, pydantic 2), Forge Classic and A1111 (gradio 3.41,
pydantic 1). Host modules are imported inside functions, at the time of the call.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from stablequeue_client import __version__
from stablequeue_client.webui.host.guarded import guarded, log

if TYPE_CHECKING:  # this file is loaded in the WebUI's main thread: nothing heavy
    from stablequeue_client.shared.model_files.model_file import Kind
    from stablequeue_client.shared.wire.inventory import ServerCapabilities, WorksForOthers

Family = Literal["forge", "classic", "a1111"]
Component = Literal["text", "lines", "checkbox", "number", "radio"]
SECTION = ("stablequeue", "StableQueue")
"""Our page of the host's settings."""
_ENGINES = {
    "StableDiffusion": "sd1",
    "StableDiffusion2": "sd2",
    "StableDiffusionXL": "sdxl",
    "StableDiffusionXLRefiner": "sdxl_refiner",
    "StableDiffusion3": "sd3",
    "Flux": "flux",
    "Chroma": "chroma",
}
"""Forge's classes of loadable models, as the wire names architectures."""
_NOT_CHOSEN = ("", "None", "Automatic", None)
_of_owner: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Host:
    """The WebUI this process is. Nothing is remembered: each method asks the host anew."""

    family: Family
    gradio_major: int

    @property
    def is_forge(self) -> bool:
        return self.family == "forge"

    @property
    def version(self) -> str:
        """As the host prints it. May run git: not for the main thread."""
        from modules import launch_utils

        return str(launch_utils.git_tag())

    def data_dir(self) -> str:
        """The folder of the WebUI's config.json (``--data-dir``), absolute."""
        from modules.paths_internal import data_path

        return os.path.abspath(str(data_path))

    def model_folders(self) -> tuple[tuple[Kind, str], ...]:
        """(kind, absolute folder) of what this WebUI really reads; folders that do not exist are left out.

        ``--ckpt-dir``, ``--vae-dir`` and ``--text-encoder-dir`` add to the folders below ``models``,
        ``--lora-dir`` and ``--embeddings-dir`` replace theirs; ``--models-dir``, ``--model-ref`` and
        ``--data-dir`` move all of them.
        """
        found = [(kind, os.path.abspath(path)) for kind, path in self._named_folders() if path]
        return tuple(dict.fromkeys((kind, path) for kind, path in found if os.path.isdir(path)))

    def hash_cache_dir(self) -> str | None:
        """The folder of the host's diskcache (sections ``hashes``, ``hashes-addnet``), None without one."""
        from modules import cache

        folder = getattr(cache, "cache_dir", None)  # A1111 before 1.10 kept one JSON file
        return os.path.abspath(folder) if isinstance(folder, str) and os.path.isdir(folder) else None

    def option(self, name: str, default: Any = None) -> Any:
        """The value that its owner gave an option of the host, ours or its own; ``default`` for no option."""
        from modules import shared

        options = owner_options()
        if name in options:
            return options[name]
        label = shared.opts.data_labels.get(name)
        return default if label is None else label.default

    def set_option(self, name: str, value: Any) -> bool:
        """Change an option and save config.json; False when settings are frozen or it is no option."""
        from modules import shared

        if self.options_are_readonly() or name not in shared.opts.data_labels:
            return False
        shared.opts.set(name, value)
        shared.opts.save(shared.config_filename)
        return True

    def option_default(self, name: str) -> Any:
        """Return what an option has unless its owner set it; None when no extension that is installed offers
        it."""
        from modules import shared

        label = shared.opts.data_labels.get(name)
        return None if label is None else label.default

    def drop_options(self, names: Iterable[str]) -> None:
        """Remove options from memory and from config.json (only from memory when settings are frozen)."""
        from modules import shared

        dropped = [name for name in names if name in shared.opts.data]
        for name in dropped:
            del shared.opts.data[name]
        if dropped and not self.options_are_readonly():
            shared.opts.save(shared.config_filename)

    def options_are_readonly(self) -> bool:
        """Return whether the WebUI was started with ``--freeze-settings``."""
        from modules import shared

        return bool(shared.cmd_opts.freeze_settings)

    def known_names(self, kind: Kind) -> frozenset[str]:
        """Every name that the host would accept now for this kind, exactly as it must be written.

        Checkpoints: all aliases (title, name, short hash, full SHA256...). LoRAs: file names and those
        aliases that are not shared. VAEs and text encoders: file names.
        """
        if kind == "checkpoint":
            from modules import sd_models

            return frozenset(sd_models.checkpoint_aliases)
        if kind == "lora":
            return frozenset(_lora_names())
        if kind == "embedding":
            return frozenset(self._embeddings())
        return frozenset(self._modules(kind))

    def listed_file(self, kind: Kind, name: str) -> str | None:
        """The file behind one of ``known_names``; it may be gone since. None: none is known."""
        if kind == "checkpoint":
            from modules import sd_models

            entry = sd_models.checkpoint_aliases.get(name)
            return None if entry is None else str(entry.filename)
        if kind == "lora":
            return lora_file(name)
        return None if kind == "embedding" else self._modules(kind).get(name)

    def current_checkpoint(self) -> str:
        """The checkpoint that the WebUI would use, as its option says it; empty when there is none."""
        from modules import sd_models

        chosen = self.option("sd_model_checkpoint")
        if chosen:
            return str(chosen)
        # Nothing was chosen yet: both families load the first one they listed.
        first = next(iter(list(sd_models.checkpoints_list.values())), None)
        return "" if first is None else str(first.title)

    def current_modules(self) -> list[str]:
        """File names of the chosen VAE and text encoders; empty when the host chooses by itself."""
        if self.is_forge:
            return [os.path.basename(path) for path in self.option("forge_additional_modules") or []]
        vae = self.option("sd_vae")
        return [] if vae in _NOT_CHOSEN else [str(vae)]

    def is_generating(self) -> bool:
        """Return whether a job (from the page or the API) runs now."""
        from modules import shared

        return bool(shared.state.job) or shared.state.job_count > 0

    def capabilities(self, works_for_others: WorksForOthers) -> ServerCapabilities:
        """Return what this WebUI can do. Complete once its page is built.

        May take a second: not for the main thread.
        """
        from modules import shared

        from stablequeue_client.shared.wire.inventory import ServerCapabilities

        gpu, memory = _graphics()
        selectable, alwayson = _script_titles()
        return ServerCapabilities(
            webui=self.family,
            webui_version=_or_nothing(lambda: self.version, ""),
            extension_version=__version__,
            scripts=selectable,
            alwayson_scripts=alwayson,
            samplers=self.sampler_names(),
            schedulers=self._schedulers(),
            upscalers=sorted({item.name for item in shared.sd_upscalers} - {"None"}),
            controlnet_models=_or_nothing(_controlnet_models, []),
            architectures=self._architectures(),
            gpu=gpu,
            gpu_memory_mb=memory,
            works_for_others=works_for_others,
            fields=_or_nothing(lambda: sorted(api_fields(False) | api_fields(True)), []),
        )

    def extension_dirs(self) -> list[str]:
        """Folders of all enabled extensions, ours among them."""
        from modules import extensions

        return [os.path.abspath(item.path) for item in extensions.active()]

    def styles(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """(prompt, negative prompt) of the styles of these names; unknown names are left out."""
        from modules import shared

        found = (shared.prompt_styles.styles.get(name) for name in names)
        # The dividers between files of styles are styles without prompts.
        return [(style.prompt or "", style.negative_prompt or "") for style in found if style is not None]

    def web_addresses(self) -> list[str]:
        """The URLs under which the running WebUI says it answers (local, then shared); empty before that."""
        from modules import shared

        names = ("local_url", "share_url")  # set by Gradio once it answers
        found = (getattr(shared.demo, name, None) for name in names)
        return [str(url).rstrip("/") for url in found if url]

    def js(self, event_js: str) -> dict[str, str]:
        """The keyword that gives a Gradio event its JavaScript: ``button.click(..., **host.js("..."))``."""
        return {"js" if self.gradio_major >= 4 else "_js": event_js}

    def block_path(self, demo: Any, path: str) -> None:
        """Forbid Gradio's ``/file=`` to serve ``path`` and all below it."""
        if demo is not None:
            demo.blocked_paths = [*(demo.blocked_paths or []), path]

    def add_option(
        self,
        name: str,
        default: Any,
        label: str,
        help: str,  # noqa: A002 - the word settings use
        component: Component = "text",
        choices: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Add an option to the page of the host's settings. Call it from ``on_ui_settings``. ``choices``:
        (plain words, value)."""
        from modules import shared

        made, arguments = _component(component, choices)
        info = shared.OptionInfo(default, label, made, arguments, section=SECTION).info(help)
        shared.opts.add_option(name, info)

    def on_after_component(self, callback: Callable[..., None], name: str) -> None:
        """``callback(component, **kwargs)`` after each component of the host's page was made."""
        _give("after_component", callback, name)

    def on_ui_tabs(self, callback: Callable[[], Sequence[tuple[Any, str, str]]], name: str) -> None:
        """``callback() -> [(Blocks, label, id)]`` while the page is built."""
        _give("ui_tabs", callback, name)

    def on_ui_settings(self, callback: Callable[[], None], name: str) -> None:
        """``callback()`` when options are to be added."""
        _give("ui_settings", callback, name)

    def on_app_started(self, callback: Callable[[Any, Any], None], name: str) -> None:
        """``callback(demo, app)`` with each new FastAPI app; ``demo`` is None under ``--nowebui``."""
        _give("app_started", callback, name)

    def _named_folders(self) -> Iterator[tuple[Kind, str | None]]:
        """Return what the command line and the defaults name, whether it exists or not."""
        from modules import paths_internal, sd_models, shared

        given, models = shared.cmd_opts, paths_internal.models_path
        yield "checkpoint", sd_models.model_path
        yield "checkpoint", given.ckpt_dir
        # The option comes from the LoRA extension, which can be switched off.
        yield "lora", getattr(given, "lora_dir", None) or os.path.join(models, "Lora")
        yield "lora", getattr(given, "lyco_dir_backcompat", None)  # A1111 reads it as well
        yield "vae", os.path.join(models, "VAE")
        yield "vae", given.vae_dir
        if self.is_forge:
            yield "text_encoder", os.path.join(models, "text_encoder")
            yield "text_encoder", getattr(given, "text_encoder_dir", None)
        yield "embedding", given.embeddings_dir

    def _embeddings(self) -> Iterable[str]:
        if self.is_forge:
            from modules.ui_extra_networks_textual_inversion import embedding_db
        else:
            from modules.sd_hijack import model_hijack

            embedding_db = model_hijack.embedding_db
        # Skipped ones do not fit the loaded checkpoint; with another one they are accepted.
        return {*embedding_db.word_embeddings, *embedding_db.skipped_embeddings}

    def _modules(self, kind: Kind) -> dict[str, str]:
        """Name -> file of the VAEs, or on Forge of everything that can be chosen beside a checkpoint."""
        if self.is_forge:
            from modules_forge import main_entry

            return dict(main_entry.module_list)
        if kind == "vae":
            from modules import sd_vae

            return dict(sd_vae.vae_dict)
        return {}

    def sampler_names(self) -> list[str]:
        """As a generation names them; with the schedule in the name where the host has no field for it."""
        from modules import sd_samplers

        return sorted({item.name for item in sd_samplers.all_samplers})

    def _schedulers(self) -> list[str]:
        if importlib.util.find_spec("modules.sd_schedulers") is None:
            return []  # joined to the samplers' names
        from modules import sd_schedulers

        return sorted({item.label for item in sd_schedulers.schedulers})

    def _architectures(self) -> list[str]:
        if not self.is_forge:
            return ["sd1", "sd2", "sdxl"]
        loader = sys.modules.get("backend.loader")
        engines = (item.__name__ for item in getattr(loader, "possible_models", ()))
        return sorted({_ENGINES[name] for name in engines if name in _ENGINES})


def detect() -> Host:
    """The host of this process."""
    import gradio

    family: Family = "a1111"
    if importlib.util.find_spec("modules_forge") is not None:
        # Forge's own row of checkpoint and modules is what tells it from Classic.
        has_entry = importlib.util.find_spec("modules_forge.main_entry") is not None
        family = "forge" if has_entry else "classic"
    return Host(family=family, gradio_major=int(gradio.__version__.split(".")[0]))


def borrow_options(of_owner: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None) -> None:
    """A job of ours has options at its own values, in the one place from which everybody reads them, for the
    time it runs. ``of_owner``: what stands there -> what the owner chose; None: the job has ended."""
    global _of_owner
    from modules import shared

    _of_owner = of_owner
    if of_owner is None:
        vars(shared.opts).pop("save", None)
    else:  # around the host's own rule for setting what it has no option of
        object.__setattr__(shared.opts, "save", _save_for_owner)


def _save_for_owner(filename: str) -> None:
    """Write config.json as its owner has it: hosts save all options on the occasion of any."""
    from modules import shared

    host_saves = type(shared.opts).save
    try:
        owned = types.SimpleNamespace(data=dict(owner_options()), data_labels=shared.opts.data_labels)
        host_saves(owned, filename)
    except AttributeError:  # a host that needs more of its options than these
        log.exception("StableQueue: settings were saved while a job had some at its own values.")
        host_saves(shared.opts, filename)


def owner_options() -> Mapping[str, Any]:
    """Return every option that has a value, as its owner set it. From any thread."""
    from modules import shared

    of_owner, data = _of_owner, shared.opts.data
    found: Mapping[str, Any] = data if of_owner is None else of_owner(data)
    return found


def on_before_ui(callback: Callable[[], None], name: str) -> None:
    """``callback()`` before each page is built, in the host's own thread, before all other callbacks."""
    _give("before_ui", callback, name)


def on_model_loaded(callback: Callable[[Any, list[str]], None], name: str) -> None:
    """``callback(model, files)`` after the host loaded a checkpoint, with the files it was read from."""

    def loaded(sd_model: Any) -> None:
        files = [str(getattr(sd_model, "filename", "") or "")]
        sd_models = sys.modules.get("modules.sd_models")
        data = getattr(sd_models, "model_data", None)
        files += (getattr(data, "forge_loading_parameters", None) or {}).get("additional_modules") or []
        callback(sd_model, [file for file in files if file])

    _give("model_loaded", loaded, name)


def _component(kind: Component, choices: Sequence[tuple[str, str]]) -> tuple[Any, dict[str, Any] | None]:
    """The Gradio component of an option, and what it is given."""
    import gradio as gr

    if kind == "lines":
        return gr.Textbox, {"lines": 3, "max_lines": 12}
    if kind == "radio":
        return gr.Radio, {"choices": list(choices)}
    if kind == "number":
        return gr.Number, {"precision": 0, "minimum": 0}
    return gr.Textbox if kind == "text" else gr.Checkbox, None


def _give(category: str, callback: Callable[..., Any], name: str) -> None:
    """Hand a guarded callback to the host, as its ``on_<category>`` does, but with our file named.

    Without it the host looks for the file in the whole stack by ``inspect``, for 50-250 ms of its start.
    """
    from modules import script_callbacks

    safe = guarded(name)(callback)
    callbacks = getattr(script_callbacks, "callback_map", {}).get(f"callbacks_{category}")
    add = getattr(script_callbacks, "add_callback", None)
    if callbacks is None or add is None:
        getattr(script_callbacks, f"on_{category}")(safe)
    elif "filename" in inspect.signature(add).parameters:  # Forge, A1111 1.10
        add(callbacks, safe, name=name, category=category, filename=__file__)
    else:
        callbacks.append(script_callbacks.ScriptCallback(__file__, safe))


def _lora_names() -> Iterator[str]:
    """As ``load_networks`` of the LoRA extension resolves a name: by alias, unless two files share it."""
    networks = sys.modules.get("networks")  # the extension's own name for it; absent when switched off
    if networks is None:
        return
    shared = networks.forbidden_network_aliases
    # Copies: the extension may list its folder again at any time.
    yield from (name for name in list(networks.available_network_aliases) if name.lower() not in shared)
    yield from (name for name in list(networks.available_networks) if name.lower() in shared)


def lora_file(name: str) -> str | None:
    networks = sys.modules.get("networks")
    if networks is None:
        return None
    table = networks.available_network_aliases
    if name.lower() in networks.forbidden_network_aliases:
        table = networks.available_networks
    entry = table.get(name)
    return None if entry is None else str(entry.filename)


def _script_titles() -> tuple[list[str], list[str]]:
    """(selectable, always on) of txt2img and img2img, as the page and the API name them."""
    from modules import scripts

    runners = [runner for runner in (scripts.scripts_txt2img, scripts.scripts_img2img) if runner is not None]
    selectable = {_title(script) for runner in runners for script in runner.selectable_scripts}
    alwayson = {_title(script) for runner in runners for script in runner.alwayson_scripts}
    return sorted(selectable - {""}), sorted(alwayson - {""})


def _title(script: Any) -> str:
    return str(_or_nothing(script.title, ""))


def _controlnet_models() -> list[str]:
    state = sys.modules.get("lib_controlnet.global_state")
    return [] if state is None else sorted(set(state.get_all_controlnet_names()) - {"None"})


def _graphics() -> tuple[str, int | None]:
    """Name and memory in MiB of the first GPU; ("", None) where torch sees none."""
    torch = sys.modules.get("torch")
    if torch is None or not _or_nothing(torch.cuda.is_available, False):
        return "", None
    about = torch.cuda.get_device_properties(0)
    return str(about.name), int(about.total_memory) >> 20


def _or_nothing(ask: Callable[[], Any], nothing: Any) -> Any:
    """Return what another extension answers, or ``nothing`` when it fails: its fault is not ours."""
    try:
        return ask()
    except Exception:
        log.debug("StableQueue: a part of the WebUI did not answer.", exc_info=True)
        return nothing


def api_form(img2img: bool) -> Any:
    """The form of the host's API for this kind of generation, a pydantic model."""
    models = importlib.import_module("modules.api.models")
    name = "StableDiffusionImg2ImgProcessingAPI" if img2img else "StableDiffusionTxt2ImgProcessingAPI"
    return getattr(models, name)


def api_fields(img2img: bool) -> frozenset[str]:
    """The fields that the host's API takes for this kind of generation."""
    form = api_form(img2img)
    named = getattr(form, "model_fields", None) or form.__fields__
    aliases = {getattr(item, "alias", None) or name for name, item in named.items()}
    return frozenset(aliases | set(named))
