"""The Queue button's share of the host: what Generate would take, as the JSON of the host's own API.

The host's own function is what turns the
inputs of Generate into a generation; it is run here with a class of generations that only notes what it is
given. So styles, masks, modes and what the host adds some day come out as they do for Generate.
"""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stablequeue_client.shared.errors import UsageError
from stablequeue_client.shared.generation.sampler_names import PLAIN, plain_means_another
from stablequeue_client.shared.wire.jobs import CHOICES, DEFAULTS
from stablequeue_client.webui.host import payload_json
from stablequeue_client.webui.host.compat import Host, owner_options

TABS = ("txt2img", "img2img")
_BATCH_MODE = 5
_NOT_THEIRS = frozenset({"sd_model", "outpath_samples", "outpath_grids"})
_SETTINGS = ("CLIP_stop_at_last_layers", "sd_lora")
"""Besides the checkpoint, its modules, and every option that the host itself writes under a picture."""
_FORMS = {"txt2img": "StableDiffusionProcessingTxt2Img", "img2img": "StableDiffusionProcessingImg2Img"}
_MAKERS = {"txt2img": ("txt2img_create_processing",), "img2img": ("img2img_function", "img2img")}


class CannotQueueError(UsageError):
    """This generation cannot be queued."""

    code = "cannot_be_queued"
    remedy_text = ""


@dataclass(frozen=True)
class PageInput:
    """One input of Generate. ``default``: its value as its script made it; ``choices``: for an input whose
    value is the place of a choice, what can be chosen; ``is_switch``: it switches on what is off."""

    default: Any = None
    choices: tuple[Any, ...] = ()
    is_switch: bool = False

    def is_default(self, value: Any) -> bool:
        if self.choices and isinstance(value, int) and 0 <= value < len(self.choices):
            value = self.choices[value]
        return payload_json.same(value, self.default)


@dataclass(frozen=True)
class CapturedPage:
    """What stood on the page when somebody pressed Queue, and the settings of that moment."""

    tab: str
    values: Sequence[Any]
    inputs: Sequence[PageInput]
    settings: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What else a picture depends on, and stood at the host's default."""


@dataclass(frozen=True)
class ClickEvent:
    """What a click on a button does: ``fn`` is None for one that runs in the browser alone."""

    fn: Callable[..., Any] | None
    inputs: list[Any]
    outputs: list[Any]


def clicks_of(root: Any, button: Any) -> list[ClickEvent]:
    """The events of ``button``'s click on the page ``root``, in order."""
    if isinstance(getattr(root, "fns", None), dict):  # gradio 4
        return [
            ClickEvent(one.fn, list(one.inputs), list(one.outputs))
            for one in root.fns.values()
            if (button._id, "click") in [tuple(target) for target in one.targets]
        ]
    found = []
    for number, one in enumerate(root.dependencies):
        if button._id in one["targets"] and one["trigger"] == "click":
            fn = root.fns[number].fn if one["backend_fn"] else None
            inputs, outputs = ([root.blocks[key] for key in one[side]] for side in ("inputs", "outputs"))
            found.append(ClickEvent(fn, inputs, outputs))
    return found


def generate_click(events: Sequence[ClickEvent], tab: str) -> ClickEvent | None:
    """The event that generates, of all that are bound to Generate: the one that comes to the host's own
    function. Another extension may bind a larger one; only where none does, the largest counts."""
    largest = max(events, key=lambda event: len(event.inputs), default=None)
    return next((one for one in events if _comes_to(one.fn, f"modules.{tab}")), largest)


_DEPTH = 6


def _comes_to(fn: Any, module: str, depth: int = _DEPTH) -> bool:
    """Return whether a function is one of ``module``, or was made around one: the hosts wrap theirs."""
    fn = getattr(fn, "__func__", fn)
    if getattr(fn, "__module__", None) == module:
        return True
    held = [getattr(fn, "__wrapped__", None), getattr(fn, "func", None)]
    for cell in getattr(fn, "__closure__", None) or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # empty still
            continue
    return depth > 0 and any(callable(one) and _comes_to(one, module, depth - 1) for one in held)


def input_of(component: Any, default: Any) -> PageInput:
    """``default``: the component's value when it was made, before the person's own defaults."""
    choices: tuple[Any, ...] = ()
    if getattr(component, "type", None) == "index":
        listed = getattr(component, "choices", None) or ()
        choices = tuple(one[1] if isinstance(one, tuple) else one for one in listed)
    return PageInput(default, choices, default is False and _is_switch(component))


def _is_switch(component: Any) -> bool:
    """Return whether it is the box "Enable ..." of a script, or the head of its part of the page."""
    kind, label = type(component).__name__, str(getattr(component, "label", "") or "")
    return kind == "InputAccordion" or (kind == "Checkbox" and label.lower().startswith("enable"))


def mode_by_script(host: Host) -> bool:
    """Return whether the page's script has to say which of img2img's tabs is open: only Forge keeps it
    itself."""
    return not host.is_forge


@dataclass(frozen=True)
class GenerationCapture:
    """``capture`` is for the event of the button; ``payload`` takes its time and is for a thread of ours."""

    host: Host

    def capture(self, tab: str, values: Sequence[Any], inputs: Sequence[PageInput]) -> CapturedPage:
        """Note what stands on the page. Returns within a millisecond."""
        return CapturedPage(tab, values, inputs, self._settings(), self._defaults())

    def payload(self, page: CapturedPage) -> dict[str, Any]:
        """The JSON of the host's own API. Raises CannotQueueError."""
        if page.tab == "img2img" and page.values[1] == _BATCH_MODE:
            raise CannotQueueError("A batch of files from a folder cannot be queued.", remedy="Use Generate.")
        fields, arguments = self._generation(page)
        scripts = self._scripts(page, arguments)
        settings = {**page.settings, **(fields.pop("override_settings", None) or {})}
        # Their words, not their names: another server has others, and LoRAs are named in them too.
        styles = self.host.styles(fields.pop("styles", None) or ())
        payload = {
            **{
                name: value for name, value in fields.items() if name not in _NOT_THEIRS and value is not None
            },
            **scripts,
            "override_settings": settings,
            DEFAULTS: {name: value for name, value in page.defaults.items() if name not in settings},
        }
        if styles:
            payload["styles"] = styles
        if page.tab == "img2img" and not _given(payload.get("init_images")):
            raise CannotQueueError("There is no picture to start from.", remedy="Choose one, then queue it.")
        if "scheduler" not in payload and plain_means_another(str(payload.get("sampler_name"))):
            payload["scheduler"] = PLAIN
        found: dict[str, Any] = payload_json.as_json(payload)
        return found

    # --- parts -------------------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        """The options that a picture depends on: models, and what differs from the host's defaults."""
        from modules import shared

        data, labels = owner_options(), shared.opts.data_labels
        found: dict[str, Any] = {}
        for key, info in labels.items():
            if (_is_marked(info) or key in _SETTINGS) and key in data and data[key] != info.default:
                found[key] = data[key]
        if "CLIP_stop_at_last_layers" in labels:
            found["CLIP_stop_at_last_layers"] = self.host.option("CLIP_stop_at_last_layers")
        found["sd_model_checkpoint"] = self.host.current_checkpoint()
        if self.host.is_forge:
            found.pop("sd_vae", None)
            found["forge_additional_modules"] = self.host.current_modules()
        else:
            found["sd_vae"] = self.host.option("sd_vae", "Automatic")
        return found

    def _defaults(self) -> dict[str, Any]:
        """The marked options that stand at the host's default: elsewhere, or later here, they may not."""
        from modules import shared

        data = owner_options()
        return {
            key: info.default
            for key, info in shared.opts.data_labels.items()
            if _is_marked(info)
            and isinstance(info.default, (bool, int, float, str))
            and data.get(key, info.default) == info.default
        }

    def _generation(self, page: CapturedPage) -> tuple[dict[str, Any], list[Any]]:
        """(what the host would make the generation of, the arguments of all scripts)."""
        module = importlib.import_module(f"modules.{page.tab}")
        makers = (getattr(module, name, None) for name in _MAKERS[page.tab])
        maker = next((one for one in makers if one is not None), None)
        if maker is None:
            raise CannotQueueError("This WebUI makes its generations in an unknown way.")
        maker = inspect.unwrap(maker)
        names = [
            one.name
            for one in inspect.signature(maker).parameters.values()
            if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ]
        values = list(page.values)
        if "request" in names:
            values.insert(names.index("request"), types.SimpleNamespace(username=None))
        return _noted(maker, values, _FORMS[page.tab]), values[len(names) :]

    def _scripts(self, page: CapturedPage, arguments: list[Any]) -> dict[str, Any]:
        """Scripts by their titles; those that only fill in the generation's fields, as these fields."""
        from modules import scripts

        runner = scripts.scripts_img2img if page.tab == "img2img" else scripts.scripts_txt2img
        inputs = list(page.inputs)[len(page.inputs) - len(arguments) :]
        found: dict[str, Any] = {}
        alwayson: dict[str, Any] = {}
        words: dict[str, Any] = {}
        for script in runner.alwayson_scripts:
            start, end = script.args_from or 0, script.args_to or 0
            given = arguments[start:end]
            set_fields = _set_by(script, given) if getattr(script, "setup_for_ui_only", False) else {}
            found.update(set_fields)
            untouched = all(
                one.is_default(value) for one, value in zip(inputs[start:end], given, strict=True)
            )
            # Other servers need not have what is not used: of their own it is off there as well.
            is_off = _is_off(inputs[start:end], given)
            if given and not set_fields and not untouched and not is_off:
                alwayson[script.title()] = {"args": payload_json.arguments(given, script.title())}
                words[script.title()] = _chosen_words(inputs[start:end], given)
        if alwayson:
            found["alwayson_scripts"] = alwayson
        if arguments and arguments[0]:
            script = runner.selectable_scripts[arguments[0] - 1]
            start, end = script.args_from or 0, script.args_to or 0
            given = arguments[start:end]
            words[script.title()] = _chosen_words(inputs[start:end], given)
            found.update(
                script_name=script.title(), script_args=payload_json.arguments(given, script.title())
            )
        if words:
            found[CHOICES] = words
        return found


def _is_off(inputs: Sequence[PageInput], values: Sequence[Any]) -> bool:
    """Return whether the first input switches the script on, and nothing of it is on."""
    switches = [value for one, value in zip(inputs, values, strict=True) if one.is_switch]
    return bool(inputs) and inputs[0].is_switch and not any(switches)


def _chosen_words(inputs: Sequence[PageInput], values: Sequence[Any]) -> dict[str, Any]:
    """By the number of an argument: what is chosen where the value is a place in a list."""
    return {
        str(number): one.choices[value]
        for number, (one, value) in enumerate(zip(inputs, values, strict=True))
        if type(value) is int and 0 <= value < len(one.choices)
    }


def _is_marked(option: Any) -> bool:
    """Return whether the host writes it under a picture, and a job may set it."""
    return getattr(option, "infotext", None) is not None and not getattr(option, "restrict_api", False)


class _CapturedError(Exception):
    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__()
        self.fields = fields


class _PatchedModule:
    """A module in which some names mean something else."""

    def __init__(self, module: Any, **names: Any) -> None:
        self.__dict__.update(names)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _noted(maker: Any, values: Sequence[Any], form: str) -> dict[str, Any]:
    """Return what the host's ``maker`` makes a generation of: the fields that it gives to the class
    ``form``."""

    def note(*_given: Any, **fields: Any) -> None:
        raise _CapturedError(fields)

    names = dict(maker.__globals__)
    names[form] = note
    for name, instead in (("processing", {form: note}), ("shared", {"sd_model": None})):
        if name in names:  # asking Classic for its model would load one
            names[name] = _PatchedModule(names[name], **instead)
    copied = types.FunctionType(maker.__code__, names, maker.__name__, maker.__defaults__, maker.__closure__)
    copied.__kwdefaults__ = maker.__kwdefaults__
    try:
        copied(*values)
    except _CapturedError as noted:
        return noted.fields
    except Exception as error:
        # As a rule there is no picture where the chosen tab wants one; Generate fails there as well.
        raise CannotQueueError(
            f"The WebUI cannot make a generation of this page ({type(error).__name__}).",
            remedy="See whether Generate can: in img2img a picture or a mask may be missing.",
        ) from error
    raise CannotQueueError("The WebUI made no generation of this page.", remedy="Use Generate.")


def _set_by(script: Any, arguments: Sequence[Any]) -> dict[str, Any]:
    """The fields that a script of the page alone gives to a generation."""
    noted = types.SimpleNamespace()
    try:
        script.setup(noted, *arguments)
    except AttributeError:  # it wants more of a generation than to fill in fields
        return {}
    return dict(vars(noted))


def _given(pictures: Any) -> bool:
    return bool(pictures) and all(one is not None for one in pictures)
