"""Forms of jobs as messages of the API. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from stablequeue_client.errors import InvalidValueError
from stablequeue_client.job_messages import JobInfo
from stablequeue_client.queue_messages import JobEdit
from stablequeue_hub.page_job import NUMBER_FIELDS, TEXT_FIELDS, fields_of_job

Fields: TypeAlias = Sequence[tuple[str, str]]
_WORDS = {"cfg_scale": "CFG scale"}


def changes(job: JobInfo, fields: Fields) -> JobEdit | None:
    """What the form says and the job does not; None for nothing. Raises InvalidValueError.

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
        return float(text) if name == "cfg_scale" else int(text)
    except ValueError:
        raise InvalidValueError(f"{_WORDS.get(name, name.capitalize())} is a number.") from None
