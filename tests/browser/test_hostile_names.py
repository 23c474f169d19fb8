"""S3: names that try to be more than names, on every view, in the DOM that Chromium made of it."""

import hashlib
import json

import pytest

from stablequeue_client.shared.views import assets
from stablequeue_client.shared.wire import inventory

from ..samples import hostile_values
from ..samples.samples import SAMPLES

pytestmark = pytest.mark.browser

# What no view of ours ever holds, or only in a known form; so what else is there came from a name.
INTRUDERS = """() => {
  const ours = OUR_SCRIPTS;
  const bad = [];
  for (const e of document.querySelectorAll("*")) {
    const tag = e.tagName.toLowerCase();
    // A picture of a job is fetched from the hub, and from nowhere else.
    const picture = /^\\/[^/]*\\/?api\\/v1\\/jobs\\//;
    if (tag === "img" && !picture.test(e.getAttribute("src") || "")) bad.push("img");
    if (["iframe", "object", "embed", "video", "audio", "style", "base", "math", "template", "body b"]
        .includes(tag)) bad.push(tag);
    if (tag === "b" || tag === "marquee") bad.push(tag);
    if (tag === "script" && !ours.includes(e.src.split("/static/")[1])) bad.push("script");
    if (tag === "meta" && e.httpEquiv) bad.push("meta");
    if (tag === "link" && !e.href.includes("/static/")) bad.push("link");
    for (const a of e.attributes) {
      if (a.name.startsWith("on") || a.name === "style" || a.name === "srcdoc") bad.push(`${tag}[${a.name}]`);
      const address = ["href", "src", "action", "formaction"].includes(a.name) && !e.closest("head");
      if (address && /^\\s*(javascript|data|https?):/i.test(a.value)) bad.push(`${tag}[${a.name}]`);
    }
  }
  return bad;
}""".replace("OUR_SCRIPTS", json.dumps(assets.SCRIPTS))
HOSTILE = [name for name in SAMPLES if "hostile" in name]


def test_there_are_forty_of_them() -> None:
    assert len(set(hostile_values.NAMES)) == 40


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_an_element_or_runs(open_page, preview, name: str) -> None:
    watched = open_page()
    watched.page.goto(f"{preview}/{name}")
    watched.page.wait_for_timeout(300)
    assert watched.page.evaluate("window.__xss") is None
    assert watched.page.evaluate(INTRUDERS) == []
    assert watched.complaints == []
    assert watched.page.url.startswith(preview)


def test_the_check_sees_a_name_that_was_not_escaped(open_page, preview) -> None:
    watched = open_page()
    watched.page.goto(f"{preview}/models-four-servers")
    watched.page.evaluate(
        "name => { document.getElementById('sq-view').innerHTML = name }", hostile_values.NAMES[3]
    )
    assert watched.page.evaluate(INTRUDERS) != []


def test_names_that_a_server_sends_stay_names_on_every_view(open_page, hub) -> None:
    names = [name.replace("/", "_").replace("\\", "_") for name in hostile_values.NAMES]
    wire = [inventory.wire_path(name, windows=True) for name in names]
    server = hub.server("<img src=x onerror=window.__xss=1>")
    roots = [inventory.RootEntry("r", "lora", "healthy", wire[0])]
    files = [
        inventory.FileEntry(
            "r", path, "lora", 1, "ready", inventory.WireDigests(hashlib.sha256(path.encode()).hexdigest())
        )
        for path in wire
    ]
    broken = [inventory.FileEntry("r", f"broken/{path}", "lora", 1, "corrupt") for path in wire]
    server.sync([*files, *broken], roots)
    server.beat()
    watched = open_page()
    hub.sign_in(watched.page)
    for address in (
        "?view=models",
        "?view=models&state=troubled",
        "?view=model&id=1",
        "?view=servers",
        "?view=keys",
    ):
        watched.page.goto(f"{hub.url}/{address}")
        watched.page.wait_for_timeout(2_300)  # one live update too
        assert watched.page.evaluate("window.__xss") is None
        assert watched.page.evaluate(INTRUDERS) == []
    watched.page.goto(f"{hub.url}/?view=models")
    assert watched.page.locator(".sq-matrix tbody tr").count() == 39
    watched.page.goto(f"{hub.url}/?view=models&state=troubled")
    assert watched.page.get_by_text("not accepted").count() == 2  # NUL, twice
    assert watched.complaints == []
