"""On what kind of device a folder lies: that decides how many files are read at once, and how fast.

Linux: the mount's type from ``/proc/self/mountinfo``, then ``rotational`` of the block device from
``/sys/dev/block``. Elsewhere every local folder counts as ``ssd``, a UNC path as ``network``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

DeviceKind = Literal["ssd", "slow", "network"]

_NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "9p", "glusterfs", "lustre", "ncpfs", "davfs"}
)
_LOCAL_FUSE_TYPES = frozenset({"fuseblk", "fuse.ntfs-3g", "fuse.exfat", "fuse.mergerfs", "fuse.lowntfs-3g"})
# File systems that make inode numbers up as they go: equal numbers mean nothing there, nor do new ones.
_UNSTABLE_INODE_TYPES = frozenset({"vfat", "msdos", "exfat", "cifs", "smb3", "9p"})


@dataclass(frozen=True)
class Device:
    """Where a folder lies. ``name`` is equal for folders on one device (one stream, if it is slow).

    ``kind``: ``ssd``, ``slow`` (a disk that turns) or ``network``; what cannot be found out is ``ssd``.
    """

    name: str
    kind: DeviceKind
    stable_inodes: bool = True


def device_of(path: str) -> Device:
    """The device under ``path`` (need not exist any more: then the nearest folder above it)."""
    if path.startswith(("\\\\", "//")) and os.name == "nt":
        return Device("\\".join(path.replace("/", "\\").split("\\")[:4]), "network")
    number = _device_number(path)
    if number is None:
        return Device("unknown", "ssd")
    filesystem = _mount_type(number)
    stable = not (filesystem in _UNSTABLE_INODE_TYPES or filesystem.startswith("fuse"))
    if _is_network(filesystem):
        return Device(number, "network", stable)
    block, rotational = _block_device(number)
    return Device(block, "slow" if rotational else "ssd", stable)


def _device_number(path: str) -> str | None:
    """``major:minor`` of the device, as Linux writes it."""
    while True:
        try:
            device = os.stat(path).st_dev
        except OSError:
            parent = os.path.dirname(path)
            if parent == path:
                return None
            path = parent
            continue
        return f"{os.major(device)}:{os.minor(device)}" if hasattr(os, "major") else str(device)


def _is_network(filesystem: str) -> bool:
    if filesystem in _NETWORK_TYPES:
        return True
    return filesystem.startswith("fuse") and filesystem not in _LOCAL_FUSE_TYPES


def _mount_type(number: str, mountinfo: str = "/proc/self/mountinfo") -> str:
    """The file system's type (field after ``-`` in mountinfo, proc(5)); empty when unknown."""
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                before, _, after = line.partition(" - ")
                if before.split()[2:3] == [number]:
                    return after.split()[0]
    except (OSError, IndexError):
        pass
    return ""


def _block_device(number: str, sys_block: str = "/sys/dev/block") -> tuple[str, bool]:
    """Name and ``rotational`` of the whole disk that a partition belongs to."""
    place = os.path.realpath(os.path.join(sys_block, number))
    for folder in (place, os.path.dirname(place)):
        try:
            with open(os.path.join(folder, "queue", "rotational"), encoding="ascii") as flag:
                return os.path.basename(folder), flag.read().strip() == "1"
        except (OSError, UnicodeDecodeError):
            continue
    return number, False
