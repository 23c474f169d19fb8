"""The page's scripts are several files; the order in which they are read must not matter."""

from __future__ import annotations

import random
import re

import pytest
from playwright.sync_api import Route, expect

from stablequeue_client.shared.views import assets

pytestmark = pytest.mark.browser

SCRIPT = re.compile(r"<script [^>]*></script>\n")


@pytest.mark.parametrize("order", ["forwards", "backwards", "mixed"])
def test_the_page_works_in_whatever_order_its_scripts_are_read(open_page, preview: str, order: str) -> None:
    watched = open_page()
    asked: list[str] = []

    def rearranged(route: Route) -> None:
        answer = route.fetch()
        scripts = SCRIPT.findall(answer.text())
        assert len(scripts) == len(assets.SCRIPTS)
        others = sorted(scripts, reverse=order == "backwards")
        if order == "mixed":
            random.Random(1).shuffle(others)
        route.fulfill(response=answer, body=SCRIPT.sub(lambda _: others.pop(0), answer.text()))

    address = f"{preview}/models-four-servers"
    watched.page.route(address, rearranged)
    watched.page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    watched.page.goto(address)
    assert sorted(name for name in asked if name.endswith(".js")) == sorted(assets.SCRIPTS)
    watched.page.get_by_role("navigation").get_by_role("link", name="Servers").click()
    expect(watched.page).to_have_title("Servers · StableQueue")
    expect(watched.page.locator("#sq-view .sq-card").first).to_be_visible()
    expect(watched.page.locator("#sq-away")).to_be_hidden()
    assert watched.complaints == []
