"""What a job's models are called in this WebUI."""

from __future__ import annotations

from collections.abc import Sequence

from stablequeue_client.index.rows import IndexRow
from stablequeue_client.shared.generation.name_translation import Renaming
from stablequeue_client.shared.model_files.model_file import Kind
from stablequeue_client.shared.views.job_values import JobModel
from stablequeue_client.webui.tab.local_names import local_renamings

MADE = JobModel(
    0, "checkpoint", "sub/uno.safetensors [c96cab1bb3]", "there", sha256="c" * 64, file="one.safetensors"
)
GRAIN = JobModel(
    1, "lora", "korn", "there", sha256="a" * 64, file="film_grain.safetensors", translated="film_grain"
)
GONE = JobModel(2, "lora", "gone", "there", sha256="b" * 64, translated="away")


def row(kind: Kind, path: str) -> IndexRow:
    empty = dict.fromkeys(IndexRow._fields, 0)
    return IndexRow(**{**empty, "root_id": "r", "path": path, "kind": kind, "state": "ready"})  # type: ignore[arg-type]


HERE = {
    "c" * 64: [row("checkpoint", "sub/uno.safetensors")],
    "a" * 64: [row("lora", "b/film_grain_2.safetensors"), row("lora", "korn.safetensors")],
}


def known(sha256: str) -> Sequence[IndexRow]:
    return HERE.get(sha256, [])


def test_the_name_that_the_job_was_written_with_comes_before_others_of_the_content() -> None:
    assert local_renamings([MADE, GRAIN, GONE], known) == (
        Renaming("checkpoint", "one", "uno"),
        Renaming("lora", "film_grain", "korn"),
    )


def test_a_name_that_is_one_here_too_stays() -> None:
    there = JobModel(0, "lora", "film_grain_2", "there", sha256="a" * 64)
    assert local_renamings([there], known) == ()
    other = JobModel(0, "lora", "dust", "there", sha256="a" * 64, translated="film_grain_2")
    assert local_renamings([other], known) == ()
