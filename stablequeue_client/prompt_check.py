"""Is everything here that a generation names? Pure: what index and WebUI know comes as ``LocalNames``.

What a WebUI does with a name it cannot use is the point, because it does not say so itself: on Forge one
missing, broken or ambiguous LoRA drops all LoRAs of the prompt, and an unknown checkpoint means another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from stablequeue_client.index.rows import IndexRow
from stablequeue_client.shared.generation.requirements import LORA_TAG, Requirement, checkpoint_parts
from stablequeue_client.shared.model_files.model_file import Kind, names_in_webui, webui_name
from stablequeue_client.shared.model_files.roles import Role
from stablequeue_client.shared.wire.inventory import native_path

Status = Literal[
    "here",  # and nothing to say
    "not_read",  # here; its content has not been read yet
    "unknown",  # the WebUI knows it, we do not: private, very new, or just removed
    "unseen",  # its file is here, but the WebUI does not use it
    "changed",  # the WebUI knows another content under this name
    "missing",
    "ambiguous",  # more than one content has this name
    "broken",  # damaged, unreadable, set aside, or still being written
    "mistake",  # its arguments make the WebUI give up
    "mismatch",  # a LoRA for another base model than the checkpoint's
    "ignored",  # where it stands, the WebUI does not look for it
]
Weight = Literal["good", "note", "warn", "bad"]
"""``bad``: the picture would silently be another one. ``warn``: it may well be. ``note``: worth knowing."""

WEIGHT_OF: dict[Status, Weight] = {
    "here": "good", "not_read": "good", "unknown": "good", "ignored": "note", "mismatch": "warn",
    "changed": "warn", "unseen": "bad", "missing": "bad", "ambiguous": "bad", "broken": "bad",
    "mistake": "bad",
}  # fmt: skip
_BY_WEIGHT: tuple[Weight, ...] = ("bad", "warn", "note", "good")

ROLE_WORDS: dict[Role, str] = {
    "checkpoint": "Checkpoint", "hires_checkpoint": "Hires checkpoint", "refiner": "Refiner", "vae": "VAE",
    "text_encoder": "Text encoder", "module": "VAE or text encoder", "lora": "LoRA",
    "embedding": "Embedding",
}  # fmt: skip

_FILE_TROUBLE: dict[str, str] = {
    "partial": "is still being copied",
    "busy": "is in use by another program",
    "unstable": "changes while it is read",
    "corrupt": "is damaged",
    "unreadable": "cannot be read",
    "set_aside": "was set aside by the WebUI, which could not load it",
}
_NEGATIVE = frozenset({"negative", "negative_style", "hires_negative"})


@dataclass(frozen=True)
class Sentence:
    """A sentence with a ``{}`` for each of ``names``, which are from outside and hostile until escaped."""

    text: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text.format(*(f"“{name}”" for name in self.names))


@dataclass(frozen=True)
class LocalNames:
    """What is known here. ``find``: the index's rows that a name may mean. ``known``: every name that the
    WebUI would take now, as it must be written. ``nearest``: names like one that is not known.

    ``read_roots``: the folders that the WebUI reads itself (None: all); ``away_roots``: not connected now.
    ``one_drops_all``: what Forge does.
    ``is_lost``: whether a row is kept without its file, because its folder lost too much at once.
    ``is_gone``: whether the file that the WebUI lists under a known name is there no more.
    ``tags``: the words that begin a LoRA. ``shared``: aliases that mean more than one LoRA.
    """

    find: Callable[[Kind, str], Sequence[IndexRow]]
    known: Callable[[Kind], Set[str]]
    is_lost: Callable[[IndexRow], bool] = lambda _row: False
    is_gone: Callable[[Kind, str], bool] = lambda _kind, _name: False
    nearest: Callable[[Kind, str], tuple[str, ...]] = lambda _kind, _name: ()
    read_roots: Set[str] | None = None
    away_roots: Set[str] = frozenset()
    one_drops_all: bool = True
    tags: Set[str] = frozenset({LORA_TAG})
    shared: Callable[[str], Sequence[str]] = lambda _alias: ()


@dataclass(frozen=True)
class Finding:
    """What is to be said of one requirement. ``rows``: its files here. ``nearest``: what may be meant."""

    requirement: Requirement
    status: Status
    sentence: Sentence
    nearest: tuple[str, ...] = ()
    rows: tuple[IndexRow, ...] = ()

    @property
    def weight(self) -> Weight:
        return WEIGHT_OF[self.status]


@dataclass(frozen=True)
class CheckResult:
    """One finding for each thing named, the worst first."""

    findings: tuple[Finding, ...]

    @property
    def weight(self) -> Weight:
        return self.findings[0].weight if self.findings else "good"

    @property
    def missing(self) -> tuple[tuple[Kind, str], ...]:
        """The names that lie nowhere here, each once per kind of model that may be meant."""
        gone = [found.requirement for found in self.findings if found.status == "missing"]
        return tuple(dict.fromkeys((kind, wanted.name) for wanted in gone for kind in wanted.kinds))


def check(requirements: Iterable[Requirement], here: LocalNames) -> CheckResult:
    """Judge each requirement. The same name twice in one role is judged once."""
    wanted = list(_each_once(requirements))
    findings = [_judge(requirement, here) for requirement in wanted]
    findings = [_with_base_model(finding, _checkpoint_base(findings)) for finding in findings]
    return CheckResult(tuple(sorted(findings, key=lambda f: _BY_WEIGHT.index(f.weight))))


def _each_once(requirements: Iterable[Requirement]) -> Iterable[Requirement]:
    seen = set()
    for requirement in requirements:
        key = (
            requirement.role,
            requirement.name,
            requirement.tag,
            requirement.mistake,
            _is_ignored(requirement),
        )
        if key not in seen:
            seen.add(key)
            yield requirement


def _judge(requirement: Requirement, here: LocalNames) -> Finding:
    if requirement.role == "lora":
        return _judge_lora(requirement, here)
    if requirement.role == "embedding":
        return _judge_embedding(requirement, here)
    if requirement.role in ("checkpoint", "hires_checkpoint", "refiner"):
        return _judge_checkpoint(requirement, here)
    return _judge_module(requirement, here)


# --- LoRAs ------------------------------------------------------------------------------------------------


def _judge_lora(requirement: Requirement, here: LocalNames) -> Finding:
    name = requirement.name
    if requirement.tag and requirement.tag not in here.tags:
        text = "{} is not used: this WebUI knows no <" + requirement.tag + ":...>. Write <lora:...>."
        return _finding(requirement, "ignored", text)
    if _is_ignored(requirement):
        text = "LoRA {} is in the negative prompt, where a WebUI does not look for LoRAs."
        return _finding(requirement, "ignored", text)
    if requirement.mistake:
        return _argument_mistake(requirement, here)
    found = [row for row in here.find("lora", name + ".safetensors") if written_name(row) == name]
    rows = _usable(found, here)
    if rows:
        return _judge_rows(requirement, rows, here)
    if name in here.known("lora"):
        return _only_listed(requirement, here)
    if found:
        return _set_apart(requirement, found, here)
    if requirement.is_filled_in:
        return _finding(requirement, "unknown", "{} is filled in by another extension, so it is not checked.")
    return _missing_lora(requirement, here)


def _argument_mistake(requirement: Requirement, here: LocalNames) -> Finding:
    text = "LoRA {}: {} is not a weight" + _lora_outcome(here)
    if not requirement.name:
        return _finding(
            requirement, "mistake", "{} names no LoRA" + _lora_outcome(here), (requirement.mistake,)
        )
    return _finding(requirement, "mistake", text, (requirement.name, requirement.mistake))


def _missing_lora(requirement: Requirement, here: LocalNames) -> Finding:
    name = requirement.name
    files = tuple(here.shared(name))
    if files:
        text = "{} is the name of several LoRAs, so it counts as missing" + _lora_outcome(here)
        text += " Write the name of the file instead: " + " or ".join("{}" for _ in files[:3]) + "."
        return _finding(requirement, "ambiguous", text, (name, *files[:3]), nearest=files[:3])
    return _missing(requirement, here, "LoRA {} is missing" + _lora_outcome(here))


def _lora_outcome(here: LocalNames) -> str:
    return ": all LoRAs of this prompt would be dropped." if here.one_drops_all else ": it would be left out."


# --- checkpoints, VAEs, text encoders, embeddings ---------------------------------------------------------


_WITHOUT: dict[Role, str] = {
    "checkpoint": ": another checkpoint would be used.",
    "hires_checkpoint": ": the generation would fail.",
    "refiner": ": the generation would fail.",
}


def _judge_checkpoint(requirement: Requirement, here: LocalNames) -> Finding:
    # All of it first: a file may be called like a title with its hash.
    name, short_hash = requirement.name, None
    found = _called(here, name)
    if not found:
        name, short_hash = checkpoint_parts(requirement.name)
        found = _called(here, name)
    rows = _usable(found, here)
    known = requirement.name in here.known("checkpoint")
    exact = [row for row in rows if row.path == name.replace("\\", "/")]
    rows = exact or rows
    if short_hash and rows:
        same = [row for row in rows if row.sha256 and row.sha256.startswith(short_hash)]
        if not same and all(row.sha256 for row in rows):
            text = "Checkpoint {} has changed since this WebUI read it. Press the refresh button there."
            return _finding(requirement, "changed", text, (name,), rows=rows)
        rows = same or rows
    if rows and not known and requirement.role == "checkpoint":
        text = (
            "Checkpoint {} is here, but this WebUI has not seen it yet. Press the refresh button beside it."
        )
        return _finding(requirement, "unseen", text, (name,), rows=rows)
    if rows:
        return _judge_rows(requirement, rows, here)
    if known:
        return _only_listed(requirement, here)
    if found:
        return _set_apart(requirement, found, here)
    return _missing(
        requirement, here, ROLE_WORDS[requirement.role] + " {} is missing" + _without(requirement)
    )


def _called(here: LocalNames, name: str) -> list[IndexRow]:
    """The checkpoints that have this name."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    found = [*here.find("checkpoint", base), *here.find("checkpoint", base + ".safetensors")]
    rows = {row.key: row for row in found}.values()
    return [row for row in rows if row.kind == "checkpoint" and _means(row, name)]


def _means(row: IndexRow, name: str) -> bool:
    """A host takes this file for that name, or its page shows it without its folder."""
    path = native_path(row.path)
    return name.replace("\\", "/") in (*names_in_webui(row.kind, path), path.rsplit("/", 1)[-1])


def _judge_module(requirement: Requirement, here: LocalNames) -> Finding:
    name = requirement.name
    found = [row for kind in requirement.kinds for row in here.find(kind, name) if written_name(row) == name]
    rows = _usable(found, here)
    if rows:
        return _judge_rows(requirement, rows, here)
    if any(name in here.known(kind) for kind in requirement.kinds):
        return _only_listed(requirement, here)
    return _missing(
        requirement, here, ROLE_WORDS[requirement.role] + " {} is missing" + _without(requirement)
    )


def _judge_embedding(requirement: Requirement, here: LocalNames) -> Finding:
    name = requirement.name
    rows = _usable([row for row in here.find("embedding", name) if written_name(row) == name], here)
    if not rows:
        return _finding(requirement, "here", "Embedding {} is here.")
    return _judge_rows(requirement, rows, here)


def _without(requirement: Requirement) -> str:
    return _WITHOUT.get(requirement.role, ": it would be left out.")


# --- files ------------------------------------------------------------------------------------------------


def _judge_rows(requirement: Requirement, rows: Sequence[IndexRow], here: LocalNames) -> Finding:
    """``rows`` are all files that the WebUI may take for this name."""
    word = ROLE_WORDS[requirement.role]
    name = checkpoint_parts(requirement.name)[0]
    troubled = [row for row in rows if row.state in _FILE_TROUBLE]
    if troubled:
        text = f"{word} {{}} {_FILE_TROUBLE[troubled[0].state]}"
        return _finding(requirement, "broken", text + _outcome(requirement, here), (name,), rows=rows)
    if all(row.root_id in here.away_roots or here.is_lost(row) for row in rows):
        text = f"{word} {{}} is in a folder that is not connected" + _outcome(requirement, here)
        return _finding(requirement, "broken", text, (name,), rows=rows)
    if len({row.sha256 or row.key for row in rows}) > 1:
        text = f"{len(rows)} files are called {{}}: this WebUI takes one of them, and which one is undefined."
        return _finding(requirement, "ambiguous", text, (name,), rows=rows)
    if any(row.state == "unhashed" for row in rows):
        return _finding(requirement, "not_read", f"{word} {{}} is here and not read yet.", (name,), rows=rows)
    return _finding(requirement, "here", f"{word} {{}} is here.", (name,), rows=rows)


def _only_listed(requirement: Requirement, here: LocalNames) -> Finding:
    """The index has no file of this name, because it is private or was not looked at yet, or because it is
    gone: a WebUI goes on listing what was removed."""
    word = ROLE_WORDS[requirement.role]
    if any(here.is_gone(kind, requirement.name) for kind in requirement.kinds):
        text = word + " {} is gone, though this WebUI still lists it" + _outcome(requirement, here)
        return _finding(requirement, "missing", text, (checkpoint_parts(requirement.name)[0],))
    return _finding(requirement, "unknown", word + " {} is known to this WebUI.")


def _outcome(requirement: Requirement, here: LocalNames) -> str:
    if requirement.role == "lora":
        return _lora_outcome(here)
    if requirement.role == "checkpoint":
        return ": the generation would fail."
    if requirement.role == "embedding":
        return ": it would be read as plain words."
    return _without(requirement)


def _set_apart(requirement: Requirement, found: Sequence[IndexRow], here: LocalNames) -> Finding:
    """Files of this name are here, but none that the WebUI could take."""
    word = ROLE_WORDS[requirement.role]
    if any(row.state == "set_aside" for row in found):
        text = f"{word} {{}} {_FILE_TROUBLE['set_aside']}" + _outcome(requirement, here)
        return _finding(requirement, "broken", text, rows=found)
    text = f"{word} {{}} lies in a folder that this WebUI does not read" + _outcome(requirement, here)
    return _finding(requirement, "unseen", text, rows=found)


def _usable(rows: Sequence[IndexRow], here: LocalNames) -> list[IndexRow]:
    roots = here.read_roots
    return [row for row in rows if row.state != "set_aside" and (roots is None or row.root_id in roots)]


def _missing(requirement: Requirement, here: LocalNames, text: str) -> Finding:
    asked = checkpoint_parts(requirement.name)[0]
    near = [name for kind in requirement.kinds for name in here.nearest(kind, asked)][:3]
    if near:
        text += " Did you mean {}?"
    return _finding(requirement, "missing", text, (asked, *near[:1]), nearest=tuple(near))


def written_name(row: IndexRow) -> str:
    """Return what a person writes or chooses for this file."""
    return webui_name(row.kind, native_path(re.sub(r"\.corrupted\Z", "", row.path)))


# --- base models ------------------------------------------------------------------------------------------


def _checkpoint_base(findings: Sequence[Finding]) -> str | None:
    rows = [row for finding in findings if finding.requirement.role == "checkpoint" for row in finding.rows]
    bases = {row.base_model for row in rows}
    return bases.pop() if len(bases) == 1 else None


def _with_base_model(finding: Finding, checkpoint: str | None) -> Finding:
    bases = {row.base_model for row in finding.rows}
    lora = bases.pop() if len(bases) == 1 else None
    usable = finding.status in ("here", "not_read")
    if finding.requirement.role != "lora" or not usable or not lora or not checkpoint or lora == checkpoint:
        return finding
    text = f"LoRA {{}} is made for {lora}, the checkpoint is {checkpoint}: it would do nothing, or harm."
    return _finding(finding.requirement, "mismatch", text, rows=finding.rows)


def _is_ignored(requirement: Requirement) -> bool:
    return requirement.role == "lora" and requirement.where in _NEGATIVE


def _finding(
    requirement: Requirement,
    status: Status,
    text: str,
    names: tuple[str, ...] | None = None,
    *,
    nearest: tuple[str, ...] = (),
    rows: Iterable[IndexRow] = (),
) -> Finding:
    sentence = Sentence(text, (requirement.name,) if names is None else names)
    return Finding(requirement, status, sentence, nearest, tuple(rows))
