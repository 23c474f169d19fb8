"""A real Chromium, the previews, and a real hub in a process of its own."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect, sync_playwright

from stablequeue_client.shared.wire import inventory

from ..free_ports import free_port
from ..samples.preview import PreviewServer

CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")  # no longer: Playwright's event loop would stand in the way of other tests
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium")
    if found is None:
        reason = "Chromium is not installed (apt install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    expect.set_options(timeout=20_000)  # a busy machine may take its time
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=CHROMIUM_OPTIONS)
        yield launched
        launched.close()


@dataclass
class Watched:
    """A page, and what went wrong on it."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    @property
    def scrolls_sideways(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))


OpenPage = Callable[..., Watched]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """``open_page(width, dark=False)``: a fresh page that notes console errors and refused content."""
    contexts = []

    def opened(width: int = 1280, *, dark: bool = False, script: str = "") -> Watched:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        watched = Watched(context.new_page())
        watched.page.set_default_timeout(15_000)
        if script:
            watched.page.add_init_script(script)
        watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        watched.page.on(
            "console",
            lambda message: (
                watched.complaints.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        return watched

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def preview() -> Iterator[str]:
    server = PreviewServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.address
    server.shutdown()
    server.server_close()


@dataclass
class SyncedServer:
    """A server as its agent would keep it: joins, sends full inventories and heartbeats."""

    hub: HubProcess
    alias: str
    server_id: str = field(default_factory=lambda: secrets.token_hex(16))
    secret: str = field(default_factory=lambda: secrets.token_hex(32))
    boot_id: str = field(default_factory=lambda: secrets.token_hex(8))
    counter: int = 0
    sequence: int = 0
    digest: str = "0" * 64
    index_id: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer sq_{self.server_id}_{self.secret}"}

    def join(self) -> None:
        body = {"server_id": self.server_id, "secret": self.secret, "alias": self.alias}
        self.hub.ask("POST", "/api/v1/servers/join", json=body)

    def sync(self, files: list[inventory.FileEntry], roots: list[inventory.RootEntry]) -> None:
        """Everything, under a new index id, so that each call may replace the one before."""
        entries = [inventory.entry_dict(entry) for entry in (*roots, *files)]
        self.sequence, self.index_id = self.sequence + 1, secrets.token_hex(8)
        self.digest = inventory.digest_hex(inventory.digest_sum(map(inventory.row_digest, entries)))
        body = {
            "protocol": inventory.PROTOCOL_MAX,
            "index_id": self.index_id,
            "mode": "full",
            "base_sequence": 0,
            "sequence": self.sequence,
            "digest": self.digest,
            "roots": entries[: len(roots)],
            "upserts": entries[len(roots) :],
        }
        self.hub.ask(
            "POST",
            f"/api/v1/servers/{self.server_id}/models/sync",
            data=gzip.compress(json.dumps(body).encode()),
            headers={**self.headers, "Content-Encoding": "gzip", "Content-Type": "application/json"},
        )

    def beat(self, **activity: Any) -> dict[str, Any]:
        self.counter += 1
        body = {
            "boot_id": self.boot_id,
            "boot_counter": self.counter,
            "index_id": self.index_id,
            "sequence": self.sequence,
            "digest": self.digest,
            "activity": activity,
        }
        path = f"/api/v1/servers/{self.server_id}/heartbeat"
        answer: dict[str, Any] = self.hub.ask("POST", path, json=body, headers=self.headers).json()
        return answer


@dataclass
class HubProcess:
    """``python -m stablequeue_hub hub`` with an admin key."""

    data: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    key: str = ""
    words: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "stablequeue_hub", "hub", "--data", str(self.data)]
        log = (self.data.parent / "hub.log").open("ab")
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), *self.words], stdout=log, stderr=log
        )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                if requests.get(f"{self.url}/healthz", timeout=5).ok:
                    return
            except (requests.ConnectionError, requests.Timeout):
                time.sleep(0.1)
        pytest.fail((self.data.parent / "hub.log").read_text())

    def make_key(self, scope: str = "admin") -> str:
        command = [sys.executable, "-m", "stablequeue_hub", "keys", "create", "--data", str(self.data)]
        done = subprocess.run(
            [*command, "--scope", scope, "--json"], capture_output=True, check=True, timeout=60
        )
        return str(json.loads(done.stdout)["key"])

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        answer = requests.request(method, self.url + path, headers=headers, timeout=30, **options)
        assert answer.ok, (path, answer.status_code, answer.text)
        return answer

    def server(self, alias: str) -> SyncedServer:
        joined = SyncedServer(self, alias)
        joined.join()
        return joined

    def sign_in(self, page: Page) -> None:
        code = self.ask("POST", "/api/v1/session-codes").json()["code"]
        page.goto(f"{self.url}/login?code={code}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    process = HubProcess(tmp_path / "data", free_port())
    process.start()
    process.key = (process.data / "admin.key").read_text().strip()
    yield process
    process.stop()
