"""What ``status`` and ``inventory`` answer, from this process's own values: neither asks the hub."""

from __future__ import annotations

from typing import Any

import msgspec

from stablequeue_client import __version__
from stablequeue_client.index.rows import IndexRow
from stablequeue_client.webui.parts.runtime import Runtime


def status(rt: Runtime) -> dict[str, Any]:
    """One look at everything; see docs/extension-api.md."""
    rt.models.refresh()
    snapshot, hub, agent, own = rt.models.snapshot, rt.hub.state(), rt.agent.state(), rt.own_hub.status()
    progress, problem = rt.models.progress, rt.models.problem
    return {
        "version": __version__,
        "webui": {"family": rt.host.family, "gradio": rt.host.gradio_major},
        "models": len(snapshot.models),
        "files": len(snapshot.files),
        "inventory_version": snapshot.version,
        "folders": [
            {"root": root.root_id, "kind": root.kind, "health": root.health} for root in snapshot.roots
        ],
        "reading": msgspec.to_builtins(progress) if progress else None,
        "problem": {"message": problem.message, "remedy": problem.remedy} if problem else None,
        "agent": {"running": agent.running, "since_ms": int(agent.since * 1000), "problem": agent.problem},
        "hub": {"kind": hub.kind, "since_ms": hub.since_ms, "message": hub.message, "remedy": hub.remedy},
        "own_hub": {"phase": own.phase, "step": own.step, "done": own.done, "total": own.total},
    }


def inventory(rt: Runtime, offset: int, limit: int) -> dict[str, Any]:
    """``limit`` files from ``offset`` on, ordered by folder and path; ``next`` None at the end.

    Pages of one ``version`` fit together; when it moved, whoever wants everything begins again.
    """
    rt.models.refresh()
    snapshot = rt.models.snapshot
    rows = sorted(snapshot.rows, key=lambda row: row.key)
    end = offset + limit
    return {
        "version": snapshot.version,
        "total": len(rows),
        "files": [_file(row) for row in rows[offset:end]],
        "next": end if end < len(rows) else None,
    }


def _file(row: IndexRow) -> dict[str, Any]:
    digests = row.digests
    return {
        "root": row.root_id,
        "path": row.path,
        "kind": row.kind,
        "size": row.size,
        "state": row.state,
        "reason": row.reason,
        "sha256": digests.sha256,
        "autov2": digests.autov2,
        "autov3": digests.autov3,
        "base_model": row.base_model,
    }
