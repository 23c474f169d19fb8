"""Which folders are roots, and on what kind of device they lie."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from stablequeue_client.files import devices
from stablequeue_client.files.model_folders import find_webui_roots, make_root
from stablequeue_client.shared.errors import FolderError


def test_a_root_id_depends_on_kind_and_real_path_only(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    root = make_root("lora", str(tmp_path / "real"))
    wanted = hashlib.sha256(b"lora\0" + str((tmp_path / "real").resolve()).encode()).hexdigest()[:8]
    assert root.root_id == wanted
    assert make_root("lora", str(tmp_path / "link")).root_id == wanted
    assert make_root("lora", str(tmp_path / "real") + "/").root_id == wanted
    assert make_root("vae", str(tmp_path / "real")).root_id != wanted


def test_a_label_never_shows_the_whole_path(tmp_path: Path) -> None:
    assert make_root("lora", "/home/ann/webui/models/Lora").label == "models/Lora"
    assert make_root("lora", "/").label == "/"


def test_the_folders_of_a_webui_are_found(tmp_path: Path) -> None:
    for name in ("models/Stable-diffusion", "models/Lora", "models/VAE", "embeddings", "models/text_encoder"):
        (tmp_path / name).mkdir(parents=True)
    found = find_webui_roots(str(tmp_path))
    assert [root.kind for root in found] == ["checkpoint", "lora", "vae", "text_encoder", "embedding"]
    assert found[0].path == str(tmp_path / "models" / "Stable-diffusion")


def test_a_folder_that_is_no_webui_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"has no models folder.*--checkpoints"):
        find_webui_roots(str(tmp_path))


MOUNTINFO = """\
25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
31 25 0:44 / /mnt/nas rw - nfs4 nas:/models rw
32 25 0:45 / /mnt/ssh\\040fs rw - fuse.sshfs me@host: rw
33 25 0:46 / /mnt/pool rw - fuse.mergerfs pool rw
34 25 8:17 / /mnt/stick rw - vfat /dev/sdb1 rw
"""


@pytest.mark.parametrize(
    ("number", "filesystem", "network"),
    [
        ("254:0", "ext4", False),
        ("0:44", "nfs4", True),
        ("0:45", "fuse.sshfs", True),
        ("0:46", "fuse.mergerfs", False),
        ("9:9", "", False),
    ],
)
def test_the_type_of_a_mount_is_read_from_mountinfo(
    tmp_path: Path, number: str, filesystem: str, network: bool
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTINFO)
    assert devices._mount_type(number, str(table)) == filesystem
    assert devices._is_network(filesystem) is network


@pytest.mark.parametrize("flag", ["0", "1"])
def test_a_partition_is_as_fast_as_its_disk(tmp_path: Path, flag: str) -> None:
    disk = tmp_path / "devices" / "sda"
    (disk / "queue").mkdir(parents=True)
    (disk / "queue" / "rotational").write_text(flag + "\n")
    (disk / "sda1").mkdir()
    (tmp_path / "8:1").symlink_to(disk / "sda1")
    assert devices._block_device("8:1", str(tmp_path)) == ("sda", flag == "1")
    assert devices._block_device("8:2", str(tmp_path)) == ("8:2", False)


def test_a_folder_that_is_not_there_counts_as_the_one_above_it(tmp_path: Path) -> None:
    assert devices.device_of(str(tmp_path / "no" / "such")) == devices.device_of(str(tmp_path))
    assert devices.device_of(str(tmp_path)).kind in ("ssd", "slow", "network")
