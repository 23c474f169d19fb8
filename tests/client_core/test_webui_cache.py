"""What a WebUI's hash cache says is a claim: read without unpickling, believed only for this very file."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stablequeue_client.files.claimed_hashes import ClaimReport
from stablequeue_client.files.file_io import stat_key
from stablequeue_client.files.file_reader import FileJob, read_model_file
from stablequeue_client.files.webui_hash_cache import (
    CacheEntry,
    NotFlatError,
    WebuiCache,
    read_cache,
    read_flat_pickle,
)
from stablequeue_client.shared.model_files.model_file import SHA256_OF_NOTHING, Claim, Kind
from stablequeue_client.shared.wire.inventory import ServerCapabilities, encode

diskcache = pytest.importorskip("diskcache", reason="the cache's own writer is not installed here")

SHA = hashlib.sha256(b"content").hexdigest()


class Library:
    """A model folder and the cache of its WebUI."""

    def __init__(self, folder: Path) -> None:
        self.models = folder / "models"
        self.cache = folder / "cache"
        self.capabilities = folder / "capabilities.json"

    def model(self, path: str, content: bytes = b"x" * 100) -> Path:
        place = self.models / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return place

    def note(self, section: str, key: str, value: Any) -> None:
        """As ``modules/hashes.py`` does, with the real diskcache."""
        with diskcache.Cache(str(self.cache / section)) as cache:
            cache[key] = value

    def family(self, name: str) -> None:
        self.capabilities.write_bytes(encode(ServerCapabilities(webui=name)))

    def job(self, kind: Kind, path: str) -> FileJob:
        place = self.models / path
        return FileJob(str(place), kind, stat_key(place.stat()), path)

    def said(self, kind: Kind, path: str, metadata: dict[str, str] | None = None) -> ClaimReport:
        job = self.job(kind, path)
        assert job.stat is not None
        return WebuiCache(self.cache, self.capabilities).claims(job, job.stat, metadata or {})


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


def entry(place: Path, sha256: str | None = SHA, later: float = 0.0) -> dict[str, Any]:
    return {"mtime": os.path.getmtime(place) + later, "sha256": sha256}


# --- the real diskcache -----------------------------------------------------------------------------------


def test_a_checkpoint_in_the_real_cache_has_its_claim(library: Library) -> None:
    place = library.model("sub/a.safetensors")
    library.note("hashes", "checkpoint/sub/a.safetensors", entry(place))
    assert library.said("checkpoint", "sub/a.safetensors").claims == (Claim("webui_cache", "sha256", SHA),)


def test_a_cache_that_is_open_and_not_checkpointed_is_read_with_its_log(library: Library) -> None:
    place = library.model("a.safetensors")
    with diskcache.Cache(str(library.cache / "hashes")) as cache:
        cache["checkpoint/a.safetensors"] = entry(place)
        assert os.path.getsize(library.cache / "hashes" / "cache.db-wal") > 0
        assert library.said("checkpoint", "a.safetensors").claims == (Claim("webui_cache", "sha256", SHA),)


def test_nothing_is_written_into_the_cache(library: Library) -> None:
    place = library.model("a.safetensors")
    library.note("hashes", "checkpoint/a.safetensors", entry(place))
    before = {path: path.read_bytes() for path in library.cache.rglob("*") if path.is_file()}
    assert library.said("checkpoint", "a.safetensors").claims
    assert {path: path.read_bytes() for path in library.cache.rglob("*") if path.is_file()} == before


def test_an_entry_that_is_added_later_is_seen(library: Library) -> None:
    place = library.model("a.safetensors")
    library.note("hashes", "other", {})
    seconds = [0.0]
    cache = WebuiCache(library.cache, monotonic=lambda: seconds[0])
    job = library.job("checkpoint", "a.safetensors")
    assert job.stat is not None
    assert cache.claims(job, job.stat, {}).claims == ()
    library.note("hashes", "checkpoint/a.safetensors", entry(place))
    seconds[0] = 60.0
    assert len(cache.claims(job, job.stat, {}).claims) == 1


def test_the_old_json_form_is_read_too(library: Library) -> None:
    place = library.model("a.safetensors")
    library.cache.mkdir()
    cache = {
        "hashes": {"checkpoint/a.safetensors": entry(place)},
        "safetensors-metadata": {"x": {"mtime": 1}},
    }
    (library.cache.parent / "cache.json").write_text(json.dumps(cache))
    assert library.said("checkpoint", "a.safetensors").claims == (Claim("webui_cache", "sha256", SHA),)


# --- poison -----------------------------------------------------------------------------------------------


def test_a_stale_entry_says_nothing_and_one_newer_than_the_file_is_refused(library: Library) -> None:
    place = library.model("a.safetensors")
    library.note("hashes", "checkpoint/a.safetensors", entry(place, later=-10))
    assert library.said("checkpoint", "a.safetensors") == ClaimReport((), ())
    library.note("hashes", "checkpoint/a.safetensors", entry(place, later=10))
    report = library.said("checkpoint", "a.safetensors")
    assert report.claims == ()
    assert "newer file" in report.refused[0].reason


@pytest.mark.parametrize("path", ["a.safetensors", "sub/a.safetensors"])
def test_the_hash_of_the_files_name_is_refused(library: Library, path: str) -> None:
    place = library.model(path)
    poison = hashlib.sha256(place.name.encode()).hexdigest()
    library.note("hashes", f"checkpoint/{path}", entry(place, poison))
    report = library.said("checkpoint", path)
    assert report.claims == ()
    assert "name" in report.refused[0].reason


def test_a_webui_that_hashes_nothing_says_nothing(library: Library) -> None:
    place = library.model("a.safetensors")
    library.note("hashes", "checkpoint/a.safetensors", entry(place, None))
    assert library.said("checkpoint", "a.safetensors") == ClaimReport((), ())


@pytest.mark.parametrize("value", ["e3b0c44298", SHA[:10], "0" * 64, "g" * 64, SHA256_OF_NOTHING])
def test_what_is_no_digest_is_refused(library: Library, value: str) -> None:
    place = library.model("a.safetensors")
    library.note("hashes", "checkpoint/a.safetensors", entry(place, value))
    report = library.said("checkpoint", "a.safetensors")
    assert report.claims == ()
    assert len(report.refused) == 1


# --- LoRAs: the whole file or what follows the header -----------------------------------------------------


@pytest.mark.parametrize(
    ("family", "claim"),
    [
        ("forge", Claim("webui_cache", "sha256", SHA)),
        ("classic", Claim("webui_cache", "autov3", SHA[:12])),
        ("a1111", Claim("webui_cache", "autov3", SHA[:12])),
    ],
)
def test_the_webuis_family_tells_what_the_value_of_a_lora_means(
    library: Library, family: str, claim: Claim
) -> None:
    place = library.model("style/a.safetensors")
    library.note("hashes-addnet", "lora/a", entry(place))
    library.family(family)
    assert library.said("lora", "style/a.safetensors").claims == (claim,)


def test_without_the_family_only_a_value_that_the_header_confirms_is_a_claim(library: Library) -> None:
    place = library.model("a.safetensors")
    library.note("hashes-addnet", "lora/a", entry(place))
    assert library.said("lora", "a.safetensors") == ClaimReport((), ())
    confirmed = library.said("lora", "a.safetensors", {"sshs_model_hash": SHA})
    assert confirmed.claims == (Claim("webui_cache", "autov3", SHA[:12]),)


@pytest.mark.parametrize("family", ["forge", "classic"])
@pytest.mark.parametrize("meant", ["file", "payload"])
def test_a_value_that_is_true_in_the_other_sense_is_no_contradiction(
    library: Library, family: str, meant: str
) -> None:
    header = json.dumps({"a": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(range(64))
    place = library.model("a.safetensors", content)
    true = hashlib.sha256(content if meant == "file" else bytes(range(64))).hexdigest()
    library.note("hashes-addnet", "lora/a", entry(place, true))
    library.family(family)
    reading = read_model_file(
        library.job("lora", "a.safetensors"),
        further_claims=WebuiCache(library.cache, library.capabilities).claims,
    )
    assert reading.state == "ready"
    assert reading.contradictions == ()


def test_a_false_value_is_a_contradiction(library: Library) -> None:
    place = library.model("a.pt", b"\x80\x02" + b"x" * 100)
    library.note("hashes", "lora/a", entry(place))
    reading = read_model_file(library.job("lora", "a.pt"), further_claims=WebuiCache(library.cache).claims)
    assert [found.claim.value for found in reading.contradictions] == [SHA]


def test_kinds_that_the_cache_has_no_names_for_have_no_claims(library: Library) -> None:
    place = library.model("a.safetensors")
    library.note("hashes", "vae", entry(place))
    library.note("hashes", "textual_inversion/a", entry(place))
    assert library.said("vae", "a.safetensors") == ClaimReport((), ())
    assert library.said("embedding", "a.safetensors").claims == (Claim("webui_cache", "sha256", SHA),)


# --- pickles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@given(
    mtime=st.floats(allow_nan=False) | st.integers(-(1 << 70), 1 << 70),
    sha256=st.none() | st.text(alphabet="0123456789abcdef", max_size=80),
    more=st.dictionaries(
        st.text(alphabet="xyz\u00e4", min_size=3), st.none() | st.integers(0, 9), max_size=4
    ),
)
@settings(max_examples=60)
def test_an_entry_is_read_as_pickle_would(
    protocol: int, mtime: float, sha256: str | None, more: dict[str, Any]
) -> None:
    value = {"mtime": mtime, "sha256": sha256, **more}
    assert read_flat_pickle(pickle.dumps(value, protocol=protocol)) == value


class Evil:
    """Unpickling it would run something."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch /tmp/this-must-never-run",))


@pytest.mark.parametrize(
    "value",
    [
        Evil(), {"mtime": 1.0, "sha256": Evil()}, {Evil(): 1}, [1], "text", {"a": {"b": 1}}, {"a": (1,)},
        {1: "a"}, {"a": b"x"}, {"a": True}, Path("/"), {"mtime": 1.0, "sha256": [SHA]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_anything_else_is_refused_and_nothing_is_loaded(value: Any, protocol: int) -> None:
    seen: list[str] = []
    sys.addaudithook(lambda name, _: seen.append(name) if name == "pickle.find_class" else None)
    with pytest.raises(NotFlatError):
        read_flat_pickle(pickle.dumps(value, protocol=protocol))
    assert seen == []


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for given_bytes in (data, b"\x80\x04}" + data + b".", b"\x80\x04}(" + data + b"u."):
        try:
            read_flat_pickle(given_bytes)
        except NotFlatError:
            continue


def test_hostile_values_in_the_cache_are_left_alone(library: Library) -> None:
    place = library.model("a.safetensors")
    library.note("hashes", "checkpoint/evil", {"mtime": 1.0, "sha256": Evil()})
    library.note("hashes", "checkpoint/large", {"mtime": 1.0, "sha256": "a" * 5_000})
    library.note("hashes", "checkpoint/a.safetensors", entry(place))
    found = read_cache(library.cache)["hashes"]
    assert found == {"checkpoint/a.safetensors": CacheEntry(os.path.getmtime(place), SHA)}


@pytest.mark.parametrize("damage", ["garbage", "empty", "other tables", "folder", "endless view"])
def test_a_cache_that_cannot_be_used_says_nothing_and_raises_nothing(library: Library, damage: str) -> None:
    library.model("a.safetensors")
    place = library.cache / "hashes" / "cache.db"
    place.parent.mkdir(parents=True)
    if damage == "folder":
        place.mkdir()
    elif damage in ("other tables", "endless view"):
        connection = sqlite3.connect(place)
        if damage == "endless view":
            connection.execute(
                "CREATE VIEW Cache AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
                "SELECT 1 AS raw, 4 AS mode, 'k' AS key, x'00' AS value FROM n WHERE i < 0"
            )
        connection.commit()
        connection.close()
    else:
        place.write_bytes(b"" if damage == "empty" else b"no database" * 1_000)
    assert library.said("checkpoint", "a.safetensors") == ClaimReport((), ())
