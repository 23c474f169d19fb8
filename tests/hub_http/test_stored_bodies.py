"""Large bodies in pieces: in order, each as often as one likes, for the key that sent them, and once."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import httpx
import pytest

from stablequeue_client.shared.wire.pieces import BODY_MAX_BYTES, PIECE_MAX_BYTES
from stablequeue_hub.store.stored_bodies import KEPT_S, OWNER_MAX_BYTES

ID = "ab" * 16


def put(hub: Any, offset: int, data: bytes, total: int, *, key: str, body_id: str = ID) -> httpx.Response:
    path = f"/api/v1/bodies/{body_id}?offset={offset}&total={total}"
    return hub.request("PUT", path, key=key, content=data)


def use(hub: Any, *, key: str, body_id: str = ID) -> httpx.Response:
    return hub.request("POST", "/api/v1/jobs", key=key, headers={"X-StableQueue-Body": body_id})


def job(prompt: str = "a cat") -> bytes:
    return json.dumps({"payload": {"prompt": prompt, "steps": 2}}).encode()


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


def test_a_body_in_pieces_is_the_requests_body_and_is_used_once(hub: Any) -> None:
    key, body = hub.make_key("jobs"), job()
    for offset in range(0, len(body), 10):
        answer = put(hub, offset, body[offset : offset + 10], len(body), key=key)
        assert answer.json() == {"received": min(offset + 10, len(body))}
    assert use(hub, key=key).status_code == 202
    again = use(hub, key=key)
    assert (again.status_code, code(again)) == (409, "body_incomplete")
    assert not list(hub.hub.stored_bodies.folder.rglob("*.part"))


def test_a_piece_may_be_sent_again_and_what_came_after_it_goes(hub: Any) -> None:
    body = job()
    put(hub, 0, body[:20], len(body), key=hub.admin)
    put(hub, 20, body[20:30], len(body), key=hub.admin)
    assert put(hub, 0, body[:15], len(body), key=hub.admin).json() == {"received": 15}
    assert put(hub, 15, body[15:], len(body), key=hub.admin).json() == {"received": len(body)}
    assert use(hub, key=hub.admin).status_code == 202


def test_a_gap_and_an_end_that_is_missing_are_told(hub: Any) -> None:
    body = job()
    assert code(put(hub, 5, body[5:], len(body), key=hub.admin)) == "body_incomplete"
    put(hub, 0, body[:-1], len(body), key=hub.admin)
    assert code(use(hub, key=hub.admin)) == "body_incomplete"


def test_nobody_uses_or_changes_the_body_of_another_key(hub: Any) -> None:
    mine, other, body = hub.make_key("jobs"), hub.make_key("jobs"), job()
    put(hub, 0, body, len(body), key=mine)
    put(hub, 0, b"x" * len(body), len(body), key=other)
    assert use(hub, key=other).status_code == 400
    assert use(hub, key=mine).status_code == 202
    assert put(hub, 0, body, len(body), key=hub.make_key("view")).status_code == 403


@pytest.mark.parametrize(
    ("offset", "size", "total", "status"),
    [
        (0, 0, 10, 400),
        (5, 6, 10, 400),
        (0, 1, 0, 400),
        (0, 10, BODY_MAX_BYTES + 1, 413),
        (0, PIECE_MAX_BYTES + 1, 2 * PIECE_MAX_BYTES, 413),
    ],
)
def test_pieces_that_cannot_be_are_refused(hub: Any, offset: int, size: int, total: int, status: int) -> None:
    assert put(hub, offset, b"x" * size, total, key=hub.admin).status_code == status


@pytest.mark.parametrize("body_id", ["..%2f..%2fx", "AB" * 16, "a" * 31, "a" * 33, "*" * 32])
def test_an_id_is_hex_and_nothing_else(hub: Any, body_id: str) -> None:
    assert put(hub, 0, b"x", 1, key=hub.admin, body_id=body_id).status_code in (400, 404)
    assert use(hub, key=hub.admin, body_id=body_id).status_code == 400


def test_a_body_larger_than_its_kind_may_be_is_refused_before_it_is_read(hub: Any) -> None:
    server = hub.join("attic")
    put(hub, 0, b"x" * 5000, 5000, key=server.key)
    path = f"/api/v1/servers/{server.server_id}/heartbeat"
    answer = hub.request("POST", path, key=server.key, headers={"X-StableQueue-Body": ID})
    assert (answer.status_code, code(answer)) == (413, "too_large")


def test_what_nobody_comes_back_for_goes(hub: Any) -> None:
    put(hub, 0, b"x", 2, key=hub.admin)
    put(hub, 0, b"x", 2, key=hub.admin, body_id="cd" * 16)
    bodies = hub.hub.stored_bodies
    (old,) = bodies.folder.rglob(f"{ID}*")
    os.utime(old, (time.time() - KEPT_S - 1,) * 2)
    bodies.sweep()
    assert [path.name for path in bodies.folder.rglob("*.part")] == ["cdcd" * 8 + "-2.part"]


def test_one_key_fills_no_disk(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stablequeue_hub.store.stored_bodies.OWNER_MAX_BYTES", 2500)
    assert OWNER_MAX_BYTES > 2500
    for number in range(5):
        put(hub, 0, b"x" * 1000, 1001, key=hub.admin, body_id=f"{number:032x}")
        time.sleep(0.01)
    kept = sorted(path.name[:32] for path in hub.hub.stored_bodies.folder.rglob("*.part"))
    assert kept == [f"{3:032x}", f"{4:032x}"]
