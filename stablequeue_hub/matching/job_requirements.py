"""The models that a job needs, as they are stored: the one type of a requirement, and the one place that
reads ``job_requirements``."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.generation.capability_needs import CapabilityNeed
from stablequeue_client.shared.generation.requirements import Requirement, checkpoint_parts
from stablequeue_client.shared.model_files.model_file import Kind, stem_key
from stablequeue_client.shared.model_files.roles import KINDS_OF, Role
from stablequeue_client.shared.wire.jobs import RequirementStatus
from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import job_payloads, job_requirements, models

CHECKPOINT_ROLES = frozenset({"checkpoint", "hires_checkpoint", "refiner"})
"""Roles of what must be of an architecture that the WebUI can load."""


class Lookup(NamedTuple):
    """What is looked for on a server: a content, or files that nobody has read, by their stem."""

    sha256: str | None
    stem: str = ""


class JobRequirement(NamedTuple):
    """One model that a job names. ``status`` and ``sha256``: what the name means (``RequirementStatus``).

    ``decision``: what a person said of it, for ``decision_server_id`` only if that is set. ``base_model``: of
    the content, where it is known.
    """

    role: Role
    name: str
    hash: str | None
    status: RequirementStatus
    sha256: str | None
    decision: str | None = None
    decision_server_id: str | None = None
    base_model: str | None = None

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return KINDS_OF[self.role]

    @property
    def content(self) -> str | None:
        """The SHA256 of the one content that is meant."""
        return self.sha256 if self.status == "found" else None

    @property
    def written(self) -> Requirement:
        return Requirement(self.role, self.name, self.hash)

    @property
    def counts(self) -> bool:
        """False: it holds up nothing anywhere."""
        anywhere = self.decision == "run_anyway" and self.decision_server_id is None
        return not (self.status == "not_checked" or self.decision == "not_a_model" or anywhere)

    def is_waived_on(self, server_id: str) -> bool:
        """Return whether it holds up nothing on that server, whatever its content is."""
        return not self.counts or (self.decision == "run_anyway" and self.decision_server_id == server_id)

    @property
    def lookup(self) -> Lookup | None:
        """Return what to look for on servers; None for what is not resolved."""
        if self.status == "found" and self.sha256 is not None:
            return Lookup(self.sha256)
        if self.status == "unhashed":
            return Lookup(None, stem_key(checkpoint_parts(self.name)[0].replace("\\", "/")))
        return None


class JobNeeds(NamedTuple):
    """What jobs need of a server: many jobs, few different needs. ``source_id``: the server on which the
    names were written."""

    requirements: tuple[JobRequirement, ...]
    capabilities: tuple[CapabilityNeed, ...] = ()
    source_id: str | None = None

    @property
    def checkpoint(self) -> str | None:
        """The content of the checkpoint, if one is named."""
        return next((one.content for one in self.requirements if one.role == "checkpoint"), None)

    def lookups(self) -> Iterator[Lookup]:
        return (found for one in self.requirements if (found := one.lookup) is not None)


_ROLES: dict[str, Role] = {str(role): role for role in KINDS_OF}
_decode_needs = msgspec.json.Decoder(list[CapabilityNeed]).decode
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
        models.c.base_model,
    )
    .join_from(
        job_requirements,
        models,
        # what kind a model is decides about checkpoints alone
        sa.and_(
            sa.or_(*(job_requirements.c.role == role for role in sorted(CHECKPOINT_ROLES))),
            models.c.hash_sha256 == job_requirements.c.sha256,
        ),
        isouter=True,
    )
    .where(in_list(job_requirements.c.payload_id, "ids"))
    .order_by(job_requirements.c.payload_id, job_requirements.c.place)
)


def requirements_of(connection: Connection, payload_id: int) -> tuple[JobRequirement, ...]:
    """Return those of one payload, in the order of their places."""
    return _requirements(connection, [payload_id])[payload_id]


def _requirements(connection: Connection, payload_ids: list[int]) -> dict[int, tuple[JobRequirement, ...]]:
    found: dict[int, list[JobRequirement]] = {payload_id: [] for payload_id in payload_ids}
    for payload_id, role, *columns in _REQUIREMENTS.all(connection, {"ids": payload_ids}):
        found[payload_id].append(JobRequirement(_ROLES[role], *columns))
    return {payload_id: tuple(several) for payload_id, several in found.items()}


def needs_of_payloads(connection: Connection, payload_ids: Collection[int]) -> dict[int, JobNeeds]:
    """Return by payload id what its jobs need; requirements in the order of their places, from 0."""
    found: dict[int, JobNeeds] = {}
    for part in slices(sorted(payload_ids)):
        requirements = _requirements(connection, part)
        for payload_id, source_id, needs in _PAYLOADS.all(connection, {"ids": part}):
            capabilities = tuple(_decode_needs(needs)) if needs != "[]" else ()
            found[payload_id] = JobNeeds(requirements[payload_id], capabilities, source_id)
    return found
