"""The error tree. A class's docstring is its default message and names the remedy. Pure.

``code`` is stable and crosses the wire; the client rebuilds the class from it. ``exit_code`` is what the
command line ends with: 1 failed, 2 usage, 3 done with problems, 4 hub unreachable, 5 refused.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar


class StableQueueError(Exception):
    """StableQueue could not do that."""

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    remedy_text: ClassVar[str] = ""

    def __init__(
        self, message: str | None = None, *, remedy: str | None = None, details: dict[str, Any] | None = None
    ) -> None:
        self.message = message or inspect.cleandoc(type(self).__doc__ or "")
        self.remedy = self.remedy_text if remedy is None else remedy
        self.details = details or {}
        super().__init__(f"{self.message} {self.remedy}".strip())

    def as_wire(self) -> dict[str, Any]:
        """``{code, message, remedy, details}``, the body of every error answer under ``error``."""
        return {"code": self.code, "message": self.message, "remedy": self.remedy, "details": self.details}


class UsageError(StableQueueError):
    """The command or request is not of the form it must have."""

    code = "usage"
    exit_code = 2
    http_status = 400
    remedy_text = "See --help, or /docs on the hub."


class InvalidValueError(UsageError):
    """A value is not of the form it must have."""

    code = "invalid_value"


class NotFoundError(StableQueueError):
    """Nothing of that name is known here."""

    code = "not_found"
    http_status = 404


class ConflictError(StableQueueError):
    """That conflicts with what is already there."""

    code = "conflict"
    exit_code = 5
    http_status = 409


class AliasTakenError(ConflictError):
    """Another server already has that alias."""

    code = "alias_taken"
    remedy_text = "Choose another alias, or rename or forget the other server first."


class TooLargeError(UsageError):
    """The request is larger than the hub accepts."""

    code = "too_large"
    http_status = 413


class AuthenticationError(StableQueueError):
    """A key is required, and none (or an unknown or revoked one) was given."""

    code = "authentication_required"
    exit_code = 5
    http_status = 401
    remedy_text = "Give a key with --key or the Authorization header; `stablequeue keys create` makes one."


class ForgottenServerError(AuthenticationError):
    """The hub no longer knows this server: it was forgotten there, or its key was revoked."""

    code = "server_forgotten"
    remedy_text = "Join again with --join KEY; `stablequeue keys create --scope join` on the hub makes one."


class ForbiddenError(StableQueueError):
    """This key may not do that."""

    code = "forbidden"
    exit_code = 5
    http_status = 403
    remedy_text = "Use a key whose scope allows it."


class BusyError(StableQueueError):
    """The hub is too busy right now."""

    code = "busy"
    exit_code = 4
    http_status = 429
    remedy_text = "It is retried automatically after a short while."


class SyncOutOfStepError(ConflictError):
    """The delta does not start where the hub stands."""

    code = "sync_out_of_step"
    remedy_text = "The right difference, or the full inventory, is sent next."


class RolledBackError(ConflictError):
    """This index was replaced or set back to an earlier state since the hub last saw it."""

    code = "rolled_back"
    remedy_text = "The index gets a new identity and is sent in full."


class DigestMismatchError(ConflictError):
    """The full inventory does not match its own digest."""

    code = "digest_mismatch"
    remedy_text = "It is retried after some minutes; if it stays, update both sides to one version."


class ServerFrozenError(ConflictError):
    """Two running copies use the identity of one server."""

    code = "server_frozen"
    remedy_text = (
        "Stop the one that is not to run: the other goes on after 15 minutes, or at once by "
        '"Only one runs now: resume" on the hub\'s page, under Servers. To keep both, give the copy a new '
        "identity: delete `server.json` in its data folder and join again."
    )


class JobStateError(ConflictError):
    """The job is in another state now."""

    code = "job_state"
    remedy_text = "Look at the job again."


class StaleRunError(ConflictError):
    """This run of the job is no longer valid: the job was cancelled, or given to another server."""

    code = "stale_run"
    remedy_text = "Stop working on it and ask for the next job; its result is not accepted."


class TransferStateError(ConflictError):
    """The copy is in another state now."""

    code = "transfer_state"
    remedy_text = "Look at the copy again."


class StaleTransferError(ConflictError):
    """This claim of the copy is no longer valid."""

    code = "stale_transfer"
    remedy_text = "Stop working on it and ask for the next one."


class NoSourceError(ConflictError):
    """No server can hand out that content."""

    code = "no_source"
    remedy_text = (
        "On a server that has it, allow handing out (STABLEQUEUE_HAND_OUT=1, or --hand-out) and restart it."
    )


class ReceiveNeverError(ConflictError):
    """The owner of that server does not allow copies to it."""

    code = "receive_never"
    remedy_text = (
        "On that server set STABLEQUEUE_RECEIVE (or --receive) to ask, peers or all and restart it; an older "
        "StableQueue there has to be updated first."
    )


class RepeatedKeyError(ConflictError):
    """This idempotency key was used for another submission."""

    code = "idempotency_key_reused"
    remedy_text = "Send a new key with a new job."


class HubUnreachableError(StableQueueError):
    """The hub does not answer."""

    code = "hub_unreachable"
    exit_code = 4
    http_status = 502
    remedy_text = "Check the address and that `stablequeue up` or `stablequeue hub` runs there."


class NotAHubError(HubUnreachableError):
    """What answers at this address is not a StableQueue hub."""

    code = "not_a_hub"


class GatewayError(HubUnreachableError):
    """A proxy answered in the hub's place: the hub is away behind it, or was too slow."""

    code = "gateway"
    remedy_text = "It is asked again. If it stays, check that the hub runs and that the proxy leads to it."


class OldStableQueueError(NotAHubError):
    """The old StableQueue server runs at this address; it cannot take inventories."""

    code = "old_stablequeue"
    remedy_text = "Start the new hub (`stablequeue up`) and use its address; the old server is left as it is."


class ProtocolMismatchError(StableQueueError):
    """The hub and this installation speak different versions of the protocol."""

    code = "protocol_mismatch"
    http_status = 400
    remedy_text = "Update the older of the two."


class FolderError(StableQueueError):
    """A model folder cannot be read."""

    code = "folder"
    remedy_text = "Check that it exists, is mounted, and may be read by this user."


class AlreadyRunningError(ConflictError):
    """Another StableQueue process already uses this data folder."""

    code = "already_running"
    remedy_text = "Stop the other one, or give another --data folder."


class DataFolderError(StableQueueError):
    """The data folder cannot be used."""

    code = "data_folder"
    remedy_text = "Free disk space or give another --data folder on a local disk."


class StoreUnavailableError(DataFolderError):
    """The hub's database cannot be used."""

    code = "store_unavailable"
    http_status = 503
    remedy_text = "Check that the database runs, its address and its password, then start the hub again."


class BackupNeededError(DataFolderError):
    """The database has to be changed for this version, and no copy of it could be made."""

    code = "backup_needed"
    remedy_text = "Make a backup yourself, then say so with --backup-confirmed."


class NewerDataError(DataFolderError):
    """The data was written by a newer version of StableQueue."""

    code = "newer_data"
    remedy_text = "Update this installation, or give another --data folder."


def error_from_wire(error: dict[str, Any]) -> StableQueueError:
    """The error that an answer's ``error`` object describes; an unknown code becomes the base class."""
    cls = _by_code().get(str(error.get("code")), StableQueueError)
    details = error.get("details")
    return cls(
        str(error.get("message") or "") or None,
        remedy=str(error.get("remedy") or ""),
        details=details if isinstance(details, dict) else {},
    )


def exit_code_of(code: str) -> int:
    """Return what the command line exits with for the error of that code."""
    return _by_code().get(code, StableQueueError).exit_code


def _by_code() -> dict[str, type[StableQueueError]]:
    found: dict[str, type[StableQueueError]] = {}
    pending: list[type[StableQueueError]] = [StableQueueError]
    while pending:
        cls = pending.pop()
        found[cls.code] = cls
        pending.extend(cls.__subclasses__())
    return found
