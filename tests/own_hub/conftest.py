"""A host's Python as WebUIs have it, a checkout to make hubs from, and one environment made from both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stablequeue_client.own_hub import OwnHub, OwnHubStatus

from ..free_ports import free_port
from .making import Made, copy_checkout, settled

# What a one-click package's Python lacks, and packages of a host that no hub can run with.
_NO_VENV = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("venv", "ensurepip", "virtualenv"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""
_TOO_OLD = "raise ImportError(__name__ + ' of the host is too old for a hub')\n"


@pytest.fixture(scope="session")
def host_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with pip, without venv and ensurepip, with useless packages of the hub's names."""
    folder = tmp_path_factory.mktemp("host") / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.check_output([python, "-c", ask], text=True).strip())
    (packages / "sitecustomize.py").write_text(_NO_VENV)
    for name in ("pydantic", "starlette", "fastapi", "sqlalchemy", "msgspec", "psutil"):
        (packages / name).mkdir()
        (packages / name / "__init__.py").write_text(_TOO_OLD)
    for name in ("venv", "ensurepip"):
        assert subprocess.run([python, "-c", f"import {name}"], capture_output=True).returncode == 1
    return python


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this repository, as it lies in a WebUI's ``extensions`` folder."""
    return copy_checkout(tmp_path / "extensions" / "stablequeue")


@pytest.fixture(scope="session")
def made_once(host_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Made by the button's own way, with packages from the package server; stopped again."""
    folder = tmp_path_factory.mktemp("made")
    checkout = copy_checkout(folder / "extension")
    hub = OwnHub(folder / "machine", checkout, str(host_python), first_port=free_port())
    statuses: list[OwnHubStatus] = []
    hub.start()
    try:
        assert settled(hub, 300, statuses.append).error is None
    finally:
        hub.stop()
    return Made(folder / "machine", checkout, statuses)


@pytest.fixture
def made(made_once: Made, tmp_path: Path) -> Iterator[Made]:
    """A copy of it for a test that changes things; what runs there at the end is stopped."""
    copy = Made(tmp_path / "machine", made_once.checkout, made_once.statuses)
    shutil.copytree(made_once.machine_dir, copy.machine_dir, symlinks=True)
    (copy.machine_dir / "own_hub.json").unlink()
    yield copy
    OwnHub(copy.machine_dir, copy.checkout, sys.executable).stop()


@pytest.fixture
def hub(made: Made, host_python: Path) -> OwnHub:
    return OwnHub(made.machine_dir, made.checkout, str(host_python), first_port=free_port())
