"""The views that a hub also answers as values."""

from __future__ import annotations

from typing import TypeAlias

from stablequeue_client.shared.views.job_values import JobDetails, NewJob, PickList, QueuePage
from stablequeue_client.shared.views.values import FirstLine, ModelDetails, ModelsPage, ServersPage

View: TypeAlias = (
    FirstLine | ModelsPage | ModelDetails | ServersPage | QueuePage | JobDetails | NewJob | PickList
)
VIEW_TYPES: dict[str, type[View]] = {
    "first-line": FirstLine,
    "models": ModelsPage,
    "model": ModelDetails,
    "servers": ServersPage,
    "queue": QueuePage,
    "job": JobDetails,
    "new": NewJob,
    "pick": PickList,
}
"""``GET /views/{name}[/{id}]`` with ``Accept: application/json``."""
