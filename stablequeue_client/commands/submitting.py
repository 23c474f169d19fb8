"""``submit``: queue what a file says, wait for it, and save the pictures."""

from __future__ import annotations

import codecs
import json
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from stablequeue_client.commands.context import Context, open_hub
from stablequeue_client.commands.jobs import SHOWN_ID
from stablequeue_client.commands.terminal import say, say_json, warn
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.connection import Json
from stablequeue_client.hub_client.patience import Patience, ended_on_the_way
from stablequeue_client.shared.errors import (
    GatewayError,
    HubUnreachableError,
    InvalidValueError,
    StableQueueError,
    UsageError,
)
from stablequeue_client.shared.generation.image_text import generation_text, picture_format
from stablequeue_client.shared.generation.infotext import parse_infotext, plain_text
from stablequeue_client.shared.wire.jobs import JOB_MAX_BYTES
from stablequeue_client.terminal_text import visible

WAIT_S = 30.0
"""How long one request waits; then it is sent again."""
SEND_S = 60.0
GIVE_UP_S = 600.0
"""So long the hub may be away, or a proxy before it may say so, until that is the answer."""
RETRY_MAX_S = 10.0
T = TypeVar("T")
ENDED = ("completed", "failed", "cancelled")
_SUBMISSION_FIELDS = frozenset(
    {
        *("payload", "infotext", "server", "targets", "count"),
        *("seed_rule", "priority", "name", "idempotency_key"),
    }
)


def run_submit(context: Context) -> int:
    """Queue it. With --wait the exit code says what came of it: 0 all completed, 3 not all."""
    wanted = submission_of(read_bytes(context.arguments.file), context)
    hub = _through_proxy(lambda: open_hub(context))
    answer = _sent(hub, wanted)
    settings = context.settings
    if not settings.json:
        _say_queued(answer)
    if not settings.wait and settings.save is None:
        if settings.json:
            say_json(answer)
        return 3 if answer["check"].get("warnings") else 0
    jobs = [_ended(hub, job_id, quiet=settings.json) for job_id in answer["job_ids"]]
    saved = save_pictures(hub, jobs, Path(settings.save)) if settings.save is not None else []
    if settings.json:
        say_json({**answer, "jobs": jobs, "saved": [str(path) for path in saved]})
    for path in () if settings.json else saved:
        say(f"Saved {visible(str(path))}")
    return 0 if all(job["state"] == "completed" for job in jobs) else 3


# --- what to queue ----------------------------------------------------------------------------------------


def read_bytes(name: str) -> bytes:
    """A file's content; ``-``: standard input. Raises UsageError."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(JOB_MAX_BYTES + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(JOB_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}.", remedy="Give another file.") from None
    if len(data) > JOB_MAX_BYTES:
        raise UsageError(f"{name} is larger than {JOB_MAX_BYTES >> 20} MiB.", remedy="Give a smaller file.")
    return data


def submission_of(data: bytes, context: Context) -> Json:
    """The body to send: what the file says, and over it what was given on the command line.

    A picture is the job that makes it again, JSON the WebUI's own payload (or a whole submission), other text
    a generation text. Raises UsageError, InvalidValueError.
    """
    body = what_to_make(data)
    settings = context.settings
    given: dict[str, Any] = {
        "targets": list(settings.target) or None,
        "count": settings.count if settings.count != 1 else None,
        "seed_rule": settings.seed_rule if settings.seed_rule != "increment" else None,
        "priority": priority(settings.priority) or None,
        "name": settings.name,
    }
    body |= {name: value for name, value in given.items() if value is not None}
    body.setdefault("idempotency_key", uuid.uuid4().hex)
    return body


def what_to_make(data: bytes) -> dict[str, Any]:
    """``{"payload": ...}``, ``{"infotext": ...}`` or a whole submission. Raises UsageError."""
    if picture_format(data) is not None:
        text = generation_text(data)
        if text is None:
            raise UsageError(
                "This picture holds no generation text, so nothing says how it was made.",
                remedy="Give the picture as the WebUI saved it.",
            )
        if not _is_generation_text(text):
            raise UsageError(
                "The text in this picture has no line with `Steps: ...`: it is not a WebUI's.",
                remedy="Give a picture that a WebUI made.",
            )
        return {"infotext": text}
    text = _decoded(data)
    if not text.lstrip().startswith("{"):
        if not _is_generation_text(text):
            raise UsageError(
                "This text has no line with `Steps: ...`, so it is not a generation text.",
                remedy='Give the whole text under a picture, or a prompt alone as JSON: {"prompt": "..."}.',
            )
        return {"infotext": text}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UsageError(f"This is not valid JSON{where}.", remedy="Correct it.") from None
    if "payload" in found or "infotext" in found:
        return {name: value for name, value in found.items() if name in _SUBMISSION_FIELDS}
    return {"payload": found}


_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _decoded(data: bytes) -> str:
    """The text of a file: UTF-8, or UTF-16, in which Windows PowerShell writes. Raises UsageError."""
    encoding = "utf-8-sig"
    if data.startswith(_UTF_16_MARKS):
        encoding = "utf-16"
    elif b"\x00" in data[:2]:  # no text in UTF-8 has one; half of most letters in UTF-16 is one
        encoding = "utf-16-be" if data[:1] == b"\x00" else "utf-16-le"
    try:
        return plain_text(data.decode(encoding))
    except UnicodeDecodeError:
        raise UsageError(
            "This is neither a picture (PNG, JPEG, WebP, AVIF, GIF) nor text.",
            remedy="Give a picture as the WebUI saved it, JSON or a generation text in UTF-8 or UTF-16.",
        ) from None


def _is_generation_text(text: str) -> bool:
    return "Steps" in parse_infotext(text).settings


def priority(text: str) -> int:
    """Raises InvalidValueError."""
    try:
        number = int(text)
    except ValueError:
        number = 99
    if not -10 <= number <= 10:
        raise InvalidValueError("--priority must be an integer from -10 to 10.")
    return number


def _sent(hub: HubApi, wanted: Json) -> Json:
    """The hub's answer. A lost one is asked for again: its idempotency key makes that harmless."""
    try:
        return _through_proxy(lambda: hub.submit_job(wanted))
    except HubUnreachableError:
        return hub.submit_job(wanted)


def _through_proxy(call: Callable[[], T]) -> T:
    """What ``call`` returns, asked again for a while when a proxy answers in the hub's place."""
    try:
        return call()
    except GatewayError:
        return _patiently(call, SEND_S)


def _patiently(call: Callable[[], T], give_up_s: float = GIVE_UP_S) -> T:
    """What ``call`` returns, asked again while the hub is away or a proxy before it says so."""
    until, wait = time.monotonic() + give_up_s, 1.0
    while True:
        try:
            return call()
        except StableQueueError as error:
            if not ended_on_the_way(error) or time.monotonic() >= until:
                raise
        time.sleep(wait)
        wait = min(2 * wait, RETRY_MAX_S)


def _say_queued(answer: Json) -> None:
    ids = [str(job_id)[:SHOWN_ID] for job_id in answer["job_ids"]]
    shown = ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
    say(f"Queued {'1 job' if len(ids) == 1 else f'{len(ids)} jobs'}: {shown}")
    check = answer["check"]
    for text in check.get("warnings") or []:
        warn(visible(str(text)))
    if check.get("left_out"):
        warn(f"Not taken over from the text: {visible('; '.join(map(str, check['left_out'])))}.")
    if check["possible"]:
        return
    warn("No server can run it now; it waits.")
    for server in check["servers"]:
        reasons = " ".join(str(reason["text"]) for reason in server["reasons"])
        warn(f"  {visible(str(server['alias']))}: {visible(reasons)}")
    for one in check.get("helps") or []:
        warn(f"  {visible(str(one['text']))}")


# --- what comes of it -------------------------------------------------------------------------------------


def _ended(hub: HubApi, job_id: str, *, quiet: bool) -> Json:
    """The job at its end."""
    said, patience = None, Patience(WAIT_S)

    def look() -> Json:
        try:
            return hub.job(job_id, wait_s=patience.wait_s)
        except StableQueueError as error:
            if patience.shorten(error):
                return hub.job(job_id)
            raise

    while True:
        job = _patiently(look)
        if not quiet and job["state"] != said:
            said = job["state"]
            reason = job.get("failure_text")
            say(f"Job {job_id[:SHOWN_ID]}: {said}" + (f". {visible(str(reason))}" if reason else ""))
        if job["state"] in ENDED:
            return job


def save_pictures(hub: HubApi, jobs: Sequence[Json], folder: Path) -> list[Path]:
    """Every picture as a file ``<id>-<number>.png``; none is written over. Raises UsageError."""
    saved = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for job in jobs:
            for picture in job.get("pictures") or []:
                data = _patiently(partial(hub.job_picture, job["job_id"], picture["number"]))
                name = f"{str(job['job_id'])[:SHOWN_ID]}-{int(picture['number'])}"
                saved.append(_write_new(folder, name, data))
    except OSError as error:
        raise UsageError(
            f"A picture cannot be saved in {folder}: {error.strerror}.", remedy="Give another folder."
        ) from None
    return saved


def _write_new(folder: Path, name: str, data: bytes) -> Path:
    number = 0
    while True:
        path = folder / (f"{name}.png" if number == 0 else f"{name}_{number}.png")
        try:
            with open(path, "xb") as file:
                file.write(data)
        except FileExistsError:
            number += 1
            continue
        return path
