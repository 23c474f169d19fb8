"""What the route ``marks`` answers for the cards of the WebUI's browser."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from stablequeue_client.index.rows import IndexRow
from stablequeue_client.shared.model_files.model_file import FileState
from stablequeue_client.webui.parts.runtime import Runtime

from ..agent.real_hub import RealHub
from ..local.joined import join, tell
from ..local.synthetic_index import SyntheticIndex, file, library, root
from ..slowness import takes_at_most
from .conftest import MakeRuntime

LIMIT_S = 0.25
"""The answer comes while the browser already shows the cards; it delays none of them."""


def marks(rt: Runtime, kind: Any = "lora") -> dict[str, Any]:
    return dict(json.loads(rt.card_marks.marks(kind)))


def words(rt: Runtime, kind: Any = "lora") -> dict[str, list[str]]:
    said = marks(rt, kind)
    return {name: [said["looks"][look][1] for _, look, _ in files] for name, files in said["cards"].items()}


@pytest.mark.parametrize(
    ("state", "word"),
    [("corrupt", "broken"), ("unreadable", "not readable"), ("partial", "being copied"), ("busy", "in use")],
)
def test_a_problem_is_marked_and_leads_to_the_tab(
    make_runtime: MakeRuntime, state: FileState, word: str
) -> None:
    rt = make_runtime([file("lora", "sub/bad.safetensors", state=state), file("lora", "fine.safetensors")])
    assert words(rt) == {"bad": [word]}
    assert marks(rt)["cards"]["bad"][0][2] == "?view=models&search=bad"


def test_two_contents_of_one_name_are_told_apart_by_their_paths(make_runtime: MakeRuntime) -> None:
    rt = make_runtime(
        [
            file("lora", "a/twin.safetensors"),
            file("lora", "b/twin.safetensors"),
            file("lora", "c.safetensors"),
        ]
    )
    assert words(rt) == {"twin": ["name twice", "name twice"]}
    assert [end for end, _, _ in marks(rt)["cards"]["twin"]] == ["a/twin.safetensors", "b/twin.safetensors"]


def test_checkpoints_of_one_name_in_two_folders_are_no_problem(make_runtime: MakeRuntime) -> None:
    rt = make_runtime([file("checkpoint", "a/x.safetensors"), file("checkpoint", "b/x.safetensors")])
    assert marks(rt, "checkpoint")["cards"] == {}


def test_marks_can_be_switched_off(make_runtime: MakeRuntime) -> None:
    rt = make_runtime([file("lora", "bad.safetensors", state="corrupt")], settings={"card_marks": False})
    assert marks(rt) == {"looks": [], "cards": {}, "on": False}


def test_the_same_bytes_come_until_a_file_changes(make_runtime: MakeRuntime) -> None:
    rt = make_runtime([file("lora", "a.safetensors", state="corrupt")])
    assert rt.card_marks.marks("lora") == rt.card_marks.marks("lora")


def test_the_hub_says_on_how_many_servers_a_model_is(
    make_runtime: MakeRuntime, tmp_path: Path, real_hub: RealHub
) -> None:
    everywhere, two, alone = (file("lora", f"{name}.safetensors") for name in ("every", "two", "alone"))
    _server(real_hub, tmp_path / "attic", "attic", [everywhere, two])
    _server(real_hub, tmp_path / "forge-b", "forge-b", [everywhere])
    rt = make_runtime([everywhere, two, alone])
    index = SyntheticIndex(tmp_path)
    tell(join(real_hub, tmp_path, "this"), index.index)
    index.close()
    deadline = time.monotonic() + 60
    while len(words(rt)) < 3:
        assert time.monotonic() < deadline, (marks(rt), rt.hub.state())
        time.sleep(0.1)
    assert words(rt) == {"every": ["on 3 of 3"], "two": ["on 2 of 3"], "alone": ["here only"]}
    assert marks(rt)["cards"]["alone"][0][2] == f"?view=model&id={alone.sha256}"
    real_hub.kill()
    rt.hub.forget()
    while words(rt):
        assert time.monotonic() < deadline + 60
        time.sleep(0.2)


def test_five_thousand_cards_are_answered_in_a_quarter_of_a_second(make_runtime: MakeRuntime) -> None:
    broken = [row._replace(state="corrupt") for row in library(5_000)]
    rt = make_runtime(broken)
    found: list[int] = []
    takes_at_most(4 * LIMIT_S, lambda: found.append(len(marks(rt)["cards"])), tries=1)  # the first, not kept
    assert found == [3_500]
    takes_at_most(LIMIT_S, lambda: rt.card_marks.marks("lora"))


def _server(hub: RealHub, server_dir: Path, alias: str, rows: Iterable[IndexRow]) -> None:
    server_dir.mkdir()
    index = SyntheticIndex(server_dir)
    index.put_roots([root("lora")])
    index.put(list(rows))
    tell(join(hub, server_dir, alias), index.index)
    index.close()
