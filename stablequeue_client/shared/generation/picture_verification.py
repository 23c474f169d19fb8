"""Was a finished picture made with the files that were confirmed before? Pure; never raises.

What the host says it loaded counts most. Without that, the generation text decides, with what hosts do:

- A hash comes from a cache that an older file under the same name leaves stale (``modules/hashes.py``).
- Forge from August 2024 to February 2025 wrote the SHA256 of the file's *name*; such entries are still used.
- A LoRA's hash is the SHA256 on Forge 2, AutoV3 elsewhere, and on all of them what the file says of itself,
  where it does (``sshs_model_hash``). Forge prints VAEs and text encoders by name only.
- With ``--no-hashing`` there is no ``Model hash``, and a LoRA without a hash is left out of ``Lora hashes``.
- A LoRA that cannot be used is left out as well, and on Forge and Classic all others with it.

``wrong`` is said only where no host prints this for the confirmed file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stablequeue_client.shared.generation.requirements import checkpoint_parts
from stablequeue_client.shared.model_files.model_file import (
    ENDINGS_OF_NAMES,
    SHA256_OF_NOTHING,
    name_digest,
    normalize_hash,
    search_key,
)
from stablequeue_client.shared.model_files.roles import Role

LoadState = Literal["loaded", "other_file", "changed", "not_loaded", "unknown"]
Outcome = Literal["confirmed", "not_provable", "wrong"]

_SHORTEST_HASH = 8
_SHOWN = 80
_LEFT_OUT = {ord(":"): None, ord(","): None}
_MODULE = re.compile(r"(?:Hires )?Module [0-9]{1,3}\Z")
_NO_MODULE = frozenset({"Use same choices", "Built-in", "None", ""})
_DIGITS: dict[Role, int] = {"lora": 12, "embedding": 12}
_CHECKPOINT_HASHES = 10
_CHECKPOINTS: frozenset[Role] = frozenset({"checkpoint", "hires_checkpoint", "refiner"})


@dataclass(frozen=True)
class AssignedModel:
    """The file that was confirmed on the server for a requirement. ``name``: as the WebUI there writes it.

    ``embedded_hash``: what a LoRA's header says (``sshs_model_hash``), as it stands there. ``by_script``:
    only the arguments of a script name it, so not every picture of the job is made with it.
    """

    requirement: int
    role: Role
    name: str
    sha256: str
    autov1: str | None = None
    autov3: str | None = None
    embedded_hash: str | None = None
    by_script: bool = False


@dataclass(frozen=True)
class LoadedModel:
    """What the host says it loaded. ``loaded``: this file, the same before and after the run. ``applied``
    False: nothing of it was applied."""

    requirement: int
    state: LoadState
    sha256: str | None = None
    detail: str = ""
    applied: bool = True


@dataclass(frozen=True)
class Verdict:
    """``reason`` is a stable code. ``text`` is for people; it has names in it that are from outside."""

    requirement: int
    outcome: Outcome
    reason: str
    text: str


def judge_picture(
    assigned: Sequence[AssignedModel],
    loaded: Iterable[LoadedModel],
    settings: Mapping[str, str],
    *,
    family: str,
    name_hashes: bool = True,
) -> tuple[Verdict, ...]:
    """A verdict for each of ``assigned``, in their order.

    ``settings``: keys and values of the generation text, without quoting. ``family``: of the WebUI, as in
    ``ServerCapabilities``. ``name_hashes``: its cache may hold hashes of file names. LoRAs that only a
    negative prompt names do not belong into ``assigned``: no host looks for them there.
    """
    reports: dict[int, LoadedModel] = {}
    for report in loaded:
        former = reports.get(report.requirement)
        if former is None or _rank(report) > _rank(former):
            reports[report.requirement] = report
    picture = _Picture(assigned, settings, family, name_hashes)
    return tuple(_verdict(model, reports.get(model.requirement), picture) for model in assigned)


def overall(verdicts: Iterable[Verdict]) -> Outcome:
    """The worst outcome; ``confirmed`` when nothing was required."""
    outcomes = {verdict.outcome for verdict in verdicts}
    by_weight: tuple[Outcome, ...] = ("wrong", "not_provable")
    return next((outcome for outcome in by_weight if outcome in outcomes), "confirmed")


# --- evidence ---------------------------------------------------------------------------------------------

_EVIDENCE: dict[str, str] = {
    "other_file": "The WebUI loaded another file for {}",
    "changed": "The file of {} changed while the picture was made",
    "not_loaded": "The WebUI did not load {}",
}


def _rank(report: LoadedModel) -> int:
    """Of two reports about one model the worse counts, and any before none."""
    return 2 if report.state in _EVIDENCE else int(report.state == "loaded")


def _verdict(model: AssignedModel, report: LoadedModel | None, picture: _Picture) -> Verdict:
    if report is not None and report.state in _EVIDENCE:
        detail = report.detail[:_SHOWN].strip(" .")
        detail = f": {detail}" if detail else ""
        return _say(model, "wrong", report.state, _EVIDENCE[report.state] + "{}.", detail)
    if report is not None and report.state == "loaded":
        if report.sha256 and report.sha256.lower() != model.sha256.lower():
            text = "The file that the WebUI loaded for {} has another content than the confirmed one."
            return _say(model, "wrong", "other_content", text)
        if not report.applied:
            text = "{} made no difference: the WebUI loaded the file, and none of its layers fits the model."
            return _say(model, "not_provable", "no_difference", text)
        if model.by_script and picture.is_of_no_checkpoint(model):
            text = "A picture's text names another checkpoint than {} and the others of its script."
            return _say(model, "not_provable", "other_checkpoint", text)
        return _say(model, "confirmed", "loaded", "The WebUI loaded the confirmed file of {}.")
    said = picture.judge(model)
    if model.by_script and said.outcome == "wrong":
        return _say(model, "not_provable", "not_in_picture", "The picture's text says nothing of {}.")
    return said


def _say(model: AssignedModel, outcome: Outcome, reason: str, text: str, *values: str) -> Verdict:
    shown = (f"“{model.name[:_SHOWN]}”", *(value[: _SHOWN + 2] for value in values))
    return Verdict(model.requirement, outcome, reason, text.format(*shown))


# --- the generation text ----------------------------------------------------------------------------------


class _Picture:
    """What the generation text of one picture says about each model."""

    def __init__(
        self, assigned: Iterable[AssignedModel], settings: Mapping[str, str], family: str, name_hashes: bool
    ) -> None:
        assigned = list(assigned)
        self._settings = settings
        self._family = family
        self._checkpoints = [model for model in assigned if model.role in _CHECKPOINTS]
        self._name_hashes = name_hashes
        self._loras = _listed(settings.get("Lora hashes", ""))
        self._embeddings = _listed(settings.get("TI hashes", ""))
        modules = [value for key, value in settings.items() if _MODULE.match(key)]
        self._modules = [module for module in modules if module not in _NO_MODULE]
        self._lora_values: dict[str, set[str]] = defaultdict(set)
        for model in assigned:
            if model.role == "lora":
                self._lora_values[_listed_name(model.name)] |= _printable(model)

    def judge(self, model: AssignedModel) -> Verdict:
        if model.role == "checkpoint":
            return self._checkpoint(model, self._said("Model"), self._said("Model hash"))
        if model.role in ("hires_checkpoint", "refiner"):
            key = "Refiner" if model.role == "refiner" else "Hires checkpoint"
            name, value = checkpoint_parts(self._said(key).lower())
            return self._checkpoint(model, name, value or self._said(f"{key} hash"))
        if model.role == "lora":
            return self._lora(model)
        if model.role == "embedding":
            values = self._embeddings.get(_listed_name(model.name), [])
            return self._by_hash(model, values) if values else _not_printed(model)
        if model.role == "vae" and (self._said("VAE") or self._said("VAE hash")):
            return self._vae(model)
        return self._module(model)

    def is_of_no_checkpoint(self, model: AssignedModel) -> bool:
        """Return whether its text names a checkpoint that is none of the job's; ``model`` is one of them."""
        if model.role != "checkpoint":
            return False
        name, value = self._said("Model"), self._said("Model hash")
        return all(self._checkpoint(one, name, value).outcome == "wrong" for one in self._checkpoints)

    def _said(self, key: str) -> str:
        return self._settings.get(key, "").strip()

    def _checkpoint(self, model: AssignedModel, name: str, value: str) -> Verdict:
        by_hash = self._by_hash(model, [value]) if value else _not_printed(model)
        if by_hash.outcome == "not_provable" and name and search_key(name) not in _printed_names(model):
            return _other_name(model, name)
        return by_hash

    def _lora(self, model: AssignedModel) -> Verdict:
        name = _listed_name(model.name)
        values = self._loras.get(name, [])
        if values:
            shared = any(value in self._lora_values[name] for value in values)
            if shared and not _printable(model) & set(values):
                text = "The picture's text does not tell {} from another LoRA of this picture."
                return _say(model, "not_provable", "shared_name", text)
            return self._by_hash(model, values)
        if not self._prints_every_lora(model):
            return _not_printed(model)
        text = (
            "The WebUI left {} out of the picture. It does so with a LoRA that is missing, damaged or has"
            " an ambiguous name, and Forge then with all others too; its log says which."
        )
        return _say(model, "wrong", "dropped", text)

    def _prints_every_lora(self, model: AssignedModel) -> bool:
        """Return whether this host would have printed the hash of ``model``, had it been used."""
        hashes = bool(self._said("Model hash"))
        if not self._loras:
            return hashes
        if self._family != "forge" and self._said("Hires prompt"):
            return False  # the LoRAs of the hires pass replace those of the first in the list
        return hashes or bool(model.embedded_hash)

    def _vae(self, model: AssignedModel) -> Verdict:
        name, value = self._said("VAE"), self._said("VAE hash").lower()
        if name and search_key(name) not in _printed_names(model):
            return _other_name(model, name)
        if value in _printable(model):
            return _say(model, "confirmed", "hash", "The picture's text has the hash of {}.")
        if name and (not value or self._is_no_hash_of(model, value)):
            return _say(model, "confirmed", "name", "The picture's text names {}.")
        # The cache has one entry for all VAEs, so another hash may be that of the VAE before.
        text = "The hash that the picture's text has for {} may be that of another VAE."
        return _say(model, "not_provable", "unusable_hash", text)

    def _module(self, model: AssignedModel) -> Verdict:
        names = _printed_names(model)
        if any(search_key(module) in names for module in self._modules):
            return _say(model, "confirmed", "name", "The picture's text names {}.")
        return _other_name(model, ", ".join(self._modules)) if self._modules else _not_printed(model)

    def _by_hash(self, model: AssignedModel, values: Sequence[str]) -> Verdict:
        """``values``: lower-case, at least one."""
        printed = [value.lower() for value in values]
        if _printable(model) & set(printed):
            return _say(model, "confirmed", "hash", "The picture's text has the hash of {}.")
        if any(self._is_no_hash_of(model, value) for value in printed):
            text = "The hash that the picture's text has for {} was not made from a file's content."
            return _say(model, "not_provable", "unusable_hash", text)
        text = "The picture's text has the hash {1} for {0}, which is not that of the confirmed file."
        return _say(model, "wrong", "other_hash", text, printed[0])

    def _is_no_hash_of(self, model: AssignedModel, value: str) -> bool:
        """Return whether a host prints ``value`` for this file without having read its content."""
        if not value or _is_of_nothing(value) or value in _claimed(model):
            return True
        return self._name_hashes and len(value) in (10, 12) and _is_name_hash(model, value)


def _not_printed(model: AssignedModel) -> Verdict:
    return _say(model, "not_provable", "not_printed", "The picture's text has no hash or name for {}.")


def _other_name(model: AssignedModel, name: str) -> Verdict:
    text = "The picture's text names “{1}” instead of {0}: the WebUI used another model."
    return _say(model, "wrong", "other_name", text, name)


def _listed(text: str) -> dict[str, list[str]]:
    """Of ``name: hash, name: hash`` the lower-case hashes of each name."""
    found: dict[str, list[str]] = defaultdict(list)
    for item in text.split(","):
        name, colon, value = item.rpartition(":")
        if colon:
            found[_listed_name(name)].append(value.strip().lower())
    return dict(found)


def _listed_name(name: str) -> str:
    return name.translate(_LEFT_OUT).strip()


def _printed_names(model: AssignedModel) -> set[str]:
    """The keys of the names that a host may print: without folder, or folders joined by ``_``."""
    path = checkpoint_parts(model.name)[0].replace("\\", "/")
    names = [path.rsplit("/", 1)[-1], path.replace("/", "_")]
    return {search_key(form) for name in names for form in (name, _stem(name))}


def _stem(name: str) -> str:
    stem, dot, _ = name.rpartition(".")
    return stem if dot and stem else name


def _printable(model: AssignedModel) -> set[str]:
    """The hashes that a host may print after having read this file, lower-case."""
    sha256 = model.sha256[: _DIGITS.get(model.role, _CHECKPOINT_HASHES)].lower()
    values = {sha256}
    if model.role == "lora":
        values |= {(model.autov3 or "")[:12].lower()} | _claimed(model)
    elif model.role in ("checkpoint", "hires_checkpoint", "refiner"):
        values.add((model.autov1 or "").lower())
    return {value for value in values if _is_hash(value) and not _is_of_nothing(value)}


def _claimed(model: AssignedModel) -> set[str]:
    """Return what a host prints of the hash that stands in the file, with and without ``0x``."""
    embedded = (model.embedded_hash or "").strip() if model.role == "lora" else ""
    return {value[:12].lower() for value in (embedded, normalize_hash(embedded)) if value}


def _is_hash(value: str) -> bool:
    digits = value.removeprefix("0x")
    return len(digits) >= _SHORTEST_HASH and normalize_hash(digits) == digits


def _is_of_nothing(value: str) -> bool:
    return len(value) >= _SHORTEST_HASH and SHA256_OF_NOTHING.startswith(value.removeprefix("0x"))


def _is_name_hash(model: AssignedModel, value: str) -> bool:
    path = checkpoint_parts(model.name)[0].replace("\\", "/")
    base = path.rsplit("/", 1)[-1]
    names = {path, _stem(path), base, _stem(base), *(base + extension for extension in ENDINGS_OF_NAMES)}
    return any(name_digest(name).startswith(value) for name in names)
