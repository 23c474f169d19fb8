"""The sample library of ``up --demo``: small valid safetensors files on three made-up servers.

On disk, below the demo's data folder::

    demo.json                      written last: which version of the sample this is, and its servers
    servers/<alias>/webui/         folders as a WebUI has them
        models/Stable-diffusion/  models/Lora/  models/VAE/  models/text_encoder/  embeddings/
    servers/<alias>/data/          that server's own data folder

The bytes are made from the sample's name, so writing twice gives the same files. They are noise, no weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
from dataclasses import dataclass, field

from stablequeue_client.shared.errors import DataFolderError
from stablequeue_client.shared.model_files.model_file import SHA256_OF_NOTHING, Kind

MARKER = "demo.json"
VERSION = 1
KIND_FOLDERS: dict[Kind, str] = {
    "checkpoint": "models/Stable-diffusion",
    "lora": "models/Lora",
    "vae": "models/VAE",
    "text_encoder": "models/text_encoder",
    "embedding": "embeddings",
}

_SDXL_LORA = {
    "ss_base_model_version": "sdxl_base_v1-0",
    "ss_network_module": "networks.lora",
    "ss_network_dim": "16",
}
_SD15_LORA = {"ss_base_model_version": "sd_v1", "ss_v2": "False", "ss_network_module": "networks.lora"}
_FLUX_LORA = {
    "modelspec.architecture": "flux-1-dev/lora",
    "modelspec.implementation": "https://github.com/black-forest-labs/flux",
}
_SDXL = {"modelspec.sai_model_spec": "1.0.1", "modelspec.architecture": "stable-diffusion-xl-v1-base"}
_SD15 = {"modelspec.sai_model_spec": "1.0.1", "modelspec.architecture": "stable-diffusion-v1"}
_FLUX = {"modelspec.sai_model_spec": "1.0.1", "modelspec.architecture": "flux-1-dev"}


@dataclass(frozen=True)
class Sample:
    """One content: its usual file name, kind, and what its header says."""

    name: str
    kind: Kind
    metadata: dict[str, str] = field(default_factory=dict)
    size: int = 48_000
    """Bytes of tensor data."""


@dataclass(frozen=True)
class PlacedFile:
    """A file on a server: which sample, under which name (default: its own), and what is odd about it."""

    sample: str
    path: str | None = None
    keep: float = 1.0
    """The part of the bytes that is there; below 1 it is a truncated or half-copied file."""
    sidecar: str = ""
    """civitai, sha256, wrong_sha256 or aria2: the file that lies beside it."""


def _checkpoint(name: str, metadata: dict[str, str]) -> Sample:
    return Sample(name, "checkpoint", {**metadata, "modelspec.title": name}, 1_180_000)


def _lora(name: str, metadata: dict[str, str]) -> Sample:
    return Sample(
        name, "lora", {**metadata, "ss_output_name": name, "ss_training_comment": "sample, no real weights"}
    )


SAMPLES: dict[str, Sample] = {
    sample.name: sample
    for sample in (
        _checkpoint("aquarelleXL_v30", _SDXL),
        _checkpoint("harborlightXL_v12", _SDXL),
        _checkpoint("velvetRealism_XL", _SDXL),
        _checkpoint("nightcityMix_v2", _SD15),
        _checkpoint("nightcityMix_v2 other content", _SD15),
        _checkpoint("portraitStudio_v51", _SD15),
        _checkpoint("toyboxDiorama_v4", _SD15),
        _checkpoint("fluxMeadow_dev-fp8", _FLUX),
        _lora("ink_wash_XL", _SDXL_LORA),
        _lora("lighthouse_keeper_XL", _SDXL_LORA),
        _lora("paper_cutout_XL", _SDXL_LORA),
        _lora("soft_rim_light_XL", _SDXL_LORA),
        _lora("vintage_poster_XL", _SDXL_LORA),
        _lora("wool_felt_XL", _SDXL_LORA),
        _lora("claymation_v2", _SD15_LORA),
        _lora("detail_slider_v1", _SD15_LORA),
        _lora("marker_sketch", _SD15_LORA),
        _lora("old_film_grain", _SD15_LORA),
        _lora("pixel_quest", _SD15_LORA),
        _lora("stained_glass", _SD15_LORA),
        _lora("botanical_plate_flux", _FLUX_LORA),
        _lora("neon_rain_flux", _FLUX_LORA),
        # As ai-toolkit writes it: the hash of nothing, which must not be believed.
        _lora("winter_market_flux", {**_FLUX_LORA, "sshs_model_hash": SHA256_OF_NOTHING}),
        Sample("clearview_vae", "vae"),
        Sample("sdxl_soft_vae", "vae"),
        Sample("clip_l_sample", "text_encoder"),
        Sample("t5xxl_sample_fp8", "text_encoder", size=160_000),
        Sample("bad_hands_sample", "embedding", size=6_144),
        Sample("easy_negative_sample", "embedding", size=6_144),
    )
}

SERVERS: dict[str, tuple[PlacedFile, ...]] = {
    "forge-a": (
        *(
            PlacedFile(name)
            for name, sample in SAMPLES.items()
            if sample.kind != "checkpoint" and "_flux" not in name
        ),
        PlacedFile("aquarelleXL_v30", sidecar="civitai"),
        PlacedFile("harborlightXL_v12", sidecar="sha256"),
        PlacedFile("velvetRealism_XL", "realistic/velvetRealism_XL.safetensors"),
        PlacedFile("nightcityMix_v2"),
        PlacedFile("portraitStudio_v51", sidecar="civitai"),
        PlacedFile("toyboxDiorama_v4", "toyboxDiorama_v4.safetensors.part", keep=0.6),
    ),
    "forge-b": (
        PlacedFile("aquarelleXL_v30"),
        PlacedFile("aquarelleXL_v30", "old/aquarelleXL_v30 (1).safetensors"),
        PlacedFile("fluxMeadow_dev-fp8", "flux/fluxMeadow_dev-fp8.safetensors", sidecar="civitai"),
        PlacedFile("harborlightXL_v12", keep=0.8, sidecar="aria2"),
        PlacedFile("ink_wash_XL", "styles/ink_wash_XL.safetensors"),
        PlacedFile("lighthouse_keeper_XL"),
        PlacedFile("paper_cutout_XL", keep=0.7),
        PlacedFile("wool_felt_XL", sidecar="wrong_sha256"),
        PlacedFile("botanical_plate_flux"),
        PlacedFile("neon_rain_flux"),
        PlacedFile("winter_market_flux"),
        PlacedFile("pixel_quest", "pixel_quest.safetensors.corrupted"),
        PlacedFile("t5xxl_sample_fp8"),
        PlacedFile("clip_l_sample"),
        PlacedFile("sdxl_soft_vae"),
    ),
    "classic": (
        PlacedFile("nightcityMix_v2 other content", "nightcityMix_v2.safetensors"),
        PlacedFile("portraitStudio_v51", "people/portrait studio 5.1.safetensors"),
        PlacedFile("toyboxDiorama_v4", sidecar="sha256"),
        PlacedFile("claymation_v2"),
        PlacedFile("detail_slider_v1", sidecar="civitai"),
        PlacedFile("detail_slider_v1", "duplicates/more_detail.safetensors"),
        PlacedFile("marker_sketch"),
        PlacedFile("old_film_grain"),
        PlacedFile("stained_glass", "stained glass (église).safetensors"),
        PlacedFile("clearview_vae"),
        PlacedFile("bad_hands_sample"),
        PlacedFile("easy_negative_sample"),
    ),
}


@dataclass(frozen=True)
class DemoServer:
    """One made-up server: its alias, its WebUI folder, its data folder."""

    alias: str
    webui: str
    data: str


def prepare_demo(data: str) -> tuple[DemoServer, ...]:
    """The demo's servers below ``data``; the library is written once and then left as it is.

    Raises DataFolderError when ``data`` already belongs to something else, or cannot be written.
    """
    servers = tuple(
        DemoServer(alias, _join(data, "servers", alias, "webui"), _join(data, "servers", alias, "data"))
        for alias in SERVERS
    )
    if _is_current(data):
        return servers
    if os.path.exists(_join(data, "hub.sqlite")) and not os.path.exists(_join(data, MARKER)):
        raise DataFolderError(
            f"The folder {data} belongs to a real hub.", remedy="Give the demo another --data folder."
        )
    try:
        for server in servers:
            _write_server(server)
        _write(_join(data, MARKER), json.dumps({"version": VERSION, "servers": list(SERVERS)}).encode())
    except OSError as error:
        raise DataFolderError(f"The sample library cannot be written to {data}: {error}.") from error
    return servers


def _join(*parts: str) -> str:
    return os.path.join(*parts)


def _is_current(data: str) -> bool:
    try:
        with open(_join(data, MARKER), encoding="utf-8") as file:
            return bool(json.load(file).get("version") == VERSION)
    except (OSError, ValueError, AttributeError):
        return False


def _write_server(server: DemoServer) -> None:
    for folder in KIND_FOLDERS.values():
        os.makedirs(_join(server.webui, folder), exist_ok=True)
    for placed in SERVERS[server.alias]:
        sample = SAMPLES[placed.sample]
        content = safetensors_bytes(sample)
        path = _join(server.webui, KIND_FOLDERS[sample.kind], placed.path or f"{sample.name}.safetensors")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _write_sidecar(path, placed.sidecar, sample, content)
        _write(path, content[: int(len(content) * placed.keep)])


def _write(path: str, content: bytes) -> None:
    """Write a whole file or nothing: a demo that was interrupted goes on at its next start."""
    temporary = f"{path}.writing.tmp"
    with open(temporary, "wb") as file:
        file.write(content)
    os.replace(temporary, path)


def _write_sidecar(path: str, which: str, sample: Sample, content: bytes) -> None:
    stem = path.removesuffix(".safetensors")
    digest = hashlib.sha256(content).hexdigest()
    if which == "civitai":
        _write(f"{stem}.civitai.info", json.dumps(_civitai_info(sample, digest), indent=1).encode())
    elif which in ("sha256", "wrong_sha256"):
        stated = digest if which == "sha256" else hashlib.sha256(digest.encode()).hexdigest()
        _write(f"{stem}.sha256", f"{stated} *{os.path.basename(path)}\n".encode())
    elif which == "aria2":
        _write(f"{path}.aria2", b"\x00\x01sample of a download's control file")


def _civitai_info(sample: Sample, sha256: str) -> dict[str, object]:
    """A model-version answer as Civitai Helper stores it; ids far above any real one."""
    number = 900_000_000 + int(sha256[:6], 16)
    file = {"name": f"{sample.name}.safetensors", "primary": True, "hashes": {"SHA256": sha256.upper()}}
    kind = "Checkpoint" if sample.kind == "checkpoint" else "LORA"
    return {
        "id": number,
        "modelId": number,
        "name": "sample",
        "model": {"name": f"{sample.name} (sample)", "type": kind},
        "files": [file],
    }


def safetensors_bytes(sample: Sample) -> bytes:
    """A valid safetensors file: header with metadata, then noise of ``sample.size`` bytes."""
    tensors = _tensors(sample)
    header: dict[str, object] = {}
    if sample.metadata:
        header["__metadata__"] = {
            **sample.metadata,
            "modelspec.description": "Sample of StableQueue, no weights",
        }
    offset = 0
    for name, values in tensors:
        header[name] = {"dtype": "F16", "shape": [values], "data_offsets": [offset, offset + 2 * values]}
        offset += 2 * values
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    # Not for secrets: the same name has to give the same bytes.
    noise = random.Random(f"stablequeue sample {sample.name}").randbytes(offset)  # noqa: S311
    return struct.pack("<Q", len(encoded)) + encoded + noise


_TENSOR_NAMES: dict[Kind, tuple[str, ...]] = {
    "checkpoint": (
        "first_stage_model.decoder.conv_in.weight",
        "model.diffusion_model.input_blocks.0.0.weight",
        "model.diffusion_model.out.2.weight",
    ),
    "lora": (
        "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight",
        "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight",
    ),
    "vae": ("decoder.conv_in.weight", "encoder.conv_in.weight"),
    "text_encoder": ("text_model.embeddings.token_embedding.weight",),
    "embedding": ("emb_params",),
}


def _tensors(sample: Sample) -> list[tuple[str, int]]:
    """(name, number of 16-bit values) of each tensor; together ``sample.size`` bytes."""
    names = _TENSOR_NAMES[sample.kind]
    share = sample.size // 2 // len(names)
    return [(name, share) for name in names]
