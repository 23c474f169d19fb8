from typing import get_args

import pytest

from stablequeue_client.shared.model_files.model_file import KINDS
from stablequeue_client.shared.views import labels
from stablequeue_client.shared.views.values import MarkName


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.00 KB"),
        (25_323, "25.3 KB"),
        (151_108_832, "151 MB"),
        (999_600_000, "1.00 GB"),
        (6_938_078_334, "6.94 GB"),
        (3_400_000_000_000_000_000, "3400 PB"),
    ],
)
def test_a_size_has_three_digits_and_a_unit(size: int, text: str) -> None:
    assert labels.size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "under a minute"),
        (49, "under a minute"),
        (55, "about 1 min"),
        (725, "about 12 min"),
        (3_600, "about 1 h"),
        (12_000, "about 3 h 20 min"),
        (86_000, "about 1 day"),
        (200_000, "about 2 days"),
    ],
)
def test_a_duration_is_rounded_to_what_a_person_plans_with(seconds: int, text: str) -> None:
    assert labels.duration_text(seconds) == text


def test_every_mark_and_every_kind_has_its_word() -> None:
    assert set(labels.MARKS) == set(get_args(MarkName))
    assert set(labels.KINDS) == set(KINDS)


def test_no_two_marks_have_the_same_word() -> None:
    assert len({mark.word for mark in labels.MARKS.values()}) == len(labels.MARKS)


def test_invisible_characters_are_written_out_and_joiners_are_left_alone() -> None:
    assert labels.visible("a\u202eb\x1b\u200bc\n") == "a\\u{202E}b\\u{001B}\\u{200B}c\\u{000A}"
    assert labels.visible("क्\u200dष é 👩\u200d🚀") == "क्\u200dष é 👩\u200d🚀"


def test_an_ending_is_split_off_only_when_something_stays() -> None:
    assert labels.split_ending("a.SAFETENSORS") == ("a", ".SAFETENSORS")
    assert labels.split_ending(".safetensors") == (".safetensors", "")
    assert labels.split_ending("ink-wash") == ("ink-wash", "")


def test_a_time_says_its_zone_until_the_browser_writes_the_local_one() -> None:
    assert labels.time_text(1_772_546_400_000) == "3 March 2026, 14:00 UTC"
    assert labels.time_iso(1_772_546_400_000) == "2026-03-03T14:00:00Z"
