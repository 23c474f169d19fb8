"""One file read completely gives one value that says everything, whatever the file is."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from stablequeue_client.files.file_io import stat_key
from stablequeue_client.files.file_reader import FileJob, read_model_file
from stablequeue_client.shared.model_files.model_file import Kind


@pytest.mark.parametrize(
    ("kind", "has_autov3"),
    [("lora", True), ("embedding", True), ("checkpoint", False), ("vae", False), ("text_encoder", False)],
)
def test_autov3_is_computed_for_loras_and_embeddings(
    tmp_path: Path, safetensors: Callable[..., bytes], kind: Kind, has_autov3: bool
) -> None:
    path = tmp_path / "a.safetensors"
    data = safetensors(5_000, {"ss_v2": "False"})
    path.write_bytes(data)
    reading = read_model_file(FileJob(str(path), kind, stat_key(path.stat())))
    assert reading.state == "ready"
    assert reading.result is not None
    assert reading.header is not None
    assert reading.header.metadata == {"ss_v2": "False"}
    payload = hashlib.sha256(data[-5_000:]).hexdigest()
    assert reading.result.digests.autov3 == (payload[:12] if has_autov3 else None)
    assert reading.stat == stat_key(path.stat())


def test_without_digests_only_the_header_is_told(tmp_path: Path, safetensors: Callable[..., bytes]) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors(5_000, {"ss_v2": "True"}))
    reading = read_model_file(FileJob(str(path), "lora"), digests=False)
    assert (reading.state, reading.result) == ("unhashed", None)
    assert reading.header is not None
    assert reading.header.metadata == {"ss_v2": "True"}


@pytest.mark.parametrize("name", ["a.safetensors", "A.SAFETENSORS", "a.safetensors.corrupted"])
def test_a_cut_file_is_corrupt_and_gets_no_digest(
    tmp_path: Path, safetensors: Callable[..., bytes], name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(safetensors(5_000)[:-1])
    reading = read_model_file(FileJob(str(path), "lora"))
    assert (reading.state, reading.result) == ("corrupt", None)
    assert name in (reading.reason or "")
    assert "cut off" in (reading.reason or "")
    assert "again" in (reading.reason or "")


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.ckpt"])
def test_an_empty_file_is_corrupt(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    reading = read_model_file(FileJob(str(path), "lora"))
    assert (reading.state, reading.result) == ("corrupt", None)
    assert "empty" in (reading.reason or "")


def test_a_pickle_is_hashed_and_never_loaded(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "owned"),)

    path = tmp_path / "a.pt"
    path.write_bytes(pickle.dumps(Evil()))
    reading = read_model_file(FileJob(str(path), "lora"))
    assert reading.result is not None
    assert reading.result.digests.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert reading.result.digests.autov3 is None
    assert not (tmp_path / "owned").exists()


def test_a_file_that_is_not_there_is_unreadable_and_named(tmp_path: Path) -> None:
    reading = read_model_file(FileJob(str(tmp_path / "gone\n.pt"), "lora"))
    assert reading.state == "unreadable"
    assert "gone\\x0A.pt" in (reading.reason or "")


def test_a_huge_header_leaves_the_file_hashable_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    length = 17 * 1024 * 1024
    with path.open("wb") as file:
        file.write(length.to_bytes(8, "little") + b"{")
        file.truncate(length + 5_000)
    reading = read_model_file(FileJob(str(path), "lora"))
    assert reading.state == "ready"
    assert reading.result is not None
    assert reading.result.digests.payload_sha256 == hashlib.sha256(bytes(5_000 - 8)).hexdigest()
    assert "16 MiB" in (reading.note or "")
