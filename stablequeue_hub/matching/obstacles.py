"""Why a server cannot take a job: each rule once. Pure; ``judge`` puts them together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from stablequeue_client.shared.generation.capability_needs import (
    Answer,
    CapabilityKind,
    CapabilityNeed,
    missing_capability,
)
from stablequeue_client.shared.model_files.architectures import (
    architecture_of,
    architecture_text,
    missing_architecture,
)
from stablequeue_client.shared.wire.inventory import ServerCapabilities
from stablequeue_client.shared.wire.jobs import ReasonCode
from stablequeue_hub.matching.exclusions import Exclusion
from stablequeue_hub.matching.job_requirements import CHECKPOINT_ROLES, JobNeeds, JobRequirement
from stablequeue_hub.matching.server_facts import ServerFacts
from stablequeue_hub.matching.stock import StockAnswer

REFUSALS_MAX = 5
"""After so many refusals a job waits until somebody says where to try again."""

BY_STOCK: dict[StockAnswer, ReasonCode] = {
    "name_shared": "model_name_shared",
    "unread": "model_unhashed",
    "away": "model_unreachable",
    "missing": "model_missing",
}
"""What keeps a server from a model, by what its stock says of it."""
_BY_EXCLUSION: dict[str, ReasonCode] = {
    "refused": "excluded_refused",
    "failed": "excluded_failed",
    "lost": "excluded_lost",
}
_CAPABILITIES: dict[CapabilityKind, tuple[ReasonCode, str]] = {
    "sampler": ("sampler_missing", "sampler"),
    "scheduler": ("scheduler_missing", "scheduler"),
    "upscaler": ("upscaler_missing", "upscaler"),
    "script": ("script_missing", "script"),
    "alwayson_script": ("script_missing", "script"),
    "controlnet_model": ("controlnet_model_missing", "ControlNet model"),
    "style": ("script_missing", "style"),  # of styles no server says anything
    "field": ("field_unknown", "field"),
    "script_models": ("script_missing", "models in the arguments of script"),
}


class Obstacle(NamedTuple):
    """``place``: of the requirement that it is about. ``detail``: what is missing, in words, such as
    "sampler Euler" or "Flux"; or what a server said when it sent a job back."""

    code: ReasonCode
    place: int | None = None
    detail: str = ""


class PlacementQuery(NamedTuple):
    """A job of which is asked where it can run. ``targets``: ids of servers; None: any."""

    needs: JobNeeds
    submitted_by: str
    targets: frozenset[str] | None = None
    refusals: int = 0
    exclusions: Sequence[Exclusion] = ()


def target_obstacles(targets: Collection[str] | None, server_id: str) -> list[Obstacle]:
    """The job targets other servers."""
    return [Obstacle("not_a_target")] if targets is not None and server_id not in targets else []


def history_obstacles(exclusions: Sequence[Exclusion], refusals: int, server_id: str) -> list[Obstacle]:
    """Return the obstacles from former runs: the server had the job, or too many sent it back."""
    found = [
        Obstacle(_BY_EXCLUSION[one.reason], detail=one.text)
        for one in exclusions
        if one.server_id == server_id
    ]
    return [*found, Obstacle("refused_often")] if refusals >= REFUSALS_MAX else found


def server_obstacles(server: ServerFacts, submitted_by: str, *, queue_paused: bool) -> list[Obstacle]:
    """Return what keeps a server from any job of that submitter, whatever the job needs."""
    found = [Obstacle("queue_paused")] if queue_paused else []
    if server.paused:
        found.append(Obstacle("server_paused"))
    if server.runner.in_cooldown:
        found.append(Obstacle("server_resting"))
    if server.runner.trouble:
        found.append(Obstacle("server_trouble", detail=server.runner.trouble))
    is_other = submitted_by != f"server:{server.server_id}"
    makes_pictures = not (server.no_agent or server.no_webui)
    if is_other and server.for_others == "never" and makes_pictures:
        found.append(Obstacle("not_for_others"))
    elif server.runner.yielded or (is_other and server.runner.in_use):
        found.append(Obstacle("server_in_use", detail="yielded" if server.runner.yielded else ""))
    return [*found, *_presence_obstacles(server)]


def _presence_obstacles(server: ServerFacts) -> list[Obstacle]:
    """Return the first obstacle that keeps the server from all jobs."""
    if server.frozen:
        return [Obstacle("server_frozen")]
    if server.no_agent:
        return [Obstacle("no_agent")]
    if not server.has_inventory:
        return [Obstacle("server_unknown")]
    if not server.reachable:
        return [Obstacle("server_unreachable")]
    if server.no_webui:
        return [Obstacle("no_webui")]
    return [] if server.runner.polling else [Obstacle("no_runner")]


def must_be_loadable(one: JobRequirement) -> bool:
    """Return whether it is a known checkpoint, which a WebUI has to be able to load."""
    return one.role in CHECKPOINT_ROLES and one.content is not None


def architecture_answer(one: JobRequirement, told: ServerCapabilities | None) -> Answer:
    """Return whether that WebUI can load the model."""
    loadable = told.architectures if told is not None else ()
    if not loadable or not must_be_loadable(one):
        return "ok"
    return missing_architecture(one.base_model, loadable)


def architecture_obstacle(one: JobRequirement) -> Obstacle:
    """The obstacle where the WebUI cannot load it, without its place."""
    return Obstacle(
        "architecture_unsupported", detail=architecture_text(architecture_of(one.base_model) or "")
    )


def capability_answer(need: CapabilityNeed, told: ServerCapabilities | None) -> Answer:
    """Return whether that WebUI has it; ``not_checked`` where it says nothing of itself."""
    return missing_capability(need, told) if told is not None else "not_checked"


def capability_obstacle(need: CapabilityNeed) -> Obstacle:
    """The obstacle where the WebUI has no such thing."""
    code, word = _CAPABILITIES[need.kind]
    return Obstacle(code, detail=f"{word} {need.name}")


def not_checked(needs: JobNeeds, server: ServerFacts) -> list[str]:
    """Return what a job needs and the server does not say it has or lacks; it holds up nothing."""
    told = server.capabilities
    return [
        *(
            f"architecture of {one.name}"
            for one in needs.requirements
            if not one.is_waived_on(server.server_id) and architecture_answer(one, told) == "not_checked"
        ),
        *(
            capability_obstacle(need).detail
            for need in needs.capabilities
            if capability_answer(need, told) == "not_checked"
        ),
    ]
