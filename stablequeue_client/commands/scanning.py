"""``scan`` and ``agent``: read this computer's folders, alone or for a hub."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from stablequeue_client.agent import main
from stablequeue_client.agent.agent_settings import CAPABILITIES_NAME, AgentSettings, HashingMode, SyncMode
from stablequeue_client.commands.context import Context
from stablequeue_client.commands.folders import model_folders, require_folders
from stablequeue_client.commands.inventory_report import inventory_report, say_report
from stablequeue_client.commands.local_orders import opened_index
from stablequeue_client.commands.progress_bar import progress_bar
from stablequeue_client.commands.terminal import say, say_json
from stablequeue_client.index.index import Index
from stablequeue_client.shared.errors import NotFoundError
from stablequeue_client.shared.parent_process import PARENT_VARIABLE, marked_parent
from stablequeue_client.shared.wire.transfers import Receive
from stablequeue_client.terminal_text import visible

_client_log = logging.getLogger("stablequeue_client")


def agent_settings(context: Context, *, hub: str | None = None) -> AgentSettings:
    """Return what the agent is told, from the settings of this call."""
    settings = context.settings
    return AgentSettings(
        data_dir=context.data_dir,
        folders=model_folders(settings),
        hub_url=hub,
        join_secret=settings.join,
        alias=settings.alias or "",
        ca_file=settings.ca_file,
        hashing=cast(HashingMode, settings.hashing),
        network_rate=settings.network_rate * 1_000_000,
        parent=marked_parent(os.environ.get(PARENT_VARIABLE)),
        digests_dir=_folder(settings.digests),
        sync=cast(SyncMode, settings.sync),
        sync_on_start=settings.sync_on_start,
        sync_every_s=settings.sync_every * 60.0,
        watch=settings.watch,
        private=settings.private,
        webui_cache=_folder(settings.webui_cache),
        capabilities_file=context.data_dir / CAPABILITIES_NAME,
        receive=cast(Receive, settings.receive),
        hand_out=settings.hand_out,
    )


def _folder(path: str | None) -> Path | None:
    return Path(path).expanduser().absolute() if path else None


def run_agent(context: Context) -> int:
    """The agent in the foreground until it is stopped, or with ``--once`` until all is told."""
    require_folders(context.settings)
    bar = progress_bar(context.data_dir, shown=context.settings.once)
    with stop_on_signals() as stop, _milestones(), bar:
        code = main.run(
            agent_settings(context, hub=context.settings.hub), once=context.settings.once, stop=stop
        )
    if context.settings.once and context.settings.json:
        with opened_index(context) as index:
            say_json(inventory_report(index))
    return code


@contextmanager
def _milestones() -> Iterator[None]:
    """Tell the person at the terminal what went well too: that it joined, what it found, the hub is back.

    Under a parent the log is for what went wrong: its last line says why a child has ended.
    """
    if marked_parent(os.environ.get(PARENT_VARIABLE)) is not None:
        yield
        return
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or _is_milestone(record))
    before = _client_log.level
    _client_log.addHandler(handler)
    _client_log.setLevel(logging.INFO)
    try:
        yield
    finally:
        _client_log.removeHandler(handler)
        _client_log.setLevel(before)


def _is_milestone(record: logging.LogRecord) -> bool:
    return getattr(record, "action", "") in ("joined", "hub_reached", "scanned")


def run_scan(context: Context) -> int:
    """Scan and hash without a hub, then print every file; or accept that files are gone."""
    if context.settings.accept_removals:
        return _accept_removals(context, context.settings.accept_removals)
    require_folders(context.settings)
    with stop_on_signals() as stop, progress_bar(context.data_dir):
        code = main.scan_only(agent_settings(context), stop=stop)
    with opened_index(context) as index:
        report = inventory_report(index)
    if context.settings.json:
        say_json(report)
    else:
        say_report(report)
    return code


def _accept_removals(context: Context, wanted: str) -> int:
    with opened_index(context) as index:
        root_id = _root_id(index, wanted)
        accepted = index.accept_removals(root_id)
    if context.settings.json:
        say_json({"root_id": root_id, "accepted": accepted})
    elif accepted:
        say("Accepted: files that the next scan does not find there are removed.")
    else:
        say("Nothing is missing there.")
    return 0


def _root_id(index: Index, wanted: str) -> str:
    """The id of the root that ``wanted`` (id or folder) means. Raises NotFoundError naming all."""
    real = os.path.realpath(os.path.expanduser(wanted))
    roots = index.roots()
    for root in roots:
        if wanted == root.root_id or real == os.path.realpath(root.path_on_disk):
            return root.root_id
    known = ", ".join(visible(root.path) for root in roots) or "none"
    raise NotFoundError(f"{wanted!r} is not a known folder. Known: {known}.")


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second Ctrl-C ends the process at once."""
    stop = threading.Event()

    def on_signal(number: int, _frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            sys.exit(128 + number)
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
