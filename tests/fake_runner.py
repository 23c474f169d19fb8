"""A WebUI and its runner without torch: pictures with generation texts as a WebUI writes them.

Honest by default. ``Faults`` switches on, one by one, the silent failures of real hosts: they answer 200 and
make a picture, but not the one that was asked for. Load this file by its path (``tests`` holds no packages);
it talks to a hub through a function, so that it serves tests in one process as well as over HTTP.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from stablequeue_client.shared.generation.requirements import Requirement, generation_requirements
from stablequeue_client.shared.wire.inventory import (
    FileEntry,
    RootEntry,
    WireDigests,
    digest_hex,
    digest_sum,
    entry_dict,
    row_digest,
)

Call = Callable[..., Any]
"""``call(method, path, json=, content=)`` with the server's key; gives ``status_code`` and ``json()``."""


def sha256_of(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def autov3_of(content: str) -> str:
    """Stands for the hash of a LoRA without its header: another one than its SHA256."""
    return sha256_of(f"tensors of {content}")


@dataclass
class DiskFile:
    """A model file. ``output_name``: ``ss_output_name`` of a LoRA's header, under which hosts find it too."""

    kind: str
    path: str
    content: str
    output_name: str = ""

    @property
    def base(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def stem(self) -> str:
        return self.base.rpartition(".")[0] or self.base


@dataclass
class Faults:
    """What this host and its runner do wrong. ``no_hashes``: started with ``--no-hashing``.

    ``blind``: the runner neither looks at the files before the run, nor tells what was loaded.
    """

    blind: bool = False
    no_hashes: bool = False
    no_infotext: bool = False


@dataclass
class FakeWebUI:
    """One host: its disk now, what its agent has told, and its own cache of hashes."""

    family: str = "forge"
    files: list[DiskFile] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    hash_cache: dict[tuple[str, str], str] = field(default_factory=dict)
    """(kind, path) -> content whose hashes the host prints, whatever lies there now."""
    loaded: DiskFile | None = None
    sequence: int = 0

    # --- the agent --------------------------------------------------------------------------------------

    def inventory(self, *, index_id: str = "index") -> dict[str, Any]:
        """A full sync of what lies there now."""
        self.sequence += 1
        roots = [
            entry_dict(RootEntry(kind[:8].ljust(8, "-"), kind, "healthy"))
            for kind in sorted({file.kind for file in self.files})
        ]
        entries = [entry_dict(self._entry(file)) for file in self.files]
        digest = digest_hex(digest_sum(row_digest(entry) for entry in [*roots, *entries]))
        return {
            "protocol": 1,
            "index_id": index_id,
            "mode": "full",
            "base_sequence": 0,
            "sequence": self.sequence,
            "digest": digest,
            "roots": roots,
            "upserts": entries,
            "removals": [],
        }

    def _entry(self, file: DiskFile) -> FileEntry:
        autov3 = autov3_of(file.content)[:12] if file.kind == "lora" else None
        digests = WireDigests(sha256=sha256_of(file.content), autov3=autov3)
        root = file.kind[:8].ljust(8, "-")
        return FileEntry(root, file.path, file.kind, 1000 + len(file.content), "ready", digests)

    # --- the host ---------------------------------------------------------------------------------------

    def find(self, kind: str, name: str) -> DiskFile | None:
        """As hosts do: exact names only; of two LoRAs of one name the last one walked."""
        own = [file for file in self.files if file.kind == kind]
        if kind == "checkpoint":
            return next((f for f in own if name in self._titles(f)), None)
        if kind in ("vae", "text_encoder"):
            return next((f for f in own if f.base == name), None)
        by_name = {file.stem: file for file in own}
        by_alias = {**{f.output_name: f for f in own if f.output_name}, **by_name}
        return by_alias.get(name)

    def _titles(self, file: DiskFile) -> set[str]:
        """A title with a hash is known once this host made that hash itself, and with ten digits only."""
        names = {file.path, file.path.rpartition(".")[0], file.stem}
        hashed = self.hash_cache.get((file.kind, file.path))
        return names if hashed is None else {*names, f"{file.path} [{sha256_of(hashed)[:10]}]"}

    def generate(self, payload: dict[str, Any]) -> bytes:
        """One PNG. An unknown checkpoint leaves the current one; a missing LoRA drops all of them (Forge)."""
        wanted = generation_requirements(payload)
        named = next((one for one in wanted if one.role == "checkpoint"), None)
        found = self.find("checkpoint", named.name) if named else None
        self.loaded = found or self.loaded or next((f for f in self.files if f.kind == "checkpoint"), None)
        text = self._infotext(payload, [one for one in wanted if one.role == "lora"])
        return png(64, 64, "" if self.faults.no_infotext else text)

    def _infotext(self, payload: dict[str, Any], loras: Iterable[Requirement]) -> str:
        settings = {
            "Steps": str(payload.get("steps", 20)),
            "Sampler": str(payload.get("sampler_name", "Euler")),
            "Seed": str(payload.get("seed", -1)),
            "Size": "64x64",
        }
        if self.loaded is not None:
            if not self.faults.no_hashes:
                settings["Model hash"] = self._printed(self.loaded)
            settings["Model"] = self.loaded.stem
        used = [one for one in loras if one.where in ("prompt", "hires_prompt", "style")]
        files = [self.find("lora", one.name) for one in used]
        if files and all(files) and not self.faults.no_hashes:
            pairs = (
                f"{one.name}: {self._printed(file)}" for one, file in zip(used, files, strict=True) if file
            )
            settings["Lora hashes"] = '"' + ", ".join(pairs) + '"'
        line = ", ".join(f"{key}: {value}" for key, value in settings.items())
        negative = payload.get("negative_prompt", "")
        return f"{payload.get('prompt', '')}\nNegative prompt: {negative}\n{line}"

    def _printed(self, file: DiskFile) -> str:
        content = self.hash_cache.get((file.kind, file.path), file.content)
        if file.kind != "lora":
            return sha256_of(content)[:10]
        return (sha256_of(content) if self.family == "forge" else autov3_of(content))[:12]


class FakeRunner:
    """Works for one server until told otherwise. ``between``: called after the check, before the picture."""

    def __init__(self, webui: FakeWebUI, call: Call, server_id: str, runner_id: str = "runner") -> None:
        self.webui = webui
        self._call = call
        self._path = f"/api/v1/servers/{server_id}/runner"
        self.runner_id = runner_id
        self.others = True
        self.trouble = ""
        self.unapplied: set[str] = set()
        """Roles of models of which the host applies nothing."""

    def next(self, wait_s: float = 0.0) -> dict[str, Any] | None:
        body: dict[str, Any] = {"runner_id": self.runner_id, "others": self.others, "wait_s": wait_s}
        if self.trouble:
            body["trouble"] = self.trouble
        if self.webui.loaded is not None:
            body["loaded"] = sha256_of(self.webui.loaded.content)
        answer = self._call("POST", f"{self._path}/next", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] | None = answer.json()
        return found

    def renew(self, job: dict[str, Any], progress: float | None = None) -> bool:
        """Whether to go on."""
        body = {"job_id": job["job_id"], "fence": job["fence"], "progress": progress}
        answer = self._call("POST", f"{self._path}/renew", json=body)
        assert answer.status_code == 200, answer.text
        return not answer.json()["stop"]

    def check(self, job: dict[str, Any]) -> dict[str, Any] | None:
        """Check the files: what is not as the hub believes; None when all is."""
        for file in job["files"]:
            on_disk = self._file(file)
            if on_disk is None:
                return {"code": "model_missing", "requirement": file["requirement"]}
            if file["sha256"] and sha256_of(on_disk.content) != file["sha256"]:
                return {"code": "model_changed", "requirement": file["requirement"]}
        return None

    def _file(self, file: dict[str, Any]) -> DiskFile | None:
        return next(
            (
                one
                for one in self.webui.files
                if one.path == file["path"] and file["root"].startswith(one.kind[:8])
            ),
            None,
        )

    def refuse(self, job: dict[str, Any], code: str, requirement: int | None = None, text: str = "") -> Any:
        body = {"job_id": job["job_id"], "fence": job["fence"], "code": code, "text": text}
        return self._call("POST", f"{self._path}/refuse", json={**body, "requirement": requirement})

    def send(self, job: dict[str, Any], number: int, data: bytes) -> Any:
        path = f"{self._path}/jobs/{job['job_id']}/pictures/{number}?fence={job['fence']}"
        return self._call("PUT", path, content=data)

    def finish(self, job: dict[str, Any], pictures: list[bytes], **fields: Any) -> Any:
        body = {
            "job_id": job["job_id"],
            "fence": job["fence"],
            "outcome": "done",
            "pictures": [hashlib.sha256(data).hexdigest() for data in pictures],
            **fields,
        }
        return self._call("POST", f"{self._path}/finish", json=body)

    def work(self, job: dict[str, Any], between: Callable[[], None] = lambda: None) -> Any:
        """A whole run as a real runner does it; the answer to its last request."""
        blind = self.webui.faults.blind
        fault = None if blind else self.check(job)
        if fault is not None:
            return self.refuse(job, **fault)
        between()
        data = self.webui.generate(job["payload"])
        loaded = [] if blind else self._evidence(job)
        stored = self.send(job, 0, data)
        if stored.status_code != 200:
            return stored
        return self.finish(job, [data], loaded=loaded)

    def _evidence(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """What the host loaded, as an honest runner sees it from the host's own objects after the run."""
        found = []
        for file in job["files"]:
            kind = (
                "checkpoint"
                if file["role"] in ("checkpoint", "refiner", "hires_checkpoint")
                else file["role"]
            )
            used = self.webui.loaded if file["role"] == "checkpoint" else self.webui.find(kind, file["name"])
            state = "not_loaded"
            if used is not None:
                state = "loaded" if used.path == file["path"] else "other_file"
                if state == "loaded" and file["sha256"] and sha256_of(used.content) != file["sha256"]:
                    state = "changed"
            if file.get("used", True):
                applied = {"applied": False} if file["role"] in self.unapplied else {}
                found.append({"requirement": file["requirement"], "state": state, **applied})
        return found

    def step(self) -> Any:
        """Ask for a job and do it; None when there is none."""
        job = self.next()
        return None if job is None else self.work(job)


def png(width: int, height: int, text: str) -> bytes:
    """A grey picture with a generation text, as Pillow writes it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\x00" + b"\x80" * width for _ in range(height))
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))]
    if text:
        try:
            parts.append(chunk(b"tEXt", b"parameters\x00" + text.encode("latin-1")))
        except UnicodeEncodeError:
            parts.append(chunk(b"iTXt", b"parameters\x00\x00\x00\x00\x00" + text.encode()))
    parts += [chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"".join(parts)
