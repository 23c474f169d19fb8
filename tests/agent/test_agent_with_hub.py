"""The agent and the real hub over HTTP: what a person does to the files is what the hub shows."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stablequeue_client.agent.heartbeat import HeartbeatLoop
from stablequeue_client.agent.main import run, scan_only
from stablequeue_client.clock import SYSTEM_CLOCK
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.identity import load_identity
from stablequeue_client.hub_client.link import HubLink
from stablequeue_client.hub_client.membership import OtherHubError
from stablequeue_client.index.index import open_index
from stablequeue_client.index.inventory import sync_request
from stablequeue_client.shared.errors import (
    AlreadyRunningError,
    AuthenticationError,
    ForgottenServerError,
    HubUnreachableError,
    ServerFrozenError,
    UsageError,
)
from stablequeue_client.shared.wire.inventory import Activity

from .real_hub import (
    QUIET_S,
    RealHub,
    as_ready,
    index_rows,
    model_bytes,
    on_disk,
    run_once,
    running_agent,
    settings_for,
    until,
    write_model,
)

pytest.importorskip("fastapi", reason="the hub is not installed here")


def copy_database(source: Path, target: Path) -> None:
    """A consistent copy of an SQLite file, over whatever was at ``target``."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{target}{suffix}").unlink(missing_ok=True)
    with sqlite3.connect(source) as live, sqlite3.connect(target) as copy:
        live.backup(copy)
    live.close()
    copy.close()


def test_once_reads_everything_tells_the_hub_and_waits_for_fresh_files(
    real_hub: RealHub, tmp_path: Path
) -> None:
    loras, data = tmp_path / "loras", tmp_path / "data"
    for number in range(4):
        write_model(loras / "sub" / f"m{number}.safetensors", 20_000 + number, number)
    assert run_once(real_hub, data, loras, clock=SYSTEM_CLOCK) == 0
    assert real_hub.rows() == as_ready(on_disk(loras))
    server = real_hub.server()
    assert server["alias"] == "box"
    assert server["reachable"]
    identity = load_identity(data)
    assert identity is not None
    assert identity.server_id == server["server_id"]
    if os.name == "posix":
        assert (data / "server.json").stat().st_mode & 0o777 == 0o600
    metadata = real_hub.admin().model(next(iter(on_disk(loras).values())))
    assert "model" in str(metadata)


def test_broken_files_end_with_code_three_and_the_rest_is_told(real_hub: RealHub, tmp_path: Path) -> None:
    loras = tmp_path / "loras"
    sha256 = write_model(loras / "good.safetensors", 5_000, 1)
    (loras / "cut.safetensors").write_bytes(model_bytes(9_000, 2)[:-100])
    assert run_once(real_hub, tmp_path / "data", loras) == 3
    rows = real_hub.rows()
    assert rows["good.safetensors"] == ("ready", sha256)
    assert rows["cut.safetensors"] == ("corrupt", None)


def test_a_wrong_join_key_is_refused_and_no_hub_is_told_as_such(real_hub: RealHub, tmp_path: Path) -> None:
    loras = tmp_path / "loras"
    loras.mkdir()
    settings = settings_for(real_hub, tmp_path / "data", loras)
    with pytest.raises(AuthenticationError):
        run(replace(settings, join_secret="sq_nobody_" + "0" * 64), once=True)
    with pytest.raises(UsageError, match="not joined"):
        run(replace(settings, join_secret=None), once=True)
    assert run(settings, once=True) == 0
    real_hub.kill()
    with pytest.raises(HubUnreachableError):
        run(settings, once=True)


def test_another_hub_at_the_same_address_gets_nothing(real_hub: RealHub, tmp_path: Path) -> None:
    loras, data = tmp_path / "loras", tmp_path / "data"
    write_model(loras / "a.safetensors", 1_000, 1)
    run_once(real_hub, data, loras)
    real_hub.kill()
    shutil.rmtree(real_hub.data)
    real_hub.start()
    with pytest.raises(OtherHubError):
        run_once(real_hub, data, loras)
    assert real_hub.admin().servers() == []
    assert run(replace(settings_for(real_hub, data, loras), join_secret=real_hub.join_key()), once=True) == 0
    assert real_hub.rows() == as_ready(on_disk(loras))


def test_a_wrong_address_is_given_up_with_its_setting_and_a_new_one_is_kept(
    real_hub: RealHub, tmp_path: Path
) -> None:
    loras, data = tmp_path / "loras", tmp_path / "data"
    write_model(loras / "a.safetensors", 1_000, 1)
    run_once(real_hub, data, loras)
    settings = settings_for(real_hub, data, loras)
    with pytest.raises(HubUnreachableError):
        run(replace(settings, hub_url="http://127.0.0.1:1", join_secret=None), once=True)
    assert run(replace(settings, hub_url=None, join_secret=None), once=True) == 0
    moved = real_hub.url.replace("127.0.0.1", "localhost")
    assert run(replace(settings, hub_url=moved, join_secret=None), once=True) == 0
    assert run(replace(settings, hub_url=None, join_secret=None), once=True) == 0
    identity = load_identity(data)
    assert identity is not None
    assert identity.hub_url == moved


def test_a_server_that_the_hub_forgot_comes_back_with_a_join_key(real_hub: RealHub, tmp_path: Path) -> None:
    loras, data = tmp_path / "loras", tmp_path / "data"
    write_model(loras / "a.safetensors", 1_000, 1)
    run_once(real_hub, data, loras)
    real_hub.admin().forget_server(real_hub.server()["server_id"])
    with pytest.raises(ForgottenServerError, match="--join"):
        run_once(real_hub, data, loras)
    again = replace(settings_for(real_hub, data, loras), join_secret=real_hub.join_key())
    assert run(again, once=True) == 0
    assert real_hub.rows() == as_ready(on_disk(loras))


def test_two_agents_on_one_data_folder_are_one_too_many(real_hub: RealHub, tmp_path: Path) -> None:
    loras = tmp_path / "loras"
    loras.mkdir()
    settings = settings_for(real_hub, tmp_path / "data", loras)
    with running_agent(settings):
        until(lambda: (tmp_path / "data" / "index.sqlite").exists(), 20, "the agent to start")
        with pytest.raises(AlreadyRunningError):
            scan_only(settings)


@pytest.mark.slow
def test_the_page_follows_what_happens_to_files_also_over_a_restart_of_the_hub(
    real_hub: RealHub, tmp_path: Path
) -> None:
    loras, data = tmp_path / "loras", tmp_path / "data"
    write_model(loras / "old.safetensors", 50_000, 0)
    assert run_once(real_hub, data, loras) == 0
    with running_agent(settings_for(real_hub, data, loras)):
        server_id = real_hub.server()["server_id"]
        until(lambda: real_hub.server()["reachable"], 20, "the first heartbeat")
        time.sleep(1)

        sha256 = write_model(loras / "sub" / "new.safetensors", 30_000, 1)
        # Told by an event: the walk comes every hour.
        until(lambda: real_hub.rows().get("sub/new.safetensors") == ("ready", sha256), 30, "a new file")

        os.rename(loras / "sub" / "new.safetensors", loras / "moved.safetensors")
        until(
            lambda: real_hub.rows().get("moved.safetensors") == ("ready", sha256)
            and "sub/new.safetensors" not in real_hub.rows(),
            15, "a rename",
        )  # fmt: skip

        real_hub.kill()
        sha256 = write_model(loras / "old.safetensors", 60_000, 7)
        (loras / "moved.safetensors").unlink()
        time.sleep(QUIET_S + 2)
        real_hub.start()
        expected = {"old.safetensors": ("ready", sha256)}
        until(lambda: real_hub.rows() == expected, 40, "what happened while the hub was away")

        whole, broken = loras / "whole.safetensors.corrupted", loras / "broken.safetensors.corrupted"
        whole.write_bytes(model_bytes(4_000, 3))
        broken.write_bytes(model_bytes(4_000, 4)[:-10])
        names = {path.name for path in (whole, broken)}
        until(lambda: names <= set(real_hub.rows()), 20, "set-aside files")
        root_id = real_hub.server()["roots"][0]["root_id"]
        for name in sorted(names):
            real_hub.admin().send_order(server_id, {"kind": "put_back", "root": root_id, "path": name})
        until(
            lambda: real_hub.rows().get("whole.safetensors", ("", ""))[0] == "ready", 40, "the put-back file"
        )
        assert broken.exists()
        assert not whole.exists()
        until(lambda: "cut off" in _reason(data, broken.name), 20, "the reason of the other")


def _reason(data: Path, path: str) -> str:
    index = open_index(data)
    try:
        return next(row.reason for row in index.rows() if row.path == path)
    finally:
        index.close()


@pytest.mark.fault
def test_an_index_set_back_to_yesterday_heals_by_itself(real_hub: RealHub, tmp_path: Path) -> None:
    loras, data = tmp_path / "loras", tmp_path / "data"
    for number in range(3):
        write_model(loras / f"m{number}.safetensors", 3_000, number)
    run_once(real_hub, data, loras)
    copy_database(data / "index.sqlite", tmp_path / "yesterday.sqlite")
    (loras / "m0.safetensors").unlink()
    write_model(loras / "m3.safetensors", 3_000, 3)
    run_once(real_hub, data, loras)
    copy_database(tmp_path / "yesterday.sqlite", data / "index.sqlite")
    os.chmod(data / "index.sqlite", 0o600)
    write_model(loras / "m4.safetensors", 3_000, 4)
    assert run_once(real_hub, data, loras) == 0
    assert real_hub.rows() == index_rows(data) == as_ready(on_disk(loras))


@pytest.mark.fault
def test_a_hub_set_back_to_yesterday_heals_by_itself(real_hub: RealHub, tmp_path: Path) -> None:
    loras, data = tmp_path / "loras", tmp_path / "data"
    for number in range(3):
        write_model(loras / f"m{number}.safetensors", 3_000, number)
    run_once(real_hub, data, loras)
    copy_database(real_hub.database, tmp_path / "yesterday.sqlite")
    (loras / "m0.safetensors").unlink()
    write_model(loras / "m3.safetensors", 3_000, 3)
    run_once(real_hub, data, loras)
    real_hub.kill()
    copy_database(tmp_path / "yesterday.sqlite", real_hub.database)
    real_hub.start()
    assert len(real_hub.rows()) == 3
    with running_agent(settings_for(real_hub, data, loras)):
        until(lambda: real_hub.rows() == as_ready(on_disk(loras)), 30, "the hub to be told again")


@pytest.mark.fault
def test_a_damaged_index_is_rebuilt_and_the_hub_agrees(real_hub: RealHub, tmp_path: Path) -> None:
    loras, data = tmp_path / "loras", tmp_path / "data"
    for number in range(3):
        write_model(loras / f"m{number}.safetensors", 3_000, number)
    run_once(real_hub, data, loras)
    raw = bytearray((data / "index.sqlite").read_bytes())
    raw[100:400] = b"\xaa" * 300
    (data / "index.sqlite").write_bytes(raw)
    assert run_once(real_hub, data, loras) == 0
    assert real_hub.rows() == index_rows(data) == as_ready(on_disk(loras))


@pytest.mark.fault
def test_two_agents_with_one_identity_are_found_out_within_two_heartbeats_and_mix_nothing(
    real_hub: RealHub, tmp_path: Path
) -> None:
    loras, clone = tmp_path / "loras", tmp_path / "clone"
    write_model(loras / "a.safetensors", 2_000, 1)
    run_once(real_hub, tmp_path / "data", loras)
    before = real_hub.rows()
    clone.mkdir()
    shutil.copy(tmp_path / "data" / "server.json", clone)
    identity = load_identity(clone)
    assert identity is not None

    def beating(data: Path) -> HeartbeatLoop:
        index = open_index(data)
        here = index.position()
        said = (here.index_id, here.sequence, f"{here.digest:064x}", 0)
        index.close()
        return HeartbeatLoop(
            HubApi(real_hub.url, identity.key), identity.server_id, HubLink(SYSTEM_CLOCK),
            joined=lambda: True, inventory=lambda: said, activity=Activity,
            take_orders=lambda orders: None, wanted=lambda mode: None,
            clock=SYSTEM_CLOCK, stop=threading.Event(),
        )  # fmt: skip

    first, second = beating(tmp_path / "data"), beating(clone)
    first.beat()
    second.beat()
    for _ in range(2):
        first.beat()
        second.beat()
    assert first.frozen is not None
    assert second.frozen is not None
    assert "new identity" in second.frozen.remedy
    index = open_index(clone)
    with pytest.raises(ServerFrozenError):
        HubApi(real_hub.url, identity.key).sync(identity.server_id, sync_request(index.full()))
    index.close()
    assert real_hub.rows() == before


def test_what_a_sidecar_says_is_told_before_the_file_is_read_and_finds_the_model(
    real_hub: RealHub, tmp_path: Path
) -> None:
    """A claim points at a model that another server has, and never makes the file count as that model."""
    sha256 = write_model(tmp_path / "there" / "m.safetensors", 30_000, 1)
    assert run_once(real_hub, tmp_path / "first", tmp_path / "there") == 0
    here = tmp_path / "here"
    write_model(here / "other name.safetensors", 30_000, 2)
    (here / "other name.sha256").write_text(f"{sha256}  *other name.safetensors\n")
    with running_agent(settings_for(real_hub, tmp_path / "second", here, hashing="later")):

        def words() -> dict[str, str]:
            answer = real_hub.admin().availability(sha256)
            return {str(server["alias"]): str(server["availability"]) for server in answer["servers"]}

        until(lambda: words().get("box-2") == "unhashed", 25, "the claim to arrive")
        assert set(words()) == {"box", "box-2"}
        assert real_hub.rows()["other name.safetensors"] == ("unhashed", None)
