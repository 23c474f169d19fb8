"""Starts the hub from the environment that ``current`` names. Standard library only: it is copied beside the
environments and run as ``python -I -S start_hub.py hub --data DIR --port N``.

``-I`` and ``-S`` keep the variables and the packages of the Python that runs it out of the hub.
"""

from __future__ import annotations

import os
import runpy
import sys

CURRENT = "current"
FOREIGN = ("site-packages", "dist-packages")


def use_only(environment: str) -> None:
    """Have imports come from ``environment`` and the standard library alone.

    A Python with a ``._pth`` file (that of one-click packages) has its packages there in spite of ``-S``.
    """
    own = [path for path in sys.path if path and not any(name in path.split(os.sep) for name in FOREIGN)]
    sys.path[:] = [environment, *own]


def main(folder: str, arguments: list[str]) -> None:
    """Never returns normally: the hub's exit code is raised as SystemExit."""
    with open(os.path.join(folder, CURRENT), encoding="utf-8") as file:
        environment = os.path.join(folder, file.read().strip())
    use_only(environment)
    sys.argv[1:] = arguments
    runpy.run_module("stablequeue_hub", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    # The folder of this script: not on the path of an isolated Python, but on that of one with a ._pth.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or os.curdir) != here]
    main(here, sys.argv[1:])
