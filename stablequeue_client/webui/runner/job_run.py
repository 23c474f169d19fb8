"""One job from the hand-over to its result: checked, made, proved.

Everything from the look at the files to the evidence happens while the host's queue lock is held, so that
nobody changes the host's mind in between.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from stablequeue_client.index.snapshot import Snapshot
from stablequeue_client.shared.generation.requirements import checkpoint_parts
from stablequeue_client.shared.model_files.roles import Role
from stablequeue_client.shared.wire.inventory import ServerCapabilities
from stablequeue_client.shared.wire.runner import (
    PICTURES_MAX,
    TEXT_MAX,
    AssignedFile,
    Assignment,
    FinishRequest,
    LoadedFile,
)
from stablequeue_client.webui.host import loaded_files
from stablequeue_client.webui.host.generation import Generated
from stablequeue_client.webui.host.models import LoadedModels
from stablequeue_client.webui.runner.evidence import HostReport, SamplerStep, evidence
from stablequeue_client.webui.runner.file_check import ConfirmedFile, confirm, is_unchanged, same_path
from stablequeue_client.webui.runner.payload_adaptation import SupportedPayload, adapted, is_img2img
from stablequeue_client.webui.runner.refusal import Refusal
from stablequeue_client.webui.runner.restore_name import put_back
from stablequeue_client.webui.runner.run_faults import RunFault, fault_of

logger = logging.getLogger(__name__)

CHECKPOINTS = ("checkpoint", "hires_checkpoint", "refiner")
_PLACES = {"hires_checkpoint": "hr_checkpoint_name", "refiner": "refiner_checkpoint"}
RECHECK_S = (0.3, 0.7, 1.0, 0.0)
"""Waits after each look at the index that does not confirm the files; none follows the last."""
BUSY = "This WebUI is in use."
STOPPED_HERE = "It was stopped in the WebUI."
MODEL_CHANGED = "The model was changed in the WebUI during the run."


class JobHost(Protocol):
    """What a job needs of the host; see ``GenerationHost``."""

    def acquire(self, give_up: Callable[[], bool]) -> bool: ...
    def release(self) -> None: ...
    def fields(self, img2img: bool) -> frozenset[str]: ...
    def option_sections(self) -> dict[str, str]: ...
    def style_names(self) -> frozenset[str]: ...
    def translate_choices(self, values: dict[str, Any], img2img: bool) -> dict[str, Any] | str: ...
    def resolve(self, role: Role, name: str) -> str | None: ...
    def memory(self) -> LoadedModels: ...
    def forget_copies(self) -> None: ...
    def forget_model(self) -> None: ...
    def forget_loras(self) -> None: ...
    def generate(self, values: dict[str, Any], embeddings: Sequence[str]) -> Generated: ...
    def output_folders(self) -> list[tuple[str, str]]: ...


def pictures_left_out(pictures: int) -> str:
    """A sentence when a job made more than it can bring; "" else."""
    if pictures <= PICTURES_MAX:
        return ""
    return f"It made {pictures} pictures and sends the first {PICTURES_MAX}; the output folder has all."


@dataclass(frozen=True)
class RunResult:
    """How a run ended, and its pictures."""

    finish: FinishRequest
    pictures: list[bytes] = field(default_factory=list)


class JobRun:
    """One hand-over. ``may_go_on``: False as soon as the job is not ours any more, or must go back."""

    def __init__(
        self,
        job: Assignment,
        host: JobHost,
        capabilities: Callable[[], ServerCapabilities],
        snapshot: Callable[[], Snapshot],
        *,
        may_go_on: Callable[[], bool],
        waits_too_long: Callable[[], bool],
    ) -> None:
        self._job, self._host = job, host
        self._capabilities, self._snapshot = capabilities, snapshot
        self._may_go_on, self._waits_too_long = may_go_on, waits_too_long

    def run(self) -> RunResult | Refusal:
        """Make the pictures. Raises nothing that the host raises while it generates."""
        img2img = is_img2img(self._job.payload)
        capabilities = self._capabilities()
        dialect = SupportedPayload(
            capabilities, self._host.fields(img2img), self._host.option_sections(), self._host.style_names()
        )
        values = adapted(self._job.payload, dialect)
        if isinstance(values, Refusal):
            return values
        placed = self._host.translate_choices(values, img2img)
        if isinstance(placed, str):
            return Refusal("not_supported", placed)
        if not self._host.acquire(lambda: self._waits_too_long() or not self._may_go_on()):
            return Refusal("busy", BUSY)
        try:
            return self._locked(placed)
        finally:
            self._host.release()

    def _locked(self, values: dict[str, Any]) -> RunResult | Refusal:
        files = self._confirmed()
        if isinstance(files, Refusal):
            return files
        refusal = self._resolve(values, files)
        if refusal is not None:
            return refusal
        self._freshen(files)
        if not self._may_go_on():
            return Refusal("busy", BUSY)
        looks = {one.path: loaded_files.file_state(one.path) for one in files}
        names = [one.file.name for one in files if one.file.role == "embedding"]
        made = self._host.generate(values, names)
        fault = self._fault(made)
        for path in put_back(files):
            logger.warning("%s has its name again.", os.path.basename(path), extra={"action": "put_back"})
        loaded = evidence(files, _report(made, bool(values.get("script_name"))), is_unchanged)
        self._vouch(files, loaded, looks)
        return self._result(made, fault, loaded, files)

    # --- before ----------------------------------------------------------------------------------------

    def _confirmed(self) -> list[ConfirmedFile] | Refusal:
        """The files. The hub may know a moment earlier than this process what the agent has just read."""
        for wait in RECHECK_S:
            files = confirm(self._job.files, self._snapshot())
            if not isinstance(files, Refusal):
                break
            time.sleep(wait)
        return files

    def _resolve(self, values: dict[str, Any], files: Sequence[ConfirmedFile]) -> Refusal | None:
        """Each name means its file to the host too; a checkpoint is written so that it does."""
        for one in files:
            if not (one.file.used or one.file.script):
                continue
            # A script's argument has the name already, and is no field of the generation.
            names = _names(one.file, values) if one.file.used else [one.file.name]
            found = self._name(one, names)
            if isinstance(found, Refusal):
                return found
            if one.file.used and one.file.role in CHECKPOINTS:
                _write_checkpoint(values, one.file.role, found)
        return None

    def _name(self, one: ConfirmedFile, names: Sequence[str]) -> str | Refusal:
        other = None
        for name in names:
            path = self._host.resolve(one.file.role, name)
            if path is not None and same_path(path, one.path):
                return name
            other = other or path
        shown, requirement = one.file.name, one.file.requirement
        if other is None:
            text = f"The WebUI itself does not find “{shown}”."
            return Refusal("model_missing", text, requirement, one.file.root)
        text = f"“{shown}” means another file to the WebUI: {os.path.basename(other)}."
        return Refusal("model_ambiguous", text, requirement)

    def _freshen(self, files: Sequence[ConfirmedFile]) -> None:
        """Have the host read anew what it keeps in memory of a file that may have changed since."""
        loaded = [one for one in files if one.file.used or one.file.script]
        stale = [one for one in loaded if not loaded_files.is_fresh(one.path)]
        if any(one.file.role == "lora" for one in stale):
            self._host.forget_loras()
        models = [one for one in stale if one.file.role != "lora"]
        if not models:
            return
        memory = self._host.memory()
        kept = {memory.checkpoint, *memory.modules} - {""}
        if any(
            one.file.role == "embedding" or any(same_path(one.path, path) for path in kept) for one in models
        ):
            self._host.forget_model()
        else:
            self._host.forget_copies()

    # --- after -----------------------------------------------------------------------------------------

    def _vouch(
        self,
        files: Sequence[ConfirmedFile],
        loaded: Sequence[LoadedFile],
        looks: dict[str, loaded_files.FileState | None],
    ) -> None:
        """Note that what was loaded and stayed the same is in memory as it lies on the disk."""
        states = {one.requirement: one.state for one in loaded}
        for one in files:
            seen = looks[one.path]
            if seen is not None and states.get(one.file.requirement) == "loaded":
                loaded_files.confirm(one.path, seen)

    def _result(
        self,
        made: Generated,
        fault: RunFault | None,
        loaded: list[LoadedFile],
        files: Sequence[ConfirmedFile],
    ) -> RunResult | Refusal:
        wrong_model = any(one.state == "other_file" for one in loaded)
        if not self._may_go_on():
            return Refusal("busy", BUSY)
        if fault is not None:
            return self._failed(fault, files)
        if made.error or (not made.pictures and not made.interrupted):
            return self._ended("failed", made.error or "The WebUI made no picture.")
        if made.interrupted:
            return self._ended("interrupted", STOPPED_HERE)
        if made.meddled and wrong_model:
            return self._ended("interrupted", MODEL_CHANGED)
        pictures = made.pictures[:PICTURES_MAX]
        digests = [hashlib.sha256(data).hexdigest() for data in pictures]
        text = pictures_left_out(len(made.pictures))
        finish = FinishRequest(self._job.job_id, self._job.fence, "done", digests, loaded, text)
        return RunResult(finish, pictures)

    def _fault(self, made: Generated) -> RunFault | None:
        error, made.exception = made.exception, None
        if error is None:
            return None
        return fault_of(error, prepared=made.prepared, folders=self._host.output_folders())

    def _failed(self, seen: RunFault, files: Sequence[ConfirmedFile]) -> RunResult:
        """Say whose fault it was; of a file that cannot be loaded, which one."""
        fault, text, bad = seen.fault, seen.text, None
        if fault == "file":
            bad = _unloadable(seen.paths, files)
            # Its owner's own checkpoint, where the job names none, is no fault of the job's.
            fault = "file" if bad is not None else "host"
        if bad is not None:
            name = os.path.basename(bad.path)
            text = f"The WebUI cannot load the model file {name}: {text}"
        requirement = bad.file.requirement if bad is not None else None
        return RunResult(
            FinishRequest(
                self._job.job_id,
                self._job.fence,
                "failed",
                text=text[:TEXT_MAX],
                fault=fault,
                requirement=requirement,
                traceback=seen.traceback,
            )
        )

    def _ended(self, outcome: Any, text: str) -> RunResult:
        return RunResult(FinishRequest(self._job.job_id, self._job.fence, outcome, text=text))


def _unloadable(paths: Sequence[str], files: Sequence[ConfirmedFile]) -> ConfirmedFile | None:
    """The file at which the host failed; the checkpoint, where its error names none."""
    models = [one for one in files if one.file.used and one.file.role not in ("lora", "embedding")]
    for path in paths:
        for one in models:
            if same_path(path, one.path):
                return one
    return next((one for one in models if one.file.role == "checkpoint"), None)


def _names(file: AssignedFile, values: dict[str, Any]) -> list[str]:
    """Return how the host may take the file's name: as the job has it now, then as it is called here."""
    if file.role not in CHECKPOINTS:
        return [file.name]
    if file.role == "checkpoint":
        now = (values.get("override_settings") or {}).get("sd_model_checkpoint")
    else:
        now = values.get(_PLACES[file.role])
    names = [now, file.name, checkpoint_parts(file.written)[0], checkpoint_parts(file.name)[0]]
    return list(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def _write_checkpoint(values: dict[str, Any], role: str, name: str) -> None:
    if role == "checkpoint":
        settings = values.get("override_settings") or {}
        values["override_settings"] = {**settings, "sd_model_checkpoint": name}
    else:
        values[_PLACES[role]] = name


def _report(made: Generated, scripted: bool) -> HostReport:
    steps = [SamplerStep(one.checkpoint, one.modules, one.loras, one.hires) for one in made.steps]
    return HostReport(steps, made.lora_failures, made.embeddings, scripted, frozenset(made.unapplied))
