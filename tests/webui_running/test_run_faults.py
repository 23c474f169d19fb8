"""Whose fault an error of the host is, and how long trouble around it holds the server."""

from __future__ import annotations

import errno
import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stablequeue_client.shared.wire.runner import FinishRequest
from stablequeue_client.webui.runner.run_faults import fault_of
from stablequeue_client.webui.runner.unsaved_results import UnsavedResults

FOLDERS = [("/out/txt2img", "outdir_txt2img_samples")]


def raised(error: BaseException, module: str = "modules/processing.py", **held: Any) -> Exception:
    """The error as it comes out of a function of the host that holds these values."""
    source = f"def work(error, {', '.join(held)}):\n    raise error\n"
    names: dict[str, Any] = {}
    exec(compile(source, f"/webui/{module}", "exec"), names)
    work: Callable[..., None] = names["work"]
    with pytest.raises(type(error)) as caught:
        work(error, **held)
    assert isinstance(caught.value, Exception)
    return caught.value


class OutOfMemoryError(RuntimeError):
    """As torch has it."""


CASES = [
    (raised(OSError(errno.ENOSPC, "No space left on device")), "surroundings"),
    (raised(OSError(errno.ENOSPC, "No space left", "/tmp/x")), "surroundings"),
    (raised(OSError(errno.EROFS, "Read-only file system", "/out/txt2img/1.png")), "surroundings"),
    (raised(PermissionError(errno.EACCES, "Permission denied", "/out/txt2img")), "surroundings"),
    (raised(FileNotFoundError(errno.ENOENT, "No such file", "/out/txt2img/a/1.png")), "surroundings"),
    (raised(PermissionError(errno.EACCES, "denied", "/m/a.safetensors"), "backend/loader.py"), "file"),
    (raised(ValueError("Failed to recognize model type!"), "backend/loader.py"), "file"),
    (raised(ValueError("bad"), "modules/sd_models.py"), "file"),
    (raised(OutOfMemoryError("CUDA out of memory"), "backend/loader.py"), "host"),
    (raised(RuntimeError("a tensor"), "modules/processing.py"), "host"),
]


@pytest.mark.parametrize(("error", "fault"), CASES)
def test_an_error_is_somebodys(error: Exception, fault: str) -> None:
    found = fault_of(error, prepared=True, folders=FOLDERS)
    assert found.fault == fault
    assert "/webui/" in found.traceback
    if fault == "surroundings":
        assert "waits" in found.text
        assert str(error.strerror) in found.text  # type: ignore[attr-defined]


def test_a_disk_in_the_cause_of_an_error_counts() -> None:
    error = raised(RuntimeError("cannot save"))
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    found = fault_of(error, prepared=True, folders=FOLDERS)
    assert found.fault == "surroundings"
    assert "/out/txt2img" in found.text
    assert "outdir_txt2img_samples" in found.text


def test_what_fails_before_the_host_is_at_work_is_the_jobs_and_its_values_are_not_told() -> None:
    class ComplaintError(ValueError):
        def errors(self) -> list[dict[str, Any]]:
            return [{"loc": ("steps",), "input": "secret"}]

    found = fault_of(raised(ComplaintError("secret")), prepared=False)
    assert found.fault == "job"
    assert "steps" in found.text
    assert "secret" not in found.text + found.traceback.splitlines()[-1]


def test_the_file_at_which_the_host_failed_is_among_those_that_it_had_in_hand(tmp_path: Path) -> None:
    path = os.fspath(tmp_path / "a.safetensors")
    info = types.SimpleNamespace(filename=path)
    for held in ({"path": path}, {"info": info}):
        error = raised(ValueError("Failed to recognize model type!"), "backend/loader.py", **held)
        assert path in fault_of(error, prepared=True).paths


def finish(fault: str = "", outcome: Any = "failed") -> FinishRequest:
    return FinishRequest("job", 1, outcome, text="no room", fault=fault)


def test_trouble_that_is_seen_ends_when_it_is_gone() -> None:
    unsaved = UnsavedResults()
    unsaved.record(finish("surroundings"), 0.0)
    assert unsaved.trouble("full", 1.0) == "full"
    assert unsaved.trouble("", 2.0) == ""
    assert unsaved.text == ""


def test_trouble_that_is_not_seen_is_tried_again_more_and_more_rarely() -> None:
    unsaved, now, pauses = UnsavedResults(), 0.0, []
    for _ in range(6):
        unsaved.record(finish("surroundings"), now)
        began = now
        while unsaved.trouble("", now):
            now += 1.0
        pauses.append(now - began)
    assert pauses == [15, 30, 60, 120, 240, 480]
    unsaved.record(finish(outcome="done"), now)
    unsaved.record(finish("surroundings"), now)
    assert unsaved.trouble("", now + 14) == "no room"
    assert unsaved.trouble("", now + 15) == ""
