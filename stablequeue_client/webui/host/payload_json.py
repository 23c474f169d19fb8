"""Values of the page as JSON that the host's API reads: pictures as PNG in base64. Pure."""

from __future__ import annotations

import base64
import dataclasses
import enum
import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.webui.host.controlnet_unit import is_unit, unit_fields

_NOTHING: tuple[Any, ...] = (None, "", [], (), {})


class UnwritableValueError(InvalidValueError):
    """A value on this page cannot be sent."""

    code = "cannot_be_queued"
    remedy_text = "Use Generate for this one."


def as_json(value: Any) -> Any:
    """``value`` of JSON's own types. Raises UnwritableValueError."""
    if value is None or (isinstance(value, (bool, int, str)) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnwritableValueError("A number on this page is not finite.")
        return value
    if isinstance(value, enum.Enum):
        return as_json(value.value)
    if isinstance(value, Mapping):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_json(one) for one in value]
    return _object(value)


def arguments(values: Sequence[Any], title: str) -> list[Any]:
    """The arguments of the script ``title``. Raises UnwritableValueError.

    A picture in a script's own unit is read from base64 there; one that is an argument itself is not.
    """
    if any(_holds_a_picture(value) for value in values):
        raise UnwritableValueError(f"The script “{title}” is given a picture, which cannot be queued.")
    try:
        return [as_json(value) for value in values]
    except UnwritableValueError as error:
        raise UnwritableValueError(
            f"The script “{title}” is given something that cannot be queued."
        ) from error


def same(one: Any, other: Any) -> bool:
    """Return whether two values of a component mean the same. Empty ones do, whatever their type."""
    if _is_nothing(one) or _is_nothing(other):
        return _is_nothing(one) and _is_nothing(other)
    if _is_picture(one) or _is_picture(other):
        return False
    try:
        return bool(as_json(one) == as_json(other))
    except InvalidValueError:
        return False


def _is_nothing(value: Any) -> bool:
    return any(value is nothing for nothing in _NOTHING) or (
        isinstance(value, (str, list, tuple, dict)) and len(value) == 0
    )


def _is_picture(value: Any) -> bool:
    """A PIL image or a numpy array."""
    return (hasattr(value, "save") and hasattr(value, "getbands")) or hasattr(value, "__array_interface__")


def _holds_a_picture(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_a_picture(one) for one in value)
    return _is_picture(value)


def _object(value: Any) -> Any:
    if _is_picture(value):
        return picture(value)
    if hasattr(value, "item") and hasattr(value, "dtype"):  # a number of numpy
        return as_json(value.item())
    if is_unit(value):
        return unit_fields(value, as_json)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [one.name for one in dataclasses.fields(value)]
        return {name: as_json(getattr(value, name)) for name in names}
    if type(value).__module__ != "builtins" and hasattr(value, "__dict__"):
        kept = {name: one for name, one in vars(value).items() if not name.startswith("_")}
        return {name: as_json(one) for name, one in kept.items()}
    raise UnwritableValueError


def picture(image: Any) -> str:
    """A PIL image, or an array of one, as PNG in base64; no value of a pixel changes."""
    if hasattr(image, "__array_interface__") and not hasattr(image, "save"):
        from PIL import Image  # type: ignore[import-not-found,unused-ignore]

        image = Image.fromarray(image)
    out = BytesIO()
    image.save(out, format="PNG", compress_level=1)
    return base64.b64encode(out.getvalue()).decode("ascii")
