"""Jobs of the old contract: submitted in its form, and shown in it, whoever submitted them.

An old client names one server by its alias. Its names count as written there, and its job runs there only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.shared.generation.infotext import parse_infotext, payload_from_infotext
from stablequeue_client.shared.wire.jobs import DEFAULTS, JobSubmission
from stablequeue_hub.jobs.rows import BRIEF_CHARACTERS, PICTURES
from stablequeue_hub.jobs.states import JOB_STATES
from stablequeue_hub.legacy import payloads
from stablequeue_hub.legacy.answers import (
    OldFieldError,
    OldGenerate,
    OldJob,
    OldJobError,
    OldJobStateError,
    OldMissingFieldError,
    OldServerError,
    iso_text,
)
from stablequeue_hub.legacy.availability import CheckpointAvailability
from stablequeue_hub.legacy.gallery import old_file_name
from stablequeue_hub.matching.check import check_generation_text
from stablequeue_hub.matching.sentence import Waiting
from stablequeue_hub.matching.server_facts import DispatchView, fewest_ahead
from stablequeue_hub.matching.why import PendingJobRow, load_context
from stablequeue_hub.servers.servers import server_named
from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.tables import job_payloads, job_pictures, jobs, legacy_jobs, servers

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live

LIST_MAX = 1_000
APP_TYPE, SOURCE_INFO = "forge", "extension"
TEXT_MAX = 200

_NO_ALIAS = "target_server_alias is required"
_NO_PARAMS = "Invalid or empty generation_params object provided"


# --- submission -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OldSubmission:
    """What an old client wants, judged. ``hash_source``: where the checkpoint's hash stood."""

    alias: str
    payload: dict[str, Any] | None
    infotext: str | None
    app_type: str
    source_info: str
    hash_source: str


def read_submission(body: OldGenerate, *, version: int) -> OldSubmission:
    """Raises OldMissingFieldError, OldFieldError, TooLargeError; they repeat no value."""
    alias = body.target_server_alias
    if not isinstance(alias, str) or not alias.strip():
        raise OldMissingFieldError(_NO_ALIAS, remedy="", details={"field": "target_server_alias"})
    params, raw = body.generation_params, body.generation_info_raw
    if isinstance(params, dict) and params:
        try:
            payload = payloads.payload_of(params)
        except InvalidValueError as error:
            raise OldFieldError(error.message, remedy="", details={"field": "generation_params"}) from None
        app_type = body.app_type if version == 2 else params.get("app_type")
        found = payloads.hash_of(params)
        return OldSubmission(
            alias,
            payload,
            None,
            _text(app_type, APP_TYPE),
            _text(body.source_info, SOURCE_INFO),
            found.source,
        )
    if version == 2 and isinstance(raw, str) and raw.strip():
        raw = storable(raw)
        check_generation_text(raw)
        found = payloads.raw_hash_of(raw)
        return OldSubmission(
            alias,
            None,
            raw,
            _text(body.app_type, APP_TYPE),
            _text(body.source_info, SOURCE_INFO),
            found.source,
        )
    raise OldFieldError(_NO_PARAMS, remedy="", details={"field": "generation_params"})


def _text(value: Any, default: str) -> str:
    """A short text that a client said of itself."""
    usable = isinstance(value, str) and value and value.isprintable()
    return value[:TEXT_MAX] if usable else default


def storable(text: str) -> str:
    """PostgreSQL stores every character but one."""
    return text.replace("\x00", "")


def submission_of(connection: Connection, wanted: OldSubmission) -> JobSubmission:
    """The same for the new contract. Raises OldServerError."""
    server_id = server_named(connection, wanted.alias.strip())
    if server_id is None:
        raise OldServerError(
            f"Server with alias '{wanted.alias[:TEXT_MAX]}' not found.",
            remedy="",
            details={"alias": wanted.alias[:TEXT_MAX]},
        )
    return JobSubmission(wanted.payload, wanted.infotext, server_id, [server_id])


def note_submission(connection: Connection, job_id: str, wanted: OldSubmission) -> None:
    """Store what only the old contract says of a job."""
    connection.execute(
        legacy_jobs.insert().values(
            job_id=job_id,
            app_type=wanted.app_type,
            source_info=wanted.source_info,
            hash_source=wanted.hash_source,
            infotext=wanted.infotext,
        )
    )


def refused(wanted: OldSubmission, error: InvalidValueError) -> OldFieldError:
    field = "generation_params" if wanted.payload is not None else "generation_info_raw"
    return OldFieldError(error.message, remedy="", details={"field": field})


# --- reading ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OldFilter:
    """``order``: by submission. ``offset`` counts only with a ``limit``, as it always did."""

    status: str | None = None
    app_type: str | None = None
    limit: int | None = None
    offset: int | None = None
    ascending: bool = False


_JOBS = sa.outerjoin(
    sa.join(jobs, job_payloads, job_payloads.c.id == jobs.c.payload_id),
    legacy_jobs,
    legacy_jobs.c.job_id == jobs.c.job_id,
)
_COLUMNS = (jobs, legacy_jobs.c.app_type, legacy_jobs.c.source_info, legacy_jobs.c.hash_source)
_IN_FULL = sa.select(*_COLUMNS, job_payloads.c.payload_json, legacy_jobs.c.infotext).select_from(_JOBS)
_IN_LIST = sa.select(
    *_COLUMNS,
    sa.func.coalesce(job_payloads.c.brief_json, job_payloads.c.payload_json).label("payload_json"),
    sa.case((sa.func.length(legacy_jobs.c.infotext) <= BRIEF_CHARACTERS, legacy_jobs.c.infotext)).label(
        "infotext"
    ),
).select_from(_JOBS)
"""Without long values, such as a picture to start from."""


def list_old(
    connection: Connection, wanted: OldFilter, live: Live, dispatch: DispatchView, *, now_ms: int
) -> tuple[list[OldJob], int]:
    """Jobs of every submitter, at most ``LIST_MAX``, and how many the filter lets through. An unknown status
    lets none through."""
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.status is not None:
        conditions.append(jobs.c.state == wanted.status if wanted.status in JOB_STATES else sa.false())
    if wanted.app_type is not None:
        conditions.append(sa.func.coalesce(legacy_jobs.c.app_type, APP_TYPE) == wanted.app_type)
    count = sa.select(sa.func.count()).select_from(_JOBS).where(*conditions)
    order = jobs.c.seq if wanted.ascending else jobs.c.seq.desc()
    query = _IN_LIST.where(*conditions).order_by(order).limit(min(wanted.limit or LIST_MAX, LIST_MAX))
    if wanted.limit is not None:
        query = query.offset(wanted.offset or 0)
    rows = connection.execute(query).all()
    waits = _waits(connection, rows, live, dispatch)
    return _shown(connection, rows, waits, live, now_ms=now_ms), connection.scalar(count) or 0


def find_old(
    connection: Connection, job_id: str, live: Live, dispatch: DispatchView, *, now_ms: int
) -> OldJob:
    """One job, with its place in the queue while it waits. Raises OldJobError."""
    row = connection.execute(_IN_FULL.where(jobs.c.job_id == storable(job_id))).first()
    if row is None:
        raise unknown_job(job_id)
    waits = _waits(connection, [row], live, dispatch)
    (found,) = _shown(connection, [row], waits, live, now_ms=now_ms)
    if row.state != "pending":
        return found
    return msgspec.structs.replace(found, queue_position=_position(job_id, waits[job_id], dispatch))


def unknown_job(job_id: str) -> OldJobError:
    shown = job_id[:64]
    return OldJobError(f"Job with ID '{shown}' not found.", remedy="", details={"job_id": shown})


def cannot_cancel(job: OldJob) -> OldJobStateError:
    return OldJobStateError(
        f"Cannot cancel job with status '{job.status}'. "
        "Only 'pending' or 'processing' jobs can be cancelled.",
        remedy="",
        details={"job_id": job.mobilesd_job_id, "current_status": job.status, "job": job},
    )


# --- in the old form --------------------------------------------------------------------------------------


def _waits(
    connection: Connection, rows: Sequence[Any], live: Live, dispatch: DispatchView
) -> dict[str, Waiting]:
    """By id of those that are pending, what they wait for."""
    pending = [_pending(row) for row in rows if row.state == "pending"]
    context = load_context(connection, pending, live)
    return {job.job_id: context.in_line(context.waiting(job), job.job_id, dispatch) for job in pending}


def _shown(
    connection: Connection, rows: Sequence[Any], waits: Mapping[str, Waiting], live: Live, *, now_ms: int
) -> list[OldJob]:
    aliases = {row.server_id: row.alias for row in connection.execute(sa.select(servers))}
    pictures = _pictures(connection, [row.job_id for row in rows if row.state in ("completed", "failed")])
    availability = CheckpointAvailability(connection, rows, live, now_ms=now_ms)
    return [
        _old_job(
            row,
            _target(row, aliases),
            pictures.get(row.job_id, []),
            availability.of(row),
            waits[row.job_id].text if row.job_id in waits else None,
        )
        for row in rows
    ]


def _position(job_id: str, waiting: Waiting, dispatch: DispatchView) -> int | None:
    """From 1: where the server takes it that it comes to first; else among all that wait."""
    ahead = fewest_ahead(dispatch, waiting.servers, job_id)
    if ahead is None:
        ahead = dispatch.jobs_ahead_anywhere(job_id)
    return None if ahead is None else ahead + 1


def _pending(row: Any) -> PendingJobRow:
    return PendingJobRow(*(getattr(row, name) for name in PendingJobRow._fields))


def _target(row: Any, aliases: dict[str, str]) -> str | None:
    """The server that has it or had it last, else the one it is for; None for any."""
    targets = [] if row.targets_json is None else msgspec.json.decode(row.targets_json, type=list[str])
    ids = ([row.server_id] if row.server_id else []) + targets
    return next((aliases[server_id] for server_id in ids if server_id in aliases), None)


def _pictures(connection: Connection, ids: Sequence[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for part in slices(ids):
        query = sa.select(job_pictures).where(job_pictures.c.job_id.in_(part))
        for row in connection.execute(query.order_by(job_pictures.c.job_id, job_pictures.c.number)):
            found.setdefault(row.job_id, []).append(row)
    return found


def _old_job(
    row: Any,
    alias: str | None,
    pictures: Sequence[Any],
    availability: Any,
    waiting_for: str | None,
) -> OldJob:
    payload = {**msgspec.json.decode(row.payload_json), "seed": row.seed}
    params = payloads.params_of(payload, row.infotext)
    details = _result(row, params, pictures)
    if params.get(PICTURES) == []:  # left out of a list; a client must not start from none
        del params[PICTURES]
    return OldJob(
        mobilesd_job_id=row.job_id,
        stablequeue_job_id=row.job_id,
        status=row.state,
        creation_timestamp=iso_text(row.created_ms),
        last_updated_timestamp=iso_text(row.changed_ms),
        completion_timestamp=None if row.ended_ms is None else iso_text(row.ended_ms),
        target_server_alias=alias,
        forge_session_hash=None,
        forge_internal_task_id=None,
        generation_params=params,
        generation_params_json=msgspec.json.encode(params).decode(),
        result_details=details,
        result_details_json=None if details is None else msgspec.json.encode(details).decode(),
        retry_count=row.attempts,
        app_type=row.app_type or APP_TYPE,
        source_info=row.source_info or SOURCE_INFO,
        api_key_id=row.submitted_by.removeprefix("key:") if row.submitted_by.startswith("key:") else None,
        model_availability=availability,
        waiting_for=waiting_for,
        outcome=row.outcome,
    )


def _result(row: Any, params: dict[str, Any], pictures: Sequence[Any]) -> dict[str, Any] | None:
    """Return its result in the old words; None until it ended."""
    if row.state == "cancelled":
        return {"cancelled": True, "message": "Job cancelled by user"}
    names = [old_file_name(picture.job_id, picture.created_ms, picture.number) for picture in pictures]
    if row.state == "failed":
        text = row.failure_text or "The job failed."
        return {"error": text, "details": row.failure, "saved_filenames": names, "images": names}
    if row.state != "completed":
        return None
    return {
        "message": "Job completed successfully.",
        "submission_type": "sdapi_img2img" if PICTURES in params else "sdapi_txt2img",
        "generation_info": _generation_info(pictures),
        "saved_filenames": names,
        "images": names,
        "positive_prompt": params.get("prompt", ""),
        "negative_prompt": params.get("negative_prompt", ""),
    }


_INFO_NAMES = {"sd_model_name": "Model", "sd_model_hash": "Model hash", "sd_vae_name": "VAE"}
"""What the WebUI's ``info`` calls them, and the text under a picture; null where it says nothing."""


def _generation_info(pictures: Sequence[Any]) -> dict[str, Any]:
    """Return the first picture's settings, as the WebUI's own ``info`` would."""
    texts = [picture.infotext for picture in pictures]
    if not texts:
        return {"infotexts": []}
    infotext = parse_infotext(texts[0])
    settings = payload_from_infotext(infotext)
    settings.pop(DEFAULTS, None)
    names = {name: infotext.settings.get(key) for name, key in _INFO_NAMES.items()}
    return {**settings, **names, "infotexts": texts}
