"""The agent's parts by themselves: back-off, schedule, policy, identity, lock, parent, walks, put-back."""

from __future__ import annotations

import logging
import os
import random
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from stablequeue_client.agent.lock import agent_lock
from stablequeue_client.agent.main import AgentSettings, run, scan_only
from stablequeue_client.agent.policy import IDLE_AFTER_S, HashingPolicy
from stablequeue_client.agent.progress import ProgressTracker
from stablequeue_client.agent.schedule import LOCAL_WALK_S, NETWORK_WALK_S, ScanSchedule
from stablequeue_client.agent.walker import Walker
from stablequeue_client.clock import SYSTEM_CLOCK, JumpWatch
from stablequeue_client.files.file_io import OS_IO, OpenedFile, ScanIO, stat_key
from stablequeue_client.files.restore_name import NotPutBackError, put_back
from stablequeue_client.files.scanner import make_root
from stablequeue_client.hub_client.backoff import Backoff
from stablequeue_client.hub_client.identity import identity_for, load_identity, new_identity, store_identity
from stablequeue_client.hub_client.link import REFUSED_RETRY_S, HubLink
from stablequeue_client.shared.errors import (
    AlreadyRunningError,
    AuthenticationError,
    DataFolderError,
    HubUnreachableError,
)
from stablequeue_client.shared.parent_process import ParentProcess, is_alive, parent_of_now

from ..slowness import slowness
from .agent_clock import FakeClock
from .real_hub import environment, index_rows, model_bytes, write_model

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX only")


# --- back-off and link ----------------------------------------------------------------------------------


def test_waits_double_to_five_minutes_with_full_jitter_and_start_again_after_a_success() -> None:
    backoff = Backoff(uniform=lambda low, high: high)
    assert [backoff.failure() for _ in range(11)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    backoff.success()
    assert backoff.failure() == 1
    dice = random.Random(1)
    spread = [Backoff(first_s=100, uniform=dice.uniform).failure() for _ in range(500)]
    assert 25 <= min(spread) < 30
    assert 95 < max(spread) <= 100


def test_during_an_outage_only_one_of_two_callers_probes() -> None:
    clock = FakeClock()
    link = HubLink(clock, Backoff(uniform=lambda low, high: high))
    returned: list[str] = []
    link.on_reconnect(lambda: returned.append("hub"))
    assert (link.retry_in(), link.retry_in()) == (0, 0)
    link.failed(HubUnreachableError())
    clock.seconds += 1
    assert link.retry_in() == 0
    assert link.retry_in() > 0
    link.succeeded()
    assert (link.retry_in(), link.retry_in()) == (0, 0)
    assert returned == ["hub"]


def test_a_hub_that_refuses_is_asked_again_after_five_minutes(caplog: pytest.LogCaptureFixture) -> None:
    link = HubLink(FakeClock())
    with caplog.at_level(logging.WARNING):
        assert link.failed(AuthenticationError()) == REFUSED_RETRY_S
        assert link.failed(AuthenticationError()) == REFUSED_RETRY_S
    assert [record.action for record in caplog.records] == ["hub_failed"]  # type: ignore[attr-defined]


def test_a_jump_of_the_clock_is_seen_once() -> None:
    clock = FakeClock()
    jumps = JumpWatch(clock)
    clock.seconds += 500
    assert not jumps.jumped()
    clock.wall_offset -= 3600
    assert jumps.jumped()
    assert not jumps.jumped()


# --- schedule and policy --------------------------------------------------------------------------------


@pytest.mark.parametrize(("network", "every"), [(False, LOCAL_WALK_S), (True, NETWORK_WALK_S)])
def test_folders_are_walked_at_once_then_hourly_or_six_hourly_a_quarter_around(
    network: bool, every: float
) -> None:
    schedule = ScanSchedule(uniform=random.Random(1).uniform)
    schedule.add("r", network=network, now=0)
    assert schedule.due(0) == ["r"]
    waits = []
    for _ in range(300):
        schedule.started("r", 0)
        waits.append(schedule.next_in(0) / every)
    assert 0.75 <= min(waits) < 0.8
    assert 1.2 < max(waits) <= 1.25


def test_events_wait_for_a_quiet_moment_but_not_for_ever() -> None:
    schedule = ScanSchedule()
    schedule.add("r", network=False, now=0)
    schedule.started("r", 0)
    schedule.event("r", 10.0)
    assert schedule.next_in(10.0) == pytest.approx(0.5)
    now = 10.0
    while not schedule.due(now):
        now += 0.1
        schedule.event("r", now)
        assert now < 12.2
    assert now >= 11.9


def test_a_stream_of_events_costs_no_more_than_a_tenth_of_the_time() -> None:
    schedule = ScanSchedule()
    schedule.add("r", network=False, now=0)
    schedule.started("r", 0)
    schedule.ended("r", 3.0, took_s=3.0, healthy=True)
    schedule.event("r", 3.1)
    assert schedule.next_in(3.1) == pytest.approx(29.9)


def test_a_folder_that_is_not_well_is_walked_again_after_ten_minutes() -> None:
    schedule = ScanSchedule()
    schedule.add("r", network=True, now=0)
    schedule.started("r", 0)
    schedule.ended("r", 1.0, took_s=1.0, healthy=False)
    assert 600 < schedule.next_in(1.0) <= 780


def test_files_are_read_now_later_or_after_a_minute_of_an_idle_machine() -> None:
    clock, cores = FakeClock(), [0.0]
    policy = HashingPolicy("idle", clock, others=lambda elapsed: cores[0])
    assert not policy.may_read()
    for _ in range(int(IDLE_AFTER_S)):
        clock.seconds += 1
        policy.may_read()
    assert policy.may_read()
    cores[0] = 3.0
    clock.seconds += 3
    assert not policy.may_read()
    policy.set_mode("now")
    assert policy.may_read()
    policy.pause(100)
    assert policy.is_paused()
    clock.seconds += 101
    assert policy.may_read()
    policy.set_mode("later")
    assert not policy.may_read()


def test_progress_tells_files_bytes_and_the_time_left() -> None:
    clock = FakeClock()
    progress = ProgressTracker(clock)
    assert progress.activity().phase == "idle"
    progress.left(3, 3_000)
    for _ in range(3):
        progress.read(100)
        clock.seconds += 1
    seen = progress.activity()
    assert (seen.phase, seen.files_total, seen.bytes_done, seen.bytes_total) == ("hashing", 3, 300, 3_000)
    assert seen.eta_s is not None
    assert 20 <= seen.eta_s <= 40
    progress.paused(True)
    assert progress.activity().phase == "paused"
    progress.scanning(+1)
    assert progress.activity().phase == "scanning"
    progress.scanning(-1)
    progress.left(0, 0)
    assert progress.activity().phase == "idle"


# --- identity, lock, parent -----------------------------------------------------------------------------


def test_the_identity_is_stored_before_joining_and_the_same_afterwards(tmp_path: Path) -> None:
    made = identity_for(tmp_path, "box:8383", "box")
    assert made is not None
    assert made.hub_id is None
    assert (len(made.server_id), len(made.secret)) == (32, 64)
    assert load_identity(tmp_path) == made == identity_for(tmp_path, None, "other")
    moved = identity_for(tmp_path, "http://new:1", "")
    assert moved is not None
    assert (moved.server_id, moved.hub_url) == (made.server_id, "http://new:1")
    assert made.secret not in repr(made)


def test_an_address_where_the_hub_was_never_met_is_given_up_with_its_setting(tmp_path: Path) -> None:
    store_identity(tmp_path, msgspec.structs.replace(new_identity("a", "http://mine:1"), hub_id="0" * 32))
    for wrong in ("http://wrong:1", "http://wrong:2", "http://wrong:2"):
        tried = identity_for(tmp_path, wrong, "")
        assert tried is not None
        assert tried.hub_url == wrong
    back = identity_for(tmp_path, None, "")
    assert back is not None
    assert (back.hub_url, back.met_url) == ("http://mine:1", "")
    assert load_identity(tmp_path) == back


@POSIX
def test_the_identity_is_readable_by_its_owner_only_and_leaves_no_other_file(tmp_path: Path) -> None:
    store_identity(tmp_path, new_identity("a", "http://x"))
    store_identity(tmp_path, new_identity("b", "http://x"))
    assert [path.name for path in tmp_path.iterdir()] == ["server.json"]
    assert stat.S_IMODE((tmp_path / "server.json").stat().st_mode) == 0o600


def test_a_damaged_identity_is_told_with_its_remedy_and_kept(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text('{"server_id": 3')
    with pytest.raises(DataFolderError) as raised:
        identity_for(tmp_path, "http://x", "a")
    assert "server.json" in raised.value.message
    assert "join" in raised.value.remedy
    assert (tmp_path / "server.json").read_text() == '{"server_id": 3'


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib\n"
        "from stablequeue_client.agent.lock import agent_lock\n"
        "with agent_lock(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == b"held"
        with pytest.raises(AlreadyRunningError), agent_lock(tmp_path):
            pass
        other.kill()
        other.wait()
    with agent_lock(tmp_path):
        pass


def test_a_parent_is_known_by_its_start_too() -> None:
    me = parent_of_now(os.getpid())
    assert is_alive(me)
    assert not is_alive(ParentProcess(me.pid, me.start_time - 3600))
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        gone = ParentProcess(child.pid, time.time())
        child.wait()
    assert not is_alive(gone)


# --- walks ----------------------------------------------------------------------------------------------


class HangingIO(ScanIO):
    """One folder that does not answer until it is told to."""

    def __init__(self, hangs: str) -> None:
        self.hangs = hangs
        self.answers = threading.Event()

    def scandir(self, path: str) -> list[os.DirEntry[str]]:
        if path.startswith(self.hangs):
            self.answers.wait(20)
        return super().scandir(path)


@pytest.mark.fault
def test_a_folder_that_hangs_is_unreachable_and_holds_up_no_other(tmp_path: Path) -> None:
    for name in ("good", "nas"):
        write_model(tmp_path / name / "m.safetensors", 1_000, 1)
    good, nas = (make_root("lora", str(tmp_path / name)) for name in ("good", "nas"))
    io = HangingIO(nas.path)
    walker = Walker((good, nas), io, SYSTEM_CLOCK, stall_s=0.3)
    for _ in range(2):
        report = walker.walk((good, nas), lambda: False)
        assert report is not None
        assert [scan.health for scan in report.roots] == ["healthy", "unreachable"]
        assert [len(scan.files) for scan in report.roots] == [1, 0]
        assert not report.roots[1].knows("m.safetensors")
    io.answers.set()
    for _ in range(100):
        report = walker.walk((nas,), lambda: False)
        assert report is not None
        if report.roots[0].health == "healthy":
            return
        time.sleep(0.05)
    raise AssertionError("the folder that answers again was not walked")


# --- put back -------------------------------------------------------------------------------------------


def _set_aside(folder: Path, content: bytes) -> Path:
    path = folder / "m.safetensors.corrupted"
    path.write_bytes(content)
    return path


def _put_back(path: Path) -> str:
    return put_back(str(path), "lora", stat_key(path.stat()), stop=lambda: False, io=OS_IO)


def test_a_whole_file_gets_its_name_back(tmp_path: Path) -> None:
    content = model_bytes(2_000, 1)
    assert _put_back(_set_aside(tmp_path, content)) == str(tmp_path / "m.safetensors")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"m.safetensors": content}


def test_nothing_is_overwritten_and_a_broken_or_changed_file_stays(tmp_path: Path) -> None:
    path = _set_aside(tmp_path, model_bytes(2_000, 1))
    before = stat_key(path.stat())
    (tmp_path / "m.safetensors").write_bytes(b"another")
    with pytest.raises(NotPutBackError, match="there already"):
        _put_back(path)
    assert (tmp_path / "m.safetensors").read_bytes() == b"another"
    (tmp_path / "m.safetensors").unlink()
    path.write_bytes(model_bytes(2_400, 2))
    with pytest.raises(NotPutBackError, match="changed"):
        put_back(str(path), "lora", before, stop=lambda: False, io=OS_IO)
    path.write_bytes(model_bytes(2_000, 1)[:-1])
    with pytest.raises(NotPutBackError, match="cut off"):
        _put_back(path)
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors.corrupted"]


@POSIX
def test_a_put_back_that_was_interrupted_between_link_and_unlink_is_finished(tmp_path: Path) -> None:
    path = _set_aside(tmp_path, model_bytes(2_000, 1))
    os.link(path, tmp_path / "m.safetensors")
    _put_back(path)
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


# --- without a hub --------------------------------------------------------------------------------------


def test_a_scan_needs_no_hub_and_a_second_server_reads_no_byte_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loras = tmp_path / "loras"
    sha256 = write_model(loras / "a.safetensors", 5_000, 1)
    os.utime(loras / "a.safetensors", (1_700_000_000, 1_700_000_000))
    shared = tmp_path / "machine"

    def scan(name: str, io: ScanIO) -> int:
        settings = AgentSettings(
            tmp_path / name, (("lora", str(loras)),), digests_dir=shared, low_priority=False
        )
        return scan_only(settings, io=io)

    time.sleep(3.1)  # digests of a file written a moment ago are not shared
    first = CountingIO()
    assert scan("one", first) == 0
    assert first.read == (loras / "a.safetensors").stat().st_size
    assert index_rows(tmp_path / "one") == {"a.safetensors": ("ready", sha256)}
    counting = CountingIO()
    assert scan("two", counting) == 0
    assert index_rows(tmp_path / "two") == {"a.safetensors": ("ready", sha256)}
    assert counting.read == 0


class CountingIO(ScanIO):
    """Counts the bytes of model files that are read through, beyond their headers."""

    def __init__(self) -> None:
        self.read = 0

    def open(self, path: str) -> OpenedFile:
        opened = super().open(path)
        plain = opened.readinto

        def readinto(view: memoryview) -> int:
            count = plain(view)
            self.read += count
            return count

        opened.readinto = readinto  # type: ignore[method-assign]
        return opened


@pytest.mark.fault
def test_a_folder_that_goes_away_while_files_wait_does_not_spin_or_lose_rows(tmp_path: Path) -> None:
    loras, data = tmp_path / "loras", tmp_path / "data"
    settings = AgentSettings(data, (("lora", str(loras)),), low_priority=False)
    write_model(loras / "a.safetensors", 5_000, 1)
    assert scan_only(settings) == 0
    before = index_rows(data)
    loras.rename(tmp_path / "away")
    started = time.process_time()
    assert scan_only(settings) == 3
    assert time.process_time() - started < 3 * slowness()
    assert index_rows(data) == before
    (tmp_path / "away").rename(loras)
    assert scan_only(settings) == 0
    assert index_rows(data) == before


def test_neither_key_nor_secret_stands_in_a_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    identity = new_identity("box", "http://127.0.0.1:9")
    store_identity(tmp_path, identity)
    (tmp_path / "loras").mkdir()
    settings = AgentSettings(
        tmp_path, (("lora", str(tmp_path / "loras")),), join_secret="sq_join_" + "7" * 64, low_priority=False
    )
    with caplog.at_level(logging.DEBUG), pytest.raises(HubUnreachableError) as raised:
        run(settings, once=True)
    everything = caplog.text + str(raised.value) + repr(raised.value.__dict__)
    assert identity.secret not in everything
    assert "7" * 64 not in everything
