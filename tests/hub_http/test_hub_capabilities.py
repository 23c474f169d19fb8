"""What a server says its WebUI can do: taken from itself only, checked, kept, shown."""

from __future__ import annotations

from typing import Any

import pytest

from stablequeue_client.shared.wire.inventory import CAPABILITIES_MAX_BYTES

ON_BOTH_DATABASES = True

FORGE = {
    "webui": "forge",
    "webui_version": "2.0",
    "gpu": "NVIDIA GeForce RTX 4090",
    "gpu_memory_mb": 24_564,
    "samplers": ["Euler", "Euler <b>a</b>"],
    "works_for_others": "idle",
}


def put(hub: Any, server: Any, body: Any, **options: Any) -> Any:
    key = options.pop("key", server.key)
    path = f"/api/v1/servers/{server.server_id}/capabilities"
    return hub.request("PUT", path, key=key, json=body, **options)


def told(hub: Any) -> list[tuple[str, str]]:
    """The changes of works_for_others that the history holds."""
    events = hub.request("GET", "/api/v1/events", key=hub.admin).json()["events"]
    found = [event for event in events if event["action"] == "works_for_others_changed"]
    return [(event["details"]["from"], event["details"]["to"]) for event in found]


def test_what_a_server_says_stands_in_its_answer_in_the_list_and_in_the_old_fields_beside(hub: Any) -> None:
    server, other = hub.join("attic"), hub.join("studio")
    assert put(hub, server, FORGE).status_code == 204
    one = hub.request("GET", f"/api/v1/servers/{server.server_id}", key=hub.admin).json()
    assert one["capabilities"] == FORGE
    assert one["works_for_others"] == "idle"
    listed = hub.request("GET", "/api/v1/servers", key=other.key).json()
    assert listed[0] == one
    assert (listed[1]["capabilities"], listed[1]["works_for_others"]) == (None, "never")
    assert {"server_id", "alias", "apiUrl", "auth"} <= set(one)


def test_only_another_word_for_whom_it_works_is_an_event(hub: Any) -> None:
    server = hub.join("attic")
    for works in ("never", "idle", "idle", "always", "never"):
        assert put(hub, server, {**FORGE, "works_for_others": works}).status_code == 204
    put(hub, server, {**FORGE, "works_for_others": "never", "webui_version": "2.1"})
    assert told(hub) == [("never", "idle"), ("idle", "always"), ("always", "never")]


def test_they_are_still_known_after_the_hub_started_anew_and_go_with_the_server(hub: Any) -> None:
    from stablequeue_hub.app import create_app

    server = hub.join("attic")
    put(hub, server, FORGE)
    hub.app = create_app(hub.hub.settings, hub.hub.store, clock=hub.clock)
    path = f"/api/v1/servers/{server.server_id}"
    assert hub.request("GET", path, key=hub.admin).json()["capabilities"] == FORGE
    assert hub.request("DELETE", path, key=hub.admin).status_code == 204
    assert put(hub, server, FORGE).status_code == 401


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({}, "webui"),
        ({**FORGE, "webui": ""}, "webui"),
        ({**FORGE, "webui": "for\nge"}, "webui"),
        ({**FORGE, "gpu": "x" * 129}, "gpu"),
        ({**FORGE, "samplers": "Euler"}, "samplers"),
        ({**FORGE, "samplers": [1]}, "samplers"),
        ({**FORGE, "gpu_memory_mb": -1}, "gpu_memory_mb"),
        ({**FORGE, "gpu_memory_mb": 2**40}, "gpu_memory_mb"),
        ({**FORGE, "works_for_others": "sometimes"}, "works_for_others"),
        ([], "object"),
    ],
)
def test_what_is_no_such_message_is_refused_by_name(hub: Any, body: Any, names: str) -> None:
    server = hub.join("attic")
    refused = put(hub, server, body)
    assert refused.status_code == 400
    assert names in refused.json()["error"]["message"]


def test_a_field_of_a_newer_server_is_left_out_and_a_message_too_large_is_refused(hub: Any) -> None:
    server = hub.join("attic")
    assert put(hub, server, {**FORGE, "holograms": True}).status_code == 204
    one = hub.request("GET", f"/api/v1/servers/{server.server_id}", key=hub.admin).json()
    assert "holograms" not in one["capabilities"]
    large = {**FORGE, "scripts": ["x" * CAPABILITIES_MAX_BYTES]}
    assert put(hub, server, large).status_code == 413


def test_nobody_speaks_for_another_server(hub: Any) -> None:
    server, other = hub.join("attic"), hub.join("studio")
    assert put(hub, server, FORGE, key=other.key).status_code == 403
    assert put(hub, server, FORGE, key=hub.admin).status_code == 403


def test_the_servers_card_says_it_in_plain_words_and_keeps_long_lists_folded(hub: Any) -> None:
    server = hub.join("attic")
    put(hub, server, FORGE)
    card = hub.request("GET", "/views/servers", key=hub.admin).text
    plain = card.replace('<bdi dir="ltr" class="sq-name">', "").replace("</bdi>", "")
    assert "Forge 2.0, RTX 4090 24 GB; works for others when idle." in plain
    put(hub, hub.join("barn"), {**FORGE, "webui": "classic", "webui_version": "classic"})
    assert ">Forge Classic</bdi>, " in hub.request("GET", "/views/servers", key=hub.admin).text
    folded = plain[plain.index("<details id=") :]
    assert "What it can do" in folded
    assert "Euler, Euler &lt;b&gt;a&lt;/b&gt;" in folded
