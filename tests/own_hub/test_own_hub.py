"""The hub of this computer, with real environments and real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.join import join
from stablequeue_client.own_hub import OwnHub, OwnHubStatus
from stablequeue_client.own_hub.environments import EnvironmentRecord, Environments, read_source
from stablequeue_client.shared.errors import ConflictError, HubUnreachableError

from ..free_ports import free_port
from .making import ROOT, Made, settled

pytestmark = pytest.mark.slow


def process_of(machine_dir: Path) -> psutil.Process:
    return psutil.Process(json.loads((machine_dir / "hub.json").read_text())["pid"])


def version_of(machine_dir: Path) -> str:
    """Of the environment that the running hub was started from."""
    found = Environments(machine_dir).current()
    assert found is not None
    return found.version


def listed(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with size and time, except what Python caches."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def newer_environment(made: Made, version: str, *, main: str | None = None) -> None:
    """As after an update of the extension, with the packages fetched. ``main``: what its hub does instead."""
    (made.checkout / "pyproject.toml").write_text(
        (made.checkout / "pyproject.toml").read_text().replace('version = "0.1.0"', f'version = "{version}"')
    )
    environments = Environments(made.machine_dir)
    before = environments.current()
    assert before is not None
    after = read_source(made.checkout).made(before.python)
    assert after.version == version
    shutil.copytree(environments.path(before), environments.path(after))
    if main is not None:
        (environments.path(after) / "stablequeue_hub" / "__main__.py").write_text(main)
    (environments.path(after) / "environment.json").write_bytes(msgspec.json.encode(after))


# --- made from nothing ------------------------------------------------------------------------------------


def test_the_button_makes_a_hub_with_a_python_that_has_neither_venv_nor_the_hubs_packages(
    made_once: Made, host_python: Path
) -> None:
    steps = [(status.phase, status.done) for status in made_once.statuses]
    assert [phase for phase, _ in steps if phase == "building"]
    assert [done for _, done in steps[:-1]] == sorted(done for _, done in steps[:-1])
    assert len({done for _, done in steps}) > 5
    last = made_once.statuses[-1]
    assert (last.phase, last.error, last.wanted, last.started_elsewhere) == ("running", None, True, False)
    assert any(status.step.startswith("Fetching ") for status in made_once.statuses)


@pytest.mark.parametrize("flags", [["-I", "-S"], []], ids=["as it is started", "where -S does nothing"])
def test_everything_the_hub_imports_comes_from_its_environment(
    made: Made, host_python: Path, flags: list[str]
) -> None:
    environments = Environments(made.machine_dir)
    current = environments.current()
    assert current is not None
    program = (
        "import json, runpy, sys; before = set(sys.modules)\n"
        "runpy.run_path(sys.argv[1], run_name='starter')['use_only'](sys.argv[2])\n"
        "import stablequeue_hub.process.server\n"
        "new = [module for name, module in list(sys.modules.items()) if name not in before]\n"
        "print(json.dumps([m.__file__ for m in new if getattr(m, '__file__', None)]))\n"
    )
    words = [str(host_python), *flags, "-c", program, str(environments.starter)]
    said = subprocess.check_output([*words, str(environments.path(current))], text=True)
    packages = [path for path in json.loads(said) if "lib/python" not in path or "site-packages" in path]
    assert len(packages) > 100
    assert [path for path in packages if not path.startswith(str(environments.folder))] == []


def test_nothing_of_the_host_is_changed(host_python: Path, made: Made, hub: OwnHub) -> None:
    packages = next((host_python.parents[1] / "lib").glob("python*/site-packages"))
    before = listed(packages)
    hub.start()
    assert settled(hub).phase == "running"
    hub.stop()
    assert listed(packages) == before


# --- running ----------------------------------------------------------------------------------------------


def test_the_hub_lives_on_when_the_webui_is_killed_and_is_found_again(made: Made, host_python: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from stablequeue_client.own_hub import OwnHub\n"
        "hub = OwnHub(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], first_port=int(sys.argv[4]))\n"
        "hub.start()\n"
        "while hub.status().phase != 'running': time.sleep(0.1)\n"
        "print('runs', flush=True); time.sleep(600)\n"
    )
    words = [sys.executable, "-c", program, str(made.machine_dir), str(made.checkout), str(host_python)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    webui = subprocess.Popen(
        [*words, str(free_port())], stdout=subprocess.PIPE, env=environment, start_new_session=True
    )
    assert webui.stdout is not None
    assert webui.stdout.readline() == b"runs\n"
    child = process_of(made.machine_dir)
    os.killpg(webui.pid, signal.SIGKILL)
    webui.wait()

    after = OwnHub(made.machine_dir, made.checkout, str(host_python))
    after.ensure_running()
    status = settled(after)
    assert status.phase == "running"
    assert process_of(made.machine_dir) == child
    assert HubApi(status.url).health().hub_id == status.hub_id


def test_a_hub_that_was_killed_is_started_again_on_its_port(made: Made, hub: OwnHub) -> None:
    hub.start()
    url = settled(hub).url
    process_of(made.machine_dir).kill()
    assert_soon(lambda: hub.status().phase == "stopped")
    hub.ensure_running()
    assert settled(hub).url == url


def test_the_webui_that_runs_starts_a_killed_hub_again_and_says_so_meanwhile(made: Made, hub: OwnHub) -> None:
    hub.start()
    url = settled(hub).url
    assert hub.trouble() == ""
    process_of(made.machine_dir).kill()
    assert_soon(lambda: hub.trouble() == "The hub of this computer is down and is being started again")
    told: list[str] = []

    def runs_again() -> bool:
        hub.keep_running(lambda api: told.append(api.base_url))
        return bool(told)

    assert_soon(runs_again)
    assert settled(hub).url == url
    assert (told, hub.trouble()) == ([url], "")


def test_a_hub_that_a_person_stopped_is_not_started_again(made: Made, hub: OwnHub) -> None:
    hub.start()
    settled(hub)
    other = OwnHub(made.machine_dir, made.checkout, sys.executable)
    other.stop()
    end = time.monotonic() + 3.0
    while time.monotonic() < end:
        hub.keep_running(lambda _: None)
        time.sleep(0.1)
    assert hub.status().phase == "stopped"
    assert hub.trouble() == ""


def test_what_an_update_left_whose_webui_was_killed_goes_at_the_next_start(made: Made, hub: OwnHub) -> None:
    hub.start()
    settled(hub)
    left = [made.machine_dir / f"hub.sqlite.before-update{ending}" for ending in ("", "-journal")]
    for path in left:
        path.write_bytes(b"x")
    hub.ensure_running()
    settled(hub)
    assert [path.name for path in left if path.exists()] == []


def test_a_hub_that_hangs_is_replaced_at_the_next_start(made: Made, hub: OwnHub, host_python: Path) -> None:
    hub.start()
    settled(hub)
    hanging = process_of(made.machine_dir)
    hanging.suspend()
    after = OwnHub(made.machine_dir, made.checkout, str(host_python))
    after.ensure_running()
    status = settled(after)
    assert (status.phase, status.error) == ("running", None)
    assert process_of(made.machine_dir) != hanging


def test_a_hub_that_was_stopped_stays_stopped_at_the_next_start(made: Made, hub: OwnHub) -> None:
    hub.start()
    settled(hub)
    hub.stop()
    assert not hub.status().wanted
    hub.ensure_running()
    time.sleep(0.3)
    assert hub.status().phase == "stopped"
    with pytest.raises(HubUnreachableError):
        hub.join_code()


def test_a_hub_that_another_webui_started_is_stopped_at_once(made: Made, hub: OwnHub) -> None:
    hub.start()
    settled(hub)
    words = "import sys, pathlib; from stablequeue_client.own_hub import OwnHub; "
    words += "path = pathlib.Path(sys.argv[1]); OwnHub(path, path, sys.executable).stop()"
    # This process stays its parent and takes no note of its end, as a WebUI that lives on.
    subprocess.run([sys.executable, "-c", words, str(made.machine_dir)], cwd=ROOT, check=True, timeout=60)
    assert hub.status().phase == "stopped"


def test_a_webui_joins_the_hub_it_has_started(made: Made, hub: OwnHub, tmp_path: Path) -> None:
    joined = []

    def connect(api: HubApi) -> None:
        joined.append(join(tmp_path / "server", api.base_url, str(api.join_code()["key"]), "studio"))

    hub.start(connect)
    status = settled(hub)
    assert status.error is None
    assert joined[0].hub_id == status.hub_id
    assert [server["alias"] for server in hub.api().servers()] == ["studio"]


def test_a_hub_of_the_command_line_is_found_used_and_not_ended(made: Made, hub: OwnHub) -> None:
    words = ["-m", "stablequeue_hub", "hub", "--data", str(made.machine_dir), "--port", str(free_port())]
    other = subprocess.Popen([sys.executable, *words], env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        assert_soon(lambda: hub.status().phase == "running")
        hub.start()
        status = settled(hub)
        assert status.started_elsewhere
        assert process_of(made.machine_dir).pid == other.pid
        with pytest.raises(ConflictError, match="started by a `stablequeue` command"):
            hub.stop()
        with pytest.raises(ConflictError):
            hub.remove()
        assert other.poll() is None
    finally:
        other.terminate()
        other.wait(20)


def test_two_webuis_at_once_start_one_hub(made: Made, host_python: Path) -> None:
    port = free_port()
    both = [OwnHub(made.machine_dir, made.checkout, str(host_python), first_port=port) for _ in range(2)]
    for one in both:
        one.start()
    statuses = [settled(one) for one in both]
    assert [status.error for status in statuses] == [None, None]
    assert len({status.url for status in statuses}) == 1


def test_a_port_that_another_program_took_is_named(made: Made, hub: OwnHub) -> None:
    hub.start()
    port = int(settled(hub).url.rpartition(":")[2])
    hub.stop()
    with socket.create_server(("127.0.0.1", port)):
        hub.start()
        status = settled(hub)
    assert status.phase == "failed"
    assert f"port {port}" in str(status.error)


# --- updates ----------------------------------------------------------------------------------------------


def test_after_an_update_the_new_version_takes_over_and_the_old_one_is_deleted(
    made: Made, hub: OwnHub, checkout: Path
) -> None:
    made.checkout = checkout
    use_source(made, checkout)
    hub.start()
    before = settled(hub)
    newer_environment(made, "0.2.0")
    after_update = OwnHub(made.machine_dir, made.checkout, sys.executable)
    after_update.ensure_running()
    status = settled(after_update)
    assert (status.phase, status.error) == ("running", None)
    assert version_of(made.machine_dir) == "0.2.0"
    assert (status.url, status.hub_id) == (before.url, before.hub_id)
    folders = [path.name for path in (made.machine_dir / "hub-env").iterdir() if path.is_dir()]
    assert len(folders) == 1
    assert folders[0].startswith("0.2.0-")


SPOILS_AND_ENDS = """
import sqlite3, sys
path = sys.argv[sys.argv.index("--data") + 1] + "/hub.sqlite"
with sqlite3.connect(path) as connection:
    connection.execute("UPDATE alembic_version SET version_num = 'r9999'")
    connection.execute("DROP TABLE servers")
sys.exit("the new version is broken")
"""


def test_a_new_version_that_does_not_answer_is_taken_back_with_its_changes_to_the_database(
    made: Made, hub: OwnHub, checkout: Path
) -> None:
    use_source(made, checkout)
    made.checkout = checkout
    hub.start()
    before = settled(hub)
    newer_environment(made, "0.2.0", main=SPOILS_AND_ENDS)
    after_update = OwnHub(made.machine_dir, made.checkout, sys.executable)
    after_update.ensure_running()
    status = settled(after_update)
    assert status.phase == "running"
    assert "0.2.0 did not start, so 0.1.0 runs again" in str(status.error)
    assert "the new version is broken" in str(status.error)
    assert version_of(made.machine_dir) == "0.1.0"
    assert (status.url, status.hub_id) == (before.url, before.hub_id)
    assert after_update.api().servers() == []
    assert not list(made.machine_dir.glob("*.before-update"))


def cut_off_update(made: Made, main: str) -> None:
    """A switch to 0.2.0 whose WebUI was killed once the new hub had ended, before the way back."""
    newer_environment(made, "0.2.0", main=main)
    words = f"""
import os
from pathlib import Path
from stablequeue_client.own_hub import OwnHub, running
end = running.end
def killed(machine_dir, ended=[]):
    ended and os.kill(os.getpid(), 9)
    ended.append(end(machine_dir))
running.end = killed
hub = OwnHub(Path({str(made.machine_dir)!r}), Path({str(made.checkout)!r}), {sys.executable!r})
hub._ensure_running()
"""
    assert subprocess.run([sys.executable, "-c", words], cwd=ROOT, timeout=180).returncode == -signal.SIGKILL
    assert version_of(made.machine_dir) == "0.2.0"


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_a_new_version_that_does_not_answer_is_taken_back_also_after_the_webui_was_killed(
    made: Made, hub: OwnHub, checkout: Path
) -> None:
    use_source(made, checkout)
    made.checkout = checkout
    hub.start()
    before = settled(hub)
    cut_off_update(made, SPOILS_AND_ENDS)
    next_start = OwnHub(made.machine_dir, made.checkout, sys.executable)
    next_start.ensure_running()
    status = settled(next_start)
    assert status.phase == "running", status.error
    assert "0.2.0 did not start, so 0.1.0 runs again" in str(status.error)
    assert version_of(made.machine_dir) == "0.1.0"
    assert (status.url, status.hub_id) == (before.url, before.hub_id)
    assert next_start.api().servers() == []
    assert not list(made.machine_dir.glob("*.before-update"))
    assert not (made.machine_dir / "hub-env" / "former").exists()
    # What the new version did to the database may have been a day's work; it is not thrown away.
    assert "hub.sqlite.after-update" in str(status.error)
    with sqlite3.connect(made.machine_dir / "hub.sqlite.after-update") as kept:
        assert kept.execute("SELECT version_num FROM alembic_version").fetchall() == [("r9999",)]


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_after_a_killed_update_the_former_version_goes_on_with_the_database_as_it_is(
    made: Made, hub: OwnHub, checkout: Path
) -> None:
    use_source(made, checkout)
    made.checkout = checkout
    hub.start()
    settled(hub)
    cut_off_update(made, "import sys; sys.exit('the new version is broken')")
    with sqlite3.connect(made.machine_dir / "hub.sqlite") as database:
        database.execute("CREATE TABLE work_of_a_day (x)")
    next_start = OwnHub(made.machine_dir, made.checkout, sys.executable)
    next_start.ensure_running()
    assert settled(next_start).phase == "running"
    assert version_of(made.machine_dir) == "0.1.0"
    with sqlite3.connect(made.machine_dir / "hub.sqlite") as database:
        assert database.execute("SELECT * FROM work_of_a_day").fetchall() == []


def test_another_webuis_older_version_does_not_take_over(made: Made, hub: OwnHub, checkout: Path) -> None:
    hub.start()
    settled(hub)
    toml = checkout / "pyproject.toml"
    toml.write_text(toml.read_text().replace('version = "0.1.0"', 'version = "0.0.9"'))
    other = OwnHub(made.machine_dir, checkout, sys.executable)
    other.ensure_running()
    assert settled(other).error is None
    assert version_of(made.machine_dir) == "0.1.0"


def use_source(made: Made, checkout: Path) -> None:
    """Have the environment count as made from ``checkout``."""
    environments = Environments(made.machine_dir)
    current = environments.current()
    assert current is not None
    record = environments.path(current) / "environment.json"
    moved = EnvironmentRecord(current.version, current.digest, os.path.realpath(checkout), current.python)
    record.write_bytes(msgspec.json.encode(moved))


# --- removal ----------------------------------------------------------------------------------------------


def test_removal_deletes_what_is_the_hubs_and_keeps_what_agents_know(made: Made, hub: OwnHub) -> None:
    kept = ["index.sqlite", "digests.sqlite", "webuis/12345678/index.sqlite", "logs/agent.log"]
    for name in kept:
        (made.machine_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (made.machine_dir / name).write_text("kept")
    hub.start()
    settled(hub)
    process = process_of(made.machine_dir)
    hub.remove()
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    left = {
        path.relative_to(made.machine_dir).as_posix()
        for path in made.machine_dir.rglob("*")
        if path.is_file()
    }
    assert left == {*kept, "own_hub.lock"}
    assert hub.status() == OwnHubStatus()


def assert_soon(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")
