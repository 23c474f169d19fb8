"""What is said of a prompt, for each thing that can be wrong with what it names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.index.rows import IndexRow
from stablequeue_client.prompt_check import CheckResult, Finding, LocalNames, check
from stablequeue_client.shared.generation.requirements import (
    EmbeddingNames,
    Requirement,
    generation_requirements,
    prompt_requirements,
)
from stablequeue_client.shared.model_files.model_file import FileState, Kind, stem_key

from ..local.synthetic_index import file

LORAS = (
    file("lora", "foo.safetensors", base_model="SD 1.5"),
    file("lora", "styles/ink.safetensors", base_model="SDXL"),
    file("lora", "a/twin.safetensors", content="one"),
    file("lora", "b/twin.safetensors", content="two"),
    file("lora", "a/copy.safetensors", content="same"),
    file("lora", "b/copy.safetensors", content="same"),
    file("lora", "new.safetensors", state="unhashed"),
    file("lora", "dots.v1.pt.safetensors"),
)
CHECKPOINTS = (
    file("checkpoint", "sd15.safetensors", base_model="SD 1.5"),
    file("checkpoint", "sub/other.safetensors"),
    file("checkpoint", "x/same.safetensors", content="one"),
    file("checkpoint", "y/same.safetensors", content="two"),
)


def here(
    rows: Iterable[IndexRow] = (*LORAS, *CHECKPOINTS),
    known: Mapping[Kind, Iterable[str]] | None = None,
    **more: Any,
) -> LocalNames:
    by_key: dict[tuple[Kind, str], list[IndexRow]] = {}
    for row in rows:
        by_key.setdefault((row.kind, stem_key(row.path)), []).append(row)

    def find(kind: Kind, name: str) -> Sequence[IndexRow]:
        return by_key.get((kind, stem_key(name)), ())

    names = {kind: frozenset(of_kind) for kind, of_kind in (known or {}).items()}
    return LocalNames(find=find, known=lambda kind: names.get(kind, frozenset()), **more)


def of_prompt(prompt: str, names: LocalNames | None = None, **values: Any) -> CheckResult:
    return check(generation_requirements({"prompt": prompt, **values}), names or here())


def only(result: CheckResult) -> Finding:
    assert len(result.findings) == 1
    return result.findings[0]


def of_checkpoint(title: str, names: LocalNames) -> Finding:
    return only(check([Requirement("checkpoint", title)], names))


@pytest.mark.parametrize("name", ["foo", "ink", "copy", "dots.v1.pt"])
def test_a_lora_whose_file_is_here_is_here(name: str) -> None:
    assert only(of_prompt(f"<lora:{name}:1>")).status == "here"


def test_a_missing_lora_is_named_with_what_it_costs_and_what_may_be_meant() -> None:
    names = here(nearest=lambda kind, name: ("foo_v2", "food"))
    found = only(of_prompt("<lora:fooo:1>", names))
    assert (found.status, found.weight, found.nearest) == ("missing", "bad", ("foo_v2", "food"))
    assert str(found.sentence) == (
        "LoRA “fooo” is missing: all LoRAs of this prompt would be dropped. Did you mean “foo_v2”?"
    )


def test_where_one_missing_lora_drops_no_other_it_says_so() -> None:
    found = only(of_prompt("<lora:fooo:1>", here(one_drops_all=False)))
    assert str(found.sentence) == "LoRA “fooo” is missing: it would be left out."


def test_case_counts_as_it_does_for_the_host() -> None:
    assert only(of_prompt("<lora:Foo:1>")).status == "missing"


def test_one_name_for_two_contents_is_ambiguous_and_for_one_content_it_is_not() -> None:
    assert only(of_prompt("<lora:twin:1>")).status == "ambiguous"
    assert only(of_prompt("<lora:copy:1>")).status == "here"


def test_an_alias_that_two_loras_carry_counts_as_missing() -> None:
    found = only(of_prompt("<lora:both:1>", here(shared=lambda alias: ["one", "two"])))
    assert (found.status, found.sentence.names) == ("ambiguous", ("both", "one", "two"))


@pytest.mark.parametrize("state", ["corrupt", "unreadable", "partial", "busy", "unstable"])
def test_a_file_that_cannot_be_used_is_broken_not_here(state: FileState) -> None:
    found = only(of_prompt("<lora:bad:1>", here([file("lora", "bad.safetensors", state=state)])))
    assert (found.status, found.weight) == ("broken", "bad")


def test_a_lora_that_forge_set_aside_is_told_from_a_missing_one() -> None:
    row = file("lora", "bad.safetensors.corrupted", state="set_aside")
    names = replace(here(), find=lambda kind, name: [row])
    assert "set aside" in str(only(of_prompt("<lora:bad:1>", names)).sentence)


def test_a_file_not_read_yet_is_here_and_says_so() -> None:
    found = only(of_prompt("<lora:new:1>"))
    assert (found.status, found.weight) == ("not_read", "good")


def test_what_only_the_webui_knows_is_not_called_missing() -> None:
    names = here(known={"lora": ["private_one"], "checkpoint": ["secret.safetensors"]})
    assert only(of_prompt("<lora:private_one:1>", names)).weight == "good"
    assert of_checkpoint("secret.safetensors", names).weight == "good"


def test_a_lora_in_a_folder_that_the_webui_does_not_read_is_of_no_use() -> None:
    found = only(of_prompt("<lora:foo:1>", here(read_roots=frozenset())))
    assert (found.status, found.weight) == ("unseen", "bad")


def test_a_folder_that_is_not_connected_is_named_as_the_cause() -> None:
    found = only(of_prompt("<lora:foo:1>", here(away_roots=frozenset({"r-lora"}))))
    assert found.status == "broken"
    assert "not connected" in str(found.sentence)


def test_a_weight_that_is_no_number_drops_all_loras() -> None:
    found = only(of_prompt("<lora:foo:strong>"))
    assert (found.status, found.sentence.names) == ("mistake", ("foo", "strong"))


def test_another_tag_than_the_webui_knows_is_ignored_there() -> None:
    assert only(of_prompt("<lyco:foo:1>")).status == "ignored"
    assert only(of_prompt("<Lora:foo:1>")).status == "ignored"
    assert only(of_prompt("<lyco:foo:1>", here(tags=frozenset({"lora", "lyco"})))).status == "here"


def test_a_lora_in_the_negative_prompt_does_nothing_and_drops_nothing() -> None:
    found = only(check(prompt_requirements("<lora:nowhere:1>", "negative"), here()))
    assert (found.status, found.weight) == ("ignored", "note")


def test_a_lora_for_another_base_model_than_the_checkpoints_is_a_warning() -> None:
    known = here(known={"checkpoint": ["sd15.safetensors", "sub/other.safetensors"]})
    mismatch = of_prompt(
        "<lora:foo:1> <lora:ink:1>", known, override_settings={"sd_model_checkpoint": "sd15.safetensors"}
    )
    assert [(f.requirement.name, f.status) for f in mismatch.findings if f.weight != "good"] == [
        ("ink", "mismatch")
    ]
    assert "SDXL" in str(mismatch.findings[0].sentence)
    unknown = of_prompt("<lora:ink:1>", known, override_settings={"sd_model_checkpoint": "other"})
    assert all(f.status != "mismatch" for f in unknown.findings)


@pytest.mark.parametrize("title", ["sub/other.safetensors", "sub/other", "other", "sub\\other.safetensors"])
def test_a_checkpoint_is_found_by_each_of_its_names(title: str) -> None:
    assert of_checkpoint(title, here(known={"checkpoint": [title]})).status == "here"


def test_a_missing_checkpoint_is_told_from_one_that_the_webui_has_not_seen() -> None:
    assert of_checkpoint("nowhere.safetensors", here()).status == "missing"
    assert of_checkpoint("sd15.safetensors", here()).status == "unseen"


def test_a_checkpoint_with_another_content_than_its_title_says_has_changed() -> None:
    sha = CHECKPOINTS[0].sha256 or ""
    same, other = f"sd15.safetensors [{sha[:10]}]", "sd15.safetensors [0123456789]"
    known = here(known={"checkpoint": [same, other]})
    assert of_checkpoint(same, known).status == "here"
    assert of_checkpoint(other, known).status == "changed"


def test_a_bare_name_that_two_checkpoints_have_is_ambiguous_and_a_path_is_not() -> None:
    known = here(known={"checkpoint": ["same", "x/same.safetensors"]})
    assert of_checkpoint("same", known).status == "ambiguous"
    assert of_checkpoint("x/same.safetensors", known).status == "here"


def test_a_missing_vae_or_text_encoder_is_named() -> None:
    rows = [file("vae", "ae.safetensors"), file("text_encoder", "clip_l.safetensors")]
    wanted = ["ae.safetensors", "clip_l.safetensors", "t5.safetensors"]
    result = of_prompt("", here(rows), override_settings={"forge_additional_modules": wanted})
    assert {f.requirement.name: f.status for f in result.findings} == {
        "ae.safetensors": "here", "clip_l.safetensors": "here", "t5.safetensors": "missing",
    }  # fmt: skip


def test_a_damaged_embedding_is_named() -> None:
    rows = [file("embedding", "bad.safetensors", state="corrupt")]
    wanted = prompt_requirements("a bad cat", embeddings=EmbeddingNames(["bad"]))
    assert only(check(wanted, here(rows))).status == "broken"


def test_the_worst_comes_first_and_each_name_once() -> None:
    result = of_prompt("<lora:foo:1> <lora:gone:1> <lora:foo:0.5> <lora:gone:0.2>")
    assert [f.requirement.name for f in result.findings] == ["gone", "foo"]
    assert (result.weight, result.missing) == ("bad", (("lora", "gone"),))


NAME = st.text(st.characters(exclude_categories=()), max_size=30)
ROWS = st.lists(
    st.builds(
        lambda stem, kind, state: file(kind, f"a/{stem}.safetensors", state=state),
        st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), max_size=20),
        st.sampled_from(("lora", "checkpoint", "vae", "embedding")),
        st.sampled_from(("ready", "unhashed", "corrupt", "set_aside")),
    ),
    max_size=5,
)


@given(
    ROWS,
    NAME,
    st.sampled_from(("checkpoint", "refiner", "vae", "module", "lora", "embedding")),
    st.booleans(),
)
def test_no_name_raises_and_every_sentence_has_a_place_for_each_name(
    rows: list[IndexRow], name: str, role: Any, known: bool
) -> None:
    names = here(rows, {kind: [name] for kind in ("lora", "checkpoint")} if known else None)
    for found in check([Requirement(role, name, tag="lora")], names).findings:
        assert found.sentence.text.count("{}") == len(found.sentence.names)
        assert str(found.sentence)
