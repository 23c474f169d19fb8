"""The safetensors header: validation, truncation, metadata.

Layout: u64 little-endian length N, then N bytes of JSON ``{name: {dtype, shape, data_offsets}}`` with an
optional ``__metadata__`` (text to text), then the tensors without gaps. A file is whole when its size is
8 + N + the last offset: that finds every truncation without reading tensor data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stablequeue_client.errors import StableQueueError

FORMAT_MAX_BYTES = 100_000_000
PARSER_MAX_BYTES = 16 * 1024 * 1024


class HeaderError(StableQueueError):
    """The file is not a valid safetensors file."""

    code = "corrupt_file"
    remedy_text = "Download or copy it again."


class TruncatedError(HeaderError):
    """The file is shorter than its header says."""

    code = "truncated_file"


@dataclass(frozen=True)
class Header:
    """A valid header. ``length`` is N; the payload starts at ``8 + length`` (``payload_offset``).

    ``note`` is set when the header is too long for our parser: then tensors and metadata are unknown.
    """

    length: int
    tensor_count: int
    metadata: dict[str, str] = field(default_factory=dict)
    note: str | None = None

    @property
    def payload_offset(self) -> int:
        return 8 + self.length


def read_header(read_at: Callable[[int, int], bytes], size: int) -> Header:
    """The header of a file of ``size`` bytes. Raises HeaderError, TruncatedError, and what ``read_at`` raises."""
    raise NotImplementedError


def allowed_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The fields that may travel to the hub: at most 64 KiB as JSON, no prompts, paths or user names."""
    raise NotImplementedError


def base_model(metadata: Mapping[str, str]) -> str | None:
    """``SD 1.5``, ``SD 2``, ``SDXL``, ``Flux``, ... as the header tells, or None."""
    raise NotImplementedError
