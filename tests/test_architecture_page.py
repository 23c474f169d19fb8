"""docs/architecture.md names only files that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_module_that_the_tables_name_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    places = ("stablequeue_*/**/*.py", "scripts/*.py", "install.py")
    modules = {path.stem for place in places for path in ROOT.glob(place)}
    folders = {path.name for path in ROOT.glob("stablequeue_*/**/") if path.is_dir()}
    named = set()
    for line in text.splitlines():
        if line.startswith("| "):
            first_cell, *cells = line.strip("| ").split(" | ")
            if cells and first_cell in PARTS:
                named |= set(re.findall(r"`([a-z_/]+)(?:\.py)?`", " ".join(cells)))
    missing = {name for name in named if name.rstrip("/").split("/")[-1] not in modules | folders}
    assert missing == set()
    assert len(named) > 40


PARTS = (
    "values, pure",
    "looking",
    "reading",
    "knowing",
    "telling",
    "commands",
    "views",
    "store",
    "inventory",
    "answers",
    "jobs",
    "servers",
    "access",
    "HTTP",
    "shell",
    "host",
    "options",
    "processes",
    "tab",
    "answers here",
    "gate 0",
)
