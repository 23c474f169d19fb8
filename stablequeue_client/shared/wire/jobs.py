"""The wire contract of jobs: what may be asked of the hub about them, and its answers. Pure."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stablequeue_client.shared.model_files.roles import Role

JOB_MAX_BYTES = 64 * 1024 * 1024
"""Largest body with a payload: it may carry pictures to start from."""
REQUIREMENTS_MAX = 200
DEFAULTS = "default_settings"
"""Field of a payload: settings that stood at their default where the job was made. They count where they are
known, and ask for nothing where they are not."""
CHOICES = "script_choices"
"""Field of a payload: what is chosen where a script is given a place in a list: {title: {number of the
argument: word}}."""
JOB_ID_LENGTH = 36
"""Characters of a job's id, a UUID as text."""

RequirementStatus = Literal["found", "ambiguous", "unhashed", "missing", "not_checked"]
"""``found``: one content is meant. ``ambiguous``: several would fit, none is guessed. ``unhashed``: files of
this name that nobody has read yet. ``missing``: nobody has it, nor had it. ``not_checked``: a name that an
extension fills in; it holds up nothing."""

ReasonCode = Literal[
    "model_missing",
    "model_ambiguous",
    "model_unhashed",
    "model_unreachable",
    "model_name_shared",
    "architecture_unsupported",
    "sampler_missing",
    "scheduler_missing",
    "upscaler_missing",
    "script_missing",
    "controlnet_model_missing",
    "field_unknown",
    "model_unloadable",
    "server_unreachable",
    "server_frozen",
    "server_unknown",
    "no_agent",
    "no_webui",
    "no_runner",
    "not_for_others",
    "server_in_use",
    "server_paused",
    "server_resting",
    "server_trouble",
    "queue_paused",
    "not_a_target",
    "excluded_refused",
    "excluded_failed",
    "excluded_lost",
    "refused_often",
]
"""Why a server does not get a job. Stable: programs compare them; later versions may have further ones.

``model_name_shared``: another content there is called the same, so that its WebUI could take the wrong one.
``architecture_unsupported``: its WebUI cannot load such a checkpoint. ``model_unloadable``: its WebUI failed
to load this very content. ``field_unknown``: its WebUI's API has no such field, so it would leave it out.
``server_trouble``: something around its WebUI stops it, such as a full disk. ``server_unknown``: it never
told what it has. ``no_agent``: only an old client named it, and StableQueue is not installed there.
``no_webui``: only the agent runs there, which makes no pictures. ``no_runner``: StableQueue is not running
in a WebUI there.
``not_for_others``: it works for nobody but its own WebUI. ``server_in_use``: so it is just now, because
somebody uses it or said "not now". ``server_resting``: it failed several times in a row, and gets no jobs for
ten minutes or until it is resumed or its own WebUI queues one. ``excluded_...``: it had the job before, and
sent it back, failed with it or was lost. ``refused_often``: so many servers sent it back that it waits for a
person."""


class JobCheckRequest(msgspec.Struct, frozen=True):
    """``POST /api/v1/jobs/check``. ``payload``: the WebUI's own txt2img or img2img JSON; or in its place
    ``infotext``: the text that a WebUI writes under a picture (up to 1 MiB), whose hashes count too.

    ``server``: id or alias of the server on which the names in it were written; a server's own key says so
    by itself. ``targets``: ids or aliases of the servers that may run it; None: any.
    """

    payload: dict[str, Any] | None = None
    infotext: str | None = None
    server: str | None = None
    targets: list[str] | None = None


class RequirementCheck(msgspec.Struct, frozen=True):
    """One model that the job names: ``name`` and ``hash`` as written, ``sha256`` and ``model`` (the hub's
    name for it) when ``found``. ``candidates``: SHA256s among which an ambiguous name does not say."""

    role: Role
    name: str
    hash: str | None
    status: RequirementStatus
    sha256: str | None = None
    model: str | None = None
    candidates: list[str] = []


class Reason(msgspec.Struct, frozen=True):
    """Why not: a code (``ReasonCode``, or one of a later version), a sentence, and which requirement (its
    place in the list) it is about, if one."""

    code: str
    text: str
    requirement: int | None = None


class ServerCheck(msgspec.Struct, frozen=True):
    """One server. ``ok``: the job could run there; else ``reasons`` says why not, every one of them.

    ``not_checked``: what else the job needs and the server does not say it has or lacks, such as
    "sampler Euler"; it holds up nothing.
    """

    server_id: str
    alias: str
    ok: bool
    reasons: list[Reason] = []
    not_checked: list[str] = []


class Help(msgspec.Struct, frozen=True):
    """What would make a requirement hold, for people; ``servers`` are aliases of those that have it."""

    requirement: int
    text: str
    servers: list[str] = []


class JobCheck(msgspec.Struct, frozen=True):
    """``possible``: at least one server could run the job now. A warning, never a refusal. ``payload``: what
    an ``infotext`` became; None when the request had one. ``warnings``: sentences about fields that no WebUI
    is known to have, with the field that is probably meant. ``left_out``: what the infotext says and a job
    does not take over, such as "ADetailer model"."""

    possible: bool
    requirements: list[RequirementCheck]
    servers: list[ServerCheck]
    helps: list[Help] = []
    payload: dict[str, Any] | None = None
    warnings: list[str] = []
    left_out: list[str] = []


class JobSubmission(msgspec.Struct, frozen=True):
    """``POST /api/v1/jobs``: as a check, and how often. Always queued; what is missing is a warning.

    ``count``: 1 to 1,000 jobs that differ in their seed: the ``same``, each ``random``, or one more each
    (``increment``); a first seed of -1 is chosen at random. ``priority``: -10 to 10, higher runs first.
    ``idempotency_key`` (up to 200 characters): the same submission sent again is answered, not queued again.
    """

    payload: dict[str, Any] | None = None
    infotext: str | None = None
    server: str | None = None
    targets: list[str] | None = None
    count: int = 1
    seed_rule: Literal["same", "random", "increment"] = "increment"
    priority: int = 0
    name: str = ""
    idempotency_key: str = ""


class Submitted(msgspec.Struct, frozen=True):
    """202: the ids of the jobs in order, and what the check says now. ``job_id`` is the first."""

    job_id: str
    batch_id: str
    job_ids: list[str]
    check: JobCheck
    repeated: bool = False


class ServerWhy(msgspec.Struct, frozen=True):
    """One server. ``ok``: it would get the job; then ``before`` says how many jobs come first (0: it is next;
    None: not known). ``working``: it works on another job just now, which is no reason against it."""

    server_id: str
    alias: str
    ok: bool
    reasons: list[Reason] = []
    not_checked: list[str] = []
    working: bool = False
    before: int | None = None


class JobWhy(msgspec.Struct, frozen=True):
    """``GET /api/v1/jobs/{id}/why``. ``waiting_for``: the same as one sentence, "" unless the job is pending;
    ``waiting_code``: what it waits for, None when it is in line."""

    job_id: str
    state: str
    waiting_for: str
    waiting_code: str | None
    servers: list[ServerWhy]


class JobRequirementInfo(msgspec.Struct, frozen=True):
    """A model that a job names, as it was resolved at submission."""

    role: str
    name: str
    hash: str | None
    status: str
    sha256: str | None


class JobPictureInfo(msgspec.Struct, frozen=True):
    """A finished picture, at ``GET /api/v1/jobs/{job_id}/pictures/{number}``. ``bytes`` of the PNG file."""

    number: int
    bytes: int
    width: int
    height: int
    sha256: str
    infotext: str


class JobInfo(msgspec.Struct, frozen=True):
    """One job. Times are milliseconds since 1970 UTC. ``targets``: server ids; None: any server.

    ``server_id``: who works on it, or did last. ``attempts``: runs that came to nothing. ``outcome``: how its
    models were confirmed after the run (``confirmed``, ``not_provable``, ``wrong``, ``accepted``).
    ``failure``: a stable code, and why in words. ``progress``: 0 to 1 while a server works on it.

    ``payload``, ``requirements`` and ``pictures`` only when one job is asked for.
    """

    job_id: str
    batch_id: str
    state: str
    name: str
    priority: int
    submitted_by: str
    seed: int
    targets: list[str] | None
    created_ms: int
    changed_ms: int
    ended_ms: int | None
    deadline_ms: int | None = None
    server_id: str | None = None
    attempts: int = 0
    starred: bool = False
    outcome: str | None = None
    failure: str | None = None
    failure_text: str | None = None
    progress: float | None = None
    payload: dict[str, Any] | None = None
    requirements: list[JobRequirementInfo] | None = None
    pictures: list[JobPictureInfo] | None = None


class JobPage(msgspec.Struct, frozen=True):
    """Jobs of one page out of ``total``, newest first. ``next`` leads to the following page: send it as
    ``before``; None at the end."""

    total: int
    jobs: list[JobInfo]
    next: int | None = None
