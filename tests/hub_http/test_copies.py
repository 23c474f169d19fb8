"""Copies between servers, as the hub plans them: who may, from where, how often, and what stale words do."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from stablequeue_client.shared.wire.transfers import CHUNK_BYTES
from stablequeue_hub.actions.transfers import plan_transfers
from stablequeue_hub.transfers.relay import CHUNKS_HELD

ON_BOTH_DATABASES = True
BASE = ("checkpoint", "base.safetensors", "base checkpoint")
INK = ("lora", "styles/ink.safetensors", "ink lora")
OTHER = ("lora", "other.safetensors", "other")


def sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


SHA256 = sha("ink lora")
SIZE = 1000 + len("ink lora")


def submit(hub: Any, prompt: str = "<lora:ink:1>", **body: Any) -> list[str]:
    payload = {"prompt": prompt, "override_settings": {"sd_model_checkpoint": "base.safetensors"}}
    answer = hub.request("POST", "/api/v1/jobs", key=hub.admin, json={"payload": payload, **body})
    assert answer.status_code == 202, answer.text
    ids: list[str] = answer.json()["job_ids"]
    return ids


def allow(hub: Any, runner: Any, receive: str = "ask", hand_out: bool = False) -> None:
    its = runner.server
    path = f"/api/v1/servers/{its.server_id}/transfers/policy"
    said = {"receive": receive, "hand_out": hand_out}
    assert hub.request("PUT", path, key=its.key, json=said).status_code == 204


def copy(hub: Any, target: str, key: str | None = None, sha256: str = SHA256) -> Any:
    body = {"sha256": sha256, "target": target}
    return hub.request("POST", "/api/v1/transfers", key=key or hub.admin, json=body)


def listed(hub: Any) -> list[dict[str, Any]]:
    answer = hub.request("GET", "/api/v1/transfers", key=hub.admin)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["transfers"]
    return found


def of_server(hub: Any, runner: Any, method: str, rest: str, **options: Any) -> Any:
    path = f"/api/v1/servers/{runner.server.server_id}/transfers/{rest}"
    return hub.request(method, path, key=runner.server.key, **options)


def code(answer: Any) -> str:
    return str(answer.json()["error"]["code"])


def waiting_for(hub: Any, job_id: str) -> str:
    answer = hub.request("GET", f"/api/v1/jobs/{job_id}/why", key=hub.admin).json()
    return str(answer["waiting_for"])


@pytest.fixture
def two(hub: Any, hosts: Any) -> Any:
    """(forge-a, which has ink, forge-b, which has the rest)."""
    a, b = hosts.add("forge-a", INK), hosts.add("forge-b", BASE, OTHER)
    allow(hub, a, hand_out=True)
    allow(hub, b, "ask")
    return a, b


# --- a person --------------------------------------------------------------------------------------------


def test_a_person_has_a_model_copied_once_however_often_they_ask(hub: Any, two: Any) -> None:
    first = copy(hub, "forge-b")
    assert first.status_code == 202
    made = first.json()
    assert (made["state"], made["source"], made["target"]) == ("waiting", "forge-a", "forge-b")
    assert (made["name"], made["kind"], made["size"]) == ("ink.safetensors", "lora", SIZE)
    assert copy(hub, "FORGE-B").json()["id"] == made["id"]
    assert len(listed(hub)) == 1


@pytest.mark.parametrize(
    ("policy_of_a", "policy_of_b", "expected"),
    [
        ((True,), "never", "receive_never"),
        ((False,), "peers", "no_source"),
        ((False,), "never", "receive_never"),
    ],
)
def test_the_owners_of_both_ends_have_the_last_word(
    hub: Any, two: Any, policy_of_a: tuple[bool], policy_of_b: str, expected: str
) -> None:
    a, b = two
    allow(hub, a, hand_out=policy_of_a[0])
    allow(hub, b, policy_of_b)
    answer = copy(hub, "forge-b")
    assert (answer.status_code, code(answer)) == (409, expected)
    assert answer.json()["error"]["remedy"]
    assert listed(hub) == []


def test_a_server_that_never_said_what_it_allows_gives_and_takes_nothing(hub: Any, hosts: Any) -> None:
    hosts.add("old-a", INK)
    b = hosts.add("old-b", OTHER)
    assert code(copy(hub, "old-b")) == "receive_never"
    allow(hub, b, "all")
    assert code(copy(hub, "old-b")) == "no_source"


def test_who_may_ask_for_a_copy(hub: Any, two: Any) -> None:
    a, b = two
    assert copy(hub, "forge-b", key=a.server.key).status_code == 403
    for scope in ("jobs", "view", "join"):
        assert copy(hub, "forge-b", key=hub.make_key(scope)).status_code == 403
    made = copy(hub, "forge-b", key=b.server.key).json()
    assert made["by"] == "forge-b"
    for action in ("cancel", "accept"):
        path = f"/api/v1/transfers/{made['id']}/{action}"
        assert hub.request("POST", path, key=a.server.key).status_code == 403
    assert hub.request("POST", f"/api/v1/transfers/{made['id']}/cancel", key=b.server.key).status_code == 200
    assert (
        code(hub.request("POST", f"/api/v1/transfers/{made['id']}/cancel", key=hub.admin)) == "transfer_state"
    )
    assert copy(hub, "forge-b").json()["id"] != made["id"]


def test_what_cannot_be_copied_is_said_with_a_remedy(hub: Any, two: Any) -> None:
    for sha256, target, status in (
        ("xyz", "forge-b", 400),
        (SHA256[:10], "forge-b", 400),
        (SHA256, "nobody", 404),
        (sha("nowhere"), "forge-b", 404),
        (sha("base checkpoint"), "forge-b", 409),  # it has it itself
    ):
        answer = copy(hub, target, sha256=sha256)
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["remedy"]
    assert listed(hub) == []


def test_a_copy_from_a_server_that_is_off_waits_for_it(hub: Any, hosts: Any, two: Any) -> None:
    a, b = two
    hub.clock.advance(60)
    b.next()
    made = copy(hub, "forge-b").json()
    assert (made["state"], made["text"]) == ("planned", "forge-a is switched off")
    hosts.tell(a)
    hub.run(plan_transfers(hub.hub))
    assert [(one["state"], one["source"]) for one in listed(hub)] == [("waiting", "forge-a")]


# --- jobs ------------------------------------------------------------------------------------------------


def test_jobs_that_wait_make_one_copy_which_waits_for_a_person_unless_its_server_says_otherwise(
    hub: Any, two: Any
) -> None:
    _, b = two
    jobs = [job for _ in range(3) for job in submit(hub, count=34, targets=["forge-b"])]
    assert len(jobs) == 102
    for _ in range(3):
        hub.run(plan_transfers(hub.hub))
    (asked,) = listed(hub)
    assert (asked["state"], asked["asked_by"], asked["by"]) == ("asked", "hub", "the hub")
    assert waiting_for(hub, jobs[0]) == (
        "Waits for ink: forge-a has it; copying it to forge-b has to be accepted"
    )
    assert of_server(hub, b, "POST", "next").json() is None
    accepted = hub.request("POST", f"/api/v1/transfers/{asked['id']}/accept", key=hub.admin).json()
    assert accepted["state"] == "waiting"
    assert of_server(hub, b, "POST", "next").json()["by_person"] is True


def test_a_server_that_receives_by_itself_is_not_asked(hub: Any, two: Any) -> None:
    _, b = two
    allow(hub, b, "peers")
    (job,) = submit(hub, targets=["forge-b"])
    hub.run(plan_transfers(hub.hub))
    (made,) = listed(hub)
    assert made["state"] == "waiting"
    order = of_server(hub, b, "POST", "next").json()
    assert (order["sha256"], order["size"], order.get("by_person")) == (SHA256, SIZE, None)
    report = {"fence": order["fence"], "state": "running", "bytes_done": SIZE * 2 // 5, "bytes_per_s": 7}
    assert of_server(hub, b, "POST", f"{made['id']}/report", json=report).json() == {
        "stop": False,
        "discard": False,
    }
    assert waiting_for(hub, job) == "Waits for ink: it comes from forge-a to forge-b, 40%"
    (running,) = listed(hub)
    assert (running["bytes_per_s"], round(running["progress"], 2)) == (7, 0.4)


def test_a_copy_that_waits_for_a_person_begins_when_its_owner_allows_all_of_them(hub: Any, two: Any) -> None:
    _, b = two
    submit(hub, targets=["forge-b"])
    hub.run(plan_transfers(hub.hub))
    assert [one["state"] for one in listed(hub)] == ["asked"]
    allow(hub, b, "peers")
    hub.run(plan_transfers(hub.hub))
    assert [one["state"] for one in listed(hub)] == ["waiting"]


def test_of_two_ways_out_the_smaller_is_taken(hub: Any, two: Any) -> None:
    a, b = two
    for runner in (a, b):
        allow(hub, runner, "peers", hand_out=True)
    submit(hub)  # forge-a lacks the checkpoint, forge-b the LoRA: either would do
    for _ in range(2):
        hub.run(plan_transfers(hub.hub))
    assert [one["name"] for one in listed(hub)] == ["ink.safetensors"]


def test_names_that_are_not_one_exact_content_are_never_copied(hub: Any, hosts: Any) -> None:
    for alias, content in (("one", "first"), ("two", "second")):
        allow(hub, hosts.add(alias, ("lora", "ink.safetensors", content)), "peers", hand_out=True)
    allow(hub, hosts.add("three", BASE, OTHER), "peers", hand_out=True)
    submit(hub, targets=["three"])
    submit(hub, "<lora:nowhere:1>", targets=["three"])
    hub.run(plan_transfers(hub.hub))
    assert listed(hub) == []


def test_a_model_is_not_copied_for_a_job_that_lacks_another_one_besides(hub: Any, two: Any) -> None:
    _, b = two
    allow(hub, b, "peers")
    submit(hub, "<lora:ink:1> <lora:nowhere:1>", targets=["forge-b"])
    hub.run(plan_transfers(hub.hub))
    assert listed(hub) == []


def test_after_its_end_a_copy_is_not_planned_again_at_once(hub: Any, two: Any) -> None:
    _, b = two
    allow(hub, b, "peers")
    submit(hub, targets=["forge-b"])
    hub.run(plan_transfers(hub.hub))
    (made,) = listed(hub)
    assert hub.request("POST", f"/api/v1/transfers/{made['id']}/cancel", key=hub.admin).status_code == 200
    hub.run(plan_transfers(hub.hub))
    assert [one["state"] for one in listed(hub)] == ["cancelled"]
    assert copy(hub, "forge-b").json()["state"] == "waiting"  # a person may


def test_a_copy_that_no_job_waits_for_any_more_is_not_asked_about(hub: Any, two: Any) -> None:
    (job,) = submit(hub, targets=["forge-b"])
    hub.run(plan_transfers(hub.hub))
    assert hub.request("POST", f"/api/v1/jobs/{job}/cancel", key=hub.admin).status_code == 200
    hub.run(plan_transfers(hub.hub))
    assert [(one["state"], one["text"]) for one in listed(hub)] == [
        ("cancelled", "No job waits for it any more.")
    ]


# --- target and source -----------------------------------------------------------------------------------


def begun(hub: Any, b: Any) -> tuple[int, int]:
    """A copy to it that it claimed: id and fence."""
    made = copy(hub, "forge-b").json()
    order = of_server(hub, b, "POST", "next").json()
    assert order["transfer_id"] == made["id"]
    return order["transfer_id"], order["fence"]


def relayed(
    hub: Any, a: Any, b: Any, transfer: tuple[int, int], sent: bytes, **query: Any
) -> tuple[Any, Any]:
    """A range that b asks for, of which a sends ``sent``: both answers."""
    number, fence = transfer
    base = f"/api/v1/servers/{{}}/transfers/{number}/chunks/0"
    params = {"fence": fence, "length": SIZE, "wait_s": 5, **query}

    async def both() -> tuple[Any, Any]:
        import httpx

        client = httpx.AsyncClient(transport=httpx.ASGITransport(hub.app), base_url="http://127.0.0.1:8383")
        async with client:
            get = asyncio.create_task(
                client.get(
                    base.format(b.server.server_id), params=params,
                    headers={"Authorization": f"Bearer {b.server.key}"},
                )
            )  # fmt: skip
            await asyncio.sleep(0.05)
            put = await client.put(
                base.format(a.server.server_id), params={"fence": fence}, content=sent,
                headers={"Authorization": f"Bearer {a.server.key}"},
            )  # fmt: skip
            return await get, put

    return hub.run(both())


def test_a_range_goes_through_the_hub_and_may_be_answered_in_part(hub: Any, two: Any) -> None:
    a, b = two
    transfer = begun(hub, b)
    for sent in (b"x" * SIZE, b"y" * 10):
        got, put = relayed(hub, a, b, transfer, sent)
        assert (got.status_code, got.content, put.json()) == (200, sent, None)
    got, put = relayed(hub, a, b, transfer, b"x" * (SIZE + 1), wait_s=0.2)
    assert put.status_code == 413
    assert (got.status_code, got.content) == (200, b"")
    assert hub.hub.relay.held == 0


def test_a_source_is_told_what_is_wanted_and_no_other_server_is(hub: Any, two: Any) -> None:
    a, b = two
    number, fence = begun(hub, b)

    async def ask() -> Any:
        import httpx

        client = httpx.AsyncClient(transport=httpx.ASGITransport(hub.app), base_url="http://127.0.0.1:8383")
        async with client:

            def of(runner: Any, method: str, rest: str, **options: Any) -> Any:
                path = f"/api/v1/servers/{runner.server.server_id}/transfers/{rest}"
                headers = {"Authorization": f"Bearer {runner.server.key}"}
                return client.request(method, path, headers=headers, **options)

            get = asyncio.create_task(
                of(b, "GET", f"{number}/chunks/3", params={"fence": fence, "length": 5, "wait_s": 1})
            )
            await asyncio.sleep(0.05)
            found = [(await of(one, "POST", "wanted", json={"wait_s": 0})).json() for one in (a, b)]
            stranger = await of(b, "PUT", f"{number}/chunks/3", params={"fence": fence}, content=b"evil!")
            return found, stranger, await get

    (told, other), stranger, got = hub.run(ask())
    assert told == {"transfer_id": number, "fence": fence, "sha256": SHA256, "offset": 3, "length": 5}
    assert other is None
    assert code(stranger) == "stale_transfer"
    assert got.content == b""


def test_a_stale_fence_neither_fetches_nor_sends_nor_ends_a_copy(hub: Any, two: Any) -> None:
    a, b = two
    number, fence = begun(hub, b)
    _, newer = begun(hub, b)  # its process began anew
    assert newer > fence
    query = {"fence": fence, "length": 5, "wait_s": 0}
    assert code(of_server(hub, b, "GET", f"{number}/chunks/0", params=query)) == "stale_transfer"
    sent = of_server(hub, a, "PUT", f"{number}/chunks/0", params={"fence": fence}, content=b"x")
    assert code(sent) == "stale_transfer"
    said = {"fence": fence, "code": "source_changed"}
    assert code(of_server(hub, a, "POST", f"{number}/refuse", json=said)) == "stale_transfer"
    for state in ("done", "failed", "running"):
        report = {"fence": fence, "state": state}
        assert of_server(hub, b, "POST", f"{number}/report", json=report).json()["stop"] is True
    assert [one["state"] for one in listed(hub)] == ["running"]


def test_a_cancelled_copy_tells_its_target_to_throw_away_what_came(hub: Any, two: Any) -> None:
    _, b = two
    number, fence = begun(hub, b)
    assert hub.request("POST", f"/api/v1/transfers/{number}/cancel", key=hub.admin).status_code == 200
    report = {"fence": fence, "state": "running"}
    answer = of_server(hub, b, "POST", f"{number}/report", json=report).json()
    assert answer == {"stop": True, "discard": True}
    assert of_server(hub, b, "POST", "next").json() is None


@pytest.mark.parametrize("reason", ["source_changed", "not_here", "not_handed_out", "wrong_content"])
def test_a_source_that_cannot_send_it_is_left_for_another_one_or_the_copy_fails(
    hub: Any, hosts: Any, two: Any, reason: str
) -> None:
    a, b = two
    c = hosts.add("forge-c", INK)
    allow(hub, c, hand_out=True)
    sources = [a, c]
    for number_of_sources in (2, 1):
        number, fence = begun(hub, b)
        source = sources.pop(0)
        if reason == "wrong_content":
            said = {"fence": fence, "state": "failed", "code": reason, "text": "It differs."}
            answer = of_server(hub, b, "POST", f"{number}/report", json=said)
        else:
            said = {"fence": fence, "code": reason, "text": "It differs."}
            answer = of_server(hub, source, "POST", f"{number}/refuse", json=said)
        assert answer.status_code in (200, 204), answer.text
        (now,) = listed(hub)
        if number_of_sources == 2:
            assert (now["state"], now["source"]) == ("waiting", "forge-c")
        else:
            assert (now["state"], now["failure"], now["text"]) == ("failed", reason, "It differs.")


def test_heartbeats_tell_those_who_have_something_to_do(hub: Any, two: Any) -> None:
    a, b = two

    def told() -> list[bool]:
        found = []
        for runner in (a, b):
            runner.webui.sequence += 1
            number = runner.webui.sequence
            found.append(hub.beat(runner.server, "boot", number, sequence=1).json().get("transfers", False))
        return found

    assert told() == [False, False]
    copy(hub, "forge-b")
    assert told() == [False, True]
    order = of_server(hub, b, "POST", "next").json()
    assert told() == [True, True]
    report = {"fence": order["fence"], "state": "done", "path": "ink.safetensors"}
    of_server(hub, b, "POST", f"{order['transfer_id']}/report", json=report)
    assert told() == [False, False]
    assert [(one["state"], one["path"]) for one in listed(hub)] == [("done", "ink.safetensors")]


def test_a_running_copy_waits_for_whichever_end_falls_silent(hub: Any, hosts: Any, two: Any) -> None:
    a, b = two
    _, fence = begun(hub, b)
    hub.clock.advance(60)
    hosts.tell(a)
    hub.run(plan_transfers(hub.hub))
    (now,) = listed(hub)
    assert (now["state"], now["text"]) == ("waiting", "Its server is switched off; it resumes there.")
    assert of_server(hub, b, "POST", "next").json()["fence"] > fence
    hub.clock.advance(60)
    hosts.tell(b)
    hub.run(plan_transfers(hub.hub))
    (now,) = listed(hub)
    assert (now["state"], now["text"]) == ("planned", "forge-a is switched off")


def test_at_most_eight_pieces_are_held_at_once(hub: Any) -> None:
    from stablequeue_client.shared.errors import BusyError
    from stablequeue_client.shared.wire.transfers import WantedChunk

    relay = hub.hub.relay

    async def crowd() -> tuple[int, int]:
        gets = [
            asyncio.create_task(relay.receive("a", WantedChunk(1, 1, SHA256, at, CHUNK_BYTES), 5))
            for at in range(CHUNKS_HELD + 3)
        ]
        await asyncio.sleep(0)

        async def read(_: int) -> bytes:
            await asyncio.sleep(0.01)
            return b"x"

        sends = [asyncio.create_task(relay.send(1, 1, at, read)) for at in range(CHUNKS_HELD + 3)]
        done = await asyncio.gather(*sends, return_exceptions=True)
        refused = sum(isinstance(one, BusyError) for one in done)
        relay.end([1])
        got = [await one for one in gets]
        assert got.count(b"x") == CHUNKS_HELD
        return refused, relay.held

    assert hub.run(crowd()) == (3, CHUNKS_HELD)
    assert relay.most_held == CHUNKS_HELD
