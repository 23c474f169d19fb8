"""Which file a WebUI takes for a name that it reads in a job, of those that its server told of. Pure.

As the hosts look things up: a LoRA by the name of its file, in its own case, and only where no file is called
so by the name in its header (``ss_output_name``), which counts for nothing once two files carry it; a
checkpoint by its path or its name; a hires or refiner checkpoint also by a part of its title, the shortest
first; VAEs and text encoders by their file names; an embedding in any case. Where hosts go by the order of
their walk, all that may be it are answered. How a model was called first, or elsewhere, counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stablequeue_client.shared.generation.requirements import Requirement, checkpoint_parts
from stablequeue_client.shared.model_files.model_file import names_in_webui, search_key, stem_key
from stablequeue_hub.inventory.availability_rows import MAY_BECOME_READY

NOT_READ = (*MAY_BECOME_READY, "partial")
"""States of a file that a WebUI may take, and of which nobody knows the content."""
MATCHED_LOOSELY = ("hires_checkpoint", "refiner")
"""Roles whose checkpoint a host also finds by a part of its title."""
_TITLE_HASH = len(" [0123456789]")
"""So much longer is the title of a checkpoint that the host has hashed."""


@dataclass(frozen=True)
class NamedFile:
    """A file as its server told of it. ``sha256``: None while nobody has read it. ``output_name``: what a
    LoRA's header calls it, where that was looked for."""

    server_id: str
    root: str
    path: str
    kind: str
    sha256: str | None
    connected: bool
    output_name: str = ""


def written_name(requirement: Requirement) -> str:
    """Return the name that a host looks for: without a title's hash, folders joined by ``/``."""
    return checkpoint_parts(requirement.name)[0].strip().replace("\\", "/")


def written_names(requirement: Requirement) -> list[str]:
    """Return what may be a file's name, in the order in which it is tried: all of it, as a file may end in
    a blank or in something like a title's hash; then without."""
    whole = requirement.name.replace("\\", "/")
    return list(dict.fromkeys(name for name in (whole, whole.strip(), written_name(requirement)) if name))


def stems_of(requirement: Requirement) -> set[str]:
    """Return the stem keys of files that may be meant; a name may itself end like a file's."""
    names = written_names(requirement)
    return {key for name in names for key in (stem_key(name), search_key(name.rsplit("/", 1)[-1]))}


def is_called_whole(requirement: Requirement, file: NamedFile) -> bool:
    """Return whether the file is called by all that was written, what looks like a title's hash included."""
    whole = requirement.name.replace("\\", "/")
    return file.kind in requirement.kinds and bool(
        {whole, whole.strip()}.intersection(names_in_webui(file.kind, file.path))
    )


def chosen_by_host(requirement: Requirement, files: Iterable[NamedFile]) -> list[NamedFile]:
    """Those of one server's files of which its WebUI takes one: several where only their order decides."""
    own = _connected_first(file for file in files if file.kind in requirement.kinds)
    for name in written_names(requirement):
        called = [file for file in own if _has_name(file, name)]
        if called:
            return called
    return _chosen_by_header(written_name(requirement), own)


def _has_name(file: NamedFile, name: str) -> bool:
    names = names_in_webui(file.kind, file.path)
    return name in names or (file.kind == "embedding" and search_key(name) in map(search_key, names))


def _chosen_by_header(name: str, files: Sequence[NamedFile]) -> list[NamedFile]:
    """The LoRA whose header says ``name``. A name that two LoRAs have is forbidden in the hosts, in every
    case; whether that of a header and of another file is one depends on their order."""
    named = [(file, names_in_webui("lora", file.path)[0]) for file in files if file.kind == "lora"]
    aliases = [file.output_name or stem for file, stem in named]
    alike = [alias for alias in aliases if alias.lower() == name.lower()]
    others = {stem for file, stem in named if file.output_name not in ("", stem)}
    if name.lower() == "none" or len(set(alike)) < len(alike) or others.intersection(alike):
        return []
    return [file for file, _ in named if file.output_name == name]


def closest_checkpoints(requirement: Requirement, files: Iterable[NamedFile]) -> list[NamedFile]:
    """For a hires or refiner checkpoint that no file is called exactly: those whose title may be the shortest
    with the name in it. ``files``: all checkpoints of one server."""
    name = written_name(requirement)
    found = _connected_first(file for file in files if name and name in file.path)
    shortest = min((len(file.path) for file in found), default=0)
    return [file for file in found if len(file.path) <= shortest + _TITLE_HASH]


def possible_files(
    requirement: Requirement, files: Sequence[NamedFile], source_id: str | None
) -> list[NamedFile]:
    """Every file that a name may mean that no host on the source takes: what some host takes in whatever
    case, and what is called so on the source at least without folder and extension; where there is nothing of
    this, what is called so elsewhere."""
    of_kind = [file for file in files if file.kind in requirement.kinds]
    keys, stems = [search_key(name) for name in written_names(requirement)], stems_of(requirement)
    named = next((some for key in keys if (some := [file for file in of_kind if _is_named(file, key)])), [])
    loose = [file for file in of_kind if stem_key(file.path) in stems and file not in named]
    here = [file for file in loose if file.server_id == source_id]
    return [*named, *here] or loose


def _is_named(file: NamedFile, key: str) -> bool:
    names = (*names_in_webui(file.kind, file.path), file.output_name)
    return any(name and search_key(name) == key for name in names)


def _connected_first(files: Iterable[NamedFile]) -> list[NamedFile]:
    """Without those in folders that are not connected, unless there are no others."""
    found = list(files)
    return [file for file in found if file.connected] or found
