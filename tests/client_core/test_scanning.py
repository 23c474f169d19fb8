"""The walk reports what lies in the model folders, and what it could not see, as values."""

from __future__ import annotations

import errno
import os
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stablequeue_client.files.file_io import ScanIO, stat_key
from stablequeue_client.files.scanner import RootScan, make_root, scan_root, scan_roots
from stablequeue_client.shared.model_files.model_file import Kind, StatKey
from stablequeue_client.shared.wire.inventory import wire_path_problem


def scan(path: Path, kind: Kind = "lora") -> RootScan:
    return scan_root(make_root(kind, str(path)))


def paths(found: RootScan) -> list[str]:
    return sorted(file.path for file in found.files)


def touch(top: Path, *names: str) -> None:
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.mark.parametrize(
    ("kind", "taken", "left"),
    [
        (
            "checkpoint",
            ["a.safetensors", "B.CKPT", "c.gguf", "d.vae.fp16.safetensors", ".e/.f.safetensors"],
            ["d.pt", "f.bin"],
        ),
        ("lora", ["a.safetensors", "b.pt", "c.ckpt", "x.vae.pt"], ["d.gguf", "e.bin", "f.png", "g"]),
        ("vae", ["a.safetensors", "b.pt", "c.ckpt", "d.vae.pt", "e.bin", "f.gguf"], ["f.txt"]),
        ("embedding", ["a.pt", "b.safetensors", "c.bin"], ["d.png", "e.webp", "f.ckpt"]),
        ("text_encoder", ["a.safetensors", "b.gguf", "c.pt", "d.bin", "e.ckpt"], ["f.png"]),
    ],
)
def test_each_kind_takes_the_files_that_the_webuis_list(
    tmp_path: Path, kind: Kind, taken: list[str], left: list[str]
) -> None:
    touch(tmp_path, *taken, *left)
    assert paths(scan(tmp_path, kind)) == sorted(taken)


@pytest.mark.parametrize("name", ["a.vae.safetensors", "b.VAE.pt", "sub/c.vae.ckpt", "d.vae.pt.corrupted"])
def test_a_vae_beside_checkpoints_is_a_vae(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name, "base.safetensors")
    assert {file.path: file.kind for file in scan(tmp_path, "checkpoint").files} == {
        name: "vae", "base.safetensors": "checkpoint",
    }  # fmt: skip


def test_half_downloaded_names_and_those_of_others_are_no_models(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "._ok.safetensors",
        ".stablequeue/a.safetensors",
        "a.safetensors.part",
        "a.safetensors.crdownload",
    )
    touch(tmp_path, "b.safetensors~", "c.safetensors.tmp", "d.safetensors.!qB", "ok.safetensors")
    assert paths(scan(tmp_path)) == ["ok.safetensors"]


def test_a_file_with_a_control_file_beside_it_is_partial(tmp_path: Path) -> None:
    touch(tmp_path, "a.safetensors", "a.safetensors.aria2", "b.safetensors", "sub/a.safetensors")
    assert {file.path: file.partial for file in scan(tmp_path).files} == {
        "a.safetensors": True,
        "b.safetensors": False,
        "sub/a.safetensors": False,
    }


def test_what_forge_renamed_is_set_aside_and_other_corrupted_names_are_ignored(tmp_path: Path) -> None:
    touch(tmp_path, "a.safetensors.corrupted", "notes.txt.corrupted", "b.corrupted", "c.PT.Corrupted")
    found = scan(tmp_path)
    assert paths(found) == ["a.safetensors.corrupted", "c.PT.Corrupted"]
    assert all(file.set_aside for file in found.files)


def test_stat_key_and_native_path_lead_to_the_file(library: Path) -> None:
    for file in scan(library).files:
        assert file.stat == stat_key(os.stat(file.native))
        assert isinstance(file.stat, StatKey)


def test_a_linked_file_is_a_row_of_its_own_with_the_inode_of_its_target(library: Path) -> None:
    by_path = {file.path: file for file in scan(library).files}
    link, target = by_path["people/linked.safetensors"], by_path["a.safetensors"]
    assert (link.link, target.link) == (True, False)
    assert (link.device, link.inode, link.size) == (target.device, target.inode, target.size)


def test_a_hard_link_shares_the_inode(tmp_path: Path) -> None:
    touch(tmp_path, "a.pt")
    os.link(tmp_path / "a.pt", tmp_path / "b.pt")
    first, second = scan(tmp_path).files
    assert first.inode == second.inode


def test_a_broken_link_is_told_and_its_row_is_kept(tmp_path: Path) -> None:
    touch(tmp_path, "a.pt")
    (tmp_path / "gone.pt").symlink_to(tmp_path / "nowhere.pt")
    (tmp_path / "folder").symlink_to(tmp_path / "nowhere")
    found = scan(tmp_path)
    assert paths(found) == ["a.pt"]
    assert {(item.path, item.code) for item in found.skipped} == {
        ("gone.pt", "broken_link"),
        ("folder", "broken_link"),
    }
    assert all("not there" in item.reason for item in found.skipped)
    assert not found.knows("gone.pt")
    assert not found.knows("folder/x.pt")
    assert found.knows("b.pt")


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes in folders")
def test_a_pipe_with_the_name_of_a_model_is_told_and_never_opened(tmp_path: Path) -> None:
    touch(tmp_path, "a.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "link.pt").symlink_to(tmp_path / "pipe.pt")
    found = scan(tmp_path)
    assert paths(found) == ["a.pt"]
    assert {(item.path, item.code) for item in found.skipped} == {
        ("link.pt", "not_a_file"),
        ("pipe.pt", "not_a_file"),
    }


def test_loops_end_and_no_folder_is_walked_twice(tmp_path: Path) -> None:
    touch(tmp_path, "a.pt", "sub/deep/b.pt")
    (tmp_path / "sub" / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "sub")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    found = scan(tmp_path)
    assert paths(found) == ["a.pt", "sub/deep/b.pt"]
    assert [item.path for item in found.skipped] == ["self"]


def test_a_linked_folder_is_followed_wherever_it_leads(tmp_path: Path) -> None:
    """So models are shared with another WebUI; of one that another folder owns both know."""
    touch(tmp_path, "loras/a.pt", "more/styles/b.pt", "elsewhere/c.pt", "elsewhere/deep/d.pt")
    (tmp_path / "loras" / "inside").symlink_to(tmp_path / "more" / "styles")
    (tmp_path / "loras" / "outside").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "loras")
    loras, more = make_root("lora", str(tmp_path / "loras")), make_root("lora", str(tmp_path / "more"))
    found = scan_root(loras, other_roots=[loras, more])
    assert paths(found) == ["a.pt", "inside/b.pt", "outside/c.pt", "outside/deep/d.pt"]
    assert found.skipped == ()
    assert paths(scan_root(more, other_roots=[loras, more])) == ["styles/b.pt"]


def test_the_inner_of_two_roots_owns_its_files(tmp_path: Path) -> None:
    touch(tmp_path, "a.safetensors", "loras/b.safetensors", "loras/deep/c.safetensors", "other/d.safetensors")
    outer, inner = make_root("checkpoint", str(tmp_path)), make_root("lora", str(tmp_path / "loras"))
    first, second = scan_roots([outer, inner]).roots
    assert paths(first) == ["a.safetensors", "other/d.safetensors"]
    assert paths(second) == ["b.safetensors", "deep/c.safetensors"]


def test_a_root_that_is_itself_a_link_is_walked(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.pt")
    (tmp_path / "link").symlink_to("real")
    assert paths(scan(tmp_path / "link")) == ["a.pt"]


def test_names_that_differ_only_in_case_or_unicode_form_are_told(tmp_path: Path) -> None:
    composed, decomposed = unicodedata.normalize("NFC", "é.pt"), unicodedata.normalize("NFD", "é.pt")
    touch(tmp_path, "Model.pt", "model.pt", composed, decomposed, "sub/model.pt", "other.pt")
    found = scan(tmp_path)
    assert {frozenset(twins.paths) for twins in found.name_collisions} == {
        frozenset({"Model.pt", "model.pt"}),
        frozenset({composed, decomposed}),
    }
    assert len(found.files) == 6


@pytest.mark.parametrize(
    "name",
    [
        b"bad\xff\xfe.pt",
        b"line\nbreak.pt",
        b"back\\slash.pt",
        b"bell\x07.pt",
        "\u202eltr.pt".encode(),
        b"a" * 252 + b".pt",
    ],
)
def test_odd_names_are_scanned_with_a_wire_path_and_can_be_opened(tmp_path: Path, name: bytes) -> None:
    with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:
        file.write(b"x")
    (only,) = scan(tmp_path).files
    assert wire_path_problem(only.path) is None
    only.path.encode("utf-8")
    assert os.stat(only.native).st_size == 1


def test_a_folder_named_like_a_model_is_walked_and_a_pipe_is_left_alone(tmp_path: Path) -> None:
    touch(tmp_path, "dir.safetensors/a.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    assert paths(scan(tmp_path)) == ["dir.safetensors/a.pt"]


def test_a_file_that_vanishes_during_the_walk_is_simply_gone(tmp_path: Path) -> None:
    touch(tmp_path, "a.pt", "b.pt")

    class Vanishing(ScanIO):
        def scandir(self, path: str) -> list[os.DirEntry[str]]:
            entries = super().scandir(path)
            (tmp_path / "a.pt").unlink()
            return entries

    found = scan_root(make_root("lora", str(tmp_path)), io=Vanishing())
    assert paths(found) == ["b.pt"]
    assert found.failed_dirs == ()
    assert found.knows("a.pt")


# --- R7: the faults that look like deletions ------------------------------------------------------------


def known_before(top: Path) -> list[str]:
    return paths(scan(top))


def falsely_gone(before: list[str], found: RootScan) -> list[str]:
    """Rows that an index would remove although the files may be there."""
    seen = set(paths(found))
    return [path for path in before if path not in seen and found.knows(path) and found.health == "healthy"]


def test_a_missing_root_is_unreachable_and_knows_nothing(library: Path) -> None:
    before = known_before(library)
    library.rename(library.with_name("elsewhere"))
    found = scan(library)
    assert found.health == "unreachable"
    assert falsely_gone(before, found) == []
    assert found.skipped[0].path == ""
    assert "No such file" in found.skipped[0].reason


def test_an_empty_mount_point_is_suspect(library: Path) -> None:
    before = known_before(library)
    library.rename(library.with_name("elsewhere"))
    library.mkdir()
    found = scan(library)
    assert (found.health, found.empty) == ("suspect", True)
    assert falsely_gone(before, found) == []


def test_a_root_that_is_exchanged_during_the_walk_is_suspect(library: Path) -> None:
    before = known_before(library)

    class Unmounting(ScanIO):
        def scandir(self, path: str) -> list[os.DirEntry[str]]:
            if library.exists() and path != str(library):
                library.rename(library.with_name("elsewhere"))
                library.mkdir()
                (library / "other.pt").write_bytes(b"x")
            return super().scandir(path)

    found = scan_root(make_root("lora", str(library)), io=Unmounting())
    assert found.health == "suspect"
    assert falsely_gone(before, found) == []


@pytest.mark.fault
@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ELOOP])
def test_folders_that_cannot_be_listed_keep_everything_beneath_them(library: Path, error: int) -> None:
    before = known_before(library)
    broken = {str(library / "styles"), str(library / "people")}

    class HalfBroken(ScanIO):
        def scandir(self, path: str) -> list[os.DirEntry[str]]:
            if path in broken:
                raise OSError(error, os.strerror(error), path)
            return super().scandir(path)

    found = scan_root(make_root("lora", str(library)), io=HalfBroken())
    assert falsely_gone(before, found) == []
    assert sorted(found.failed_dirs) == ["people", "styles"]
    assert found.knows("gone.pt")
    assert not found.knows("styles/old/e.safetensors")
    assert found.knows("styles.pt")


@pytest.mark.fault
def test_a_walk_that_hides_its_errors_is_caught_by_these_tests(library: Path) -> None:
    before = known_before(library)

    class Hiding(ScanIO):
        """As ``os.walk``: what cannot be listed looks empty."""

        def scandir(self, path: str) -> list[os.DirEntry[str]]:
            return [] if path.endswith("styles") else super().scandir(path)

    found = scan_root(make_root("lora", str(library)), io=Hiding())
    assert len(falsely_gone(before, found)) == 3


def test_folders_without_permission_keep_everything_beneath_them() -> None:
    with tempfile.TemporaryDirectory() as folder, as_somebody(folder):
        top = Path(folder)
        touch(top, "a.pt", "styles/b.pt", "styles/old/c.pt")
        before = known_before(top)
        (top / "styles").chmod(0)
        try:
            found = scan(top)
        finally:
            (top / "styles").chmod(0o755)
    assert falsely_gone(before, found) == []
    assert [(item.path, item.reason) for item in found.skipped] == [("styles", "Permission denied")]


@contextmanager
def as_somebody(folder: str) -> Iterator[None]:
    """Without root's rights, for which folder modes mean nothing."""
    if os.geteuid() != 0:
        yield
        return
    os.chown(folder, 65534, -1)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_files_that_were_really_deleted_are_known_to_be_gone(library: Path) -> None:
    before = known_before(library)
    for path in (library / "styles").rglob("*.safetensors"):
        path.unlink()
    assert len(falsely_gone(before, scan(library))) == 3


def test_a_rescan_opens_no_file_and_looks_once_at_each(library: Path, faulty_io: Any) -> None:
    class Counting(ScanIO):
        stats = 0

        def stat_entry(self, entry: os.DirEntry[str]) -> os.stat_result:
            self.stats += 1
            return entry.stat()

        def open(self, path: str) -> Any:
            raise AssertionError("a scan reads no content")

    io = Counting()
    assert len(scan_root(make_root("lora", str(library)), io=io).files) == io.stats
