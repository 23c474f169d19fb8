"""Whether the checkpoint of a job is there, in the form of the old contract and with our own answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.legacy.answers import OldAvailability
from stablequeue_hub.legacy.payloads import NO_HASH, requested_hash
from stablequeue_hub.models.availability import availability_of_many
from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.tables import job_requirements, models

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live

NOT_KNOWN = "Model not found in local database (no hash match)"
_MATCH_TYPES = {8: "autov1", 10: "autov2", 12: "autov3", 64: "sha256"}
_NOT_THERE = {
    "unavailable": "Model was removed from the job's server",
    "unhashed": "Model is not read yet on the job's server",
    "unreachable": "Model is on the job's server, which is switched off or whose folder is not connected",
}
_UNCLEAR = {
    "ambiguous": "Several models match; give the hash or a full name",
    "unhashed": "Model is not read yet on the job's server",
}


class CheckpointAvailability:
    """Answers for many jobs at once; ``rows`` have the columns of ``jobs`` and ``payload_json``."""

    def __init__(self, connection: Connection, rows: Sequence[Any], live: Live, *, now_ms: int) -> None:
        self._checkpoints = _checkpoints(connection, {row.payload_id for row in rows})
        contents = sorted({one.sha256 for one in self._checkpoints.values() if one.sha256})
        answers = [
            answer
            for part in slices(contents)
            for answer in availability_of_many(connection, part, live, now_ms=now_ms)
        ]
        self._matches = {answer.query: answer.matches[0] for answer in answers if answer.matches}
        self._civitai = _civitai_ids(connection, contents)

    def of(self, row: Any) -> OldAvailability:
        """Of one of the rows. Without a hash the name decides, as in a check."""
        one = self._checkpoints.get(row.payload_id)
        asked = requested_hash(msgspec.json.decode(row.payload_json))
        source = row.hash_source or ("model_hash field" if asked else NO_HASH)
        if one is None or (one.sha256 is None and asked is None):
            unclear = _UNCLEAR.get(one.status) if one is not None else None
            return OldAvailability(False, unclear or source, None, None, None, "N/A", None)
        match = self._matches.get(one.sha256 or "")
        value = asked or (match.hash_autov2 if match else None) or one.sha256
        field = source if asked else "checkpoint_name field"
        if match is None:
            reason = _UNCLEAR.get(one.status, NOT_KNOWN)
            return OldAvailability(False, reason, None, value, None, field, value)
        lack = self._missing_reason(row, match)
        return OldAvailability(
            lack is None,
            lack,
            self._civitai.get(one.sha256),
            value,
            _MATCH_TYPES.get(len(value or ""), "sha256"),
            field,
            value,
        )

    def _missing_reason(self, row: Any, match: Any) -> str | None:
        """Return why it is not available; None when a server that may run the job has it ready."""
        targets = None if row.targets_json is None else msgspec.json.decode(row.targets_json)
        words = [
            entry.availability for entry in match.servers if targets is None or entry.server_id in targets
        ]
        if "available" in words:
            return None
        found = next((text for word, text in _NOT_THERE.items() if word in words), None)
        return found or "Model is not on the job's server"


def _checkpoints(connection: Connection, payload_ids: set[int]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for part in slices(sorted(payload_ids)):
        query = sa.select(job_requirements).where(
            job_requirements.c.payload_id.in_(part), job_requirements.c.role == "checkpoint"
        )
        for row in connection.execute(query.order_by(job_requirements.c.place)):
            found.setdefault(row.payload_id, row)
    return found


def _civitai_ids(connection: Connection, contents: Sequence[str]) -> dict[str | None, int | str]:
    """Numbers as numbers: the old database held some of them as ``101.0``."""
    found: dict[str | None, int | str] = {}
    for part in slices(contents):
        query = sa.select(models.c.hash_sha256, models.c.civitai_id).where(
            models.c.hash_sha256.in_(part), models.c.civitai_id.is_not(None)
        )
        for sha256, civitai_id in connection.execute(query):
            number = civitai_id.removesuffix(".0")
            found[sha256] = int(number) if number.isdecimal() and len(number) < 16 else civitai_id
    return found
