"""The hub's views as typed values: what the client takes, and what it refuses."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from stablequeue_client.hub_client.api import VIEW_MAX_BYTES, HubApi
from stablequeue_client.shared.errors import ForbiddenError, HubUnreachableError, NotAHubError
from stablequeue_client.shared.views import values as v

from .real_hub import RealHub
from .scripted_hub import Asked, Say, ScriptedHub, say_error, say_json

KEY = "sq_0123456789abcdef_" + "5" * 64
LINE = {"models": 3, "servers": 2, "connected": 1}


def test_views_of_a_real_hub_come_back_typed_and_304_as_nothing(real_hub: RealHub) -> None:
    hub = real_hub.admin()
    line = hub.view("first-line")
    assert isinstance(line, v.FirstLine)
    assert hub.last_etag is not None
    assert hub.view("first-line", etag=hub.last_etag) is None
    page = hub.view("models", query={"search": "ink", "kind": "lora"})
    assert isinstance(page, v.ModelsPage)
    assert (page.filters.search, page.filters.kind) == ("ink", "lora")
    assert isinstance(hub.view("servers"), v.ServersPage)


def test_the_address_holds_name_id_and_query_and_asks_for_json() -> None:
    details = {"model_id": "ab" * 32, "name": "ink", "kind": "lora", "digests": [], "places": []}
    with ScriptedHub(lambda asked: say_json(details, ETag='"1"')) as hub:
        api = HubApi(hub.url, KEY)
        found = api.view("model", "../a b", {"page": "2"}, etag='"0"')
    assert isinstance(found, v.ModelDetails)
    assert found.model_id == "ab" * 32
    assert api.last_etag == '"1"'
    (asked,) = hub.asked
    assert asked.path == "/views/model/..%2Fa%20b?page=2"
    assert asked.headers["Accept"] == "application/json"
    assert asked.headers["If-None-Match"] == '"0"'


def test_fields_of_a_newer_hub_are_left_out() -> None:
    with ScriptedHub(lambda asked: say_json({**LINE, "queue": {"waiting": [1, 2]}})) as hub:
        assert HubApi(hub.url, KEY).view("first-line") == v.FirstLine(models=3, servers=2, connected=1)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>a hotel</html>",
        b"",
        b"null",
        b"[]",
        b'{"models": "many"}',
        b'{"models": 1e999}',
        b'{"problem": "\xff"}',
        b'{"x": ' + b"[" * 200_000,
        b'{"hub": "moved"}',
    ],
    ids=lambda body: body[:20],
)
def test_what_is_no_such_value_is_named_as_no_hub(body: bytes) -> None:
    with ScriptedHub(lambda asked: Say(200, body)) as hub, pytest.raises(NotAHubError):
        HubApi(hub.url, KEY).view("first-line")


def test_304_that_was_not_asked_for_and_a_redirect_are_refused() -> None:
    with ScriptedHub(lambda asked: Say(304, b"")) as hub, pytest.raises(NotAHubError):
        HubApi(hub.url, KEY).view("first-line")
    away = Say(302, b"", {"Location": "http://elsewhere/"})
    with ScriptedHub(lambda asked: away) as hub, pytest.raises(NotAHubError, match="sends on"):
        HubApi(hub.url, KEY).view("first-line")


@pytest.mark.parametrize("zipped", [False, True])
def test_an_answer_too_large_for_a_view_is_not_read_to_its_end(zipped: bool) -> None:
    body = b" " * (VIEW_MAX_BYTES + 1) + b"{}"
    headers = {"Content-Type": "application/json"}
    if zipped:
        body, headers = gzip.compress(body), {**headers, "Content-Encoding": "gzip"}

    def answer(asked: Asked) -> Say:
        return Say(200, body, headers)

    with ScriptedHub(answer) as hub, pytest.raises(HubUnreachableError, match="larger than 8 MiB"):
        HubApi(hub.url, KEY).view("first-line")


def test_the_hubs_own_errors_come_back_as_their_class(tmp_path: Path) -> None:
    with ScriptedHub(lambda asked: say_error("forbidden", 403)) as hub, pytest.raises(ForbiddenError):
        HubApi(hub.url, KEY).view("servers")
