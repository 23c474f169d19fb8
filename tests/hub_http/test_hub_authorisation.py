"""Who may do what: every route with every scope, every form of a key, sessions, codes and wrong attempts."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from fastapi.routing import APIRoute

from stablequeue_hub.app import ROUTERS
from stablequeue_hub.background.tasks import refresh_keys
from stablequeue_hub.http.authorisation import SCOPES_OF, Access
from stablequeue_hub.http.openapi import access_of
from stablequeue_hub.page.sample import SAMPLE_MARKER

PUBLIC = {
    ("GET", "/healthz"),
    ("GET", "/status"),  # for old clients: that it is there, as /healthz
    ("GET", "/login"),
    ("POST", "/login"),
    ("POST", "/logout"),
    ("GET", "/static/{name}"),
    ("GET", "/"),  # without a session it only leads to /login
    ("GET", "/queue"),  # these three only lead to "/"
    ("GET", "/jobs/{job_id}"),
    ("GET", "/new"),
}
SCOPES = ("admin", "jobs", "view", "join", "server")


def routes() -> list[tuple[str, str, Access | None]]:
    found = []
    for module in ROUTERS:
        for route in module.router.routes:
            assert isinstance(route, APIRoute)
            found += [(method, route.path, access_of(route)) for method in sorted(route.methods)]
    return found


def path_of(template: str, server_id: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda m: server_id if m[1] == "server_id" else "0" * 12, template)


def test_the_list_of_routes_is_that_of_the_application(hub: Any) -> None:
    """Nothing answers that the matrix below does not know."""
    known = {path for _, path, _ in routes()}
    for path in ("/docs", "/openapi.json", "/redoc", "/status", "/api/v1/servers", "/metrics"):
        answer = hub.request("GET", path)
        expected = 200 if ("GET", path) in PUBLIC else 401 if path in known else 404
        assert answer.status_code == expected


def test_every_route_names_its_access_and_only_the_known_ones_are_public() -> None:
    assert all(access is not None for _, _, access in routes())
    assert {(method, path) for method, path, access in routes() if access == "public"} == PUBLIC


@pytest.mark.parametrize(("method", "template", "access"), routes())
def test_a_route_lets_in_exactly_its_scopes(hub: Any, method: str, template: str, access: Access) -> None:
    if access == "public":
        return
    me, other = hub.join("me"), hub.join("other")
    keys = {scope: hub.make_key(scope) for scope in SCOPES if scope != "server"} | {"server": me.key}
    path = path_of(template, me.server_id)
    nobody = hub.request(method, path)
    assert nobody.status_code == 401
    error = nobody.json()["error"]
    # The old contract has a sentence there.
    assert error == "API key and secret are required" or error["code"] == "authentication_required"
    for scope, key in keys.items():
        status = hub.request(method, path, key=key, content=b"?").status_code
        if scope in SCOPES_OF[access]:
            assert status not in (401, 403), (scope, status)
            assert status < 500
        else:
            assert status == 403, (scope, status)
        hub.joined(me)  # the route may have been the one that forgets it
    if "{server_id}" in template:
        stranger = hub.request(method, path, key=other.key, content=b"?")
        assert stranger.status_code == (200 if access in ("read", "old_read") else 403)


@pytest.mark.parametrize(("method", "template", "access"), routes())
def test_no_route_answers_a_wrong_or_revoked_key(
    hub: Any, method: str, template: str, access: Access
) -> None:
    if access == "public":
        return
    revoked = hub.make_key("admin")
    key_id = revoked.split("_")[1]
    assert hub.request("DELETE", f"/api/v1/keys/{key_id}", key=hub.admin).status_code == 204
    path = path_of(template, "0" * 32)
    for key in (revoked, hub.admin[:-1] + "x", hub.admin[:-2], "sq_nobody_" + "0" * 64, "x"):
        assert hub.request(method, path, key=key).status_code == 401


def test_a_key_is_accepted_in_its_three_forms(hub: Any) -> None:
    _, key_id, secret = hub.admin.split("_")
    pair = base64.b64encode(f"{key_id}:{secret}".encode()).decode()
    for headers in (
        {"Authorization": f"Bearer {hub.admin}"},
        {"Authorization": f"bearer {pair}"},
        {"X-API-Key": key_id, "X-API-Secret": secret},
        {"X-API-Key": f"sq_{key_id}", "X-API-Secret": secret},
    ):
        assert hub.request("GET", "/api/v1/keys", headers=headers).status_code == 200, headers
    for headers in (
        {"Authorization": f"Basic {pair}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer \xff".encode("latin-1")},
        {"X-API-Key": key_id, "X-API-Secret": secret[:-1] + "z"},
        {"X-API-Key": key_id},
        {},
    ):
        assert hub.request("GET", "/api/v1/keys", headers=headers).status_code == 401, headers


def test_a_key_revoked_by_another_process_stops_within_five_seconds(hub: Any) -> None:
    from stablequeue_hub.access.keys_command import revoke

    key = hub.make_key("view")
    assert hub.request("GET", "/api/v1/servers", key=key).status_code == 200
    revoke(hub.hub.settings.data_dir, None, key.split("_")[1])
    hub.clock.advance(5)
    assert hub.request("GET", "/api/v1/servers", key=key).status_code == 401


def test_an_expired_key_is_refused(hub: Any) -> None:
    key = hub.make_key("view", expires_ms=hub.clock.now_ms() + 1000)
    assert hub.request("GET", "/api/v1/servers", key=key).status_code == 200
    hub.clock.advance(1.5)
    assert hub.request("GET", "/api/v1/servers", key=key).status_code == 401


def test_a_keys_secret_is_shown_once_and_stored_as_a_hash_only(hub: Any) -> None:
    made = hub.request(
        "POST", "/api/v1/keys", key=hub.admin, json={"scope": "view", "name": "for the phone"}
    ).json()
    secret = made["key"].split("_")[2]
    assert len(secret) == 64
    listed = hub.request("GET", "/api/v1/keys", key=hub.admin)
    assert made["key_id"] in listed.text
    assert secret not in listed.text
    hub.run(hub.hub.flush())
    for path in hub.hub.settings.data_dir.glob("hub.sqlite*"):
        assert secret.encode() not in path.read_bytes(), path


def test_the_last_use_of_a_key_is_written_later(hub: Any) -> None:
    hub.request("GET", "/api/v1/keys", key=hub.admin)
    hub.run(hub.hub.flush())
    listed = hub.request("GET", "/api/v1/keys", key=hub.admin).json()["keys"]
    assert [key["last_used_ms"] for key in listed] == [hub.clock.now_ms()]


# --- attempts -------------------------------------------------------------------------------------------


def test_wrong_keys_make_an_address_wait_but_not_good_keys_and_not_other_addresses(hub: Any) -> None:
    bad, here, there = "sq_nobody_" + "0" * 64, ("10.0.0.9", 1), ("10.0.0.10", 1)
    assert hub.request("GET", "/api/v1/servers", key=hub.admin, client=here).status_code == 200
    statuses = [hub.request("GET", "/api/v1/servers", key=bad, client=here).status_code for _ in range(20)]
    assert statuses[:10] == [401] * 10
    assert set(statuses[10:]) == {429}
    refused = hub.request("GET", "/api/v1/servers", key=bad, client=here)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["code"] == "too_many_attempts"
    assert hub.request("GET", "/api/v1/servers", key=bad, client=there).status_code == 401
    assert hub.request("GET", "/api/v1/servers", key=hub.admin, client=here).status_code == 200
    hub.clock.advance(700)
    assert hub.request("GET", "/api/v1/servers", key=bad, client=here).status_code == 401


def test_a_neighbours_wrong_keys_shut_out_no_good_key_or_code_that_was_never_used(hub: Any) -> None:
    """Behind a reverse proxy all share one address; a hub just started has seen no key yet."""
    new, code = (
        hub.make_key("view"),
        hub.request("POST", "/api/v1/session-codes", key=hub.admin).json()["code"],
    )
    for _ in range(12):
        last = hub.request("GET", "/api/v1/servers", key="sq_nobody_" + "0" * 64).status_code
    assert last == 429
    hub.run(refresh_keys(hub.hub))
    assert hub.request("GET", "/api/v1/servers", key=new).status_code == 200
    assert hub.request("GET", f"/login?code={code}").status_code == 303
    assert hub.request("GET", f"/login?code={code}").status_code == 429


def test_wrong_codes_and_wrong_secrets_of_a_known_key_count_too(hub: Any) -> None:
    wrong = hub.admin[:-4] + ("0000" if hub.admin[-4:] != "0000" else "1111")
    statuses = [hub.request("GET", "/api/v1/servers", key=wrong).status_code for _ in range(15)]
    assert statuses[-1] == 429
    hub.clock.advance(700)
    statuses = [hub.request("GET", "/login?code=guess").status_code for _ in range(15)]
    assert statuses[0] == 401
    assert statuses[-1] == 429


# --- the page's session ---------------------------------------------------------------------------------


def cookie_of(answer: Any) -> str:
    return answer.headers["set-cookie"].split(";")[0]


def signed_in(hub: Any, key: str | None = None) -> dict[str, str]:
    if key is None:
        code = hub.request("POST", "/api/v1/session-codes", key=hub.admin).json()["code"]
        answer = hub.request("GET", f"/login?code={code}")
    else:
        answer = hub.request("POST", "/login", data={"key": key}, headers={"Origin": "http://127.0.0.1:8383"})
    assert answer.status_code == 303
    return {"Cookie": cookie_of(answer)}


def test_a_wrong_key_in_the_form_is_called_a_key(hub: Any) -> None:
    origin = {"Origin": "http://127.0.0.1:8383"}
    for wrong in ("sq_typo", "hello", ""):
        answer = hub.request("POST", "/login", data={"key": wrong}, headers=origin)
        assert answer.status_code == 401
        assert "This is not a valid key." in answer.text
        assert "one-time code" not in answer.text


def test_a_one_time_code_opens_one_session_within_a_minute(hub: Any) -> None:
    code = hub.request("POST", "/api/v1/session-codes", key=hub.admin).json()["code"]
    first = hub.request("GET", f"/login?code={code}")
    assert (first.status_code, first.headers["location"]) == (303, "./")
    cookie = first.headers["set-cookie"].lower()
    assert cookie.startswith("sq_session_8383=")
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path" not in cookie, "the browser takes that of the address"
    assert hub.request("GET", f"/login?code={code}").status_code == 401
    late = hub.request("POST", "/api/v1/session-codes", key=hub.admin).json()["code"]
    hub.clock.advance(61)
    assert hub.request("GET", f"/login?code={late}").status_code == 401


def test_a_session_of_the_owner_may_do_what_an_admin_key_may_except_a_servers_work(hub: Any) -> None:
    me = signed_in(hub)
    mine = {**me, "Origin": "http://127.0.0.1:8383"}
    assert hub.request("GET", "/api/v1/keys", headers=me).status_code == 200
    assert hub.request("POST", "/api/v1/keys", headers=mine, json={"scope": "view"}).status_code == 201
    server = hub.join("box")
    beat = f"/api/v1/servers/{server.server_id}/heartbeat"
    assert hub.request("POST", beat, headers=mine, json={}).status_code == 403
    assert hub.request("POST", "/api/v1/servers/join", headers=mine, json={}).status_code == 403


def test_a_session_opened_with_a_view_key_may_only_look_and_ends_with_its_key(hub: Any) -> None:
    key = hub.make_key("view")
    me = signed_in(hub, key)
    mine = {**me, "Origin": "http://127.0.0.1:8383"}
    assert hub.request("GET", "/api/v1/servers", headers=me).status_code == 200
    assert hub.request("GET", "/api/v1/keys", headers=me).status_code == 403
    assert hub.request("POST", "/api/v1/keys", headers=mine, json={"scope": "admin"}).status_code == 403
    assert hub.request("DELETE", f"/api/v1/keys/{key.split('_')[1]}", key=hub.admin).status_code == 204
    assert hub.request("GET", "/api/v1/servers", headers=me).status_code == 401


@pytest.mark.parametrize("scope", ["join", "server"])
def test_one_cannot_open_the_page_with_a_key_that_no_person_holds(hub: Any, scope: str) -> None:
    key = hub.join("box").key if scope == "server" else hub.make_key(scope)
    assert hub.request("POST", "/login", data={"key": key}).status_code == 403


def test_who_is_signed_in_is_led_from_the_login_form_to_the_page(hub: Any) -> None:
    me = signed_in(hub)
    answer = hub.request("GET", "/login", headers=me)
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    assert hub.request("GET", "/login").status_code == 200
    assert hub.request("GET", "/login", headers={"Cookie": "sq_session_8383=over"}).status_code == 200
    hub.request("POST", "/logout", headers={**me, "Origin": "http://127.0.0.1:8383"})
    assert hub.request("GET", "/login", headers=me).status_code == 200


def test_the_login_form_says_that_the_models_behind_it_are_invented(hub: Any) -> None:
    assert "sq-sample" not in hub.request("GET", "/login").text
    (hub.hub.settings.data_dir / SAMPLE_MARKER).write_text("{}")
    assert "sq-sample" in hub.request("GET", "/login").text
    wrong = hub.request("POST", "/login", data={"key": "x"}, headers={"Origin": "http://127.0.0.1:8383"})
    assert wrong.status_code == 401
    assert "sq-sample" in wrong.text


def test_logging_out_ends_the_session(hub: Any) -> None:
    me = {**signed_in(hub), "Origin": "http://127.0.0.1:8383"}
    assert hub.request("POST", "/logout", headers=me).status_code == 303
    assert hub.request("GET", "/api/v1/servers", headers=me).status_code == 401


def test_a_session_ends_after_thirty_days_without_use_and_lives_on_with_it(hub: Any) -> None:
    used, unused = signed_in(hub), signed_in(hub)
    for _ in range(4):
        hub.clock.advance(10 * 86_400)
        assert hub.request("GET", "/api/v1/servers", headers=used).status_code == 200
        hub.run(hub.hub.flush())
    assert hub.request("GET", "/api/v1/servers", headers=unused).status_code == 401


def test_a_session_token_is_stored_as_a_hash_only(hub: Any) -> None:
    token = signed_in(hub)["Cookie"].split("=", 1)[1]
    for path in hub.hub.settings.data_dir.glob("hub.sqlite*"):
        assert token.encode() not in path.read_bytes(), path
