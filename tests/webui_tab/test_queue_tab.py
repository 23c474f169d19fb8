"""The queue in the tab, with a real hub, in both families."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import expect

from ..agent.real_hub import RealHub
from ..hosts.running_host import FakeHost, StartHost
from .conftest import OpenHost, OpenTab, serving
from .jobs_elsewhere import Attic, join

pytestmark = pytest.mark.browser


@dataclass
class Joined:
    """A WebUI that joined a hub, where the server "attic" works for all."""

    host: FakeHost
    hub: RealHub
    attic: Attic
    key: str


@pytest.fixture(scope="module")
def joined(family: str, start_host: StartHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joined]:
    folder = tmp_path_factory.mktemp(f"queue-{family}")
    hub = RealHub(folder / "hub" / "data")
    hub.data.parent.mkdir()
    hub.start()
    data = folder / "webui"
    host = start_host(family, data, "--bare", *serving(data))
    _, key = join(host, hub)
    yield Joined(host, hub, Attic(hub), key)
    host.stop()
    hub.kill()


@pytest.fixture
def tab(joined: Joined, open_host: OpenHost) -> OpenTab:
    opened = open_host(joined.host)
    opened.show()
    return opened


def loaded(tab: OpenTab, css: str) -> None:
    """Until a picture is really shown."""
    tab.page.wait_for_function(
        "css => [...document.querySelectorAll(css)].some((one) => one.complete && one.naturalWidth > 0)",
        arg=css,
    )


def test_queue_and_job_are_readable_in_the_tab_with_their_pictures(joined: Joined, tab: OpenTab) -> None:
    done = joined.attic.submit(joined.key, "a red fox <lora:ink:1>")
    joined.attic.runner.step()
    waiting = joined.attic.submit(joined.key, "a second fox <lora:gone:1>")
    tab.way("queue")
    page = tab.page
    expect(page.locator(f"#sq-job-{waiting}")).to_contain_text("gone")
    expect(page.locator("#sq-first-line")).to_contain_text("1 waits")
    page.get_by_role("link", name=re.compile("^Done")).click()
    loaded(tab, f"#sq-job-{done} img.sq-thumb")
    page.locator(f"#sq-job-{done} .sq-j-title").click()
    expect(page.locator("#sq-view h1")).to_contain_text("a red fox")
    loaded(tab, "img.sq-picture")
    source = page.locator("img.sq-picture").get_attribute("src") or ""
    assert source.startswith("blob:")
    assert joined.key not in page.content()
    expect(page.locator(".sq-job-models")).to_contain_text("ink")
    assert tab.complaints == []
