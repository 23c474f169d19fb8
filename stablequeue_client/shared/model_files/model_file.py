"""Model files, their kinds, states and digests, as values. Pure: no disk, no clock.

Definitions of the digests: AutoV1 is the SHA256 of the 64 KiB at offset 1 MiB, first 8 hex digits
(A1111 ``modules/sd_models.py``); AutoV2 the first 10 of the file's SHA256; AutoV3 the first 12 of the
SHA256 of everything after the safetensors header (kohya ``addnet_hash_safetensors``).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

Kind = Literal["checkpoint", "lora", "vae", "text_encoder", "embedding"]
KINDS: tuple[Kind, ...] = get_args(Kind)

FileState = Literal["ready", "unhashed", "partial", "busy", "unstable", "corrupt", "unreadable", "set_aside"]
FILE_STATES: tuple[FileState, ...] = get_args(FileState)

RootHealth = Literal["healthy", "suspect", "unreachable"]
ROOT_HEALTHS: tuple[RootHealth, ...] = get_args(RootHealth)

DigestKind = Literal["sha256", "blake3", "autov1", "autov2", "autov3"]

ClaimSource = Literal["sidecar", "civitai", "header", "webui_cache"]

SHA256_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

KEY_MAX = 500
"""Characters. PostgreSQL refuses index entries above 2,704 bytes, and a character may take four."""
KEPT = 8_192
"""Names whose forms are kept: the same few thousand are asked for again and again."""
ENDINGS_OF_NAMES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf")
"""What a name of a model may end in. Which files a scan takes, by kind: ``files/model_folders``."""

SQUEEZED_MIN = 4
"""From this length a search also finds what parts its words otherwise, or does not part them."""
_WORD_GAPS = re.compile(r"[\s_-]+")
_HEX = re.compile(r"[0-9a-f]+\Z")
# The lengths that can be looked up: AutoV1, AutoV2, AutoV3 and LoRA short hashes, full digests.
HASH_LENGTHS = (8, 10, 12, 64)


@dataclass(frozen=True)
class StatKey:
    """What tells an unchanged file from a changed one. Integers only; 0 where a root has no stable value."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True)
class Digests:
    """Digests computed here from the bytes; lower-case hex. ``payload_sha256`` is what AutoV3 shortens."""

    sha256: str | None = None
    blake3: str | None = None
    autov1: str | None = None
    payload_sha256: str | None = None
    sample: str | None = None

    @property
    def autov2(self) -> str | None:
        """First 10 hex digits of the SHA256."""
        return self.sha256[:10] if self.sha256 else None

    @property
    def autov3(self) -> str | None:
        """First 12 hex digits of the SHA256 of the bytes after the header."""
        return self.payload_sha256[:12] if self.payload_sha256 else None


@dataclass(frozen=True, order=True)
class Claim:
    """A digest that nobody here computed: who says it (``source``), which digest, and the value."""

    source: ClaimSource
    digest: DigestKind
    value: str


@dataclass(frozen=True)
class HashQuery:
    """What a person typed when looking for a model: lower-case hex of 8, 10, 12 or 64 digits."""

    value: str


def normalize_hash(text: str) -> str | None:
    """Lower-case hex without ``0x``, or None when ``text`` is not a hex number."""
    value = text.strip().lower()
    value = value.removeprefix("0x")
    return value if _HEX.match(value) else None


def parse_hash(text: str) -> HashQuery | None:
    """The hash in ``text`` (any case, with or without ``0x``), or None when it has no hash's length."""
    value = normalize_hash(text)
    return HashQuery(value) if value is not None and len(value) in HASH_LENGTHS else None


def webui_name(kind: Kind, relative_path: str) -> str:
    """The name a WebUI shows for the file at ``relative_path`` (``/``-joined, relative to its folder).

    Checkpoints keep the folder and the extension, LoRAs and embeddings are the bare stem, VAEs and text
    encoders the base name (A1111 ``sd_models.CheckpointInfo``, ``extra_networks_lora``, ``sd_vae``).
    """
    if kind == "checkpoint":
        return relative_path
    base = relative_path.rsplit("/", 1)[-1]
    if kind in ("vae", "text_encoder"):
        return base
    stem, dot, _ = base.rpartition(".")
    return stem if dot and stem else base


@lru_cache(maxsize=KEPT)
def names_in_webui(kind: str, relative_path: str) -> tuple[str, ...]:
    """All names under which a WebUI finds that file in a job, in its own case: a checkpoint by its path, with
    and without extension, and by its bare stem (A1111 ``CheckpointInfo.ids``), the others by one name."""
    base = relative_path.rsplit("/", 1)[-1]
    if kind in ("vae", "text_encoder"):
        return (base,)
    stem, dot, _ = base.rpartition(".")
    stem = stem if dot and stem else base
    if kind != "checkpoint":
        return (stem,)
    return (relative_path, relative_path.removesuffix(base) + stem, stem)


def search_key(text: str) -> str:
    """Casefolded NFC without NUL, at most 500 characters: what names are compared, searched, sorted by."""
    return _folded(text)[:KEY_MAX]


def search_words(text: str) -> list[str]:
    """What a person looks for, as keys that stand in a name in any order: ``_``, ``-`` and blanks part
    words."""
    return list(dict.fromkeys(_WORD_GAPS.sub(" ", search_key(text)).split())) or [search_key(text)]


def squeezed(key: str) -> str:
    """A key without what parts words, for whoever writes them as one."""
    return _WORD_GAPS.sub("", key)


def search_of(text: str) -> Callable[[str], bool]:
    """Return whether a key, of a name or path, is what ``text`` looks for."""
    words, as_one = search_words(text), squeezed(search_key(text))
    if len(as_one) < SQUEEZED_MIN:
        return lambda key: all(word in key for word in words)
    return lambda key: all(word in key for word in words) or (as_one[0] in key and as_one in squeezed(key))


@lru_cache(maxsize=KEPT)
def stem_key(path: str) -> str:
    """The key of a path's last part without a model file's extension: what a person calls the model."""
    name = _folded(path.rsplit("/", 1)[-1])
    stem, dot, extension = name.rpartition(".")
    return (stem if stem and dot + extension in ENDINGS_OF_NAMES else name)[:KEY_MAX]


def natural_name(used: Collection[tuple[str, str]]) -> str:
    """Of (name, server): the one that most servers use, else the shortest. Folders count for nothing, unless
    nothing else tells names apart."""
    stems: dict[str, set[str]] = defaultdict(set)
    servers: dict[str, set[str]] = defaultdict(set)
    for name, server in used:
        stems[stem_key(name)].add(server)
        servers[name].add(server)
    stem = min(stems, key=lambda one: (-len(stems[one]), len(one), one))
    alike = [name for name in servers if stem_key(name) == stem]
    return min(alike, key=lambda name: (-len(servers[name]), len(name), name))


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower().replace("\x00", "")
    composed = unicodedata.normalize("NFC", text)
    return unicodedata.normalize("NFC", composed.casefold()).replace("\x00", "")


def name_digest(base_name: str) -> str:
    """Forge wrote its first 10 digits as the hash of any file of this name from August 2024 to February 2025.

    Its ``modules/hashes.py`` hashed the file's name instead of its bytes, from commit cfa5242a to ed0dc79a.
    """
    return hashlib.sha256(base_name.encode("utf-8", "surrogatepass")).hexdigest()
