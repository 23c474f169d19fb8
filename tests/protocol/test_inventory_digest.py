"""The digest: canonical form, row digests, and the sum that both sides keep."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.shared.wire import inventory

json_values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
entries = st.dictionaries(st.text(max_size=6), json_values | st.none(), max_size=6)


def slow_canonical(value: Any) -> Any:
    """The rule written out once more, plainly, to compare with."""
    if isinstance(value, dict):
        return {k: slow_canonical(v) for k, v in sorted(value.items()) if v is not None}
    if isinstance(value, list):
        return sorted(
            (slow_canonical(v) for v in value if v is not None),
            key=lambda v: json.dumps(v, sort_keys=True, separators=(",", ":")),
        )
    return value


@given(entries)
def test_the_canonical_form_is_sorted_compact_ascii_without_nulls(entry: dict[str, Any]) -> None:
    expected = json.dumps(slow_canonical(entry), sort_keys=True, separators=(",", ":"))
    assert inventory.canonical_json(entry) == expected.encode("ascii")


@given(entries)
def test_the_digest_survives_a_trip_through_json(entry: dict[str, Any]) -> None:
    assert inventory.row_digest(entry) == inventory.row_digest(json.loads(json.dumps(entry)))


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=20), st.randoms())
def test_the_sum_knows_no_order_and_can_be_undone(digests: list[bytes], random: Any) -> None:
    shuffled = list(digests)
    random.shuffle(shuffled)
    total = inventory.digest_sum(digests)
    assert inventory.digest_sum(shuffled) == total
    assert inventory.digest_difference(total, digests) == 0
    assert len(inventory.digest_hex(total)) == 64


def test_swapped_root_and_path_have_different_digests() -> None:
    one = {"root": "a", "path": "b", "kind": "lora"}
    other = {"root": "b", "path": "a", "kind": "lora"}
    assert inventory.row_digest(one) != inventory.row_digest(other)


def test_a_number_json_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Out of range|not JSON compliant"):
        inventory.canonical_json({"size": float("nan")})


def test_the_digest_of_an_entry_never_changes_between_versions() -> None:
    """A recorded value: another result here would make every hub and server disagree after an update."""
    entry = inventory.FileEntry(
        root="0a1b2c3d",
        path="sub/é.safetensors",
        kind="lora",
        size=5,
        state="ready",
        digests=inventory.WireDigests(sha256="a" * 64, autov3="b" * 12),
        claims=(inventory.WireClaim("sidecar", "sha256", "c" * 64),),
    )
    as_sent = inventory.entry_dict(entry)
    assert inventory.canonical_json(as_sent) == (
        b'{"claims":[{"digest":"sha256","source":"sidecar","value":"'
        + b"c" * 64
        + b'"}],"digests":{"autov3":"'
        b'bbbbbbbbbbbb","sha256":"' + b"a" * 64 + b'"},"kind":"lora","path":"sub/\\u00e9.safetensors",'
        b'"root":"0a1b2c3d","size":5,"state":"ready"}'
    )
