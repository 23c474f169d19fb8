"""The wire contract of a job's report: what happened to it, and how its models were confirmed. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from stablequeue_client.shared.wire.jobs import JobInfo, JobWhy


class ReportFile(msgspec.Struct, frozen=True):
    """The file that a server was told to load: ``name`` as its WebUI calls it, ``path`` a wire path below
    ``root``, whose ``label`` is its owner's name for it."""

    root: str
    label: str | None
    path: str
    name: str
    size: int


class ReportConfirmation(msgspec.Struct, frozen=True):
    """How a model was confirmed after a run: ``confirmed``, ``not_provable`` or ``wrong``, a stable reason,
    and a sentence."""

    outcome: str
    reason: str
    text: str


class ReportUse(msgspec.Struct, frozen=True):
    """One model in one run. ``sha256``: what the index of the server said before the run; None: not read yet.
    ``translated``: what was written in the job in place of its name there; None: it stayed. ``loaded``: what
    the WebUI says it loaded (``loaded``, ``other_file``, ``changed``, ``not_loaded``, ``unknown``)."""

    requirement: int
    file: ReportFile
    sha256: str | None
    translated: str | None = None
    loaded: str | None = None
    loaded_sha256: str | None = None
    confirmation: ReportConfirmation | None = None


class ReportModel(msgspec.Struct, frozen=True):
    """A model as the job names it, and the content that is meant: ``status`` as in ``RequirementCheck``,
    ``model`` the hub's name for it. ``decision``: what a person said of it."""

    place: int
    role: str
    name: str
    hash: str | None
    status: str
    sha256: str | None
    model: str | None
    decision: str | None = None
    decision_server: str | None = None


class ReportRun(msgspec.Struct, frozen=True):
    """A hand-over. ``ended``: ``completed``, ``failed``, ``refused``, ``lost``, ``cancelled``, ``released``;
    None while it goes on. ``traceback``: of the WebUI's error."""

    fence: int
    server_id: str
    server: str
    started_ms: int
    ended_ms: int | None
    ended: str | None
    text: str
    uses: list[ReportUse] = []
    traceback: str = ""


class ReportEvent(msgspec.Struct, frozen=True):
    """One thing that happened: a stable ``action``, a sentence, and who did it (``actor`` as in events,
    ``by`` its name today). ``reason``: why, if somebody said so."""

    at_ms: int
    action: str
    text: str
    actor: str
    by: str
    reason: str = ""
    details: dict[str, Any] = {}


class RecordedHash(msgspec.Struct, frozen=True):
    """A model that the text of a picture names with a hash."""

    role: str
    name: str
    hash: str


class ReportPicture(msgspec.Struct, frozen=True):
    """A picture, and what its text records of models."""

    number: int
    recorded: list[RecordedHash]


class JobReport(msgspec.Struct, frozen=True):
    """``GET /api/v1/jobs/{id}/report``. ``why`` only while the job waits."""

    job: JobInfo
    submitted_by: str
    targets: list[str] | None
    models: list[ReportModel]
    runs: list[ReportRun]
    timeline: list[ReportEvent]
    pictures: list[ReportPicture]
    why: JobWhy | None = None
