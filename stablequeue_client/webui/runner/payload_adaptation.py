"""A job's JSON as this WebUI takes it, or why it cannot. Pure.

A WebUI leaves out without a word what it does not know: a field, a style; it takes another sampler than the
one that is missing, and an unknown option ends the generation. So everything is looked at before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stablequeue_client.shared.generation.capability_needs import (
    CapabilityNeed,
    capability_needs,
    missing_capability,
)
from stablequeue_client.shared.generation.sampler_names import PLAIN, joined, taken_apart
from stablequeue_client.shared.wire.inventory import ServerCapabilities
from stablequeue_client.shared.wire.jobs import CHOICES, DEFAULTS
from stablequeue_client.webui.runner.refusal import Refusal

NOT_THEIRS = frozenset(
    {
        "infotext", "send_images", "save_images", "force_task_id", "include_init_images",
        "override_settings_restore_afterwards", "do_not_save_samples", "do_not_save_grid",
    }
)  # fmt: skip
"""Fields of the hosts' API that say how to answer or what to keep: here the owner's settings count."""
OWNERS_SECTIONS = frozenset(
    {
        "saving-images", "saving-paths", "saving-to-dirs", "system", "API", "training", "profiler",
        "interrogate", "stablequeue", "ui", "ui_alternatives", "ui_gallery", "ui_prompt_editing",
    }
)  # fmt: skip
"""Pages of the settings that nobody else changes here, not even for one picture. They change no pixel."""
_SAME = {
    "hr_sampler_name": "Use same sampler",
    "hr_scheduler": "Use same scheduler",
    "hr_checkpoint_name": "Use same checkpoint",
}
_SAME_MODULES = ["Use same choices"]
_DEFAULT_CFG = 7.0
"""Of all hosts' APIs and pages."""
_NEUTRAL: tuple[Any, ...] = (None, "", "None", "Automatic", "Built in", [], False)
_WORDS = {
    "sampler": "the sampler",
    "scheduler": "the schedule type",
    "upscaler": "the upscaler",
    "script": "the script",
    "alwayson_script": "the script",
    "controlnet_model": "the ControlNet model",
    "style": "the style",
    "field": "the field",
    "script_models": "models of the script",
}
_SHOWN = 80


@dataclass(frozen=True)
class SupportedPayload:
    """What this WebUI understands. ``fields``: of its API for this kind of generation. ``options``: each
    option with its page of the settings."""

    capabilities: ServerCapabilities
    fields: frozenset[str]
    options: Mapping[str, str]
    styles: frozenset[str]

    @property
    def has_modules(self) -> bool:
        """VAE and text encoders in one list, as Forge has them."""
        return "forge_additional_modules" in self.options


def is_img2img(payload: Mapping[str, Any]) -> bool:
    """Return whether it starts from pictures."""
    return bool(payload.get("init_images"))


def adapted(payload: Mapping[str, Any], dialect: SupportedPayload) -> dict[str, Any] | Refusal:
    """The JSON for this WebUI. Nothing in ``payload`` is changed."""
    for need in capability_needs(payload):
        if _is_missing(need, dialect):
            return _refused(f"This WebUI does not have {_WORDS[need.kind]} “{need.name[:_SHOWN]}”.")
    if _names_an_address(payload):
        return _refused(
            "The job names a picture by its address; only pictures in the job itself are accepted."
        )
    values = {key: value for key, value in payload.items() if key not in NOT_THEIRS}
    values.update({key: None for key, word in _SAME.items() if values.get(key) == word})
    values = _hires_cfg(_samplers(values, dialect))
    settings = _settings(values.get("override_settings"), dialect)
    if isinstance(settings, Refusal):
        return settings
    values["override_settings"] = settings
    values[DEFAULTS] = _defaults(values.get(DEFAULTS), settings, dialect)
    if values.get("enable_hr") is True and dialect.has_modules and not values.get("hr_additional_modules"):
        values["hr_additional_modules"] = list(_SAME_MODULES)
    return _known_fields(values, dialect)


def _refused(text: str) -> Refusal:
    return Refusal("not_supported", text)


def _is_missing(need: CapabilityNeed, dialect: SupportedPayload) -> bool:
    if need.kind == "style":
        return need.name not in dialect.styles
    if need.kind == "field":
        return need.name not in dialect.fields
    return missing_capability(need, dialect.capabilities) == "missing"


def _names_an_address(payload: Mapping[str, Any]) -> bool:
    pictures = [*(payload.get("init_images") or ()), payload.get("mask")]
    return any(isinstance(one, str) and one[:8].lower().startswith(("http:", "https:")) for one in pictures)


def _samplers(values: dict[str, Any], dialect: SupportedPayload) -> dict[str, Any]:
    """Sampler and schedule in one name, where this WebUI has them so ("DPM++ 2M Karras"), else in two."""
    values = dict(values)
    if "scheduler" in dialect.fields:
        return values | _hires_schedule(values, dialect)
    schedule = values.pop("scheduler", None)
    hires_schedule = values.pop("hr_scheduler", None) or schedule
    sampler = values.get("sampler_name") or values.get("sampler_index")
    name = _joined(sampler, schedule, dialect)
    if name:
        values["sampler_name"] = name
    hires = _joined(values.get("hr_sampler_name") or sampler, hires_schedule, dialect)
    if hires and values.get("enable_hr") is True and hires != name:
        values["hr_sampler_name"] = hires
    return values


def _hires_schedule(values: Mapping[str, Any], dialect: SupportedPayload) -> dict[str, Any]:
    """Hires fix's own sampler and schedule: the hosts take apart the joined name of the first pass alone.

    A name of its own that is not joined would take over the first pass's schedule; where names are joined it
    has the plain one.
    """
    name = values.get("hr_sampler_name")
    if values.get("enable_hr") is not True or not isinstance(name, str) or values.get("hr_scheduler"):
        return {}
    known = dialect.capabilities
    if pair := taken_apart(name, known.samplers, known.schedulers):
        return {"hr_sampler_name": pair[0], "hr_scheduler": pair[1]}
    first = values.get("sampler_name") or values.get("sampler_index")
    if isinstance(first, str) and taken_apart(first, known.samplers, known.schedulers):
        return {"hr_scheduler": PLAIN}
    return {}


def _joined(sampler: Any, schedule: Any, dialect: SupportedPayload) -> str:
    if not isinstance(sampler, str) or not isinstance(schedule, str):
        return ""
    return joined(sampler, schedule, dialect.capabilities.samplers)


def _hires_cfg(values: Mapping[str, Any]) -> dict[str, Any]:
    """CFG and distilled CFG of hires fix are the first pass's unless the job says others.

    Not every WebUI has fields for them; what the others' API takes instead (1.0, 3.5) is not what their page
    would. 0 is no CFG: reForge means the first pass's by it, and the others' pages begin at 1.
    """
    if values.get("enable_hr") is not True:
        return dict(values)
    found = dict(values)
    if not found.get("hr_cfg"):
        found["hr_cfg"] = _cfg(found)
    if found.get("hr_distilled_cfg") is None:
        found["hr_distilled_cfg"] = found.get("distilled_cfg_scale")
    return found


def _cfg(values: Mapping[str, Any]) -> Any:
    cfg = values.get("cfg_scale")
    return _DEFAULT_CFG if cfg is None else cfg


def _settings(given: Any, dialect: SupportedPayload) -> dict[str, Any] | Refusal:
    """Override settings in this WebUI's own options; what only its owner may choose is left out."""
    settings = dict(given) if isinstance(given, Mapping) else {}
    if not dialect.has_modules:
        modules = settings.pop("forge_additional_modules", None) or []
        if len(modules) > 1:
            return _refused("This WebUI takes one VAE and no text encoders of their own.")
        if modules:
            settings["sd_vae"] = modules[0]
    else:
        vae = settings.pop("sd_vae", None)
        if vae not in _NEUTRAL and not settings.get("forge_additional_modules"):
            settings["forge_additional_modules"] = [vae]
    kept = {}
    for key, value in settings.items():
        if key not in dialect.options:
            if value not in _NEUTRAL:
                return _refused(f"This WebUI does not have the setting “{key[:_SHOWN]}”.")
        elif dialect.options[key] not in OWNERS_SECTIONS:
            kept[key] = value
    return kept


def _defaults(given: Any, settings: Mapping[str, Any], dialect: SupportedPayload) -> dict[str, Any] | None:
    """Those that this WebUI has and its owner lets others set; None for none."""
    defaults = given if isinstance(given, Mapping) else {}
    sections = dialect.options
    known = {
        key: value
        for key, value in defaults.items()
        if key in sections and sections[key] not in OWNERS_SECTIONS and key not in settings
    }
    return known or None


def _known_fields(values: dict[str, Any], dialect: SupportedPayload) -> dict[str, Any] | Refusal:
    """Without the fields that this WebUI would leave out; refused where one of them changes the picture."""
    own_cfg = values.get("enable_hr") is True and values.get("hr_cfg") != _cfg(values)
    if "hr_cfg" not in dialect.fields and own_cfg:
        return _refused("This WebUI has no CFG of its own for hires fix.")
    modules = values.get("hr_additional_modules")
    if "hr_additional_modules" not in dialect.fields and modules and modules != _SAME_MODULES:
        return _refused("This WebUI has no VAE or text encoders of their own for hires fix.")
    known = dialect.fields | {DEFAULTS, CHOICES}
    return {key: value for key, value in values.items() if key in known and value is not None}
