"""A room of the hub imports only rooms below it, so that each can be understood without those above."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    *(
        "process",
        "app",
        "routers",
        "background",
        "page",
        "legacy",
        "http",
        "actions",
        "hub",
        "dispatch",
        "jobs",
    ),
    *(
        "matching",
        "models",
        "servers",
        "inventory",
        "access",
        "events",
        "store",
        "clock",
        "settings",
        "errors",
    ),
)
"""From the top down; modules beside the rooms count as rooms."""
STILL_UPWARD: set[tuple[str, str]] = set()


def test_imports_lead_down_and_no_router_imports_a_router() -> None:
    upward = set()
    for path in (ROOT / "stablequeue_hub").rglob("*.py"):
        mine = path.relative_to(ROOT / "stablequeue_hub").with_suffix("").parts
        if mine[0].startswith("__") or "migrations" in mine:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("stablequeue_hub."):
                continue
            theirs = str(node.module).split(".")[1]
            if theirs == mine[0] == "routers" or ROOMS.index(theirs) < ROOMS.index(mine[0]):
                upward.add((mine[0], theirs))
    assert upward == STILL_UPWARD
