"""The page below a path of an address that a proxy shares, called by another name and port than its own."""

import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from ..fake_runner import png
from ..free_ports import free_port
from ..proxy import Proxy
from .conftest import HubProcess, OpenPage
from .test_hub_page import ROOTS, many

pytestmark = pytest.mark.browser


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    process = HubProcess(tmp_path / "data", free_port(), words=("--allowed-host", "127.0.0.1"))
    process.start()
    process.key = (process.data / "admin.key").read_text().strip()
    yield process
    process.stop()


def large_png(text: str) -> bytes:
    """More than nginx takes at once."""
    small, noise = png(64, 64, text), os.urandom(2_500_000)
    chunk = len(noise).to_bytes(4, "big") + b"zzZz" + noise
    return small[:-12] + chunk + zlib.crc32(b"zzZz" + noise).to_bytes(4, "big") + small[-12:]


def test_the_page_works_below_a_path_of_a_shared_address(
    hub: HubProcess, open_page: OpenPage, tmp_path: Path
) -> None:
    server = hub.server("attic")
    server.sync(many(60), ROOTS)
    server.beat()
    watched = open_page()
    page = watched.page
    with Proxy(hub.url, prefix="/sq") as proxy:
        shared = f"{proxy.url}/sq"
        page.goto(f"{shared}/")
        expect(page).to_have_url(f"{shared}/login")
        page.get_by_label("Key").fill(hub.key)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{shared}/")
        (session,) = page.context.cookies()
        assert session["path"] == "/sq", "nobody else at this address gets it"
        assert page.locator("#sq-first-line").evaluate("one => getComputedStyle(one).display") != "inline"

        page.get_by_label("Search").press_sequentially("style-01", delay=20)
        expect(page.locator(".sq-matrix tbody tr")).to_have_count(11)
        expect(page).to_have_url(re.compile(f"^{shared}/\\?.*search=style-01"))
        page.reload()
        expect(page.locator(".sq-matrix tbody tr")).to_have_count(11)

        page.get_by_role("link", name="Servers").click()
        expect(page.get_by_role("heading", name="attic")).to_be_visible()
        page.get_by_role("link", name="Keys").click()
        page.get_by_label("What for").fill("a script")
        page.get_by_role("button", name="Make the key").click()
        expect(page.locator("#sq-view")).to_contain_text("sq_")
        page.goto(f"{shared}/queue")
        expect(page).to_have_url(f"{shared}/?view=queue")
        picture = tmp_path / "fox.png"
        picture.write_bytes(large_png("a fox\nSteps: 20, Sampler: Euler, Seed: 5, Size: 512x768"))
        page.goto(f"{shared}/new")
        page.locator("[data-sq-file]").set_input_files(picture)
        expect(page.get_by_label("Steps")).to_have_value("20")
        assert proxy.refused == []
        page.goto(f"{shared}/docs")
        expect(page.get_by_role("heading", name="StableQueue API")).to_be_visible()
        page.goto(f"{shared}/")
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(f"{shared}/login")
        assert page.context.cookies() == []
    assert watched.complaints == []
