"""Run by the WebUI, in a process of its own, before each start: sees to our few requirements.

Standard library only. Installs what is missing and nothing else: everything that is installed already is
given to pip as a constraint, so that no pin of the WebUI moves. Whatever fails is one sentence, and the
WebUI starts; the tab then says the same.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence

# The WebUI runs this file by its path; make sure of our own folder however it was started.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from stablequeue_client.webui.host.python_requirements import PythonRequirement, missing, too_old

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_VERSION = re.compile(r"\d[A-Za-z0-9.!+_-]*")


def main() -> None:
    old = too_old()
    if old:
        _tell(f"{_listed(old)} in this Python is too old; the WebUI may need it so, it is left alone", old)
    wanted = missing()
    if not wanted:
        return
    try:
        _install(wanted)
    except Exception as error:
        cause = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        _tell(f"{_listed(wanted)} could not be installed ({cause})", wanted)


def _install(wanted: Sequence[PythonRequirement]) -> None:
    """Raises RuntimeError (or what pip's start raises) when pip fails."""
    with tempfile.TemporaryDirectory(prefix="stablequeue-") as folder:
        constraints = os.path.join(folder, "installed.txt")
        with open(constraints, "w", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in _everything_installed()))
        # A computer without network shall not hold up each start of the WebUI for minutes.
        options = ["--disable-pip-version-check", "--timeout", "15", "--retries", "1", "-c", constraints]
        _pip([item.requirement for item in wanted], options)


def _pip(requirements: Sequence[str], options: Sequence[str]) -> None:
    words = ["install", *requirements, *options]
    try:
        from launch import run_pip
    except BaseException:  # another launcher, or one that ends itself when imported
        command = [sys.executable, "-m", "pip", *words, "--prefer-binary"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            raise RuntimeError(_last_error(done.stderr)) from None
        return
    # The WebUI's own way takes a shell's words and knows its INDEX_URL.
    try:
        run_pip(" ".join(f'"{word}"' for word in words), "requirements of StableQueue")
    except RuntimeError as error:
        raise RuntimeError(_last_error(str(error))) from None


def _last_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["pip said nothing"])[-1]


def _everything_installed() -> list[str]:
    """``name==version`` of each installed distribution, as far as pip can read it."""
    found = set()
    for distribution in importlib.metadata.distributions():
        name, version = distribution.metadata["Name"], distribution.version
        if _NAME.fullmatch(name or "") and _VERSION.fullmatch(version or ""):
            found.add(f"{name}=={version}")
    return sorted(found)


def _listed(items: Sequence[PythonRequirement]) -> str:
    return ", ".join(item.name for item in items)


def _tell(what: str, items: Sequence[PythonRequirement]) -> None:
    """One sentence with the remedy, where the WebUI's start-up messages stand."""
    words = " ".join(f'"{item.requirement}"' for item in items)
    sys.stdout.write(
        f"StableQueue: {what}. The WebUI starts without it. "
        f'To mend it, run: "{sys.executable}" -m pip install {words}\n'
    )


if __name__ == "__main__":
    main()
