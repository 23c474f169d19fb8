"""Where CLIP's tokens of an embedding's name stand in a prompt."""

from __future__ import annotations

import time

import pytest

from stablequeue_client.shared.generation.clip_words import clip_words
from stablequeue_client.shared.generation.requirements import EmbeddingNames


@pytest.mark.parametrize(
    ("prompt", "known", "found"),
    [
        ("whatever-2000", ["whatever-200"], ["whatever-200"]),
        ("whatever-2000", ["whatever-200", "whatever-2000"], ["whatever-2000"]),
        ("easynegative2", ["easynegative"], ["easynegative"]),
        ("easynegatives", ["easynegative"], []),
        ("ng_deepnegative_v1_75t", ["ng_deepnegative_v1"], ["ng_deepnegative_v1"]),
        ("★ star", ["★"], ["★"]),
        ("★★", ["★"], []),
        ("my_style_dog", ["style"], ["style"]),
        ("mystyle", ["style"], []),
        ("style's", ["style"], ["style"]),
        ("I'd go", ["d"], []),
        ("(easynegative:1.2), [easynegative]", ["easynegative"], ["easynegative"]),
        ("((name-):1.1)", ["name-"], ["name-"]),
        (r"embed \(old\)", ["embed (old)"], []),  # of the name the brackets only set a weight
        ("Ünder-Größe", ["ünder-größe"], ["ünder-größe"]),
        ("x²", ["x"], ["x"]),
        ("a  b", ["a b"], ["a b"]),
        ("", ["a"], []),
        ("a", [""], []),
        ("a", [], []),
    ],
)
def test_a_name_counts_where_its_tokens_stand(prompt: str, known: list[str], found: list[str]) -> None:
    assert EmbeddingNames(known).find(prompt) == found


def test_pieces_are_letters_single_digits_and_other_signs() -> None:
    said = [piece for _, _, piece in clip_words("don't_stop12½!!'s x")]
    assert said == ["don", "'t", "_", "stop", "1", "2", "½", "!!'", "s", "x"]


def test_places_are_those_of_the_text() -> None:
    text = r"a \(b\) (c:1.2) d"
    assert all(text[start:end] == piece for start, end, piece in clip_words(text))


def test_a_long_prompt_takes_no_time_and_no_room() -> None:
    names = EmbeddingNames([f"name {number} with some words" for number in range(500)])
    begun = time.process_time()
    assert names.find("name 7 with some word, " * 40_000) == []
    assert time.process_time() - begun < 20
