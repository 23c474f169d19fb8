"""What a host's launcher gives to an extension's install.py and to its page."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

python = sys.executable


def git_tag() -> str:
    # Not by ``fake_family``: install.py runs with the host alone on its path.
    from modules_forge import forge_version

    return str(forge_version.version)


def is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def run(
    command: str,
    desc: str | None = None,
    errdesc: str | None = None,
    custom_env: object = None,
    live: bool = False,
) -> str:
    if desc is not None:
        print(desc)
    done = subprocess.run(
        command, shell=True, env=os.environ, capture_output=not live, text=True, errors="ignore"
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"{errdesc or 'Error running command'}.\nCommand: {command}\n{done.stdout}\n{done.stderr}"
        )
    return done.stdout or ""


def run_pip(command: str, desc: str | None = None, live: bool = False) -> str:
    return run(
        f'"{python}" -m pip {command} --prefer-binary',
        desc=f"Installing {desc}",
        errdesc=f"Couldn't install {desc}",
        live=live,
    )
