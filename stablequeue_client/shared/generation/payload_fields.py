"""The fields of the hosts' txt2img and img2img API: their types, and what an unknown one means. Pure.

The types are those that the hosts declare: ``modules/api/models.py`` builds its forms from the annotations in
``modules/processing.py``, the same on Forge and Classic but for the fields that only one has. A wrong value
fails in the host after the job waited; a field that a host does not know is left out without a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.shared.generation.infotext_settings import OPTION_NAMES
from stablequeue_client.shared.wire.field_limits import INTEGERS, NUMBERS, OURS, check_number

_TEXTS = frozenset(
    {
        "prompt", "negative_prompt", "sampler_name", "sampler_index", "scheduler", "refiner_checkpoint",
        "script_name", "force_task_id", "infotext", "hr_upscaler", "hr_checkpoint_name", "hr_sampler_name",
        "hr_scheduler", "hr_prompt", "hr_negative_prompt", "mask",
    }
)  # fmt: skip
_SWITCHES = frozenset(
    {
        "restore_faces", "tiling", "do_not_save_samples", "do_not_save_grid", "disable_extra_networks",
        "override_settings_restore_afterwards", "send_images", "save_images", "enable_hr", "mask_round",
        "inpaint_full_res", "include_init_images",
    }
)  # fmt: skip
_LISTS = frozenset({"script_args", "init_images"})
_LISTS_OF_TEXTS = frozenset({"hr_additional_modules"})
_OBJECTS = frozenset({"override_settings", "alwayson_scripts", "comments", *OURS})
_ANYTHING = frozenset({"styles", "firstpass_image", "latent_mask"})
"""``styles`` also come as pairs of prompts, from a Queue button."""
KNOWN_FIELDS = frozenset(
    {*_TEXTS, *_SWITCHES, *INTEGERS, *NUMBERS, *_LISTS, *_LISTS_OF_TEXTS, *_OBJECTS, *_ANYTHING}
)
"""What one of the hosts, or we ourselves, understand at the top of a payload."""
_TEXTS_IN_SETTINGS = frozenset({"sd_model_checkpoint", "sd_vae", "sd_lora"})
KNOWN_SETTINGS = frozenset(
    {
        "sd_model_checkpoint", "sd_vae", "sd_lora", "forge_additional_modules", "enable_prompt_comments",
        "sd_checkpoint_hash", "samples_format", "samples_save", "grid_save", *OPTION_NAMES,
    }
)  # fmt: skip
"""Options that jobs name; a WebUI has some hundred more."""

_ON = frozenset({"1", "on", "t", "true", "y", "yes"})
_OFF = frozenset({"0", "off", "f", "false", "n", "no"})
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,19}(?:\.0*)?\s*\Z")
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]{1,20}\.?[0-9]{0,20}|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,3})?\s*\Z")

_CHECKPOINT, _VAE = "override_settings.sd_model_checkpoint", "override_settings.sd_vae"
_MEANT: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "checkpoint", "checkpoint_name", "checkpoint_hash", "ckpt", "model", "model_name", "model_hash",
            "sd_checkpoint", "sd_model", "sd_model_name", "sd_model_hash", "sd_model_checkpoint",
        ),
        _CHECKPOINT,
    ),
    **dict.fromkeys(("vae", "sd_vae", "sd_vae_name"), _VAE),
    **dict.fromkeys(
        ("forge_additional_modules", "additional_modules", "modules", "text_encoder", "text_encoders"),
        "override_settings.forge_additional_modules",
    ),
    **dict.fromkeys(("clip_skip", "clipskip", "clip_stop"), "override_settings.CLIP_stop_at_last_layers"),
    **dict.fromkeys(("lora", "loras"), "prompt, as <lora:name:1>"),
    **dict.fromkeys(("sampler", "sampling_method"), "sampler_name"),
    **dict.fromkeys(("schedule", "schedule_type", "scheduler_name"), "scheduler"),
    **dict.fromkeys(("positive_prompt", "text", "caption"), "prompt"),
    "negative": "negative_prompt",
    **dict.fromkeys(("cfg", "guidance", "guidance_scale"), "cfg_scale"),
    **dict.fromkeys(("num_inference_steps", "sampling_steps"), "steps"),
    **dict.fromkeys(("num_images", "iterations", "batch_count"), "n_iter"),
    **dict.fromkeys(("strength", "denoise", "denoising"), "denoising_strength"),
    **dict.fromkeys(("init_image", "image", "images"), "init_images"),
    **dict.fromkeys(("upscaler", "hires_upscaler"), "hr_upscaler"),
    **dict.fromkeys(("refiner", "refiner_model"), "refiner_checkpoint"),
    **dict.fromkeys(("scripts", "always_on_scripts"), "alwayson_scripts"),
    **dict.fromkeys(
        ("name", "count", "priority", "targets", "server", "idempotency_key", "seed_rule"),
        "the same field beside `payload`, not in it",
    ),
}  # fmt: skip
"""Names that other programs and the old StableQueue use, and what a WebUI calls it."""
_NEAR = 0.8
_SHOWN = 80


class UnknownField(NamedTuple):
    """A field that no host is known to have. ``meant``: what was probably meant, "" for nothing near."""

    name: str
    meant: str = ""

    @property
    def text(self) -> str:
        meant = f" Did you mean {self.meant}?" if self.meant else ""
        return f"No WebUI is known to have the field “{self.name[:_SHOWN]}”.{meant}"


def read_payload(payload: Mapping[str, Any]) -> tuple[dict[str, Any], list[InvalidValueError]]:
    """The payload with its values as the hosts' API reads them ("25" and 25.0 are 25, "true" is true), and
    what no host takes, which stays as it is. A problem names the field and repeats no value."""
    values, problems = {}, []
    for name, value in payload.items():
        values[name] = value
        try:
            values[name] = _checked(name, value)
        except InvalidValueError as problem:
            problems.append(problem)
    return values, problems


def checked_payload(payload: Mapping[str, Any]) -> dict[str, Any]:
    """As ``read_payload``. Raises InvalidValueError for the first problem."""
    values, problems = read_payload(payload)
    if problems:
        raise problems[0]
    return values


def unknown_fields(payload: Mapping[str, Any]) -> list[UnknownField]:
    """Return the fields at the top of a payload that no host is known to have; those without a value say
    nothing."""
    return [
        UnknownField(name, meant_by(name))
        for name, value in payload.items()
        if name not in KNOWN_FIELDS and value is not None
    ]


def doubtful_settings(payload: Mapping[str, Any]) -> list[UnknownField]:
    """Return override settings that look like a slip of the pen for one that jobs name. A server that knows
    no such option sends the job back."""
    settings = payload.get("override_settings")
    found = []
    for name in settings if isinstance(settings, Mapping) else ():
        if isinstance(name, str) and name not in KNOWN_SETTINGS:
            meant = _meant_setting(name)
            if meant:
                found.append(UnknownField(f"override_settings.{name}", f"override_settings.{meant}"))
    return found


def meant_by(name: str) -> str:
    """Return what an unknown field probably means; "" for nothing near."""
    folded = re.sub(r"[\s-]+", "_", name.strip().lower())
    if folded in _MEANT:
        return _MEANT[folded]
    near = _nearest(folded, KNOWN_FIELDS - OURS)
    if near:
        return near
    setting = _meant_setting(folded)
    return f"override_settings.{setting}" if setting else ""


def _checked(name: str, value: Any) -> Any:
    if value is None or name not in KNOWN_FIELDS:
        return value
    if name in INTEGERS:
        return _integer(name, value)
    if name in NUMBERS:
        return _number(name, value)
    if name in _SWITCHES:
        return _switch(name, value)
    if name in _TEXTS:
        _must_be(name, isinstance(value, str), "a text")
    elif name in _LISTS or name in _LISTS_OF_TEXTS:
        _must_be(name, isinstance(value, list | tuple), "a list")
        if name in _LISTS_OF_TEXTS:
            _must_be(name, all(isinstance(one, str) for one in value), "a list of texts")
    elif name in _OBJECTS:
        _must_be(name, isinstance(value, Mapping), "an object")
        _check_inside(name, value)
    elif name == "styles":
        _must_be(name, isinstance(value, list | tuple), "a list")
    return value


def _check_inside(name: str, values: Mapping[str, Any]) -> None:
    if name == "alwayson_scripts":
        for title, given in values.items():
            fits = given is None or isinstance(given, Mapping)
            _must_be(f"alwayson_scripts.{title}", fits, "an object with `args`")
            arguments = given.get("args") if isinstance(given, Mapping) else None
            fits = arguments is None or isinstance(arguments, list | tuple | Mapping)
            _must_be(f"alwayson_scripts.{title}.args", fits, "a list")
    elif name == "override_settings":
        for key in _TEXTS_IN_SETTINGS & values.keys():
            fits = values[key] is None or isinstance(values[key], str)
            _must_be(f"override_settings.{key}", fits, "a text")


def _must_be(name: str, fits: bool, what: str) -> None:
    if not fits:
        raise InvalidValueError(f"`{name[:_SHOWN]}` must be {what}.", remedy="Correct it, or leave it out.")


def _integer(name: str, value: Any) -> int:
    found = value
    if isinstance(value, str) and _INTEGER.match(value):
        found = int(value.strip().partition(".")[0])
    elif isinstance(value, float) and value.is_integer():
        found = int(value)
    if isinstance(found, bool) or not isinstance(found, int):
        _must_be(name, fits=False, what="an integer")
    check_number(name, found)
    return int(found)


def _number(name: str, value: Any) -> int | float:
    found = value
    if isinstance(value, str) and _NUMBER.match(value):
        found = float(value)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        _must_be(name, fits=False, what="a number")
    check_number(name, found)
    number: int | float = found
    return number


def _switch(name: str, value: Any) -> bool:
    word = str(value).removesuffix(".0").strip().lower() if isinstance(value, str | int | float) else ""
    _must_be(name, word in _ON or word in _OFF, "true or false")
    return word in _ON


def _meant_setting(name: str) -> str:
    if name in KNOWN_SETTINGS:
        return name
    folded = name.lower()
    if folded in ("sd_checkpoint", "checkpoint", "sd_model", "model", "sd_model_name"):
        return "sd_model_checkpoint"
    if folded in ("vae", "sd_vae_name"):
        return "sd_vae"
    return _nearest(folded, KNOWN_SETTINGS)


def _nearest(folded: str, names: Iterable[str]) -> str:
    """The most alike, if any is; it costs a millisecond, so not for a long text."""
    by_key = {name.lower(): name for name in sorted(names)}
    found = get_close_matches(folded[:_SHOWN], list(by_key), 1, _NEAR)
    return by_key[found[0]] if found else ""
