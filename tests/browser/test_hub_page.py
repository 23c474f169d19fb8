"""The page of a real hub with a synchronised inventory."""

import hashlib
import re

import pytest
from playwright.sync_api import expect

from stablequeue_client.shared.wire.inventory import FileEntry, RootEntry, WireDigests

pytestmark = pytest.mark.browser
ROOTS = [
    RootEntry("ckpt", "checkpoint", "healthy", "models/Stable-diffusion"),
    RootEntry("lora", "lora", "healthy"),
]


def lora(name: str, state: str = "ready") -> FileEntry:
    digests = WireDigests(hashlib.sha256(name.encode()).hexdigest()) if state == "ready" else None
    return FileEntry("lora", f"{name}.safetensors", "lora", 1_000_000, state, digests)


def many(count: int) -> list[FileEntry]:
    return [lora(f"style-{number:03d}") for number in range(count)]


@pytest.fixture
def attic(hub):
    server = hub.server("attic")
    server.sync(many(120), ROOTS)
    server.beat()
    return server


@pytest.fixture
def page(hub, attic, open_page):
    watched = open_page()
    hub.sign_in(watched.page)
    yield watched.page
    assert watched.complaints == []


def test_who_is_not_signed_in_sees_the_login_form_only(hub, open_page) -> None:
    page = open_page().page
    page.goto(f"{hub.url}/?view=keys")
    expect(page).to_have_url(f"{hub.url}/login")
    page.get_by_label("Key").fill(f"sq_nobody_{'0' * 64}")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Key").fill(hub.key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#sq-first-line")).to_contain_text("Nothing here yet")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Key")).to_be_visible()


def test_a_view_key_may_look_and_finds_no_buttons(hub, attic, open_page) -> None:
    page = open_page().page
    page.goto(f"{hub.url}/login")
    page.get_by_label("Key").fill(hub.make_key("view"))
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Servers").click()
    expect(page.get_by_role("heading", name="attic")).to_be_visible()
    assert page.locator("[data-sq-post]").count() == 0
    assert page.get_by_role("link", name="Keys").count() == 0
    page.goto(f"{hub.url}/?view=keys")
    expect(page.get_by_role("alert")).to_contain_text("Only the owner")


def test_typing_filters_keeps_the_cursor_and_stands_in_the_address(page) -> None:
    search = page.get_by_label("Search")
    search.press_sequentially("style-01", delay=40)
    expect(page.locator(".sq-matrix tbody tr")).to_have_count(12)
    expect(search).to_be_focused()
    expect(page).to_have_url(re.compile("search=style-01"))
    page.reload()
    expect(page.get_by_label("Search")).to_have_value("style-01")
    expect(page.locator(".sq-matrix tbody tr")).to_have_count(12)


def test_paging_and_the_way_back(page) -> None:
    first = page.locator(".sq-matrix tbody tr th")
    expect(page.locator(".sq-matrix caption")).to_contain_text("page 1 of 3")
    page.get_by_role("link", name="Next").click()
    expect(page.locator(".sq-matrix caption")).to_contain_text("page 2 of 3")
    expect(first.first).to_contain_text("style-050")
    page.get_by_role("link", name="style-051").click()
    expect(page.get_by_role("heading", name="style-051")).to_be_visible()
    expect(page.locator(".sq-copyable").first).to_contain_text(hashlib.sha256(b"style-051").hexdigest())
    page.go_back()
    expect(page.locator(".sq-matrix caption")).to_contain_text("page 2 of 3")
    page.go_back()
    expect(page.locator(".sq-matrix caption")).to_contain_text("page 1 of 3")


def test_what_a_server_reports_appears_by_itself_and_leaves_the_person_alone(page, attic) -> None:
    page.goto(page.url + "?view=models&search=style-11")
    expect(page.locator(".sq-matrix tbody tr")).to_have_count(11)
    search = page.get_by_label("Search")
    search.focus()
    search.evaluate("field => field.setSelectionRange(2, 5)")
    page.evaluate(
        "window.scrollTo(0, 60); document.querySelectorAll('.sq-matrix tbody tr')[10].marked = true"
    )
    attic.sync([*many(120), lora("style-11-new")], ROOTS)
    expect(page.locator(".sq-matrix tbody tr")).to_have_count(12)
    expect(search).to_be_focused()
    assert search.evaluate("field => [field.selectionStart, field.selectionEnd]") == [2, 5]
    assert page.evaluate("document.querySelectorAll('.sq-matrix tbody tr')[11].marked") is True


def test_half_typed_input_and_open_details_survive_updates(page, attic) -> None:
    page.get_by_role("link", name="Servers").click()
    page.get_by_text("Rename", exact=True).first.click()
    field = page.get_by_label("New name")
    field.fill("half ty")
    attic.sync([*many(119), lora("aside", "unreadable")], ROOTS)
    expect(page.get_by_text("1 file with problems").first).to_be_visible()
    expect(field).to_be_visible()
    expect(field).to_have_value("half ty")
    expect(page.locator("#sq-first-line")).to_contain_text("1 file with problems on attic")


def test_progress_is_shown_while_a_server_reads(page, attic) -> None:
    attic.sync([*many(119), lora("fresh", "unhashed")], ROOTS)
    attic.beat(phase="hashing", files_done=2, files_total=4, bytes_done=5, bytes_total=10, eta_s=725)
    page.get_by_role("link", name="Servers").click()
    expect(page.get_by_text("Reading 2 of 4 files, 5 B of 10 B, about 12 min left")).to_be_visible()
    expect(page.locator("#sq-first-line")).to_contain_text("1 being read, about 12 min")


def test_a_pressed_button_becomes_an_order_for_the_server(page, attic) -> None:
    page.get_by_role("link", name="Servers").click()
    page.get_by_role("button", name="Check folders now").click()
    expect(page.get_by_text("Requested. The server starts within 10 seconds.")).to_be_visible()
    assert [order["kind"] for order in attic.beat()["orders"]] == ["rescan"]


def test_a_lost_folder_keeps_its_files_until_the_owner_says_they_are_gone(page, attic) -> None:
    attic.sync(many(120), [ROOTS[0], RootEntry("lora", "lora", "suspect", "nas/loras")])
    page.goto(page.url + "?view=servers")
    expect(page.get_by_text("Its 120 files are kept")).to_be_visible()
    page.get_by_text("Yes, they are really gone").click()
    page.get_by_role("button", name="Mark them as removed").click()
    expect(page.get_by_text("Requested. The server starts within 10 seconds.")).to_be_visible()
    (order,) = attic.beat()["orders"]
    assert (order["kind"], order["root"]) == ("accept_removals", "lora")


def test_a_server_is_renamed_and_forgotten(page) -> None:
    page.get_by_role("link", name="Servers").click()
    page.locator(".sq-confirm > summary", has_text="Rename").click()
    page.get_by_label("New name").fill("cellar")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", name="cellar")).to_be_visible()
    page.get_by_text("Forget this server").click()
    page.get_by_role("button", name="Forget it").click()
    expect(page.get_by_role("heading", name="cellar")).to_have_count(0)
    expect(page.get_by_text("Which folders hold your models?")).to_be_visible()


def test_a_key_is_shown_once_and_revoked_for_good(page, hub) -> None:
    page.get_by_role("link", name="Keys").click()
    page.get_by_label("What for").fill("My script")
    page.get_by_role("button", name="Make the key").click()
    secret = page.locator(".sq-result code").inner_text()
    assert re.fullmatch(r"sq_[0-9a-f]+_[0-9a-f]{64}", secret)
    row = page.get_by_role("row", name=re.compile("My script"))
    row.get_by_text("Revoke", exact=True).click()
    row.get_by_role("button", name="Revoke it").click()
    expect(row.get_by_text("revoked")).to_be_visible()
    expect(page.locator(".sq-result code")).to_have_text(secret)  # the list changed around it
    page.reload()
    assert secret not in page.content()


def test_another_computer_gets_its_line_after_the_owner_opened_the_network(page, hub) -> None:
    page.get_by_role("link", name="Add another computer").click()
    expect(page.get_by_role("heading", name="Reachable from my network?")).to_be_visible()
    page.get_by_role("button", name="Yes, make it reachable").click()
    page.get_by_label("Name for it").fill("cellar")
    page.get_by_label("Folder of its WebUI (there)").fill("/home/me/my forge")
    page.get_by_role("button", name="Make a code").click()
    paste = page.locator(".sq-result code").nth(0)
    expect(paste).to_have_text(re.compile(r"^http://[\d.]+:\d+ sq_[0-9a-f]+_[0-9a-f]{64}$"))
    line = page.locator(".sq-result code").nth(2)  # after the one that installs
    expect(line).to_contain_text(re.compile(r"stablequeue agent --hub http://.*--join sq_\w+ --alias cellar"))
    page.wait_for_timeout(2_500)
    expect(line).to_contain_text("'/home/me/my forge'")  # an update does not take it away
    page.get_by_text("Stop listening on the network").click()
    page.get_by_role("button", name="Only this computer from now on").click()
    expect(page.get_by_role("heading", name="Reachable from my network?")).to_be_visible()


def test_a_mistake_is_answered_where_it_was_made(hub, attic, open_page) -> None:
    hub.server("studio").beat()
    page = open_page().page  # the browser itself writes the 409 to its console
    hub.sign_in(page)
    page.get_by_role("link", name="Servers").click()
    card = page.locator(".sq-card", has=page.get_by_role("heading", name="attic"))
    card.locator(".sq-confirm > summary", has_text="Rename").click()
    card.get_by_label("New name").fill("STUDIO")
    card.get_by_role("button", name="Rename").click()
    expect(card.locator(".sq-result", has_text="belongs to another server")).to_be_visible()
    expect(card.get_by_label("New name")).to_have_value("STUDIO")


def test_a_hub_that_stops_is_said_and_its_return_too(hub, attic, open_page) -> None:
    watched = open_page()
    hub.sign_in(watched.page)
    hub.stop()
    expect(watched.page.locator("#sq-away")).to_contain_text("Hub not reachable since", timeout=20_000)
    expect(watched.page.locator(".sq-matrix")).to_be_visible()
    hub.start()
    expect(watched.page.locator("#sq-away")).to_be_hidden(timeout=40_000)
    expect(watched.page.locator("#sq-first-line")).to_be_visible()


def test_a_hidden_tab_asks_for_nothing(hub, attic, open_page) -> None:
    hide = "Object.defineProperty(document, 'hidden', {get: () => window.sqHidden === true})"
    page = open_page(script=hide).page
    hub.sign_in(page)
    page.evaluate("window.sqHidden = true; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(500)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(5_000)
    assert asked == []
    with page.expect_request("**/views/first-line*"):
        page.evaluate("window.sqHidden = false; document.dispatchEvent(new Event('visibilitychange'))")


def test_nothing_is_sent_again_while_nothing_changes(hub, attic, open_page) -> None:
    page = open_page().page
    hub.sign_in(page)
    page.wait_for_timeout(3_000)
    statuses: list[int] = []
    page.on("response", lambda answer: statuses.append(answer.status))
    page.wait_for_event("response")
    page.wait_for_timeout(5_000)
    assert set(statuses) == {304}


def test_a_heading_sorts_a_row_opens_and_a_slash_searches(page) -> None:
    """And the headings stay while one scrolls."""
    first = page.locator(".sq-matrix tbody tr th a").first
    page.get_by_role("link", name="Model", exact=True).click()
    expect(page.locator("th.sq-c-name[aria-sort]").first).to_have_attribute("aria-sort", "descending")
    expect(page).to_have_url(re.compile("sort=-name"))
    page.locator("#sq-models-scroll").evaluate("one => { one.scrollTop = 400; }")
    heading = page.locator(".sq-matrix thead .sq-c-name").bounding_box()
    box = page.locator("#sq-models-scroll").bounding_box()
    assert heading is not None
    assert box is not None
    assert abs(heading["y"] - box["y"]) < 3
    page.keyboard.press("/")
    expect(page.get_by_label("Search")).to_be_focused()
    page.locator("#sq-models-scroll").evaluate("one => { one.scrollTop = 0; }")
    name = first.inner_text()
    page.locator(".sq-matrix tbody tr").first.locator(".sq-c-kind").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
