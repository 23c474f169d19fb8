"""What a txt2img or img2img payload needs of a WebUI besides models, and whether a WebUI has it. Pure.

Fields are called as in the hosts' API (``/sdapi/v1/txt2img``). A WebUI answers an unknown script with an
error, but takes another sampler or scheduler than an unknown one, and says so in its log only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stablequeue_client.shared.generation.payload_fields import unknown_fields
from stablequeue_client.shared.generation.sampler_names import taken_apart
from stablequeue_client.shared.generation.script_arguments import unread_scripts
from stablequeue_client.shared.wire.inventory import ServerCapabilities

CapabilityKind = Literal[
    "sampler",
    "scheduler",
    "upscaler",
    "script",
    "alwayson_script",
    "controlnet_model",
    "style",
    "field",
    "script_models",
]
"""``script_models``: what the arguments of that script name besides, which nobody can check."""
Answer = Literal["ok", "missing", "not_checked"]

_NOTHING = frozenset({"", "none", "automatic", "use same sampler", "use same scheduler"})
_BUILT_IN_UPSCALERS = frozenset(
    {
        "latent",
        "latent (antialiased)",
        "latent (bicubic)",
        "latent (bicubic antialiased)",
        "latent (nearest)",
        "latent (nearest-exact)",
    }
)
"""``shared.latent_upscale_modes`` of the hosts."""
_WITHOUT_SCHEDULERS = frozenset({"classic", "a1111"})
"""Families with versions that have no scheduler field: names are joined ("DPM++ 2M Karras")."""
_CONTROLNET = "controlnet"


@dataclass(frozen=True)
class CapabilityNeed:
    """One thing by its name as written. ``joined``: what a WebUI without schedulers calls the pair of sampler
    and scheduler this one belongs to; empty for other kinds, and where there is no pair.
    """

    kind: CapabilityKind
    name: str
    joined: str = ""


def capability_needs(payload: Mapping[str, Any]) -> tuple[CapabilityNeed, ...]:
    """Return what ``payload`` needs, each once, in order. What has another form than in the API names
    nothing."""
    found = _samplers(payload)
    found += _upscalers(payload)
    script = _name(payload.get("script_name"))
    found += [CapabilityNeed("script", script)] if script else []
    found += _alwayson_scripts(payload.get("alwayson_scripts"))
    found += [CapabilityNeed("script_models", title) for title in unread_scripts(payload)]
    found += [CapabilityNeed("style", name) for name in map(_name, _items(payload.get("styles"))) if name]
    found += [CapabilityNeed("field", one.name) for one in unknown_fields(payload)]
    return tuple(dict.fromkeys(found))


def missing_capability(need: CapabilityNeed, capabilities: ServerCapabilities) -> Answer:
    """Return whether that WebUI has it. ``not_checked``: it did not say, as none does of styles.

    A scheduler that a WebUI without schedulers has not joined to the sampler's name is ``not_checked``.
    """
    if need.joined and _joins_names(capabilities) and _has(capabilities.samplers, need.joined):
        return "ok"
    if need.kind == "sampler" and _is_joined_here(need.name, capabilities):
        return "ok"
    known = _known(need.kind, capabilities)
    if not known:
        return "not_checked"
    if need.kind == "field":
        return "ok" if need.name in known else "missing"
    # The API takes a scheduler's id ("sgm_uniform") for its label ("SGM Uniform") too.
    as_label = need.name.replace("_", " ") if need.kind == "scheduler" else need.name
    return "ok" if _has(known, need.name) or _has(known, as_label) else "missing"


# --- needs ------------------------------------------------------------------------------------------------


def _samplers(payload: Mapping[str, Any]) -> list[CapabilityNeed]:
    sampler = _name(payload.get("sampler_name")) or _name(payload.get("sampler_index"))
    scheduler = _name(payload.get("scheduler"))
    found = _pair(sampler, scheduler, sampler, scheduler)
    if payload.get("enable_hr") is True:
        own = _name(payload.get("hr_sampler_name")), _name(payload.get("hr_scheduler"))
        found += _pair(*own, own[0] or sampler, own[1] or scheduler)
    return found


def _pair(sampler: str, scheduler: str, with_sampler: str, with_scheduler: str) -> list[CapabilityNeed]:
    """Return what is named itself; ``with_``: what is used, which hires fix takes over from the first
    pass."""
    joined = f"{with_sampler} {with_scheduler}" if with_sampler and with_scheduler else ""
    found = [CapabilityNeed("sampler", sampler, joined)] if sampler else []
    return found + ([CapabilityNeed("scheduler", scheduler, joined)] if scheduler else [])


def _upscalers(payload: Mapping[str, Any]) -> list[CapabilityNeed]:
    name = _name(payload.get("hr_upscaler"))
    if payload.get("enable_hr") is not True or not name or _folded(name) in _BUILT_IN_UPSCALERS:
        return []
    return [CapabilityNeed("upscaler", name)]


def _alwayson_scripts(scripts: Any) -> list[CapabilityNeed]:
    found: list[CapabilityNeed] = []
    for title, given in scripts.items() if isinstance(scripts, Mapping) else ():
        if not isinstance(title, str) or not title:
            continue
        found.append(CapabilityNeed("alwayson_script", title))
        if _folded(title) == _CONTROLNET and isinstance(given, Mapping):
            models = _controlnet_models(given.get("args"))
            found += [CapabilityNeed("controlnet_model", name) for name in models]
    return found


def _controlnet_models(units: Any) -> Iterator[str]:
    """Of the units that are on; one that does not say is."""
    for unit in _items(units):
        if isinstance(unit, Mapping) and unit.get("enabled", True) is not False:
            name = _name(unit.get("model"))
            if name:
                yield name


def _name(value: Any) -> str:
    """The name, or "" for what names nothing."""
    return value if isinstance(value, str) and value.strip().lower() not in _NOTHING else ""


def _items(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else ()


# --- answers ----------------------------------------------------------------------------------------------


def _known(kind: CapabilityKind, capabilities: ServerCapabilities) -> list[str]:
    if kind in ("style", "script_models"):
        return []
    lists: dict[CapabilityKind, list[str]] = {
        "sampler": capabilities.samplers,
        "scheduler": capabilities.schedulers,
        "upscaler": capabilities.upscalers,
        "script": capabilities.scripts,
        "alwayson_script": capabilities.alwayson_scripts,
        "controlnet_model": capabilities.controlnet_models,
        "field": capabilities.fields,
    }
    return lists[kind]


def _joins_names(capabilities: ServerCapabilities) -> bool:
    return not capabilities.schedulers and capabilities.webui in _WITHOUT_SCHEDULERS


def _is_joined_here(name: str, capabilities: ServerCapabilities) -> bool:
    """Return whether ``name`` is a sampler and a scheduler of this WebUI: the newer ones take the old names
    apart."""
    return taken_apart(name, capabilities.samplers, capabilities.schedulers) is not None


def _has(names: Iterable[str], name: str) -> bool:
    return _folded(name) in _all_folded(names)


def _all_folded(names: Iterable[str]) -> set[str]:
    return {_folded(name) for name in names}


def _folded(name: str) -> str:
    return name.lower()
