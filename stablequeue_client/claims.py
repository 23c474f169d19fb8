"""Digests that others state of a file: sidecars and header. Poison is refused; nothing here raises.

Sidecars read (X is the model's name without its extension): ``X.sha256`` and ``<file>.sha256`` (sha256sum
style, first token), ``X.civitai.info`` (Civitai Helper: a model-version object).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stablequeue_client.model_files import Claim, Digests
from stablequeue_client.read_io import OS_IO, ScanIO


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


@dataclass(frozen=True)
class Contradiction:
    """A claim beside which another digest was computed from the bytes."""

    claim: Claim
    computed: str


def claims_for(
    native: str, metadata: Mapping[str, str] | None = None, *, size: int | None = None, io: ScanIO = OS_IO
) -> ClaimReport:
    """The claims about the model file at ``native``: its sidecars' and its header's (``metadata``)."""
    raise NotImplementedError


def check_claims(claims: Iterable[Claim], digests: Digests) -> tuple[Contradiction, ...]:
    """The claims that the computed digests contradict."""
    raise NotImplementedError
