"""The parts of the extension put together, and what they give the host once they are loaded."""

from __future__ import annotations

import os
import sys
from typing import Any

from stablequeue_client.hub_reader import HubReader
from stablequeue_client.local_models import LocalModels
from stablequeue_client.own_hub import OwnHub
from stablequeue_client.webui import compat, needed, old_extension, routes, tab
from stablequeue_client.webui.agent_keeper import AgentKeeper
from stablequeue_client.webui.callbacks import guarded
from stablequeue_client.webui.places import find_places
from stablequeue_client.webui.runtime import Runtime, keep
from stablequeue_client.webui.settings_source import SettingsSource, TomlFile, hub_settings, settings_file


def make() -> Runtime:
    """The runtime of this process; once per process. Raises what a broken installation raises."""
    absent = needed.missing()
    if absent:  # also what only the agent loads: better told here than by a child that cannot start
        raise ModuleNotFoundError(f"No module named {absent[0].module!r}", name=absent[0].module)
    host = compat.detect()
    first = find_places(host.data_dir(), os.environ, {})
    toml = TomlFile(settings_file(os.environ, first.machine_dir))
    places = find_places(host.data_dir(), os.environ, toml.values())
    settings = SettingsSource(host, toml)
    rt = Runtime(
        host=host,
        places=places,
        settings=settings,
        models=LocalModels(places.server_dir),
        hub=HubReader(places.server_dir, ca_file=lambda: settings().ca_file),
        own_hub=OwnHub(
            places.machine_dir, places.extension_dir, sys.executable, settings=lambda: hub_settings(toml)
        ),
    )
    rt.agent = AgentKeeper(rt)
    keep(rt)
    return rt


def tabs(rt: Runtime) -> list[tuple[Any, str, str]]:
    """Our tab, for the page that the host is building."""
    # In the host's own thread, because it writes the host's options.
    guarded("the old extension's settings")(old_extension.take_over)(rt.host, rt.places.server_dir)
    return tab.tabs(rt)


def app_started(rt: Runtime, demo: Any, app: Any) -> None:
    """Our routes, for the host's new FastAPI app."""
    routes.add(rt, app)
    # It lies outside the WebUI's folder already, unless its owner chose otherwise.
    rt.host.block_path(demo, str(rt.places.machine_dir))
