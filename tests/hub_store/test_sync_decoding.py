"""What the hub makes of a sync's body: judged entry by entry, hostile ones included, bombs refused."""

from __future__ import annotations

import contextlib
import gzip
import json
import tracemalloc
import zlib
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.shared.errors import InvalidValueError, ProtocolMismatchError, TooLargeError
from stablequeue_client.shared.model_files.model_file import FILE_STATES, KINDS, SHA256_OF_NOTHING
from stablequeue_client.shared.wire.inventory import SYNC_MAX_BYTES, SYNC_MAX_ROWS, row_digest
from stablequeue_hub.inventory.sync_decoding import (
    decode_sync,
    decompress_limited,
    judge_file,
    strongest_claim,
)

HEX = "0123456789abcdef" * 4


def _decoded(wire: ModuleType, *files: dict[str, Any], roots: list[dict[str, Any]] | None = None) -> Any:
    return decode_sync(_body(wire, roots or [], list(files)))


def _body(wire: ModuleType, roots: list[Any], files: list[Any]) -> bytes:
    """JSON by the standard library, which also writes what msgspec refuses to."""
    request = json.loads(wire.body("full", "i", 0, 1, "0" * 64, [], [], []))
    return json.dumps({**request, "roots": roots, "upserts": files}).encode()


def test_a_proper_entry_is_accepted_with_all_its_fields(wire: ModuleType) -> None:
    entry = wire.ready("sub/A Model.safetensors", "x", kind="lora")
    (file,) = _decoded(wire, entry).files
    assert file.rejected is None
    assert (file.root, file.path, file.kind, file.name) == ("r1", entry["path"], "lora", "A Model")
    assert (file.sha256, file.blake3, file.autov1) == tuple(
        entry["digests"][name] for name in ("sha256", "blake3", "autov1")
    )
    assert file.digest == row_digest(entry)
    assert file.content == wire.sha("x")


WRONG = [
    ({"kind": "hypernetwork"}, "kind"),
    ({"kind": ["lora"]}, "kind"),
    ({"kind": None}, "kind"),
    ({"state": "fine"}, "state"),
    ({"state": {}}, "state"),
    ({"size": -1}, "size"),
    ({"size": 2**63}, "size"),
    ({"size": 10**400}, "size"),
    ({"size": 1.0}, "size"),
    ({"size": True}, "size"),
    ({"size": "1"}, "size"),
    ({"size": None}, "size"),
    ({"path": "/etc/passwd"}, "path"),
    ({"path": "../x.safetensors"}, "path"),
    ({"path": "a/./b"}, "path"),
    ({"path": "a\\b"}, "backslash"),
    ({"path": "a\\x4"}, "escape"),
    ({"path": "a\x07b"}, "control"),
    ({"path": "a\x00b"}, "NUL"),
    ({"path": "\\x00"}, "NUL"),
    ({"path": "x" * 5_000}, "longer"),
    ({"path": "ä" * 1_500}, "longer"),
    ({"digests": []}, "digests"),
    ({"digests": {"sha256": HEX.upper()}}, "sha256"),
    ({"digests": {"sha256": HEX[:63]}}, "sha256"),
    ({"digests": {"sha256": HEX + "\n"}}, "sha256"),
    ({"digests": {"sha256": 5}}, "sha256"),
    ({"digests": {"sha256": HEX, "blake3": "x" * 64}}, "blake3"),
    ({"digests": {"sha256": HEX, "autov1": HEX[:10]}}, "autov1"),
    ({"digests": {"sha256": HEX, "autov3": HEX[:10]}}, "autov3"),
    ({"digests": {"blake3": HEX}}, "must have its SHA256"),
    ({"digests": None}, "must have its SHA256"),
    ({"digests": {"sha256": SHA256_OF_NOTHING}}, "of no bytes"),
    ({"digests": {"sha256": HEX}, "size": 0}, "of no bytes"),
    ({"claims": {}}, "claims"),
    ({"claims": [{"source": "sidecar", "digest": "sha256", "value": HEX}] * 17}, "at most"),
    ({"claims": ["x"]}, "source"),
    ({"claims": [{"source": "rumour", "digest": "sha256", "value": HEX}]}, "source"),
    ({"claims": [{"source": "sidecar", "digest": "md5", "value": HEX}]}, "malformed"),
    ({"claims": [{"source": "sidecar", "digest": ["x"], "value": HEX}]}, "malformed"),
    ({"claims": [{"source": "sidecar", "digest": "autov2", "value": HEX}]}, "malformed"),
    (
        {"claims": [{"source": "sidecar", "digest": "sha256", "value": SHA256_OF_NOTHING}]},
        "SHA256 of no bytes",
    ),
]


@pytest.mark.parametrize(("change", "reason"), WRONG)
def test_a_wrong_entry_rejects_itself_and_keeps_its_digest(
    wire: ModuleType, change: dict[str, Any], reason: str
) -> None:
    good = wire.ready("good.safetensors", "g")
    bad = {**wire.ready("bad.safetensors", "b"), **change}
    accepted, rejected = _decoded(wire, good, bad).files
    assert accepted.rejected is None
    assert reason in rejected.rejected
    assert rejected.content is None
    assert rejected.claim is None
    assert rejected.digest == row_digest(bad)
    assert "\x00" not in f"{rejected.path}{rejected.name}"
    assert len(rejected.path.encode()) < 2_100


def test_two_long_paths_stay_two_rows(wire: ModuleType) -> None:
    one, two = (wire.ready("x" * 3_000 + end, "c") for end in "ab")
    files = _decoded(wire, one, two).files
    assert files[0].key != files[1].key


@pytest.mark.parametrize(
    "change", [{"kind": "x"}, {"health": "x"}, {"label": 5}, {"kind": []}, {"health": {}}]
)
def test_a_wrong_root_rejects_itself(wire: ModuleType, change: dict[str, Any]) -> None:
    (judged,) = _decoded(wire, roots=[{**wire.root(), **change}]).roots
    assert judged.rejected
    assert judged.digest == row_digest({**wire.root(), **change})


def test_a_label_loses_its_control_characters_and_length(wire: ModuleType) -> None:
    (judged,) = _decoded(wire, roots=[wire.root(label="a\x1b[31m\x00b" + "c" * 500)]).roots
    assert judged.rejected is None
    assert judged.label.startswith("a[31mb")
    assert len(judged.label) == 200


@pytest.mark.parametrize(
    "entry",
    [
        {"path": "x"},
        {"root": "r1"},
        {"root": "r1", "path": ""},
        {"root": "", "path": "x"},
        {"root": "r" * 65, "path": "x"},
        {"root": "r\x00", "path": "x"},
        {"root": 5, "path": "x"},
        {"root": "r1", "path": ["x"]},
        [],
        "text",
        None,
    ],
)
def test_an_entry_without_a_readable_key_rejects_the_request(wire: ModuleType, entry: Any) -> None:
    with pytest.raises(InvalidValueError, match="key"):
        _decoded(wire, entry)


def test_one_key_twice_rejects_the_request(wire: ModuleType) -> None:
    with pytest.raises(InvalidValueError, match="twice"):
        _decoded(wire, wire.ready("a", "1"), wire.ready("a", "2"))
    with pytest.raises(InvalidValueError, match="twice"):
        _decoded(wire, roots=[wire.root(), wire.root(health="suspect")])
    both = wire.body("delta", "i", 0, 1, "0" * 64, [], [wire.ready("a", "1")], [{"root": "r1", "path": "a"}])
    with pytest.raises(InvalidValueError, match="twice"):
        decode_sync(both)


def _envelope(**change: Any) -> bytes:
    fields = {"protocol": 1, "index_id": "i", "mode": "delta", "base_sequence": 1, "sequence": 2}
    return json.dumps({**fields, "digest": "0" * 64, **change}).encode()


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "half"},
        {"index_id": ""},
        {"index_id": "x" * 65},
        {"index_id": "a b"},
        {"index_id": "a\x00"},
        {"sequence": 0},
        {"sequence": -1, "base_sequence": -2},
        {"sequence": 2**63},
        {"sequence": 2.5},
        {"digest": "0" * 63},
        {"digest": "G" * 64},
        {"digest": None},
        {"mode": "full"},
        {"mode": "full", "base_sequence": 0, "removals": [{"root": "r"}]},
        {"removals": [{"root": "r\x00", "path": "x"}]},
        {"removals": [{"path": "x"}]},
        {"upserts": {}},
        {"upserts": None},
    ],
)
def test_a_malformed_envelope_is_refused(change: dict[str, Any]) -> None:
    decode_sync(_envelope())
    with pytest.raises(InvalidValueError):
        decode_sync(_envelope(**change))


def test_another_protocol_is_refused_by_its_name() -> None:
    with pytest.raises(ProtocolMismatchError, match="99"):
        decode_sync(_envelope(protocol=99))


def test_unknown_fields_are_ignored_and_count_in_the_digest(wire: ModuleType) -> None:
    entry = wire.ready("a", "x", colour="blue", digests={"sha256": wire.sha("x"), "sha512": "later"})
    (file,) = _decoded(wire, entry).files
    assert file.rejected is None
    assert file.digest == row_digest(entry) != row_digest({**entry, "colour": "red"})


@pytest.mark.parametrize(
    "entry",
    [
        b'{"root":"r","path":"\\ud800"}',
        b'{"root":"r","path":"\\udc41x"}',
        b'{"root":"r","path":"\xff"}',
        b'{"root":"r","path":"a","size":NaN}',
        b'{"root":"r","path":"a","size":1e999}',
        b'{"root":"r","path":"a","size":' + b"9" * 5_000 + b"}",
        b'{"root":"r","path":"a","more":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"root":"r","path":"a","more":' + b'{"x":' * 40 + b"1" + b"}" * 40 + b"}",
        b'{"root":"r","path":"a"',
    ],
)
def test_bytes_that_json_readers_disagree_about_are_refused(entry: bytes) -> None:
    with pytest.raises(InvalidValueError):
        decode_sync(_envelope()[:-1] + b', "upserts": [' + entry + b"]}")


def test_brackets_in_names_are_no_depth(wire: ModuleType) -> None:
    (file,) = _decoded(wire, wire.ready("[" * 60 + "\\x5C" + '"[{' * 20 + ".safetensors", "x")).files
    assert file.rejected is None


def test_more_rows_than_one_request_may_have_are_refused() -> None:
    rows = b",".join([b'{"root":"r"}'] * (SYNC_MAX_ROWS + 1))
    with pytest.raises(TooLargeError):
        decode_sync(_envelope()[:-1] + b', "upserts": [' + rows + b"]}")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
claim_values = st.fixed_dictionaries(
    {},
    optional={
        "source": st.sampled_from(["sidecar", "civitai"]) | json_values,
        "digest": st.sampled_from(["sha256", "autov2"]) | json_values,
        "value": st.sampled_from([HEX, HEX[:10]]) | json_values,
    },
)
hostile_entries = st.fixed_dictionaries(
    {"root": st.just("r1"), "path": st.text(min_size=1) | st.sampled_from(["a/b.safetensors", "\\x41"])},
    optional={
        "kind": st.sampled_from(KINDS) | json_values,
        "size": st.integers(min_value=0) | json_values,
        "state": st.sampled_from(FILE_STATES) | json_values,
        "digests": st.dictionaries(
            st.sampled_from(["sha256", "blake3", "autov1", "autov3"]), st.just(HEX) | json_values
        )
        | json_values,
        "claims": st.lists(claim_values, max_size=3) | json_values,
        "more": json_values,
    },
)


@given(hostile_entries)
def test_no_entry_with_a_key_makes_the_hub_fail(entry: dict[str, Any]) -> None:
    file = judge_file(entry)
    assert file.digest == row_digest(entry)
    assert 0 <= file.size < 2**63
    if file.rejected is None:
        assert file.path == entry["path"]
        assert (file.state == "ready") <= (file.sha256 is not None)
    assert "\x00" not in "".join(str(value) for value in (file.path, file.name, file.name_key, file.kind))


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_body_makes_the_hub_fail(body: bytes) -> None:
    with contextlib.suppress(InvalidValueError, ProtocolMismatchError, TooLargeError):
        decode_sync(body)


def test_the_strongest_claim_counts_and_a_contradiction_is_none() -> None:
    short = {"source": "sidecar", "digest": "autov2", "value": HEX[:10]}
    full = {"source": "civitai", "digest": "sha256", "value": HEX}
    other = {"source": "sidecar", "digest": "sha256", "value": HEX[::-1]}
    assert strongest_claim(None, [short]) == f"autov2:{HEX[:10]}"
    assert strongest_claim(None, [short, full]) == f"sha256:{HEX}"
    assert strongest_claim(None, [short, full, other]) is None
    assert strongest_claim(HEX[::-1], [full]) == f"sha256:{HEX[::-1]}"
    assert strongest_claim(None, []) is None


# --- F21: what is unpacked ------------------------------------------------------------------------------


def test_a_gzipped_body_is_unpacked() -> None:
    text = json.dumps(list(range(200_000))).encode()
    assert decompress_limited(gzip.compress(text)) == text


@pytest.mark.parametrize("size", [2 << 20, 200 << 20])
def test_a_bomb_is_refused_before_it_is_unpacked(size: int) -> None:
    bomb = gzip.compress(b"\0" * size, 9)
    tracemalloc.start()
    with pytest.raises(TooLargeError):
        decompress_limited(bomb)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < SYNC_MAX_BYTES


def test_a_large_body_is_refused_packed_and_unpacked() -> None:
    with pytest.raises(TooLargeError):
        decompress_limited(b"x" * (17 << 20))
    packer = zlib.compressobj(1, wbits=31)
    noise = (HEX * 4_096).encode() + bytes(range(256)) * 1_024
    packed = b"".join(packer.compress(noise) for _ in range((66 << 20) // len(noise))) + packer.flush()
    with pytest.raises(TooLargeError):
        decompress_limited(packed)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        gzip.compress(b"{}", mtime=0)[:-1],
        gzip.compress(b"{}", mtime=0) + b"x",
        gzip.compress(b"{}", mtime=0) * 2,
    ],
)
def test_what_is_no_single_whole_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidValueError):
        decompress_limited(body)
