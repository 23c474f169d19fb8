"""A sync's body as judged rows. Pure: no database."""

from __future__ import annotations

from dataclasses import dataclass

from stablequeue_client.protocol import Removal


@dataclass(frozen=True)
class DecodedSync:
    """A sync request whose entries are digested and judged, each by itself."""

    index_id: str
    mode: str
    base_sequence: int
    sequence: int
    digest: str
    roots: tuple[object, ...]
    files: tuple[object, ...]
    removals: tuple[Removal, ...]


def decompress_limited(body: bytes) -> bytes:
    """A gzipped body unpacked. Raises TooLargeError above the size limits or for a bomb's ratio,
    InvalidValueError for what is no gzip."""
    raise NotImplementedError


def decode_sync(body: bytes) -> DecodedSync:
    """The JSON ``body`` (already unpacked) with every entry judged.

    Raises InvalidValueError (malformed, duplicate keys, an entry without a readable key), TooLargeError,
    ProtocolMismatchError. An entry that is merely wrong is kept with the reason.
    """
    raise NotImplementedError
