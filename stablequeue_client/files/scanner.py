"""Walk the model folders and report what lies there: values, never exceptions.

Own walk over ``scandir`` (``os.walk`` swallows errors and shows an unmounted folder as an empty one).
A directory that could not be listed is in ``failed_dirs``: nothing may be concluded about what lies at or
beneath it. Real directories are walked first, then linked ones, and no directory is walked twice in a root.
"""

from __future__ import annotations

import os
import stat as stat_bits
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from stat import S_ISREG
from typing import Literal

import msgspec

from stablequeue_client.files.devices import device_of
from stablequeue_client.files.file_io import OS_IO, WINDOWS, ScanIO
from stablequeue_client.files.model_folders import (
    EXTENSIONS,
    VAES_AMONG_CHECKPOINTS,
    Root,
    find_webui_roots,
    make_root,
)
from stablequeue_client.shared.model_files.model_file import Kind, RootHealth, StatKey
from stablequeue_client.shared.wire.inventory import WIRE_PATH_MAX, wire_path

__all__ = [
    "NameCollision",
    "Root",
    "RootScan",
    "ScanReport",
    "ScannedFile",
    "Skipped",
    "find_webui_roots",
    "make_root",
    "scan_root",
    "scan_roots",
]

SkipCode = Literal["folder_unreadable", "file_unreadable", "broken_link", "not_a_file", "path_too_long"]

# A name of 255 bytes, each of them escaped.
_NAME_MAX = 1020
_NOT_A_FILE = "neither a file nor a folder but a pipe, socket or device; some WebUIs hang at it"
SET_ASIDE_SUFFIX = ".corrupted"
"""Forge renames a model it could not load to ``<name>.corrupted``."""
_NO_MODELS = ("._", ".stablequeue")
"""Names that begin so are no models and hold none: what macOS keeps of a file on a foreign disk, and our own
folders. Hosts list all else that begins with a dot."""
_CONTROL_SUFFIX = ".aria2"
"""aria2 writes into the file's final name and keeps this file beside it until it is complete."""


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
        return os.path.join(self.folder, self.name)

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
class NameCollision:
    """Names in one folder that differ only in case or Unicode form: Windows and macOS see one file."""

    paths: tuple[str, ...]


@dataclass(frozen=True)
class RootScan:
    """What one root held.

    ``failed_dirs``: wire paths where the walk could not look (also links that lead nowhere now).
    Health ``suspect``: empty, or not the same folder as before the walk.
    """

    root: Root
    files: tuple[ScannedFile, ...]
    skipped: tuple[Skipped, ...]
    failed_dirs: tuple[str, ...]
    health_before: RootHealth
    health_after: RootHealth
    name_collisions: tuple[NameCollision, ...] = ()
    empty: bool = False

    @property
    def health(self) -> RootHealth:
        """The worse of both probes."""
        order: tuple[RootHealth, ...] = ("healthy", "suspect", "unreachable")
        return max(self.health_before, self.health_after, key=order.index)

    def knows(self, path: str) -> bool:
        """Return whether the walk can tell that a file is not at ``path`` (wire path): only then is it
        gone."""
        if self.health == "unreachable":
            return False
        return not any(
            failed == "" or path == failed or path.startswith(failed + "/") for failed in self.failed_dirs
        )


@dataclass(frozen=True)
class ScanReport:
    """All roots of a server."""

    roots: tuple[RootScan, ...]


def scan_roots(roots: Sequence[Root], *, io: ScanIO = OS_IO) -> ScanReport:
    """Scan every root; of two roots one inside the other, the inner one owns its files."""
    return ScanReport(tuple(scan_root(root, io=io, other_roots=roots) for root in roots))


def scan_root(root: Root, *, io: ScanIO = OS_IO, other_roots: Sequence[Root] = ()) -> RootScan:
    """Scan one root. ``other_roots``: whose files are not this root's, unless a link leads to them."""
    before = _probe(root.path, io)
    walk = _RootWalk(root, io, other_roots)
    if before.health == "unreachable":
        walk.fail("", "folder_unreadable", before.reason)
        after = before
    else:
        walk.run()
        after = _probe(root.path, io)
        if after.health == "healthy" and after.identity != before.identity:
            after = _Probe("suspect", "another folder is there now", after.identity)
    return RootScan(
        root=root,
        files=tuple(walk.files),
        skipped=tuple(walk.skipped),
        failed_dirs=tuple(walk.failed_dirs),
        health_before=before.health,
        health_after=after.health,
        name_collisions=tuple(walk.name_collisions),
        empty=before.empty or after.empty,
    )


@dataclass(frozen=True)
class _Probe:
    health: RootHealth
    reason: str = ""
    identity: tuple[int, int] = (0, 0)
    empty: bool = False


def _probe(path: str, io: ScanIO) -> _Probe:
    """Is the folder there, and does it hold anything? (An empty mount point is a folder as well.)"""
    try:
        found = io.stat(path)
        if not stat_bits.S_ISDIR(found.st_mode):
            return _Probe("unreachable", "it is not a folder")
        empty = io.is_empty(path)
    except OSError as error:
        return _Probe("unreachable", error.strerror or type(error).__name__)
    identity = (found.st_dev, found.st_ino)
    return _Probe("suspect", "it is empty", identity, True) if empty else _Probe("healthy", "", identity)


@dataclass(frozen=True)
class _Folder:
    """A directory to be walked: native path, wire prefix (empty or ending in ``/``), path without links."""

    native: str
    prefix: str
    real: str


class _RootWalk:
    """One walk over one root."""

    def __init__(self, root: Root, io: ScanIO, other_roots: Sequence[Root]) -> None:
        self._root, self._io = root, io
        self.files: list[ScannedFile] = []
        self.skipped: list[Skipped] = []
        self.failed_dirs: list[str] = []
        self.name_collisions: list[NameCollision] = []
        self._walked: set[str] = set()
        self._links: list[_Folder] = []
        self._extensions = frozenset(EXTENSIONS[root.kind])
        self._stable_inodes = not WINDOWS and device_of(root.path).stable_inodes
        own = _real_or_same(root.path, io)
        self._real = own
        # Of the others what was found at the start: one that hangs now must not hold up this walk.
        self._owned_by_others = {other.real or _real_or_same(other.path, io) for other in other_roots} - {own}

    def run(self) -> None:
        self._walk_tree(_Folder(self._root.path, "", self._real))
        while self._links:
            self._walk_tree(self._links.pop(0))

    def fail(self, path: str, code: SkipCode, reason: str) -> None:
        """Nothing is known of what lies at or beneath ``path``."""
        self.failed_dirs.append(path)
        self.skipped.append(Skipped(path, code, reason))

    def _walk_tree(self, start: _Folder) -> None:
        pending = [start]
        while pending:
            folder = pending.pop()
            if folder.real in self._walked:
                continue
            self._walked.add(folder.real)
            if len(folder.prefix) > WIRE_PATH_MAX - _NAME_MAX:
                self.fail(folder.prefix[: WIRE_PATH_MAX - _NAME_MAX], "path_too_long", "its path is too long")
                continue
            try:
                entries = self._io.scandir(folder.native)
            except OSError as error:
                self.fail(folder.prefix.rstrip("/"), "folder_unreadable", _cause(error))
                continue
            pending.extend(self._walk_entries(folder, entries))

    def _walk_entries(self, folder: _Folder, entries: list[os.DirEntry[str]]) -> list[_Folder]:
        """Collect the models of one directory; its sub-directories are returned, linked ones set apart.

        The hot loop of every rescan: one stat per file, of the target when it is a link, and no call more.
        """
        root_id, kind, prefix, native = self._root.root_id, self._root.kind, folder.prefix, folder.native
        extensions, stat_entry, inodes = self._extensions, self._io.stat_entry, self._stable_inodes
        has_vaes = kind == "checkpoint"
        plain = _is_plain("".join([entry.name for entry in entries]))
        files: list[ScannedFile] = []
        keys: list[str] = []
        controlled: set[str] = set()
        folders: list[_Folder] = []
        for entry in entries:
            name = entry.name
            lowered = name.lower()
            extension = lowered[lowered.rfind(".") :]
            set_aside = extension == SET_ASIDE_SUFFIX
            if set_aside:
                extension = os.path.splitext(lowered.removesuffix(SET_ASIDE_SUFFIX))[1]
            try:
                if name.startswith(_NO_MODELS):
                    continue
                is_vae = has_vaes and _is_vae(lowered)
                if extension not in extensions and not is_vae:
                    if extension == _CONTROL_SUFFIX:
                        controlled.add(name[: -len(_CONTROL_SUFFIX)])
                    self._add_folder(folder, entry, folders)
                elif not S_ISREG((found := stat_entry(entry)).st_mode):
                    self._add_folder(folder, entry, folders)
                    if not stat_bits.S_ISDIR(found.st_mode):
                        self.skipped.append(Skipped(prefix + _wire_name(name), "not_a_file", _NOT_A_FILE))
                else:
                    path = prefix + (name if plain else _wire_name(name))
                    files.append(
                        ScannedFile(
                            root_id, path, "vae" if is_vae else kind, native, name, found.st_size,
                            found.st_mtime_ns, 0 if WINDOWS else found.st_ctime_ns,
                            found.st_ino if inodes else 0, found.st_dev, entry.is_symlink(), False, set_aside,
                        )
                    )  # fmt: skip
                    keys.append(lowered if plain else _collision_key(name))
            except OSError as error:
                self._entry_failed(prefix + _wire_name(name), entry, error)
        if len(set(keys)) < len(keys):
            self._add_name_collisions(files, keys)
        self.files.extend(_with_partial(files, controlled) if controlled else files)
        return folders

    def _add_folder(self, folder: _Folder, entry: os.DirEntry[str], folders: list[_Folder]) -> None:
        """Queue a directory; one that another root owns is that root's. Files of other kinds are ignored."""
        name = entry.name
        if _is_link(entry):
            self._add_link(folder.prefix + _wire_name(name), entry)
        elif entry.is_dir(follow_symlinks=False):
            prefix = f"{folder.prefix}{_wire_name(name)}/"
            child = _Folder(os.path.join(folder.native, name), prefix, os.path.join(folder.real, name))
            if child.real not in self._owned_by_others:
                folders.append(child)

    def _add_link(self, path: str, entry: os.DirEntry[str]) -> None:
        """Queue a linked directory, wherever it leads: so people share models, and hosts follow it too."""
        if stat_bits.S_ISDIR(self._io.stat_entry(entry).st_mode):
            self._links.append(_Folder(entry.path, path + "/", self._io.realpath(entry.path)))

    def _entry_failed(self, path: str, entry: os.DirEntry[str], error: OSError) -> None:
        """A file gone since the listing is gone; anything else keeps what was known of it."""
        try:
            link = entry.is_symlink()
        except OSError:
            link = True
        if link:
            gone = isinstance(error, FileNotFoundError)
            reason = "a link to something that is not there (now)" if gone else _cause(error)
            self.fail(path, "broken_link", reason)
        elif not isinstance(error, FileNotFoundError):
            self.fail(path, "file_unreadable", _cause(error))

    def _add_name_collisions(self, files: list[ScannedFile], keys: list[str]) -> None:
        paths: dict[str, list[str]] = {}
        for file, key in zip(files, keys, strict=True):
            paths.setdefault(key, []).append(file.path)
        self.name_collisions.extend(
            NameCollision(tuple(sorted(same))) for same in paths.values() if len(same) > 1
        )


def _is_vae(name: str) -> bool:
    return name.removesuffix(SET_ASIDE_SUFFIX).endswith(VAES_AMONG_CHECKPOINTS)


def _with_partial(files: list[ScannedFile], names: set[str]) -> list[ScannedFile]:
    return [msgspec.structs.replace(file, partial=True) if file.name in names else file for file in files]


def _wire_name(name: str) -> str:
    return wire_path(name, windows=WINDOWS)


def _is_plain(names: str) -> bool:
    """Return whether wire names are the names themselves."""
    return names.isascii() and names.isprintable() and "\\" not in names


def _collision_key(name: str) -> str:
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def _is_link(entry: os.DirEntry[str]) -> bool:
    """A symbolic link, or a junction on Windows (which ``is_symlink`` denies)."""
    if entry.is_symlink():
        return True
    if not WINDOWS:
        return False
    attributes = getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0)
    return bool(attributes & stat_bits.FILE_ATTRIBUTE_REPARSE_POINT)


def _real_or_same(path: str, io: ScanIO) -> str:
    try:
        return io.realpath(path)
    except OSError:
        return os.path.abspath(path)


def _cause(error: OSError) -> str:
    return error.strerror or type(error).__name__
