"""The one writer: whatever happens at whatever instant, no wrong file has a final name, and nothing of
anybody's is changed; afterwards it goes on."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import struct
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stablequeue_client.files import model_writer
from stablequeue_client.files.hashing import WantedDigests, hash_file
from stablequeue_client.files.model_writer import (
    HIDDEN_FOLDER,
    FolderGoneError,
    ModelWriter,
    NameTakenError,
    NoSpaceError,
    ReadOnlyError,
    WantedFile,
    WriteFailedError,
    WrongContentError,
    space_needed,
    sweep_parts,
)
from stablequeue_client.files.safe_names import UnsafeNameError, safe_file_name, with_short_hash
from stablequeue_client.files.scanner import make_root, scan_root
from stablequeue_client.files.write_io import OpenFolder, WriteIO

PIECE = 4_096
KIND = "lora"
SEED = int(os.environ.get("STABLEQUEUE_TEST_SEED", "1"))


def model(seed: int = 1, size: int = 8 * PIECE) -> bytes:
    """A valid safetensors file of a few pieces; the last one is short."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + random.Random(seed).randbytes(size)


CONTENT = model()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WANTED = WantedFile(SHA256, len(CONTENT), KIND, "ink.safetensors")


class RoomyIO(WriteIO):
    """The real calls, on a disk with room whatever the machine's is."""

    free, total = 1 << 42, 1 << 43

    def free_and_total(self, folder: OpenFolder) -> tuple[int, int]:
        return self.free, self.total


def writer(folder: Path, io: WriteIO | None = None, wanted: WantedFile = WANTED) -> ModelWriter:
    made = ModelWriter(
        str(folder), wanted, io=io or RoomyIO(), journal_every=2 * PIECE, settle=lambda _: None
    )
    made.open()
    return made


def pieces(content: bytes = CONTENT) -> list[tuple[int, bytes]]:
    return [(at, content[at : at + PIECE]) for at in range(0, len(content), PIECE)]


def fill(made: ModelWriter, content: bytes = CONTENT) -> int:
    """Fetch what is missing; the bytes that were fetched."""
    count = 0
    while (gap := made.missing(PIECE)) is not None:
        made.write(gap[0], content[gap[0] : gap[1]])
        count += gap[1] - gap[0]
    return count


def live(made: ModelWriter) -> None:
    """From the first byte to the name."""
    made.open()
    fill(made)
    made.publish()


def finals(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def left_over(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / HIDDEN_FOLDER))


# --- the way it goes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["forward", "backward", "shuffled", "twice"])
def test_pieces_in_any_order_become_the_file_with_all_its_digests(tmp_path: Path, order: str) -> None:
    parts = pieces()
    if order == "backward":
        parts.reverse()
    elif order == "shuffled":
        random.Random(SEED).shuffle(parts)
    elif order == "twice":
        parts += parts[:3]
    made = writer(tmp_path)
    for offset, data in parts:
        made.write(offset, data)
    assert made.received == len(CONTENT)
    if order == "twice":
        made.write(0, b"\x00" * PIECE)  # too late: what was hashed stays what is on the disk
    written = made.publish()
    made.close()
    assert finals(tmp_path) == {"ink.safetensors": CONTENT}
    assert left_over(tmp_path) == []
    payload = 8 + int.from_bytes(CONTENT[:8], "little")
    expected = hash_file(str(tmp_path / "ink.safetensors"), want=WantedDigests(payload_from=payload))
    assert written.result.digests == expected.digests
    assert written.result.stat == expected.stat
    assert written.header.tensor_count == 1


def test_a_scan_never_lists_a_part(tmp_path: Path) -> None:
    made = writer(tmp_path)
    made.write(0, CONTENT[:PIECE])
    assert left_over(tmp_path) == [f"{SHA256}.journal", f"{SHA256}.part"]
    assert scan_root(make_root(KIND, str(tmp_path))).files == ()
    made.discard()
    made.close()
    assert left_over(tmp_path) == []


def test_a_stopped_copy_resumes_and_fetches_only_the_rest(tmp_path: Path) -> None:
    made = writer(tmp_path)
    for offset, data in pieces()[:5]:
        made.write(offset, data)
    made.close()
    again = writer(tmp_path)
    assert again.resumed
    assert fill(again) == len(CONTENT) - 5 * PIECE
    again.publish()
    again.close()
    assert finals(tmp_path) == {"ink.safetensors": CONTENT}


def test_a_part_whose_journal_is_cut_or_not_its_own_is_not_believed(tmp_path: Path) -> None:
    for spoil in (b"", b"{", b'{"size": 1}\n{"from": 0, "to": 1}\n', b'{"size": "x"}\n', b"\xff\n"):
        made = writer(tmp_path)
        made.write(0, b"\x00" * PIECE)  # a part of rubbish
        made.close()
        (tmp_path / HIDDEN_FOLDER / f"{SHA256}.journal").write_bytes(spoil)
        again = writer(tmp_path)
        assert not again.resumed
        assert fill(again) == len(CONTENT)
        again.publish()
        again.close()
        assert finals(tmp_path) == {"ink.safetensors": CONTENT}
        (tmp_path / "ink.safetensors").unlink()


# --- what must not get a name ---------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, len(CONTENT) // 2, len(CONTENT) - 1])
def test_one_wrong_bit_anywhere_leaves_nothing(tmp_path: Path, place: int) -> None:
    wrong = bytearray(CONTENT)
    wrong[place] ^= 1
    made = writer(tmp_path)
    fill(made, bytes(wrong))
    with pytest.raises(WrongContentError):
        made.publish()
    made.close()
    assert finals(tmp_path) == {}
    assert left_over(tmp_path) == []


def test_what_is_no_whole_safetensors_file_gets_no_name_though_its_hash_is_right(tmp_path: Path) -> None:
    for content in (CONTENT[:-7], CONTENT + b"x", b"<html>sign in</html>" * 10):
        wanted = WantedFile(hashlib.sha256(content).hexdigest(), len(content), KIND, "ink.safetensors")
        made = writer(tmp_path, wanted=wanted)
        fill(made, content)
        with pytest.raises(WrongContentError):
            made.publish()
        made.close()
        assert finals(tmp_path) == {}


def test_an_incomplete_copy_is_not_published_and_bytes_outside_the_file_are_refused(tmp_path: Path) -> None:
    made = writer(tmp_path)
    for offset, data in ((-1, b"x"), (len(CONTENT), b"x"), (0, CONTENT + b"x"), (0, b"")):
        with pytest.raises(WrongContentError):
            made.write(offset, data)
    made.write(0, CONTENT[:PIECE])
    for overlapping in (made.publish, lambda: made.write(1, CONTENT[1 : PIECE + 1])):
        with pytest.raises(WriteFailedError):
            overlapping()
    made.close()
    assert finals(tmp_path) == {}


def test_another_content_of_the_name_stays_and_ours_gets_its_short_hash(tmp_path: Path) -> None:
    (tmp_path / "ink.safetensors").write_bytes(b"theirs")
    made = writer(tmp_path)
    fill(made)
    assert made.publish().name == f"ink-{SHA256[:10]}.safetensors"
    made.close()
    assert finals(tmp_path) == {"ink.safetensors": b"theirs", f"ink-{SHA256[:10]}.safetensors": CONTENT}


def test_a_name_taken_between_the_check_and_the_end_is_not_written_over(tmp_path: Path) -> None:
    class Late(RoomyIO):
        def publish(self, source: OpenFolder, name: str, target: OpenFolder, final: str) -> None:
            if final == "ink.safetensors":
                (tmp_path / final).write_bytes(b"just now")
            super().publish(source, name, target, final)

    made = writer(tmp_path, Late())
    fill(made)
    assert made.publish().name == f"ink-{SHA256[:10]}.safetensors"
    made.close()
    assert finals(tmp_path)["ink.safetensors"] == b"just now"


def test_both_names_taken_by_others_is_said_and_what_came_is_kept(tmp_path: Path) -> None:
    names = ("ink.safetensors", with_short_hash("ink.safetensors", SHA256))
    for name in names:
        (tmp_path / name).write_bytes(b"theirs")
    made = writer(tmp_path)
    fill(made)
    with pytest.raises(NameTakenError):
        made.publish()
    made.close()
    assert finals(tmp_path) == dict.fromkeys(names, b"theirs")
    (tmp_path / names[1]).unlink()
    again = writer(tmp_path)
    assert fill(again) <= PIECE
    again.publish()
    again.close()
    assert finals(tmp_path)[names[1]] == CONTENT


def test_the_same_content_under_the_name_is_as_good(tmp_path: Path) -> None:
    (tmp_path / "ink.safetensors").write_bytes(CONTENT)
    made = writer(tmp_path)
    fill(made)
    written = made.publish()
    made.close()
    assert written.name == "ink.safetensors"
    assert written.result.digests.payload_sha256 is not None
    assert finals(tmp_path) == {"ink.safetensors": CONTENT}


def test_a_disk_without_hard_links_gets_the_file_by_a_rename_that_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "ink.safetensors").write_bytes(b"theirs")
    made = writer(tmp_path)
    fill(made)
    assert made.publish().name == f"ink-{SHA256[:10]}.safetensors"
    made.close()
    assert finals(tmp_path)["ink.safetensors"] == b"theirs"
    assert left_over(tmp_path) == []


# --- folders and links ----------------------------------------------------------------------------------


def test_a_hidden_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "models"
    elsewhere.mkdir()
    folder.mkdir()
    (folder / HIDDEN_FOLDER).symlink_to(elsewhere)
    with pytest.raises(WriteFailedError):
        writer(folder)
    assert os.listdir(elsewhere) == []


def test_a_part_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    folder = tmp_path / "models"
    (folder / HIDDEN_FOLDER).mkdir(parents=True)
    (folder / HIDDEN_FOLDER / f"{SHA256}.part").symlink_to(victim)
    with pytest.raises(WriteFailedError):
        writer(folder)
    assert victim.read_bytes() == b"theirs"


def test_a_folder_that_is_exchanged_meanwhile_is_not_written_to(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    made = writer(folder)
    made.write(0, CONTENT[:PIECE])
    folder.rename(tmp_path / "unmounted")
    folder.mkdir()  # the empty mount point beneath
    with pytest.raises(FolderGoneError):
        made.write(PIECE, CONTENT[PIECE : 2 * PIECE])
    made.close()
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    ("sha256", "size", "name"),
    [
        ("../../" + "a" * 58, 100, "ink.safetensors"),
        ("A" * 64, 100, "ink.safetensors"),
        (SHA256 + "\n", 100, "ink.safetensors"),
        (SHA256, 100, "../ink.safetensors"),
        (SHA256, 100, "a/b.safetensors"),
        (SHA256, 100, "ink.py"),
        (SHA256, 1 << 62, "ink.safetensors"),
        (SHA256, -1, "ink.safetensors"),
        (SHA256, 0, "ink.safetensors"),
    ],
)
def test_a_hub_that_orders_nonsense_gets_nothing_written(
    tmp_path: Path, sha256: str, size: int, name: str
) -> None:
    folder = tmp_path / "deep" / "models"
    folder.mkdir(parents=True)
    made = ModelWriter(str(folder), WantedFile(sha256, size, KIND, name), io=RoomyIO())
    with pytest.raises((WriteFailedError, UnsafeNameError)):
        live(made)
    made.close()
    assert [path for path in tmp_path.rglob("*") if path.is_file() and HIDDEN_FOLDER not in path.parts] == []


# --- a full disk ----------------------------------------------------------------------------------------


def test_a_copy_that_would_use_up_the_reserve_is_not_begun(tmp_path: Path) -> None:
    class Full(RoomyIO):
        total = 100 * 1024**3
        free = space_needed(total) + len(CONTENT) - 1

    with pytest.raises(NoSpaceError):
        writer(tmp_path, Full())
    assert space_needed(1 << 43) == int((1 << 43) * 0.05)


CALLS = ("make_folder", "open_file", "reserve", "write_at", "append", "sync", "publish")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, NoSpaceError),
        (errno.EDQUOT, NoSpaceError),
        (errno.EFBIG, NoSpaceError),
        (errno.EROFS, ReadOnlyError),
        (errno.EIO, WriteFailedError),
    ],
)
def test_a_disk_that_fails_in_any_step_is_named_and_the_copy_resumes_when_it_is_well(
    tmp_path: Path, call: str, number: int, error: type[Exception]
) -> None:
    failing = RoomyIO()
    count = 0

    def fail(*_: Any, **__: Any) -> None:
        nonlocal count
        count += 1
        raise OSError(number, os.strerror(number))

    setattr(failing, call, fail)
    made = ModelWriter(str(tmp_path), WANTED, io=failing, journal_every=2 * PIECE, settle=lambda _: None)
    with pytest.raises(error):
        live(made)
    assert count > 0
    with suppress(WriteFailedError):
        made.close()
    assert finals(tmp_path) == {}
    again = writer(tmp_path)
    fill(again)
    again.publish()
    again.close()
    assert finals(tmp_path) == {"ink.safetensors": CONTENT}
    assert left_over(tmp_path) == []


# --- killed at every call -------------------------------------------------------------------------------

KILLED = ("make_folder", "open_file", "reserve", "write_at", "append", "truncate", "sync", "publish",
          "sync_folder", "remove")  # fmt: skip


class Deadly(RoomyIO):
    """Ends the process at the k-th change of the disk: before it, half-way, or after it. ``power``: bytes
    that were not synced are lost, as in a power cut."""

    def __init__(self, at: int, when: str, *, power: bool) -> None:
        self.at, self.when, self.power, self.count = at, when, power, 0
        self._unsynced: list[tuple[int, int, int]] = []
        for name in KILLED:
            setattr(self, name, self._deadly(name, getattr(self, name)))

    def _deadly(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            self.count += 1
            now = self.count == self.at
            if now and self.when == "before":
                self._die()
            if now and self.when == "half" and name in ("write_at", "append"):
                data = memoryview(args[1])
                call(args[0], data[: len(data) // 2], *args[2:])
                self._die()
            found = call(*args, **options)
            if name == "write_at":
                self._unsynced.append((args[0], args[2], len(args[1])))
            elif name == "sync":
                self._unsynced = [one for one in self._unsynced if one[0] != args[0]]
            if now:
                self._die()
            return found

        return run

    def _die(self) -> None:
        if self.at < 0:
            return
        if self.power:
            for descriptor, offset, length in self._unsynced:
                os.pwrite(descriptor, b"\x00" * length, offset)
        os._exit(9)


def killed(folder: Path, io: Deadly, parts: list[tuple[int, bytes]]) -> None:
    """One life of the writer, in a process of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            made = ModelWriter(str(folder), WANTED, io=io, journal_every=2 * PIECE, settle=lambda _: None)
            made.open()
            for offset, data in parts:
                made.write(offset, data)
            made.publish()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def clash(folder: Path) -> dict[str, bytes]:
    (folder / "ink.safetensors").write_bytes(b"theirs")
    return {"ink.safetensors": b"theirs"}


def half_done(folder: Path) -> dict[str, bytes]:
    made = writer(folder)
    for offset, data in pieces()[:3]:
        made.write(offset, data)
    made.close()
    return {}


BEFORE: dict[str, Callable[[Path], dict[str, bytes]]] = {
    "fresh": lambda _: {},
    "clash": clash,
    "resumed": half_done,
}


def points(io_of: Callable[[], Deadly], folder: Path) -> int:
    """How many changes of the disk one whole life makes."""
    io = io_of()
    made = ModelWriter(str(folder), WANTED, io=io, journal_every=2 * PIECE, settle=lambda _: None)
    made.open()
    for offset, data in pieces():
        made.write(offset, data)
    made.publish()
    made.close()
    return io.count


@pytest.mark.fault
@pytest.mark.skipif(os.name == "nt", reason="needs fork")
@pytest.mark.parametrize("before", BEFORE)
def test_killed_at_any_call_no_wrong_file_has_a_name_and_the_copy_resumes(
    tmp_path: Path, before: str
) -> None:
    sample = tmp_path / "sample"
    sample.mkdir()
    BEFORE[before](sample)
    number = points(lambda: Deadly(-1, "", power=False), sample)
    tried = 0
    for at in range(1, number + 1):
        for when, power in (("before", True), ("half", False), ("after", True), ("after", False)):
            folder = tmp_path / f"{at}-{when}-{power}"
            folder.mkdir()
            theirs = BEFORE[before](folder)
            parts = pieces()
            if when == "half":
                random.Random(SEED + at).shuffle(parts)
            killed(folder, Deadly(at, when, power=power), parts)
            tried += 1
            for name, content in finals(folder).items():
                assert content in (CONTENT, theirs.get(name)), (at, when, power, name)
            again = writer(folder)
            fill(again)
            again.publish()
            again.close()
            ours = [name for name, content in finals(folder).items() if content == CONTENT]
            assert len(ours) == 1, (at, when, power, ours)
            assert {**finals(folder), **theirs} == finals(folder)
            assert left_over(folder) == []
    assert tried >= 80


# --- names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("ink.safetensors", "ink.safetensors"),
        ("../../etc/ink.safetensors", "ink.safetensors"),
        ("..\\..\\ink.safetensors", "ink.safetensors"),
        ("C:\\models\\ink.safetensors", "ink.safetensors"),
        ("C:ink.safetensors", "C_ink.safetensors"),
        ("\\\\host\\share\\ink.safetensors", "ink.safetensors"),
        ("ink.safetensors::$DATA.safetensors", "ink.safetensors__$DATA.safetensors"),
        ("con.safetensors", "_con.safetensors"),
        ("COM1.x.safetensors", "_COM1.x.safetensors"),
        ("lpt².safetensors", "_lpt².safetensors"),
        ("console.safetensors", "console.safetensors"),
        (".hidden.safetensors", "hidden.safetensors"),
        ("ink .safetensors. .", "ink.safetensors"),
        ("a\x00b\nc.safetensors", "a_b_c.safetensors"),
        ("a\u202eb.safetensors", "a_b.safetensors"),
        ("a\udcffb.safetensors", "a_b.safetensors"),
        ("e\u0301.SafeTensors", "\u00e9.safetensors"),
        ("<lora:x:1>?.safetensors", "_lora_x_1__.safetensors"),
        ("...safetensors", f"{SHA256[:10]}.safetensors"),
        ("%2e%2e%2fink.safetensors", "%2e%2e%2fink.safetensors"),
    ],
)
def test_a_name_from_outside_becomes_one_good_on_every_system(name: str, safe: str) -> None:
    assert safe_file_name(name, SHA256) == safe


@pytest.mark.parametrize("name", ["ink.ckpt", "ink.py", "ink", "", ".", "..", "/", "x.safetensors/y.exe"])
def test_a_name_of_another_kind_of_file_is_refused(name: str) -> None:
    with pytest.raises(UnsafeNameError):
        safe_file_name(name, SHA256)


def test_a_long_name_leaves_room_for_the_short_hash() -> None:
    for stem in ("x" * 300, "\u00e9" * 300, "\U0001f600" * 100):
        name = with_short_hash(safe_file_name(f"{stem}.safetensors", SHA256), SHA256)
        assert len(name.encode()) <= 255


# --- sweeping -------------------------------------------------------------------------------------------


def test_old_parts_are_swept_and_nothing_else(tmp_path: Path) -> None:
    hidden = tmp_path / HIDDEN_FOLDER
    hidden.mkdir()
    old, kept, young = "a" * 64, "b" * 64, "c" * 64
    names = [
        f"{old}.part",
        f"{old}.journal",
        f"{kept}.part",
        f"{young}.part",
        "notes.txt",
        f"{old}.safetensors",
    ]
    for name in names:
        (hidden / name).write_bytes(b"x")
        if young not in name:
            os.utime(hidden / name, (1, 1))
    (tmp_path / "model.safetensors").write_bytes(b"x")
    now = (hidden / f"{young}.part").stat().st_mtime
    sweep_parts(str(tmp_path), [kept], now=now)
    assert sorted(os.listdir(hidden)) == sorted(names[2:])
    assert finals(tmp_path) == {"model.safetensors": b"x"}
    sweep_parts(str(tmp_path / "missing"), [], now=now)
    assert model_writer.KEPT_S == 7 * 86_400
