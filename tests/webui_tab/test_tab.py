"""The tab in a real Chromium, in both families."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from ..hosts.running_host import FakeHost, StartHost
from .conftest import READ_NOW, RT, OpenHost, OpenTab, serving, token_of, wait_for_models

pytestmark = pytest.mark.browser


OTHER_PROCESS = """
from modules import shared
from stablequeue_client.webui.tab import routes
rt.token = "another"
kept = [route for route in shared.app.router.routes if "stablequeue" not in getattr(route, "path", "")]
shared.app.router.routes[:] = kept
routes.add(rt, shared.app)
"""
"""What a restart of the WebUI changes for a page that stays open."""


@pytest.fixture
def tab(host: FakeHost, open_host: OpenHost) -> OpenTab:
    opened = open_host(host)
    opened.show()
    return opened


def test_the_first_line_stands_there_when_the_tab_is_opened(host: FakeHost, open_host: OpenHost) -> None:
    tab = open_host(host)
    tab.page.route(re.compile("/stablequeue/v1/"), lambda route: None)  # our routes never answer
    tab.button("StableQueue").click()
    expect(tab.page.locator("#sq-first-line")).to_contain_text(re.compile(r"\d+ models"), timeout=1000)
    expect(tab.page.locator(".sq-matrix")).to_contain_text("alpha", timeout=1000)


def test_each_way_leads_to_its_view_by_mouse_and_by_keyboard(tab: OpenTab) -> None:
    page = tab.page
    tab.way("this")
    expect(page.get_by_role("button", name="Check folders now").first).to_be_visible()
    tab.way("servers")
    expect(page.locator("#sq-view h1")).to_have_text("Servers")
    page.locator("[data-sq-nav=models]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#sq-view")).to_be_focused()
    expect(page.locator(".sq-matrix")).to_contain_text("detail")
    page.get_by_role("link", name="alpha").first.click()
    expect(page.locator("#sq-view h1")).to_contain_text("alpha")
    page.locator("[data-sq-back]").first.click()
    expect(page.locator(".sq-matrix")).to_contain_text("alpha")
    assert "view=" not in page.url
    assert tab.complaints == []


def test_typing_filters_keeps_the_cursor_and_leaves_the_address_alone(tab: OpenTab) -> None:
    search = tab.page.get_by_label("Search", exact=True).locator("visible=true").first
    search.press_sequentially("alp", delay=30)
    expect(tab.page.locator(".sq-matrix tbody tr")).to_have_count(1)
    expect(search).to_be_focused()
    assert "search" not in tab.page.url
    tab.way("this")
    tab.way("models")
    expect(tab.page.locator(".sq-matrix tbody tr").nth(1)).to_be_visible()


def test_a_button_says_what_it_did(tab: OpenTab) -> None:
    tab.way("this")
    tab.page.get_by_role("button", name="Check folders now").first.click()
    expect(tab.page.locator("#sq-view [data-sq-result]").first).to_contain_text("folders are being checked")
    assert tab.complaints == []


def test_nothing_is_asked_while_another_tab_is_in_front(tab: OpenTab) -> None:
    tab.page.wait_for_timeout(2500)
    assert tab.asked, "it asks while it is shown"
    tab.button("Extras").click()
    tab.page.wait_for_timeout(500)
    begun = time.monotonic()
    tab.page.wait_for_timeout(5000)
    assert [path for path in tab.asked_since(begun) if path.startswith("views/")] == []
    tab.button("StableQueue").click()
    tab.page.wait_for_timeout(1000)
    assert [path for path in tab.asked_since(begun) if path.startswith("views/")]


def test_scroll_and_open_details_stay_while_the_view_is_refreshed(tab: OpenTab) -> None:
    tab.way("servers")
    page = tab.page
    page.set_viewport_size({"width": 1280, "height": 350})
    page.locator("details.sq-card summary").first.click()  # closes it
    page.evaluate("window.scrollTo(0, 120)")
    before = page.evaluate("[window.scrollY, document.querySelector('details.sq-card').open]")
    page.wait_for_timeout(5000)
    assert page.evaluate("[window.scrollY, document.querySelector('details.sq-card').open]") == before


def test_other_scripts_may_ask_our_routes_and_open_a_model_here(host: FakeHost, open_host: OpenHost) -> None:
    tab = open_host(host)
    status = tab.page.evaluate("window.stablequeue.ask('status').then(answer => answer.json())")
    assert status["models"] >= 6
    files = tab.page.evaluate("window.stablequeue.ask('inventory').then(answer => answer.json())")["files"]
    sha256 = next(file["sha256"] for file in files if file["path"].startswith("alpha"))
    tab.page.evaluate(f"window.stablequeue.open('?view=model&id={sha256}')")
    expect(tab.page.locator("#sq-view h1")).to_contain_text("alpha")
    expect(tab.page.locator("#sq-view")).to_be_visible()
    assert tab.complaints == []


def test_the_hosts_keys_do_nothing_and_break_nothing_in_our_tab(tab: OpenTab) -> None:
    search = tab.page.get_by_label("Search", exact=True).locator("visible=true").first
    search.focus()
    for keys in ("Control+Enter", "Alt+Enter", "Escape"):
        tab.page.keyboard.press(keys)
    assert tab.complaints == []


def test_no_id_of_ours_is_one_that_the_host_looks_for(tab: OpenTab) -> None:
    taken = tab.page.evaluate(
        "[...document.querySelectorAll('[id^=sq], [id^=sq] [id]')].map(node => node.id)"
    )
    assert len(taken) > 10
    assert [name for name in taken if re.search(r"_(generate|interrupt|skip|queue)$", name)] == []


def test_nothing_of_the_tab_is_saved_with_the_hosts_settings(host: FakeHost) -> None:
    for name in ("ui-config.json", "config.json"):
        path = host.data / name
        saved = path.read_text() if path.exists() else ""
        assert "sq_shell" not in saved
        assert "stablequeue/" not in saved.lower()
        assert token_of(host) not in saved


def test_gradio_drawing_the_tab_anew_goes_on_at_the_same_place(tab: OpenTab) -> None:
    tab.way("this")
    tab.page.evaluate(
        """async () => {
            const answer = await (await fetch("config")).json();
            const shell = answer.components.find(part => part.props && part.props.elem_id === "sq_shell").id;
            const index = answer.dependencies.findIndex(event => event.outputs.includes(shell));
            const number = answer.dependencies[index].id ?? index;
            const body = JSON.stringify({ fn_index: number, data: [], session_hash: "x", event_data: null });
            const headers = { "Content-Type": "application/json" };
            const made = await fetch("run/predict", { method: "POST", body, headers });
            const holder = document.getElementById("sq-app").parentElement;
            holder.innerHTML = (await made.json()).data[0];
        }"""
    )
    expect(tab.page.get_by_role("button", name="Check folders now").first).to_be_visible()
    assert tab.page.locator("#sq-app").count() == 1
    begun = time.monotonic()
    tab.page.wait_for_timeout(4500)
    lines = [path for path in tab.asked_since(begun) if path == "views/first-line"]
    assert 1 <= len(lines) <= 4, "one page asks, not two"
    assert tab.complaints == []


def test_another_process_at_the_address_is_said_once_and_not_asked_again(
    host: FakeHost, open_host: OpenHost
) -> None:
    tab = open_host(host)
    gone = {"detail": "Not Found"}
    tab.page.route(re.compile("/stablequeue/v1/"), lambda route: route.fulfill(status=404, json=gone))
    tab.button("StableQueue").click()
    expect(tab.page.locator("#sq-away")).to_contain_text("was restarted", timeout=8000)
    expect(tab.page.get_by_role("button", name="Reload this page")).to_be_visible()
    begun = time.monotonic()
    tab.page.wait_for_timeout(4000)
    assert tab.asked_since(begun) == []


@pytest.mark.parametrize("family", ["forge"], indirect=True)  # our own script alone, the same in both
def test_a_webui_that_does_not_answer_is_said_and_asked_ever_more_seldom(
    host: FakeHost, open_host: OpenHost
) -> None:
    tab = open_host(host)
    tab.page.clock.install()  # for what is loaded from here on
    tab.page.reload()
    tab.show()
    tab.page.route(re.compile("/stablequeue/v1/"), lambda route: route.abort())

    def asked_in(seconds: int) -> int:
        begun = time.monotonic()
        for _ in range(0, seconds, 4):
            tab.page.clock.run_for(4000)
            tab.page.wait_for_timeout(40)  # what was asked fails
        return len([path for path in tab.asked_since(begun) if path == "views/first-line"])

    assert asked_in(12) == 2
    expect(tab.page.locator("#sq-away")).to_contain_text("This WebUI has not answered since")
    # A host that comes up again can die of a request, so after the first seconds there are few.
    assert [asked_in(20), asked_in(80), asked_in(140)] == [1, 1, 1]
    assert asked_in(300) == 1, "in the end every five minutes"
    tab.page.unroute(re.compile("/stablequeue/v1/"))
    tab.page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(tab.page.locator("#sq-away")).to_be_hidden()


def test_after_a_real_restart_with_a_new_token_the_page_says_reload(
    family: str, start_host: StartHost, tmp_path: Path, open_host: OpenHost
) -> None:
    data = tmp_path / "webui"
    host = start_host(family, data, *serving(data), "--bare")
    tab = open_host(host)
    tab.show()
    host.run(RT + OTHER_PROCESS)
    expect(tab.page.locator("#sq-away")).to_contain_text("was restarted", timeout=8000)
    tab.page.get_by_role("button", name="Reload this page").click()
    tab.page.wait_for_selector("#sq-app[data-sq-started]", state="attached")
    tab.show()
    expect(tab.page.locator("#sq-away")).to_be_hidden()


def test_under_gradio_auth_only_who_signs_in_gets_a_filled_tab(
    family: str, start_host: StartHost, tmp_path: Path, open_host: OpenHost
) -> None:
    data = tmp_path / "webui"
    host = start_host(family, data, *serving(data), "--gradio-auth", "me:secret", environment=READ_NOW)
    tab = open_host(host, wait=False)
    assert token_of(host) not in tab.page.content()
    tab.page.get_by_label("username").fill("me")
    tab.page.get_by_label("password").fill("secret")
    tab.page.get_by_role("button", name=re.compile("login", re.I)).click()
    tab.show()
    expect(tab.page.locator("#sq-first-line")).to_be_visible()


def test_reload_ui_and_a_new_page_bring_the_tab_back(
    family: str, start_host: StartHost, tmp_path: Path, open_host: OpenHost
) -> None:
    data = tmp_path / "webui"
    host = start_host(family, data, *serving(data), environment=READ_NOW)
    wait_for_models(host, 6)
    host.reload()
    host.reload()
    tab = open_host(host)
    tab.show()
    expect(tab.page.locator(".sq-matrix")).to_contain_text("alpha")
    assert tab.page.locator("#sq-app").count() == 1
    config = json.loads((data / "ui-config.json").read_text()) if (data / "ui-config.json").exists() else {}
    assert [name for name in config if name.startswith("stablequeue/")] == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_view_fits_and_follows_the_webuis_theme(
    host: FakeHost, open_host: OpenHost, width: int, dark: bool
) -> None:
    tab = open_host(host, width, dark=dark)
    tab.show()
    for view in ("models", "this", "servers", "setup"):
        tab.way(view)
        assert not tab.scrolls_sideways, (view, width)
    style = "const style = getComputedStyle(document.getElementById('sq-app')); "
    scheme, ink = tab.page.evaluate(f"() => {{ {style} return [style.colorScheme, style.color]; }}")
    assert scheme == ("dark" if dark else "light")
    brightness = sum(map(int, re.findall(r"\d+", ink)[:3])) / 3
    assert (brightness > 128) == dark
    assert tab.complaints == []


def test_the_webuis_own_theme_wins_over_the_systems(host: FakeHost, open_host: OpenHost) -> None:
    tab = open_host(host, dark=False)
    tab.show()
    tab.page.evaluate("document.body.classList.add('dark')")
    assert tab.page.evaluate("getComputedStyle(document.getElementById('sq-app')).colorScheme") == "dark"
