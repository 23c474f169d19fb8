"""Errors of extensions are printed, with their traceback, and the host goes on."""

from __future__ import annotations

import sys
import traceback


def report(message: str, *, exc_info: bool = False) -> None:
    for line in message.splitlines():
        print("***", line, file=sys.stderr)
    if exc_info:
        print(traceback.format_exc(), file=sys.stderr)


def display(e: Exception, task: str, *, full_traceback: bool = False) -> None:
    print(f"*** {task or 'error'}: {type(e).__name__}: {e}", file=sys.stderr)
