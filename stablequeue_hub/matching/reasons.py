"""Obstacles in words, as the check and the reasons of a waiting job give them for each server. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from stablequeue_client.shared.generation.payload_fields import UnknownField, meant_by
from stablequeue_client.shared.wire.jobs import Reason, ReasonCode
from stablequeue_hub.matching.job_requirements import JobNeeds
from stablequeue_hub.matching.judge import Judge
from stablequeue_hub.matching.obstacles import Obstacle
from stablequeue_hub.matching.sentence import source_never_reported
from stablequeue_hub.servers.capabilities import NO_WEBUI
from stablequeue_hub.servers.servers import NO_AGENT

_MODELS: dict[ReasonCode, str] = {
    "model_missing": "{name} is not there.",
    "model_ambiguous": "{name} matches {candidates} different models.",
    "model_unhashed": "{name} is not read there yet.",
    "model_unreachable": "{name} is there, in a folder that is not connected.",
    "model_name_shared": "Another file there has the same name as {name}; rename one of them.",
    "architecture_unsupported": "{name} is a model of {detail}, which its WebUI cannot load.",
    "model_unloadable": "Its WebUI cannot load {name}: {detail}",
}
_UNREPORTED = "{name} cannot be resolved yet: the server where it was written has not reported its models."
_SERVERS: dict[ReasonCode, str] = {
    "not_a_target": "The job targets other servers.",
    "queue_paused": "The whole queue is paused.",
    "server_paused": "It is paused.",
    "server_resting": "It is in cooldown for some minutes after several failures in a row. "
    "“Resume” in the queue ends that, and so does a job queued in its own WebUI.",
    "server_trouble": "It cannot make pictures just now.",
    "not_for_others": "It accepts no jobs from others. Allow them in that WebUI: Settings, StableQueue, "
    "“May jobs from your other servers run on this WebUI?”",
    "server_frozen": "Two running copies use its identity.",
    "no_agent": NO_AGENT,
    "server_unknown": "It has not reported its models yet.",
    "server_unreachable": "It is switched off or not connected.",
    "no_webui": NO_WEBUI,
    "no_runner": "It accepts no jobs: StableQueue is not running in a WebUI there, so start the WebUI; "
    "or that WebUI has been generating its own pictures for a while.",
}
_EXCLUDED: dict[ReasonCode, str] = {
    "excluded_refused": "It sent the job back.",
    "excluded_failed": "It failed with the job.",
    "excluded_lost": "It was lost while it ran the job.",
}


class ReasonTexts:
    """The words for the obstacles of one job. ``candidates``: by place, how many models a name may mean."""

    def __init__(
        self, judge: Judge, needs: JobNeeds, candidates: Sequence[int] = (), *, refusals: int = 0
    ) -> None:
        self._judge = judge
        self._needs = needs
        self._candidates = candidates
        self._refusals = refusals

    def reason(self, one: Obstacle) -> Reason:
        return Reason(one.code, self._text(one), one.place)

    def source_never_reported(self, place: int) -> bool:
        return source_never_reported(self._needs.requirements[place], self._needs, self._judge)

    def _text(self, one: Obstacle) -> str:
        if one.place is not None:
            form = _MODELS[one.code]
            if one.code == "model_missing" and self.source_never_reported(one.place):
                form = _UNREPORTED
            several = self._candidates[one.place] if one.place < len(self._candidates) else 0
            name = self._needs.requirements[one.place].name
            return form.format(name=name, detail=one.detail, candidates=several or "several")
        if one.code in _EXCLUDED:
            return f"{_EXCLUDED[one.code]} {one.detail}".strip()
        if one.code == "refused_often":
            return f"Servers sent the job back {self._refusals} times."
        if one.code == "server_in_use":
            return (
                "This WebUI is in use." if one.detail else "It is in use, and takes no jobs from others now."
            )
        if one.code == "server_trouble":
            return one.detail or _SERVERS[one.code]
        if one.code == "field_unknown":
            name = one.detail.removeprefix("field ")
            return UnknownField(name, meant_by(name)).text
        return _SERVERS.get(one.code) or f"Its WebUI has no {one.detail}."
