"""The tab's views and buttons, over a real index and real hubs; only the host stands still."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stablequeue_client.files.file_io import escaped
from stablequeue_client.hub_client.identity import new_identity, store_identity
from stablequeue_client.hub_client.view_cache import WAIT_S, HubViewCache
from stablequeue_client.index.agent_report import AgentReport, HubProblem, ReportedFile
from stablequeue_client.index.rows import RootRow
from stablequeue_client.own_hub.state import OwnHubState, store_state
from stablequeue_client.shared.model_files.model_file import Claim
from stablequeue_client.shared.wire.inventory import Activity
from stablequeue_client.webui.agent_process.keeper import AgentState
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.runner.runner import CurrentJob
from stablequeue_client.webui.settings.webui_settings import WebuiSettings
from stablequeue_client.webui.tab.page import ACTIONS, VIEWS

from ..agent.real_hub import RealHub
from ..agent.scripted_hub import HEALTH, HUB_ID, Asked, Say, ScriptedHub, say_json
from ..samples.hostile_values import NAMES
from ..slowness import slowness
from .joined import join, tell
from .still_webui import StillAgent, now_ms, still_webui
from .synthetic_index import SyntheticIndex, file, make_index, root


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SyntheticIndex]:
    opened = make_index(tmp_path / "server", 0)
    yield opened
    opened.close()


@pytest.fixture
def rt(index: SyntheticIndex, tmp_path: Path) -> Iterator[Runtime]:
    index.put([file("lora", "ink.safetensors", size=1_000_000), file("checkpoint", "big.safetensors")])
    made = still_webui(tmp_path)
    yield made
    made.models.close()


def shown(rt: Runtime, view: str, ident: str = "", **query: str) -> str:
    rt.models.refresh(max_age_s=0)
    return " ".join(str(VIEWS[view](rt, ident, query)).split())


def pressed(rt: Runtime, action: str, **form: str) -> str:
    return str(ACTIONS[action](rt, form))


def with_settings(rt: Runtime, settings: WebuiSettings) -> Runtime:
    rt.settings = lambda: settings
    return rt


# --- without a hub ----------------------------------------------------------------------------------------


def test_before_the_first_look_the_tab_says_so(tmp_path: Path) -> None:
    rt = still_webui(tmp_path)
    assert "Reading the folders for the first time" in shown(rt, "first-line")
    assert "Just starting" in shown(rt, "models")
    assert "have not been read" in shown(rt, "this")
    assert "has not started yet" in pressed(rt, "this/rescan")


def test_everything_here_is_shown_without_a_hub(rt: Runtime, index: SyntheticIndex) -> None:
    line = shown(rt, "first-line")
    assert "All right" in line
    assert "2 models" in line
    assert "no hub" in line
    page = shown(rt, "models", search="ink")
    assert "This WebUI alone." in page
    assert "?view=setup" in page
    assert page.count("<tr id=") == 1
    sha256 = file("lora", "ink.safetensors").sha256
    assert sha256 in shown(rt, "model", sha256 or "")
    assert sha256 in shown(rt, "model", "ink")
    assert "No model" in shown(rt, "model", "0" * 64)
    assert "attic" in shown(rt, "servers")


def test_the_first_line_names_the_most_important_thing_and_how_many_there_are(
    rt: Runtime, index: SyntheticIndex
) -> None:
    index.put([file("lora", "cut.safetensors", state="corrupt"), file("vae", "new.pt", state="unhashed")])
    index.put_roots([root("vae", health="suspect", missing=3, reason="the folder is empty")])
    index.index.write_progress(Activity(phase="hashing", files_total=9, eta_s=700))
    line = shown(rt, "first-line")
    assert "Folder VAE is not connected" in line
    assert "and 1 more" in line
    assert "1 being read, about 12 min" in line
    assert "?view=this" in line
    index.index.write_progress(Activity(phase="paused", files_total=9))
    assert "1 to be read" in shown(rt, "first-line")


def test_the_first_line_says_that_the_hub_of_this_computer_is_down(rt: Runtime) -> None:
    machine_dir = rt.places.machine_dir
    store_state(machine_dir, OwnHubState(wanted=True, port=8383))
    line = shown(rt, "first-line")
    assert "The hub of this computer is down and is being started again" in line
    assert "All right" not in line
    assert "?view=hub" in line
    store_state(machine_dir, OwnHubState(wanted=False, port=8383))
    assert "is down" not in shown(rt, "first-line")


def test_this_webui_shows_what_is_read_skipped_disbelieved_and_in_doubt(
    rt: Runtime, index: SyntheticIndex, tmp_path: Path
) -> None:
    index.put(
        [
            file("lora", "claimed.safetensors", claims=[Claim("civitai", "sha256", "ab" * 32)]),
            file("lora", "wait.safetensors", state="unhashed", size=2_000_000),
            file("lora", "old.safetensors.corrupted", state="set_aside"),
            file("lora", "cut.safetensors", state="corrupt", reason="it ends early"),
        ]
    )
    index.put_roots([root("vae", health="suspect", missing=30, reason="the folder is empty")])
    index.index.write_progress(Activity(phase="paused", files_total=1))
    report = AgentReport(
        pid=1, started_ms=1, waits_for="idle", skipped=1, refused=1, rejected=1,
        skipped_files=[ReportedFile("r-lora", "locked", "Permission denied")],
        refused_claims=[ReportedFile("r-lora", "ink.safetensors", "it is the digest of an empty file")],
        rejected_files=[ReportedFile("gone", "x", "its name is too long")],
        watch_problems=["Changes in /mnt/nas are not heard of."],
    )  # fmt: skip
    index.index.write_agent_report(report)
    html = shown(with_settings(rt, WebuiSettings(alias="attic", private=("secret/*",))), "this")
    for words in (
        "1 file (2.00 MB) waits to be read until this computer is idle",
        "Permission denied",
        "of an empty file",
        "gives the SHA256 abababababab…",
        "its name is too long",
        "Changes in /mnt/nas",
        "30 files are not found",
        "because the folder is empty",
        "Take them as removed",
        "Put back",
        "it ends early",
        "secret/*",
        "/webui/models/Lora",
    ):
        assert words in html, words
    assert "Read when idle" not in html
    assert "Read now" in html


def test_an_agent_that_ended_is_told_with_its_last_words(rt: Runtime) -> None:
    assert isinstance(rt.agent, StillAgent)
    rt.agent.shown = AgentState(False, 1_700_000_000.0, "The disk is full. (log: /x/agent.log)")
    html = shown(rt, "this")
    assert "Reading of the folders has stopped" in html
    assert "The disk is full." in html
    assert "Reading of the folders has stopped" in shown(rt, "first-line")
    assert "as soon as reading runs again" in pressed(rt, "this/rescan")


def test_settings_from_outside_mistakes_and_old_copies_are_told(tmp_path: Path) -> None:
    old = tmp_path / "extensions" / "old-queue"
    (old / "scripts").mkdir(parents=True)
    (old / "scripts" / "queue.py").write_text('shared.opts.add_option("stablequeue_url", x)')
    settings = WebuiSettings(
        hashing="later", sync_on_start=False, given_outside=frozenset({"hashing", "sync_on_start"}),
        mistakes=("STABLEQUEUE_WATCH is 'x'. Give 1 or 0.",),
    )  # fmt: skip
    html = shown(still_webui(tmp_path, settings, extensions=(str(old),)), "this")
    assert "When new files are read in full" in html
    assert "Only when asked" in html
    assert "STABLEQUEUE_WATCH is &#39;x&#39;" in html
    assert str(old) in html
    assert "Remove that folder" in html


@pytest.mark.parametrize(("at_hub", "told"), [("attic-2", True), ("attic", False)])
def test_a_name_given_outside_is_told_beside_the_one_at_the_hub(
    tmp_path: Path, at_hub: str, told: bool
) -> None:
    rt = still_webui(tmp_path, WebuiSettings(alias="attic", given_outside=frozenset({"alias"})))
    identity = new_identity(at_hub, "http://127.0.0.1:9")
    store_identity(rt.places.server_dir, msgspec.structs.replace(identity, hub_id="h"))
    html = shown(rt, "this")
    assert ("The hub calls it attic-2: rename it on the hub&#39;s page" in html) is told


# --- buttons ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "form", "kind", "fields"),
    [
        ("this/rescan", {}, "rescan", {}),
        ("this/sync", {}, "sync", {}),
        ("this/hashing", {"mode": "now"}, "hashing", {"mode": "now"}),
        ("this/hashing", {"mode": "pause"}, "hashing", {"mode": "pause", "until_s": 3600}),
        ("this/accept-removals", {"root": "r-lora"}, "accept_removals", {"root": "r-lora"}),
        ("this/put-back", {"root": "r-lora", "path": "a/b"}, "put_back", {"root": "r-lora", "path": "a/b"}),
    ],
)
def test_each_button_leaves_its_order(
    rt: Runtime,
    index: SyntheticIndex,
    action: str,
    form: dict[str, str],
    kind: str,
    fields: dict[str, object],
) -> None:
    assert "sq-tone-good" in pressed(rt, action, further="ignored", **form)
    (order,) = index.index.take_orders()
    assert (order.kind, dict(order.fields)) == (kind, fields)


def test_a_choice_that_there_is_not_leaves_no_order(rt: Runtime, index: SyntheticIndex) -> None:
    assert "sq-tone-bad" in pressed(rt, "this/hashing", mode="sometimes")
    assert "sq-tone-bad" in pressed(rt, "this/hashing")
    assert "no such folder" in pressed(rt, "this/accept-removals", root="nowhere")
    assert index.index.take_orders() == []


# --- with a hub -------------------------------------------------------------------------------------------


def test_with_a_hub_its_matrix_is_shown_and_without_it_our_own_again(
    rt: Runtime, index: SyntheticIndex, tmp_path: Path
) -> None:
    (tmp_path / "hub").mkdir()
    hub = RealHub(tmp_path / "hub")
    hub.start()
    try:
        other = make_index(tmp_path / "other", 0)
        other.put([file("lora", "theirs.safetensors")])
        tell(join(hub, tmp_path / "other", "cellar"), other.index)
        other.close()
        tell(join(hub, tmp_path / "server", "attic"), index.index)
        page = shown(rt, "models")
        assert "From the hub" in page
        assert f'href="{hub.url}"' in page
        assert "theirs" in page
        assert "cellar" in page
        assert "cellar" in shown(rt, "servers")
        assert "Rename" not in shown(rt, "servers")
        sha256 = file("lora", "theirs.safetensors").sha256 or ""
        assert "cellar" in shown(rt, "model", sha256)
        assert "Connected with" in shown(rt, "this")
    finally:
        hub.kill()
    rt.hub.forget()
    shown(rt, "models")
    time.sleep(0.3)
    page = shown(rt, "models")
    assert "This WebUI alone." in page
    assert "does not answer" in page
    assert "ink" in page
    assert "hub not reachable" in shown(rt, "first-line")


def test_a_model_the_hub_does_not_know_yet_is_shown_from_here(rt: Runtime, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    hub = RealHub(tmp_path / "hub")
    hub.start()
    try:
        join(hub, tmp_path / "server", "attic")
        html = shown(rt, "model", file("lora", "ink.safetensors").sha256 or "")
        assert "Where it is" in html
        assert "ink" in html
    finally:
        hub.kill()


def test_the_first_line_never_waits_for_a_hub_that_hangs(rt: Runtime, tmp_path: Path) -> None:
    over = threading.Event()

    def hang(asked: Asked) -> Say:
        over.wait(60)
        return say_json(HEALTH)

    with ScriptedHub(hang) as server:
        identity = msgspec.structs.replace(new_identity("attic", server.url), hub_id=HUB_ID)
        store_identity(tmp_path / "server", identity)
        rt.hub = HubViewCache(tmp_path / "server")
        shown(rt, "first-line")
        for view in ("first-line", "this"):
            began = time.monotonic()
            html = shown(rt, view)
            assert time.monotonic() - began < WAIT_S / 2 * slowness()
            assert "ontacting" in html
        began = time.monotonic()
        assert "ink" in shown(rt, "models")
        assert time.monotonic() - began < 1.5 * WAIT_S * slowness()
        over.set()


def test_what_the_agent_hears_from_the_hub_is_told_although_it_answers_us(
    rt: Runtime, index: SyntheticIndex, tmp_path: Path
) -> None:
    (tmp_path / "hub").mkdir()
    hub = RealHub(tmp_path / "hub")
    hub.start()
    try:
        join(hub, tmp_path / "server", "attic")
        trouble = HubProblem("digest_mismatch", "The inventory does not match.", "Update both sides.", 1)
        index.index.write_agent_report(AgentReport(pid=1, started_ms=1, hub_problem=trouble))
        shown(rt, "models")
        html = shown(rt, "this")
        assert "does not match" in html
        assert "Update both sides." in html
    finally:
        hub.kill()


# --- hostile names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_no_name_becomes_markup_in_any_view(tmp_path: Path, number: int) -> None:
    name = NAMES[number]
    # As the index has names and reasons: control characters written out, no lone surrogates.
    stored = told = escaped(name.encode("utf-8", "replace").decode()).replace("/", "_")
    index = make_index(tmp_path / "server", 0)
    index.put(
        [
            file("lora", f"{stored}.safetensors", base_model=told),
            file("vae", stored, state="corrupt", reason=told),
            file("vae", f"{stored}2", state="unhashed", reason=told),
            file("checkpoint", stored, state="set_aside"),
            file("lora", f"c{stored}", claims=[Claim("header", "sha256", "ab" * 32)]),
        ]
    )
    doubtful = root("vae", health="suspect", missing=3, reason=stored)
    index.put_roots([replace_label(doubtful, stored), replace_label(root("lora"), stored)])
    notes = [ReportedFile("r-lora", stored, stored)]
    index.index.write_agent_report(
        AgentReport(
            pid=1,
            started_ms=1,
            skipped=1,
            skipped_files=notes,
            refused=1,
            refused_claims=notes,
            rejected=1,
            rejected_files=notes,
            watch_problems=[stored],
        )
    )
    settings = WebuiSettings(
        alias=name, private=(name,), mistakes=(name,), given_outside=frozenset({"alias", "private"})
    )
    rt = still_webui(tmp_path, settings, extensions=())
    assert isinstance(rt.agent, StillAgent)
    rt.agent.shown = AgentState(False, 1.0, name, name)
    sha256 = file("lora", f"{stored}.safetensors").sha256 or ""
    for view, ident in (("first-line", ""), ("models", ""), ("model", sha256), ("servers", ""), ("this", "")):
        html = shown(rt, view, ident, search="")
        for forbidden in ("<script", "<img", "<iframe", "<b>", "onerror=window.__xss=1>", "<style", "\x1b"):
            assert forbidden not in html.lower(), (view, forbidden)
    index.close()
    rt.models.close()


def replace_label(row: RootRow, label: str) -> RootRow:
    return row._replace(label=label, path=f"/{label}")


def test_the_line_and_the_view_say_whose_job_runs_and_offer_not_now(rt: Runtime) -> None:
    rt.runner._working = CurrentJob("1", "a <b>cat</b>", "attic", False, now_ms())
    line = shown(rt, "first-line")
    assert "makes a picture for" in line
    assert "attic" in line
    assert 'data-sq-post="this/not-now"' in line, "one press is enough"
    page = shown(rt, "this")
    assert "Makes a picture for" in page
    assert "<b>cat" not in page
    assert "this/not-now" in page
    assert "for an hour" in pressed(rt, "this/not-now")
    rt.runner._working = None
    assert "Not now: no jobs from others until" in shown(rt, "this")
    pressed(rt, "this/help-again")
    assert "Only jobs submitted here run here" in shown(rt, "this")
