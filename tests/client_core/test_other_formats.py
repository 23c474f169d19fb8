"""Files that torch or llama.cpp wrote, whole and cut, and what else lies under a model's name."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.files.file_reader import FileJob, read_model_file
from stablequeue_client.shared.model_files.other_formats import check_format
from stablequeue_client.shared.model_files.safetensors_header import HeaderError


def zipped(entries: int = 3, comment: bytes = b"") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number in range(entries):
            archive.writestr(f"archive/data/{number}", bytes(range(256)) * 20)
        archive.comment = comment
    return made.getvalue()


def tarred() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("storages"), None)
    return made.getvalue()


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(*, version: int = 3, tensors: int = 2) -> bytes:
    fields = text("general.architecture") + struct.pack("<I", 8) + text("flux")
    fields += text("general.alignment") + struct.pack("<II", 4, 32)
    fields += text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    fields += text("scores") + struct.pack("<IIQff", 9, 6, 2, 0.5, 1.5)
    listed = b"".join(
        text(f"blk.{number}") + struct.pack("<IQQIQ", 2, 8, 4, 0, number * 128) for number in range(tensors)
    )
    header = b"GGUF" + struct.pack("<IQQ", version, tensors, 4) + fields + listed
    return header + b"\0" * (-len(header) % 32) + b"\7" * (128 * tensors)


WHOLE = {
    "a.ckpt": zipped(),
    "b.pt": zipped(comment=b"made by somebody"),
    "c.pt": pickle.dumps(119547037146038801333356, protocol=2) + pickle.dumps({"a": 1}, protocol=2),
    "d.bin": pickle.dumps([1, 2], protocol=4),
    "e.pt": tarred(),
    "f.gguf": gguf(),
    "g.gguf": gguf(version=2),
    "h.gguf": gguf(version=9),  # of which nobody knows yet what follows
    "i.ckpt.corrupted": zipped(),
}
BROKEN = {
    "page.ckpt": (b"\n<!DOCTYPE html><html>sign in</html>", "web page"),
    "page.gguf": (b"<html>", "web page"),
    "error.pt": (b'{"error": "Unauthorized"}', "JSON"),
    "list.bin": (b"[]", "JSON"),
    "pointer.ckpt": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    "text.gguf": (b"hello", "does not begin"),
    "zeros.pt": (b"\0" * 1_000, "does not begin"),
    "half.ckpt": (zipped()[:-1], "cut off"),
    "start.ckpt": (b"PK\3\4", "cut off"),
    "empty.pt": (zipped(0), "list of contents"),
    "half.gguf": (gguf()[:-129], "cut off"),
    "header.gguf": (gguf()[:60], "cut off"),
    "many.gguf": (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1), "tensors"),
    "kind.gguf": (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", 99), "malformed"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_torch_and_llama_write_is_whole(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(WHOLE[name])
    reading = read_model_file(FileJob(str(tmp_path / name), "checkpoint"))
    assert (reading.state, reading.reason) == ("ready", None)


@pytest.mark.parametrize("name", BROKEN)
def test_anything_else_is_broken_and_says_what_it_is(tmp_path: Path, name: str) -> None:
    content, word = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    reading = read_model_file(FileJob(str(tmp_path / name), "checkpoint"))
    assert reading.state == "corrupt"
    assert word in (reading.reason or "")


@pytest.mark.parametrize("whole", [zipped(), gguf()])
def test_wherever_it_is_cut_off_it_is_broken(whole: bytes) -> None:
    extension = ".gguf" if whole.startswith(b"GGUF") else ".ckpt"
    missed = []
    for length in range(1, len(whole), 7):
        try:
            check_format(extension, lambda at, n, length=length: whole[:length][at : at + n], length)
        except HeaderError:
            continue
        missed.append(length)
    assert missed == []


@given(
    st.sampled_from([".ckpt", ".gguf"]), st.binary(max_size=400), st.integers(0, 400), st.binary(max_size=8)
)
def test_no_bytes_make_it_fail_otherwise(extension: str, some: bytes, at: int, other: bytes) -> None:
    whole = gguf() if extension == ".gguf" else zipped(1)
    for content in (some, whole[:at] + other + whole[at + len(other) :], whole[:4] + some):
        with suppress(HeaderError):
            check_format(extension, lambda start, n, c=content: c[start : start + n], len(content))
