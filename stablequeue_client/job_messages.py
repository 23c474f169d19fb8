"""The wire contract of jobs: what may be asked of the hub about them, and its answers. Pure."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stablequeue_client.requirements import Role

JOB_MAX_BYTES = 64 * 1024 * 1024
"""Largest body with a payload: it may carry pictures to start from."""
REQUIREMENTS_MAX = 200

RequirementStatus = Literal["found", "ambiguous", "unhashed", "missing", "not_checked"]
"""``found``: one content is meant. ``ambiguous``: several would fit, none is guessed. ``unhashed``: files of
this name that nobody has read yet. ``missing``: nobody has it, nor had it. ``not_checked``: a name that an
extension fills in; it holds up nothing."""

ReasonCode = Literal[
    "model_missing",
    "model_ambiguous",
    "model_unhashed",
    "model_unreachable",
    "server_unreachable",
    "server_frozen",
    "server_unknown",
    "sampler_missing",
    "scheduler_missing",
    "upscaler_missing",
    "script_missing",
    "controlnet_model_missing",
]
"""Why a job cannot run on a server. Stable: programs compare them. ``server_unknown``: it never told what it
has."""


class JobCheckRequest(msgspec.Struct, frozen=True):
    """``POST /api/v1/jobs/check``. ``payload``: the WebUI's own txt2img or img2img JSON; or in its place
    ``infotext``: the text that a WebUI writes under a picture, whose hashes count too.

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
    """Why not: a code, a sentence, and which requirement (its place in the list) it is about, if one."""

    code: ReasonCode
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
    an ``infotext`` became; None when the request had one."""

    possible: bool
    requirements: list[RequirementCheck]
    servers: list[ServerCheck]
    helps: list[Help] = []
    payload: dict[str, Any] | None = None
