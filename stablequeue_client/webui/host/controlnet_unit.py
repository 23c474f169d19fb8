"""A ControlNet unit of the page as the unit that the host's API takes. Pure; written against both families.

A page keeps what is painted beside the picture (Forge: a second picture; Classic: a pair of picture and
mask), and may use its preview in its place. The API reads one picture and one mask from base64, and no more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from stablequeue_client.shared.errors import InvalidValueError

_PICTURES = frozenset({"image", "image_fg", "mask_image", "mask_image_fg", "generated_image"})
_PAGE_ONLY = frozenset({"input_mode", "use_preview_as_input"})
_PAINTED = 5
"""A value above it counts as painted, as in the hosts."""


class UnitModeError(InvalidValueError):
    """ControlNet works on a batch of files here, which cannot be queued."""

    code = "cannot_be_queued"
    remedy_text = "Give it one picture, or use Generate."


def is_unit(value: Any) -> bool:
    return type(value).__name__.endswith("ControlNetUnit") and dataclasses.is_dataclass(value)


def unit_fields(unit: Any, as_json: Callable[[Any], Any]) -> dict[str, Any]:
    """The unit for the API. Of one that is switched off only that. Raises UnitModeError."""
    if not unit.enabled:
        return {"enabled": False}
    mode = getattr(unit.input_mode, "value", unit.input_mode)
    if mode != "simple":
        raise UnitModeError
    names = {one.name for one in dataclasses.fields(unit)} - _PICTURES - _PAGE_ONLY
    found = {name: as_json(getattr(unit, name)) for name in sorted(names)}
    found = {name: value for name, value in found.items() if value is not None and value != ""}
    for name, picture in zip(("image", "mask_image"), _image_and_mask(unit), strict=True):
        if picture is not None:
            found[name] = as_json(picture)
    return found


def _image_and_mask(unit: Any) -> tuple[Any, Any]:
    """As the hosts choose them. No picture: they take that of img2img, with its mask."""
    picture, strokes = _parts(unit.image, getattr(unit, "image_fg", None))
    if unit.use_preview_as_input and unit.generated_image is not None:
        picture = unit.generated_image
    elif picture is not None and not _painted(picture, _PAINTED - 1) and _painted(strokes):
        picture = strokes
    if picture is None:
        return None, None
    mask, mask_strokes = _parts(unit.mask_image, getattr(unit, "mask_image_fg", None))
    if isinstance(unit.mask_image, Mapping):
        mask = None  # there only what is painted on it counts
    return picture, next((one for one in (mask_strokes, mask, strokes) if _painted(one)), None)


def _parts(picture: Any, foreground: Any) -> tuple[Any, Any]:
    """(the picture, what is painted on it)."""
    if isinstance(picture, Mapping):
        return picture.get("image"), picture.get("mask")
    return picture, None if foreground is None else foreground[:, :, 3].copy()


def _painted(picture: Any, above: int = _PAINTED) -> bool:
    return picture is not None and bool((picture > above).any())
