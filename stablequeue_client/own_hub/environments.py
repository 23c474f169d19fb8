"""The environments that hubs of this computer run from.

    hub-env/
      0.1.0-3f2a9c17d0b4/   packages and our own code; environment.json is written last
      .building-...         one that is being made; never used
      current               the name of the one that is used
      former                the one used before, until a hub has answered from ``current``
      start_hub.py          starts the hub from ``current``; what a service starts too

A name is the version and a digest of everything that goes in: our sources, the list of packages, the Python.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from stablequeue_client.own_hub import start_hub
from stablequeue_client.own_hub.errors import BuildError
from stablequeue_client.shared.atomic_file import write_private

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

FOLDER = "hub-env"
RECORD = "environment.json"
FORMER = "former"
UNFINISHED = ".building-"
STARTER = "start_hub.py"
_NOT_COPIED = ("__pycache__",)


class EnvironmentRecord(msgspec.Struct, frozen=True):
    """``environment.json``: what an environment was made from, and the interpreter it was made for."""

    version: str
    digest: str
    source: str
    python: str

    @property
    def name(self) -> str:
        return f"{self.version}-{self.digest}"


@dataclass(frozen=True)
class HubSource:
    """What a hub is made from: a checkout, as its ``pyproject.toml`` describes it."""

    folder: Path
    version: str
    requirements: tuple[str, ...]
    parts: tuple[tuple[str, str], ...]
    """(path in the checkout, path in the environment) of our own folders and files."""

    def made(self, python: str) -> EnvironmentRecord:
        """Return what an environment of these sources would be, for ``python``: a Python like this one."""
        digest = hashlib.sha256()
        facts = [*self.requirements, sys.implementation.cache_tag or "", sysconfig.get_platform()]
        for part in facts:
            digest.update(part.encode() + b"\0")
        for path in self._files():
            digest.update(path.relative_to(self.folder).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return EnvironmentRecord(self.version, digest.hexdigest()[:12], os.path.realpath(self.folder), python)

    def copy_to(self, target: Path) -> None:
        """Our own code, laid out as in a wheel."""
        for origin, place in self.parts:
            source, copy = self.folder / origin, target / place
            if source.is_dir():
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns(*_NOT_COPIED), dirs_exist_ok=True)
            else:
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)

    def _files(self) -> Iterator[Path]:
        for origin, _ in sorted(self.parts):
            path = self.folder / origin
            inside = sorted(path.rglob("*")) if path.is_dir() else [path]
            yield from (file for file in inside if file.is_file() and "__pycache__" not in file.parts)


def read_source(folder: Path) -> HubSource:
    """The checkout in ``folder``. Raises BuildError when it is none."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
        about, wheel = project["project"], project["tool"]["hatch"]["build"]["targets"]["wheel"]
        needs: list[str] = [*about["dependencies"], *about["optional-dependencies"]["hub"]]
        copies: dict[str, Any] = wheel.get("force-include", {})
        parts = [(name, name) for name in wheel["packages"]] + list(copies.items())
        return HubSource(folder, about["version"], tuple(needs), tuple(parts))
    except (OSError, ValueError, KeyError) as error:
        raise BuildError(
            f"The extension's own files in {folder} are not complete ({type(error).__name__}).",
            remedy="Install the extension again.",
        ) from error


class Environments:
    """The folder ``hub-env`` of one data folder."""

    def __init__(self, machine_dir: Path) -> None:
        self.folder = machine_dir / FOLDER

    @property
    def starter(self) -> Path:
        return self.folder / STARTER

    def path(self, made: EnvironmentRecord) -> Path:
        return self.folder / made.name

    def is_complete(self, made: EnvironmentRecord) -> bool:
        return self._record(self.path(made)) is not None

    def current(self) -> EnvironmentRecord | None:
        """The environment in use; None when there is none that is complete and whose Python is there."""
        return self._named(start_hub.CURRENT)

    def former(self) -> EnvironmentRecord | None:
        """The environment that an unfinished update is to replace; None when there is no such update."""
        return self._named(FORMER)

    def begin_update(self, former: EnvironmentRecord) -> None:
        """Written before ``current`` changes, so that a kill at any moment leaves a way back."""
        write_private(self.folder / FORMER, self.path(former).name.encode())

    def end_update(self) -> None:
        (self.folder / FORMER).unlink(missing_ok=True)

    def use(self, made: EnvironmentRecord) -> None:
        """Have the next start take this one."""
        write_private(self.starter, Path(start_hub.__file__).read_bytes())
        write_private(self.folder / start_hub.CURRENT, self.path(made).name.encode())

    def clean_up(self, *, keep: EnvironmentRecord) -> None:
        """Delete all others, also what was never finished. What cannot be deleted now is so next time."""
        for path in self._folders():
            if path != self.path(keep):
                shutil.rmtree(path, ignore_errors=True)

    def clean_unfinished(self) -> None:
        for path in self._folders():
            if path.name.startswith(UNFINISHED):
                shutil.rmtree(path, ignore_errors=True)

    def _folders(self) -> list[Path]:
        try:
            return [Path(entry.path) for entry in os.scandir(self.folder) if entry.is_dir()]
        except OSError:
            return []

    def _named(self, file: str) -> EnvironmentRecord | None:
        try:
            name = (self.folder / file).read_text("utf-8").strip()
        except (OSError, ValueError):
            return None
        made = self._record(self.folder / name) if name and Path(name).name == name else None
        return made if made is not None and os.path.exists(made.python) else None

    @staticmethod
    def _record(path: Path) -> EnvironmentRecord | None:
        try:
            return msgspec.json.decode((path / RECORD).read_bytes(), type=EnvironmentRecord)
        except (OSError, msgspec.DecodeError):
            return None


def replaces(new: EnvironmentRecord, old: EnvironmentRecord) -> bool:
    """Return whether a hub that runs from ``old`` is to run from ``new``: never an older version, and of one
    version only what the same checkout became (another WebUI's checkout would change it back at its next
    start)."""
    if new.version != old.version:
        return _order(new.version) > _order(old.version)
    return new.digest != old.digest and new.source == old.source


def _order(version: str) -> list[tuple[int, int | str]]:
    """Numbers in their order; a release behind its own pre-releases (``0.2.0.dev1``, ``0.2.0rc1``)."""
    order: list[tuple[int, int | str]] = []
    for part in version.replace("-", ".").split("."):
        order.append((1, int(part)) if part.isdigit() else (0, part))
    return [*order, (1, -1)]
