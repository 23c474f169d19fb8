"""The wire contract between the hub and a runner, which makes the pictures of one server. Pure.

A runner asks for a job and waits; the hub hands it one that this server has the models for. From then on the
``fence`` proves that the job is still this runner's: a number that grows with each hand-over. Only durations
cross the wire.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stablequeue_client.shared.model_files.roles import Role

LEASE_S = 60.0
"""A job whose lease is not renewed for this long is given to another server."""
RENEW_S = 15.0
NEXT_WAIT_MAX_S = 25.0
PICTURE_MAX_BYTES = 64 * 1024 * 1024
PICTURES_MAX = 256
TEXT_MAX = 2_000

RefusalCode = Literal["model_missing", "model_changed", "model_ambiguous", "not_supported", "busy"]
"""Why a job comes back unstarted: what the check just before the run found. ``busy``: its owner needs it."""
RunOutcome = Literal["done", "failed", "interrupted"]
Fault = Literal["job", "file", "surroundings", "host"]
"""Whose fault a failed run is. ``job``: of what the job says; it fails wherever it runs. ``file``: of a model
file that this WebUI cannot load. ``surroundings``: of the host's folders and disks; the job can wait.
``host``: any other error of the WebUI."""
TRACEBACK_MAX = 8_000


class NextRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``POST /api/v1/servers/{server_id}/runner/next``: a job, please.

    ``runner_id`` is random per runner process: another one tells that the process before has died.
    ``others``: whether it may work for others right now. ``loaded``: SHA256 of the checkpoint in memory.
    ``wait_s``: how long to wait for a job, at most ``NEXT_WAIT_MAX_S``. ``trouble``: what keeps it from
    making any picture just now, with the remedy; it gets no job then.
    """

    runner_id: str
    others: bool = False
    loaded: str | None = None
    wait_s: float = NEXT_WAIT_MAX_S
    trouble: str = ""


class AssignedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """The file of this server that a requirement means: ``root`` and ``path`` as in its own inventory,
    ``name`` as its WebUI takes it in the place where the requirement stands. ``requirement`` is its place in
    the job's list. ``sha256`` None: not read yet, so only its name is known. ``used`` False: the generation
    itself does not load it (a LoRA in a negative prompt). ``script``: an argument of a script names it."""

    requirement: int
    role: Role
    written: str
    name: str
    root: str
    path: str
    sha256: str | None
    size: int
    used: bool = True
    script: bool = False


class RenamedModel(msgspec.Struct, frozen=True):
    """In the payload ``name`` stands now in the place of ``written``."""

    role: Role
    written: str
    name: str


class Assignment(msgspec.Struct, frozen=True):
    """A job handed over. ``payload``: the WebUI's JSON with this server's names and the job's seed.

    ``submitter``: who handed it in, as people call them; ``own``: this server did.
    """

    job_id: str
    fence: int
    name: str
    payload: dict[str, Any]
    files: list[AssignedFile]
    renamed: list[RenamedModel] = []
    lease_s: float = LEASE_S
    renew_s: float = RENEW_S
    submitter: str = ""
    own: bool = False


class RenewRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``POST .../runner/renew``, every ``RENEW_S`` and on progress (0 to 1)."""

    job_id: str
    fence: int
    progress: float | None = None


class RenewAnswer(msgspec.Struct, frozen=True):
    """``stop``: the job is not this runner's any more (cancelled, or given to another): interrupt it."""

    stop: bool
    lease_s: float = LEASE_S


class RefuseRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``POST .../runner/refuse``: back, unstarted. Costs no attempt."""

    job_id: str
    fence: int
    code: RefusalCode
    text: str = ""
    requirement: int | None = None


class LoadedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the host really loaded for a requirement. ``loaded``: the confirmed file, and it was the same
    before and after the run. ``applied`` False: it was loaded and nothing of it was applied, as of a LoRA
    none of whose layers fits."""

    requirement: int
    state: Literal["loaded", "other_file", "changed", "not_loaded", "unknown"]
    sha256: str | None = None
    detail: str = ""
    applied: bool = True


class FinishRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``POST .../runner/finish``, after the pictures were sent. ``pictures``: SHA256 of each, in order.

    ``failed``: the WebUI's error in ``text``; it costs an attempt, but for a ``fault`` of the surroundings.
    ``interrupted``: somebody at the WebUI stopped it; it costs an attempt too. ``done`` with a ``text``:
    something to know of it all the same. ``fault``: one of ``Fault`` (or of a later version), "" where
    nothing is known. ``requirement``: the model that could not be loaded, of a fault of a file.
    ``traceback``: the host's own.
    """

    job_id: str
    fence: int
    outcome: RunOutcome
    pictures: list[str] = []
    loaded: list[LoadedFile] = []
    text: str = ""
    fault: str = ""
    requirement: int | None = None
    traceback: str = ""


class PictureVerdict(msgspec.Struct, frozen=True):
    """How one model of a finished job was confirmed; ``reason`` is a stable code."""

    requirement: int
    outcome: Literal["confirmed", "not_provable", "wrong"]
    reason: str
    text: str


class FinishAnswer(msgspec.Struct, frozen=True):
    """What became of the job. ``outcome`` None without pictures."""

    state: str
    outcome: str | None = None
    verdicts: list[PictureVerdict] = []
