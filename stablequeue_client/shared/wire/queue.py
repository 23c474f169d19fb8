"""The wire contract of managing the queue: what may be asked about jobs that are there. Pure."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stablequeue_client.shared.wire.jobs import JobCheck, JobInfo


class QueueServer(msgspec.Struct, frozen=True):
    """A server, and whether its owner or an admin keeps jobs from it."""

    server_id: str
    alias: str
    paused: bool


class QueueInfo(msgspec.Struct, frozen=True):
    """``GET /api/v1/queue``. ``jobs``: how many in each state. ``paused``: no server gets a job."""

    jobs: dict[str, int]
    paused: bool
    servers: list[QueueServer]


class JobEdit(msgspec.Struct, frozen=True):
    """``PATCH /api/v1/jobs/{id}``: what is left out stays. ``name`` may change at any time, the rest while
    the job waits.

    ``targets``: ids or aliases of servers, null for any. ``deadline_ms``: until when it waits, in
    milliseconds since 1970 UTC, null for ever. ``payload`` is a whole new one; the other values go into it,
    or into the one that is there. ``server``: where the names in it were written; as before when left out.
    ``seed``: -1 for another one. ``checkpoint``: "" for the one that the WebUI has loaded.
    """

    name: str | msgspec.UnsetType = msgspec.UNSET
    priority: int | msgspec.UnsetType = msgspec.UNSET
    targets: list[str] | msgspec.UnsetType | None = msgspec.UNSET
    deadline_ms: int | msgspec.UnsetType | None = msgspec.UNSET
    server: str | msgspec.UnsetType = msgspec.UNSET
    payload: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    prompt: str | msgspec.UnsetType = msgspec.UNSET
    negative_prompt: str | msgspec.UnsetType = msgspec.UNSET
    steps: int | msgspec.UnsetType = msgspec.UNSET
    sampler_name: str | msgspec.UnsetType = msgspec.UNSET
    scheduler: str | msgspec.UnsetType = msgspec.UNSET
    cfg_scale: float | msgspec.UnsetType = msgspec.UNSET
    width: int | msgspec.UnsetType = msgspec.UNSET
    height: int | msgspec.UnsetType = msgspec.UNSET
    seed: int | msgspec.UnsetType = msgspec.UNSET
    checkpoint: str | msgspec.UnsetType = msgspec.UNSET


class EditedJob(msgspec.Struct, frozen=True):
    """The job as it is now. ``check``: where it can run; None when only its name changed."""

    job: JobInfo
    check: JobCheck | None = None


class RunAgain(msgspec.Struct, frozen=True):
    """``POST /api/v1/jobs/{id}/again``. ``seed``: the ``same``, a ``new`` one, or a number.

    ``idempotency_key``: as of a submission; the same request sent again is answered, not queued again.
    """

    seed: Literal["same", "new"] | int = "same"
    idempotency_key: str = ""


class JobActions(msgspec.Struct, frozen=True):
    """``POST /api/v1/jobs/actions``: the same for each of up to 500 jobs. ``value``: the new priority;
    ``earlier`` and ``later`` move it by one."""

    action: Literal["cancel", "delete", "star", "unstar", "priority", "earlier", "later", "retry"]
    ids: list[str]
    value: int | None = None


class ActionProblem(msgspec.Struct, frozen=True):
    """Why it was not done; as an error answer has it."""

    code: str
    message: str
    remedy: str


class ActionResult(msgspec.Struct, frozen=True):
    """What came of one job. ``problem``: None when it was done."""

    job_id: str
    problem: ActionProblem | None = None


class ActionResults(msgspec.Struct, frozen=True):
    """In the order of the ids."""

    results: list[ActionResult]


class Decision(msgspec.Struct, frozen=True):
    """``POST /api/v1/jobs/{id}/decisions``: what a person says about one model that a job waits for, for all
    jobs of the same payload. ``requirement``: its place in the job's list, from 0.

    ``run_anyway``: without it, or with what the WebUI takes for it; on one ``server`` (id or alias), or
    anywhere. ``not_a_model``: it is a word like others. ``give_up``: cancel the jobs that wait.
    """

    requirement: int
    decision: Literal["run_anyway", "not_a_model", "give_up"]
    server: str | None = None


class Decided(msgspec.Struct, frozen=True):
    """The job as it is now, and all jobs that the decision was made for."""

    job: JobInfo
    job_ids: list[str]


class ModelCopy(msgspec.Struct, frozen=True):
    """A file of a model on a server: ``path`` (a wire path) in the folder labelled so; ``size`` in bytes."""

    server_id: str
    alias: str
    folder: str | None
    path: str
    size: int


class ModelPlace(msgspec.Struct, frozen=True):
    """A server without it, and its ``folders`` for models of the kind, by their labels. ``could_run``: at
    least one of the jobs could run there now if the model was there."""

    server_id: str
    alias: str
    could_run: bool
    folders: list[str]


class WaitingGroup(msgspec.Struct, frozen=True):
    """Jobs that wait for one model: ``sha256`` where it is known which one, else a ``name`` as written.

    ``code``: what is wrong with it (``model_missing``, ``model_ambiguous``, ``model_unhashed``,
    ``model_unreachable``). ``jobs``: how many; ``job_ids``: the first of them. ``deadline_ms``: when the
    first of them gives up. ``copies``: where it can be copied from by hand, ``places``: where to.
    """

    kind: str
    name: str
    sha256: str | None
    code: str
    jobs: int
    job_ids: list[str]
    deadline_ms: int | None
    copies: list[ModelCopy]
    places: list[ModelPlace]


class WaitingGroups(msgspec.Struct, frozen=True):
    """``GET /api/v1/queue/waiting``: the groups with most jobs first, out of ``total``."""

    total: int
    groups: list[WaitingGroup]
