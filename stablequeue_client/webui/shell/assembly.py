"""The parts of the extension put together, and what they give the host once they are loaded."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from stablequeue_client.hub_client.joined_connection import Connect, connection_factory
from stablequeue_client.hub_client.view_cache import HubViewCache
from stablequeue_client.index.snapshot import IndexReader
from stablequeue_client.own_hub import OwnHub
from stablequeue_client.webui.agent_process.keeper import START_UP_S, AgentKeeper
from stablequeue_client.webui.host import compat, page_build_lock, python_requirements
from stablequeue_client.webui.host.capture import GenerationCapture
from stablequeue_client.webui.host.extension_folders import find_folders
from stablequeue_client.webui.host.generation import GenerationHost
from stablequeue_client.webui.host.guarded import guarded
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.prompt_line.card_marks import CardMarkCache
from stablequeue_client.webui.prompt_line.check import PromptCheck
from stablequeue_client.webui.runner.runner import Runner, RunnerContext
from stablequeue_client.webui.settings import old_extension
from stablequeue_client.webui.settings.source import SettingsSource, TomlFile, hub_settings, settings_file
from stablequeue_client.webui.submit.outbox import SubmissionOutbox
from stablequeue_client.webui.submit.sender import Sender
from stablequeue_client.webui.submit.status_line import StatusLine
from stablequeue_client.webui.submit.submission import SubmissionService
from stablequeue_client.webui.tab import routes


def make() -> Runtime:
    """The runtime of this process; once per process. Raises what a broken installation raises."""
    absent = python_requirements.missing()
    if absent:  # also what only the agent loads: better told here than by a child that cannot start
        raise ModuleNotFoundError(f"No module named {absent[0].module!r}", name=absent[0].module)
    host = compat.detect()
    first = find_folders(host.data_dir(), os.environ, {})
    toml = TomlFile(settings_file(os.environ, first.machine_dir))
    places = find_folders(host.data_dir(), os.environ, toml.values())
    settings = SettingsSource(host, toml)
    rt = Runtime(
        host=host,
        places=places,
        settings=settings,
        models=IndexReader(places.server_dir),
        hub=HubViewCache(places.server_dir, ca_file=lambda: settings().ca_file),
        own_hub=OwnHub(
            places.machine_dir, places.extension_dir, sys.executable, settings=lambda: hub_settings(toml)
        ),
    )
    rt.agent = AgentKeeper(rt)
    connect = connection_factory(lambda: settings().ca_file)
    rt.runner = Runner(_runner_context(rt, connect))
    kept = SubmissionOutbox(places.server_dir)
    sender = Sender(places.server_dir, kept, connect)
    service = SubmissionService(GenerationCapture(host), kept, sender)
    rt.queueing, rt.queue_line = service, StatusLine(rt, service)
    rt.prompt_check, rt.card_marks = PromptCheck(rt), CardMarkCache(rt)
    return rt


def _runner_context(rt: Runtime, connect: Connect) -> RunnerContext:
    """Return what the runner may know and do of this WebUI."""
    started = time.monotonic()

    def is_up() -> bool:
        if page_build_lock.building():
            return False
        return bool(rt.host.web_addresses()) or time.monotonic() - started > START_UP_S

    return RunnerContext(
        host=GenerationHost(rt.host),
        server_dir=rt.places.server_dir,
        models=rt.models,
        works_for_others=lambda: rt.settings().works_for_others,
        capabilities=lambda: rt.host.capabilities(rt.settings().works_for_others),
        is_generating=rt.host.is_generating,
        is_up=is_up,
        connect=connect,
    )


def app_started(rt: Runtime, demo: Any, app: Any) -> None:
    """Our routes, for the host's new FastAPI app."""
    routes.add(rt, app)
    # In the host's own thread, because it writes the host's options.
    guarded("the old extension's settings")(old_extension.take_over)(rt.host, rt.places.server_dir)
    # It lies outside the WebUI's folder already, unless its owner chose otherwise.
    rt.host.block_path(demo, str(rt.places.machine_dir))
