"""Reads what jobs with some needs are judged against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from stablequeue_hub.matching.job_requirements import JobNeeds
from stablequeue_hub.matching.judge import Judge
from stablequeue_hub.matching.server_facts import ServerFacts, queue_is_paused
from stablequeue_hub.matching.stock import stocks_of


def read_judge(
    connection: Connection, needs: Iterable[JobNeeds], servers: Mapping[str, ServerFacts]
) -> Judge:
    """The judge of jobs with these needs."""
    wanted = {lookup for one in needs for lookup in one.lookups()}
    return Judge(servers, stocks_of(connection, wanted), queue_paused=queue_is_paused(connection))
