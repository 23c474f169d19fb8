"""What stands on a page as JSON: pictures without a changed pixel, and nothing guessed."""

from __future__ import annotations

import base64
import enum
import io
from dataclasses import dataclass, field
from typing import Any

import pytest

from stablequeue_client.webui.host import payload_json
from stablequeue_client.webui.host.capture import PageInput


class Mode(enum.Enum):
    BALANCED = "Balanced"


class Level(int, enum.Enum):
    HIGH = 3


@dataclass
class Unit:
    enabled: bool = True
    mode: Mode = Mode.BALANCED
    image: Any = None
    steps: list[Any] = field(default_factory=list)


class Picture:
    """As much of a PIL image as is asked of one; the hosts' own are tried in tests/hosts."""

    def getbands(self) -> tuple[str, ...]:
        return ("R", "G", "B")

    def save(self, out: io.BytesIO, *, format: str, compress_level: int) -> None:  # noqa: A002 - PIL's word
        assert (format, compress_level) == ("PNG", 1)
        out.write(b"\x89PNG")


def test_a_unit_becomes_its_fields_with_enums_as_values_and_pictures_as_text() -> None:
    unit = payload_json.as_json(Unit(image=Picture(), steps=[Level.HIGH, (1, 2)]))
    assert unit["enabled"] is True
    assert unit["mode"] == "Balanced"
    assert unit["steps"] == [3, [1, 2]]
    assert base64.b64decode(unit["image"]).startswith(b"\x89PNG")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"bytes"])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(payload_json.UnwritableValueError):
        payload_json.as_json([value])


@pytest.mark.parametrize("values", [[Picture()], [1, [(Picture(), "caption")]]])
def test_a_picture_that_a_script_would_not_read_from_base64_is_refused_by_the_scripts_name(
    values: list[Any],
) -> None:
    with pytest.raises(
        payload_json.UnwritableValueError, match="“Poor man's outpainting” is given a picture"
    ):
        payload_json.arguments(values, "Poor man's outpainting")


def test_a_number_stays_what_it_is() -> None:
    assert repr(payload_json.as_json([7, 7.0, 0.1, True])) == "[7, 7.0, 0.1, True]"


def test_a_choice_that_comes_as_its_place_is_compared_by_what_it_means() -> None:
    chosen = PageInput(default="Horizontal", choices=("Vertical", "Horizontal"))
    assert chosen.is_default(1)
    assert not chosen.is_default(0)
    assert chosen.is_default("Horizontal")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (None, "", True),
        ([], None, True),
        (0, None, False),
        (False, "", False),
        (1, 1.0, True),
        (Unit(), Unit(), True),
        (Unit(), Unit(enabled=False), False),
        (Unit(), {"enabled": True, "mode": "Balanced", "image": None, "steps": []}, True),
        (Picture(), Picture(), False),
    ],
)
def test_only_what_a_person_changed_differs_from_a_default(one: Any, other: Any, expected: bool) -> None:
    assert payload_json.same(one, other) is expected
