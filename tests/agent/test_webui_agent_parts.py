"""Parts of what an agent does for a WebUI, each by itself."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from stablequeue_client.agent import busy_marker
from stablequeue_client.agent.busy_marker import FRESH_FOR_S, GeneratingMarker
from stablequeue_client.agent.policy import HashingPolicy
from stablequeue_client.agent.schedule import ScanSchedule
from stablequeue_client.files.model_folders import Root, make_root
from stablequeue_client.files.private_files import PrivateFiles
from stablequeue_client.files.read_lock import ReadingLocks

from .agent_clock import FakeClock

# --- private files ----------------------------------------------------------------------------------------

ROOT = Root("0a1b2c3d", "lora", "/models/Lora", "models/Lora", "/mnt/nas/Lora")


@pytest.mark.parametrize(
    ("pattern", "path", "hidden"),
    [
        ("secret", "secret/a.safetensors", True),
        ("secret", "x/Secret/y/a.safetensors", True),
        ("secret", "secrets/a.safetensors", False),
        ("*_mine.safetensors", "x/a_MINE.safetensors", True),
        ("*_mine.safetensors", "x/a_mine.pt", False),
        ("x/secret", "x/secret/y/a.safetensors", True),
        ("x/secret/", "x/secret/a.safetensors", True),
        ("secret/*", "secret/y/a.safetensors", True),
        ("x/secret", "y/x/secret/a.safetensors", False),
        ("*/secret/*", "y/x/secret/a.safetensors", True),
        ("/models/Lora/x", "x/a.safetensors", True),
        ("/MODELS/lora/x", "x/a.safetensors", True),
        ("/mnt/nas/Lora/x", "x/a.safetensors", True),
        ("/models/Lora/x", "xy/a.safetensors", False),
        ("/models/Lora/x/a.safetensors", "x/a.safetensors", True),
        ("cafe\u0301", "caf\u00e9/a.safetensors", True),
        ("[broken", "a.safetensors", False),
        ("   ", "a.safetensors", False),
    ],
)
def test_patterns_hide_what_they_say(pattern: str, path: str, hidden: bool) -> None:
    assert PrivateFiles([pattern], realpath=str).hides(ROOT, path) is hidden


def test_without_patterns_nothing_is_hidden() -> None:
    private = PrivateFiles()
    assert not private
    assert not private.hides(ROOT, "a.safetensors", link=True)
    assert not private.hides_root(ROOT)


@pytest.mark.parametrize("place", ["/models", "/models/Lora/", "/mnt/nas"])
def test_a_private_place_hides_whole_model_folders_in_it(place: str) -> None:
    assert PrivateFiles([place], realpath=str).hides_root(ROOT)


def test_a_link_to_a_private_file_is_private(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.safetensors").write_bytes(b"x")
    os.symlink(tmp_path / "secret" / "a.safetensors", tmp_path / "b.safetensors")
    root = make_root("lora", str(tmp_path))
    assert PrivateFiles(["secret"]).hides(root, "b.safetensors", link=True)
    assert PrivateFiles([str(tmp_path / "secret")]).hides(root, "b.safetensors", link=True)
    assert not PrivateFiles(["other"]).hides(root, "b.safetensors", link=True)


# --- the mark of a generation -----------------------------------------------------------------------------


def test_the_mark_passes_by_itself_and_one_from_the_future_does_not_count(tmp_path: Path) -> None:
    clock = FakeClock()
    mark = GeneratingMarker(tmp_path / "machine", now=clock.now, monotonic=clock.monotonic)
    assert not mark.is_fresh()
    busy_marker.touch(tmp_path / "machine")
    file = tmp_path / "machine" / busy_marker.FILE_NAME
    os.utime(file, (clock.now(), clock.now()))
    clock.seconds += 1
    assert mark.is_fresh()
    clock.seconds += FRESH_FOR_S
    assert not mark.is_fresh()
    os.utime(file, (clock.now() + 3_600, clock.now() + 3_600))
    clock.seconds += 1
    assert not mark.is_fresh()


def test_a_mark_that_cannot_be_made_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "machine").write_text("no folder")
    busy_marker.touch(tmp_path / "machine")
    assert not GeneratingMarker(tmp_path / "machine").is_fresh()


def test_no_mode_reads_while_somebody_generates_and_idle_begins_anew_afterwards() -> None:
    clock, busy = FakeClock(), [True]
    for mode in ("now", "idle"):
        policy = HashingPolicy(mode, clock, others=lambda _: 0.0, generating=lambda: busy[0])
        busy[0] = True
        clock.seconds += 600
        assert policy.waits_for() == "generating"
        assert policy.is_paused()
        busy[0] = False
        assert policy.waits_for() == ("" if mode == "now" else "idle")
        clock.seconds += 61
        assert policy.may_read()


def test_an_ordered_pause_and_the_mode_later_are_told_before_a_generation() -> None:
    policy = HashingPolicy("later", FakeClock(), generating=lambda: True)
    assert policy.waits_for() == "later"
    policy.pause(10)
    assert policy.waits_for() == "order"
    assert policy.paused_for() == 10


# --- when folders are walked ------------------------------------------------------------------------------


def test_the_owner_says_how_often_local_folders_are_walked() -> None:
    schedule = ScanSchedule(local_walk_s=600.0, uniform=lambda low, high: 1.0)
    schedule.add("local", network=False, now=0, at_once=False)
    assert schedule.due(599) == []
    assert schedule.due(600) == ["local"]


@pytest.mark.parametrize("network", [False, True])
def test_with_zero_minutes_only_events_and_orders_lead_to_a_walk(network: bool) -> None:
    schedule = ScanSchedule(local_walk_s=0.0)
    schedule.add("r", network=network, now=0)
    assert schedule.due(0) == ["r"]
    schedule.started("r", 0)
    schedule.ended("r", 1, took_s=1, healthy=True)
    assert schedule.due(10_000_000) == []
    assert schedule.next_in(1) < threading.TIMEOUT_MAX
    schedule.event("r", 100)
    assert schedule.due(103) == ["r"]


# --- who reads what ---------------------------------------------------------------------------------------


def test_a_file_is_read_by_one_at_a_time_under_all_its_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    os.symlink(tmp_path / "a", tmp_path / "b")
    one, other = ReadingLocks(tmp_path / "machine"), ReadingLocks(tmp_path / "machine")
    with one.held(str(tmp_path / "a")) as mine:
        assert mine
        with other.held(str(tmp_path / "b")) as theirs:
            assert not theirs
        with other.held(str(tmp_path / "another")) as theirs:
            assert theirs
    with other.held(str(tmp_path / "b")) as theirs:
        assert theirs


def test_a_folder_that_cannot_be_used_locks_nothing(tmp_path: Path) -> None:
    (tmp_path / "machine").write_text("no folder")
    with ReadingLocks(tmp_path / "machine").held(str(tmp_path / "a")) as mine:
        assert mine
