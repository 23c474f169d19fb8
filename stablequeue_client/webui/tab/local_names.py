"""What the models of a job that ran elsewhere are called in this WebUI, by their content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from stablequeue_client.index.rows import IndexRow
from stablequeue_client.shared.generation.name_translation import Renaming
from stablequeue_client.shared.model_files.model_file import ENDINGS_OF_NAMES, webui_name
from stablequeue_client.shared.model_files.roles import KINDS_OF, Role
from stablequeue_client.shared.views.job_values import JobModel

_IN_A_TEXT: dict[str, Role] = {"checkpoint": "checkpoint", "lora": "lora", "embedding": "embedding"}
"""Roles that a generation text names."""


def local_renamings(
    models: Iterable[JobModel], by_sha256: Callable[[str], Sequence[IndexRow]]
) -> tuple[Renaming, ...]:
    """The names in the text of the server that made it, and those here. What is not here keeps its name."""
    found = []
    for one in models:
        role = _IN_A_TEXT.get(one.role)
        if role is None or not one.sha256:
            continue
        rows = [row for row in by_sha256(one.sha256) if row.kind in KINDS_OF[role]]
        names = [_stem(webui_name(row.kind, row.path)) for row in rows]
        there = _stem(one.file if role == "checkpoint" else one.translated or one.written)
        here = next((name for name in (_stem(one.written), there) if name in names), None)
        name = here or (names[0] if names else there)
        if name != there:
            found.append(Renaming(role, there, name))
    return tuple(found)


def _stem(name: str) -> str:
    """A text leaves out folders, and the extensions of model files."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    return next((base[: -len(end)] for end in ENDINGS_OF_NAMES if base.lower().endswith(end)), base)
