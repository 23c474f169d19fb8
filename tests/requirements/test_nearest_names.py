"""The name that was meant, among ten thousand."""

from __future__ import annotations

import random
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.shared.model_files.nearest_names import NearestNames

from ..slowness import takes_at_most

WORDS = (
    "detail",
    "tweaker",
    "style",
    "ghibli",
    "pixel",
    "noir",
    "anime",
    "slider",
    "light",
    "hands",
    "мир",
    "海",
)
LIMIT_S = 0.030
ANY_NAME = st.text(st.characters(exclude_categories=()))


def library(count: int) -> list[str]:
    choose = random.Random(7)
    return [f"{'_'.join(choose.choices(WORDS, k=3))}_{number:05}" for number in range(count)]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("detial_tweaker", "detail_tweaker"),
        ("Detail Tweaker", "detail_tweaker"),
        ("detail-tweeker-v2", "detail_tweaker_v2"),
        ("epiNoiseoffset", "epi_noiseoffset"),
        ("detail", "detail_tweaker_xl"),
        ("jpn gril", "jpn_girl"),
    ],
)
def test_a_mistyped_name_finds_what_was_meant(written: str, meant: str) -> None:
    assert NearestNames([*library(500), meant]).nearest(written)[0] == meant


def test_nothing_like_it_is_no_answer_and_a_name_is_not_like_itself() -> None:
    names = NearestNames(["detail_tweaker", "ghibli"])
    assert names.nearest("qwertz") == ()
    assert names.nearest("ghibli") == ()
    assert names.nearest("") == ()


def test_ten_thousand_names_are_searched_within_30_ms() -> None:
    names = NearestNames(library(10_000))
    for written in ("detial_tweaker_style_00500", "pixle_nior_anime", "a", "zzz", "hands" * 60):
        takes_at_most(LIMIT_S, partial(names.nearest, written))


def test_making_the_names_ready_pauses_for_others() -> None:
    pauses = []
    NearestNames(library(2_000), pause=lambda: pauses.append(1))
    assert len(pauses) == 4


@given(
    st.lists(st.text(st.characters(exclude_categories=())), max_size=8),
    st.text(st.characters(exclude_categories=())),
)
def test_any_name_may_be_asked_for(names: list[str], written: str) -> None:
    found = NearestNames(names).nearest(written)
    assert set(found) <= set(names)
    assert written not in found
