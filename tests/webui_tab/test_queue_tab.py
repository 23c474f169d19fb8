"""The queue in the tab, with a real hub, in both families."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import expect

from ..agent.real_hub import RealHub
from ..fake_runner import png
from ..hosts.running_host import FakeHost, StartHost
from .conftest import RT, OpenHost, OpenTab, serving
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
    expect(page.locator("#sq-first-line")).to_contain_text("1 job waits")
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


def test_what_may_be_done_with_a_job_is_done_from_the_tab(joined: Joined, tab: OpenTab) -> None:
    mine = joined.attic.submit(joined.key, "my own owl <lora:gone:1>")
    other = joined.attic.submit((joined.hub.data / "admin.key").read_text().strip(), "somebody else's owl")
    tab.way("queue")
    page, view = tab.page, tab.page.locator("#sq-view")
    expect(page.locator(f"#sq-job-{other}")).to_be_visible()
    expect(page.locator(f"#sq-menu-{other}")).to_have_count(0)
    page.locator(f"#sq-menu-{mine} > summary").click()
    page.locator(f"#sq-form-{mine}").get_by_role("button", name="Earlier").click()
    expect(page.locator(f"#sq-job-{mine}")).to_contain_text("priority +1")
    page.locator(f"#sq-job-{mine} .sq-j-title").click()
    gone = view.get_by_role("row").filter(has_text="gone")
    gone.get_by_text("Decide…").click()
    gone.get_by_role("button", name="It is not a model").click()
    expect(page.locator("#sq-view")).to_contain_text("Decided: not a model")
    view.get_by_text("Edit", exact=True).click()
    view.get_by_label("Steps").fill("31")
    view.get_by_role("button", name="Save").click()
    expect(view.get_by_text("31 steps")).to_be_visible()
    view.get_by_role("button", name="Cancel", exact=True).hover()
    page.mouse.down()
    page.mouse.up()
    expect(page.locator(".sq-job-state")).to_contain_text("cancelled")
    before = joined.hub.admin().jobs()["total"]
    page.mouse.down(click_count=2)  # the second click of a double click finds another button there
    page.mouse.up(click_count=2)
    expect(view.get_by_role("button", name="With a new seed")).to_be_visible()
    expect(page.locator(".sq-job-state")).to_contain_text("cancelled")
    assert joined.hub.admin().jobs()["total"] == before
    view.get_by_role("button", name="Run again").click()
    expect(page.locator(".sq-job-state")).not_to_contain_text("cancelled")
    view.get_by_text("Delete…").click()
    view.get_by_role("button", name="Delete it").click()
    expect(page.locator("#sq-view h1")).to_have_text("Queue")
    assert tab.complaints == []


def test_a_picture_becomes_a_job_and_its_picture_goes_to_the_hosts_own_pages(
    joined: Joined, tab: OpenTab, tmp_path: Path
) -> None:
    tab.way("queue")
    page, view = tab.page, tab.page.locator("#sq-view")
    view.get_by_role("link", name="New job").first.click()
    picture = tmp_path / "fox.png"
    settings = "Steps: 21, Sampler: Euler, Seed: 5, Size: 64x64, Model: base"
    picture.write_bytes(png(8, 8, f"a blue fox <lora:ink:1>\nNegative prompt: mud\n{settings}"))
    page.locator("[data-sq-file]").set_input_files(picture)
    expect(view.get_by_label("Steps")).to_have_value("21")
    expect(page.locator("[data-sq-check]")).to_contain_text("ink")
    view.get_by_label("Steps").fill("22")
    view.get_by_label("attic").check()
    expect(page.locator("[data-sq-check]")).to_contain_text("attic")
    view.get_by_role("button", name="Queue", exact=True).click()
    expect(page.locator("#sq-view h1")).to_contain_text("a blue fox")
    joined.attic.make_all()
    loaded(tab, "img.sq-picture")
    page.evaluate("document.querySelector('#txt2img_neg_prompt textarea').value = 'rain'")
    page.evaluate("updateInput(document.querySelector('#txt2img_neg_prompt textarea'))")
    for name in ("txt2img", "img2img"):
        tab.show()
        page.locator(f"[data-sq-send={name}]").click()
        expect(page.locator(f"#{name}_prompt textarea")).to_be_visible()
        expect(page.locator(f"#{name}_prompt textarea")).to_have_value("a blue fox <lora:ink:1>")
        expect(page.locator(f"#{name}_neg_prompt textarea")).to_have_value("mud")
    expect(page.locator("#img2img_image img").first).to_be_visible()
    assert tab.complaints == []


def test_kept_jobs_stand_above_the_queue(joined: Joined, open_host: OpenHost) -> None:
    keep = (
        RT
        + """
job = rt.queueing.kept.keep("a" * 32, {"payload": {"prompt": "a <b>kept</b> fox"}})
rt.queueing.kept.refuse(job, "No such sampler.")
"""
    )
    joined.host.run(keep)
    tab = open_host(joined.host, 390)
    tab.show()
    tab.way("queue")
    box = tab.page.locator(".sq-here")
    expect(box).to_contain_text("No such sampler.")
    expect(box).to_contain_text("a <b>kept</b> fox")
    assert not tab.scrolls_sideways
    box.get_by_text("Throw away…").click()
    box.get_by_role("button", name="Throw it away").click()
    expect(box).to_have_count(0)
