"""What queued jobs need, as it was stored at submission and decided by people since."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.generation.capability_needs import CapabilityNeed
from stablequeue_client.shared.generation.requirements import Requirement
from stablequeue_client.shared.models.roles import KINDS_OF, Role
from stablequeue_hub.matching.resolve import JobRequirement, resolve
from stablequeue_hub.matching.stock_of_many import WantedModel
from stablequeue_hub.models.availability import availability_of_many
from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import job_payloads, job_requirements

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live

_ROLES: dict[str, Role] = {str(role): role for role in KINDS_OF}
_decode_needs = msgspec.json.Decoder(list[CapabilityNeed]).decode


@dataclass(frozen=True)
class StoredRequirement:
    """One model that a payload names. ``decision``: what a person said of it, on ``decision_server_id`` only
    if that is set."""

    role: Role
    name: str
    hash: str | None
    status: str
    sha256: str | None
    decision: str | None = None
    decision_server_id: str | None = None

    @property
    def wanted(self) -> WantedModel | None:
        """What is looked for on a server; None for what nobody knows."""
        if self.status not in ("found", "unhashed"):
            return None
        return WantedModel(self.role, self.name, self.sha256 if self.status == "found" else None)

    @property
    def counts(self) -> bool:
        """False: it holds up nothing anywhere."""
        anywhere = self.decision == "run_anyway" and self.decision_server_id is None
        return not (self.status == "not_checked" or self.decision == "not_a_model" or anywhere)

    def is_waived_on(self, server_id: str) -> bool:
        return not self.counts or (self.decision == "run_anyway" and self.decision_server_id == server_id)


@dataclass(frozen=True)
class StoredPayload:
    """What jobs of one payload need. ``source_id``: the server on which its names were written."""

    source_id: str | None
    needs: tuple[CapabilityNeed, ...]
    requirements: tuple[StoredRequirement, ...]


_PAYLOADS = Prepared(
    sa.select(job_payloads.c.id, job_payloads.c.source_server_id, job_payloads.c.needs_json).where(
        in_list(job_payloads.c.id, "ids")
    )
)
_REQUIREMENTS = Prepared(
    sa.select(
        job_requirements.c.payload_id,
        job_requirements.c.role,
        job_requirements.c.name,
        job_requirements.c.hash,
        job_requirements.c.status,
        job_requirements.c.sha256,
        job_requirements.c.decision,
        job_requirements.c.decision_server_id,
    )
    .where(in_list(job_requirements.c.payload_id, "ids"))
    .order_by(job_requirements.c.payload_id, job_requirements.c.place)
)


def stored_payloads(connection: Connection, payload_ids: Collection[int]) -> dict[int, StoredPayload]:
    """By id; requirements in the order of their places, which count from 0."""
    found: dict[int, StoredPayload] = {}
    for part in slices(sorted(payload_ids)):
        requirements: dict[int, list[StoredRequirement]] = {payload_id: [] for payload_id in part}
        for payload_id, role, *columns in _REQUIREMENTS.all(connection, {"ids": part}):
            requirements[payload_id].append(StoredRequirement(_ROLES[role], *columns))
        for payload_id, source_id, needs in _PAYLOADS.all(connection, {"ids": part}):
            decoded = tuple(_decode_needs(needs)) if needs != "[]" else ()
            found[payload_id] = StoredPayload(source_id, decoded, tuple(requirements[payload_id]))
    return found


def judged_requirements(
    connection: Connection, payload: StoredPayload, live: Live, *, now_ms: int
) -> list[JobRequirement]:
    """As ``job_check`` judges them: found ones with where their content is, decided ones as holding up
    nothing. What is ambiguous or not read yet is looked up again, for what it may mean."""
    contents = list(
        dict.fromkeys(one.sha256 for one in payload.requirements if one.status == "found" and one.sha256)
    )
    answers = availability_of_many(connection, contents, live, now_ms=now_ms) if contents else []
    matches = {answer.query: answer.matches[0] for answer in answers if answer.matches}
    unclear = [_written(one) for one in payload.requirements if one.status in ("ambiguous", "unhashed")]
    again: Sequence[JobRequirement] = ()
    if unclear:
        again = resolve(connection, list(dict.fromkeys(unclear)), payload.source_id, live, now_ms=now_ms)
    resolved = {one.written: one for one in again}
    found = []
    for one in payload.requirements:
        written, match = _written(one), matches.get(one.sha256 or "")
        if not one.counts:
            found.append(JobRequirement(written, "not_checked", match))
        elif one.status == "found" and match:
            found.append(JobRequirement(written, "found", match))
        else:
            found.append(resolved.get(written) or JobRequirement(written, "missing"))
    return found


def _written(stored: StoredRequirement) -> Requirement:
    return Requirement(stored.role, stored.name, stored.hash)
