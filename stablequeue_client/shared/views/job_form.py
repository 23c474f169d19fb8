"""What a job generates as the fields of a form, and what a filled form or a pressed button means. Pure.

The hub's page and the tab of a WebUI have the same forms and buttons.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.shared.views.job_values import JobFields
from stablequeue_client.shared.views.labels import counted
from stablequeue_client.shared.views.values import Notice
from stablequeue_client.shared.wire.field_limits import OURS, check_number
from stablequeue_client.shared.wire.jobs import JobInfo
from stablequeue_client.shared.wire.queue import ActionResult, Decision, JobEdit

Fields: TypeAlias = Sequence[tuple[str, str]]
TEXT_FIELDS = ("prompt", "negative_prompt", "sampler_name", "scheduler")
NUMBER_FIELDS = ("steps", "cfg_scale", "width", "height")
_SHOWN_FIELDS = frozenset({*TEXT_FIELDS, *NUMBER_FIELDS, "seed"})
_NOT_OTHERS = frozenset({"override_settings", "sd_model_checkpoint", *OURS})
_NOTHING: tuple[Any, ...] = (None, "", "None", [], {}, False, 0)
_USUAL: dict[str, Any] = {
    "n_iter": 1,
    "batch_size": 1,
    "subseed": -1,
    "seed_resize_from_w": -1,
    "seed_resize_from_h": -1,
    "distilled_cfg_scale": 3.5,
    "CLIP_stop_at_last_layers": 1,
    "sd_vae": "Automatic",
    "forge_additional_modules": [],
}
"""Further values of a page that nobody touched."""
_WORDS = {"cfg_scale": "CFG scale"}
ACTIONS_DONE = {
    "cancel": "cancelled",
    "delete": "deleted",
    "star": "starred",
    "unstar": "not starred any more",
    "retry": "may run anywhere again",
    "earlier": "moved forward",
    "later": "moved back",
}
"""What may be done with one or many jobs, and the words when it is done."""


def fields_of_job(job: JobInfo) -> JobFields:
    """Return what a form shows of it."""
    payload = job.payload or {}
    return JobFields(
        name=job.name,
        seed=str(job.seed),
        priority=str(job.priority),
        targets=tuple(job.targets or ()),
        **fields_of_payload(payload),
    )


def fields_of_payload(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``JobFields`` that stand in a payload, and the names of what else says something."""
    texts = {name: payload[name] if isinstance(payload.get(name), str) else "" for name in TEXT_FIELDS}
    numbers = {name: _number_text(payload.get(name)) for name in NUMBER_FIELDS}
    settings = payload.get("override_settings")
    settings = settings if isinstance(settings, dict) else {}
    checkpoint = settings.get("sd_model_checkpoint")
    others = [name for name in payload if name not in _SHOWN_FIELDS and _counts(name, payload)]
    others += [name for name, value in settings.items() if name not in _USUAL or value != _USUAL[name]]
    others = [name for name in others if name not in _NOT_OTHERS]
    return {
        **texts,
        **numbers,
        "checkpoint": checkpoint if isinstance(checkpoint, str) else "",
        "others": tuple(sorted(others)),
    }


def _counts(name: str, payload: Mapping[str, Any]) -> bool:
    """Return whether the value changes anything: a page sends all its fields, also of what is switched
    off."""
    if name.startswith("hr_"):
        return payload.get("enable_hr") is True and payload[name] not in _NOTHING
    if name == "denoising_strength":
        return payload.get("enable_hr") is True or bool(payload.get("init_images"))
    if name.startswith("refiner_"):
        return payload.get("refiner_checkpoint") not in _NOTHING
    return payload[name] not in _NOTHING and payload[name] != _USUAL.get(name)


def _number_text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def changes(job: JobInfo, fields: Fields) -> JobEdit | None:
    """Return what the form says and the job does not; None for nothing. Raises InvalidValueError.

    Without a field that every whole form has, servers are not spoken of.
    """
    form, shown = dict(fields), fields_of_job(job)
    wanted: dict[str, Any] = {}
    for name in ("name", "checkpoint", *TEXT_FIELDS):
        text = form.get(name, "").replace("\r\n", "\n")
        if name in form and text != getattr(shown, name):
            wanted[name] = text
    for name in (*NUMBER_FIELDS, "seed", "priority"):
        value = form.get(name, "").strip()
        if value and value != getattr(shown, name):
            wanted[name] = number(name, value)
    targets = [value for name, value in fields if name == "targets"]
    if "prompt" in form and set(targets) != set(shown.targets):
        wanted["targets"] = targets or None
    return JobEdit(**wanted) if wanted else None


def number(name: str, text: str) -> int | float:
    """Raises InvalidValueError, which repeats no value."""
    try:
        value = float(text) if name == "cfg_scale" else int(text)
    except ValueError:
        raise InvalidValueError(f"{_WORDS.get(name, name.capitalize())} must be a number.") from None
    check_number(name, value)
    return value


def decision(fields: Fields) -> Decision:
    """Return what is to be done about a model that a job waits for. Raises InvalidValueError."""
    form = dict(fields)
    what, place = form.get("decision"), form.get("requirement", "")
    if what not in ("run_anyway", "not_a_model", "give_up") or not re.fullmatch(r"[0-9]{1,4}", place):
        raise InvalidValueError("There is no such decision.", remedy="Reload the page.")
    server = (form.get("server") or None) if what == "run_anyway" else None
    return Decision(int(place), what, server)  # type: ignore[arg-type]


def actions_told(action: str, results: Sequence[ActionResult]) -> Notice:
    """Return what became of an action of ``ACTIONS_DONE`` on these jobs."""
    if not results:
        return Notice("Choose jobs first.", ok=False)
    problems = [result.problem for result in results if result.problem is not None]
    text = f"{counted(len(results) - len(problems), 'job')} {ACTIONS_DONE[action]}."
    if not problems:
        return Notice(text)
    first = problems[0]
    if len(results) > 1:
        text = f"{text} {counted(len(problems), 'job')} not: {first.message}"
    else:
        text = first.message
    return Notice(text, ok=False, remedy=first.remedy)
