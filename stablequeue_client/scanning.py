"""Walk the model folders and report what lies there: values, never exceptions.

Own walk over ``scandir`` (``os.walk`` swallows errors and shows an unmounted folder as an empty one).
A directory that could not be listed is in ``failed_dirs``: nothing may be concluded about what lies at or
beneath it. Real directories are walked first; a linked one is followed only where it leads into a
configured root, and no directory is walked twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from stablequeue_client.model_files import Kind, RootHealth, StatKey
from stablequeue_client.read_io import OS_IO, ScanIO
from stablequeue_client.roots import Root, find_webui_roots, make_root

SkipCode = Literal["folder_unreadable", "file_unreadable", "broken_link", "link_outside", "not_a_file"]


class ScannedFile(msgspec.Struct, frozen=True, gc=False):
    """One model file as the walk saw it. A struct of plain values because tens of thousands are made.

    ``path`` is the wire path relative to the root; ``inode`` is 0 where inodes mean nothing; ``device``
    is only good for comparing within one scan. ``link``: the name is a symbolic link to the file.
    ``partial``: a download's control file lies beside it. ``set_aside``: Forge renamed it to *.corrupted.
    """

    root_id: str
    path: str
    kind: Kind
    folder: str
    name: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int
    link: bool = False
    partial: bool = False
    set_aside: bool = False

    @property
    def native(self) -> str:
        """The path for the operating system."""
        raise NotImplementedError

    @property
    def stat(self) -> StatKey:
        return StatKey(self.size, self.mtime_ns, self.ctime_ns, self.inode)


@dataclass(frozen=True)
class Skipped:
    """Something in a root that could not be looked at. ``path`` is a wire path, empty for the root itself."""

    path: str
    code: SkipCode
    reason: str


@dataclass(frozen=True)
class Twins:
    """Names in one folder that differ only in case or Unicode form: Windows and macOS see one file."""

    paths: tuple[str, ...]


@dataclass(frozen=True)
class RootScan:
    """What one root held. ``suspect`` health: empty, or another folder than before the walk."""

    root: Root
    files: tuple[ScannedFile, ...]
    skipped: tuple[Skipped, ...]
    failed_dirs: tuple[str, ...]
    health_before: RootHealth
    health_after: RootHealth
    twins: tuple[Twins, ...] = ()
    empty: bool = False

    @property
    def health(self) -> RootHealth:
        """The worse of both probes."""
        raise NotImplementedError

    def knows(self, path: str) -> bool:
        """Whether the walk can tell that a file is not at ``path`` (wire path): only then is it gone."""
        raise NotImplementedError


@dataclass(frozen=True)
class ScanReport:
    """All roots of a server."""

    roots: tuple[RootScan, ...]


def scan_roots(roots: Sequence[Root], *, io: ScanIO = OS_IO) -> ScanReport:
    """Scan every root; of two roots one inside the other, the inner one owns its files."""
    raise NotImplementedError


def scan_root(root: Root, *, io: ScanIO = OS_IO, other_roots: Sequence[Root] = ()) -> RootScan:
    """Scan one root. ``other_roots``: where links may lead, and whose files are not this root's."""
    raise NotImplementedError
