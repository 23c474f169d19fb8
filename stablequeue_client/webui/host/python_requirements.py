"""What the extension needs in a WebUI's Python. Standard library only, because install.py reads it first.

A copy of pyproject.toml's ``dependencies``, because a Python 3.10 cannot read TOML; a test compares them.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from typing import NamedTuple


class PythonRequirement(NamedTuple):
    """One requirement: pip's name, the lowest version, and the module it brings."""

    name: str
    lowest: str
    module: str

    @property
    def requirement(self) -> str:
        return f"{self.name}>={self.lowest}"


REQUIREMENTS = (
    PythonRequirement("blake3", "1.0", "blake3"),
    PythonRequirement("filelock", "3.12", "filelock"),
    PythonRequirement("Jinja2", "3.1", "jinja2"),
    PythonRequirement("msgspec", "0.18", "msgspec"),
    PythonRequirement("platformdirs", "3.10", "platformdirs"),
    PythonRequirement("psutil", "5.9.5", "psutil"),
    PythonRequirement("requests", "2.31", "requests"),
    *([PythonRequirement("tomli", "2.0", "tomli")] if sys.version_info < (3, 11) else []),
    PythonRequirement("tqdm", "4.66", "tqdm"),
    PythonRequirement("watchfiles", "0.21", "watchfiles"),
)


def installed_version(name: str) -> str | None:
    """The version of an installed distribution; None when there is none, or its record is damaged."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    except Exception:  # a half-deleted .dist-info raises whatever it likes
        return None
    return version if isinstance(version, str) else None


def missing() -> list[PythonRequirement]:
    """Return what is not installed at all."""
    return [item for item in REQUIREMENTS if installed_version(item.name) is None]


def too_old() -> list[PythonRequirement]:
    """Return what is installed, but older than we need: perhaps a pin of the WebUI, so never changed by
    us."""
    return [
        item
        for item in REQUIREMENTS
        if (version := installed_version(item.name)) and _numbers(version) < _numbers(item.lowest)
    ]


def _numbers(version: str) -> tuple[int, ...]:
    """The release part of a version: ``4.66.1.post2`` -> (4, 66, 1)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in found.group().split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
