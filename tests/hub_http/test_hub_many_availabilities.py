"""Where many models are, in one request: what a WebUI asks while somebody types a prompt."""

from __future__ import annotations

import time
from typing import Any

import pytest

from stablequeue_client.shared.wire.inventory import AVAILABILITY_MAX_HASHES

ON_BOTH_DATABASES = True
PATH = "/api/v1/availability"


@pytest.fixture
def synced(hub: Any, inventory: Any) -> Any:
    """attic has ink and oil, studio has ink."""
    attic, studio = hub.join("attic"), hub.join("studio")
    for server, names in ((attic, ["ink", "oil"]), (studio, ["ink"])):
        hub.beat(server, "boot", 1)
        hub.sync(server, inventory(names)).raise_for_status()
    return attic


def ask(hub: Any, key: str, **body: Any) -> Any:
    return hub.request("POST", PATH, key=key, json=body)


def servers_by_name(answer: Any) -> dict[str, list[str]]:
    return {
        result["query"]: [server["alias"] for server in result["servers"]]
        for result in answer.json()["results"]
    }


def test_a_servers_own_key_learns_in_one_request_who_else_has_hashes_and_names(hub: Any, synced: Any) -> None:
    names = [{"kind": "lora", "name": name} for name in ("ink", "oil", "chalk")]
    sha256 = hub.request("GET", "/api/v1/models/oil", key=synced.key).json()["model"]["hash_sha256"]
    answer = ask(hub, synced.key, hashes=[sha256], names=names)
    assert answer.status_code == 200
    assert servers_by_name(answer) == {
        sha256: ["attic"],
        "ink": ["attic", "studio"],
        "oil": ["attic"],
        "chalk": [],
    }
    assert ask(hub, synced.key, names=[{"kind": "vae", "name": "ink"}]).json()["results"][0]["matches"] == []
    assert ask(hub, synced.key).json()["results"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"names": ["ink"]},
        {"names": [{"kind": "hologram", "name": "ink"}]},
        {"names": [{"kind": "lora"}]},
        {"hashes": "ink"},
    ],
)
def test_what_is_no_such_question_is_refused(hub: Any, body: Any) -> None:
    assert hub.request("POST", PATH, key=hub.admin, json=body).status_code == 400


def test_hashes_and_names_count_together(hub: Any) -> None:
    half = AVAILABILITY_MAX_HASHES // 2
    names = [{"kind": "lora", "name": f"n{i}"} for i in range(half)]
    assert ask(hub, hub.admin, hashes=["x"] * half, names=names).status_code == 200
    assert ask(hub, hub.admin, hashes=["x"] * (half + 1), names=names).status_code == 413


def test_a_prompt_is_answered_quickly_among_many_models(hub: Any, inventory: Any) -> None:
    """The ratio to one name's answer, so that a slow machine fails no sooner than a fast one."""
    server = hub.join("attic")
    hub.beat(server, "boot", 1)
    models = 20_000 if hub.hub.store.is_sqlite else 4_000  # PostgreSQL takes long to fill
    hub.sync(server, inventory([f"lora-{number:05}" for number in range(models)])).raise_for_status()

    def seconds(count: int) -> float:
        body = {"names": [{"kind": "lora", "name": f"lora-{number * 37:05}"} for number in range(count)]}
        best = 60.0
        for _ in range(5):
            started = time.perf_counter()
            answer = ask(hub, server.key, **body)
            best = min(best, time.perf_counter() - started)
        assert all(len(result["servers"]) == 1 for result in answer.json()["results"])
        return best

    one, many = seconds(1), seconds(40)
    print(f"1 name: {one * 1000:.1f} ms, 40 names: {many * 1000:.1f} ms")
    assert many < 15 * one
