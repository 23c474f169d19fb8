"""The tab in a real Chromium, in both fake hosts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, Route

from ..browser.conftest import browser, hub  # noqa: F401 - fixtures
from ..hosts.conftest import family, start_host  # noqa: F401 - fixtures
from ..hosts.running_host import HERE, FakeHost, StartHost

ROUTES = "/stablequeue/v1/"
HOSTS_OWN = re.compile(r"googleapis|gstatic|Failed to load resource|preload|manifest|Permissions policy|404")
"""What Gradio itself complains about without a network."""


READ_NOW = {"STABLEQUEUE_HASHING": "now"}
"""A test machine is never idle."""


@pytest.fixture(scope="module")
def host(
    family: str,  # noqa: F811 - the fixture
    start_host: StartHost,  # noqa: F811 - the fixture
    tmp_path_factory: pytest.TempPathFactory,
) -> FakeHost:
    """One fake host per family, with sample models that have been read."""
    data = tmp_path_factory.mktemp(family) / "webui"
    made = start_host(family, data, *serving(data), environment=READ_NOW)
    wait_for_models(made, 6)
    return made


def serving(data: Path) -> tuple[str, ...]:
    """Options with which a fake host serves its own script and what lies in its folder."""
    return "--gradio-allowed-path", str(data), "--gradio-allowed-path", str(HERE / "fake_host" / "host")


@dataclass
class OpenTab:
    """A page of a WebUI. ``asked``: which of our routes, and when; ``complaints``: what went wrong."""

    page: Page
    host: FakeHost
    asked: list[tuple[float, str]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def button(self, label: str) -> Any:
        return self.page.locator("#tabs button", has_text=re.compile(rf"^\s*{label}\s*$", re.I)).first

    def show(self) -> None:
        """Bring our tab to the front, as a person does."""
        self.page.wait_for_selector("#sq-app[data-sq-started]", state="attached")
        self.button("StableQueue").click()
        self.page.wait_for_selector("#sq-first-line", state="visible")

    def way(self, view: str) -> None:
        """Follow one of our own ways and wait until its view is shown."""
        self.page.click(f"[data-sq-nav={view}]")
        self.page.wait_for_selector(f"#sq-view[data-sq-shown$='/views/{view}']:not([aria-busy])")

    def asked_since(self, begun: float) -> list[str]:
        return [path for at, path in self.asked if at >= begun]

    @property
    def scrolls_sideways(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))


OpenHost = Callable[..., OpenTab]


@pytest.fixture
def open_host(browser: Browser) -> Iterator[OpenHost]:  # noqa: F811 - the fixture
    """``open_host(host, width, dark=False, theme="")``: a fresh page of a WebUI, without other machines."""
    contexts = []

    def opened(
        host: FakeHost,
        width: int = 1280,
        *,
        dark: bool = False,
        script: str = "",
        wait: bool = True,
        **options: Any,
    ) -> OpenTab:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            **options,
        )
        contexts.append(context)
        tab = OpenTab(context.new_page(), host)
        tab.page.set_default_timeout(20_000)
        tab.page.route("**/*", _only_this_machine)
        tab.page.on("request", lambda request: _note(tab, request.url))
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.page.on("console", lambda message: _complain(tab, message))
        if script:
            tab.page.add_init_script(script)
        tab.page.goto(host.url + ("/?__theme=dark" if dark else "/?__theme=light"))
        if wait:
            tab.page.wait_for_selector("#sq-app[data-sq-started]", state="attached", timeout=40_000)
        return tab

    yield opened
    for context in contexts:
        context.close()


def _only_this_machine(route: Route) -> None:
    if route.request.url.startswith(("http://127.0.0.1", "data:", "blob:")):
        route.continue_()
    else:
        route.abort()


def _note(tab: OpenTab, url: str) -> None:
    if ROUTES in url:
        tab.asked.append((time.monotonic(), url.partition(ROUTES)[2]))


def _complain(tab: OpenTab, message: Any) -> None:
    if message.type == "error" and not HOSTS_OWN.search(message.text):
        tab.complaints.append(message.text)


# --- the host's process -------------------------------------------------------------------------------------

RT = """
import os
from stablequeue_client.webui.shell import loading
rt = loading._loaded[os.getpid()].result()
"""


def token_of(host: FakeHost) -> str:
    return str(host.run(RT + "result = rt.token"))


def ask(host: FakeHost, path: str, method: str = "GET", **options: Any) -> requests.Response:
    """A request to our routes with the token, as our script sends it."""
    headers = {"X-StableQueue-Token": token_of(host), **options.pop("headers", {})}
    return requests.request(method, host.url + ROUTES + path, headers=headers, timeout=30, **options)


def wait_for_models(host: FakeHost, count: int, limit_s: float = 90) -> None:
    """Until the agent has read at least so many models."""
    deadline = time.monotonic() + limit_s
    found = -1
    while found < count:
        assert time.monotonic() < deadline, (found, host.log[-3000:])
        time.sleep(0.2)
        found = ask(host, "status").json().get("models", -1)
