"""The queue in a real browser, on the page of a real hub."""

import hashlib
import json
import re
import struct
import zlib
from pathlib import Path

import pytest
from playwright.sync_api import expect

from stablequeue_client.shared.wire.inventory import FileEntry, RootEntry, WireDigests

from ..samples import hostile_values
from .test_hostile_names import INTRUDERS

pytestmark = pytest.mark.browser
ROOTS = [RootEntry("ckpt", "checkpoint", "healthy", "models"), RootEntry("lora", "lora", "healthy")]


def entry(root: str, name: str) -> FileEntry:
    digests = WireDigests(hashlib.sha256(name.encode()).hexdigest())
    kind = "lora" if root == "lora" else "checkpoint"
    return FileEntry(root, f"{name}.safetensors", kind, 1_000_000, "ready", digests)


def png(text: str) -> bytes:
    """One black pixel with a generation text."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    words = b"parameters\0" + text.encode("latin-1", "replace")
    parts = [(b"IHDR", head), (b"tEXt", words), (b"IDAT", zlib.compress(b"\0\0\0\0")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.fixture
def attic(hub):
    server = hub.server("attic")
    server.sync([entry("ckpt", "base"), entry("lora", "ink")], ROOTS)
    server.beat()
    says = {"webui": "forge", "works_for_others": "always"}
    path = f"/api/v1/servers/{server.server_id}"
    hub.ask("PUT", f"{path}/capabilities", json=says, headers=server.headers)
    asks = {"runner_id": "r", "others": True, "wait_s": 0}
    hub.ask("POST", f"{path}/runner/next", json=asks, headers=server.headers)
    return server


def submit(hub, prompt: str, **options) -> str:
    body = {"payload": {"prompt": prompt}, **options}
    return hub.ask("POST", "/api/v1/jobs", json=body).json()["job_id"]


def test_on_a_phone_the_queue_opens_first_and_on_a_desktop_the_models(hub, attic, open_page) -> None:
    submit(hub, "a fox <lora:ink:1>")
    for width, heading in ((390, "Queue"), (1280, "Models")):
        watched = open_page(width)
        hub.sign_in(watched.page)
        expect(watched.page.get_by_role("heading", name=heading, exact=True)).to_be_attached()
        if width == 390:
            expect(watched.page.get_by_text("Next in line on attic")).to_be_visible()
            assert not watched.scrolls_sideways
            watched.page.goto(f"{hub.url}/?view=models")
            expect(watched.page.locator(".sq-matrix")).to_be_visible()
        assert watched.complaints == []


def test_several_jobs_are_chosen_and_changed_at_once(hub, attic, open_page) -> None:
    for number in range(4):
        submit(hub, f"fox {number}")
    watched = open_page()
    page = watched.page
    hub.sign_in(page)
    page.goto(f"{hub.url}/queue")
    expect(page.locator("tbody tr[id^=sq-job-]")).to_have_count(4)
    expect(page.locator(".sq-many")).to_be_hidden()
    for name in ("Choose fox 1", "Choose fox 2"):
        page.get_by_label(name).check()
    expect(page.locator("[data-sq-picked]")).to_have_text("2 jobs chosen")
    submit(hub, "a late one")  # an update leaves the choice alone
    expect(page.locator("tbody tr[id^=sq-job-]")).to_have_count(5)
    expect(page.get_by_label("Choose fox 1")).to_be_checked()
    page.locator(".sq-many").get_by_role("button", name="Cancel").click()
    expect(page.locator("tbody tr[id^=sq-job-]")).to_have_count(3)
    expect(page.get_by_text("2 jobs cancelled.")).to_be_visible()
    row = page.locator("tr", has_text="fox 3")
    row.get_by_label("Actions for fox 3").click()
    row.get_by_text("Delete…").click()
    row.get_by_role("button", name="Delete it").click()
    expect(page.locator("tbody tr[id^=sq-job-]")).to_have_count(2)
    page.get_by_role("button", name="Pause all").click()
    expect(page.get_by_text("The queue is paused.")).to_be_visible()
    expect(page.locator("#sq-first-line")).to_contain_text("queue paused")
    assert watched.complaints == []


def test_a_picture_becomes_a_job_that_is_edited_and_decided_on(hub, attic, open_page, tmp_path: Path) -> None:
    watched = open_page(390)
    page = watched.page
    hub.sign_in(page)
    page.get_by_role("link", name="New job").first.click()
    picture = tmp_path / "fox.png"
    text = "a fox <lora:gone:1>\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 5, Size: 512x768, Model: base"
    picture.write_bytes(png(text))
    page.locator("[data-sq-file]").set_input_files(picture)
    expect(page.get_by_label("Steps")).to_have_value("20")
    expect(page.get_by_text("No server can make it now")).to_be_visible()
    page.get_by_text("Add a LoRA").click()
    page.get_by_role("button", name=re.compile("^ink")).click()
    expect(page.locator("#sq-new-prompt")).to_have_value("a fox <lora:gone:1> <lora:ink:1>")
    page.get_by_label("Name").fill("My fox")
    page.wait_for_timeout(2_500)  # an update does not empty the form
    expect(page.get_by_label("Name")).to_have_value("My fox")
    page.get_by_role("button", name="Queue").click()
    expect(page.get_by_role("heading", name="My fox")).to_be_visible()
    expect(page.get_by_text("Waits for gone: no server has it")).to_be_visible()
    page.get_by_text("Decide…").click()
    page.get_by_role("button", name="It is not a model").click()
    expect(page.get_by_text("Next in line on attic")).to_be_visible()
    page.get_by_text("Edit", exact=True).click()
    page.get_by_label("Steps").fill("31")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("31 steps")).to_be_visible()
    expect(page.get_by_text("Changed: steps")).to_be_visible()
    assert not watched.scrolls_sideways
    assert watched.complaints == []


def test_a_keyboard_keeps_its_place_while_jobs_end_and_leaves_a_menu(hub, attic, open_page) -> None:
    first, *_, last = [submit(hub, f"job {number}") for number in range(4)]
    watched = open_page()
    hub.sign_in(watched.page)
    page = watched.page
    page.goto(f"{hub.url}/?view=queue")
    box = page.locator(f"input[data-sq-pick][value='{last}']")
    box.focus()
    page.keyboard.press("Space")
    row = page.locator(f"#sq-job-{last}")
    hub.ask("POST", f"/api/v1/jobs/{first}/cancel")
    expect(row).to_contain_text("2 jobs before it")
    hub.ask("PATCH", f"/api/v1/jobs/{last}", json={"name": "another name"})
    expect(row).to_contain_text("another name")
    expect(box).to_be_focused()
    expect(box).to_be_checked()
    menu, actions = row.locator(".sq-menu"), page.get_by_label("Actions for another name")
    for closed_by_a_key in (True, False):
        actions.focus()
        page.keyboard.press("Enter")
        expect(row.get_by_role("button", name="Earlier")).to_be_visible()
        if closed_by_a_key:
            page.keyboard.press("Tab")
            page.keyboard.press("Escape")
            expect(actions).to_be_focused()
        else:
            page.get_by_role("heading", name="Queue", exact=True).click()
        expect(menu).not_to_have_attribute("open", "")
    assert watched.complaints == []


def test_hostile_prompts_and_names_of_jobs_never_run(hub, attic, open_page) -> None:
    names = [name.replace("\x00", "").encode("utf-8", "replace").decode() for name in hostile_values.NAMES]
    printable = [name for name in names if name.isprintable()]
    ids = [
        submit(hub, f"{name} <lora:{number}{name.replace('>', '')}:1>", name=name[:200])
        for number, name in enumerate(printable)
    ]
    body = {"payload": {"prompt": "".join(names), "sampler_name": names[3]}}
    ids.append(hub.ask("POST", "/api/v1/jobs", json=json.loads(json.dumps(body))).json()["job_id"])
    watched = open_page()
    hub.sign_in(watched.page)
    places = ("?view=queue", "?view=queue&state=models", f"?view=queue&text={ids[0]}")
    forms = (f"?view=new&from={ids[0]}", f"?view=new&from={ids[-1]}")
    for place in (*places, *forms, f"?view=job&id={ids[0]}", f"?view=job&id={ids[-1]}"):
        watched.page.goto(f"{hub.url}/{place}")
        watched.page.wait_for_timeout(400)
        assert watched.page.evaluate("window.__xss") is None
        assert watched.page.evaluate(INTRUDERS) == []
    assert watched.complaints == []
