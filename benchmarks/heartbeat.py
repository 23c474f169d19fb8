"""P11: a heartbeat against a trivial endpoint, and heartbeats while ten servers send 10,000 files each.

Both servers are real uvicorn processes with the same settings; the load comes from this process over
keep-alive connections. Ratios of one run, rounds in shuffled order, medians. Exit code 1 on a miss.

    python benchmarks/heartbeat.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import json
import os
import random
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from stablequeue_client.shared.wire.inventory import (
    FileEntry,
    RootEntry,
    WireDigests,
    digest_hex,
    digest_sum,
    entry_dict,
    row_digest,
)

TRIVIAL = """
import sys, uvicorn
from typing import Any
from fastapi import FastAPI
app = FastAPI()
@app.post("/trivial")
async def trivial(body: dict[str, Any]) -> dict[str, bool]:
    return {"ok": True}
uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_config=None, server_header=False, ws="none",
            timeout_keep_alive=75)
"""
UNLIMITED = ("--requests-per-s", "0")  # one key asks as fast as it can
CONNECTIONS = 8
SERVERS = 20
PACE_S = 0.01
"""One heartbeat every 10 ms: what 1,000 servers would send."""


class Connection:
    """One keep-alive connection that sends prepared requests."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Status and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0] or 0)
        return int(head[9:12]), await reader.readexactly(length)


def post(path: str, body: bytes, key: str = "", gzipped: bool = False) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    lines += ["Content-Encoding: gzip"] if gzipped else []
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class BenchServer:
    """A joined server whose heartbeats can be made."""

    def __init__(self, number: int) -> None:
        self.server_id, self.secret = secrets.token_hex(16), secrets.token_hex(32)
        self.alias, self.boot_id, self.counter = f"bench-{number}", secrets.token_hex(8), 0

    @property
    def key(self) -> str:
        return f"sq_{self.server_id}_{self.secret}"

    async def join(self, connection: Connection, admin: str) -> None:
        body = msgspec.json.encode({"server_id": self.server_id, "secret": self.secret, "alias": self.alias})
        status, answer = await connection.send(post("/api/v1/servers/join", body, admin))
        assert status == 200, answer

    def beat(self) -> bytes:
        self.counter += 1
        body = {
            "boot_id": self.boot_id,
            "boot_counter": self.counter,
            "index_id": "c" * 32,
            "sequence": 12345,
            "digest": "d" * 64,
            "activity": {
                "phase": "hashing",
                "files_done": 3,
                "files_total": 9,
                "bytes_done": 5,
                "bytes_total": 9,
            },
        }
        return post(f"/api/v1/servers/{self.server_id}/heartbeat", msgspec.json.encode(body), self.key)

    def full_sync(self, rows: int) -> bytes:
        root = entry_dict(RootEntry("aaaaaaaa", "lora", "healthy"))
        salt = secrets.token_hex(4)
        entries = [entry_dict(_file(f"{self.alias}/{salt}/{n:05}")) for n in range(rows)]
        request = {
            "protocol": 1,
            "index_id": secrets.token_hex(16),
            "mode": "full",
            "base_sequence": 0,
            "sequence": rows,
            "digest": digest_hex(digest_sum(row_digest(entry) for entry in [root, *entries])),
            "roots": [root],
            "upserts": entries,
            "removals": [],
        }
        body = gzip.compress(msgspec.json.encode(request), 6)
        return post(f"/api/v1/servers/{self.server_id}/models/sync", body, self.key, gzipped=True)


def _file(name: str) -> FileEntry:
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    digests = WireDigests(sha256, hashlib.sha256(sha256.encode()).hexdigest(), sha256[:8], sha256[8:20])
    return FileEntry("aaaaaaaa", f"{name}.safetensors", "lora", 144_000_000, "ready", digests)


# --- the two processes ----------------------------------------------------------------------------------


def start_hub(data: Path) -> tuple[subprocess.Popen[bytes], int, str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "stablequeue_hub", "hub", "--data", str(data), "--port", "0", *UNLIMITED],
        stdout=subprocess.DEVNULL,
    )
    ready = data / "hub.json"
    give_up = time.monotonic() + 30
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > give_up:
            raise SystemExit("the hub does not start")
        time.sleep(0.02)
    return process, int(json.loads(ready.read_text())["port"]), (data / "admin.key").read_text().strip()


def start_trivial(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    script = folder / "trivial.py"
    script.write_text(TRIVIAL)
    port = random.randint(20_000, 40_000)
    return subprocess.Popen([sys.executable, str(script), str(port)]), port


async def wait_for(port: int) -> None:
    for _ in range(600):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise SystemExit(f"nothing answers on port {port}")


# --- measuring ------------------------------------------------------------------------------------------


async def throughput(port: int, make: Any, seconds: float) -> float:
    """Requests a second over CONNECTIONS connections."""
    done = 0
    end = time.perf_counter() + seconds

    async def one() -> None:
        nonlocal done
        connection = Connection(port)
        while time.perf_counter() < end:
            status, answer = await connection.send(make())
            assert status == 200, answer
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return done / (time.perf_counter() - started)


async def throughput_ratio(hub_port: int, trivial_port: int, server: BenchServer, rounds: int) -> list[float]:
    trivial_body = server.beat().partition(b"\r\n\r\n")[2]
    trivial = post("/trivial", trivial_body)
    ratios = []
    for _ in range(rounds + 1):  # the first warms up
        results = {}
        for name in random.sample(["hub", "trivial"], 2):
            port = hub_port if name == "hub" else trivial_port
            make = server.beat if name == "hub" else lambda: trivial
            results[name] = await throughput(port, make, 0.7)
        ratios.append(results["hub"] / results["trivial"])
    return ratios[1:]


async def paced_beats(port: int, servers: list[BenchServer], stop: asyncio.Event) -> list[float]:
    """Seconds each heartbeat took, sent at a fixed pace whatever the others take."""
    times: list[float] = []
    running: set[asyncio.Task[None]] = set()
    connections = {server.server_id: Connection(port) for server in servers}
    locks = {server.server_id: asyncio.Lock() for server in servers}

    async def one(server: BenchServer) -> None:
        due = time.perf_counter()
        async with locks[server.server_id]:
            status, answer = await connections[server.server_id].send(server.beat())
        assert status == 200, answer
        times.append(time.perf_counter() - due)

    number = 0
    while not stop.is_set():
        task = asyncio.create_task(one(servers[number % len(servers)]))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1
        await asyncio.sleep(PACE_S)
    await asyncio.gather(*running)
    return times


async def sync_until_done(port: int, request: bytes) -> int:
    """How often it was sent away with 429 before it was taken."""
    refused = 0
    connection = Connection(port)
    while True:
        status, answer = await connection.send(request)
        if status == 200:
            return refused
        assert status == 429, answer
        refused += 1
        await asyncio.sleep(msgspec.json.decode(answer)["error"]["details"]["retry_after_s"])


def p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]


async def latency(
    port: int, beating: list[BenchServer], syncing: list[BenchServer], rows: int, quiet_s: float
) -> tuple[float, float, int]:
    requests = [server.full_sync(rows) for server in syncing]
    quiet = await _beats_while(port, beating, asyncio.sleep(quiet_s))
    loaded = await _beats_while(port, beating, asyncio.gather(*(sync_until_done(port, r) for r in requests)))
    return p99(quiet), p99(loaded), len(loaded)


async def _beats_while(port: int, servers: list[BenchServer], work: Any) -> list[float]:
    stop = asyncio.Event()
    beats = asyncio.create_task(paced_beats(port, servers, stop))
    await work
    stop.set()
    return await beats


async def measure(hub_port: int, trivial_port: int, admin: str, quick: bool) -> bool:
    await wait_for(trivial_port)
    connection = Connection(hub_port)
    beating = [BenchServer(n) for n in range(SERVERS)]
    syncing = [BenchServer(100 + n) for n in range(3 if quick else 10)]
    for server in [*beating, *syncing]:
        await server.join(connection, admin)
    ratios = await throughput_ratio(hub_port, trivial_port, beating[0], 3 if quick else 7)
    rounds = [
        await latency(hub_port, beating, syncing, 2_000 if quick else 10_000, 2.0 if quick else 4.0)
        for _ in range(1 if quick else 3)
    ]
    loaded = statistics.median(busy for _, busy, _ in rounds)
    ratio = statistics.median(busy / quiet for quiet, busy, _ in rounds)
    rows = [
        ("P11", "heartbeat / trivial endpoint, throughput", statistics.median(ratios), ">= 0.45", None),
        ("P11", "p99 during full syncs / quiet p99", ratio, "<= 5", 5.0),
        ("P11", "p99 during full syncs, ms", loaded * 1000, "<= 250", 250.0),
    ]
    print(f"throughput ratios {' '.join(f'{r:.2f}' for r in ratios)}")
    for quiet, busy, count in rounds:
        print(f"p99 quiet {quiet * 1000:.1f} ms, during syncs {busy * 1000:.1f} ms of {count} heartbeats")
    good = True
    for name, what, value, aim, most in rows:
        ok = value >= 0.45 if most is None else value <= most
        good = good and ok
        print(f"{name:5} {what:45} {value:8.2f}  {aim:8} {'ok' if ok else 'MISS'}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder:
        hub, hub_port, admin = start_hub(Path(folder) / "hub")
        trivial, trivial_port = start_trivial(Path(folder))
        try:
            return 0 if asyncio.run(measure(hub_port, trivial_port, admin, quick)) else 1
        finally:
            for process in (hub, trivial):
                process.send_signal(signal.SIGTERM)
                process.wait(20)


if __name__ == "__main__":
    raise SystemExit(main())
