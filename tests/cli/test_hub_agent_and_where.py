"""``hub``, ``keys``, ``agent``, ``where``: the forms that scripts use, and what failures are told."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

CONTENT = b"\x80\x02" + b"not really a model" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "sd").mkdir()
    (tmp_path / "sd" / "tiny.ckpt").write_bytes(CONTENT)
    return tmp_path / "sd"


@pytest.fixture
def hub(start: Callable[..., Any], tmp_path: Path, free_port: int) -> str:
    """A running hub's address; its data is in ``tmp_path / hub``."""
    running = start("hub", "--data", str(tmp_path / "hub"), "--port", str(free_port))
    running.wait_for((tmp_path / "hub" / "hub.json").exists)
    return f"http://127.0.0.1:{free_port}"


def make_key(commands: Any, tmp_path: Path, scope: str) -> str:
    done = commands.run("keys", "create", "--data", str(tmp_path / "hub"), "--scope", scope, "--json")
    assert done.code == 0, done.err
    key: str = done.json["key"]
    return key


def test_an_agent_joins_once_and_its_models_are_found_by_hash_and_name(
    commands: Any, tmp_path: Path, models: Path, hub: str
) -> None:
    join_file = tmp_path / "join.key"
    join_file.write_text(make_key(commands, tmp_path, "join") + "\n")
    words = ("agent", "--hub", hub, "--alias", "forge-b", "--checkpoints", str(models))
    data = ("--data", str(tmp_path / "agent"))
    done = commands.run(*words, *data, "--join", f"@{join_file}", "--once")
    assert done.code == 0, done.err
    assert done.err.splitlines()[:2] == [f"Joined the hub at {hub} as forge-b.", "Files: 1 new, to be read."]
    assert stat.S_IMODE(os.stat(tmp_path / "agent" / "server.json").st_mode) == 0o600
    again = commands.run("agent", "--checkpoints", str(models), *data, "--once", "--json")
    assert (again.code, again.err) == (0, "")
    assert [file["sha256"] for file in again.json["files"]] == [SHA256]

    view = make_key(commands, tmp_path, "view")
    for wanted in (SHA256, SHA256[:10].upper(), f"0x{SHA256[:10]}", "tiny.ckpt"):
        found = commands.run("where", wanted, "--hub", hub, "--key", view, "--json")
        assert found.code == 0, (wanted, found.err)
        assert [server["alias"] for server in found.json["servers"]] == ["forge-b"]
    shown = commands.run("where", SHA256, env={"STABLEQUEUE_HUB": hub, "STABLEQUEUE_KEY": view})
    assert "forge-b" in shown.out
    assert "tiny.ckpt" in shown.out
    missing = commands.run("where", "0" * 64, "--hub", hub, "--key", view)
    assert missing.code == 1

    status = commands.run("status", *data, "--json").json
    assert (status["hub"]["answers"], status["hub"]["server"]["alias"]) == (True, "forge-b")
    assert status["refused"] == {"jobs": [], "results": []}
    listed = commands.run("keys", "list", "--data", str(tmp_path / "hub")).out
    assert "server forge-b" in listed
    forget = ("servers", "forget", "FORGE-B", "--hub", hub)
    refused = commands.run(*forget, "--key", view, "--yes")
    assert refused.code == 5, refused.err
    unasked = commands.run(*forget, "--data", str(tmp_path / "hub"))
    assert (unasked.code, "--yes" in unasked.err) == (2, True)
    forgotten = commands.run(*forget, "--yes", "--data", str(tmp_path / "hub"))
    assert forgotten.code == 0, forgotten.err
    assert commands.run("servers", "list", "--data", str(tmp_path / "hub"), "--json").json == []


def test_keys_are_created_listed_and_revoked_while_the_hub_runs(
    commands: Any, tmp_path: Path, hub: str
) -> None:
    view = make_key(commands, tmp_path, "view")
    data = ("--data", str(tmp_path / "hub"))
    assert commands.run("servers", "list", "--hub", hub, "--key", view, "--json").code == 0
    listed = commands.run("keys", "list", *data, "--json").json["keys"]
    assert view.split("_")[2] not in json.dumps(listed)
    assert {"view", "admin"} <= {key["scope"] for key in listed}
    assert commands.run("keys", "revoke", view.split("_")[1], *data).code == 0

    def refused() -> bool:
        return bool(commands.run("servers", "list", "--hub", hub, "--key", view).code == 5)

    assert any(refused() for _ in range(20))


def test_a_wrong_key_is_refused_and_stands_in_no_message(commands: Any, hub: str) -> None:
    wrong = "sq_0123456789abcdef_" + "5ec4e7" * 10 + "abcd"
    done = commands.run("where", "x", "--hub", hub, "--key", wrong)
    assert done.code == 5
    assert wrong not in done.err + done.out
    assert "5ec4e7" not in done.err + done.out


def test_a_hub_that_is_not_there_is_told(commands: Any, free_port: int) -> None:
    done = commands.run("where", "x", "--hub", f"http://127.0.0.1:{free_port}", "--key", "k", "--json")
    assert done.code == 4
    assert str(free_port) in done.json["error"]["message"]


@pytest.fixture
def web_server() -> Iterator[str]:
    """Something that answers HTML to everything."""

    class Html(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<html>Please sign in to the guest network</html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Html)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_page_that_is_no_hub_is_told_and_gets_no_key(
    commands: Any, tmp_path: Path, models: Path, web_server: str
) -> None:
    where = commands.run("where", "x", "--hub", web_server, "--key", "k")
    assert where.code == 4
    assert "not a hub" in where.err
    words = (
        "agent",
        "--hub",
        web_server,
        "--join",
        "k",
        "--alias",
        "a",
        "--checkpoints",
        str(models),
        "--once",
    )
    agent = commands.run(*words, "--data", str(tmp_path / "agent"))
    assert agent.code == 4
    assert "not a hub" in agent.err


def test_without_a_known_hub_or_key_it_says_what_to_give(commands: Any, tmp_path: Path) -> None:
    nothing = commands.run("where", "x", "--data", str(tmp_path / "d"))
    assert (nothing.code, "--hub URL" in nothing.err) == (2, True)
    keyless = commands.run("where", "x", "--data", str(tmp_path / "d"), "--hub", "http://127.0.0.1:9")
    assert (keyless.code, "--key" in keyless.err) == (2, True)


def test_a_key_file_that_is_not_there_is_named(commands: Any, tmp_path: Path) -> None:
    done = commands.run("where", "x", "--hub", "http://127.0.0.1:9", "--key", f"@{tmp_path / 'none'}")
    assert done.code == 2
    assert str(tmp_path / "none") in done.err


def test_orders_without_a_running_agent_are_refused_with_the_remedy(
    commands: Any, tmp_path: Path, models: Path
) -> None:
    data = ("--data", str(tmp_path / "d"))
    assert commands.run("sync", *data).code == 1
    commands.run("scan", "--checkpoints", str(models), *data)
    for order in (("sync",), ("pause",), ("resume",)):
        done = commands.run(*order, *data)
        assert done.code == 1
        assert re.search(r"stablequeue(_client)? up`", done.err)
    assert commands.run("pause", "soon", *data).code == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_hub_ends_with_the_command_that_started_it(
    start: Callable[..., Any], tmp_path: Path, free_port: int, number: signal.Signals
) -> None:
    running = start("hub", "--data", str(tmp_path / "hub"), "--port", str(free_port))
    running.wait_for((tmp_path / "hub" / "hub.json").exists)
    (child,) = psutil.Process(running.process.pid).children()
    ended = running.end(number)
    assert ended == (-number if number == signal.SIGKILL else 0)
    _, alive = psutil.wait_procs([child], 20)
    assert alive == []


def test_status_says_what_was_refused_on_its_way_to_the_hub(commands: Any, tmp_path: Path) -> None:
    (tmp_path / "queued").mkdir()
    (tmp_path / "queued" / f"{1:013d}-{'a' * 32}.refused").write_text("No such sampler.")
    aside = tmp_path / "results" / "0f3a-7.refused"
    aside.mkdir(parents=True)
    (aside / "reason.txt").write_text("A proxy refused it as too large (413).")
    shown = commands.run("status", "--data", str(tmp_path)).out
    assert "A job queued here was refused: No such sampler." in shown
    assert f"refused: A proxy refused it as too large (413). They lie in {aside}." in shown


HIDE_HUB = """
import importlib.machinery, sys

class Hidden(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in {"fastapi", "alembic"} else super().find_spec(name, path, target)

plain = importlib.machinery.PathFinder
sys.meta_path[:] = [Hidden if finder is plain else finder for finder in sys.meta_path]
from stablequeue_client.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("words", [("hub",), ("keys", "list"), ("up", "--demo")], ids=" ".join)
def test_without_the_hub_extra_one_sentence_names_the_remedy(tmp_path: Path, words: tuple[str, ...]) -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", HIDE_HUB, *words, "--data", str(tmp_path / "d")],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "alembic, fastapi" in done.stderr
    assert "pip install '.[hub]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "d").exists()
