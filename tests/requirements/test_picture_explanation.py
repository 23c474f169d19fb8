"""What a generation text tells of its models, by what is known, and what stays open."""

from __future__ import annotations

import hashlib

import pytest

from stablequeue_client.commands.picture_explanation import (
    NO_CHECKPOINT,
    Explained,
    KnownFile,
    NamedInPicture,
    explain,
    named_in,
    open_questions,
)
from stablequeue_client.shared.generation.infotext import parse_infotext
from stablequeue_client.shared.generation.requirements import EmbeddingNames
from stablequeue_client.shared.model_files.model_file import name_digest

TEXT = (
    "a cat <lora:ink:0.8> <lora:{{a|b}}:1> fuzzy\nNegative prompt: blurry\n"
    "Steps: 20, Sampler: Euler a, Seed: 1, Size: 512x512, Model hash: {checkpoint}, Model: base, "
    'VAE: nice.vae.pt, Lora hashes: "ink: {lora}, gone: 0123456789ab"'
)


def sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def named(**hashes: str) -> dict[str, NamedInPicture]:
    given = {"checkpoint": sha("base")[:10], "lora": sha("ink lora")[:12], **hashes}
    found = named_in(parse_infotext(TEXT.format(**given)), EmbeddingNames(["fuzzy"]))
    return {one.name: one for one in found}


def test_every_model_is_named_with_its_hash_also_one_that_only_has_a_hash() -> None:
    found = named()
    assert {name: (one.role, one.hash, one.mentioned) for name, one in found.items()} == {
        "base": ("checkpoint", sha("base")[:10], True),
        "nice.vae.pt": ("vae", None, True),
        "ink": ("lora", sha("ink lora")[:12], True),
        "{a|b}": ("lora", None, True),
        "fuzzy": ("embedding", None, True),
        "gone": ("lora", "0123456789ab", False),
    }
    assert found["{a|b}"].filled_in


def file(name: str, content: str | None, **short: str) -> KnownFile:
    return KnownFile("lora", name, f"here: {name}", None if content is None else sha(content), **short)


INK = NamedInPicture("lora", "ink", sha("ink lora")[:12], "autov3_or_sha256")
VERDICTS = [
    (INK, [file("other.safetensors", "ink lora")], "this", ["here: other.safetensors"]),
    (INK, [file("a.safetensors", "x", autov3=sha("ink lora")[:12])], "this", ["here: a.safetensors"]),
    (
        INK,
        [file("a.safetensors", "x", autov3=sha("ink lora")[:12]), file("b.safetensors", "ink lora")],
        "several",
        ["here: a.safetensors", "here: b.safetensors"],
    ),
    (INK, [file("sub/ink.safetensors", "another")], "other_content", ["here: sub/ink.safetensors"]),
    (INK, [file("ink.safetensors", None)], "not_read", ["here: ink.safetensors"]),
    (INK, [file("film.safetensors", "film")], "nowhere", []),
    (
        NamedInPicture("lora", "ink", None, None),
        [file("ink.safetensors", "ink"), file("film.safetensors", "film")],
        "called_so",
        ["here: ink.safetensors"],
    ),
    (
        NamedInPicture("lora", "ink", name_digest("ink.safetensors")[:10], "file_name"),
        [file("ink.safetensors", "ink")],
        "called_so",
        ["here: ink.safetensors"],
    ),
    (NamedInPicture("lora", "{a|b}", None, None, filled_in=True), [file("a", "a")], "filled_in", []),
    (
        NamedInPicture("checkpoint", "old", "0123abcd", "autov1"),
        [KnownFile("checkpoint", "new.ckpt", "here: new.ckpt", sha("x"), autov1="0123abcd")],
        "this",
        ["here: new.ckpt"],
    ),
]


@pytest.mark.parametrize(("one", "files", "verdict", "where"), VERDICTS)
def test_a_hash_decides_and_a_name_alone_decides_nothing(
    one: NamedInPicture, files: list[KnownFile], verdict: str, where: list[str]
) -> None:
    found = explain(one, files)
    assert (found.verdict, list(found.where)) == (verdict, where)
    assert found.sentence


def test_what_cannot_be_told_is_said() -> None:
    vague = named(checkpoint=name_digest("base.safetensors")[:10])
    explained = [explain(one, []) for one in vague.values()]
    said = open_questions(explained)
    assert [sentence.split()[0] for sentence in said] == ["base", "nice.vae.pt", "{a|b}", "fuzzy"]
    assert "file's name" in said[0]
    assert open_questions([Explained(INK, "nowhere")]) == [NO_CHECKPOINT]
