"""Makes an environment: pip fetches the packages into a folder, our own code is copied beside them.

No venv, ensurepip or build of a wheel takes part, because the Python of a one-click package has none of
them. Packages of the Python that runs pip are neither used nor changed.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from stablequeue_client.own_hub.environments import (
    RECORD,
    UNFINISHED,
    EnvironmentRecord,
    Environments,
    HubSource,
)
from stablequeue_client.own_hub.errors import BuildError
from stablequeue_client.own_hub.pip_output import PipProgress, build_error

Tell = Callable[[str, int, int], None]
"""(what is done now, done, total)"""
NEEDED_BYTES = 300_000_000
LOG = "hub-build.log"
_TAIL_LINES = 60
_OVERRIDDEN = ("PYTHONPATH", "PYTHONSTARTUP", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIREMENT")
_TRY_IMPORTS = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "import stablequeue_hub.process, fastapi, pydantic, sqlalchemy, alembic, uvicorn; "
    "assert pydantic.__file__.startswith(sys.argv[1]), pydantic.__file__"
)


def build(environments: Environments, source: HubSource, made: EnvironmentRecord, tell: Tell) -> None:
    """Make the environment ``made``. Raises BuildError; what is left of it is then never used."""
    environments.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    environments.clean_unfinished()
    _require_space(environments.folder)
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=environments.folder))
    try:
        packages, scratch = unfinished / "packages", unfinished / "scratch"
        scratch.mkdir()
        _fetch(source, packages, scratch, made.python, tell)
        tell("Testing the packages", 88, 100)
        source.copy_to(packages)
        _try_out(packages, made.python)
        (packages / RECORD).write_bytes(msgspec.json.encode(made))
        _publish(packages, environments.path(made))
    except OSError as error:
        raise build_error([f"ERROR: {error}"], str(environments.folder)) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _require_space(folder: Path) -> None:
    if shutil.disk_usage(folder).free < NEEDED_BYTES:
        raise build_error(["No space left on device"], str(folder))


def _fetch(source: HubSource, packages: Path, scratch: Path, python: str, tell: Tell) -> None:
    """Install the packages into ``packages``; pip's own temporary files lie on the same disk."""
    progress = PipProgress()
    tail: list[str] = []
    folder = packages.parents[1]
    (folder.parent / "logs").mkdir(parents=True, exist_ok=True, mode=0o700)
    words = [*_installer(python), "--target", str(packages), *source.requirements]
    process = subprocess.Popen(
        words,
        env=_environment(scratch),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None
    with open(folder.parent / "logs" / LOG, "w", encoding="utf-8") as log:
        for line in process.stdout:
            log.write(line)
            tail = [*tail[-_TAIL_LINES:], line]
            progress.take(line)
            tell(progress.words, progress.percent, 100)
    if process.wait() != 0:
        raise build_error(tail, str(folder))


def _installer(python: str) -> list[str]:
    """pip of this Python, else uv, with which some WebUIs make a Python that has no pip."""
    uv = shutil.which("uv")
    if uv and importlib.util.find_spec("pip") is None:
        return [uv, "pip", "install", "--python", python]
    plain = ["--progress-bar", "off", "--no-warn-script-location", "--no-compile"]
    patience = ["--timeout", "20", "--retries", "2"]
    return [python, "-m", "pip", "install", "--prefer-binary", *plain, *patience]


def _environment(scratch: Path) -> dict[str, str]:
    """The user's own, for proxies and mirrors, without what would send packages elsewhere."""
    kept = {name: value for name, value in os.environ.items() if name not in _OVERRIDDEN}
    own = {
        "PIP_USER": "0",
        "PIP_REQUIRE_VIRTUALENV": "0",
        "PIP_NO_INPUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }
    return {**kept, **own, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))}


def _try_out(packages: Path, python: str) -> None:
    """Raises BuildError unless what a hub needs can be imported from there."""
    words = [python, "-I", "-S", "-c", _TRY_IMPORTS, str(packages)]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=300, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:300]
        raise BuildError(
            f"The hub's packages were fetched but do not work here: {last}",
            remedy="The hub can also run with another Python, or on another computer: `stablequeue hub`.",
        )


def _publish(packages: Path, target: Path, attempts: Sequence[float] = (0.2, 1.0, 3.0, 0.0)) -> None:
    """Give it its final name; a virus scanner on Windows may still hold a file of it for a moment."""
    if target.exists():  # without its record, so nothing uses it
        shutil.rmtree(target)
    for wait_s in attempts:
        try:
            os.rename(packages, target)
            return
        except PermissionError:
            if not wait_s:
                raise
            time.sleep(wait_s)
