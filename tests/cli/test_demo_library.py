"""The sample library is what it says it is."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path

import pytest

from stablequeue_client.commands.demo_library import MARKER, SAMPLES, SERVERS, prepare_demo, safetensors_bytes
from stablequeue_client.shared.errors import DataFolderError
from stablequeue_client.shared.model_files.safetensors_header import read_header


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_is_a_valid_safetensors_file(name: str) -> None:
    content = safetensors_bytes(SAMPLES[name])
    header = read_header(lambda offset, length: content[offset : offset + length], len(content))
    assert header.tensor_count > 0
    assert SAMPLES[name].metadata.items() <= header.metadata.items()
    assert content == safetensors_bytes(SAMPLES[name])


def contents(data: Path) -> dict[str, dict[str, str]]:
    """server -> file name -> SHA256, of the models."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for path in data.glob("servers/*/webui/**/*.safetensors*"):
        if path.suffix != ".aria2":
            found[path.relative_to(data).parts[1]][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_the_library_holds_every_case_that_it_is_to_show(tmp_path: Path) -> None:
    assert (
        [server.alias for server in prepare_demo(str(tmp_path))]
        == list(SERVERS)
        == ["forge-a", "forge-b", "classic"]
    )
    found = contents(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 20_000_000
    twice = [
        digest
        for files in found.values()
        for digest in set(files.values())
        if list(files.values()).count(digest) > 1
    ]
    assert twice, "duplicates on one server"
    assert found["forge-a"]["nightcityMix_v2.safetensors"] != found["classic"]["nightcityMix_v2.safetensors"]
    assert (
        found["forge-a"]["portraitStudio_v51.safetensors"]
        == found["classic"]["portrait studio 5.1.safetensors"]
    )
    assert {"toyboxDiorama_v4.safetensors.part"} <= set(found["forge-a"])
    assert {"pixel_quest.safetensors.corrupted"} <= set(found["forge-b"])
    broken = (tmp_path / "servers/forge-b/webui/models/Lora/paper_cutout_XL.safetensors").read_bytes()
    assert (
        broken
        == safetensors_bytes(SAMPLES["paper_cutout_XL"])[: len(broken)]
        != safetensors_bytes(SAMPLES["paper_cutout_XL"])
    )


def test_sidecars_claim_what_they_are_meant_to(tmp_path: Path) -> None:
    prepare_demo(str(tmp_path))
    found = contents(tmp_path)
    checkpoints = tmp_path / "servers/forge-a/webui/models/Stable-diffusion"
    info = json.loads((checkpoints / "aquarelleXL_v30.civitai.info").read_text())
    assert info["files"][0]["hashes"]["SHA256"].lower() == found["forge-a"]["aquarelleXL_v30.safetensors"]
    right = (checkpoints / "harborlightXL_v12.sha256").read_text().split()[0]
    assert right == found["forge-a"]["harborlightXL_v12.safetensors"]
    wrong = (tmp_path / "servers/forge-b/webui/models/Lora/wool_felt_XL.sha256").read_text().split()[0]
    assert wrong != found["forge-b"]["wool_felt_XL.safetensors"]


def test_a_second_start_leaves_the_library_as_its_owner_left_it(tmp_path: Path) -> None:
    prepare_demo(str(tmp_path))
    removed = tmp_path / "servers/classic/webui/models/VAE/clearview_vae.safetensors"
    removed.unlink()
    prepare_demo(str(tmp_path))
    assert not removed.exists()


def test_an_interrupted_start_is_completed(tmp_path: Path) -> None:
    prepare_demo(str(tmp_path))
    missing = tmp_path / "servers/classic/webui/models/VAE/clearview_vae.safetensors"
    missing.unlink()
    (tmp_path / MARKER).unlink()
    prepare_demo(str(tmp_path))
    assert missing.read_bytes() == safetensors_bytes(SAMPLES["clearview_vae"])


def test_the_folder_of_a_real_hub_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "hub.sqlite").write_bytes(b"")
    with pytest.raises(DataFolderError, match="real hub"):
        prepare_demo(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["hub.sqlite"]
