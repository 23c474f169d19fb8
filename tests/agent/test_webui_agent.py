"""What an agent does for a WebUI: without a hub, told when to tell, with private files, rests and reports."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from stablequeue_client.agent import busy_marker
from stablequeue_client.agent.agent_settings import AgentSettings
from stablequeue_client.agent.folder_probe import probe, probe_folders
from stablequeue_client.agent.main import run
from stablequeue_client.files.devices import Device
from stablequeue_client.files.scanner import Root
from stablequeue_client.index.agent_report import AgentReport
from stablequeue_client.index.index import Index, open_index
from stablequeue_client.shared.model_files.model_file import Kind
from stablequeue_client.shared.parent_process import ParentProcess, parent_of_now
from stablequeue_client.shared.wire.inventory import ServerCapabilities
from stablequeue_client.shared.wire.orders import ORDER_TTL_S

from .real_hub import RealHub, as_ready, index_rows, on_disk, settings_for, until, write_model


def settings(tmp_path: Path, **further: object) -> AgentSettings:
    """Of an agent that a WebUI started; no hub."""
    me = parent_of_now(os.getpid())
    plain = AgentSettings(
        data_dir=tmp_path / "data", folders=(("lora", str(tmp_path / "loras")),), low_priority=False,
        parent=ParentProcess(me.pid, me.start_time, webui=True),
    )  # fmt: skip
    return replace(plain, **further)  # type: ignore[arg-type]


@contextmanager
def agent(asked: AgentSettings) -> Iterator[Index]:
    """The agent in a thread; the index as another process sees it."""
    stop, codes = threading.Event(), list[int]()
    thread = threading.Thread(target=lambda: codes.append(run(asked, stop=stop)), daemon=True)
    thread.start()
    until(lambda: (asked.data_dir / "index.sqlite").exists(), 10, "the index")
    index = open_index(asked.data_dir, repair=False)
    try:
        yield index
    finally:
        stop.set()
        thread.join(10)
        index.close()
        assert codes == [0]


def report(index: Index) -> AgentReport:
    found = index.agent_report()
    assert found is not None
    return found


def old_model(path: Path, seed: int, size: int = 20_000) -> str:
    """A model that was written an hour ago."""
    sha256 = write_model(path, size, seed)
    before = time.time() - 3_600
    os.utime(path, (before, before))
    return sha256


# --- without a hub, and with one that refuses -------------------------------------------------------------


def test_without_a_hub_the_folders_of_a_webui_are_read_all_the_same(tmp_path: Path) -> None:
    old_model(tmp_path / "loras" / "a.safetensors", 1)
    with agent(settings(tmp_path)) as index:
        until(lambda: index_rows(tmp_path / "data") == as_ready(on_disk(tmp_path / "loras")), 20, "the file")
        until(lambda: report(index).hub_url == "" and report(index).hub_problem is None, 5, "the report")


def test_a_wrong_address_is_told_in_the_report_and_the_folders_are_read(tmp_path: Path) -> None:
    old_model(tmp_path / "loras" / "a.safetensors", 1)
    with agent(settings(tmp_path, hub_url="http://127.0.0.1:9")) as index:
        until(lambda: index_rows(tmp_path / "data") == as_ready(on_disk(tmp_path / "loras")), 20, "the file")
        until(lambda: report(index).hub_problem is not None, 10, "the report")
        problem = report(index).hub_problem
    assert problem is not None
    assert problem.code == "hub_unreachable"
    assert problem.remedy
    assert abs(problem.since_ms / 1000 - time.time()) < 60


def test_a_hub_that_this_webui_has_not_joined_is_told_and_sees_no_key(
    real_hub: RealHub, tmp_path: Path
) -> None:
    old_model(tmp_path / "loras" / "a.safetensors", 1)
    with agent(settings(tmp_path, hub_url=real_hub.url)) as index:
        until(lambda: index_rows(tmp_path / "data") == as_ready(on_disk(tmp_path / "loras")), 20, "the file")
        until(lambda: report(index).hub_problem is not None, 10, "the report")
        problem = report(index).hub_problem
    assert problem is not None
    assert problem.code == "not_joined"
    assert "Add another computer" in problem.remedy
    assert real_hub.admin().servers() == []


# --- when the hub is told ---------------------------------------------------------------------------------


def test_with_manual_sync_the_hub_is_told_by_order_only_and_heartbeats_go_on(
    real_hub: RealHub, tmp_path: Path
) -> None:
    loras = tmp_path / "loras"
    old_model(loras / "a.safetensors", 1)
    asked = settings_for(real_hub, tmp_path / "data", loras, sync="manual", hashing="now")
    with agent(asked) as index:
        until(lambda: index_rows(tmp_path / "data") == as_ready(on_disk(loras)), 20, "the file")
        until(lambda: real_hub.server()["reachable"], 20, "a heartbeat")
        time.sleep(12)  # more than a heartbeat, in which the hub says that it wants a sync
        assert real_hub.rows() == {}
        index.add_order("rescan", {}, ORDER_TTL_S)
        index.add_order("sync", {}, ORDER_TTL_S)
        until(lambda: real_hub.rows() == as_ready(on_disk(loras)), 20, "the ordered sync")
        told = dict(real_hub.rows())
        old_model(loras / "b.safetensors", 2)
        until(lambda: index_rows(tmp_path / "data") == as_ready(on_disk(loras)), 40, "the second file")
        time.sleep(3)
        assert real_hub.rows() == told
        until(lambda: report(index).last_sync_ms > 0, 5, "the report")


def test_folders_known_before_are_not_walked_at_the_start_when_that_is_off(tmp_path: Path) -> None:
    loras = tmp_path / "loras"
    old_model(loras / "a.safetensors", 1)
    with agent(settings(tmp_path)):
        until(lambda: index_rows(tmp_path / "data") == as_ready(on_disk(loras)), 20, "the file")
    old_model(loras / "b.safetensors", 2)
    with agent(settings(tmp_path, sync_on_start=False, watch=False)) as index:
        time.sleep(3)
        assert len(index.rows()) == 1
        index.add_order("rescan", {}, ORDER_TTL_S)
        until(lambda: len(index.rows()) == 2, 10, "the ordered walk")


# --- private files ----------------------------------------------------------------------------------------


def test_private_files_are_neither_read_nor_told_and_leave_at_once_when_they_become_private(
    real_hub: RealHub, tmp_path: Path
) -> None:
    loras = tmp_path / "loras"
    old_model(loras / "a.safetensors", 1)
    for number in range(30):  # more than the guard against mass loss would let go
        old_model(loras / "mine" / f"{number}.safetensors", 10 + number)
    asked = settings_for(real_hub, tmp_path / "data", loras)
    with agent(asked):
        until(lambda: len(real_hub.rows()) == 31, 30, "all files at the hub")
    with agent(replace(asked, join_secret=None, private=("MINE",))) as index:
        until(lambda: {row.path for row in index.rows()} == {"a.safetensors"}, 5, "them to leave the index")
        until(lambda: set(real_hub.rows()) == {"a.safetensors"}, 20, "them to leave the hub")
        old_model(loras / "mine" / "new.safetensors", 99)
        index.add_order("rescan", {}, ORDER_TTL_S)
        time.sleep(2)
        assert {row.path for row in index.rows()} == {"a.safetensors"}


def test_a_private_folder_is_no_folder_of_this_server(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "loras")
    old_model(tmp_path / "loras" / "a.safetensors", 1)
    with agent(settings(tmp_path, private=(str(tmp_path / "real"),))) as index:
        until(lambda: report(index).pid > 0, 10, "the agent to be at work")
        assert index.roots() == []
        assert index.rows() == []


# --- rests ------------------------------------------------------------------------------------------------


def test_nothing_is_read_while_a_webui_generates_and_for_some_seconds_after(tmp_path: Path) -> None:
    asked = settings(tmp_path)
    busy_marker.touch(asked.machine_dir)
    old_model(tmp_path / "loras" / "a.safetensors", 1)
    with agent(asked) as index:
        until(lambda: len(index.rows()) == 1, 10, "the row")
        end = time.monotonic() + 4
        while time.monotonic() < end:
            busy_marker.touch(asked.machine_dir)
            assert index.rows()[0].sha256 is None
            time.sleep(0.5)
        until(lambda: report(index).waits_for == "generating", 5, "the report")
        stopped = time.monotonic()
        until(lambda: index.rows()[0].sha256 is not None, 15, "the file to be read")
        assert time.monotonic() - stopped > busy_marker.FRESH_FOR_S - 2.5


def test_a_pause_outlives_the_agent(tmp_path: Path) -> None:
    (tmp_path / "loras").mkdir()
    with agent(settings(tmp_path)) as index:
        index.add_order("hashing", {"mode": "pause", "until_s": 600}, ORDER_TTL_S)
        until(lambda: report(index).paused_until_ms > 0, 10, "the pause")
    old_model(tmp_path / "loras" / "a.safetensors", 1)
    with agent(settings(tmp_path)) as index:
        until(lambda: len(index.rows()) == 1, 10, "the row")
        time.sleep(2)
        assert index.rows()[0].sha256 is None
        assert report(index).waits_for == "order"
        assert report(index).paused_until_ms == pytest.approx((time.time() + 600) * 1000, abs=60_000)
        index.add_order("hashing", {"mode": "now"}, ORDER_TTL_S)
        until(lambda: index.rows()[0].sha256 is not None, 10, "the end of the pause")
    assert index_rows(tmp_path / "data")["a.safetensors"][0] == "ready"


# --- what is told of problems -----------------------------------------------------------------------------


def test_what_was_skipped_and_what_is_not_believed_stands_in_the_report(tmp_path: Path) -> None:
    loras = tmp_path / "loras"
    old_model(loras / "a.safetensors", 1)
    (loras / "a.sha256").write_text("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    os.symlink(tmp_path / "nowhere", loras / "linked")
    with agent(settings(tmp_path)) as index:
        until(lambda: report(index).refused == 1 and report(index).skipped == 1, 20, "the report")
        told = report(index)
    assert told.refused_claims[0].path == "a.safetensors"
    assert "an empty file" in told.refused_claims[0].reason
    assert told.skipped_files[0].path == "linked"


# --- capabilities -----------------------------------------------------------------------------------------


def test_the_hub_hears_what_the_webui_can_do_at_the_start_and_when_it_changed(
    real_hub: RealHub, tmp_path: Path
) -> None:
    (tmp_path / "loras").mkdir()
    file = tmp_path / "data" / "capabilities.json"
    file.parent.mkdir()

    def write(samplers: list[str]) -> None:
        file.write_bytes(msgspec.json.encode(ServerCapabilities(webui="forge", samplers=samplers)))

    def known() -> list[str]:
        return list((real_hub.server()["capabilities"] or {}).get("samplers", []))

    write(["Euler"])
    with agent(settings_for(real_hub, tmp_path / "data", tmp_path / "loras", capabilities_file=file)):
        until(lambda: known() == ["Euler"], 20, "the first word")
        write(["Euler", "LCM"])
        until(lambda: known() == ["Euler", "LCM"], 20, "the second")


# --- a share that hangs -----------------------------------------------------------------------------------


def test_a_share_that_hangs_at_the_start_holds_up_nobody_and_keeps_its_id(tmp_path: Path) -> None:
    (tmp_path / "loras").mkdir()
    (tmp_path / "nas").mkdir()
    asked = settings(
        tmp_path, folders=(("lora", str(tmp_path / "loras")), ("checkpoint", str(tmp_path / "nas")))
    )
    with agent(asked) as index:
        until(lambda: len(index.roots()) == 2, 10, "both folders")
        known = {root.path: root.root_id for root in index.roots()}
    hung = threading.Event()

    def hanging(kind: Kind, path: str) -> tuple[Root, Device]:
        if kind == "checkpoint":
            hung.wait(60)
        return probe(kind, path)

    index = open_index(asked.data_dir)
    started = time.monotonic()
    found = probe_folders(asked, index, look=hanging, patience_s=0.5)
    assert time.monotonic() - started < 30, "as long as it hangs"
    hung.set()
    index.close()
    assert {root.path: root.root_id for root in found.roots} == known
    assert found.is_network(known[str(tmp_path / "nas")]), (
        "it is not watched, and holds up no other's reading"
    )
    assert not found.is_network(known[str(tmp_path / "loras")])
