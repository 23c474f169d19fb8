import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from stablequeue_client.shared.views import assets

from ..samples.preview import PreviewServer
from ..samples.samples import SAMPLES


@pytest.fixture
def preview() -> Iterator[str]:
    server = PreviewServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.address
    server.shutdown()
    server.server_close()


def test_the_command_writes_every_state_as_a_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.samples.preview", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in tmp_path.glob("*.html")} == {*SAMPLES, "index"}
    assert (tmp_path / "static" / "style.css").is_file()
    assert 'href="./static/style.css"' in (tmp_path / "servers.html").read_text("utf-8")


def test_the_server_lists_and_shows_the_states(preview: str) -> None:
    with urllib.request.urlopen(f"{preview}/", timeout=10) as answer:
        assert answer.read().count(b"<li>") == len(SAMPLES)
    with urllib.request.urlopen(f"{preview}/servers/views/servers", timeout=10) as answer:
        fragment, tag = answer.read(), answer.headers["ETag"]
    assert b"<html" not in fragment
    again = urllib.request.Request(f"{preview}/servers/views/servers", headers={"If-None-Match": tag})
    with pytest.raises(urllib.error.HTTPError) as unchanged:
        urllib.request.urlopen(again, timeout=10)
    assert unchanged.value.code == 304


def test_what_does_not_exist_is_not_found(preview: str) -> None:
    for path in ("/nothing", "/servers/static/secret.txt", "/servers/views/nothing"):
        with pytest.raises(urllib.error.HTTPError) as missing:
            urllib.request.urlopen(preview + path, timeout=10)
        assert missing.value.code == 404


def test_every_asset_is_found_and_no_other_file() -> None:
    for name in assets.ASSETS:
        content, content_type = assets.asset(name) or (b"", "")
        assert content
        assert "/" in content_type
    assert assets.asset("../pyproject.toml") is None
