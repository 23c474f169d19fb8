"""What was confirmed before the run, what the host says it loaded, and what the picture's text says."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.shared.generation.picture_verification import (
    AssignedModel,
    LoadedModel,
    LoadState,
    Outcome,
    Verdict,
    judge_picture,
    overall,
)
from stablequeue_client.shared.model_files.model_file import SHA256_OF_NOTHING
from stablequeue_client.shared.model_files.roles import KINDS_OF, Role

from ..slowness import slowness


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


BASE = AssignedModel(
    0, "checkpoint", "sub/base.safetensors [0123456789]", digest("content of base"), autov1="1a2b3c4d"
)
FUR = AssignedModel(1, "lora", "fur", digest("content of fur"), autov3=digest("payload of fur")[:12])
INK = AssignedModel(2, "lora", "ink", digest("content of ink"), embedded_hash="0xABCDEF012345" + "0" * 52)
NEG = AssignedModel(3, "embedding", "EasyNegative", digest("content of neg"))
VAE = AssignedModel(4, "vae", "kl.safetensors", digest("content of kl"))
AE = AssignedModel(5, "module", "ae.safetensors", digest("content of ae"))
FINE = AssignedModel(6, "refiner", "sub/fine.safetensors", digest("content of fine"), autov1="5e6f7a8b")
HIGH = AssignedModel(7, "hires_checkpoint", "high.safetensors", digest("content of high"))

OTHER = digest("another file")
HASHING = {"Model hash": BASE.sha256[:10], "Model": "base"}
POISON_BASE = digest("base.safetensors")[:10]
POISON_FUR = digest("fur.safetensors")[:12]


def judged(
    model: AssignedModel,
    settings: dict[str, str],
    state: LoadState | None = None,
    sha256: str | None = None,
    family: str = "forge",
    name_hashes: bool = True,
) -> tuple[Outcome, str]:
    loaded = [] if state is None else [LoadedModel(model.requirement, state, sha256)]
    [verdict] = judge_picture([model], loaded, settings, family=family, name_hashes=name_hashes)
    assert verdict.requirement == model.requirement
    assert f"“{model.name}”" in verdict.text
    assert verdict.text.endswith(".")
    return verdict.outcome, verdict.reason


@pytest.mark.parametrize("model", [BASE, FUR, NEG, VAE, AE, FINE, HIGH], ids=lambda model: model.role)
@pytest.mark.parametrize(
    ("state", "sha256", "expected"),
    [
        ("loaded", "right", ("confirmed", "loaded")),
        ("loaded", None, ("confirmed", "loaded")),
        ("loaded", OTHER, ("wrong", "other_content")),
        ("other_file", None, ("wrong", "other_file")),  # swapped under the same name, alias clash
        ("changed", "right", ("wrong", "changed")),
        ("not_loaded", None, ("wrong", "not_loaded")),  # removed after the check
    ],
)
@pytest.mark.parametrize(
    "settings", [{}, {"Model hash": POISON_BASE, "Model": "x", "Lora hashes": "fur: 00"}]
)
def test_what_the_host_loaded_decides_whatever_its_text_says(
    model: AssignedModel,
    state: LoadState,
    sha256: str | None,
    expected: tuple[Outcome, str],
    settings: dict[str, str],
) -> None:
    sha256 = model.sha256.upper() if sha256 == "right" else sha256
    assert judged(model, settings, state, sha256) == expected


def test_of_two_reports_about_one_model_the_worse_counts() -> None:
    reports = [
        LoadedModel(0, "loaded"),
        LoadedModel(0, "changed", detail="new time."),
        LoadedModel(0, "unknown"),
    ]
    [verdict] = judge_picture([BASE], reports, HASHING, family="forge")
    assert (verdict.outcome, verdict.reason) == ("wrong", "changed")
    assert verdict.text.endswith("while the picture was made: new time.")


CHECKPOINT_ROWS = [
    ("the file's hash", HASHING, "confirmed", "hash"),
    ("of an old host", {"Model hash": "1A2B3C4D"}, "confirmed", "hash"),
    ("swapped or stale cache", {"Model hash": OTHER[:10], "Model": "base"}, "wrong", "other_hash"),
    ("unknown title: the former one", {"Model hash": OTHER[:10], "Model": "former"}, "wrong", "other_hash"),
    ("poisoned cache", {"Model hash": POISON_BASE, "Model": "base"}, "not_provable", "unusable_hash"),
    ("poisoned cache, of the stem", {"Model hash": digest("base")[:10]}, "not_provable", "unusable_hash"),
    ("poisoned cache, another name", {"Model hash": digest("x.safetensors")[:10]}, "wrong", "other_hash"),
    ("hash of nothing", {"Model hash": "e3b0c442", "Model": "base"}, "not_provable", "unusable_hash"),
    ("hash of nothing, other name", {"Model hash": "e3b0c442", "Model": "x"}, "wrong", "other_name"),
    ("hashing off", {"Model": "base"}, "not_provable", "not_printed"),
    ("hashing off, folder in the name", {"Model": "sub_base"}, "not_provable", "not_printed"),
    ("hashing off, other name", {"Model": "former"}, "wrong", "other_name"),
    ("nothing printed", {}, "not_provable", "not_printed"),
    ("empty", {"Model hash": "", "Model": "base"}, "not_provable", "not_printed"),
]


@pytest.mark.parametrize("state", [None, "unknown"])
@pytest.mark.parametrize(("_name", "settings", "outcome", "reason"), CHECKPOINT_ROWS)
def test_a_checkpoint_by_the_picture_s_text(
    _name: str, settings: dict[str, str], outcome: Outcome, reason: str, state: LoadState | None
) -> None:
    assert judged(BASE, settings, state) == (outcome, reason)


def test_the_digest_of_a_file_without_content_proves_nothing() -> None:
    small = replace(BASE, autov1="e3b0c442")
    assert judged(small, {"Model hash": "e3b0c442"}) == ("not_provable", "unusable_hash")
    empty = replace(FUR, autov3=SHA256_OF_NOTHING[:12], embedded_hash=SHA256_OF_NOTHING)
    assert judged(empty, {"Lora hashes": "fur: e3b0c44298fc"}) == ("not_provable", "unusable_hash")


def test_where_no_hash_of_a_name_can_be_it_is_another_hash() -> None:
    settings = {"Model hash": POISON_BASE}
    assert judged(BASE, settings, name_hashes=False) == ("wrong", "other_hash")
    assert judged(FUR, {"Lora hashes": f"fur: {POISON_FUR}"}, name_hashes=False) == ("wrong", "other_hash")


@pytest.mark.parametrize(
    ("model", "value", "outcome", "reason"),
    [
        (FINE, "", "not_provable", "not_printed"),
        (FINE, f"fine [{FINE.sha256[:10]}]", "confirmed", "hash"),
        (FINE, "fine", "not_provable", "not_printed"),
        (FINE, "other", "wrong", "other_name"),
        (FINE, f"fine [{OTHER[:10]}]", "wrong", "other_hash"),
        (FINE, f"fine [{digest('fine.safetensors')[:10]}]", "not_provable", "unusable_hash"),
        (HIGH, f"high [{HIGH.sha256[:10].upper()}]", "confirmed", "hash"),
        (HIGH, "other [e3b0c44298]", "wrong", "other_name"),
    ],
)
def test_a_second_checkpoint_by_its_short_title(
    model: AssignedModel, value: str, outcome: Outcome, reason: str
) -> None:
    key = "Refiner" if model.role == "refiner" else "Hires checkpoint"
    assert judged(model, {**HASHING, key: value}) == (outcome, reason)


def test_the_hash_of_a_refiner_may_stand_alone() -> None:
    settings = {"Refiner": "fine", "Refiner hash": "5e6f7a8b"}
    assert judged(FINE, settings) == ("confirmed", "hash")


LORA_ROWS = [
    ("Forge: of the whole file", FUR, f"fur: {FUR.sha256[:12]}", "confirmed", "hash"),
    ("Classic: of what follows the header", FUR, f"x: 012345678901, fur: {FUR.autov3}", "confirmed", "hash"),
    ("any case", FUR, f"fur: {FUR.sha256[:12].upper()}", "confirmed", "hash"),
    ("what the file says", INK, "ink: 0xABCDEF0123", "confirmed", "hash"),
    ("what the file says, without 0x", INK, "ink: abcdef012345", "confirmed", "hash"),
    ("swapped or stale cache", FUR, f"fur: {OTHER[:12]}", "wrong", "other_hash"),
    ("poisoned cache", FUR, f"fur: {POISON_FUR}", "not_provable", "unusable_hash"),
    ("poisoned cache, of the name", FUR, f"fur: {digest('fur')[:12]}", "not_provable", "unusable_hash"),
    ("hash of nothing", FUR, "fur: e3b0c44298fc", "not_provable", "unusable_hash"),
    ("nothing behind the name", FUR, "fur: ", "not_provable", "unusable_hash"),
    ("left out alone", FUR, "ink: 012345678901", "wrong", "dropped"),
    ("other case is another name", FUR, f"Fur: {FUR.sha256[:12]}", "wrong", "dropped"),
]


@pytest.mark.parametrize("family", ["forge", "classic", "a1111"])
@pytest.mark.parametrize(("_name", "model", "hashes", "outcome", "reason"), LORA_ROWS)
def test_a_lora_by_the_picture_s_text(
    _name: str, model: AssignedModel, hashes: str, outcome: Outcome, reason: str, family: str
) -> None:
    settings = {**HASHING, "Lora hashes": hashes}
    assert judged(model, settings, family=family) == (outcome, reason)


def test_no_lora_hashes_where_hashes_are_printed_is_the_sign_that_all_were_dropped() -> None:
    """One was removed after the check, or shares its alias with another: nothing else tells."""
    for state in (None, "unknown"):
        assert judged(FUR, HASHING, state) == ("wrong", "dropped")  # type: ignore[arg-type]
    assert judged(FUR, HASHING, "loaded") == ("confirmed", "loaded")


def test_without_hashing_a_lora_that_is_not_listed_may_have_been_used() -> None:
    assert judged(FUR, {}) == ("not_provable", "not_printed")
    assert judged(FUR, {"Lora hashes": "ink: abcdef012345"}) == ("not_provable", "not_printed")
    # Its hash is in the file, so it would be listed.
    assert judged(INK, {"Lora hashes": "fur: 012345678901"}) == ("wrong", "dropped")


def test_classic_lists_the_loras_of_the_hires_pass_only() -> None:
    settings = {**HASHING, "Lora hashes": "ink: abcdef012345", "Hires prompt": "<lora:ink:1>"}
    assert judged(FUR, settings, family="classic") == ("not_provable", "not_printed")
    assert judged(FUR, settings, family="forge") == ("wrong", "dropped")


def test_colons_and_commas_of_a_name_are_not_printed() -> None:
    model = replace(FUR, name="a, fur")
    assert judged(model, {"Lora hashes": f"a fur: {FUR.sha256[:12]}"}) == ("confirmed", "hash")


def test_two_loras_that_are_printed_under_one_name_are_not_told_apart() -> None:
    first, second = replace(FUR, name="a,b"), replace(INK, name="ab")
    settings = {**HASHING, "Lora hashes": f"ab: {INK.sha256[:12]}"}
    verdicts = judge_picture([first, second], [], settings, family="forge")
    assert [(v.outcome, v.reason) for v in verdicts] == [
        ("not_provable", "shared_name"),
        ("confirmed", "hash"),
    ]
    settings = {**HASHING, "Lora hashes": f"ab: {OTHER[:12]}"}
    verdicts = judge_picture([first, second], [], settings, family="forge")
    assert [v.outcome for v in verdicts] == ["wrong", "wrong"]


@pytest.mark.parametrize(
    ("settings", "outcome", "reason"),
    [
        ({}, "not_provable", "not_printed"),
        ({"TI": "EasyNegative"}, "not_provable", "not_printed"),
        ({"TI hashes": "other: 012345678901"}, "not_provable", "not_printed"),
        (
            {"TI hashes": f"EasyNegative: {NEG.sha256[:12]}, EasyNegative: {NEG.sha256[:12]}"},
            "confirmed",
            "hash",
        ),
        ({"TI hashes": f"EasyNegative: {OTHER[:12]}"}, "wrong", "other_hash"),
        (
            {"TI hashes": f"EasyNegative: {digest('EasyNegative.pt')[:12]}"},
            "not_provable",
            "unusable_hash",
        ),
    ],
)
def test_an_embedding_by_the_picture_s_text(settings: dict[str, str], outcome: Outcome, reason: str) -> None:
    assert judged(NEG, {**HASHING, **settings}, family="classic") == (outcome, reason)


@pytest.mark.parametrize(
    ("model", "settings", "outcome", "reason"),
    [
        (VAE, {}, "not_provable", "not_printed"),
        (VAE, {"VAE": "kl.safetensors"}, "confirmed", "name"),
        (VAE, {"VAE": "kl.safetensors", "VAE hash": VAE.sha256[:10]}, "confirmed", "hash"),
        (VAE, {"VAE": "other.pt", "VAE hash": VAE.sha256[:10]}, "wrong", "other_name"),
        (VAE, {"VAE": "kl.safetensors", "VAE hash": "e3b0c44298"}, "confirmed", "name"),
        (VAE, {"VAE": "kl.safetensors", "VAE hash": OTHER[:10]}, "not_provable", "unusable_hash"),
        (VAE, {"VAE hash": VAE.sha256[:10]}, "confirmed", "hash"),
        (VAE, {"VAE hash": OTHER[:10]}, "not_provable", "unusable_hash"),
        (VAE, {"Module 1": "kl"}, "confirmed", "name"),
        (VAE, {"Module 1": "clip_l"}, "wrong", "other_name"),
        (AE, {}, "not_provable", "not_printed"),
        (AE, {"Module 1": "clip_l", "Module 2": "ae"}, "confirmed", "name"),
        (AE, {"Module 1": "clip_l", "Module 2": "t5"}, "wrong", "other_name"),
        (AE, {"Hires Module 1": "ae", "Module 1": "clip_l"}, "confirmed", "name"),
        (AE, {"Hires Module 1": "Use same choices"}, "not_provable", "not_printed"),
        (replace(AE, role="text_encoder"), {"Module 1": "ae"}, "confirmed", "name"),
    ],
)
def test_vaes_and_text_encoders_by_the_picture_s_text(
    model: AssignedModel, settings: dict[str, str], outcome: Outcome, reason: str
) -> None:
    assert judged(model, {**HASHING, **settings}) == (outcome, reason)


def test_the_worst_verdict_is_the_picture_s() -> None:
    confirmed, open_, wrong = (
        Verdict(0, outcome, "", "") for outcome in ("confirmed", "not_provable", "wrong")
    )  # type: ignore[arg-type]
    assert overall([]) == "confirmed"
    assert overall([confirmed]) == "confirmed"
    assert overall([confirmed, open_]) == "not_provable"
    assert overall([open_, wrong, confirmed]) == "wrong"


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30)
HASHES = st.sampled_from(["", BASE.sha256[:10], FUR.sha256[:12], POISON_FUR, "e3b0c442", "0x1234567890"])
VALUES = st.one_of(HASHES, ANY_TEXT, st.lists(st.tuples(ANY_TEXT, HASHES), max_size=3).map(
    lambda pairs: ", ".join(f"{name}: {value}" for name, value in pairs)
))  # fmt: skip
KEYS = ("Model hash", "Model", "Lora hashes", "TI hashes", "VAE hash", "VAE", "Module 1", "Hires Module 1",
        "Refiner", "Refiner hash", "Hires checkpoint", "Hires prompt")  # fmt: skip
SETTINGS = st.dictionaries(st.sampled_from(KEYS) | ANY_TEXT, VALUES)
ROLES: list[Role] = list(KINDS_OF)
MODELS = st.builds(
    AssignedModel,
    st.integers(0, 5),
    st.sampled_from(ROLES),
    ANY_TEXT,
    ANY_TEXT | HASHES,
    st.none() | ANY_TEXT | HASHES,
    st.none() | ANY_TEXT | HASHES,
    st.none() | ANY_TEXT | HASHES,
)
STATES = st.sampled_from(["loaded", "other_file", "changed", "not_loaded", "unknown", "a newer word"])
REPORTS = st.builds(LoadedModel, st.integers(0, 5), STATES, st.none() | ANY_TEXT, ANY_TEXT)


@given(st.lists(MODELS, max_size=4), st.lists(REPORTS, max_size=6), SETTINGS, st.booleans(), ANY_TEXT)
def test_every_assigned_model_gets_a_verdict_whatever_is_said(
    models: list[AssignedModel],
    reports: list[LoadedModel],
    settings: dict[str, str],
    name_hashes: bool,
    family: str,
) -> None:
    verdicts = judge_picture(models, reports, settings, family=family, name_hashes=name_hashes)
    assert [verdict.requirement for verdict in verdicts] == [model.requirement for model in models]
    assert all(verdict.reason and verdict.text for verdict in verdicts)
    assert overall(verdicts) in ("confirmed", "not_provable", "wrong")


@given(st.lists(MODELS, max_size=4), SETTINGS, st.sampled_from(["forge", "classic", "a1111"]))
def test_what_was_loaded_as_confirmed_is_never_wrong(
    models: list[AssignedModel], settings: dict[str, str], family: str
) -> None:
    reports = [LoadedModel(model.requirement, "loaded") for model in models]
    assert overall(judge_picture(models, reports, settings, family=family)) == "confirmed"


@pytest.mark.parametrize("piece", ["fur: 0, ", ":", ",", "[", " [0", "a.", "/", '"'])
def test_a_long_text_does_not_hold_up_the_hub(piece: str) -> None:
    text = piece * 20_000
    models = [replace(BASE, role=role, name=text, embedded_hash=text) for role in ROLES]
    before = time.process_time()
    judge_picture(models, [], dict.fromkeys(KEYS, text), family="forge")
    assert time.process_time() - before < 2 * slowness()
