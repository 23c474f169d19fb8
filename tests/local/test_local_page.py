"""This WebUI's own pages: the same values as the hub has of the same files, and fast."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.index.rows import IndexRow
from stablequeue_client.index.snapshot import IndexReader, Snapshot
from stablequeue_client.shared.errors import ConflictError, NotFoundError
from stablequeue_client.shared.model_files.model_file import Claim
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views import views
from stablequeue_client.webui.tab import local_views

from ..agent.real_hub import RealHub
from ..slowness import takes_at_most
from .joined import join, tell
from .synthetic_index import SyntheticIndex, file, library, make_index, root

ALIAS = "attic"


def some_library() -> list[IndexRow]:
    """Every state, doubles, links, the same name twice, claims true and false, names in other scripts."""
    wrong = "ab" * 32
    twice = file("lora", "twice/a.safetensors", content="double", size=500)
    probably = Claim("sidecar", "sha256", twice.sha256 or "")
    return [
        *library(60),
        twice,
        file("lora", "twice/b.safetensors", content="double", size=500),
        file("lora", "twice/c.safetensors", content="double", size=500, link=1),
        file("lora", "x/same.safetensors", content="one"),
        file("lora", "y/Same.safetensors", content="two"),
        file("checkpoint", "z/same.safetensors", content="three"),
        file("lora", "claimed.safetensors", claims=[Claim("civitai", "sha256", wrong)]),
        file("vae", "ÄÖ é.safetensors", base_model="SDXL 1.0"),
        file("lora", "later.safetensors", state="unhashed", claims=[probably]),
        file("lora", "half.safetensors", state="partial"),
        file("lora", "open.safetensors", state="busy"),
        file("lora", "moving.safetensors", state="unstable", reason="it changed"),
        file("checkpoint", "cut.safetensors", state="corrupt", reason="cut off"),
        file("checkpoint", "no.safetensors", state="unreadable", reason="not allowed"),
        file("checkpoint", "old.safetensors.corrupted", state="set_aside"),
    ]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HubApi, Snapshot]]:
    """(the hub, the snapshot) of one and the same index."""
    folder = tmp_path_factory.mktemp("told")
    (folder / "hub").mkdir()
    hub = RealHub(folder / "hub")
    hub.start()
    index = make_index(folder / "server", 0)
    index.put(some_library())
    identity = join(hub, folder / "server", ALIAS)
    tell(identity, index.index)
    models = IndexReader(folder / "server", pause=lambda _: None)
    models.refresh()
    yield HubApi(hub.url, identity.key), models.snapshot
    models.close()
    index.close()
    hub.kill()


QUERIES: list[dict[str, str]] = [
    {},
    {"page": "2"},
    {"page": "9"},
    *({"sort": sort.value} for sort in views.SORTS),
    *({"state": state.value} for state in views.STATES),
    *({"kind": kind} for kind in ("checkpoint", "lora", "vae", "text_encoder", "embedding")),
    {"kind": "lora", "sort": "-size"},
    *({"search": text} for text in ("aqua", "NOIR", "twice/", "äö É", "same", "cut", "nothing", "мир_")),
    {"search": "a", "state": "troubled"},
    {"search": "l", "state": "unread", "kind": "lora"},
    {"kind": "music", "state": "odd", "sort": "odd", "page": "-3"},
]


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_the_models_are_those_of_the_hub(told: tuple[HubApi, Snapshot], query: dict[str, str]) -> None:
    hub, snapshot = told
    theirs = hub.view("models", query=query)
    assert isinstance(theirs, v.ModelsPage)
    ours = local_views.models_page(snapshot, local_views.filters_of(query), ALIAS)
    by_name = query.get("sort", "") in ("", "servers", "-servers")
    assert as_shown(ours, in_order=by_name) == as_shown(theirs, in_order=by_name)


def as_shown(page: v.ModelsPage, *, in_order: bool) -> dict[str, Any]:
    """What does not depend on ids; equal sizes or times may come in any order."""
    rows = [
        (row.name, row.kind, row.cells[0].mark, row.cells[0].files, row.size, row.short_hash, row.name_twice)
        for row in page.rows
    ]
    return {
        "rows": sorted(rows) if in_order else len(rows),
        "names": [row.name.casefold() for row in page.rows] if in_order else None,
        "sizes": [row.size for row in page.rows] if page.filters.sort == "-size" else None,
        "total": page.total,
        "filters": page.filters,
        "troubled": files(page.troubled),
        "unread": files(page.unread),
        "everything": bool(page.everything),
    }


def files(found: v.FileList) -> tuple[Any, ...]:
    rows = {(row.path, row.mark, row.size, row.kind, row.probably) for row in found.rows}
    return rows, found.total, found.more


def test_the_details_are_those_of_the_hub(told: tuple[HubApi, Snapshot]) -> None:
    hub, snapshot = told
    for name in ("a", "Same", "claimed"):
        (model,) = [model for model in snapshot.by_name if model.name == name]
        theirs = hub.view("model", model.sha256)
        assert isinstance(theirs, v.ModelDetails)
        ours = local_views.model_details(snapshot, model.sha256, ALIAS, metadata_of=lambda _: {"a": "b"})
        assert ours.metadata == (("a", "b"),)
        assert set(ours.digests) == set(theirs.digests)
        assert {place.path: place.mark for place in ours.places} == {
            place.path: place.mark for place in theirs.places
        }
        assert ours.duplicates == theirs.duplicates
        assert ours.contradictions == theirs.contradictions
        assert set(ours.aliases) == set(theirs.aliases)
        assert [(other.name, other.short_hash, other.servers) for other in ours.same_name] == [
            (other.name, other.short_hash, other.servers) for other in theirs.same_name
        ]


def test_the_server_is_as_the_hub_has_it(told: tuple[HubApi, Snapshot]) -> None:
    hub, snapshot = told
    theirs = hub.view("servers")
    assert isinstance(theirs, v.ServersPage)
    (their_card,) = theirs.servers
    page = local_views.servers_page(snapshot, None, ALIAS)
    (card,) = page.servers
    assert not page.may_change
    assert (card.alias, card.connected, card.waiting) == (ALIAS, True, their_card.waiting)
    assert {(f.root_id, f.label, f.kind, f.health, f.files) for f in card.folders} == {
        (f.root_id, f.label, f.kind, f.health, f.files) for f in their_card.folders
    }
    assert card.problems.total == their_card.problems.total


def test_base_models_are_a_filter(snapshot: Snapshot) -> None:
    page = local_views.models_page(snapshot, v.Filters(base_model="Pony", sort="-size"), ALIAS)
    wanted = sorted((row.size for row in some_library() if row.base_model == "Pony"), reverse=True)
    assert [row.size for row in page.rows] == wanted
    assert {row.base_model for row in page.rows} == {"Pony"}
    assert page.base_models == ("Flux.1", "Illustrious", "Pony", "SD 1.5", "SDXL 1.0")
    assert page.everything == len(snapshot.models)
    assert not page.unread.rows


# --- one model by what a person or a card says ------------------------------------------------------------


@pytest.fixture
def snapshot(index: SyntheticIndex, models: IndexReader) -> Snapshot:
    index.put(some_library())
    models.refresh()
    return models.snapshot


def details(snapshot: Snapshot, text: str) -> v.ModelDetails:
    return local_views.model_details(snapshot, text, ALIAS, metadata_of=lambda _: {})


def test_a_model_is_found_by_any_of_its_hashes_and_by_name(snapshot: Snapshot) -> None:
    (model,) = [model for model in snapshot.by_name if model.name == "a"]
    digests = model.rows[0].digests
    for text in (
        model.sha256, model.sha256.upper(), f"0x{digests.autov2}", digests.autov3, digests.autov1,
        digests.blake3, "twice/b", "C.safetensors",
    ):  # fmt: skip
        assert details(snapshot, text or "").model_id == model.sha256


def test_what_is_not_here_or_means_several_is_said(snapshot: Snapshot) -> None:
    with pytest.raises(NotFoundError, match="'nowhere'"):
        details(snapshot, "nowhere")
    with pytest.raises(NotFoundError):
        details(snapshot, "0" * 64)
    with pytest.raises(ConflictError, match="means 3 models"):
        details(snapshot, "same")


def test_a_folder_that_is_not_connected_marks_its_models(index: SyntheticIndex, models: IndexReader) -> None:
    index.put([file("lora", "a.safetensors")])
    index.put_roots([root("lora", health="suspect", missing=1, reason="the folder is empty")])
    models.refresh()
    page = local_views.models_page(models.snapshot, v.Filters(), ALIAS)
    assert page.rows[0].cells[0].mark == "folder"
    (card,) = local_views.servers_page(models.snapshot, None, ALIAS).servers
    assert [folder.root_id for folder in card.folders if folder.health == "suspect"] == ["r-lora"]


# --- ten thousand -----------------------------------------------------------------------------------------


def test_a_filter_over_ten_thousand_models_takes_under_50_ms(tmp_path: Path) -> None:
    index = make_index(tmp_path, 10_000, unread=300)
    models = IndexReader(tmp_path, pause=lambda _: None)
    models.refresh()
    local_views.models_page(models.snapshot, v.Filters(), ALIAS)
    for query in [*QUERIES, {"search": "abcdef12"}]:
        filters = local_views.filters_of(query)
        takes_at_most(0.05, partial(local_views.models_page, models.snapshot, filters, ALIAS))
    index.close()
    models.close()
