"""docs/architecture.md names the rooms that there are, and only files and functions that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("stablequeue_client", "stablequeue_hub")
READ_IN_FIVE_MINUTES = 150


def folders_drawn() -> set[str]:
    """The folders of the drawing, by their place in the tree."""
    drawing = PAGE.read_text("utf-8").partition("## The house\n\n```\n")[2].partition("```")[0]
    above: list[str] = []
    found = set()
    for line in drawing.splitlines():
        indent, name = re.match(r"( *)([a-z_]+)/", line).groups()  # type: ignore[union-attr]
        above[len(indent) // 2 :] = [name]
        found.add("/".join(above))
    return found


def test_every_room_is_drawn_and_no_other() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    rooms = {path.parent.relative_to(ROOT).as_posix() for path in files}
    within = {room for room in rooms if re.search(r"/migrations|/routers/", room)}
    assert folders_drawn() == rooms - within


def test_every_module_that_it_names_exists() -> None:
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+)(?:\.py)?`", PAGE.read_text("utf-8")))
    roots = (*PACKAGES, "stablequeue_client/webui", ".")
    missing = {
        name
        for name in named
        if not any((ROOT / root / name).is_dir() or (ROOT / root / f"{name}.py").is_file() for root in roots)
    }
    assert missing == set()
    assert len(named) > 15


def test_it_is_read_in_five_minutes() -> None:
    assert len(PAGE.read_text("utf-8").splitlines()) <= READ_IN_FIVE_MINUTES
