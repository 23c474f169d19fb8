"""Every view in every state, in a real browser: light, dark and on a phone."""

import pytest

from ..samples.samples import SAMPLES

pytestmark = pytest.mark.browser
LOOKS = {"light": (1280, False), "dark": (1280, True), "phone": (390, False)}


@pytest.mark.parametrize("look", LOOKS)
def test_every_state_fits_and_nothing_is_complained_about(open_page, preview, look: str) -> None:
    width, dark = LOOKS[look]
    watched = open_page(width, dark=dark)
    faults: dict[str, list[str]] = {}
    for name in [name for name in SAMPLES if not SAMPLES[name].away]:
        watched.page.goto(f"{preview}/{name}")
        found = [*watched.complaints, *(["scrolls sideways"] if watched.scrolls_sideways else [])]
        watched.complaints.clear()
        if found or not watched.page.locator("h1").count():
            faults[name] = found
    assert faults == {}


def test_a_hub_that_went_away_is_said_in_the_place_of_the_first_line(open_page, preview) -> None:
    watched = open_page()
    watched.page.goto(f"{preview}/models-hub-away")
    watched.page.get_by_text("Hub not reachable since").wait_for()
    assert not watched.page.locator("#sq-first-line").is_visible()
    assert watched.page.locator(".sq-matrix").is_visible()


def test_times_are_the_readers_own(browser, preview) -> None:
    context = browser.new_context(timezone_id="Asia/Tokyo")
    page = context.new_page()
    page.goto(f"{preview}/join-line")
    assert page.locator("time").first.inner_text() == "00:00"  # 15:00 UTC
    context.close()


def test_dark_is_dark(open_page, preview) -> None:
    watched = open_page(dark=True)
    watched.page.goto(f"{preview}/models-four-servers")
    ground = watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert all(int(part) < 60 for part in ground.removeprefix("rgb(").removesuffix(")").split(","))


def test_without_a_mouse_everything_is_reached_and_the_focus_is_seen(open_page, preview) -> None:
    watched = open_page()
    page = watched.page
    page.goto(f"{preview}/servers")
    seen: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "(e => [e.textContent.trim(), getComputedStyle(e).outlineStyle])(document.activeElement)"
        )
        if page.evaluate("document.activeElement === document.body"):
            break
        assert outline != "none", name
        seen.append(name)
    for wanted in ("Skip to the content", "Models", "Check folders now", "Read now", "Put back", "Rename"):
        assert any(wanted in name for name in seen), wanted
    assert any("Yes, they are really gone" in name for name in seen)


def test_a_confirmation_opens_and_posts_by_keyboard(open_page, preview) -> None:
    page = open_page().page
    page.goto(f"{preview}/servers")
    page.get_by_text("Yes, they are really gone").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Mark them as removed").focus()
    page.keyboard.press("Enter")
    page.get_by_text("Done (a preview changes nothing).").first.wait_for()


@pytest.mark.parametrize("name", ["models-fifty-servers", "servers-fifty"])
def test_fifty_servers_are_shown_quickly(open_page, preview, name: str) -> None:
    watched = open_page()
    watched.page.goto(f"{preview}/{name}")
    took_ms = watched.page.evaluate(
        """() => { const before = performance.now(); const view = document.getElementById("sq-view");
        view.style.display = "none"; view.offsetHeight; view.style.display = ""; view.offsetHeight;
        return performance.now() - before; }"""
    )
    assert took_ms < 2_000


def test_how_often_a_server_has_a_model_stands_beside_the_word_on_a_phone(open_page, preview) -> None:
    page = open_page(390).page
    page.goto(f"{preview}/models-fifty-servers")
    often = page.locator(".sq-cell:visible", has=page.locator(".sq-times")).first
    word, times = often.get_by_text("here").bounding_box(), often.locator(".sq-times").bounding_box()
    assert times["x"] >= word["x"] + word["width"]
