"""The evidence of a run: what the host really loaded, against the files that were confirmed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from stablequeue_client.shared.wire.runner import LoadedFile
from stablequeue_client.webui.runner.file_check import ConfirmedFile, same_path

State = Literal["loaded", "other_file", "changed", "not_loaded", "unknown"]
_CHECKPOINTS = ("checkpoint", "hires_checkpoint", "refiner")
_MODULES = ("vae", "text_encoder", "module")
_LOAD_FAILED = "its log says why"


@dataclass(frozen=True)
class SamplerStep:
    """What stood in memory at steps of the sampler. ``hires``: of the second pass of hires fix."""

    checkpoint: str
    modules: frozenset[str] = frozenset()
    loras: frozenset[str] = frozenset()
    hires: bool = False


@dataclass(frozen=True)
class HostReport:
    """What the host used for the pictures, as its own objects say. Paths; ``steps`` in the order of the first
    of each kind. ``lora_failures``: how often it left out all LoRAs. ``embeddings``: name -> file.
    ``unapplied``: paths of LoRAs of which nothing was applied."""

    steps: Sequence[SamplerStep] = ()
    lora_failures: int = 0
    embeddings: Mapping[str, str] = field(default_factory=dict)
    scripted: bool = False
    """A selected script may use further checkpoints of its own (X/Y/Z plot)."""
    unapplied: frozenset[str] = frozenset()


def evidence(
    files: Iterable[ConfirmedFile],
    report: HostReport,
    unchanged: Callable[[ConfirmedFile], bool],
) -> list[LoadedFile]:
    """One entry for each file that the host loads for the job. ``unchanged``: as before the run."""
    files = [one for one in files if one.file.used or one.file.script]
    found = []
    for one in files:
        state, detail = _state(one, files, report) if one.file.used else _in_script(one, files, report)
        if state == "loaded" and not unchanged(one):
            state, detail = "changed", ""
        sha256 = one.file.sha256 if state == "loaded" else None
        applied = not (state == "loaded" and _did_nothing(one, report))
        found.append(LoadedFile(one.file.requirement, state, sha256, detail, applied))
    return found


def _state(one: ConfirmedFile, files: Sequence[ConfirmedFile], report: HostReport) -> tuple[State, str]:
    if not report.steps:
        return "unknown", ""
    role = one.file.role
    if role == "checkpoint":
        return _checkpoint(one, files, report)
    if role in _CHECKPOINTS:
        hires = role == "hires_checkpoint"
        seen = any(same_path(step.checkpoint, one.path) for step in report.steps if step.hires or not hires)
        # Where the host never came to it, as with a switch at the last step, its text names none either.
        return ("loaded", "") if seen else ("unknown", "")
    if role in _MODULES:
        seen = any(same_path(path, one.path) for step in report.steps for path in step.modules)
        return ("loaded", "") if seen else ("not_loaded", "")
    if role == "lora":
        return _lora(one, report)
    path = report.embeddings.get(one.file.name)
    if path is None:
        return "not_loaded", ""
    return ("loaded", "") if same_path(path, one.path) else ("other_file", _base(path))


def _in_script(one: ConfirmedFile, files: Sequence[ConfirmedFile], report: HostReport) -> tuple[State, str]:
    """Whether it was in memory at any step. A script need not come to it: ADetailer finds no face."""
    if one.file.role in _CHECKPOINTS:
        other = _foreign_checkpoint(files, report)
        if other and not any(file.file.used and file.file.role == "checkpoint" for file in files):
            return "other_file", _base(other)
    if one.file.role == "lora" and report.lora_failures:
        return "not_loaded", _LOAD_FAILED
    if one.file.role == "embedding":
        path = report.embeddings.get(one.file.name)
        seen = path is not None and same_path(path, one.path)
    else:
        paths = (path for step in report.steps for path in (step.checkpoint, *step.modules, *step.loras))
        seen = any(same_path(path, one.path) for path in paths)
    return ("loaded", "") if seen else ("unknown", "")


def _foreign_checkpoint(files: Sequence[ConfirmedFile], report: HostReport) -> str:
    """A checkpoint at any step that is none of the job's; "" for none."""
    allowed = [other.path for other in files if other.file.role in _CHECKPOINTS]
    steps = (step.checkpoint for step in report.steps)
    return next((path for path in steps if not any(same_path(path, one) for one in allowed)), "")


def _checkpoint(one: ConfirmedFile, files: Sequence[ConfirmedFile], report: HostReport) -> tuple[State, str]:
    first = report.steps[0].checkpoint
    if not same_path(first, one.path):
        return "other_file", _base(first)
    other = "" if report.scripted else _foreign_checkpoint(files, report)
    return ("other_file", _base(other)) if other else ("loaded", "")


def _lora(one: ConfirmedFile, report: HostReport) -> tuple[State, str]:
    if report.lora_failures:
        return "not_loaded", _LOAD_FAILED
    if any(same_path(path, one.path) for step in report.steps for path in step.loras):
        return "loaded", ""
    return "not_loaded", ""


def _did_nothing(one: ConfirmedFile, report: HostReport) -> bool:
    return one.file.role == "lora" and any(same_path(path, one.path) for path in report.unapplied)


def _base(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]
