"""Old generation parameters and the WebUI's own payload: one made of the other. Pure.

The old StableQueue took names of its own beside the WebUI's (``positive_prompt``, ``checkpoint_name`` or
``sd_checkpoint``, ``model_hash`` and others) and filled in what was missing. Everything else in the
parameters is the WebUI's and goes on as it is: hires fix, scheduler, scripts, a picture to start from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.shared.generation.infotext import infotext_hashes, parse_infotext
from stablequeue_client.shared.generation.payload_fields import unknown_fields
from stablequeue_client.shared.generation.png_text import TEXT_MAX_BYTES
from stablequeue_client.shared.generation.requirements import checkpoint_parts
from stablequeue_client.shared.model_files.model_file import parse_hash
from stablequeue_client.shared.wire.field_limits import OLD_PARAMETERS

_HASH_FIELDS = ("model_hash", "checkpoint_hash", "hash", "autov2_hash", "sha256_hash")
_HASH_OBJECTS = ("checkpoint", "model_info")
_NAME_FIELDS = ("checkpoint_name", "sd_checkpoint")
_OLD_FIELDS = frozenset({*_HASH_FIELDS, *_HASH_OBJECTS, *_NAME_FIELDS, "positive_prompt", "sampler"})
_COME_BACK = tuple(sorted(_OLD_FIELDS - {"positive_prompt", "checkpoint_name"}))
"""Old clients read these back as they sent them; of the other two one form is kept."""
_NOT_THE_WEBUIS = frozenset({"app_type", "raw_generation_info"})
_DEFAULTS: dict[str, Any] = {
    "prompt": "",
    "negative_prompt": "",
    "steps": 20,
    "sampler_name": "Euler a",
    "cfg_scale": 7,
    "width": 512,
    "height": 512,
    "seed": -1,
    "batch_size": 1,
    "n_iter": 1,
}
_WHOLE = frozenset({"steps", "width", "height", "seed", "batch_size", "n_iter", "clip_skip"})
_NUMBERS = frozenset({"cfg_scale", "denoising_strength", "hr_scale"})
_LONGEST_NUMBER = 20
_HIGHEST_NUMBER = 2**63
"""Far above what any field takes, and below what is no float any more."""

NO_HASH = "No model hash found in any field"
RAW_HASH = "hash pattern in raw_generation_info"


class FoundHash(NamedTuple):
    """The hash by which the checkpoint was asked for (None: none), and where it stood, in the old words."""

    value: str | None
    source: str


def payload_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """The WebUI's payload that these parameters mean. Raises InvalidValueError naming the field, no value."""
    # No database takes NUL, and no prompt or name needs it.
    params = {
        name: value.replace("\x00", "") if isinstance(value, str) else value for name, value in params.items()
    }
    payload = {
        name: value
        for name, value in params.items()
        if name not in _OLD_FIELDS | _NOT_THE_WEBUIS and value is not None
    }
    payload |= {name: _number(name, value) for name, value in payload.items() if name in _WHOLE | _NUMBERS}
    # No WebUI knows them, and the old StableQueue made such a job all the same: they come back in answers.
    others = {one.name: payload.pop(one.name) for one in unknown_fields(payload)}
    if others:
        payload[OLD_PARAMETERS] = others
    positive = params.get("positive_prompt")
    if isinstance(positive, str) and positive:
        payload["prompt"] = positive
    if not payload.get("sampler_name") and isinstance(params.get("sampler"), str):
        payload["sampler_name"] = params["sampler"]
    payload |= {name: value for name, value in _DEFAULTS.items() if payload.get(name) in (None, "")}
    overrides = payload.get("override_settings")
    settings = dict(overrides) if isinstance(overrides, Mapping) else {}
    title = _title(params, settings.get("sd_model_checkpoint"))
    if title:
        settings["sd_model_checkpoint"] = title
    payload["override_settings"] = settings
    back = params_of(payload)
    lost = {name: params[name] for name in _COME_BACK if name in params and params[name] != back.get(name)}
    if lost:
        payload[OLD_PARAMETERS] = {**payload.get(OLD_PARAMETERS, {}), **lost}
    return payload


def params_of(payload: Mapping[str, Any], raw: str | None = None) -> dict[str, Any]:
    """A payload with the old names beside the WebUI's; ``raw``: the text that it was made of."""
    title = _checkpoint_title(payload)
    name, short_hash = checkpoint_parts(title)
    others = payload.get(OLD_PARAMETERS)
    params = {**payload, **(others if isinstance(others, Mapping) else {})}
    params.pop(OLD_PARAMETERS, None)
    params["positive_prompt"] = payload.get("prompt", "")
    if title:
        params["checkpoint_name"] = name
    if short_hash:
        params.setdefault("model_hash", short_hash)
    return params if raw is None else {**params, "raw_generation_info": raw}


def hash_of(params: Mapping[str, Any]) -> FoundHash:
    """The first hash that says which checkpoint is meant, of any length that is known, in any case."""
    for field in _HASH_FIELDS:
        found = _hash(params.get(field))
        if found:
            return FoundHash(found, f"{field} field")
    for field in _HASH_OBJECTS:
        inner = params.get(field)
        found = _hash(inner.get("hash")) if isinstance(inner, Mapping) else None
        if found:
            return FoundHash(found, f"{field}.hash field")
    raw = params.get("raw_generation_info")
    if not isinstance(raw, str) or len(raw) > TEXT_MAX_BYTES:
        return FoundHash(None, NO_HASH)
    return raw_hash_of(raw)


def raw_hash_of(raw: str) -> FoundHash:
    """The hash that a generation text gives for its checkpoint."""
    for mention in infotext_hashes(parse_infotext(raw)):
        if mention.role == "checkpoint" and mention.dialect != "file_name":
            return FoundHash(mention.hash, RAW_HASH)
    return FoundHash(None, NO_HASH)


def requested_hash(payload: Mapping[str, Any]) -> str | None:
    """The hash in a payload's checkpoint title."""
    return checkpoint_parts(_checkpoint_title(payload))[1]


def _checkpoint_title(payload: Mapping[str, Any]) -> str:
    settings = payload.get("override_settings")
    title = settings.get("sd_model_checkpoint") if isinstance(settings, Mapping) else None
    return title if isinstance(title, str) else ""


def _title(params: Mapping[str, Any], before: Any) -> str:
    """``name [hash]``, or one of the two. ``before``: what the parameters' own settings say."""
    named = next((params[field] for field in _NAME_FIELDS if isinstance(params.get(field), str)), "")
    written = (named or before) if isinstance(before, str) else named
    name, own_hash = checkpoint_parts(written.replace("\\", "/").strip())
    found = hash_of({**params, "raw_generation_info": None}).value or own_hash
    if not found:
        return name
    return f"{name or found} [{found}]"


def _hash(value: Any) -> str | None:
    query = parse_hash(value) if isinstance(value, str) else None
    return query.value if query else None


def _number(name: str, value: Any) -> int | float:
    """``value`` as a number; forms of web pages send text. Raises InvalidValueError."""
    number = value
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9.]+", value) and len(value) <= _LONGEST_NUMBER:
        try:
            number = float(value)
        except ValueError:
            number = None
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise InvalidValueError(f"`{name}` must be a number.")
    if not -_HIGHEST_NUMBER <= number <= _HIGHEST_NUMBER:
        raise InvalidValueError(f"`{name}` is too large.")
    if name in _WHOLE and number != int(number):
        raise InvalidValueError(f"`{name}` must be an integer.")
    return int(number) if name in _WHOLE else number
