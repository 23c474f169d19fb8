"""The safetensors header: validation, truncation, metadata.

Layout: u64 little-endian length N, then N bytes of JSON ``{name: {dtype, shape, data_offsets}}`` with an
optional ``__metadata__`` (text to text), then the tensors without gaps. A file is whole when its size is
8 + N + the last offset: that finds every truncation without reading tensor data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Annotated

import msgspec

from stablequeue_client.shared.errors import StableQueueError

FORMAT_MAX_BYTES = 100_000_000
PARSER_MAX_BYTES = 16 * 1024 * 1024
"""Longer headers are not parsed: 84 MB took seconds and 600 MB of memory."""
VALUE_MAX_CHARACTERS = 4_000
"""Longest metadata value that travels."""
METADATA_MAX_BYTES = 64 * 1024
"""All of it that travels, as JSON."""

_DTYPE_BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8,
    "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
"""Bits per element (safetensors ``Dtype``). The size of a tensor of another type is not checked."""
_DIMENSIONS_MAX = 64
_OBJECTS_MAX = 200_000
_METADATA_KEY = "__metadata__"


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

    ``note`` is set when the header is too long for our parser: then tensors and metadata are unknown,
    and so is whether the file is whole.
    """

    length: int
    tensor_count: int
    metadata: dict[str, str] = field(default_factory=dict)
    note: str | None = None

    @property
    def payload_offset(self) -> int:
        return 8 + self.length


_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Tensor(msgspec.Struct, gc=False):
    dtype: str
    shape: list[_Count]
    data_offsets: tuple[_Count, _Count]


_ENTRIES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TENSOR = msgspec.json.Decoder(_Tensor)
_METADATA = msgspec.json.Decoder(dict[str, str])


def read_header(read_at: Callable[[int, int], bytes], size: int) -> Header:
    """The header of a file of ``size`` bytes.

    ``read_at(offset, length)`` gives the file's bytes. Raises HeaderError, TruncatedError, and whatever
    ``read_at`` raises.
    """
    length = _header_length(read_at(0, 8), size)
    if length > PARSER_MAX_BYTES:
        if read_at(8, 1) != b"{":
            raise HeaderError("Its header does not start with '{'.")
        limit = PARSER_MAX_BYTES // 1024**2
        return Header(length, 0, note=f"The header is longer than {limit} MiB; its metadata is not read.")
    data = read_at(8, length)
    if len(data) < length:
        raise TruncatedError("It ends inside its header.")
    if not data.startswith(b"{"):
        raise HeaderError("Its header does not start with '{'.")
    if data.count(b"{") > _OBJECTS_MAX:
        return Header(length, 0, note="The header has too many entries; its metadata is not read.")
    metadata, tensors = _parse(data)
    payload = _payload_bytes(tensors)
    if 8 + length + payload != size:
        _refuse_size(8 + length + payload, size)
    return Header(length, len(tensors), metadata)


def _header_length(start: bytes, size: int) -> int:
    if len(start) < 8:
        raise TruncatedError("It is shorter than the 8 bytes a safetensors file starts with.")
    length = int.from_bytes(start, "little")
    if length > FORMAT_MAX_BYTES:
        raise HeaderError(f"Its header would be {length} bytes long; {FORMAT_MAX_BYTES} are allowed.")
    if length < 2:
        raise HeaderError(f"Its header would be {length} bytes long.")
    if length > size - 8:
        raise TruncatedError(f"Its header is {length} bytes long, but only {size - 8} follow.")
    return length


def _refuse_size(expected: int, size: int) -> None:
    if size < expected:
        raise TruncatedError(f"It should have {expected} bytes and has {size}: a copy that was cut off.")
    raise HeaderError(f"It should have {expected} bytes and has {size}: something was appended.")


def _parse(data: bytes) -> tuple[dict[str, str], dict[str, _Tensor]]:
    """Metadata and tensors. Typed decoding: nothing is built for what does not belong in a header."""
    try:
        entries = _ENTRIES.decode(data)
        raw = entries.pop(_METADATA_KEY, None)
        metadata = _parse_metadata(bytes(raw)) if raw is not None else {}
        tensors = {name: _parse_tensor(name, bytes(entry)) for name, entry in entries.items()}
    except RecursionError as error:
        raise HeaderError("Its header is nested too deeply.") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise HeaderError(f"Its header is malformed: {error}.") from error
    _refuse_duplicates(data, [*entries.values(), *([raw] if raw is not None else [])])
    return metadata, tensors


def _refuse_duplicates(data: bytes, values: Iterable[msgspec.Raw]) -> None:
    """Of entries with one name only the last is decoded, but every entry is an object: count the braces.

    (Names with a brace were refused before.)
    """
    if data.count(b"{") != 1 + sum(bytes(value).count(b"{") for value in values):
        raise HeaderError("Its header names something twice.")


def _parse_tensor(name: str, raw: bytes) -> _Tensor:
    if "{" in name:
        raise ValueError("a tensor's name has a brace")
    if any(raw.count(field) != 1 for field in (b'"dtype"', b'"shape"', b'"data_offsets"')):
        raise ValueError("a tensor lacks dtype, shape or data_offsets, or has one twice")
    tensor = _TENSOR.decode(raw)
    begin, end = tensor.data_offsets
    bits = _DTYPE_BITS.get(tensor.dtype)
    if end < begin or len(tensor.shape) > _DIMENSIONS_MAX:
        raise ValueError("a tensor's offsets or shape make no sense")
    if bits is not None and prod(tensor.shape) * bits != (end - begin) * 8:
        raise ValueError("a tensor's shape and offsets disagree")
    return tensor


def _parse_metadata(raw: bytes) -> dict[str, str]:
    metadata = _METADATA.decode(raw)
    json.loads(raw, object_pairs_hook=_unique)
    return metadata


def _unique(pairs: list[tuple[str, str]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a metadata field stands there twice")


def _payload_bytes(tensors: Mapping[str, _Tensor]) -> int:
    """Return where the last tensor ends; every byte before must belong to exactly one tensor."""
    position = 0
    for begin, end in sorted(tensor.data_offsets for tensor in tensors.values()):
        if begin != position:
            raise HeaderError("Its tensors overlap or leave gaps.")
        position = end
    return position


# --- what may travel ------------------------------------------------------------------------------------

METADATA_ALLOWED = frozenset(
    {
        *(
            f"modelspec.{name}"
            for name in (
                "sai_model_spec", "architecture", "implementation", "implementation_version", "title",
                "resolution", "description", "date", "hash_sha256", "license", "usage_hint", "tags",
                "merged_from", "trigger_phrase", "prediction_type", "timestep_range", "encoder_layer",
                "preprocessor", "is_negative_embedding", "unet_dtype", "vae_dtype", "standard_width",
                "standard_height", "lora_default_weight", "lora_default_confinement", "special_format",
            )
        ),
        *(
            f"ss_{name}"
            for name in (
                "output_name", "base_model_version", "v2", "network_module", "network_dim",
                "network_alpha", "resolution", "clip_skip", "num_train_images", "num_epochs", "epoch",
                "steps", "max_train_steps", "learning_rate", "unet_lr", "text_encoder_lr", "optimizer",
                "lr_scheduler", "mixed_precision", "noise_offset", "min_snr_gamma", "sd_model_name",
                "sd_model_hash", "new_sd_model_hash", "vae_name", "vae_hash", "new_vae_hash",
                "training_started_at", "training_finished_at",
            )
        ),
        "sshs_model_hash",
        "sshs_legacy_hash",
    }
)  # fmt: skip
"""Left out on purpose: authors, comments, data set folders, captions and tag counts (they are prompts),
embedded pictures, session ids."""

_FILE_NAME_FIELDS = frozenset({"ss_sd_model_name", "ss_vae_name", "ss_output_name", "modelspec.title"})
_PATH = re.compile(r"(?:^|[\s\"'(=,;\[])(?:[A-Za-z]:[\\/]|\\\\|~[/\\]|/(?=[^/\s]+/))")
_UNSENDABLE = re.compile("[\x00\ud800-\udfff]")


def allowed_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The fields that may travel to the hub: at most 64 KiB as JSON, no prompts, paths or user names.

    Model names that are paths become base names; other fields with a path in them are left out.
    """
    allowed: dict[str, str] = {}
    room = METADATA_MAX_BYTES - 2
    for name in sorted(METADATA_ALLOWED & metadata.keys()):
        value = _UNSENDABLE.sub("", metadata[name])[:VALUE_MAX_CHARACTERS]
        if _PATH.search(value):
            value = re.split(r"[\\/]", value)[-1] if name in _FILE_NAME_FIELDS else ""
        room -= len(json.dumps({name: value}))
        if value and room >= 0:
            allowed[name] = value
    return allowed


# Matched in this order against modelspec.architecture, ss_base_model_version and modelspec.implementation.
_BASE_MODELS = tuple(
    (re.compile(pattern, re.IGNORECASE), name)
    for pattern, name in (
        (r"pixart", "PixArt"),
        (r"hunyuan", "Hunyuan"),
        (r"(stable-diffusion-|sd[_-]?)xl|^xl\b", "SDXL"),
        (r"flux[._-]?2", "Flux.2"),
        (r"flux", "Flux"),
        (r"(stable-diffusion-|sd[_-]?)(v)?3[._-]5", "SD 3.5"),
        (r"(stable-diffusion-|sd[_-]?)(v)?3", "SD 3"),
        (r"(stable-diffusion-|sd[_-]?)(v)?2", "SD 2"),
        (r"(stable-diffusion-|sd[_-]?)(v)?1", "SD 1.5"),
        (r"cascade|wuerstchen", "Stable Cascade"),
        (r"chroma", "Chroma"),
        (r"lumina", "Lumina 2"),
        (r"qwen", "Qwen Image"),
        (r"\bwan", "Wan"),
    )
)


def base_model(metadata: Mapping[str, str]) -> str | None:
    """``SD 1.5``, ``SD 2``, ``SDXL``, ``Flux``, ... as the header tells, or None."""
    if metadata.get("ss_v2", "").lower() == "true" and "ss_base_model_version" not in metadata:
        return "SD 2"
    for field_name in ("modelspec.architecture", "ss_base_model_version", "modelspec.implementation"):
        value = metadata.get(field_name, "")
        for pattern, name in _BASE_MODELS:
            if pattern.search(value):
                return name
    return "SD 1.5" if metadata.get("ss_v2", "").lower() == "false" else None
