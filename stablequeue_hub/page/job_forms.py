"""The form for a new job as a message of the API. Pure."""

from __future__ import annotations

from typing import Any, get_args

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.shared.views.job_form import NUMBER_FIELDS, TEXT_FIELDS, Fields, number
from stablequeue_client.shared.wire.jobs import JobSubmission
from stablequeue_hub.jobs.states import SeedRule


def form_payload(start: dict[str, Any], fields: Fields) -> dict[str, Any]:
    """``start`` with what the form says; what was emptied is not in it. Raises InvalidValueError."""
    form, payload = dict(fields), dict(start)
    for name in TEXT_FIELDS:
        text = form.get(name, "").replace("\r\n", "\n").replace("\x00", "")
        payload[name] = text
        if not text and name != "prompt":
            del payload[name]
    for name in NUMBER_FIELDS:
        value = form.get(name, "").strip()
        payload.pop(name, None)
        if value:
            payload[name] = number(name, value)
    payload["seed"] = number("seed", form.get("seed", "").strip() or "-1")
    before = payload.get("override_settings")
    settings = dict(before) if isinstance(before, dict) else {}
    settings.pop("sd_model_checkpoint", None)
    if form.get("checkpoint", "").strip():
        settings["sd_model_checkpoint"] = form["checkpoint"].strip()
    payload.pop("override_settings", None)
    return payload | ({"override_settings": settings} if settings else {})


def form_submission(fields: Fields, payload: dict[str, Any], source_id: str | None) -> JobSubmission:
    """Raises InvalidValueError."""
    form = dict(fields)
    rule = form.get("seed_rule", "increment")
    if rule not in get_args(SeedRule):
        raise InvalidValueError("Unknown seed rule.", remedy="Reload the page.")
    targets = [value for name, value in fields if name == "targets"]
    return JobSubmission(
        payload,
        server=source_id,
        targets=targets or None,
        count=int(number("count", form.get("count", "").strip() or "1")),
        seed_rule=rule,  # type: ignore[arg-type]
        priority=int(number("priority", form.get("priority", "").strip() or "0")),
        name=form.get("name", "").strip(),
        idempotency_key=form.get("once", ""),
    )
