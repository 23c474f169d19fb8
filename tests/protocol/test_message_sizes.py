"""The sizes the contract promises: heartbeat, k changes, ten thousand files."""

from __future__ import annotations

import gzip
import hashlib
import random

import msgspec
import pytest

from stablequeue_client.shared.wire import inventory

DIGEST = "f" * 64


def file_entry(number: int, *, path: str | None = None) -> inventory.FileEntry:
    """A LoRA with all digests; names of the length people's files have."""
    rng = random.Random(number)
    words = ["style", "character", "detail", "xl", "pony", "flux", "v2", "epoch", "slider", "anime", "photo"]
    name = "_".join(rng.choice(words) for _ in range(4)) + f"_{rng.randrange(10**6)}"
    sha = hashlib.sha256(str(number).encode()).hexdigest()
    other = hashlib.sha256(sha.encode()).hexdigest()
    return inventory.FileEntry(
        root="0a1b2c3d",
        path=path or f"{rng.choice(words)}/{name}.safetensors",
        kind="lora",
        size=rng.randrange(10**7, 10**9),
        state="ready",
        digests=inventory.WireDigests(sha, other, other[:8], sha[-12:]),
    )


def request(mode: str, upserts: list[inventory.FileEntry]) -> bytes:
    return inventory.encode(
        inventory.SyncRequest(
            protocol=1,
            index_id="a" * 32,
            mode=mode,  # type: ignore[arg-type]
            base_sequence=10**9,
            sequence=10**9 + len(upserts),
            digest=DIGEST,
            upserts=[msgspec.Raw(inventory.encode(entry)) for entry in upserts],
        )
    )


def test_the_fullest_heartbeat_fits_in_its_limit() -> None:
    activity = inventory.Activity("scanning", 10**6, 10**6, 10**14, 10**14, 10**7)
    beat = inventory.Heartbeat("b" * 32, 10**9, "a" * 32, 10**12, DIGEST, activity, 10**12)
    assert len(inventory.encode(beat)) <= inventory.HEARTBEAT_MAX_BYTES


@pytest.mark.parametrize("changes", [0, 1, 2, 10, 500])
def test_changes_cost_their_own_bytes_only(changes: int) -> None:
    longest = [file_entry(n, path=f"{n:05d}".ljust(80, "x")) for n in range(changes)]
    assert len(request("delta", longest)) <= 512 + 400 * changes


def test_ten_thousand_files_fit_in_their_limit() -> None:
    body = gzip.compress(request("full", [file_entry(n) for n in range(10_000)]), 6)
    print(f"10,000 files in full: {len(body):,} bytes gzipped")
    assert len(body) <= 1_400_000
