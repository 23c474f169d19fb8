"""The queue of ``up --demo``: two of the made-up servers make pictures, drawn here, of jobs made up as well.

Jobs wait with reasons, run with progress, are done, and one turns out wrong. No model is at work in it.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import struct
import threading
import time
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.identity import Identity, load_identity
from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.shared.wire.inventory import ServerCapabilities
from stablequeue_client.shared.wire.runner import (
    AssignedFile,
    Assignment,
    FinishRequest,
    LoadedFile,
    NextRequest,
    RenewRequest,
)

WORKING = ("forge-a", "forge-b")
"""The demo's servers that make pictures; the others are switched off."""
_SIDE = 192
_STEPS = 20
_SHORT_S = 1.0
_LONG_S = 24.0
_AGAIN_S = 2.0
_WRONG = "A job that went wrong"


def _job(prompt: str, checkpoint: str, name: str = "", **fields: Any) -> dict[str, Any]:
    size = {"steps": _STEPS, "width": 1024, "height": 1024, "cfg_scale": 6, "sampler_name": "Euler a"}
    settings = {"sd_model_checkpoint": checkpoint}
    return {"payload": {"prompt": prompt, **size, "override_settings": settings}, "name": name, **fields}


JOBS: tuple[dict[str, Any], ...] = (
    _job("a lighthouse keeper at dusk <lora:lighthouse_keeper_XL:0.8>", "aquarelleXL_v30", priority=5),
    _job("koi in ink <lora:ink_wash_XL:0.9>", "aquarelleXL_v30", priority=5),
    _job("a rainy street <lora:neon_rain_flux:0.7>", "fluxMeadow_dev-fp8", _WRONG, priority=5),
    _job("a harbour in the morning light", "harborlightXL_v12", priority=4),
    _job("a felt fox <lora:wool_felt_XL:0.8>", "aquarelleXL_v30", count=6),
    _job("fern, botanical plate <lora:botanical_plate_flux:1>", "fluxMeadow_dev-fp8", count=6),
    _job("a poster of the sea <lora:vintage_poster_XL:0.8>", "harborlightXL_v12", count=4),
    _job("a city at night", "nightcityMix_v2", "Which of the two?"),
    _job("a castle of paper <lora:origami_XL:0.9>", "aquarelleXL_v30", "Lacks a LoRA"),
    _job("a toy train", "toyboxDiorama_v4", "For the classic", targets=["classic"]),
)
"""Quick ones first, then some that take a while, then those that wait."""
_QUICK = frozenset(job["payload"]["prompt"] for job in JOBS if job.get("priority"))


def all_read(hub: HubApi, servers: Collection[str]) -> bool:
    """Return whether all servers have joined and read their files, but for the one that is half copied."""
    counts = [one["files"] for one in hub.servers()]
    return len(counts) >= len(servers) and all(
        one.get("ready") and not one.get("unhashed") and one.get("partial", 0) <= 1 for one in counts
    )


class DemoQueue:
    """Runs in threads of ``up`` until ``stop`` is set. What fails is tried again: it is only a show."""

    def __init__(self, url: str, key: str, servers: Mapping[str, Path], stop: threading.Event) -> None:
        self._url, self._key, self._servers, self._stop = url, key, servers, stop

    def start(self) -> None:
        for alias, data in self._servers.items():
            if alias in WORKING:
                threading.Thread(target=self._work, args=(data,), name=f"demo-{alias}", daemon=True).start()
        threading.Thread(target=self._submit, name="demo-jobs", daemon=True).start()

    def _submit(self) -> None:
        """Once, when every server has told what it has: without that nothing could be said of a job."""
        while not self._stop.wait(_AGAIN_S):
            try:
                hub = HubApi(self._url, self._key)
                if not all_read(hub, self._servers):
                    continue
                if not hub.jobs(limit=1)["total"]:
                    for job in JOBS:
                        hub.submit_job(job)
                return
            except StableQueueError:
                continue

    def _work(self, data: Path) -> None:
        runner_id, told = secrets.token_hex(16), False
        while not self._stop.wait(_AGAIN_S):
            try:
                identity = load_identity(data)
                if identity is None:
                    continue
                hub = HubApi(self._url, identity.key)
                if not told:
                    hub.put_capabilities(
                        identity.server_id,
                        ServerCapabilities(webui="forge", webui_version="demo", works_for_others="always"),
                    )
                    told = True
                while not self._stop.is_set():
                    wanted = NextRequest(runner_id, others=True, wait_s=5)
                    job = hub.next_job(identity.server_id, wanted)
                    if job is not None:
                        self._make(hub, identity, job)
            except StableQueueError:
                continue

    def _make(self, hub: HubApi, identity: Identity, job: Assignment) -> None:
        takes_s = _SHORT_S if job.payload.get("prompt") in _QUICK else _LONG_S
        begun = time.monotonic()
        while (done := (time.monotonic() - begun) / takes_s) < 1:
            said = hub.renew_job(identity.server_id, RenewRequest(job.job_id, job.fence, min(done, 0.99)))
            if said.stop or self._stop.wait(0.5):
                return
        picture = drawn(job.payload, job.files, wrong=job.name == _WRONG)
        hub.send_picture(identity.server_id, job.job_id, job.fence, 0, picture)
        loaded = [_loaded(file, wrong=job.name == _WRONG) for file in job.files if file.used]
        hub.finish_job(
            identity.server_id,
            FinishRequest(job.job_id, job.fence, "done", [hashlib.sha256(picture).hexdigest()], loaded),
        )


def _loaded(file: AssignedFile, *, wrong: bool) -> LoadedFile:
    """What a WebUI would have loaded; in a job that goes wrong another checkpoint."""
    if wrong and file.role == "checkpoint":
        return LoadedFile(file.requirement, "other_file", detail="harborlightXL_v12")
    return LoadedFile(file.requirement, "loaded", file.sha256)


# --- pictures ---------------------------------------------------------------------------------------------


def drawn(payload: Mapping[str, Any], files: Sequence[AssignedFile], *, wrong: bool = False) -> bytes:
    """A PNG of waves in colours of the prompt, with the text that a WebUI writes. ``wrong``: the text names
    another checkpoint's hash than the confirmed one."""
    seed = hashlib.sha256(f"{payload.get('prompt')}{payload.get('seed')}".encode()).digest()
    rows = b"".join(b"\x00" + _row(y, seed) for y in range(_SIDE))
    text = _text(payload, files, wrong=wrong).encode("utf-8")
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)),
            _chunk(b"iTXt", b"parameters\x00\x00\x00\x00\x00" + text),
            _chunk(b"IDAT", zlib.compress(rows, 6)),
            _chunk(b"IEND", b""),
        )
    )


def _row(y: int, seed: bytes) -> bytes:
    first, second, third = (tuple(seed[at : at + 3]) for at in (0, 3, 6))
    made = bytearray()
    for x in range(_SIDE):
        wave = math.sin(x / (9 + seed[9] % 9) + 3 * math.sin(y / (17 + seed[10] % 15)))
        height = y / _SIDE
        share = (wave + 1) / 2
        for one, two, three in zip(first, second, third, strict=True):
            made.append(int((one * (1 - share) + two * share) * (1 - height) + three * height))
    return bytes(made)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _text(payload: Mapping[str, Any], files: Iterable[AssignedFile], *, wrong: bool) -> str:
    said = [f"Steps: {_STEPS}", "Sampler: Euler a", f"CFG scale: {payload.get('cfg_scale', 7)}"]
    said += [f"Seed: {payload.get('seed', 0)}", "Size: 1024x1024"]
    checkpoint = next((file for file in files if file.role == "checkpoint"), None)
    if checkpoint is not None:
        digest = "0123456789" if wrong else (checkpoint.sha256 or "")[:10]
        said += [f"Model hash: {digest}", f"Model: {checkpoint.name.rpartition('.')[0] or checkpoint.name}"]
    return f"{payload.get('prompt', '')}\n{', '.join(said)}"
