"""``sync``, ``put-back``, ``pause``, ``resume``: orders to the agent of a data folder, left in its index."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stablequeue_client.agent.lock import agent_lock
from stablequeue_client.commands.context import Context
from stablequeue_client.commands.terminal import say, say_json
from stablequeue_client.index.index import Index, open_index
from stablequeue_client.index.rows import IndexRow
from stablequeue_client.shared.errors import AlreadyRunningError, NotFoundError, StableQueueError, UsageError
from stablequeue_client.shared.wire.inventory import native_path
from stablequeue_client.shared.wire.orders import ORDER_TTL_S

PAUSE_MINUTES = 60
_LONGEST_PAUSE_MINUTES = 60 * 24 * 7


class NotRunningError(StableQueueError):
    """No agent is running on this data folder, so the order would not be carried out."""

    code = "not_running"
    remedy_text = "Start `stablequeue up` or `stablequeue agent` first, or name its data folder with --data."


@contextmanager
def opened_index(context: Context) -> Iterator[Index]:
    """The index of the data folder, closed afterwards. Raises NotFoundError where there is none."""
    if not (context.data_dir / "index.sqlite").exists():
        raise NotFoundError(
            f"Nothing has been read yet in {context.data_dir}.",
            remedy="Run `stablequeue up` or `stablequeue scan` first, or name the data folder with --data.",
        )
    index = open_index(context.data_dir, repair=False)
    try:
        yield index
    finally:
        index.close()


def agent_runs(context: Context) -> bool:
    """Return whether some process holds the data folder's agent lock."""
    try:
        with agent_lock(context.data_dir):
            return False
    except AlreadyRunningError:
        return True


def _give(context: Context, index: Index, kind: str, fields: dict[str, Any], said: str) -> int:
    if not agent_runs(context):
        raise NotRunningError(f"No agent is running on {context.data_dir}.")
    number = index.add_order(kind, fields, ORDER_TTL_S)
    if context.settings.json:
        say_json({"order": {"id": number, "kind": kind, **fields}})
    else:
        say(said)
    return 0


def run_sync(context: Context) -> int:
    """Have the agent walk all folders and then tell the hub."""
    with opened_index(context) as index:
        if not agent_runs(context):
            raise NotRunningError(f"No agent is running on {context.data_dir}.")
        index.add_order("rescan", {}, ORDER_TTL_S)
        return _give(
            context, index, "sync", {}, "The folders are being checked; the hub is told what changed."
        )


def run_pause(context: Context) -> int:
    """Stop reading files for some minutes."""
    minutes = _minutes(context.arguments.minutes)
    with opened_index(context) as index:
        said = f"No file is read for {minutes} minutes; `stablequeue resume` ends that."
        return _give(context, index, "hashing", {"mode": "pause", "until_s": minutes * 60}, said)


def _minutes(text: str | None) -> int:
    if text is None:
        return PAUSE_MINUTES
    if text.isdecimal() and text.isascii() and 0 < int(text) <= _LONGEST_PAUSE_MINUTES:
        return int(text)
    raise UsageError(f"{text!r} is not a number of minutes.", remedy=f"Give 1 to {_LONGEST_PAUSE_MINUTES}.")


def run_resume(context: Context) -> int:
    """Go on reading files, now."""
    with opened_index(context) as index:
        return _give(context, index, "hashing", {"mode": "now"}, "Files are read again.")


def run_put_back(context: Context) -> int:
    """Give a set-aside file its name back; the agent reads it first."""
    with opened_index(context) as index:
        folders = {row.root_id: row.path_on_disk for row in index.roots()}
        row = _set_aside(context.arguments.file, index.rows(), folders)
        said = f"{row.path} gets its name back if it is whole; `stablequeue status` shows it."
        return _give(context, index, "put_back", {"root": row.root_id, "path": row.path}, said)


def _set_aside(text: str, rows: list[IndexRow], folders: dict[str, str]) -> IndexRow:
    """The one set-aside row that ``text`` means: a path, or a file name."""
    windows = os.name == "nt"
    wanted = os.path.abspath(os.path.expanduser(text))
    named: list[IndexRow] = []
    for row in rows:
        if row.state != "set_aside":
            continue
        native = native_path(row.path, windows=windows)
        if os.path.realpath(os.path.join(folders.get(row.root_id, ""), native)) == os.path.realpath(wanted):
            return row
        if text in (row.path, native, os.path.basename(native)):
            named.append(row)
    if len(named) == 1:
        return named[0]
    if named:
        raise UsageError(
            f"{len(named)} files that were set aside are called {text!r}.", remedy="Give the whole path."
        )
    raise NotFoundError(
        f"No file {text!r} is known as set aside.",
        remedy="`stablequeue status` lists the files that were set aside.",
    )
