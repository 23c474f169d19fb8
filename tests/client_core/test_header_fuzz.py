"""S1 at CI scale: 20,000 mutated headers, 1,280 truncations. The seed is printed when one fails."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from random import Random
from typing import Any

import psutil
import pytest

from stablequeue_client.shared.model_files.safetensors_header import HeaderError, read_header

from ..slowness import slowness, takes_at_most

pytestmark = [pytest.mark.fault, pytest.mark.slow]

MUTATIONS = int(os.environ.get("STABLEQUEUE_TEST_FUZZ", "20000"))
WORDS = [
    b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"null", b"NaN", b"-1", b"1e999", b"9" * 400, b"\\ud800",
    b'"dtype"', b'"data_offsets":[0,0]', b"\xff", b"\x00", b"__metadata__", b"[" * 2_000, b'{"a":' * 500,
]  # fmt: skip


def corpus() -> list[bytes]:
    """Files with headers of the kinds that are met: bare, kohya, modelspec, many tensors."""
    files = []
    for count, metadata in (
        (0, {}),
        (2, {"ss_tag_frequency": json.dumps({"set": {f"tag {n}": n for n in range(50)}}), "ss_v2": "False"}),
        (
            5,
            {
                "modelspec.architecture": "stable-diffusion-xl-v1-base",
                "modelspec.hash_sha256": "0x" + "ab" * 32,
            },
        ),
        (60, {"ss_output_name": "\u00e9\u4e2d"}),
    ):
        header: dict[str, Any] = {"__metadata__": metadata}
        for n in range(count):
            header[f"lora_unet.{n}.weight"] = {
                "dtype": "F16",
                "shape": [2, 4],
                "data_offsets": [16 * n, 16 * n + 16],
            }
        text = json.dumps(header, separators=(",", ":")).encode()
        files.append(len(text).to_bytes(8, "little") + text + bytes(16 * count))
    return files


def mutate(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randrange(len(changed)) if changed else 0
        kind = random.randrange(5)
        if kind == 0 and changed:
            changed[at] = random.randrange(256)
        elif kind == 1:
            changed[at:at] = random.choice(WORDS)
        elif kind == 2:
            del changed[at : at + random.randrange(1, 40)]
        elif kind == 3:
            piece = bytes(changed[at : at + random.randrange(1, 200)])
            changed[at:at] = piece
        else:
            changed[:8] = random.choice((len(changed), random.getrandbits(64), 2**63)).to_bytes(8, "little")
    if random.random() < 0.7:  # a length that fits, so that the parser is reached
        changed[:8] = max(0, len(data) - 8 - random.choice((0, 0, 0, 16))).to_bytes(8, "little")
    return bytes(changed)


def strict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({name for name, _ in pairs}) == len(pairs), "a duplicate was accepted"
    return dict(pairs)


def test_no_mutation_raises_anything_else_or_takes_long_or_much_memory() -> None:
    seed = int(os.environ.get("STABLEQUEUE_TEST_SEED", "20261122"))
    random, files = Random(seed), corpus()
    process = psutil.Process()
    before, accepted, slowest = process.memory_info().rss, 0, 0.0
    for number in range(MUTATIONS):
        data = mutate(random.choice(files), random)
        start = time.thread_time()
        try:
            header = read_header(lambda offset, length, data=data: data[offset : offset + length], len(data))
        except HeaderError:
            continue
        except BaseException as error:
            pytest.fail(f"seed {seed}, mutation {number}: {type(error).__name__}: {error}")
        finally:
            slowest = max(slowest, time.thread_time() - start)
        accepted += 1
        text = data[8 : header.payload_offset].decode()
        json.loads(text, object_pairs_hook=strict)
    assert process.memory_info().rss - before <= 64 * 1024 * 1024
    assert slowest <= 0.05 * slowness()
    assert accepted > 0


def missed_truncations(accepts: Callable[[bytes], bool]) -> tuple[int, int]:
    """(tried, accepted although cut off), over files of several shapes."""
    tried = missed = 0
    for whole in corpus()[1:]:
        sizes = {*range(0, len(whole), max(1, len(whole) // 420)), *range(len(whole) - 20, len(whole))}
        for size in sizes:
            tried += 1
            missed += accepts(whole[:size])
    return tried, missed


def test_no_truncation_is_missed() -> None:
    def accepts(data: bytes) -> bool:
        try:
            read_header(lambda offset, length: data[offset : offset + length], len(data))
        except HeaderError:
            return False
        return True

    tried, missed = missed_truncations(accepts)
    assert missed == 0
    assert tried >= 1_280
    assert all(accepts(whole) for whole in corpus())


def test_a_reader_that_does_not_compare_the_size_is_caught_by_this_test() -> None:
    def accepts(data: bytes) -> bool:
        try:
            length = int.from_bytes(data[:8], "little")
            json.loads(data[8 : 8 + length])
        except ValueError:
            return False
        return len(data) >= 8 + length

    _, missed = missed_truncations(accepts)
    assert missed > 0


@pytest.mark.alone
def test_a_real_size_header_takes_little_time_and_memory() -> None:
    header: dict[str, Any] = {
        "__metadata__": {"ss_tag_frequency": json.dumps({f"tag {n}": n for n in range(9_000)})}
    }
    for n in range(3_000):
        header[f"model.diffusion_model.input_blocks.{n}.weight"] = {
            "dtype": "F16", "shape": [2, 4], "data_offsets": [16 * n, 16 * n + 16],
        }  # fmt: skip
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + bytes(48_000)
    before = psutil.Process().memory_info().rss

    def read() -> None:
        found = read_header(lambda offset, length: data[offset : offset + length], len(data))
        assert found.tensor_count == 3_000

    takes_at_most(0.05, read)
    assert psutil.Process().memory_info().rss - before <= 64 * 1024 * 1024
