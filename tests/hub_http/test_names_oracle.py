"""Files are renamed, exchanged and copied on three servers; each name means what the host there would take.

The oracle is written from what hosts do (tables filled file by file, in every order that the walk may have),
and knows nothing of how the hub finds its answers.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stablequeue_client.shared.wire.inventory import (
    FileEntry,
    RootEntry,
    WireClaim,
    WireDigests,
    digest_hex,
    digest_sum,
    entry_dict,
    row_digest,
)

from ..fake_runner import sha256_of
from .test_job_resolution import header_says

SEED = int(os.environ.get("STABLEQUEUE_TEST_SEED", "20261128"))
SCENES = int(os.environ.get("STABLEQUEUE_TEST_NAME_SCENES", "1000"))
PER_WORLD = 20
"""Scenes after which other names and contents are used, so that others are seen first."""
KINDS = ("checkpoint", "lora", "vae", "text_encoder", "embedding")
KINDS_OF_ROLE = {
    "module": ("vae", "text_encoder"),
    "refiner": ("checkpoint",),
    "hires_checkpoint": ("checkpoint",),
}


@dataclass(frozen=True)
class Disk:
    """A file on a server. ``content`` None: not read yet; ``claim``: what a cache there says it is."""

    kind: str
    path: str
    content: str | None
    claim: str = ""

    @property
    def base(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def stem(self) -> str:
        return os.path.splitext(self.base)[0]


# --- the oracle -------------------------------------------------------------------------------------------


def taken(role: str, name: str, files: Sequence[Disk], headers: dict[str, str]) -> set[Disk | None]:
    """The file that the host takes, for each order in which it may have walked its folders."""
    # Others than those that may be in question change nothing, and make too many orders.
    orders = list(itertools.permutations(file for file in files if _concerns(name, file, headers)))
    if role == "lora":
        return {_lora(name, order, headers) for order in orders}
    if role == "embedding":
        return {next((f for f in order if f.stem.lower() == name.lower()), None) for order in orders}
    if role in ("vae", "module"):
        return {{f.base: f for f in order}.get(name) for order in orders}
    exact = {_checkpoint(name, order) for order in orders}
    if role == "checkpoint" or exact != {None}:
        return exact
    return _closest(name, files)


def _lora(name: str, walked: Iterable[Disk], headers: dict[str, str]) -> Disk | None:
    """``process_network_files`` and ``load_networks`` of the hosts."""
    networks: dict[str, Disk] = {}
    aliases: dict[str, Disk] = {}
    forbidden = {"none"}
    for file in walked:
        networks[file.stem] = file
        alias = headers.get(file.content or "", file.stem)
        if alias in aliases:
            forbidden.add(alias.lower())
        aliases[file.stem] = file
        aliases[alias] = file
    return (networks if name.lower() in forbidden else aliases).get(name)


def _checkpoint(name: str, walked: Iterable[Disk]) -> Disk | None:
    """``CheckpointInfo.register``: later files take the names of earlier ones."""
    aliases: dict[str, Disk] = {}
    for file in walked:
        for alias in (file.path, os.path.splitext(file.path)[0], file.stem):
            aliases[alias] = file
    return aliases.get(name.replace("\\", "/"))


def _closest(name: str, files: Sequence[Disk]) -> set[Disk | None]:
    """``get_closet_checkpoint_match``: the shortest title with the name in it; hashed titles are longer."""
    near = [file for file in files if name in file.path]
    found: set[Disk | None] = set()
    for hashed in itertools.product((0, len(" [0123456789]")), repeat=len(near)):
        lengths = [len(file.path) + more for file, more in zip(near, hashed, strict=True)]
        found |= {file for file, length in zip(near, lengths, strict=True) if length == min(lengths)}
    return found or {None}


def expected(
    role: str, name: str, disks: dict[str, list[Disk]], source: str | None, headers: dict[str, str]
) -> set[str | None] | None:
    """The contents that the name means, None among them for a file that nobody has read; none for what is
    a plain word there. Nothing at all: no file is called so now, and what was once is not said here."""
    of_kind = {
        alias: [file for file in files if file.kind in KINDS_OF_ROLE.get(role, (role,))]
        for alias, files in disks.items()
    }
    if source is not None:
        found = taken(role, name, of_kind[source], headers)
        if None not in found:
            return {file.content for file in found if file is not None}
        if role == "embedding":
            return set()
    everywhere = [(alias, file) for alias, files in of_kind.items() for file in files]
    named = [pair for pair in everywhere if _is_named(role, name, pair[1], headers)]
    stem = _stem(role, name)
    loose = [pair for pair in everywhere if _stem("", pair[1].path) == stem]
    known = [*named, *(pair for pair in loose if pair[0] == source)] or loose
    contents = {file.content for alias, file in known if file.content is not None or alias == source}
    return contents or None


def _concerns(name: str, file: Disk, headers: dict[str, str]) -> bool:
    header = headers.get(file.content or "", "")
    words = (file.stem, file.base, os.path.splitext(file.path)[0], file.path, header)
    return name.replace("\\", "/").lower() in (word.lower() for word in words)


def _is_named(role: str, name: str, file: Disk, headers: dict[str, str]) -> bool:
    names = {
        "checkpoint": (file.path, os.path.splitext(file.path)[0], file.stem),
        "vae": (file.base,),
        "text_encoder": (file.base,),
        "lora": (file.stem, headers.get(file.content or "", file.stem)),
        "embedding": (file.stem,),
    }[file.kind]
    return name.replace("\\", "/").lower() in {one.lower() for one in names}


def _stem(role: str, text: str) -> str:
    base = text.replace("\\", "/").rsplit("/", 1)[-1].lower()
    stem, extension = os.path.splitext(base)
    return stem if extension in (".safetensors", ".pt") else base


# --- the scenes -------------------------------------------------------------------------------------------


class World:
    """Three servers with a few names for a few contents of each kind, which all come by in time."""

    def __init__(self, number: int, chance: random.Random) -> None:
        self.number = number
        self.chance = chance
        self.disks: dict[str, list[Disk]] = {alias: [] for alias in ("a", "b", "c")}
        words = (f"w{number}-ink", f"W{number}-Ink", f"w{number}-oil", f"w{number}-style of x")
        self.words = words
        self.paths = [
            f"{folder}{word}{ending}"
            for word in words
            for folder in ("", "x/", "y/")
            for ending in (".safetensors", ".pt")
        ]
        self.contents = {kind: [f"{kind} {number} {one}" for one in range(5)] for kind in KINDS}
        self.headers = {
            content: chance.choice([*words, f"w{number}-header", f"W{number}-header"])
            for content in self.contents["lora"][:3]
        }
        for alias in self.disks:
            for kind in KINDS:
                for _ in range(chance.randint(1, 3)):
                    self._add(alias, kind)

    def _add(self, alias: str, kind: str, content: str | None = "") -> None:
        path = self._free_path(alias, kind)
        if content == "":
            content = self.chance.choice(self.contents[kind])
        self.disks[alias].append(Disk(kind, path, content))

    def _free_path(self, alias: str, kind: str) -> str:
        used = {file.path for file in self.disks[alias] if file.kind == kind}
        usable = [path for path in self.paths if path not in used]
        return self.chance.choice(
            [path for path in usable if kind in ("vae", "embedding") or path[-3:] != ".pt"]
        )

    def step(self) -> str:
        """One thing that somebody does with the files of one server; its alias."""
        alias = self.chance.choice(list(self.disks))
        files = self.disks[alias]
        place = self.chance.randrange(len(files))
        file = files[place]
        what = self.chance.choice(("rename", "rename", "exchange", "copy", "remove", "replace", "unread"))
        alike = [at for at, other in enumerate(files) if other.kind == file.kind and at != place]
        if what == "rename":
            files[place] = replace(file, path=self._free_path(alias, file.kind))
        elif what == "exchange" and alike:
            other = self.chance.choice(alike)
            files[place] = replace(file, path=files[other].path)
            files[other] = replace(files[other], path=file.path)
        elif what == "copy" and len(files) < 14:
            alias = self.chance.choice(list(self.disks))
            self._add(alias, file.kind, file.content)
        elif what == "remove" and alike:
            del files[place]
        elif what == "replace":
            files[place] = replace(file, content=self.chance.choice(self.contents[file.kind]), claim="")
        elif what == "unread":
            files[place] = replace(file, content=None, claim=self.chance.choice(self.contents[file.kind]))
        return alias

    def names(self) -> list[tuple[str, str]]:
        """(role, name as written): of these files, and near to them."""
        found = set()
        for role in ("checkpoint", "hires_checkpoint", "refiner"):
            path = self.chance.choice(self.paths).replace(".pt", ".safetensors")
            names = [path, os.path.splitext(path)[0], self.chance.choice(self.words), path.replace("/", "\\")]
            found.add((role, self.chance.choice(names)))
        for role in ("vae", "module", "module"):
            found.add((role, self.chance.choice(self.paths).rsplit("/", 1)[-1]))
        headers = [f"w{self.number}-header", f"W{self.number}-header"]
        found |= {("lora", self.chance.choice([*self.words, *headers])) for _ in range(5)}
        found |= {("embedding", self.chance.choice(self.words)) for _ in range(2)}
        return sorted(found)


def payload_of(names: Sequence[tuple[str, str]]) -> dict[str, Any]:
    of = {role: [name for its, name in names if its == role] for role, _ in names}
    prompt = " ".join(f"<lora:{name}:1>" for name in of["lora"]) + " , " + " , ".join(of["embedding"])
    return {
        "prompt": prompt,
        "enable_hr": True,
        "hr_checkpoint_name": of["hires_checkpoint"][0],
        "refiner_checkpoint": of["refiner"][0],
        "override_settings": {
            "sd_model_checkpoint": of["checkpoint"][0],
            "sd_vae": of["vae"][0],
            "forge_additional_modules": of["module"],
        },
    }


class Telling:
    """Keeps the hub as its servers' agents would."""

    def __init__(self, hub: Any) -> None:
        self.hub = hub
        self.servers = {alias: hub.join(alias) for alias in ("a", "b", "c")}
        self.sequences = dict.fromkeys(self.servers, 0)
        self.headers_told: set[str] = set()

    def tell(self, alias: str, world: World) -> None:
        self.sequences[alias] += 1
        files = world.disks[alias]
        roots = [entry_dict(RootEntry(kind[:8], kind, "healthy")) for kind in KINDS]
        entries = [entry_dict(self._entry(file)) for file in files]
        body = {
            "protocol": 1,
            "index_id": f"index-{alias}",
            "mode": "full",
            "base_sequence": 0,
            "sequence": self.sequences[alias],
            "digest": digest_hex(digest_sum(row_digest(entry) for entry in [*roots, *entries])),
            "roots": roots,
            "upserts": entries,
            "removals": [],
        }
        answer = self.hub.sync(self.servers[alias], body)
        assert (answer.status_code, answer.json().get("rejected")) == (200, []), answer.text
        for content in {file.content for file in files if file.content in world.headers}:
            if content not in self.headers_told:
                self.headers_told.add(content)
                header_says(self.hub, self.servers[alias], content, world.headers[content])

    def _entry(self, file: Disk) -> FileEntry:
        kind = file.kind
        if file.content is None:
            claims = (WireClaim("webui_cache", "sha256", sha256_of(file.claim)),) if file.claim else None
            return FileEntry(kind[:8], file.path, kind, 1000, "unhashed", None, claims)
        digests = WireDigests(sha256=sha256_of(file.content))
        return FileEntry(kind[:8], file.path, kind, 1000, "ready", digests)


def differences(hub: Any, scenes: int, chance: random.Random) -> tuple[int, list[str]]:
    """How many names were compared, and those that mean something else than the host's file."""
    telling = Telling(hub)
    compared, found = 0, []
    world = World(0, chance)
    for scene in range(scenes):
        if scene % PER_WORLD == 0:
            world = World(scene // PER_WORLD, chance)
            for alias in chance.sample(sorted(world.disks), 3):
                telling.tell(alias, world)
        else:
            telling.tell(world.step(), world)
        source = chance.choice(["a", "b", "c", None])
        names = world.names()
        body = {"payload": payload_of(names), **({"server": source} if source else {})}
        answer = hub.request("POST", "/api/v1/jobs/check", key=hub.admin, json=body)
        assert answer.status_code == 200, answer.text
        said = {(one["role"], one["name"].lower()): [] for one in answer.json()["requirements"]}
        for one in answer.json()["requirements"]:
            said[one["role"], one["name"].lower()].append((one["name"], one["status"], one["sha256"]))
        for role, name in names:
            means = expected(role, name, world.disks, source, world.headers)
            if means is None:
                continue
            compared += 1
            answers = said.get((role, name.lower()), [])
            if role != "embedding":
                answers = [one for one in answers if one[0] == name]
            wanted = _wanted(means)
            if not any((status, sha256) in wanted for _, status, sha256 in answers or [("", "none", None)]):
                found.append(f"scene {scene}: {role} {name!r} on {source}: {answers}, not {wanted}")
    return compared, found


def _wanted(means: set[str | None]) -> list[tuple[str, str | None]]:
    """Several unread files may be one or several contents."""
    if not means:
        return [("none", None)]
    if means == {None}:
        return [("unhashed", None), ("ambiguous", None)]
    if len(means) > 1:
        return [("ambiguous", None)]
    return [("found", sha256_of(next(iter(means)) or ""))]


def test_each_name_means_the_file_that_the_host_takes(hub: Any) -> None:
    print(f"seed {SEED}")
    compared, found = differences(hub, SCENES, random.Random(SEED))
    print(f"{compared} names in {SCENES} scenes, {len(found)} differences")
    assert compared > SCENES * 5
    assert found == [], "\n".join(found[:20])
