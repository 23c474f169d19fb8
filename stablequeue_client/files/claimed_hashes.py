"""Digests that others state of a file: sidecars and header. Poison is refused; nothing here raises.

Sidecars read (X is the model's name without its extension): ``X.sha256`` and ``<file>.sha256`` (sha256sum
style, first token), ``X.civitai.info`` (Civitai Helper: a model-version object), ``X.json`` (the WebUI's
notes, into which Civitai Browser Plus writes ``sha256``), ``X.metadata.json`` (Lora Manager: ``sha256``,
``size``), ``X.cm-info.json`` (Stability Matrix: ``Hashes``). Header fields: ``sshs_model_hash`` and
``modelspec.hash_sha256`` are the SHA256 of the bytes after the header.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from stablequeue_client.files.file_io import OS_IO, FileUnreadableError, ScanIO
from stablequeue_client.shared.model_files.model_file import (
    SHA256_OF_NOTHING,
    Claim,
    ClaimSource,
    DigestKind,
    Digests,
    name_digest,
    normalize_hash,
)

SHA256_SIDECAR_MAX_BYTES = 64 * 1024
CIVITAI_SIDECAR_MAX_BYTES = 8 * 1024 * 1024

_LENGTHS: dict[DigestKind, int] = {"sha256": 64, "blake3": 64, "autov1": 8, "autov2": 10, "autov3": 12}
_BLAKE3_OF_NOTHING = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
# A civitai.info counts its sizes in KiB with decimals.
_SIZE_TOLERANCE_BYTES = 1.0


@dataclass(frozen=True)
class RefusedClaim:
    """A claim (or a whole sidecar: then ``claim`` is None) that is not believed, and why."""

    claim: Claim | None
    reason: str


@dataclass(frozen=True)
class ClaimReport:
    """What is said of a file."""

    claims: tuple[Claim, ...]
    refused: tuple[RefusedClaim, ...]

    def with_(self, other: ClaimReport) -> ClaimReport:
        """Both, without repetition."""
        return ClaimReport(
            tuple(dict.fromkeys((*self.claims, *other.claims))),
            tuple(dict.fromkeys((*self.refused, *other.refused))),
        )


@dataclass(frozen=True)
class ContradictedClaim:
    """A claim beside which another digest was computed from the bytes."""

    claim: Claim
    computed: str


class _CivitaiFile(msgspec.Struct):
    name: str | None = None
    size_kb: float | None = msgspec.field(default=None, name="sizeKB")
    hashes: dict[str, str | None] | None = None


class _CivitaiVersion(msgspec.Struct):
    files: list[_CivitaiFile] | None = None


class _Notes(msgspec.Struct):
    """``X.json`` and ``X.metadata.json``, as far as they count here."""

    sha256: str | None = None
    size: int | None = None


class _ConnectedModel(msgspec.Struct):
    hashes: dict[str, str | None] | None = msgspec.field(default=None, name="Hashes")


_NOTES = msgspec.json.Decoder(_Notes)
_CONNECTED_MODEL = msgspec.json.Decoder(_ConnectedModel)
_CIVITAI = msgspec.json.Decoder(_CivitaiVersion)
_CIVITAI_DIGESTS: dict[str, DigestKind] = {
    "SHA256": "sha256",
    "BLAKE3": "blake3",
    "AutoV1": "autov1",
    "AutoV2": "autov2",
    "AutoV3": "autov3",
}


def claims_for(
    native: str, metadata: Mapping[str, str] | None = None, *, size: int | None = None, io: ScanIO = OS_IO
) -> ClaimReport:
    """The claims about the model file at ``native``: its sidecars' and its header's (``metadata``).

    ``size`` in bytes tells which file of a ``.civitai.info`` is meant; without it only the name can.
    """
    collector = _Collector(native)
    stem = os.path.splitext(native)[0]
    for place in (stem + ".sha256", native + ".sha256"):
        collector.read_sidecar(place, SHA256_SIDECAR_MAX_BYTES, io, collector.sha256_sidecar)
    collector.read_sidecar(
        stem + ".civitai.info", CIVITAI_SIDECAR_MAX_BYTES, io, lambda data: collector.civitai(data, size)
    )
    for suffix in (".json", ".metadata.json"):
        collector.read_sidecar(
            stem + suffix, CIVITAI_SIDECAR_MAX_BYTES, io, lambda data: collector.notes(data, size)
        )
    collector.read_sidecar(stem + ".cm-info.json", CIVITAI_SIDECAR_MAX_BYTES, io, collector.connected_model)
    for field in ("sshs_model_hash", "modelspec.hash_sha256"):
        if value := (metadata or {}).get(field):
            collector.header(value)
    return ClaimReport(tuple(dict.fromkeys(collector.claims)), tuple(dict.fromkeys(collector.refused)))


def cache_claim(native: str, digest: DigestKind, value: str) -> ClaimReport:
    """Return what a WebUI's hash cache says of the model file at ``native``, unless it is poison."""
    collector = _Collector(native)
    if len(value) == 64:
        collector.claim("webui_cache", digest, value)
    else:
        collector.refuse("the value in the WebUI's cache is not a SHA256")
    return ClaimReport(tuple(collector.claims), tuple(collector.refused))


def refused_entry(reason: str) -> ClaimReport:
    """Something that says nothing of this file, and why."""
    return ClaimReport((), (RefusedClaim(None, reason),))


def settled(report: ClaimReport, digests: Digests) -> ClaimReport:
    """The report without claims that are true in another sense than they were taken in.

    A WebUI's cache holds of a LoRA the SHA256 of the whole file or of the bytes after the header, and which
    of them cannot be told by looking at it.
    """

    def is_other_sense(claim: Claim) -> bool:
        if claim.source != "webui_cache":
            return False
        if claim.digest == "sha256":
            return claim.value == digests.payload_sha256
        return claim.digest == "autov3" and (digests.sha256 or "").startswith(claim.value)

    return ClaimReport(tuple(item for item in report.claims if not is_other_sense(item)), report.refused)


def check_claims(claims: Iterable[Claim], digests: Digests) -> tuple[ContradictedClaim, ...]:
    """The claims that the computed digests contradict; digests not computed contradict nothing."""
    computed: dict[DigestKind, str | None] = {
        "sha256": digests.sha256,
        "blake3": digests.blake3,
        "autov1": digests.autov1,
        "autov2": digests.autov2,
        "autov3": digests.autov3,
    }
    return tuple(
        ContradictedClaim(claim, found)
        for claim in claims
        if (found := computed[claim.digest]) is not None and found != claim.value
    )


def refusal(digest: DigestKind, value: str, base_name: str) -> str | None:
    """Return why this value cannot be the digest of a model of that name, or None.

    Poison seen in the field: the SHA256 of nothing (ai-toolkit writes it into every LoRA), of the file's
    name (Forge's hash cache, August 2024 to February 2025), and numbers that are no digest at all.
    """
    if len(value) != _LENGTHS[digest]:
        return f"it has {len(value)} hex digits, a {digest} has {_LENGTHS[digest]}"
    if set(value) <= {"0"} or set(value) <= {"f"}:
        return "it is a placeholder"
    if SHA256_OF_NOTHING.startswith(value) or value == _BLAKE3_OF_NOTHING:
        return "it is the digest of an empty file"
    names = (base_name, os.path.splitext(base_name)[0])
    if any(name_digest(name).startswith(value) for name in names):
        return "it is the digest of the file's name, not of its content"
    return None


class _Collector:
    """The claims about one file as they are found, and what was refused."""

    def __init__(self, native: str) -> None:
        self._base_name = os.path.basename(native)
        self.claims: list[Claim] = []
        self.refused: list[RefusedClaim] = []

    def read_sidecar(self, path: str, limit: int, io: ScanIO, parse: Callable[[bytes], None]) -> None:
        """Give the sidecar's bytes to ``parse`` when it exists; a bad one is refused as a whole."""
        name = os.path.basename(path)
        try:
            io.stat(path)
        except OSError:
            return
        try:
            with io.open(path) as opened:
                data = opened.read_at(0, limit + 1)
        except FileUnreadableError as error:
            self.refuse(f"{name}: {error.message}")
            return
        if len(data) > limit:
            self.refuse(f"{name} is larger than {limit} bytes")
            return
        try:
            parse(data)
        except (ValueError, RecursionError) as error:
            self.refuse(f"{name} cannot be understood: {error}")

    def sha256_sidecar(self, data: bytes) -> None:
        """``<hex>  *?name`` as sha256sum writes it; the first token counts."""
        tokens = data.decode("utf-8-sig", "replace").split()
        self.claim("sidecar", "sha256", tokens[0] if tokens else "")

    def civitai(self, data: bytes, size: int | None) -> None:
        """Civitai Helper's model-version object. An empty file is its way to write "not found"."""
        data = data.removeprefix(b"\xef\xbb\xbf")
        if not data.strip():
            return
        files = [file for file in _CIVITAI.decode(data).files or () if file.hashes]
        chosen = self._same_file(files, size)
        if not chosen:
            self.refuse("the .civitai.info describes no file of this size and name")
        elif len({(file.hashes or {}).get("SHA256", "") for file in chosen}) > 1:
            self.refuse("the .civitai.info describes several files that this could be")
        else:
            for name, digest in _CIVITAI_DIGESTS.items():
                if value := (chosen[0].hashes or {}).get(name):
                    self.claim("civitai", digest, value)

    def notes(self, data: bytes, size: int | None) -> None:
        """One object; a ``size`` in it that is not the file's means that it describes another one."""
        data = data.removeprefix(b"\xef\xbb\xbf")
        if not data.strip():
            return
        found = _NOTES.decode(data)
        if found.sha256 and found.size and size is not None and found.size != size:
            self.refuse("a note beside the file describes one of another size")
        elif found.sha256:
            self.claim("sidecar", "sha256", found.sha256)

    def connected_model(self, data: bytes) -> None:
        """Stability Matrix: the hashes that Civitai gives for the file it downloaded."""
        found = _CONNECTED_MODEL.decode(data.removeprefix(b"\xef\xbb\xbf"))
        for name, digest in _CIVITAI_DIGESTS.items():
            if value := (found.hashes or {}).get(name):
                self.claim("civitai", digest, value)

    def _same_file(self, files: list[_CivitaiFile], size: int | None) -> list[_CivitaiFile]:
        """The files of the version that this one may be: by size where both are known, else by name.

        Never simply the first: the list may lack the very file (a superseded one), or hold a VAE beside it.
        """
        if size is not None and any(file.size_kb is not None for file in files):
            return [
                file
                for file in files
                if file.size_kb is not None and abs(file.size_kb * 1024 - size) <= _SIZE_TOLERANCE_BYTES
            ]
        return [file for file in files if file.name == self._base_name]

    def header(self, value: str) -> None:
        """A SHA256 of the payload, of which AutoV3 is the first 12 digits."""
        full = normalize_hash(value)
        if full is not None and len(full) == 64:
            self.claim("header", "autov3", full[:12])
        else:
            self.refuse("the hash in the header is not a SHA256")

    def claim(self, source: ClaimSource, digest: DigestKind, text: str) -> None:
        value = normalize_hash(text)
        if value is None:
            self.refuse(f"the {digest} of {source} is not a hex number")
            return
        if digest == "autov3" and len(value) == 64:
            value = value[:12]
        claim = Claim(source, digest, value)
        reason = refusal(digest, value, self._base_name)
        if reason is None:
            self.claims.append(claim)
        else:
            self.refused.append(RefusedClaim(Claim(source, digest, value[:64]), reason))

    def refuse(self, reason: str) -> None:
        self.refused.append(RefusedClaim(None, reason))
