"""How the extension comes to life in a WebUI, and again at each "Reload UI".

The host has forgotten our callbacks by then and is given them again; the runtime, its threads and the agent
live on. Each part is registered by itself: what fails in one takes nothing from the others.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from stablequeue_client.hub_reader import HubReader
from stablequeue_client.local_models import LocalModels
from stablequeue_client.own_hub import OwnHub
from stablequeue_client.webui import background, compat, needed, old_extension, options
from stablequeue_client.webui.agent_keeper import AgentKeeper
from stablequeue_client.webui.callbacks import guarded
from stablequeue_client.webui.places import find_places
from stablequeue_client.webui.runtime import Runtime, keep, runtime
from stablequeue_client.webui.settings_source import SettingsSource, TomlFile, settings_file


def register() -> None:
    """Give the host our callbacks and start, once per process, what runs behind them. Idempotent.

    Costs the WebUI's main thread less than 50 ms. Raises what a broken installation raises.
    """
    rt, is_new = _runtime()
    guarded("the settings")(options.register)(rt)
    guarded("the tab")(lambda: _part("tab").register(rt))()
    guarded("the line under Generate")(lambda: _part("gate").register(rt))()
    rt.host.on_app_started(lambda demo, app: _app_started(rt, demo, app), "stablequeue-routes")
    if is_new:
        background.start(rt)


def _runtime() -> tuple[Runtime, bool]:
    """(the runtime of this process, whether it was made now)."""
    try:
        return runtime(), False
    except RuntimeError:
        pass
    absent = needed.missing()
    if absent:  # also what only the agent loads: better told here than by a child that cannot start
        raise ModuleNotFoundError(f"No module named {absent[0].module!r}", name=absent[0].module)
    rt = _make()
    # Here and not in the background: the host's options may be written by its own thread alone.
    guarded("the old extension's settings")(old_extension.take_over)(rt.host, rt.places.server_dir)
    keep(rt)
    return rt, True


def _make() -> Runtime:
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
        own_hub=OwnHub(places.machine_dir, places.extension_dir, sys.executable),
    )
    rt.agent = AgentKeeper(rt)
    return rt


def _app_started(rt: Runtime, demo: Any, app: Any) -> None:
    guarded("the routes")(lambda: _part("routes").add(rt, app))()
    # Outside the WebUI's folder already, unless its owner chose otherwise.
    rt.host.block_path(demo, str(rt.places.machine_dir))


def _part(name: str) -> Any:
    """A part that is still being built: its import may fail by itself."""
    return importlib.import_module(f"stablequeue_client.webui.{name}")
