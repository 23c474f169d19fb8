"""A real hub in a process of its own, and a proxy before it that loses answers."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stablequeue_client.hub_client.api import HubApi

ROOT = Path(__file__).resolve().parents[2]


class Hub:
    """Answers at ``url`` until ``end``."""

    def __init__(self, data: Path) -> None:
        data.mkdir(parents=True)
        words = [sys.executable, "-m", "stablequeue_hub", "hub", "--data", str(data), "--port", "0"]
        self._data = data
        self._process = subprocess.Popen(
            words, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while not (data / "hub.json").exists():
            assert self._process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.url: str = json.loads((data / "hub.json").read_text())["url"]

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def api(self) -> HubApi:
        return HubApi(self.url, (self._data / "admin.key").read_text().strip())

    def code(self) -> str:
        return str(self.api().join_code()["key"])

    @contextmanager
    def answers_lost(self, lose: bool = True, url: str = "") -> Iterator[str]:
        """An address that passes all on to the hub, but hangs up instead of giving a join's answer."""
        target = self.url

        class Proxy(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._pass_on(None)

            def do_POST(self) -> None:
                self._pass_on(self.rfile.read(int(self.headers["Content-Length"])))

            def _pass_on(self, body: bytes | None) -> None:
                names = ("Authorization", "Content-Type")
                headers = {name: self.headers[name] for name in names if self.headers[name]}
                request = urllib.request.Request(target + self.path, body, headers)
                try:
                    with urllib.request.urlopen(request, timeout=10) as answer:
                        status, content = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    status, content = error.code, error.read()
                if lose and body is not None:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        port = int(url.rpartition(":")[2]) if url else 0
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Proxy)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
