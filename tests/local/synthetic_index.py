"""An index as the agent leaves it, with as many models as a test wants, in well under a second for 10,000.

Also for other parts' tests and benchmarks: load this file by its path (``tests`` holds no packages).
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from stablequeue_client.index import change_log
from stablequeue_client.index.database import Database, open_database
from stablequeue_client.index.index import INDEX_SCHEMA, Index
from stablequeue_client.index.rows import IndexRow, RootRow, claims_json
from stablequeue_client.shared.model_files.model_file import Claim, FileState, Kind

START_MS = 1_700_000_000_000
FOLDERS: dict[Kind, str] = {
    "checkpoint": "models/Stable-diffusion",
    "lora": "models/Lora",
    "vae": "models/VAE",
    "embedding": "embeddings",
}
BASES = ("SD 1.5", "SDXL 1.0", "Pony", "Illustrious", "Flux.1")
_WORDS = (
    "aqua",
    "pixel",
    "noir",
    "sunset",
    "detail",
    "comic",
    "velvet",
    "north",
    "glass",
    "iron",
    "мир",
    "海",
)


class SyntheticIndex:
    """One index on disk, written as the agent's own process would. Close it when done."""

    def __init__(self, server_dir: Path) -> None:
        self.path = server_dir / "index.sqlite"
        self.database: Database = open_database(str(self.path), INDEX_SCHEMA)[0]
        self.index = Index(self.database, None, time.time)

    def close(self) -> None:
        self.index.close()

    def put_roots(self, roots: Iterable[RootRow]) -> None:
        """New folders, or other states of known ones."""
        known = {row.root_id: row for row in self.index.roots()}
        with self.database.write() as connection:
            for root in roots:
                change_log.put_root(connection, known.get(root.root_id), root)

    def put(self, rows: Sequence[IndexRow]) -> None:
        """New files, or other versions of known ones."""
        known = {row.key: row for row in self.index.rows()} if len(rows) < 1000 else {}
        with self.database.write() as connection:
            change_log.put_files(connection, [(known.get(row.key), row) for row in rows])

    def remove(self, rows: Sequence[IndexRow]) -> None:
        with self.database.write() as connection:
            change_log.remove_files(connection, rows)


def root(
    kind: Kind, *, health: str = "healthy", missing: int = 0, reason: str = "", since_ms: int = 0
) -> RootRow:
    """The folder of a kind. Its id is ``r-<kind>``."""
    path = f"/webui/{FOLDERS.get(kind, kind)}"
    return RootRow(
        f"r-{kind}", kind, path, path.rsplit("/", 1)[-1], health, reason, 1, missing, "d" if missing else "",
        since_ms, "", 0, b"",
    )  # fmt: skip


def file(
    kind: Kind,
    path: str,
    *,
    content: str | None = None,
    state: FileState = "ready",
    size: int = 1_000_000,
    base_model: str | None = None,
    claims: Iterable[Claim] = (),
    reason: str = "",
    link: int = 0,
    seen_ms: int = START_MS,
) -> IndexRow:
    """A file in the folder of its kind, read unless ``state`` says so; equal ``content``: one model."""
    whole = hashlib.sha256((content or f"{kind}/{path}").encode()).hexdigest()
    read = state == "ready"
    digests = (whole, whole[::-1], whole[8:16]) if read else (None, None, None)
    return IndexRow(
        root_id=f"r-{kind}", path=path, kind=kind, size=size, mtime_ns=1, ctime_ns=1,
        inode=int(hashlib.sha256(path.encode()).hexdigest()[:12], 16), link=link, state=state,
        reason=reason, sha256=digests[0], blake3=digests[1], autov1=digests[2],
        payload_sha256=whole[4:] + whole[:4] if read and kind == "lora" else None, sample=None,
        claims_json=claims_json(claims), base_model=base_model, racy=0, todo=0 if read else 1,
        not_before_ms=0, seen_ms=seen_ms, verified_ms=seen_ms if read else 0, sequence=0, row_digest=b"",
    )  # fmt: skip


def library(count: int, *, unread: int = 0, seed: int = 1) -> list[IndexRow]:
    """``count`` models of all kinds in folders, and ``unread`` files beside them; equal for equal seeds."""
    choose = random.Random(seed)
    kinds: tuple[Kind, ...] = ("lora",) * 7 + ("checkpoint",) * 2 + ("embedding",)
    rows = []
    for number in range(count + unread):
        kind = kinds[number % len(kinds)]
        words = "_".join(choose.choices(_WORDS, k=3))
        path = f"{choose.choice(_WORDS)}/{words}_{number:05}.safetensors"
        rows.append(
            file(
                kind,
                path,
                state="ready" if number < count else "unhashed",
                size=choose.randrange(10**7, 10**10),
                base_model=choose.choice(BASES),
                seen_ms=START_MS + choose.randrange(10**9),
            )
        )
    return rows


def make_index(server_dir: Path, count: int, *, unread: int = 0) -> SyntheticIndex:
    """An open index with a library in it."""
    made = SyntheticIndex(server_dir)
    made.put_roots([root(kind) for kind in FOLDERS])
    made.put(library(count, unread=unread))
    return made
