"""The answers of the old contract: their forms, and every failure in the form of its version.

Fields stand as the old server had them; those that only this hub has come after. Each answer carries a job's
id under both of its old names.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime, timezone
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from fastapi import Query
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import (
    AuthenticationError,
    ForbiddenError,
    InvalidValueError,
    NotFoundError,
    StableQueueError,
    TooLargeError,
)
from stablequeue_hub.errors import JobStateError
from stablequeue_hub.http.responses import error_answer, invalid_parameters, old_and_new_body
from stablequeue_hub.legacy.servers import OldServer

NO_KEY = (
    "API key and secret are required",
    "Authentication failed: API key and secret must be provided in X-API-Key/X-API-Secret headers or "
    "Authorization: Bearer header",
)
WRONG_KEY = (
    "Invalid API credentials",
    "Authentication failed: The provided API key and secret are invalid or inactive",
)


# --- jobs -------------------------------------------------------------------------------------------------


class OldAvailability(msgspec.Struct, frozen=True):
    """Whether a job's checkpoint is on a server that may run it. ``match_type``: the kind of its hash."""

    available: bool
    reason: str | None
    civitai_model_id: int | str | None
    hash: str | None
    match_type: str | None
    checked_field: str
    model_identifier: str | None


class OldJob(msgspec.Struct, frozen=True):
    """A job as both versions show it. Times are ISO 8601 in UTC, ``retry_count`` counts failed runs.

    ``waiting_for``: why it waits, in a sentence. ``queue_position`` from 1, only while it waits and where one
    job is asked for. ``starred``, ``outcome``: see the new contract.
    """

    mobilesd_job_id: str
    stablequeue_job_id: str
    status: str
    creation_timestamp: str
    last_updated_timestamp: str
    completion_timestamp: str | None
    target_server_alias: str | None
    forge_session_hash: None
    forge_internal_task_id: None
    generation_params: dict[str, Any]
    generation_params_json: str
    result_details: dict[str, Any] | None
    result_details_json: str | None
    retry_count: int
    app_type: str
    source_info: str
    api_key_id: str | None
    model_availability: OldAvailability
    queue_position: int | None = None
    estimated_time_remaining: int | None = None
    waiting_for: str | None = None
    outcome: str | None = None


class OldJobId(msgspec.Struct, frozen=True):
    """202 of version 1."""

    mobilesd_job_id: str
    stablequeue_job_id: str


class OldSubmitted(msgspec.Struct, frozen=True):
    """202 of version 2."""

    success: bool
    mobilesd_job_id: str
    stablequeue_job_id: str
    queue_position: int
    app_type: str
    creation_timestamp: str
    target_server_alias: str
    waiting_for: str | None = None


class OldJobList(msgspec.Struct, frozen=True):
    """``total`` counts the jobs of this answer, ``total_matching`` those that the filters let through."""

    total: int
    jobs: list[OldJob]
    total_matching: int


class OldJobListV2(msgspec.Struct, frozen=True):
    """As version 1, with the filters that were used."""

    success: bool
    total: int
    filters: dict[str, str | int]
    jobs: list[OldJob]
    total_matching: int


class OldStatusV2(msgspec.Struct, frozen=True):
    """One job."""

    success: bool
    job: OldJob


class OldDone(msgspec.Struct, frozen=True):
    """What was done, and the job after it."""

    message: str
    job: OldJob
    success: bool = True


class OldMessage(msgspec.Struct, frozen=True):
    """What was done."""

    message: str


# --- servers and pictures ---------------------------------------------------------------------------------


class OldServerDone(msgspec.Struct, frozen=True):
    """A server was kept or changed. ``note``: what is missing there before it can work."""

    message: str
    server: OldServer
    note: str = ""


class OldServerRequest(msgspec.Struct, frozen=True):
    """Both must be texts; ``auth`` and what else is sent are ignored."""

    alias: Any = None
    apiUrl: Any = None  # noqa: N815 - the old name


class OldPicture(msgspec.Struct, frozen=True):
    """A picture; ``size`` in bytes, ``job_id_prefix``: the first eight characters of its job's id."""

    filename: str
    created: str
    size: int
    job_id_prefix: str
    url: str
    mobilesd_job_id: str
    stablequeue_job_id: str


class OldGallery(msgspec.Struct, frozen=True):
    """Pictures, newest first."""

    total: int
    images: list[OldPicture]


# --- requests ---------------------------------------------------------------------------------------------


class OldGenerate(msgspec.Struct, frozen=True):
    """Both versions. ``target_server_alias`` and one of ``generation_params`` (an object) and, in version 2,
    ``generation_info_raw`` (a generation text) are needed; ``priority`` is ignored, as it always was."""

    target_server_alias: Any = None
    generation_params: Any = None
    generation_info_raw: Any = None
    app_type: Any = None
    source_info: Any = None


Limit = Annotated[int | None, Query(ge=1, le=1_000_000)]
Offset = Annotated[int | None, Query(ge=0, le=2**53)]
Filter = Annotated[str | None, Query(max_length=64)]
Order = Literal["asc", "desc", "ASC", "DESC"]


# --- failures ---------------------------------------------------------------------------------------------


class OldMissingFieldError(InvalidValueError):
    """A field is missing."""

    code = "missing_required_field"


class OldFieldError(InvalidValueError):
    """A field holds something else than it must."""

    code = "invalid_field_value"


class OldServerError(NotFoundError):
    """There is no such server."""

    code = "server_not_found"


class OldJobError(NotFoundError):
    """There is no such job."""

    code = "job_not_found"


class OldJobStateError(JobStateError):
    """The job is in another state."""

    code = "job_operation_invalid"
    http_status = 400


REFUSED = (OldMissingFieldError, OldFieldError, OldServerError, TooLargeError)
"""Of a submission."""
STEP_ERRORS = (ForbiddenError, OldJobError, OldJobStateError, JobStateError)
"""Of what is done to a job."""


class OldFailure(msgspec.Struct, frozen=True, omit_defaults=True):
    """A failure of version 1: ``error`` and ``message`` say the same, because some clients read one and some
    the other. ``job``: the job that is in another state."""

    error: str
    message: str
    job: OldJob | None = None


class OldFailureV2(msgspec.Struct, frozen=True):
    """A failure of version 2: ``error`` is a stable code, but with 401 a sentence."""

    error: str
    message: str
    details: dict[str, Any] = {}
    success: bool = False


_V2_CODES = {
    400: "invalid_field_value",
    403: "forbidden",
    404: "job_not_found",
    413: "invalid_field_value",
    429: "api_key_rate_limit",
    503: "database_error",
}


def _body_v1(error: StableQueueError) -> Any:
    if isinstance(error, AuthenticationError):
        return _unauthorised(error)
    job = error.details.get("job")
    return OldFailure(str(error), str(error), job if isinstance(job, OldJob) else None)


def _body_v2(error: StableQueueError) -> Any:
    if isinstance(error, AuthenticationError):
        return _unauthorised(error)
    own = isinstance(
        error, OldMissingFieldError | OldFieldError | OldServerError | OldJobError | OldJobStateError
    )
    code = error.code if own else _V2_CODES.get(error.http_status, "internal_server_error")
    details = {name: value for name, value in error.details.items() if name != "job"}
    return OldFailureV2(code, str(error), {**details, "customMessage": str(error)})


def _unauthorised(error: AuthenticationError) -> OldFailure:
    """With the recorded sentences; a key was given where the error says something of its own."""
    return OldFailure(*(NO_KEY if error.message == AuthenticationError().message else WRONG_KEY))


class OldRoute(APIRoute):
    """A route whose failures have the old form."""

    body_of: ClassVar[Callable[[StableQueueError], Any]] = _body_v1

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler, body_of = super().get_route_handler(), type(self).body_of

        async def answered(request: Request) -> Response:
            try:
                return await handler(request)
            except StableQueueError as error:
                return error_answer(error, body_of(error))
            except RequestValidationError as error:
                refused = invalid_parameters(error)
                return error_answer(refused, body_of(refused))

        return answered


class OldRouteV2(OldRoute):
    """The same for version 2."""

    body_of = _body_v2


class AlsoOldRoute(OldRoute):
    """A route of both contracts: the hub's own failure, and the fields that old clients read beside it."""

    body_of = old_and_new_body


def iso_text(milliseconds: int) -> str:
    """``2027-01-15T08:00:00.000Z``, as the old server wrote the times of jobs."""
    moment = datetime.fromtimestamp(milliseconds // 1000, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"
