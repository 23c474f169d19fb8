"""Forty hostile names over every view of the tab, as files in a real index and as a hub's values."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..hosts.running_host import FakeHost, StartHost
from ..samples.hostile_values import NAMES
from .conftest import READ_NOW, RT, OpenHost, serving, wait_for_models

pytestmark = pytest.mark.browser
HEADER = b'{"__metadata__":{"ss_output_name":%s},"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}'
WATCH = """
window.__address = (at) => /^\\s*javascript:/i.test(at.value) && !/^(value$|title$|data-sq-)/.test(at.name);
window.__marks = () => [
    window.__xss,
    document.querySelectorAll(["script", "iframe", "object", "base"].map(name => "#sq-app " + name)).length,
    [...document.querySelectorAll("#sq-app *")].flatMap(node => [...node.attributes])
        .filter(at => at.name.startsWith("on") || window.__address(at))
        .length,
];
"""
FROM_HUB = """
from stablequeue_client.shared.views import job_views, views
from stablequeue_client.webui.tab import fragments
from stablequeue_client.webui.views import local_queue_view, this_webui_view
from tests.samples import hostile_values as hostile, sample_jobs as sj
made = {
    "models": lambda *_: views.models(hostile.named_page(hostile.NAMES)),
    "model": lambda *_: views.model(hostile.details()),
    "servers": lambda *_: views.servers(hostile.servers()),
    "this": lambda *_: hostile.parts(),
    "setup": lambda *_: views.keys(hostile.keys()),
    "queue": lambda *_: local_queue_view.queue(
        hostile.here(),
        job_views.queue(sj.hostile_page()) + job_views.queue(sj.hostile_groups()),
        this_webui_view.HubLine("away"),
    ),
    "job": lambda _, ident, __: job_views.job(sj.hostile_job(ident), texts_here={}),
    "new": lambda *_: job_views.new_job(sj.hostile_form()),
    "pick": lambda *_: job_views.pick_list(sj.hostile_picks()),
}
fragments.VIEWS.update(made)
"""
"""The views of a hub whose every value is hostile, through the tab's own routes."""


def file_name(name: str, number: int) -> bytes:
    """The name as far as a file may bear it, and the host: its own cache takes no undecodable name."""
    kept = name.encode("utf-8", "replace").replace(b"/", b"\xe2\x88\x95").replace(b"\x00", b"")
    return kept[:200] + b"%d.safetensors" % number


def hostile_files(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(NAMES):
        said = ascii(name).replace("'", "").replace("\\", "").replace('"', "")
        header = HEADER % f'"{said}"'.encode()
        content = len(header).to_bytes(8, "little") + header + number.to_bytes(8, "little")
        with open(bytes(folder) + b"/" + file_name(name, number), "wb") as file:
            file.write(content)


@pytest.fixture
def hostile_host(family: str, start_host: StartHost, tmp_path: Path) -> FakeHost:
    data = tmp_path / "webui"
    hostile_files(data / "models" / "Lora")
    hostile_files(data / "models" / "Stable-diffusion")
    host = start_host(family, data, "--bare", *serving(data), environment=READ_NOW)
    wait_for_models(host, len(NAMES))
    return host


def test_no_name_of_a_file_or_of_a_hub_is_ever_executed(hostile_host: FakeHost, open_host: OpenHost) -> None:
    tab = open_host(hostile_host, script=WATCH)
    tab.show()
    page = tab.page
    for view in ("models", "this", "servers", "setup", "models"):
        tab.way(view)
        page.wait_for_timeout(300)
        assert page.evaluate("window.__marks()") == [None, 0, 0], view
    shown = page.locator(".sq-matrix tbody tr").count()
    assert shown >= 40
    for number in range(0, shown, 4):
        page.locator(".sq-matrix tbody th a").nth(number).click()
        page.wait_for_selector("#sq-view[data-sq-shown*='/views/model/']:not([aria-busy])")
        assert page.evaluate("window.__marks()") == [None, 0, 0], number
        tab.way("models")
    hostile_host.run(RT + FROM_HUB)
    for view in ("this", "servers", "setup", "models"):
        tab.way(view)
        page.wait_for_timeout(2500 if view == "models" else 300)
        assert page.evaluate("window.__marks()") == [None, 0, 0], view
    for place in ("queue", "job&id=pending", "job&id=failed", "new"):
        page.evaluate("query => window.stablequeue.open(query)", f"?view={place}")
        page.wait_for_timeout(300)
        assert page.locator("#sq-view").inner_text().count("script") > 5, place
        assert page.evaluate("window.__marks()") == [None, 0, 0], place
    page.locator("[data-sq-picker=lora] > summary").click()
    page.wait_for_selector("[data-sq-picker=lora] li")
    assert page.evaluate("window.__marks()") == [None, 0, 0]
    page.evaluate("window.stablequeue.open('?view=model&id=1')")
    page.wait_for_selector("#sq-view[data-sq-shown*='/views/model/1']:not([aria-busy])")
    assert page.evaluate("window.__marks()") == [None, 0, 0]
    for name in NAMES:
        page.evaluate("query => window.stablequeue.open(query)", "?view=" + name)
        page.evaluate("query => window.stablequeue.open(query)", "?view=model&id=" + name)
        assert page.evaluate("window.__marks()") == [None, 0, 0], name
