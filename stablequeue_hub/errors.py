"""Errors that only the hub raises; the common ones stand in ``stablequeue_client.shared.errors``."""

from __future__ import annotations

from stablequeue_client.shared.errors import BusyError, NotFoundError, StableQueueError, UsageError
from stablequeue_client.shared.errors import JobStateError as JobStateError
from stablequeue_client.shared.errors import RepeatedKeyError as RepeatedKeyError
from stablequeue_client.shared.errors import StaleRunError as StaleRunError
from stablequeue_client.shared.errors import StaleTransferError as StaleTransferError
from stablequeue_client.shared.errors import TransferStateError as TransferStateError


class MethodNotAllowedError(UsageError):
    """This address does not support that method."""

    code = "method_not_allowed"
    http_status = 405


class SlowRequestError(UsageError):
    """The request did not arrive in time."""

    code = "request_too_slow"
    http_status = 408
    remedy_text = "Send it again over a faster or steadier connection."


class IncompleteBodyError(StableQueueError):
    """Not all pieces of this request's body are here."""

    code = "body_incomplete"
    http_status = 409
    remedy_text = "Send the body again from its beginning, under a new id."


class UntrustedOriginError(StableQueueError):
    """The request came from a page of another origin, or under a host name that is not the hub's."""

    code = "foreign_request"
    exit_code = 5
    http_status = 403
    remedy_text = (
        "Open the hub under its own address; add further names of it to `allowed_hosts` "
        "(--allowed-hosts NAME, or STABLEQUEUE_ALLOWED_HOSTS)."
    )


class TooManyAttemptsError(BusyError):
    """Too many wrong keys or codes came from this address."""

    code = "too_many_attempts"
    exit_code = 5
    remedy_text = "Wait as long as Retry-After says, then give a valid key."


class TooManyRequestsError(BusyError):
    """This key sends more requests than the hub allows."""

    code = "too_many_requests"
    remedy_text = "Wait as long as Retry-After says; ask for many models in one request, and poll less often."


class CodeError(StableQueueError):
    """This one-time code is unknown, used or expired."""

    code = "code_invalid"
    exit_code = 5
    http_status = 401
    remedy_text = "Ask for a new one: `stablequeue up` opens the page signed in; or sign in with a key."


class PortTakenError(StableQueueError):
    """Another program already uses this port."""

    code = "port_taken"
    remedy_text = "Give another one with --port."


class InternalError(StableQueueError):
    """The hub failed to answer this request."""

    code = "internal"
    remedy_text = "The hub's log has the details under this id; please report it."


def unknown_job() -> NotFoundError:
    return NotFoundError(
        "There is no such job.", remedy="It may have been deleted; look at the list of jobs."
    )


def unknown_server(server_id: str) -> NotFoundError:
    return NotFoundError(
        f"No server {server_id!r} is known here.", remedy="Join it again, or look at the list of servers."
    )
