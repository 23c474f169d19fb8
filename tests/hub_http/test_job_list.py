"""The list of jobs: what it holds, page by page, and what is left out of it."""

from __future__ import annotations

from typing import Any

ON_BOTH_DATABASES = True
BASE = ("checkpoint", "base.safetensors", "base checkpoint")


def submit(hub: Any, prompt: str = "a cat", *, key: str | None = None, **body: Any) -> list[str]:
    payload = {"prompt": prompt, "override_settings": {"sd_model_checkpoint": "base.safetensors"}}
    answer = hub.request("POST", "/api/v1/jobs", key=key or hub.admin, json={"payload": payload, **body})
    assert answer.status_code == 202, answer.text
    ids: list[str] = answer.json()["job_ids"]
    return ids


def listed(hub: Any, query: str = "", *, key: str | None = None) -> list[str]:
    """The ids of all pages, newest first; each page is full but the last."""
    found: list[str] = []
    before = ""
    while True:
        answer = hub.request("GET", f"/api/v1/jobs?limit=2{before}&{query}", key=key or hub.admin)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [job["job_id"] for job in page["jobs"]]
        if page["next"] is None:
            assert page["total"] == len(found)
            return found
        assert len(page["jobs"]) == 2
        before = f"&before={page['next']}"


def test_filters_choose_by_text_submitter_star_server_and_state(hub: Any, hosts: Any) -> None:
    forge, attic = hosts.add("Forge", BASE), hosts.add("attic", BASE)
    other = hub.make_key("jobs")
    cat = submit(hub, "a cat", name="Mine")[0]
    ink = submit(hub, "a dog <lora:Ink_v2:1>", key=other)[0]
    star, bird = submit(hub, "a bird", targets=["attic"], count=2)
    low, high = submit(hub, "a 50%_fish", priority=-3)[0], submit(hub, "a fish", priority=9)[0]
    hub.request("POST", f"/api/v1/jobs/{star}/star", key=hub.admin)
    everything = [high, low, bird, star, ink, cat]
    assert listed(hub) == everything
    assert listed(hub, "state=pending") == everything
    assert listed(hub, "text=CAT") == [cat]
    assert listed(hub, "text=mine") == [cat]
    assert listed(hub, "text=ink_V2") == [ink]
    assert listed(hub, "text=50%25_") == [low]
    assert listed(hub, "text=%25cat") == []
    assert listed(hub, "mine=true", key=other) == [ink]
    assert listed(hub, f"submitter=key:{other.split('_')[1]}") == [ink]
    assert listed(hub, "starred=true") == [star]
    assert listed(hub, "server=ATTIC") == [bird, star]
    assert listed(hub, f"server={attic.server.server_id}&starred=true") == [star]
    assert listed(hub, f"text=fish&submitter=key:{hub.admin.split('_')[1]}") == [high, low]
    taken = forge.next()
    assert taken["job_id"] == high
    assert listed(hub, "server=forge") == [high]
    assert listed(hub, "state=processing") == [high]
    assert listed(hub, "state=pending") == everything[1:]
    assert listed(hub, "state=completed") == []
    assert hub.request("GET", "/api/v1/jobs?server=nobody", key=hub.admin).status_code == 404


def test_jobs_that_wait_for_a_model_are_chosen(hub: Any, hosts: Any) -> None:
    hosts.add("forge", BASE)
    submit(hub, "a cat")
    first, second = submit(hub, "<lora:gone:1>", count=2)
    third = submit(hub, "<lora:gone:1> a dog")[0]
    ended = submit(hub, "<lora:gone:1>")[0]
    hub.request("POST", f"/api/v1/jobs/{ended}/cancel", key=hub.admin)
    assert listed(hub, "waiting=true") == [third, second, first]
    assert listed(hub, "waiting=true&text=dog") == [third]
    hosts.add("attic", BASE, ("lora", "gone.safetensors", "gone"))
    assert listed(hub, "waiting=true") == []


def test_a_job_that_runs_says_how_far_it_is(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE)
    job_id, waits = submit(hub, count=2)
    taken = runner.next()
    assert runner.renew(taken, progress=0.25)
    shown = hub.request("GET", "/api/v1/jobs", key=hub.admin).json()["jobs"]
    assert {job["job_id"]: job["progress"] for job in shown} == {job_id: 0.25, waits: None}
    assert hub.request("GET", f"/api/v1/jobs/{job_id}", key=hub.admin).json()["progress"] == 0.25
