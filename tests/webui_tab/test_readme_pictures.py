"""The README's pictures are of the real page and tab: drawn again here, and compared with what is kept.

After a change that one sees they are drawn with STABLEQUEUE_TEST_DRAW_PICTURES=1.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from ..hosts.conftest import start_host  # noqa: F401 - fixture
from ..hosts.running_host import FakeHost, StartHost
from ..running_demo import Demo, running_demo
from .conftest import READ_NOW, RT, OpenTab, browser, serving, wait_for_models  # noqa: F401 - fixture
from .jobs_elsewhere import JOIN, until

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "pictures"
DRAW = os.environ.get("STABLEQUEUE_TEST_DRAW_PICTURES") == "1"
SIZE = {"width": 1200, "height": 760}
ALIKE = 0.02
"""Mean difference of shrunk pictures, 0 to 1. Clocks and progress make 0.0005, another view at least 0.03."""
COMPARE = """
async (pictures) => {
    const shrunk = await Promise.all(pictures.map(async (data) => {
        const image = new Image();
        image.src = "data:image/png;base64," + data;
        await image.decode();
        const canvas = Object.assign(document.createElement("canvas"), { width: 60, height: 38 });
        const context = canvas.getContext("2d");
        context.imageSmoothingQuality = "high";
        context.drawImage(image, 0, 0, 60, 38);
        return context.getImageData(0, 0, 60, 38).data;
    }));
    let sum = 0;
    shrunk[0].forEach((value, place) => { sum += Math.abs(value - shrunk[1][place]); });
    return sum / shrunk[0].length / 255 * (4 / 3);
}
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running_demo(tmp_path_factory.mktemp("demo")) as running:

        def has_a_queue() -> bool:
            try:
                states = {job["state"] for job in running.ask("GET", "/api/v1/jobs?limit=100")["jobs"]}
            except OSError:
                return False
            return {"completed", "processing", "pending", "failed"} <= states

        until(has_a_queue, "the demo's jobs run, wait and are done", 150)
        yield running


def compare(page: Page, name: str, drawn: bytes) -> None:
    kept = KEPT / f"{name}.png"
    if DRAW:
        KEPT.mkdir(exist_ok=True)
        kept.write_bytes(drawn)
    assert kept.exists(), f"{kept} is missing; see this module's docstring"
    apart = difference(page, drawn, kept.read_bytes())
    assert apart <= ALIKE, f"{kept} shows something else than is there now ({apart:.3f}); draw it again"


def difference(page: Page, *pictures: bytes) -> float:
    page.goto("about:blank")
    return float(page.evaluate(COMPARE, [base64.b64encode(one).decode() for one in pictures]))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:  # noqa: F811 - the fixture
    context = browser.new_context(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
    yield context.new_page()
    context.close()


def sign_in(page: Page, demo: Demo) -> None:
    code = demo.ask("POST", "/api/v1/session-codes")["code"]
    page.goto(f"{demo.url}/login?code={code}")


def test_the_table_of_models(demo: Demo, page: Page) -> None:
    sign_in(page, demo)
    expect(page.locator("main table").first).to_be_visible()
    compare(page, "models", page.screenshot())


def test_the_queue(demo: Demo, page: Page) -> None:
    sign_in(page, demo)
    page.goto(f"{demo.url}/?view=queue")
    expect(page.locator("main")).to_contain_text("being made")
    compare(page, "queue", page.screenshot())


@pytest.fixture(scope="module")
def desk(
    demo: Demo,
    start_host: StartHost,  # noqa: F811 - the fixture
    tmp_path_factory: pytest.TempPathFactory,
) -> FakeHost:
    """A WebUI beside the demo's servers, joined to its hub."""
    data = tmp_path_factory.mktemp("desk") / "webui"
    host = start_host("forge", data, *serving(data), environment=READ_NOW)
    wait_for_models(host, 6)
    key = demo.ask("POST", "/api/v1/keys", json={"scope": "join"})["key"]
    host.run(RT + JOIN.format(url=demo.url, key=key))
    until(lambda: len(demo.ask("GET", "/api/v1/servers")) >= 4, "the WebUI has joined")
    return host


@pytest.fixture
def tab(page: Page, desk: FakeHost) -> OpenTab:
    page.goto(desk.url + "/?__theme=light")
    page.wait_for_selector("#sq-app[data-sq-started]", state="attached", timeout=40_000)
    return OpenTab(page, desk)


def test_the_queue_in_a_webui(tab: OpenTab, page: Page) -> None:
    tab.show()
    tab.way("queue")
    expect(page.locator("#sq-view")).to_contain_text("being made")
    compare(page, "tab", page.screenshot())


def test_the_line_under_generate(tab: OpenTab, page: Page) -> None:
    page.fill("#txt2img_prompt textarea", "a lighthouse at dusk <lora:ink_wash_XL:0.8>, <lora:detial:0.5>")
    line = page.locator("#sq_gate_line_txt2img")
    expect(line).to_contain_text("ink_wash_XL is missing")
    page.set_viewport_size({"width": 1200, "height": 1400})
    page.wait_for_timeout(300)
    box = line.bounding_box()
    assert box is not None
    below = box["y"] + box["height"] + 15
    clip = {"x": 120, "y": 170, "width": 960, "height": below - 170}
    compare(page, "prompt-line", page.screenshot(clip=clip))  # type: ignore[arg-type]


def test_a_picture_of_another_view_is_not_taken_for_it(page: Page) -> None:
    kept = sorted(KEPT.glob("*.png"))
    assert len(kept) == 4
    for one, other in combinations(kept, 2):
        assert difference(page, one.read_bytes(), other.read_bytes()) > ALIKE, (one.name, other.name)
