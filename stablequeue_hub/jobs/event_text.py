"""What happened to a job, as sentences. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_TEXTS = {
    "job_submitted": "Submitted",
    "job_started": "Taken by {server}",
    "job_completed": "Finished on {server}",
    "job_failed": "Failed on {server}",
    "job_attempt_failed": "Failed on {server}; it waits for another attempt",
    "job_lost": "Lost on {server}; it waits for another attempt",
    "job_refused": "Sent back unstarted by {server}",
    "job_cancelled": "Cancelled",
    "job_given_up": "Given up",
    "job_accepted": "Accepted as it is",
    "job_starred": "Starred",
    "job_unstarred": "Star removed",
    "job_renamed": "Renamed",
    "job_retried": "Allowed everywhere again",
    "job_expired": "Waited too long",
    "job_edited": "Changed: {fields}",
    "job_model_found": "{model} was found",
    "job_model_missing": "{model} is no longer there",
    "job_model_ambiguous": "{model} now matches several models",
    "job_model_not_checked": "{model} may be a plain word, and blocks nothing",
    "job_model_unhashed": "{model} is there, but not read yet",
}
_FIELDS = {
    "targets": "target",
    "deadline_ms": "deadline",
    "server": "where its names were written",
    "payload": "all generation settings",
    "negative_prompt": "negative prompt",
    "sampler_name": "sampler",
    "cfg_scale": "CFG scale",
}
_DECISIONS = {
    "run_anyway": "Decided: run without {model}",
    "not_a_model": "Decided: {model} is not a model",
    "give_up": "Given up because {model} is missing",
}


def event_text(action: str, details: dict[str, Any], server: str, models: Sequence[str]) -> str:
    """``server``: its alias; ``models``: names of what the job needs, by place."""
    place = details.get("requirement")
    model = models[place] if isinstance(place, int) and 0 <= place < len(models) else "a model"
    text = _TEXTS.get(action)
    if action in ("job_decided", "job_given_up"):
        text = _DECISIONS.get(str(details.get("decision")), text)
        if action == "job_decided" and server:
            text = f"{text} on {{server}}"
    if text is None:
        return action.removeprefix("job_").replace("_", " ").capitalize()
    if not server:
        text = text.replace(" on {server}", "").replace(" by {server}", "")
    changed = details.get("changed")
    names = [_FIELDS.get(str(one), str(one)) for one in changed] if isinstance(changed, list) else []
    for mark, word in (("{server}", server), ("{model}", model), ("{fields}", ", ".join(names))):
        text = text.replace(mark, word)
    return text


def event_reason(details: dict[str, Any]) -> str:
    """Return the reason, as far as one was given."""
    text = details.get("text")
    return text if isinstance(text, str) else ""
