"""The buttons of "Set up" and "This hub", pressed on a real hub."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stablequeue_client.hub_client.identity import load_identity
from stablequeue_client.hub_client.join import parse_join_text
from stablequeue_client.own_hub import OwnHub
from stablequeue_client.shared.errors import ConflictError, InvalidValueError, NotAHubError, StableQueueError
from stablequeue_client.webui.host.extension_folders import ExtensionFolders
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.settings.webui_settings import WebuiSettings
from stablequeue_client.webui.tab import setup

from .making import ROOT, Made, settled

pytestmark = pytest.mark.slow
PASTED = "http://127.0.0.1:1 sq_" + 16 * "0" + "_" + 64 * "a"


class Host:
    """The options of a WebUI: the part of ``compat.Host`` that the first run uses."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.frozen = False

    def options_are_readonly(self) -> bool:
        return self.frozen

    def set_option(self, name: str, value: Any) -> bool:
        self.options[name] = value
        return not self.frozen


class Agent:
    """Counts how often the reading was told of a change."""

    def __init__(self) -> None:
        self.restarts = 0

    def restart(self) -> None:
        self.restarts += 1


class Webui:
    """One WebUI with a data folder of its own in ``machine_dir``."""

    def __init__(self, machine_dir: Path, own_hub: OwnHub, name: str) -> None:
        self.host, self.agent = Host(), Agent()
        self.given = WebuiSettings(alias=name)
        places = ExtensionFolders(machine_dir, machine_dir / "webuis" / name, ROOT)
        self.rt = Runtime(
            host=self.host,  # type: ignore[arg-type]
            places=places,
            settings=self.settings,
            models=None,  # type: ignore[arg-type]
            hub=None,  # type: ignore[arg-type]
            own_hub=own_hub,
        )
        self.rt.agent = self.agent  # type: ignore[assignment]

    def settings(self) -> WebuiSettings:
        names = {key.removeprefix("stablequeue_"): value for key, value in self.host.options.items()}
        return replace(self.given, **names)

    def press(self, name: str, **form: str) -> str:
        return str(setup.ACTIONS[name](self.rt, form))

    def identity(self) -> Any:
        return load_identity(self.rt.places.server_dir)


@pytest.fixture
def studio(made: Made, hub: OwnHub) -> Webui:
    return Webui(made.machine_dir, hub, "studio")


def words_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_one_press_and_this_webui_belongs_to_the_hub_of_this_computer(studio: Webui, hub: OwnHub) -> None:
    assert "Use the hub of this computer" in str(setup.setup_view(studio.rt))  # it lies there, stopped
    assert "is being set up" in studio.press("setup/use-here", works_for_others="idle")
    assert settled(hub).error is None
    assert studio.identity().hub_id == hub.status().hub_id
    assert studio.settings().works_for_others == "idle"
    assert studio.agent.restarts == 1
    assert "belongs to the hub of this computer" in words_of(str(setup.setup_view(studio.rt)))
    assert "The hub of this computer runs" in str(setup.hub_view(studio.rt))


def test_another_webui_joins_by_the_text_that_this_hub_shows(studio: Webui, hub: OwnHub, made: Made) -> None:
    studio.press("setup/use-here")
    settled(hub)
    assert "listen on your network" in str(setup.hub_view(studio.rt))
    studio.press("hub/network", reachable="true")
    shown = studio.press("hub/code")
    (text,) = re.findall(r"<code[^>]*>(.*?)</code>", shown)[:1]
    _, code = parse_join_text(text)
    attic = Webui(made.machine_dir, hub, "attic")
    said = attic.press("setup/join", text=f"{hub.status().url} {code}")
    assert "Connected" in said
    assert {server["alias"] for server in hub.api().servers()} == {"studio", "attic"}
    assert attic.settings().works_for_others == "never"
    studio.press("hub/network", reachable="false")
    assert not hub.api().network()["reachable"]


def test_leaving_this_computers_hub_makes_it_forget_this_webui(studio: Webui, hub: OwnHub) -> None:
    studio.press("setup/use-here")
    settled(hub)
    studio.press("setup/leave")
    assert studio.identity() is None
    assert hub.api().servers() == []
    assert "Connect this WebUI" in str(setup.setup_view(studio.rt))


def test_the_page_of_the_hub_is_opened_signed_in_once(studio: Webui, hub: OwnHub) -> None:
    import requests

    studio.press("hub/start")
    settled(hub)
    link = re.findall(r'href="([^"]+)"', studio.press("hub/open"))[0]
    first = requests.get(link, allow_redirects=False, timeout=10)
    assert (first.status_code, first.headers["location"]) == (303, "./")
    assert requests.get(link, allow_redirects=False, timeout=10).status_code != 303


def test_a_hub_is_only_removed_by_the_word(studio: Webui, hub: OwnHub, made: Made) -> None:
    studio.press("setup/use-here")
    settled(hub)
    with pytest.raises(InvalidValueError, match="Nothing was removed"):
        studio.press("hub/remove", word="yes")
    assert hub.status().phase == "running"
    assert "removed" in studio.press("hub/remove", word=" Remove ")
    assert studio.identity() is None
    assert not (made.machine_dir / "hub.sqlite").exists()
    assert "Use on this computer" in str(setup.hub_view(studio.rt))


def test_a_hub_given_by_the_environment_leaves_nothing_to_press(studio: Webui) -> None:
    studio.given = replace(studio.given, hub="http://hub.lan:8383", given_outside=frozenset({"hub"}))
    assert "data-sq-post" not in str(setup.setup_view(studio.rt))
    for name in ("setup/use-here", "setup/join", "setup/leave"):
        with pytest.raises(ConflictError, match="environment"):
            studio.press(name, text=PASTED)


def test_an_address_among_the_options_waits_in_the_field_and_goes_when_a_hub_is_joined(
    studio: Webui, hub: OwnHub
) -> None:
    studio.host.options["stablequeue_hub"] = "http://former.lan:8383"
    assert 'value="http://former.lan:8383"' in str(setup.setup_view(studio.rt))
    studio.press("setup/use-here")
    settled(hub)
    assert studio.settings().hub == ""


def test_an_answer_that_frozen_settings_cannot_keep_is_refused_before_anything_is_done(studio: Webui) -> None:
    studio.host.frozen = True
    with pytest.raises(ConflictError, match="frozen"):
        studio.press("setup/join", text=PASTED, works_for_others="always")
    with pytest.raises(StableQueueError) as caught:
        studio.press("setup/join", text=PASTED)
    assert not isinstance(caught.value, (ConflictError, NotAHubError))
    with pytest.raises(InvalidValueError):
        studio.press("setup/join", text=PASTED, works_for_others="sometimes")
    assert studio.identity() is None
    assert studio.agent.restarts == 0
