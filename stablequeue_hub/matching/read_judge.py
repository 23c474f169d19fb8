"""Reads what jobs with some needs are judged against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from stablequeue_hub.matching.incoming import read_incoming
from stablequeue_hub.matching.job_requirements import JobNeeds
from stablequeue_hub.matching.judge import Judge
from stablequeue_hub.matching.server_facts import ServerFacts
from stablequeue_hub.matching.stock import read_stock
from stablequeue_hub.store.hub_settings_table import queue_is_paused


def read_judge(
    connection: Connection, needs: Iterable[JobNeeds], servers: Mapping[str, ServerFacts]
) -> Judge:
    """The judge of jobs with these needs."""
    wanted = {lookup for one in needs for lookup in one.lookups()}
    return Judge(
        servers,
        read_stock(connection, wanted),
        queue_paused=queue_is_paused(connection),
        incoming=read_incoming(connection),
    )
