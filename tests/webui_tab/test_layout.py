"""The WebUI's own page looks the same with the extension as without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..hosts.running_host import FakeHost, StartHost
from .conftest import READ_NOW, OpenHost, serving

pytestmark = pytest.mark.browser
OURS = "[id^=sq], [class*='sq-'], #tab_stablequeue, #settings_stablequeue"
BOXES = """() => {
    const found = {};
    const watched = "#quicksettings, #tabs, [id^=txt2img], [id^=img2img], #footer";
    for (const node of document.querySelectorAll(watched)) {
        if (node.closest(%s) || !node.id || node.getClientRects().length === 0) continue;
        const box = node.getBoundingClientRect(), style = getComputedStyle(node);
        found[node.id] = [box.x, box.y, box.width, box.height].map(Math.round)
            .concat([style.color, style.backgroundColor, style.fontSize, style.fontFamily]);
    }
    return found;
}"""


def boxes(host: FakeHost, open_host: OpenHost, width: int) -> dict[str, Any]:
    tab = open_host(host, width, wait=False)
    tab.page.wait_for_selector("#txt2img_generate")
    tab.page.wait_for_timeout(1500)
    # The line under Generate is there to be seen; all else has to leave the page as it is.
    tab.page.add_style_tag(content=".sq-gate { display: none !important }")
    found: dict[str, Any] = tab.page.evaluate(BOXES % repr(OURS))
    return found


WIDTHS = (1280, 390)
GIVES_PLACE = ("txt2img_generate_box", "txt2img_generate", "img2img_generate_box", "img2img_generate")
"""Generate becomes narrower by the Queue button beside it, and nothing more."""
QUEUE_PX = 84


def look(box: list[Any]) -> list[Any]:
    """Place and width from left to right, colours and letters: what nothing of ours may change."""
    return [box[0], box[2], *box[4:]]


def narrower(box: list[Any], pixels: int) -> list[Any]:
    """``look`` of a box that lost so much at its right."""
    return look([*box[:2], box[2] - pixels, *box[3:]])


def test_no_element_of_the_webui_is_moved_resized_or_recoloured(
    family: str, start_host: StartHost, open_host: OpenHost, tmp_path: Path
) -> None:
    seen = []
    for name, words in (("without", ("--no-extension",)), ("with", ())):
        data = tmp_path / name
        host = start_host(family, data, *serving(data), *words, environment=READ_NOW)
        seen.append([boxes(host, open_host, width) for width in WIDTHS])
        host.stop()
    for width, without, with_us in zip(WIDTHS, *seen, strict=True):
        assert len(without) > 15
        moved = {name: (box, with_us.get(name)) for name, box in without.items() if with_us.get(name) != box}
        # One more tab in the row of tabs may make that row higher on a phone; nothing else may change.
        down = max((with_us[name][1] - box[1] for name, box in without.items() if name in with_us), default=0)
        for name in GIVES_PLACE:
            before, after = moved.pop(name, (None, None))
            assert before is None or (after and narrower(before, QUEUE_PX) == look(after)), (
                name,
                before,
                after,
            )
        changed = [
            name for name, (before, after) in moved.items() if after is None or look(before) != look(after)
        ]
        assert changed == []
        assert down <= (0 if width > 1000 else 60), moved
