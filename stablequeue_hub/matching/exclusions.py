"""Servers that shall not get a job again: which exclusions count, and since when one does not any more.

One that waits for a newer inventory ends as soon as the server has another one than it had then: not only one
with a higher number, because an index that was made anew counts from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import job_exclusions, servers


class Exclusion(NamedTuple):
    """A server that is not to get a job again. ``reason``: refused, failed or lost."""

    server_id: str
    reason: str
    text: str


def is_over(sequence: sa.ColumnElement[int] | sa.ScalarSelect[int] | int) -> sa.ColumnElement[bool]:
    """The condition for an exclusion that ended; ``sequence``: of the inventory that its server has now."""
    return job_exclusions.c.sequence != sequence


_ITS_SEQUENCE = sa.select(servers.c.sequence).where(servers.c.server_id == job_exclusions.c.server_id)
COUNTS = sa.or_(job_exclusions.c.sequence.is_(None), sa.not_(is_over(_ITS_SEQUENCE.scalar_subquery())))
"""The condition for an exclusion that keeps its server from the job."""

_COUNTING = Prepared(
    sa.select(
        job_exclusions.c.job_id, job_exclusions.c.server_id, job_exclusions.c.reason, job_exclusions.c.text
    ).where(in_list(job_exclusions.c.job_id, "ids"), COUNTS)
)


def exclusions_of(connection: Connection, job_ids: Iterable[str]) -> dict[str, list[Exclusion]]:
    """By job, those that count."""
    found: dict[str, list[Exclusion]] = {}
    for part in slices(job_ids):
        for job_id, *columns in _COUNTING.all(connection, {"ids": part}):
            found.setdefault(job_id, []).append(Exclusion(*columns))
    return found
