"""What sidecars and headers say is taken as a claim; poison and nonsense are refused, and nothing raises."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.files.claimed_hashes import ClaimReport, check_claims, claims_for
from stablequeue_client.files.file_io import OpenedFile, ScanIO
from stablequeue_client.files.file_reader import FileJob, read_model_file
from stablequeue_client.shared.model_files.model_file import SHA256_OF_NOTHING, Claim, Digests

SHA = hashlib.sha256(b"content").hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "style.v2.safetensors"
    path.write_bytes(b"x" * 2_048)
    return path


def claims(model: Path, metadata: dict[str, str] | None = None) -> ClaimReport:
    return claims_for(str(model), metadata, size=model.stat().st_size)


def test_a_model_without_sidecars_has_no_claims(model: Path) -> None:
    assert claims(model) == ClaimReport((), ())


@pytest.mark.parametrize("name", ["style.v2.sha256", "style.v2.safetensors.sha256"])
@pytest.mark.parametrize("text", ["{0}", "{0}  style.v2.safetensors\n", "\ufeff{1} *x\n{2} *y\n", "0x{0}"])
def test_the_first_token_of_a_sha256_sidecar_is_a_claim(model: Path, name: str, text: str) -> None:
    model.with_name(name).write_text(text.format(SHA, SHA.upper(), OTHER), encoding="utf-8")
    assert claims(model).claims == (Claim("sidecar", "sha256", SHA),)


def civitai(model: Path, *files: dict[str, Any]) -> ClaimReport:
    model.with_name("style.v2.civitai.info").write_text(json.dumps({"id": 1, "files": list(files)}))
    return claims(model)


def test_a_civitai_file_of_this_size_gives_all_its_hashes(model: Path) -> None:
    hashes = {
        "SHA256": SHA.upper(),
        "AutoV2": SHA[:10].upper(),
        "AutoV3": OTHER[:12],
        "CRC32": "12345678",
        "BLAKE3": None,
    }
    report = civitai(
        model,
        {"name": "vae.safetensors", "sizeKB": 5.0, "hashes": {"SHA256": OTHER}},
        {"name": "renamed-by-owner.safetensors", "sizeKB": 2.0, "hashes": hashes},
    )
    assert set(report.claims) == {
        Claim("civitai", "sha256", SHA),
        Claim("civitai", "autov2", SHA[:10]),
        Claim("civitai", "autov3", OTHER[:12]),
    }
    assert report.refused == ()


def test_a_civitai_list_without_this_file_claims_nothing(model: Path) -> None:
    report = civitai(model, {"name": model.name, "sizeKB": 9.0, "hashes": {"SHA256": SHA}})
    assert report.claims == ()
    assert "no file of this size" in report.refused[0].reason


def test_a_civitai_list_with_two_candidates_claims_nothing(model: Path) -> None:
    report = civitai(
        model,
        {"name": "a", "sizeKB": 2.0, "hashes": {"SHA256": SHA}},
        {"name": "b", "sizeKB": 2.0, "hashes": {"SHA256": OTHER}},
    )
    assert report.claims == ()
    assert "several files" in report.refused[0].reason


def test_without_sizes_the_name_decides(model: Path) -> None:
    report = civitai(
        model, {"name": "x", "hashes": {"SHA256": OTHER}}, {"name": model.name, "hashes": {"SHA256": SHA}}
    )
    assert report.claims == (Claim("civitai", "sha256", SHA),)


@pytest.mark.parametrize("hashes", [{}, None])
def test_hidden_civitai_hashes_claim_nothing(model: Path, hashes: dict[str, str] | None) -> None:
    assert civitai(model, {"name": model.name, "sizeKB": 2.0, "hashes": hashes}).claims == ()


def test_an_empty_civitai_sidecar_means_not_found_and_is_no_problem(model: Path) -> None:
    model.with_name("style.v2.civitai.info").write_bytes(b"")
    assert claims(model) == ClaimReport((), ())


def test_header_hashes_are_claims_on_the_payload(model: Path) -> None:
    report = claims(model, {"sshs_model_hash": SHA, "modelspec.hash_sha256": "0x" + OTHER.upper()})
    assert report.claims == (Claim("header", "autov3", SHA[:12]), Claim("header", "autov3", OTHER[:12]))


@pytest.mark.parametrize(
    "value",
    [
        SHA256_OF_NOTHING,
        hashlib.sha256(b"style.v2.safetensors").hexdigest(),
        hashlib.sha256(b"style.v2").hexdigest(),
        "0" * 64,
        "f" * 64,
        SHA[:10],
        SHA + "00",
        "not hex at all",
        "",
    ],
)
def test_poison_and_values_of_wrong_form_are_refused_with_a_reason(model: Path, value: str) -> None:
    model.with_name("style.v2.sha256").write_text(value)
    report = claims(model, {"sshs_model_hash": value})
    assert report.claims == ()
    assert report.refused
    assert all(refused.reason for refused in report.refused)


@pytest.mark.parametrize(("digest", "length"), [("AutoV1", 8), ("AutoV2", 10), ("AutoV3", 12)])
def test_the_beginnings_of_the_digest_of_nothing_are_refused(model: Path, digest: str, length: int) -> None:
    report = civitai(model, {"name": "x", "sizeKB": 2.0, "hashes": {digest: SHA256_OF_NOTHING[:length]}})
    assert report.claims == ()
    assert "an empty file" in report.refused[0].reason


HOSTILE = [
    b"{", b"[]", b'{"files": 3}', b'{"files": [{"hashes": "x"}]}', b'{"files": [{"hashes": {"SHA256": 5}}]}',
    b"[" * 200_000, b'{"x":' * 100_000, b'{"files": [{"sizeKB": 1e999}]}', b'{"files": [{"sizeKB": NaN}]}',
    b"\xff\xfe\x00", b'{"files": [{"name": "\\ud800"}]}', b"\x00" * 10, b"9" * 6_000,
]  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE)
def test_a_hostile_sidecar_is_refused_as_a_whole(model: Path, data: bytes) -> None:
    model.with_name("style.v2.civitai.info").write_bytes(data)
    model.with_name("style.v2.sha256").write_bytes(data)
    report = claims(model)
    assert report.claims == ()
    assert any("civitai.info" in refused.reason for refused in report.refused)


@given(st.binary(max_size=300))
def test_no_sidecar_raises(data: bytes) -> None:
    class OneSidecar(ScanIO):
        def stat(self, path: str) -> Any:
            return None

        def open(self, path: str) -> OpenedFile:
            class InMemory(OpenedFile):
                def read_at(self, offset: int, length: int) -> bytes:
                    return data[offset : offset + length]

                def close(self) -> None:
                    """Nothing is open."""

            return InMemory(path, -1)

    for claim in claims_for("/x/model.safetensors", io=OneSidecar()).claims:
        assert set(claim.value) <= set("0123456789abcdef")


def test_an_endless_sidecar_is_refused_without_being_read(model: Path) -> None:
    with model.with_name("style.v2.civitai.info").open("wb") as file:
        file.truncate(2**33)
    assert "larger than" in claims(model).refused[0].reason


def test_a_sidecar_that_is_a_folder_or_cannot_be_read_is_refused(model: Path, faulty_io: Any) -> None:
    model.with_name("style.v2.sha256").mkdir()
    assert "not a regular file" in claims(model).refused[0].reason
    model.with_name("style.v2.civitai.info").write_text("{}")
    found = [claims_for(str(model), io=faulty_io(k, errno.EIO)).claims for k in range(1, 9)]
    assert found == [()] * 8


def test_a_contradiction_between_claim_and_content_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"\x80\x02content")
    (tmp_path / "a.sha256").write_text(OTHER)
    (contradiction,) = read_model_file(FileJob(str(path), "lora")).contradictions
    assert contradiction.claim == Claim("sidecar", "sha256", OTHER)
    assert contradiction.computed == hashlib.sha256(b"\x80\x02content").hexdigest()


def test_a_digest_not_computed_contradicts_nothing() -> None:
    found = [Claim("header", "autov3", OTHER[:12]), Claim("civitai", "autov2", SHA[:10])]
    assert check_claims(found, Digests(sha256=SHA)) == ()
    (wrong,) = check_claims(found, Digests(sha256=OTHER, payload_sha256=OTHER))
    assert wrong.claim.digest == "autov2"


# --- notes of other programs ------------------------------------------------------------------------------


def test_the_sha256_that_browser_plus_writes_into_the_webuis_notes_is_a_claim(model: Path) -> None:
    notes = {"activation text": "style", "preferred weight": 0.7, "sha256": SHA.upper(), "modelId": 7}
    model.with_name("style.v2.json").write_text(json.dumps(notes))
    assert claims(model).claims == (Claim("sidecar", "sha256", SHA),)


def test_the_webuis_own_notes_claim_nothing(model: Path) -> None:
    model.with_name("style.v2.json").write_text(json.dumps({"description": "", "sd version": "SDXL"}))
    assert claims(model) == ClaimReport((), ())


def test_lora_managers_metadata_counts_for_a_file_of_the_same_size_only(model: Path) -> None:
    place = model.with_name("style.v2.metadata.json")
    place.write_text(json.dumps({"file_name": "style.v2", "size": 2_048, "sha256": SHA, "tags": []}))
    assert claims(model).claims == (Claim("sidecar", "sha256", SHA),)
    place.write_text(json.dumps({"file_name": "style.v2", "size": 2_049, "sha256": SHA}))
    report = claims(model)
    assert report.claims == ()
    assert "another size" in report.refused[0].reason


def test_lora_managers_metadata_of_a_file_it_has_not_hashed_yet_claims_nothing(model: Path) -> None:
    place = model.with_name("style.v2.metadata.json")
    place.write_text(json.dumps({"size": 2_048, "sha256": "", "hash_status": "pending"}))
    assert claims(model) == ClaimReport((), ())


def test_stability_matrix_gives_the_hashes_of_civitai(model: Path) -> None:
    info = {"ModelId": 1, "Hashes": {"SHA256": SHA.upper(), "CRC32": "12345678", "BLAKE3": None}}
    model.with_name("style.v2.cm-info.json").write_text("\ufeff" + json.dumps(info), encoding="utf-8")
    assert claims(model).claims == (Claim("civitai", "sha256", SHA),)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("style.v2.json", '{{"sha256": "{0}"}}'),
        ("style.v2.metadata.json", '{{"size": 2048, "sha256": "{0}"}}'),
        ("style.v2.cm-info.json", '{{"Hashes": {{"SHA256": "{0}"}}}}'),
    ],
)
@pytest.mark.parametrize(
    "poison",
    [SHA256_OF_NOTHING, hashlib.sha256(b"style.v2.safetensors").hexdigest(), "0" * 64, "abc", "no hash"],
)
def test_poison_in_any_note_is_refused_with_a_reason(model: Path, name: str, form: str, poison: str) -> None:
    model.with_name(name).write_text(form.format(poison))
    report = claims(model)
    assert report.claims == ()
    assert len(report.refused) == 1


@pytest.mark.parametrize("name", ["style.v2.json", "style.v2.metadata.json", "style.v2.cm-info.json"])
@pytest.mark.parametrize("data", ["[" * 100_000, "[]", "7", '{"sha256": 7, "Hashes": 7}', "{"])
def test_a_hostile_note_is_refused_as_a_whole(model: Path, name: str, data: str) -> None:
    model.with_name(name).write_text(data)
    report = claims(model)
    assert report.claims == ()
    assert len(report.refused) == 1
