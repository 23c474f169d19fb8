"""``stablequeue scan`` on real folders, its JSON against digests computed here in the plainest way."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
from pathlib import Path
from typing import Any

import blake3
import pytest


def safetensors(seed: str, payload: int = 2_000, metadata: dict[str, str] | None = None) -> bytes:
    header = {
        "__metadata__": metadata or {},
        "t": {"dtype": "U8", "shape": [payload], "data_offsets": [0, payload]},
    }
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + random.Random(seed).randbytes(payload)


def write(path: str | bytes | Path, content: bytes) -> bytes:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    return content


def by_path(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {file["path"]: file for file in report["files"]}


def test_scan_prints_the_digests_of_every_file(commands: Any, tmp_path: Path) -> None:
    big = write(tmp_path / "sd" / "sub" / "big one.safetensors", safetensors("big", 1_300_000))
    plain = write(tmp_path / "sd" / "old.ckpt", b"\x80\x02" + random.Random(1).randbytes(1_200_000))
    lora = write(tmp_path / "lora" / "styles" / "ink.safetensors", safetensors("ink"))
    done = commands.run(
        "scan",
        "--checkpoints",
        str(tmp_path / "sd"),
        "--loras",
        str(tmp_path / "lora"),
        "--data",
        str(tmp_path / "d"),
        "--json",
    )
    assert done.code == 0, done.err
    files = by_path(done.json)
    assert set(files) == {"sub/big one.safetensors", "old.ckpt", "styles/ink.safetensors"}
    for path, content in (
        ("sub/big one.safetensors", big),
        ("old.ckpt", plain),
        ("styles/ink.safetensors", lora),
    ):
        file = files[path]
        sha256 = hashlib.sha256(content).hexdigest()
        assert (file["size"], file["state"]) == (len(content), "ready")
        assert (file["sha256"], file["autov2"]) == (sha256, sha256[:10])
        assert file["blake3"] == blake3.blake3(content).hexdigest()
        assert {file["source"][name] for name in ("sha256", "autov2", "blake3")} == {"computed"}
    assert files["old.ckpt"]["autov1"] == hashlib.sha256(plain[0x100000:0x110000]).hexdigest()[:8]
    ink = files["styles/ink.safetensors"]
    (length,) = struct.unpack("<Q", lora[:8])
    assert ink["autov3"] == hashlib.sha256(lora[8 + length :]).hexdigest()[:12]
    assert (ink["type"], ink["name"], ink["root"]) == ("lora", "ink", str(tmp_path / "lora"))
    assert files["sub/big one.safetensors"]["name"] == "sub/big one.safetensors"


ODD_NAMES = [
    b"caf\xc3\xa9.safetensors",
    b"broken\xff\xfe.safetensors",
    b"two\nlines.safetensors",
    b"back\\slash.safetensors",
    b"\x1b[31mred.safetensors",
    "right\u202eleft.safetensors".encode(),
]


@pytest.mark.skipif(os.name == "nt", reason="such names cannot exist there")
def test_odd_names_come_out_as_they_are_in_json_and_harmless_on_a_terminal(
    commands: Any, tmp_path: Path
) -> None:
    for name in ODD_NAMES:
        write(os.fsencode(tmp_path / "sd") + b"/" + name, safetensors(repr(name)))
    words = ("scan", "--checkpoints", str(tmp_path / "sd"), "--data", str(tmp_path / "d"))
    done = commands.run(*words, "--json")
    assert done.code == 0, done.err
    assert done.out.isascii()
    assert {os.fsencode(path) for path in by_path(done.json)} == set(ODD_NAMES)
    shown = commands.run(*words)
    assert shown.code == 0
    assert not {"\x1b", "\u202e"} & set(shown.out)
    assert "\\x1b[31mred.safetensors" in shown.out
    assert "broken\\xff\\xfe.safetensors" in shown.out
    assert len([line for line in shown.out.splitlines() if line.startswith("checkpoint")]) == len(ODD_NAMES)


def test_a_truncated_file_is_told_and_the_rest_goes_on(commands: Any, tmp_path: Path) -> None:
    write(tmp_path / "sd" / "cut.safetensors", safetensors("cut")[:-100])
    write(tmp_path / "sd" / "whole.safetensors", safetensors("whole"))
    done = commands.run(
        "scan", "--checkpoints", str(tmp_path / "sd"), "--data", str(tmp_path / "d"), "--json"
    )
    assert done.code == 3
    files = by_path(done.json)
    assert (files["cut.safetensors"]["state"], files["cut.safetensors"]["sha256"]) == ("corrupt", None)
    assert files["cut.safetensors"]["reason"]
    assert files["whole.safetensors"]["state"] == "ready"


def test_without_folders_it_says_what_to_give(commands: Any) -> None:
    done = commands.run("scan")
    assert done.code == 2
    assert "--webui DIR" in done.err
    assert "--checkpoints DIR" in done.err


def test_a_webui_folder_without_models_is_named_with_the_remedy(commands: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = commands.run("scan", "--webui", str(tmp_path / "empty"), "--json")
    assert done.code != 0
    assert str(tmp_path / "empty") in done.json["error"]["message"]
    assert "--checkpoints" in done.json["error"]["remedy"]


def test_a_webui_folder_is_enough(commands: Any, tmp_path: Path) -> None:
    webui = tmp_path / "forge"
    write(webui / "models" / "Stable-diffusion" / "a.safetensors", safetensors("a"))
    write(webui / "models" / "Lora" / "b.safetensors", safetensors("b"))
    write(webui / "embeddings" / "c.safetensors", safetensors("c"))
    done = commands.run("scan", "--webui", str(webui), "--data", str(tmp_path / "d"), "--json")
    assert done.code == 0, done.err
    assert {(file["type"], file["name"]) for file in done.json["files"]} == {
        ("checkpoint", "a.safetensors"),
        ("lora", "b"),
        ("embedding", "c"),
    }


def test_an_emptied_folder_keeps_its_rows_until_its_owner_accepts(commands: Any, tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / "sd" / f"{number}.safetensors", safetensors(str(number)))
    words = ("scan", "--checkpoints", str(tmp_path / "sd"), "--data", str(tmp_path / "d"), "--json")
    assert len(commands.run(*words).json["files"]) == 3
    for number in range(3):
        (tmp_path / "sd" / f"{number}.safetensors").unlink()
    emptied = commands.run(*words)
    assert (emptied.code, len(emptied.json["files"])) == (3, 3)
    accepted = commands.run("scan", "--accept-removals", str(tmp_path / "sd"), "--data", str(tmp_path / "d"))
    assert (accepted.code, "Accepted" in accepted.out) == (0, True)
    assert commands.run(*words).json["files"] == []


def test_accepting_for_an_unknown_folder_names_the_known_ones(commands: Any, tmp_path: Path) -> None:
    write(tmp_path / "sd" / "a.safetensors", safetensors("a"))
    data = ("--data", str(tmp_path / "d"))
    commands.run("scan", "--checkpoints", str(tmp_path / "sd"), *data)
    done = commands.run("scan", "--accept-removals", "/elsewhere", *data)
    assert done.code == 1
    assert str(tmp_path / "sd") in done.err


def test_settings_can_come_from_a_file_in_the_data_folder_and_from_the_environment(
    commands: Any, tmp_path: Path
) -> None:
    write(tmp_path / "sd" / "a.safetensors", safetensors("a"))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "stablequeue.toml").write_text(f"checkpoints = ['{tmp_path / 'sd'}']\njson = true\n")
    done = commands.run("scan", env={"STABLEQUEUE_DATA": str(tmp_path / "d")})
    assert done.code == 0, done.err
    assert [file["name"] for file in done.json["files"]] == ["a.safetensors"]


def test_a_settings_file_with_a_mistake_names_file_line_and_nearest_name(
    commands: Any, tmp_path: Path
) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("checkpoint = '/x'\n")
    unknown = commands.run("scan", "--config", str(config))
    assert unknown.code == 2
    assert str(config) in unknown.err
    assert "'checkpoints'" in unknown.err
    config.write_text("checkpoints = \n")
    broken = commands.run("scan", env={"STABLEQUEUE_CONFIG": str(config)})
    assert broken.code == 2
    assert "line 1" in broken.err


def test_a_data_folder_that_is_a_file_is_told(commands: Any, tmp_path: Path) -> None:
    write(tmp_path / "sd" / "a.safetensors", safetensors("a"))
    (tmp_path / "d").write_text("")
    done = commands.run("scan", "--checkpoints", str(tmp_path / "sd"), "--data", str(tmp_path / "d"))
    assert done.code == 1
    assert str(tmp_path / "d") in done.err
    assert "Traceback" not in done.err
