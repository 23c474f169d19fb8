"""What must not go wrong between a waiting job and a server: names, reasons to keep away, lost readings."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from stablequeue_client.shared.errors import StoreUnavailableError
from stablequeue_hub.app import create_app
from stablequeue_hub.store.tables import models

from ..fake_runner import DiskFile, sha256_of

BASE = ("checkpoint", "base.safetensors", "base checkpoint")
OTHER = ("checkpoint", "other.safetensors", "other checkpoint")
INK = ("lora", "ink.safetensors", "ink lora")


def payload(title: str = "base.safetensors", prompt: str = "a cat <lora:ink:1>") -> dict[str, Any]:
    return {"prompt": prompt, "seed": 1, "override_settings": {"sd_model_checkpoint": title}}


def submit(hub: Any, body: dict[str, Any] | None = None, *, key: str | None = None, **fields: Any) -> str:
    sent = {"payload": body or payload(), **fields}
    answer = hub.request("POST", "/api/v1/jobs", key=key or hub.admin, json=sent)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def ask(hub: Any, method: str, path: str, **options: Any) -> Any:
    answer = hub.request(method, f"/api/v1/jobs/{path}", key=hub.admin, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


# --- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("digits", [10, 12, 64])
def test_a_title_is_handed_over_without_its_hash(hub: Any, hosts: Any, digits: int) -> None:
    """A WebUI that never hashed the file does not know the title, and would keep another model."""
    runner = hosts.add("forge", OTHER, BASE, INK)
    runner.webui.loaded = runner.webui.files[0]
    submit(hub, payload(f"base.safetensors [{sha256_of(BASE[2])[:digits]}]"))
    taken = runner.next()
    assert taken["payload"]["override_settings"]["sd_model_checkpoint"] == "base.safetensors"
    assert runner.work(taken).json()["outcome"] == "confirmed"


def test_where_it_was_written_a_path_is_enough_though_another_file_shares_the_name(
    hub: Any, hosts: Any
) -> None:
    runner = hosts.add(
        "forge",
        ("checkpoint", "sub/base.safetensors", "the one that is meant"),
        ("checkpoint", "base.ckpt", "another"),
        INK,
    )
    submit(hub, payload("sub/base.safetensors"), key=runner.server.key)
    taken = runner.next()
    assert taken["payload"]["override_settings"]["sd_model_checkpoint"] == "sub/base.safetensors"
    assert runner.work(taken).json()["outcome"] == "confirmed"


def test_a_path_of_another_system_is_not_written_as_it_is(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", OTHER, ("checkpoint", "sub/base.safetensors", BASE[2]), INK)
    submit(hub, payload("sub\\base.safetensors"), key=runner.server.key)
    taken = runner.next()
    assert taken["payload"]["override_settings"]["sd_model_checkpoint"] == "base"
    assert runner.work(taken).json()["outcome"] == "confirmed"


def test_a_lora_that_cannot_be_named_there_is_not_asked_for_there(hub: Any, hosts: Any) -> None:
    writer = hosts.add("writer", BASE, INK)
    runner = hosts.add("runner", BASE, ("lora", "in:k, x>.safetensors", INK[2]), ("lora", "ink.pt", "other"))
    submit(hub, key=writer.server.key, targets=["runner"])
    assert runner.next() is None


def test_a_webui_gets_no_checkpoint_that_it_cannot_load(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    with hub.hub.store.write() as connection:
        flux = models.update().where(models.c.hash_sha256 == sha256_of(BASE[2]))
        connection.execute(flux.values(base_model="Flux.1 D"))
    told = {"webui": "forge", "works_for_others": "always", "architectures": ["sd1"]}
    path = f"/api/v1/servers/{runner.server.server_id}/capabilities"
    assert hub.request("PUT", path, key=runner.server.key, json=told).status_code == 204
    submit(hub)
    assert runner.next() is None
    told["architectures"] = ["flux", "sd1"]
    assert hub.request("PUT", path, key=runner.server.key, json=told).status_code == 204
    assert runner.next() is not None


# --- reasons to keep away ---------------------------------------------------------------------------------


def fail(runner: Any) -> str:
    answer = runner.finish(runner.next(), [], outcome="failed", text="CUDA out of memory")
    return str(answer.json()["state"])


def test_after_a_restart_the_only_server_gets_a_failed_job_again(
    hub: Any, hosts: Any, settings: Any, store: Any
) -> None:
    runner = hosts.add("forge", BASE, INK)
    submit(hub)
    taken = runner.next()
    hub.app = create_app(settings, store, clock=hub.clock)
    hub.hub = hub.app.state.hub
    assert runner.finish(taken, [], outcome="failed", text="CUDA out of memory").json()["state"] == "pending"
    assert runner.next() is not None


@pytest.mark.parametrize("why", ["never", "paused"])
def test_a_server_that_would_not_do_it_is_no_reason_to_keep_another_away(
    hub: Any, hosts: Any, why: str
) -> None:
    runner = hosts.add("forge", BASE, INK)
    other = hosts.add("other", BASE, INK, works="never" if why == "never" else "always")
    submit(hub)
    taken = runner.next()
    assert other.next() is None
    if why == "paused":
        with hub.hub.store.write() as connection:
            connection.exec_driver_sql("UPDATE servers SET jobs_paused = 1 WHERE alias = 'other'")
        hub.run(hub.hub.dispatcher.jobs_changed([]))
        assert other.next() is None
    assert runner.finish(taken, [], outcome="failed", text="no memory").json()["state"] == "pending"
    assert runner.next() is not None


def test_where_it_failed_a_job_comes_again_when_nobody_else_took_it_for_a_while(hub: Any, hosts: Any) -> None:
    runner, other = hosts.add("forge", BASE, INK), hosts.add("other", BASE, INK)
    assert other.next() is None
    submit(hub)
    assert fail(runner) == "pending"
    assert runner.next() is None, "the other one asks for jobs, and could do it"
    hub.clock.advance(601)
    hub.run(hub.hub.dispatcher.sweep())
    assert runner.next() is not None


def test_an_edited_job_is_another_job(hub: Any, hosts: Any) -> None:
    runner, other = hosts.add("forge", BASE, INK), hosts.add("other", OTHER, INK)
    job_id = submit(hub)
    for _ in range(5):
        assert runner.refuse(runner.next(), "model_changed", 0).status_code == 204
        hosts.tell(runner)
    assert runner.next() is None
    ask(hub, "PATCH", job_id, json={"checkpoint": "other.safetensors"})
    assert other.next()["job_id"] == job_id


# --- lost readings ----------------------------------------------------------------------------------------


def test_a_reading_that_fails_after_the_commit_loses_no_job(
    hub: Any, hosts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = hosts.add("forge", BASE, INK)
    assert runner.next() is None
    real = hub.hub.dispatcher._read_some

    async def fails(_: Any) -> None:
        raise StoreUnavailableError("The database is gone.")

    monkeypatch.setattr(hub.hub.dispatcher, "_read_some", fails)
    job_id = submit(hub)
    monkeypatch.setattr(hub.hub.dispatcher, "_read_some", real)
    assert runner.next()["job_id"] == job_id


def test_what_nobody_told_is_found_by_looking(hub: Any, hosts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = hosts.add("forge", BASE, INK)
    assert runner.next() is None

    async def nothing(_: Any) -> None: ...

    monkeypatch.setattr(hub.hub.dispatcher, "reload_jobs", nothing)
    job_id = submit(hub)
    monkeypatch.undo()
    assert runner.next() is None
    hub.clock.advance(301)
    hub.run(hub.hub.dispatcher.sweep())
    assert runner.next()["job_id"] == job_id


@pytest.mark.parametrize(
    ("names", "between_s"),
    [(("one", "two", "one", "two"), 0.1), (("one", "two"), 0.0)],
    ids=["while it waits", "while it is looked at"],
)
def test_two_processes_of_one_server_do_not_drive_each_other(
    hub: Any, hosts: Any, names: tuple[str, ...], between_s: float
) -> None:
    runner = hosts.add("forge", BASE, INK)
    path = f"http://127.0.0.1:8383/api/v1/servers/{runner.server.server_id}/runner/next"
    headers = {"Authorization": f"Bearer {runner.server.key}"}

    async def both() -> list[bool]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(hub.app)) as client:
            asked = []
            for name in names:
                body = {"runner_id": name, "others": True, "wait_s": 3}
                asked.append(asyncio.create_task(client.post(path, json=body, headers=headers)))
                await asyncio.sleep(between_s)
            await asyncio.sleep(0.2)
            done = [task.done() for task in asked]
            await asyncio.gather(*asked)
            return done

    assert not any(hub.run(both()))


def test_a_refusal_that_the_server_explained_meanwhile_keeps_nothing_away(hub: Any, hosts: Any) -> None:
    """Its WebUI was busy for a while; the file has moved, and the agent told it already."""
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    taken = runner.next()
    runner.webui.files[1].path = "elsewhere/ink.safetensors"
    hosts.tell(runner)
    assert runner.refuse(taken, "model_missing", 1).status_code == 204
    again = runner.next()
    assert again["job_id"] == job_id
    assert runner.refuse(again, "model_missing", 1).status_code == 204
    assert runner.next() is None, "nothing was told since the last look"


# --- what was made ----------------------------------------------------------------------------------------


def test_a_text_alone_proves_little(hub: Any, hosts: Any) -> None:
    """The host prints the hash from its cache, though another file lies there."""
    runner = hosts.add("forge", BASE, INK)
    submit(hub)
    runner.webui.faults.blind = True
    runner.webui.hash_cache["checkpoint", BASE[1]] = BASE[2]
    runner.webui.files[0].content = "exchanged"
    answer = runner.step().json()
    assert (answer["state"], answer["outcome"]) == ("completed", "not_provable")
    assert {verdict["reason"] for verdict in answer["verdicts"]} == {"no_evidence"}


def test_a_text_proves_little_also_of_the_one_model_that_the_runner_says_nothing_of(
    hub: Any, hosts: Any
) -> None:
    runner = hosts.add("forge", BASE, INK)
    for unsaid in ([], [{"requirement": 1, "state": "unknown"}]):
        submit(hub)
        taken = runner.next()
        data = runner.webui.generate(taken["payload"])
        runner.send(taken, 0, data)
        answer = runner.finish(taken, [data], loaded=[{"requirement": 0, "state": "loaded"}, *unsaid]).json()
        assert answer["outcome"] == "not_provable"
        assert [verdict["reason"] for verdict in answer["verdicts"]] == ["loaded", "no_evidence"]


def test_a_job_that_ran_without_a_model_is_not_confirmed(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", OTHER, INK)
    job_id = submit(hub)
    assert runner.next() is None
    decision = {"requirement": 0, "decision": "run_anyway", "server": "forge"}
    ask(hub, "POST", f"{job_id}/decisions", json=decision)
    answer = runner.step().json()
    assert (answer["state"], answer["outcome"]) == ("completed", "not_provable")
    assert [verdict["reason"] for verdict in answer["verdicts"] if verdict["requirement"] == 0] == [
        "not_looked_for"
    ]


def test_half_a_picture_is_none(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    submit(hub)
    taken = runner.next()
    data = runner.webui.generate(taken["payload"])
    for half in (data[:60], data[:-12], data[:-20] + data[-12:], data[:100] + b"\x00" + data[101:]):
        assert runner.send(taken, 0, half).status_code == 400
    assert runner.send(taken, 0, data).status_code == 200


def test_files_of_one_name_count_only_where_they_lie(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    hosts.add("other", BASE, DiskFile("lora", "ink.safetensors", "another ink"))
    job_id = submit(hub, key=runner.server.key)
    assert runner.next()["job_id"] == job_id
