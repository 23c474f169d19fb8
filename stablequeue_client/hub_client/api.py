"""HTTP client of the hub: every call that it answers. Public and typed; what each may raise beside what it
names stands in ``hub_connection``."""

from __future__ import annotations

import gzip
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from stablequeue_client.hub_client.connection import (
    HTTP_STATUS,
    Answer,
    HubConnection,
    Json,
    decoded,
    first_words,
)
from stablequeue_client.shared.errors import (
    NotAHubError,
    OldStableQueueError,
    ProtocolMismatchError,
    StableQueueError,
)
from stablequeue_client.shared.model_files.model_file import Kind
from stablequeue_client.shared.views.job_values import CheckShown, NewJob
from stablequeue_client.shared.views.view_types import VIEW_TYPES, View
from stablequeue_client.shared.wire import inventory, queue, runner, transfers
from stablequeue_client.shared.wire import jobs as wire_jobs

OLD_STATUS_TEXT = "MobileSD Server is running"
VIEW_MAX_BYTES = 8 * 1024 * 1024
"""A page of 50 models on 50 servers is a fifth of a megabyte."""
PICTURE_MAX_BYTES = 64 * 1024 * 1024


class HubApi(HubConnection):
    """The calls of one hub, with one key. Not for several threads at a time: make one for each."""

    # --- servers write ---------------------------------------------------------------------------------

    def health(self) -> inventory.Health:
        """Return who answers here. Sends no key. Raises NotAHubError, OldStableQueueError,
        ProtocolMismatchError."""
        try:
            found = self._typed("GET", "/healthz", inventory.Health, auth=False)
            if found.service != inventory.SERVICE_NAME:
                raise NotAHubError(
                    f"{self.base_url} says that it is {first_words(found.service)!r}, not a hub."
                )
        except NotAHubError as error:
            if error.details.get(HTTP_STATUS) in (None, 200, 404) and self._is_old_stablequeue():
                raise OldStableQueueError from None
            raise
        if found.protocol.min > inventory.PROTOCOL_MAX or found.protocol.max < inventory.PROTOCOL_MIN:
            raise ProtocolMismatchError(
                f"The hub at {self.base_url} speaks protocol {found.protocol.min} to {found.protocol.max}, "
                f"this installation {inventory.PROTOCOL_MIN} to {inventory.PROTOCOL_MAX}."
            )
        return found

    def join(self, request: inventory.JoinRequest) -> inventory.JoinAnswer:
        """Make this server known, with a join key or code as the key. May be repeated without harm."""
        return self._typed(
            "POST", "/api/v1/servers/join", inventory.JoinAnswer, body=inventory.encode(request)
        )

    def sync(self, server_id: str, request: inventory.SyncRequest) -> inventory.SyncAnswer:
        """Send an inventory, in full or the changes. Raises the hub's 409 errors with what it has."""
        return self._typed(
            "POST",
            f"/api/v1/servers/{quote(server_id, safe='')}/models/sync",
            inventory.SyncAnswer,
            body=gzip.compress(inventory.encode(request), compresslevel=6),
            headers={"Content-Encoding": "gzip"},
            read_timeout=self._timeouts.sync,
        )

    def heartbeat(self, server_id: str, heartbeat: inventory.Heartbeat) -> inventory.HeartbeatAnswer:
        """Say "I live, and do this"; the answer names the sync the hub needs, and orders."""
        return self._typed(
            "POST",
            f"/api/v1/servers/{quote(server_id, safe='')}/heartbeat",
            inventory.HeartbeatAnswer,
            body=inventory.encode(heartbeat),
        )

    def put_metadata(self, sha256: str, fields: Mapping[str, str]) -> None:
        """Send the header fields of one content, as the hub asked for them."""
        self._call("PUT", f"/api/v1/models/{quote(sha256, safe='')}/metadata", body=_dump(dict(fields)))

    def put_capabilities(self, server_id: str, capabilities: inventory.ServerCapabilities) -> None:
        """Tell what the WebUI of this server can do; the former word is replaced."""
        self._call(
            "PUT",
            f"/api/v1/servers/{quote(server_id, safe='')}/capabilities",
            body=inventory.encode(capabilities),
        )

    # --- runners ---------------------------------------------------------------------------------------

    def next_job(self, server_id: str, wanted: runner.NextRequest) -> runner.Assignment | None:
        """Wait for a job, up to ``wanted.wait_s``; None when none came."""
        return self._typed(
            "POST",
            _runner_path(server_id, "next"),
            runner.Assignment | None,  # type: ignore[arg-type]
            body=inventory.encode(wanted),
            read_timeout=self._timeouts.read + wanted.wait_s,
        )

    def renew_job(self, server_id: str, said: runner.RenewRequest) -> runner.RenewAnswer:
        """Still working on it; the answer says whether to stop."""
        path = _runner_path(server_id, "renew")
        return self._typed("POST", path, runner.RenewAnswer, body=inventory.encode(said))

    def refuse_job(self, server_id: str, said: runner.RefuseRequest) -> None:
        """Give a job back unstarted."""
        self._call("POST", _runner_path(server_id, "refuse"), body=inventory.encode(said))

    def send_picture(self, server_id: str, job_id: str, fence: int, number: int, data: bytes) -> None:
        """One picture of a job as PNG bytes. May be repeated. The lease is renewed while it is on its way."""
        path = f"{_runner_path(server_id, 'jobs')}/{quote(job_id, safe='')}/pictures/{number}"
        renewed = time.monotonic()

        def renew_lease() -> None:
            nonlocal renewed
            if time.monotonic() - renewed >= runner.RENEW_S:
                renewed = time.monotonic()
                with suppress(StableQueueError):  # the picture's own answer tells
                    self.renew_job(server_id, runner.RenewRequest(job_id, fence))

        self._call(
            "PUT",
            path,
            body=data,
            params={"fence": fence},
            read_timeout=self._timeouts.sync,
            between=renew_lease,
        )

    def finish_job(self, server_id: str, said: runner.FinishRequest) -> runner.FinishAnswer:
        """The run ended; what became of the job."""
        path = _runner_path(server_id, "finish")
        return self._typed("POST", path, runner.FinishAnswer, body=inventory.encode(said))

    # --- copies ----------------------------------------------------------------------------------------

    def put_transfer_policy(self, server_id: str, policy: transfers.TransferPolicy) -> None:
        """Tell what this server's owner allows; the former word is replaced."""
        self._call("PUT", _transfers_path(server_id, "policy"), body=inventory.encode(policy))

    def next_transfer(self, server_id: str) -> transfers.TransferOrder | None:
        """Claim the copy that this server is to fetch; None when there is none."""
        form = transfers.TransferOrder | None
        return self._typed("POST", _transfers_path(server_id, "next"), form, body=b"{}")  # type: ignore[arg-type]

    def report_transfer(
        self, server_id: str, transfer_id: int, said: transfers.TransferReport
    ) -> transfers.ReportAnswer:
        """How a copy goes; whether to stop."""
        path = _transfers_path(server_id, f"{transfer_id}/report")
        return self._typed("POST", path, transfers.ReportAnswer, body=inventory.encode(said))

    def transfer_chunk(
        self, server_id: str, transfer_id: int, fence: int, offset: int, length: int
    ) -> bytes | None:
        """The bytes from ``offset``, at most ``length``; None when the source did not send them in time."""
        content, _ = self._call(
            "GET",
            _transfers_path(server_id, f"{transfer_id}/chunks/{offset}"),
            params={"fence": fence, "length": length, "wait_s": str(transfers.WAIT_MAX_S)},
            headers={"Accept-Encoding": "identity"},
            read_timeout=self._timeouts.read + transfers.WAIT_MAX_S,
            max_bytes=length,
        )
        return content or None

    def wanted_chunk(self, server_id: str) -> transfers.WantedChunk | None:
        """The next range that somebody wants of this server; waits for one."""
        return self._typed(
            "POST",
            _transfers_path(server_id, "wanted"),
            transfers.WantedChunk | None,  # type: ignore[arg-type]
            body=inventory.encode(transfers.WantedChunks(transfers.WAIT_MAX_S)),
            read_timeout=self._timeouts.read + transfers.WAIT_MAX_S,
        )

    def send_chunk(
        self, server_id: str, wanted: transfers.WantedChunk, data: bytes
    ) -> transfers.WantedChunk | None:
        """Send a range, or its beginning; the next one that is wanted. Always as one request: the hub keeps
        nothing of it, and what a proxy refuses its sender makes smaller itself."""
        response, content = self._request(
            "PUT",
            _transfers_path(server_id, f"{wanted.transfer_id}/chunks/{wanted.offset}"),
            body=data,
            params={"fence": wanted.fence},
            headers={"Content-Type": "application/octet-stream"},
            read_timeout=self._timeouts.sync,
        )
        form = transfers.WantedChunk | None
        return decoded(content, form, self._checked(response, content))  # type: ignore[arg-type]

    def refuse_chunk(self, server_id: str, transfer_id: int, said: transfers.SourceRefusal) -> None:
        """This server cannot send it."""
        self._call("POST", _transfers_path(server_id, f"{transfer_id}/refuse"), body=inventory.encode(said))

    def copy_model(self, sha256: str, target: str) -> Json:
        """Have a content copied to a server."""
        body = inventory.encode(transfers.TransferRequest(sha256, target))
        return self._object("POST", "/api/v1/transfers", body=body)

    def transfers(self) -> Json:
        """Copies under way, and the latest that ended."""
        return self._object("GET", "/api/v1/transfers")

    def act_on_transfer(self, transfer_id: str, action: str) -> Json:
        """``cancel`` or ``accept`` a copy."""
        path = f"/api/v1/transfers/{quote(transfer_id, safe='')}/{action}"
        return self._object("POST", path, body=b"{}")

    # --- models ----------------------------------------------------------------------------------------

    def availability(self, text: str) -> Json:
        """On which servers the model is that a hash, a name or a row id means."""
        return self._object("GET", f"/api/v1/models/{quote(text, safe='')}/availability")

    def availability_many(self, texts: Sequence[str], names: Sequence[tuple[Kind, str]] = ()) -> Json:
        """The same for up to 1,000 at once: ``texts`` (hashes, row ids, names of any kind), then ``names``
        of one kind each, which are names also where they look like a hash or a number."""
        wanted = {"hashes": list(texts), "names": [{"kind": kind, "name": name} for kind, name in names]}
        return self._object("POST", "/api/v1/availability", body=_dump(wanted))

    def models(self, **filters: str | int | None) -> Json:
        """A page of models; filters: search, kind, base_model, server, state, sort, page, limit."""
        return self._object("GET", "/api/v1/models", params=filters)

    def model(self, text: str) -> Json:
        """Everything about one model, by row id or hash."""
        return self._object("GET", f"/api/v1/models/{quote(text, safe='')}")

    # --- views -----------------------------------------------------------------------------------------

    def view(
        self,
        name: str,
        ident: str = "",
        query: Mapping[str, str] | None = None,
        etag: str | None = None,
    ) -> View | None:
        """A view of the hub's page as its value, of the type ``VIEW_TYPES[name]``.

        ``query``: the filters of its address. None: nothing changed since ``etag``; the ETag of the last
        answer stands in ``last_etag``. Raises NotAHubError for what is no such value.
        """
        path = "/views/" + "/".join(quote(part, safe="") for part in (name, ident) if part)
        unchanged = {} if etag is None else {"If-None-Match": etag}
        response, content = self._exchange(
            "GET",
            path,
            params=query,
            headers={"Accept": "application/json", **unchanged},
            max_bytes=VIEW_MAX_BYTES,
        )
        if response.status_code == 304 and etag is not None:
            return None
        described = self._checked(response, content)
        value = decoded(content, VIEW_TYPES[name], described)
        self.last_etag = response.headers.get("ETag")
        return value

    # --- jobs ------------------------------------------------------------------------------------------

    def check_job(self, wanted: Mapping[str, Any]) -> Json:
        """Return where a job could run; ``wanted`` as ``JobCheckRequest``."""
        return self._object("POST", "/api/v1/jobs/check", body=_dump(dict(wanted)))

    def submit_job(self, wanted: Mapping[str, Any]) -> Json:
        """Queue a job; ``wanted`` as ``JobSubmission``. May be repeated with its idempotency key."""
        return self._object("POST", "/api/v1/jobs", body=_dump(dict(wanted)))

    def jobs(self, **filters: str | int | None) -> Json:
        """A page of jobs, newest first; filters: state, batch, before, limit and what /docs lists."""
        return self._object("GET", "/api/v1/jobs", params=filters)

    def job(self, job_id: str, *, wait_s: float = 0) -> Json:
        """One job, as soon as it ended or after ``wait_s`` seconds (the hub waits 45 at most)."""
        return self._object(
            "GET",
            _job_path(job_id),
            params={"wait": str(wait_s)} if wait_s else None,
            read_timeout=self._timeouts.read + wait_s,
        )

    def job_why(self, job_id: str) -> Json:
        """For each server why a waiting job is not given to it."""
        return self._object("GET", _job_path(job_id, "why"))

    def job_report(self, job_id: str) -> Json:
        """Everything that happened to a job."""
        return self._object("GET", _job_path(job_id, "report"))

    def job_picture(self, job_id: str, number: int) -> bytes:
        """A picture as a PNG."""
        content, _ = self._call("GET", _job_path(job_id, f"pictures/{number}"), max_bytes=PICTURE_MAX_BYTES)
        return content

    def cancel_job(self, job_id: str) -> Json:
        """End a job that has not ended."""
        return self._object("POST", _job_path(job_id, "cancel"), body=b"{}")

    def delete_job(self, job_id: str) -> None:
        """Remove a job with its prompt and its pictures."""
        self._call("DELETE", _job_path(job_id))

    def star_job(self, job_id: str) -> Json:
        """Keep a job for ever."""
        return self._object("POST", _job_path(job_id, "star"), body=b"{}")

    def accept_job(self, job_id: str) -> Json:
        """Take a picture all the same that was found wrong."""
        return self._object("POST", _job_path(job_id, "accept"), body=b"{}")

    def act_on_jobs(self, wanted: queue.JobActions) -> queue.ActionResults:
        """The same for many jobs; answered for each. May be repeated, but for ``earlier`` and ``later``."""
        form = queue.ActionResults
        return self._typed("POST", "/api/v1/jobs/actions", form, body=inventory.encode(wanted))

    def edit_job(self, job_id: str, wanted: queue.JobEdit) -> queue.EditedJob:
        """Change a job: its name at any time, everything else while it waits."""
        form = queue.EditedJob
        return self._typed("PATCH", _job_path(job_id), form, body=inventory.encode(wanted))

    def run_again(self, job_id: str, wanted: queue.RunAgain) -> wire_jobs.Submitted:
        """Queue a new job that generates the same. May be repeated with its idempotency key."""
        form = wire_jobs.Submitted
        return self._typed("POST", _job_path(job_id, "again"), form, body=inventory.encode(wanted))

    def decide(self, job_id: str, wanted: queue.Decision) -> queue.Decided:
        """Say about a model that a job waits for what is to be done."""
        form = queue.Decided
        return self._typed("POST", _job_path(job_id, "decisions"), form, body=inventory.encode(wanted))

    def fill_form(self, text: str) -> NewJob:
        """The form for a new job, filled from a generation text."""
        return self._form("text", [("text", text)], NewJob)

    def check_form(self, fields: Sequence[tuple[str, str]]) -> CheckShown:
        """Return what a filled form needs, and who can make it."""
        return self._form("check", fields, CheckShown)

    def queue_form(self, fields: Sequence[tuple[str, str]]) -> wire_jobs.Submitted:
        """Queue what a filled form says. May be repeated with the same ``once`` in it."""
        return self._form("queue", fields, wire_jobs.Submitted)

    def _form(self, step: str, fields: Sequence[tuple[str, str]], form: type[Answer]) -> Answer:
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode(list(fields), errors="replace").encode()
        return self._typed("POST", f"/views/new/{step}", form, body=body, headers=headers)

    def pause_queue(self, server_id: str | None, *, paused: bool) -> Json:
        """Give one server (None: all) no more jobs, or jobs again (admin, or the server's own key)."""
        where = "" if server_id is None else f"/servers/{quote(server_id, safe='')}"
        step = "pause" if paused else "resume"
        return self._object("POST", f"/api/v1/queue{where}/{step}", body=b"{}")

    # --- servers, keys, the hub itself -----------------------------------------------------------------

    def servers(self) -> list[Json]:
        """All servers the hub knows."""
        return self._array("GET", "/api/v1/servers")

    def rename_server(self, server_id: str, alias: str) -> Json:
        """Give a server another alias (admin)."""
        return self._object(
            "PATCH", f"/api/v1/servers/{quote(server_id, safe='')}", body=_dump({"alias": alias})
        )

    def forget_server(self, server_id: str) -> None:
        """Remove a server and what the hub knows of its files (admin)."""
        self._call("DELETE", f"/api/v1/servers/{quote(server_id, safe='')}")

    def send_order(self, server_id: str, order: Mapping[str, Any]) -> Json:
        """Ask a server to do something: ``{"kind": ...}`` and the fields of ``Order`` (admin)."""
        return self._object(
            "POST", f"/api/v1/servers/{quote(server_id, safe='')}/orders", body=_dump(dict(order))
        )

    def keys(self) -> Json:
        """The keys there are, without their secrets (admin)."""
        return self._object("GET", "/api/v1/keys")

    def create_key(self, scope: str, name: str = "") -> Json:
        """A new key; its text is in the answer and nowhere else (admin)."""
        return self._object("POST", "/api/v1/keys", body=_dump({"scope": scope, "name": name}))

    def join_code(self) -> Json:
        """A code with which one more server joins within an hour (admin)."""
        return self._object("POST", "/api/v1/keys/join-code", body=b"{}")

    def session_code(self) -> str:
        """A one-time code that signs a browser in (admin)."""
        return str(self._object("POST", "/api/v1/session-codes", body=b"{}").get("code", ""))

    def events(self, after: int = 0, limit: int = 100) -> Json:
        """Return what happened, oldest first, behind event ``after``."""
        return self._object("GET", "/api/v1/events", params={"after": after, "limit": limit})

    def network(self) -> Json:
        """Return whether other machines can reach the hub."""
        return self._object("GET", "/api/v1/network")

    def set_network(self, *, reachable: bool) -> Json:
        """Open the hub to the network, or close it again (admin)."""
        return self._object("POST", "/api/v1/network", body=_dump({"reachable": reachable}))

    def _is_old_stablequeue(self) -> bool:
        try:
            content, _ = self._call("GET", "/status", auth=False)
        except StableQueueError:
            return False
        return content.decode("utf-8", "replace").strip() == OLD_STATUS_TEXT


def _transfers_path(server_id: str, rest: str) -> str:
    return f"/api/v1/servers/{quote(server_id, safe='')}/transfers/{rest}"


def _runner_path(server_id: str, step: str) -> str:
    return f"/api/v1/servers/{quote(server_id, safe='')}/runner/{step}"


def _job_path(job_id: str, step: str = "") -> str:
    return f"/api/v1/jobs/{quote(job_id, safe='')}" + (f"/{step}" if step else "")


def _dump(value: Any) -> bytes:
    return msgspec.json.encode(value)
