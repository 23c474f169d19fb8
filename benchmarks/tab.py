"""How soon the tab of a WebUI with 10,000 models shows what is asked for, in a real Chromium.

    STABLEQUEUE_TEST_HOSTS=DIR python -m benchmarks.tab [--models 10000] [--rounds 9]

In a fake host of each family (tests/hosts), without its agent, on an index as the agent leaves it. Times are
what a person waits: from the click or the last key until the rows stand there, so a filter's include the
120 ms in which the next key is waited for. Medians and the slowest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.hosts.running_host import FAMILIES, HERE, FakeHost, start_fake_host
from tests.local.synthetic_index import make_index

RT = """
import os
from stablequeue_client.webui.shell import loading
rt = loading._loaded[os.getpid()].result()
"""
WHERE = "result = str(rt.places.server_dir)"
OPEN = """async () => {
    const frame = () => new Promise(requestAnimationFrame);
    const buttons = [...document.querySelectorAll("#tabs button")];
    const tab = buttons.find(button => button.textContent.trim() === "StableQueue");
    const begun = performance.now(), line = document.getElementById("sq-first-line");
    tab.click();
    do await frame(); while (line.getClientRects().length === 0 || !/models/.test(line.textContent));
    const first = performance.now() - begun;
    while (document.querySelectorAll(".sq-matrix tbody tr").length < 50) await frame();
    return [first, performance.now() - begun];
}"""
FILTER = """async text => {
    const frame = () => new Promise(requestAnimationFrame);
    const shown = () => document.querySelector(".sq-matrix caption, .sq-empty")?.textContent;
    const field = document.getElementById("sq-search"), before = shown();
    const begun = performance.now();
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    do await frame(); while (shown() === before);
    return performance.now() - begun;
}"""
TEXTS = ("aqua", "noir", "glass", "velvet", "iron", "north", "comic", "pixel", "sunset")


def fill(host: FakeHost, models: int) -> None:
    """In the place of what the agent found: an index with so many models, which the WebUI then reads."""
    host.run(RT + "rt.agent.stop(10)\nrt.models.close()")
    folder = Path(host.run(RT + WHERE))
    for path in folder.glob("index.sqlite*"):
        path.unlink()
    make_index(folder, models).close()
    host.run(RT + "rt.models.refresh(max_age_s=0)\nresult = rt.models.version")
    deadline = time.monotonic() + 60
    while (
        host.run(RT + "rt.models.refresh(max_age_s=0)\nresult = len(rt.models.snapshot.models)")
        < models * 0.9
    ):
        if time.monotonic() > deadline:
            raise TimeoutError("The WebUI did not read the index within 60 s.")
        time.sleep(0.2)


def open_page(page: Page, url: str) -> None:
    page.route("**/*", lambda route: route.continue_() if "127.0.0.1" in route.request.url else route.abort())
    page.goto(url)
    page.wait_for_selector("#sq-app[data-sq-started]", state="attached", timeout=60_000)
    page.wait_for_timeout(1000)


def measure(page: Page, rounds: int) -> dict[str, list[float]]:
    """Milliseconds: ``first_line`` and ``first_page`` once, ``filter`` per round. Another tab is in front."""
    line, rows = page.evaluate(OPEN)
    filters = [page.evaluate(FILTER, TEXTS[number % len(TEXTS)]) for number in range(rounds)]
    return {"first_line": [line], "first_page": [rows], "filter": filters}


def measured(family: str, models: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        words = (
            "--bare",
            "--gradio-allowed-path",
            folder,
            "--gradio-allowed-path",
            str(HERE / "fake_host/host"),
        )
        host = start_fake_host(family, Path(folder) / "webui", words, {})
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        try:
            fill(host, models)
            page = browser.new_page()
            open_page(page, host.url)
            found = measure(page, rounds)
        finally:
            browser.close()
            host.stop()
    return {
        name: {"median": round(statistics.median(ms)), "slowest": round(max(ms))}
        for name, ms in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    for family in FAMILIES:
        print(
            json.dumps({"family": family, "ms": measured(family, chosen.models, chosen.rounds)}), flush=True
        )


if __name__ == "__main__":
    main()
