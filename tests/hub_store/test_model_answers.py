"""What the hub answers about models: where they are, lists, details, registrations, metadata, history."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa

from stablequeue_client.shared.errors import (
    ConflictError,
    ForbiddenError,
    InvalidValueError,
    NotFoundError,
    TooLargeError,
)
from stablequeue_client.shared.views import views
from stablequeue_hub.events import events
from stablequeue_hub.inventory.metadata import store_metadata, want_metadata
from stablequeue_hub.inventory.sync import apply_sync, decode_sync
from stablequeue_hub.models.availability import AvailabilityAnswer, availability_of, availability_of_many
from stablequeue_hub.models.details import ModelDetailsAnswer, model_details
from stablequeue_hub.models.filters import ModelFilter
from stablequeue_hub.models.matrix import ModelPage, filter_choices, list_models
from stablequeue_hub.models.model_query import NamedModel
from stablequeue_hub.models.registration import Registered, Registration, register_model
from stablequeue_hub.models.unidentified import list_unidentified
from stablequeue_hub.page.models import filters_of, models_page
from stablequeue_hub.page.queue import Viewer
from stablequeue_hub.page.servers import first_line
from stablequeue_hub.servers.presence import Presence
from stablequeue_hub.servers.servers import delete_server
from stablequeue_hub.store.engine import Store
from stablequeue_hub.store.tables import model_server_availability, models, servers

NOW = 100_000


def _sync(store: Store, server: str, agent: Any, now_ms: int = 1_000) -> None:
    apply_sync(store, server, decode_sync(agent.full()), now_ms=now_ms)


def _where(store: Store, text: str, live: Any) -> AvailabilityAnswer:
    with store.read() as connection:
        return availability_of(connection, text, live, now_ms=NOW)


def _words(answer: AvailabilityAnswer) -> dict[str, str]:
    return {server.server_id: server.availability for server in answer.servers}


def _list(store: Store, live: Any, **wanted: Any) -> ModelPage:
    with store.read() as connection:
        return list_models(connection, ModelFilter(**wanted), live, now_ms=NOW)


def _names(store: Store, live: Any, **wanted: Any) -> list[str]:
    return [model.name for model in _list(store, live, **wanted).models]


def _details(store: Store, text: str, live: Any) -> ModelDetailsAnswer:
    with store.read() as connection:
        return model_details(connection, text, live, now_ms=NOW)


def _register(store: Store, **stated: Any) -> Registered:
    with store.write() as connection:
        return register_model(connection, Registration(**stated), actor="key:k", now_ms=2_000)


@pytest.fixture
def library(store: Store, join: Callable[..., None], wire: ModuleType) -> Any:
    """a: x (twice), y; b: x, a claim on y, a broken file that says it is y; c: joined, never synchronised."""
    join(store, "a", "b", "c")
    lora = {"root": "r2", "kind": "lora"}
    on_a = wire.Agent().put(
        wire.root(),
        wire.root("r2", "lora"),
        wire.ready("SDXL/Big Model.safetensors", "x"),
        wire.ready("copy of big.safetensors", "x"),
        wire.ready("styles/Ärger_100%.safetensors", "y", **lora),
    )
    _sync(store, "a", on_a)
    on_b = wire.Agent().put(
        wire.root(),
        wire.root("r2", "lora"),
        wire.ready("Big Model.safetensors", "x"),
        wire.unhashed("why.safetensors", ("sha256", wire.sha("y")), **lora),
        wire.unhashed("cut.safetensors", ("autov2", wire.sha("y")[:10]), state="corrupt", **lora),
        wire.unhashed("new one.safetensors"),
        wire.ready("../hostile", "h"),
    )
    _sync(store, "b", on_b, now_ms=2_000)
    return {"a": on_a, "b": on_b}


# --- where is it ----------------------------------------------------------------------------------------


def test_a_hash_in_any_form_and_a_name_find_the_model(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    sha256 = wire.sha("x")
    blake3, autov1 = wire.sha("bx"), wire.sha("1x")[:8]
    texts = [sha256, sha256.upper(), f"0x{sha256}", sha256[:10], sha256[:12], blake3, autov1, "1"]
    texts += [
        "Big Model",
        "big model.SAFETENSORS",
        "SDXL/Big Model.safetensors",
        "sdxl\\big model.safetensors",
    ]
    for text in [*texts, "copy of big"]:
        answer = _where(store, text, live())
        assert [match.hash_sha256 for match in answer.matches] == [sha256], text
        assert not answer.ambiguous
        assert _words(answer) == {"a": "available", "b": "available", "c": "unknown"}


def test_what_nobody_has_is_found_nowhere(store: Store, library: Any, live: Callable[..., Any]) -> None:
    for text in (
        "0" * 64,
        "0" * 10,
        "99",
        "no such model",
        "%",
        "_",
        "",
        "x" * 2_000,
        "a\x00b",
        "\\",
        "1" * 8,
    ):
        answer = _where(store, text, live())
        assert (answer.matches, answer.servers, answer.ambiguous, answer.success) == ((), (), False, True)


def test_every_answer_says_since_when_and_how_it_is_known(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    answer = _where(store, wire.sha("y"), live(contact_ms=90_000))
    told = {s.server_id: (s.availability, s.last_seen, s.age_s, s.source) for s in answer.servers}
    assert told == {
        "a": ("available", "1970-01-01 00:01:30", 10, "computed"),
        "b": ("unhashed", "1970-01-01 00:01:30", 10, "claim"),
        "c": ("unknown", None, None, "none"),
    }
    (server,) = [server for server in answer.servers if server.server_id == "a"]
    (file,) = server.files
    assert (file.root, file.label, file.path) == ("r2", "models/r2", "styles/Ärger_100%.safetensors")
    assert (file.state, file.root_health) == ("ready", "healthy")


def test_a_model_that_left_is_unavailable_and_its_row_stays(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    library["a"].remove(("r2", "styles/Ärger_100%.safetensors"))
    _sync(store, "a", library["a"], now_ms=50_000)
    server = _where(store, wire.sha("y"), live("a")).servers[0]
    assert (server.availability, server.source, server.files) == ("unavailable", "history", ())
    assert (server.last_seen, server.age_s) == ("1970-01-01 00:00:01", 99)


def test_unreachable_is_the_server_or_every_folder_of_the_model(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    sha256 = wire.sha("x")
    assert _words(_where(store, sha256, live("a")))["a"] == "unreachable"
    library["a"].put(
        wire.root("r3"), wire.ready("third", "x", root="r3"), wire.root("r1", health="unreachable")
    )
    _sync(store, "a", library["a"])
    assert _words(_where(store, sha256, live()))["a"] == "available"
    assert _cell(store, live(), "a").availability == "available"
    library["a"].put(wire.root("r3", health="suspect"))
    _sync(store, "a", library["a"])
    assert _words(_where(store, sha256, live()))["a"] == "unreachable"
    assert _cell(store, live(), "a").availability == "unreachable"
    with store.read() as connection:
        stored = connection.scalars(sa.select(model_server_availability.c.availability)).all()
    assert "unreachable" not in stored


def _cell(store: Store, live: Any, server: str) -> Any:
    (model,) = _list(store, live, search="big").models
    return next(cell for cell in model.cells if cell.server_id == server)


def test_a_short_hash_of_two_models_is_ambiguous_and_never_guessed(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    short = wire.sha("x")[:10]
    twin = wire.ready("twin.safetensors", "t", digests={"sha256": short + "f" * 54})
    library["b"].put(twin)
    _sync(store, "b", library["b"])
    answer = _where(store, short, live())
    assert answer.ambiguous
    assert answer.servers == ()
    assert [_there(match) for match in answer.matches] == [["a", "b"], ["b"]]
    assert not _where(store, wire.sha("x"), live()).ambiguous
    with pytest.raises(ConflictError) as error:
        _details(store, short, live())
    assert len(error.value.details["candidates"]) == 2


def _there(match: Any) -> list[str]:
    return [server.server_id for server in match.servers if server.availability == "available"]


def test_one_name_with_two_contents_is_ambiguous(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    library["b"].put(wire.ready("Big Model.safetensors", "other"))
    _sync(store, "b", library["b"])
    assert len(_where(store, "big model", live()).matches) == 2
    assert [other.servers for other in _details(store, wire.sha("x"), live()).same_name] == [("B",)]


def test_what_nobody_has_neither_splits_a_name_nor_marks_the_model_that_has_it(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    library["b"].put(wire.ready("Big Model.safetensors", "other"))
    _sync(store, "b", library["b"])
    _register(store, name="Big Model.safetensors", type="checkpoint", hash_sha256=wire.sha("n"))
    with store.write() as connection:
        delete_server(connection, "b", actor="page", now_ms=3_000)
    with store.read() as connection:
        shown = models_page(connection, filters_of({"search": "big"}), live(), now_ms=NOW)
    assert not any(row.name_twice for row in shown.rows)
    for text in ("big model", "Big Model.safetensors", "SDXL/Big Model.safetensors"):
        (match,) = _where(store, text, live()).matches
        assert match.hash_sha256 == wire.sha("x")
        details = _details(store, text, live())
        assert details.model.hash_sha256 == wire.sha("x")
        assert details.same_name == ()
    with store.write() as connection:
        delete_server(connection, "a", actor="page", now_ms=4_000)
    assert len(_where(store, "big model", live()).matches) == 3  # nobody has any of them


def test_a_model_is_called_as_most_servers_call_it_else_by_the_shortest_name(
    store: Store, join: Callable[..., None], wire: ModuleType, live: Callable[..., Any]
) -> None:
    join(store, "a", "b", "c", "d")
    agents = {server: wire.Agent().put(wire.root()) for server in "abcd"}

    def called(server: str, *paths: str, gone: tuple[str, ...] = ()) -> str:
        agents[server].put(*(wire.ready(path, "x") for path in paths))
        for path in gone:
            agents[server].remove(("r1", path))
        _sync(store, server, agents[server])
        (name,) = _names(store, live())
        return name

    assert called("a", "zz/hat (1).safetensors", "hat.safetensors") == "hat.safetensors"
    assert called("b", "SD/my hat.safetensors", "x.safetensors") == "x.safetensors"
    assert called("c", "XL/my hat.safetensors") == "SD/my hat.safetensors"  # on two, whatever their folders
    assert called("d", "XL/my hat.safetensors") == "XL/my hat.safetensors"
    assert _where(store, "my hat", live()).matches[0].name == "XL/my hat.safetensors"
    assert _names(store, live(), search="xl/my") == ["XL/my hat.safetensors"]
    with store.write() as connection:
        delete_server(connection, "d", actor="page", now_ms=3_000)
        delete_server(connection, "c", actor="page", now_ms=3_000)
    assert _names(store, live()) == ["x.safetensors"]
    assert called("b", gone=("x.safetensors",)) == "hat.safetensors"
    _sync(store, "b", wire.Agent("b2").put(wire.root()))
    with store.write() as connection:
        delete_server(connection, "a", actor="page", now_ms=4_000)
    assert _names(store, live()) == ["hat.safetensors"]  # as it was called last


def test_a_name_that_somebody_stated_stays(
    store: Store, join: Callable[..., None], wire: ModuleType, live: Callable[..., Any]
) -> None:
    join(store, "a")
    _register(store, name="The Hat", type="checkpoint", hash_sha256=wire.sha("x"))
    _sync(store, "a", wire.Agent().put(wire.root(), wire.ready("hat.safetensors", "x")))
    assert _names(store, live()) == ["The Hat"]


def test_a_name_of_a_file_that_is_not_read_yet_says_so(
    store: Store, library: Any, live: Callable[..., Any]
) -> None:
    for text in ("new one", "New One.safetensors"):
        (match,) = _where(store, text, live()).matches
        assert (match.id, match.hash_sha256, match.type) == (None, None, "checkpoint")
        (server,) = match.servers
        assert (server.server_id, server.availability, server.source) == ("b", "unhashed", "name")
    assert _where(store, "cut", live()).matches == ()


def test_a_twelve_digit_hash_is_an_autov3_or_the_start_of_a_sha256(
    store: Store, join: Callable[..., None], wire: ModuleType, live: Callable[..., Any]
) -> None:
    join(store, "a")
    entry = wire.ready("l.safetensors", "l")
    entry["digests"]["autov3"] = wire.sha("payload")[:12]
    _sync(store, "a", wire.Agent().put(wire.root(), entry))
    for text in (wire.sha("payload")[:12], wire.sha("l")[:12]):
        assert len(_where(store, text, live()).matches) == 1
    assert _where(store, wire.sha("l")[:10] + "zz", live()).matches == ()
    assert _where(store, wire.sha("l")[:10] + "00", live()).matches == ()


def test_a_thousand_are_answered_at_once_in_their_order_and_not_more(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    texts = [wire.sha("y"), "nothing", wire.sha("x"), wire.sha("y")] + [wire.sha(str(i)) for i in range(996)]
    with store.read() as connection:
        answers = availability_of_many(connection, texts, live(), now_ms=NOW)
        assert [answer.query for answer in answers] == texts
        assert [len(answer.matches) for answer in answers[:5]] == [1, 0, 1, 1, 0]
        assert answers[0] == availability_of(connection, texts[0], live(), now_ms=NOW)
        with pytest.raises(TooLargeError):
            availability_of_many(connection, [*texts, "x"], live(), now_ms=NOW)
        assert availability_of_many(connection, [], live(), now_ms=NOW) == []


def test_names_of_a_kind_are_found_among_that_kind_only_and_never_taken_for_numbers(
    store: Store, join: Callable[..., None], wire: ModuleType, live: Callable[..., Any]
) -> None:
    join(store, "a", "b")
    lora = {"root": "r2", "kind": "lora"}
    roots = (wire.root(), wire.root("r2", "lora"))
    on_a = wire.Agent().put(
        *roots,
        wire.ready("ink.safetensors", "checkpoint"),
        wire.ready("sub/ink.safetensors", "lora", **lora),
        wire.ready("1.safetensors", "one", **lora),
        wire.ready("deadbeef.safetensors", "beef", **lora),
    )
    _sync(store, "a", on_a)
    _sync(store, "b", wire.Agent().put(*roots, wire.unhashed("oil.safetensors", **lora)))
    wanted = [
        *(NamedModel("ink", kind) for kind in ("checkpoint", "lora", "vae")),
        NamedModel("1", "lora"),
        NamedModel("deadbeef", "lora"),
        NamedModel("OIL", "lora"),
        NamedModel("oil", "checkpoint"),
        NamedModel("", "lora"),
    ]
    with store.read() as connection:
        answers = availability_of_many(connection, wanted, live(), now_ms=NOW)
    found = [[match.hash_sha256 for match in answer.matches] for answer in answers]
    assert found[:5] == [
        [wire.sha("checkpoint")],
        [wire.sha("lora")],
        [],
        [wire.sha("one")],
        [wire.sha("beef")],
    ]
    assert [(match.name, match.type) for match in answers[5].matches] == [("oil", "lora")]
    assert _words(answers[5]) == {"b": "unhashed"}
    assert found[6:8] == [[], []]
    assert [answer.query for answer in answers[:2]] == ["ink", "ink"]


@pytest.mark.parametrize("text", ["e3b0c442", "0xE3B0C442", "e3b0c44298fc"])
def test_the_short_hash_of_every_small_file_is_named_instead_of_listing_them(
    store: Store, join: Callable[..., None], wire: ModuleType, live: Callable[..., Any], text: str
) -> None:
    join(store, "a")
    small = [wire.ready(f"{name}.safetensors", name) for name in "mn"]
    for entry in small:
        entry["digests"].update(autov1="e3b0c442", autov3="e3b0c44298fc")
    _sync(store, "a", wire.Agent().put(wire.root(), *small))
    with pytest.raises(InvalidValueError, match="many small files"):
        _where(store, text, live())
    with pytest.raises(NotFoundError, match="many small files"):
        _details(store, text, live())
    with store.read() as connection:
        answers = availability_of_many(connection, [text, wire.sha("m")], live(), now_ms=NOW)
    assert [len(answer.matches) for answer in answers] == [0, 1]
    named = wire.ready("e3b0c442.safetensors", "z"), wire.ready("e3b0c44298fc.safetensors", "z2")
    _sync(store, "a", wire.Agent().put(wire.root(), *small, *named))
    assert len(_where(store, text.lower().removeprefix("0x"), live()).matches) == 1, "a file may be called so"


# --- lists ----------------------------------------------------------------------------------------------


def test_a_list_has_the_mission_columns_and_a_cell_per_server(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    page = _list(store, live("b"))
    assert (page.success, page.count, page.total, page.limit) == (True, 2, 2, None)
    assert [(s.server_id, s.alias, s.reachable, s.has_inventory) for s in page.servers] == [
        ("a", "A", True, True),
        ("b", "B", False, True),
        ("c", "C", True, False),
    ]
    big = next(model for model in page.models if model.type == "checkpoint")
    assert (big.hash_sha256, big.hash_autov2) == (wire.sha("x"), wire.sha("x")[:10])
    assert (big.filename, big.has_preview, big.available_on) == ("Big Model.safetensors", False, 2)
    assert big.created_at == "1970-01-01 00:00:01"
    assert [(c.server_id, c.availability, c.stored, c.files) for c in big.cells] == [
        ("a", "available", "available", 2),
        ("b", "unreachable", "available", 1),
    ]


def test_search_finds_parts_of_names_and_paths_and_starts_of_hashes(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    big, anger = "Big Model.safetensors", "Ärger_100%"
    for text in (
        "big",
        "COPY",
        "sdxl/",
        "sdxl\\big",
        "model big",
        "big_model",
        "BIGMODEL",
        wire.sha("x")[:6],
        wire.sha("x").upper(),
        " big ",
    ):
        assert _names(store, live(), search=text) == [big], text
    for text in ("ärger", "A\u0308RGER", "100%", "r_1", "styles"):
        assert _names(store, live(), search=text) == [anger], text
    for text in ("0%0", "big%model", "big nothing", "no such"):
        assert _names(store, live(), search=text) == [], text


def test_filters_and_sorts(store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]) -> None:
    big, anger = "Big Model.safetensors", "Ärger_100%"
    assert _names(store, live(), kind="lora") == [anger]
    assert _names(store, live(), server="b") == [big, anger]
    assert _names(store, live(), server="c") == []
    assert _names(store, live(), state="everywhere") == [big]
    assert _names(store, live(), state="missing") == [anger]
    assert _names(store, live(), state="one_only") == [anger]
    assert _names(store, live(), state="unhashed") == [anger]
    assert _names(store, live(), state="unhashed", server="a") == []
    assert _names(store, live(), state="duplicates") == [big]
    assert _names(store, live(), state="duplicates", server="b") == []
    assert _names(store, live(), state="problem") == [anger]
    assert _names(store, live(), state="problem", server="a") == []
    assert _names(store, live(), base_model="SDXL") == []
    for sort in ("name", "size", "oldest", "-servers"):
        assert _names(store, live(), sort=sort) == [big, anger], sort
    for sort in ("-name", "newest", "servers"):
        assert _names(store, live(), sort=sort) == [anger, big], sort
    with store.read() as connection:
        assert filter_choices(connection).kinds == {"checkpoint": 1, "lora": 1}


def test_a_content_in_a_folder_of_another_kind_is_listed_under_both(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    library["b"].put(wire.ready("x as lora.safetensors", "x", root="r2", kind="lora"))
    _sync(store, "b", library["b"])
    assert len(_names(store, live(), kind="lora")) == 2
    assert _names(store, live(), kind="checkpoint") == ["Big Model.safetensors"]
    assert _details(store, wire.sha("x"), live()).kinds == ("checkpoint", "lora")


def test_a_claim_that_contradicts_the_content_is_a_problem(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    lie = [{"source": "sidecar", "digest": "sha256", "value": wire.sha("lie")}]
    library["a"].put(wire.ready("copy of big.safetensors", "x", claims=lie))
    _sync(store, "a", library["a"])
    assert "Big Model.safetensors" in _names(store, live(), state="problem", server="a")
    told = {(d.digest, d.source, d.contradicts) for d in _details(store, wire.sha("x"), live()).digests}
    assert ("sha256", "claim:sidecar", True) in told
    assert ("sha256", "computed", False) in told


def test_no_text_makes_an_answer_fail(store: Store, library: Any, live: Callable[..., Any]) -> None:
    for text in ("a\x00b", "\ud800", "'; DROP TABLE models; --", "\\%", "%_%%", "zq\n" * 150):
        for field in ("search", "base_model", "server"):
            with contextlib.suppress(InvalidValueError):
                assert _names(store, live(), **{field: text}) == []
        with contextlib.suppress(InvalidValueError):
            assert _where(store, text, live()).matches == ()
        with contextlib.suppress(InvalidValueError), store.read() as connection:
            assert list_unidentified(connection, search=text, kind=text, server=text, state=text).total == 0
    assert _list(store, live()).total == 2


def test_pages_show_every_model_once(
    store: Store, join: Callable[..., None], wire: ModuleType, live: Callable[..., Any]
) -> None:
    join(store, "a")
    files = [wire.ready(f"same name {i % 3}/{i}.safetensors", str(i)) for i in range(23)]
    _sync(store, "a", wire.Agent().put(wire.root(), *files))
    for sort in ("name", "-name", "size", "-size", "newest", "servers"):
        pages = [_list(store, live(), page=page, limit=10, sort=sort) for page in (1, 2, 3, 4)]
        assert [page.count for page in pages] == [10, 10, 3, 0]
        assert {page.total for page in pages} == {23}
        assert len({model.id for page in pages for model in page.models}) == 23
    for wrong in ({"limit": 0}, {"limit": 201}, {"page": 0, "limit": 5}, {"sort": "colour"}, {"kind": "x"}):
        with pytest.raises(InvalidValueError):
            _list(store, live(), **wrong)


def test_everything_that_is_no_model_yet_is_listed_with_its_state(store: Store, library: Any) -> None:
    with store.read() as connection:
        page = list_unidentified(connection)
        assert [(file.name, file.state, file.probably) for file in page.files] == [
            ("cut", "corrupt", "Ärger_100%"),
            ("hostile", "rejected", None),
            ("new one.safetensors", "unhashed", None),
            ("why", "unhashed", "Ärger_100%"),
        ]
        assert page.by_state == {"corrupt": 1, "rejected": 1, "unhashed": 2}
        assert page.files[1].reason is not None
        some = list_unidentified(connection, state="unhashed", limit=1, page=2)
        assert (some.total, [file.name for file in some.files]) == (2, ["why"])
        assert [f.name for f in list_unidentified(connection, kind="lora", search="WHY").files] == ["why"]
        assert list_unidentified(connection, server="a").total == 0
        with pytest.raises(InvalidValueError):
            list_unidentified(connection, limit=0)


# --- one model ------------------------------------------------------------------------------------------


def test_details_show_duplicates_and_what_they_waste(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    details = _details(store, wire.sha("x"), live())
    (duplicate,) = details.duplicates
    assert (duplicate.alias, duplicate.wasted_bytes) == ("A", 1_001)
    assert len(duplicate.paths) == 2
    assert details.wasted_bytes == 1_001
    assert details.aliases == (
        "Big Model.safetensors",
        "copy of big.safetensors",
        "SDXL/Big Model.safetensors",
    )
    assert {digest.source for digest in details.digests} == {"computed"}
    assert not details.lead
    assert details.metadata is None
    with pytest.raises(NotFoundError):
        _details(store, "0" * 64, live())


def test_a_link_is_a_name_of_the_file_and_wastes_nothing(
    store: Store, join: Callable[..., None], wire: ModuleType, live: Callable[..., Any]
) -> None:
    join(store, "a")
    linked = {**wire.ready("other name.safetensors", "x"), "link": True}
    agent = wire.Agent().put(wire.root(), wire.ready("m.safetensors", "x"), linked)
    _sync(store, "a", agent)
    details = _details(store, wire.sha("x"), live())
    assert [(len(d.paths), d.wasted_bytes) for d in details.duplicates] == [(2, 0)]
    assert _list(store, live(), state="duplicates").total == 0
    agent.put(wire.ready("other name.safetensors", "x"))
    _sync(store, "a", agent)
    assert _details(store, wire.sha("x"), live()).wasted_bytes > 0
    assert _list(store, live(), state="duplicates").total == 1


def test_what_no_server_has_any_more_is_in_the_list_only_when_asked_for(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    big, anger = "Big Model.safetensors", "Ärger_100%"
    _register(store, name="nobody had it yet", type="lora", hash_sha256=wire.sha("n"))
    path = ("r2", "styles/Ärger_100%.safetensors")
    _sync(store, "a", library["a"].remove(path), now_ms=3_000)
    assert anger in _names(store, live(), state="present")  # b may have it
    _sync(store, "b", library["b"].remove(("r2", "why.safetensors")), now_ms=4_000)
    assert _names(store, live(), state="present") == [big, "nobody had it yet"]
    assert _names(store, live(), state="gone") == [anger]
    assert _names(store, live(), state="missing") == ["nobody had it yet"]
    assert len(_names(store, live())) == 3
    with store.read() as connection:
        shown = models_page(connection, filters_of({}), live(), now_ms=NOW)
        chosen = models_page(connection, filters_of({"state": "gone"}), live(), now_ms=NOW)
        other = models_page(connection, filters_of({"search": "big"}), live(), now_ms=NOW)
        none = models_page(connection, filters_of({"search": "Ärger"}), live(), now_ms=NOW)
        at_a_glance = first_line(connection, Presence(), Viewer("admin", "page"))
    assert (shown.total, shown.gone, len(shown.rows), at_a_glance.models) == (2, 1, 2, 2)
    assert ([row.name for row in chosen.rows], chosen.gone) == ([anger], 0)
    assert (other.total, other.gone, none.total, none.gone) == (1, 0, 0, 1)
    assert "on no server any more" in str(views.models(none))
    _sync(store, "a", library["a"].put(wire.ready(path[1], "y", root="r2", kind="lora")), now_ms=5_000)
    assert _names(store, live(), state="gone") == []
    with store.write() as connection:
        for server in ("b", "a"):
            delete_server(connection, server, actor="page", now_ms=6_000)
    assert _names(store, live(), state="present") == ["nobody had it yet"]
    assert _names(store, live(), state="gone") == ["SDXL/" + big, anger]


def test_forgetting_a_server_takes_its_rows_and_leaves_the_models(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    with store.write() as connection:
        connection.execute(servers.delete().where(servers.c.server_id == "a"))
    assert _words(_where(store, wire.sha("x"), live())) == {"b": "available", "c": "unknown"}
    assert _list(store, live()).total == 2


# --- registration ---------------------------------------------------------------------------------------


def test_a_full_sha256_creates_a_model_and_connects_claims(
    store: Store, join: Callable[..., None], wire: ModuleType, live: Callable[..., Any]
) -> None:
    join(store, "a")
    _sync(store, "a", wire.Agent().put(wire.root(), wire.unhashed("m", ("autov2", wire.sha("z")[:10]))))
    made = _register(store, name="Zed", type="checkpoint", hash_sha256=f"0x{wire.sha('z').upper()}")
    assert (made.created, made.lead) == (True, False)
    assert _words(_where(store, wire.sha("z"), live())) == {"a": "unhashed"}
    again = _register(store, name="Other", type="checkpoint", hash_sha256=wire.sha("z"), base_model="SDXL")
    assert again == Registered(made.id, False, False)
    details = _details(store, str(made.id), live())
    assert (details.model.name, details.model.base_model, details.aliases) == (
        "Zed",
        "SDXL",
        ("Other", "Zed"),
    )
    assert {digest.source for digest in details.digests} == {"registered", "claim:sidecar"}
    assert _names(store, live(), base_model="SDXL") == ["Zed"]


def test_a_lead_is_found_available_nowhere_and_merged_only_by_its_full_sha256(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    short = wire.sha("x")[:10]
    lead = _register(store, name="Wanted", type="checkpoint", hash_autov2=short)
    assert lead.lead
    assert _register(store, name="WANTED", type="checkpoint", hash_autov2=short).id == lead.id
    (found,) = _where(store, "wanted", live()).matches
    assert (found.id, found.hash_sha256) == (lead.id, None)
    assert {server.availability for server in found.servers} <= {"unknown"}
    assert _where(store, short, live()).ambiguous, "ten digits are no proof that both are one"
    merged = _register(store, name="Wanted", type="checkpoint", hash_sha256=wire.sha("x"))
    assert not merged.created
    assert not _where(store, short, live()).ambiguous
    assert _where(store, "wanted", live()).matches[0].hash_sha256 == wire.sha("x")
    fresh = _register(store, name="Later", type="lora", hash_autov2=wire.sha("later")[:10])
    grown = _register(store, name="Later", type="lora", hash_sha256=wire.sha("later"))
    assert (grown.id, grown.created, grown.lead) == (fresh.id, False, False)


@pytest.mark.parametrize(
    "change",
    [
        {"hash_sha256": "0" * 63},
        {"hash_sha256": "z" * 64},
        {"hash_sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"hash_autov2": "0" * 10},
        {"hash_autov1": "0" * 10},
        {"hash_sha256": None},
        {"name": ""},
        {"name": "a\x00b"},
        {"name": "x" * 501},
        {"type": "other"},
        {"size": -1},
        {"base_model": "x" * 101},
        {"civitai_id": "1\n2"},
    ],
)
def test_a_registration_of_wrong_form_is_refused(
    store: Store, wire: ModuleType, change: dict[str, Any]
) -> None:
    with pytest.raises(InvalidValueError):
        _register(store, **{"name": "n", "type": "lora", "hash_sha256": wire.sha("n"), **change})


def test_a_registration_that_contradicts_what_is_known_changes_nothing(
    store: Store, library: Any, wire: ModuleType
) -> None:
    with pytest.raises(ConflictError, match="hash_blake3"):
        _register(store, name="n", type="lora", hash_sha256=wire.sha("x"), hash_blake3="0" * 64)
    with store.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(models)) == 2


# --- metadata -------------------------------------------------------------------------------------------


def test_metadata_is_taken_once_from_a_server_that_has_the_file(
    store: Store, library: Any, wire: ModuleType, live: Callable[..., Any]
) -> None:
    def put(server: str, fields: dict[str, str], content: str = "y") -> bool:
        with store.write() as connection:
            return store_metadata(connection, wire.sha(content), fields, server_id=server, now_ms=3_000)

    with store.read() as connection:
        assert want_metadata(connection, "a") == [wire.sha("x"), wire.sha("y")]
        assert want_metadata(connection, "c") == []
    for server, content in (("b", "y"), ("c", "x"), ("a", "unknown")):
        with pytest.raises(ForbiddenError):
            put(server, {"ss_network_dim": "8"}, content)
    fields = {"ss_base_model_version": "sdxl_base_v1-0", "ss_network_dim": "8", "private note": "my prompt"}
    assert put("a", fields)
    assert not put("a", {"ss_network_dim": "16"})
    details = _details(store, wire.sha("y"), live())
    assert details.metadata == {name: fields[name] for name in ("ss_base_model_version", "ss_network_dim")}
    assert details.model.base_model == "SDXL"
    assert put("b", {}, "x")
    assert _details(store, wire.sha("x"), live()).metadata == {}
    with store.read() as connection:
        assert want_metadata(connection, "a") == []


# --- history --------------------------------------------------------------------------------------------


def test_events_come_in_order_after_an_id_with_the_names_of_today(
    store: Store, library: Any, wire: ModuleType
) -> None:
    with store.read() as connection:
        every = events.list_events(connection)
        assert [event.id for event in every] == sorted(event.id for event in every)
        first = every[0]
        assert (first.action, first.alias, first.details["to"]) == ("availability_changed", "A", "available")
        assert first.model in ("Big Model.safetensors", "Ärger_100%")
        assert events.list_events(connection, after_id=first.id, limit=1) == [every[1]]
        assert events.list_events(connection, newest_first=True, limit=1) == [every[-1]]
        assert {event.alias for event in events.list_events(connection, server_id="b")} == {"B"}
