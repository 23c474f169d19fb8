"""The views' values as JSON: what a WebUI's tab shows of the hub, read back by the client's own types."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stablequeue_client.shared.views import job_values as jv
from stablequeue_client.shared.views import job_views, views
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views.view_types import VIEW_TYPES

AS_VALUE = {"Accept": "application/json"}
RENDERED = {
    "first-line": views.first_line,
    "models": views.models,
    "model": views.model,
    "servers": views.servers,
    "queue": job_views.queue,
    "job": job_views.job,
    "new": job_views.new_job,
    "pick": job_views.pick_list,
}


@pytest.fixture
def synced(hub: Any, inventory: Any) -> Any:
    """A server with two LoRAs."""
    server = hub.join("attic")
    hub.beat(server, "boot", 1)
    hub.sync(server, inventory(["ink", "oil <b>"])).raise_for_status()
    return server


def ask(hub: Any, path: str, key: str, **headers: str) -> Any:
    return hub.request("GET", f"/views/{path}", key=key, headers={**AS_VALUE, **headers})


def path_of(hub: Any, view: str) -> str:
    """The address of a view below /views/; of one job a job that is there."""
    if view == "job":
        body = {"payload": {"prompt": "a <b> <lora:ink:1>"}}
        made = hub.request("POST", "/api/v1/jobs", key=hub.admin, json=body)
        return f"job/{made.json()['job_id']}"
    return "model/1" if view == "model" else view


@pytest.mark.parametrize("view", VIEW_TYPES)
def test_a_value_renders_to_the_very_fragment_that_the_page_shows(hub: Any, synced: Any, view: str) -> None:
    path = path_of(hub, view)
    answer = ask(hub, path, hub.admin)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    value = msgspec.json.decode(answer.content, type=VIEW_TYPES[view])
    page = hub.request("GET", f"/views/{path}", key=hub.admin)
    assert page.headers["content-type"].startswith("text/html")
    assert RENDERED[view](value) == page.text


def test_filters_choose_for_the_value_as_for_the_page(hub: Any, synced: Any) -> None:
    page = msgspec.json.decode(ask(hub, "models?search=ink", hub.admin).content, type=v.ModelsPage)
    assert [row.name for row in page.rows] == ["ink"]
    assert page.filters.search == "ink"


def test_an_unchanged_value_is_304_and_fragment_and_value_have_different_etags(hub: Any, synced: Any) -> None:
    first = ask(hub, "models", hub.admin)
    again = ask(hub, "models", hub.admin, **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    fragment = hub.request("GET", "/views/models", key=hub.admin)
    assert fragment.headers["etag"] != first.headers["etag"]
    assert first.headers["vary"] == fragment.headers["vary"] == "Accept"
    hub.join("studio")
    changed = ask(hub, "models", hub.admin, **{"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200


def test_a_servers_own_key_looks_and_may_change_its_own_jobs_alone(hub: Any, synced: Any) -> None:
    for view in VIEW_TYPES:
        path = path_of(hub, view)
        assert ask(hub, path, synced.key).status_code == 200
    servers = msgspec.json.decode(ask(hub, "servers", synced.key).content, type=v.ServersPage)
    assert [card.alias for card in servers.servers] == ["attic"]
    assert servers.may_change is False
    assert msgspec.json.decode(ask(hub, "servers", hub.admin).content, type=v.ServersPage).may_change is True
    post = hub.request(
        "POST",
        f"/views/servers/{synced.server_id}/orders",
        key=synced.key,
        data={"kind": "rescan"},
    )
    assert post.status_code == 403
    payload = {"payload": {"prompt": "a fox"}}
    own = hub.request("POST", "/api/v1/jobs", key=synced.key, json=payload).json()["job_id"]
    hub.join("studio")
    queue = msgspec.json.decode(ask(hub, "queue", synced.key).content, type=jv.QueuePage)
    assert len(queue.rows) > 1
    assert [row.job_id for row in queue.rows if row.may_change] == [own]
    assert [server.alias for server in queue.servers if server.may_change] == ["attic"]
    assert (queue.may_submit, queue.may_pause) == (True, False)


def test_the_first_line_counts_the_jobs_that_wait_for_who_looks(hub: Any, synced: Any) -> None:
    body = {"payload": {"prompt": "a fox <lora:nowhere:1>"}, "count": 3}
    own = hub.request("POST", "/api/v1/jobs", key=synced.key, json=body).json()["job_id"]
    hub.request("POST", "/api/v1/jobs", key=hub.admin, json=body).raise_for_status()
    plain = {"payload": {"prompt": "a fox"}}
    hub.request("POST", "/api/v1/jobs", key=synced.key, json=plain).raise_for_status()
    lines = [
        msgspec.json.decode(ask(hub, "first-line", key).content, type=v.FirstLine)
        for key in (synced.key, hub.admin, hub.make_key("view"))
    ]
    assert [line.queue_needs for line in lines] == [3, 6, 0]
    assert {line.queued for line in lines} == {7}
    said = {"requirement": 0, "decision": "not_a_model"}
    hub.request("POST", f"/api/v1/jobs/{own}/decisions", key=synced.key, json=said).raise_for_status()
    line = msgspec.json.decode(ask(hub, "first-line", synced.key).content, type=v.FirstLine)
    assert line.queue_needs == 0


@pytest.mark.parametrize("view", ["keys", "join", "nothing"])
def test_what_only_owners_see_has_no_value(hub: Any, view: str) -> None:
    answer = ask(hub, view, hub.admin)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_a_failure_is_an_error_of_the_api_and_needs_a_key_like_the_page(hub: Any) -> None:
    assert ask(hub, "model/12345", hub.admin).json()["error"]["code"] == "not_found"
    assert hub.request("GET", "/views/models", headers=AS_VALUE).status_code == 401
    assert ask(hub, "models", hub.make_key("join")).status_code == 403


def test_a_browser_that_accepts_json_after_html_gets_the_page(hub: Any) -> None:
    accepts = {"Accept": "text/html,application/json;q=0.9"}
    answer = hub.request("GET", "/views/models", key=hub.admin, headers=accepts)
    assert answer.headers["content-type"].startswith("text/html")
