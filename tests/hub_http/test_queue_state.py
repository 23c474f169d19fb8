"""The queue is paused as a whole or for one server, by who may, and says so."""

from __future__ import annotations

from typing import Any

ON_BOTH_DATABASES = True


def ask(hub: Any, method: str, path: str, key: str | None = None) -> Any:
    return hub.request(method, f"/api/v1/queue{path}", key=key or hub.admin)


def paused(answer: Any) -> tuple[bool, dict[str, bool]]:
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return found["paused"], {server["alias"]: server["paused"] for server in found["servers"]}


def actions(hub: Any) -> list[tuple[str, str, str | None]]:
    events = hub.request("GET", "/api/v1/events?limit=1000", key=hub.admin).json()["events"]
    return [(e["action"], e["actor"], e["alias"]) for e in events if e["action"].startswith("queue")]


def test_the_jobs_in_each_state_are_counted(hub: Any) -> None:
    body = {"payload": {"prompt": "x"}, "count": 3}
    ids = hub.request("POST", "/api/v1/jobs", key=hub.admin, json=body).json()["job_ids"]
    hub.request("POST", f"/api/v1/jobs/{ids[0]}/cancel", key=hub.admin)
    counted = ask(hub, "GET", "").json()["jobs"]
    assert counted == {"pending": 2, "processing": 0, "completed": 0, "failed": 0, "cancelled": 1}


def test_an_admin_pauses_the_whole_queue_and_one_server_and_each_change_is_told_once(hub: Any) -> None:
    a = hub.join("forge-a")
    hub.join("forge-b")
    assert paused(ask(hub, "GET", "")) == (False, {"forge-a": False, "forge-b": False})
    for _ in range(2):
        assert paused(ask(hub, "POST", "/pause")) == (True, {"forge-a": False, "forge-b": False})
    assert paused(ask(hub, "POST", f"/servers/{a.server_id}/pause"))[1] == {"forge-a": True, "forge-b": False}
    assert paused(ask(hub, "POST", "/resume")) == (False, {"forge-a": True, "forge-b": False})
    assert paused(ask(hub, "GET", "")) == (False, {"forge-a": True, "forge-b": False})
    admin = f"key:{hub.admin.split('_')[1]}"
    assert actions(hub) == [
        ("queue_paused", admin, None),
        ("queue_paused", admin, "forge-a"),
        ("queue_resumed", admin, None),
    ]


def test_a_server_pauses_itself_and_no_other_and_not_the_queue(hub: Any) -> None:
    a, b = hub.join("forge-a"), hub.join("forge-b")
    assert paused(ask(hub, "POST", f"/servers/{a.server_id}/pause", a.key))[1]["forge-a"] is True
    for path in (f"/servers/{b.server_id}/pause", "/pause", "/resume"):
        assert ask(hub, "POST", path, a.key).status_code == 403
    assert paused(ask(hub, "POST", f"/servers/{a.server_id}/resume", a.key))[1] == {
        "forge-a": False,
        "forge-b": False,
    }
    assert [action[1:] for action in actions(hub)] == [(f"server:{a.server_id}", "forge-a")] * 2


def test_a_server_that_nobody_knows_is_named_an_error(hub: Any) -> None:
    assert ask(hub, "POST", "/servers/none/pause").status_code == 404
    assert ask(hub, "GET", "", hub.make_key("view")).status_code == 200
    assert ask(hub, "POST", "/pause", hub.make_key("jobs")).status_code == 403


def test_everybody_who_waits_for_jobs_hears_of_a_pause(hub: Any) -> None:
    change = hub.hub.notifier.next_change()
    ask(hub, "POST", "/pause")
    assert change.is_set()
