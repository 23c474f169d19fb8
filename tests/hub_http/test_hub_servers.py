"""Joining, aliases, renaming, forgetting, and the code of "Add another computer"."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

ON_BOTH_DATABASES = True


def aliases(hub: Any) -> list[str]:
    return [server["alias"] for server in hub.request("GET", "/api/v1/servers", key=hub.admin).json()]


def test_the_same_server_may_repeat_its_join(hub: Any) -> None:
    box = hub.join("attic")
    again = hub.joined(box)
    assert (again.status_code, again.json()["alias"]) == (200, "attic")
    assert aliases(hub) == ["attic"]
    assert again.json()["hub_id"] == hub.request("GET", "/healthz").json()["hub_id"]


def test_a_taken_alias_gets_a_number_whatever_its_case_and_form(hub: Any) -> None:
    given = [
        hub.joined(hub_server(alias)).json()["alias"]
        for alias in ("Café", "cafe\u0301", "CAFÉ ", "Straße", "STRASSE")
    ]
    assert given == ["Café", "café-2", "CAFÉ-3", "Straße", "STRASSE-2"]


def hub_server(alias: str) -> Any:
    class Fresh:
        server_id, secret = secrets.token_hex(16), secrets.token_hex(32)

    Fresh.alias = alias  # type: ignore[attr-defined]
    return Fresh


@pytest.mark.parametrize("alias", ["", "   ", "x" * 65, "two\nlines", "notifier\x07", "\u202ereversed"])
def test_an_alias_that_cannot_be_shown_is_refused(hub: Any, alias: str) -> None:
    assert hub.joined(hub_server(alias)).status_code == 400
    box = hub.join("fine")
    renamed = hub.request("PATCH", f"/api/v1/servers/{box.server_id}", key=hub.admin, json={"alias": alias})
    assert renamed.status_code == 400


def test_a_join_key_cannot_take_over_the_identity_of_a_server(hub: Any) -> None:
    box = hub.join("attic")
    thief = hub_server("thief")
    thief.server_id = box.server_id
    answer = hub.joined(thief, key=hub.make_key("join"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    assert hub.beat(box, "b", 1).status_code == 200


def test_a_server_id_cannot_take_the_id_of_another_kind_of_key(hub: Any) -> None:
    thief = hub_server("thief")
    thief.server_id = hub.admin.split("_")[1]
    thief.secret = hub.admin.split("_")[2]  # even for its owner: forgetting the server would delete the key
    assert hub.joined(thief, key=hub.make_key("join")).status_code == 409
    assert hub.request("GET", "/api/v1/keys", key=hub.admin).status_code == 200
    assert aliases(hub) == []


def test_a_join_key_serves_any_number_of_servers_until_it_is_revoked(hub: Any) -> None:
    key = hub.make_key("join")
    hub.join("one", key=key)
    hub.join("two", key=key)
    hub.request("DELETE", f"/api/v1/keys/{key.split('_')[1]}", key=hub.admin)
    assert hub.joined(hub_server("three"), key=key).status_code == 401


def test_a_code_of_add_another_computer_serves_one_server_for_one_hour(hub: Any) -> None:
    made = hub.request("POST", "/api/v1/keys/join-code", key=hub.admin)
    code = made.json()["key"]
    assert made.json()["expires_ms"] == hub.clock.now_ms() + 3_600_000
    first = hub.join("one", key=code)
    assert hub.joined(first, key=code).status_code == 200
    second = hub.joined(hub_server("two"), key=code)
    assert second.status_code == 403
    assert "used" in second.json()["error"]["message"]
    assert aliases(hub) == ["one"]
    hub.clock.advance(3601)
    assert hub.joined(first, key=code).status_code == 401


def test_renaming_answers_the_new_alias_and_refuses_a_taken_one(hub: Any) -> None:
    one, two = hub.join("one"), hub.join("two")
    path = f"/api/v1/servers/{two.server_id}"
    taken = hub.request("PATCH", path, key=hub.admin, json={"alias": "ONE"})
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "alias_taken")
    assert hub.request("PATCH", path, key=hub.admin, json={"alias": " Two "}).json()["alias"] == "Two"
    assert aliases(hub) == ["one", "Two"]
    unknown = hub.request("PATCH", "/api/v1/servers/nobody", key=hub.admin, json={"alias": "x"})
    assert unknown.status_code == 404
    assert one.alias == "one"


def test_a_forgotten_server_is_gone_with_its_rows_and_its_key(hub: Any, inventory: Any) -> None:
    box, other = hub.join("box"), hub.join("other")
    hub.sync(box, inventory(["a", "b"]))
    hub.sync(other, inventory(["a"]))
    assert hub.request("DELETE", f"/api/v1/servers/{box.server_id}", key=hub.admin).status_code == 204
    assert aliases(hub) == ["other"]
    assert hub.beat(box, "b", 1).status_code == 401
    assert hub.sync(box, inventory(["a"])).status_code == 401
    with hub.hub.store.read() as connection:
        for table in ("server_files", "server_roots", "model_server_availability", "keys"):
            count = connection.exec_driver_sql(
                f"SELECT count(*) FROM {table} WHERE server_id = '{box.server_id}'"
            ).scalar()
            assert count == 0, table
    assert hub.request("DELETE", f"/api/v1/servers/{box.server_id}", key=hub.admin).status_code == 404
    hub.clock.advance(1)
    assert hub.joined(box).status_code == 200  # it may come back with a join key


def test_the_history_tells_who_did_what_to_servers(hub: Any) -> None:
    box = hub.join("box")
    hub.request("PATCH", f"/api/v1/servers/{box.server_id}", key=hub.admin, json={"alias": "crate"})
    hub.request("DELETE", f"/api/v1/servers/{box.server_id}", key=hub.admin)
    events = hub.request("GET", "/api/v1/events?limit=1000", key=hub.admin).json()["events"]
    told = [(e["action"], e["actor"]) for e in events if e["server_id"] == box.server_id]
    admin = f"key:{hub.admin.split('_')[1]}"
    assert told == [("server_joined", admin), ("server_renamed", admin), ("server_forgotten", admin)]


def test_a_used_up_join_code_is_no_key_any_more_in_any_list(hub: Any, database: str | None) -> None:
    from stablequeue_hub.access import keys_command

    def shown() -> list[str]:
        api = hub.request("GET", "/api/v1/keys", key=hub.admin).json()["keys"]
        command = keys_command.list_all(hub.hub.settings.data_dir, database)["keys"]
        page = hub.request("GET", "/views/keys", key=hub.admin).text
        ids = [key["key_id"] for key in api]
        assert ids == [key["key_id"] for key in command]
        assert all(f"sq-key-{key_id}" in page for key_id in ids)
        assert page.count('id="sq-key-') == len(ids)
        return ids

    code = hub.request("POST", "/api/v1/keys/join-code", key=hub.admin).json()["key"]
    many = hub.make_key("join")
    assert code.split("_")[1] in shown()
    server = hub.join("attic", key=code)
    hub.join("studio", key=many)
    assert code.split("_")[1] not in shown()
    assert many.split("_")[1] in shown(), "a join key serves any number of servers"
    assert hub.joined(server, key=code).status_code == 200, "a lost answer is repeated with it all the same"


@pytest.mark.parametrize("way", ["api", "alias", "page"])
def test_a_forgotten_server_is_forgotten_in_every_part_of_the_hub(hub: Any, hosts: Any, way: str) -> None:
    """By whichever button: its rows, its key, its contact, its runner, and what only it made doubtful."""
    ink = ("lora", "ink.safetensors", "one")
    attic, studio = hosts.add("attic", ink), hosts.add("studio", ("lora", "ink.safetensors", "two"))
    body = {"payload": {"prompt": "<lora:ink:1>"}}
    made = hub.request("POST", "/api/v1/jobs", key=hub.admin, json=body).json()
    assert made["check"]["requirements"][0]["status"] == "ambiguous"
    assert (attic.next(), studio.next()) == (None, None)
    gone = studio.server.server_id
    assert hub.hub.dispatcher.runner_status(gone).polling
    change = hub.hub.notifier.next_change()
    method, path = {
        "api": ("DELETE", f"/api/v1/servers/{gone}"),
        "alias": ("DELETE", "/api/v1/servers/STUDIO"),
        "page": ("POST", f"/views/servers/{gone}/forget"),
    }[way]
    assert hub.request(method, path, key=hub.admin).status_code == (200 if way == "page" else 204)
    assert aliases(hub) == ["attic"]
    assert not hub.hub.dispatcher.runner_status(gone).polling
    assert hub.hub.presence.find(gone) is None
    assert hub.beat(studio.server, "boot", 9).status_code == 401
    assert change.is_set()
    job = attic.next()
    assert (job["job_id"], job["files"][0]["path"]) == (made["job_id"], "ink.safetensors")
    assert hub.request(method, path, key=hub.admin).status_code == 404
