"""The queue as the page shows it: order, words, marks, filters, groups, and what its buttons do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stablequeue_client.shared.views import job_values as jv
from stablequeue_hub.store.tables import job_exclusions

from .test_job_check import file, sha, tell
from .test_job_waiting import ask, can, submit, write

ON_BOTH_DATABASES = True
INK = {"prompt": "a fox, <lora:ink:1> in snow"}


def look(hub: Any, query: str = "", *, key: str | None = None) -> jv.QueuePage:
    answer = hub.request(
        "GET", f"/views/queue{query}", key=key or hub.admin, headers={"Accept": "application/json"}
    )
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=jv.QueuePage)


def press(hub: Any, path: str, *, key: str | None = None, **fields: Any) -> str:
    """The answer's text."""
    answer = hub.request("POST", f"/views/{path}", key=key or hub.admin, data=fields)
    assert answer.status_code == 200, answer.text
    return str(answer.text)


@pytest.fixture
def attic(hub: Any) -> Any:
    """A server that has ink, works for everybody, and asked for jobs."""
    server = hub.join("attic")
    tell(hub, server, file("ink.safetensors", "ink"))
    can(hub, server)
    ask(hub, server)
    return server


def ids(page: jv.QueuePage) -> list[str]:
    return [row.job_id for row in page.rows]


def test_what_waits_comes_in_its_order_and_what_ended_newest_first(hub: Any, attic: Any) -> None:
    low, first, high, second = (submit(hub, INK, priority=p) for p in (-1, 0, 5, 0))
    page = look(hub)
    assert ids(page) == [high, first, second, low]
    assert [row.waiting for row in page.rows] == [
        "Next in line on attic",
        "In line for attic, 1 job before it",
        "In line for attic, 2 jobs before it",
        "In line for attic, 3 jobs before it",
    ]
    assert page.count("pending") == page.total == 4
    press(hub, "jobs/actions", action="cancel", ids=[first, second])
    assert ids(look(hub)) == [high, low]
    assert ids(look(hub, "?state=cancelled")) == [second, first]
    assert ids(look(hub, "?state=all")) == [second, high, first, low]


def test_pages_go_on_where_the_one_before_ended_also_across_priorities(hub: Any, attic: Any) -> None:
    several = hub.request(
        "POST", "/api/v1/jobs", key=hub.admin, json={"payload": INK, "count": 60, "priority": 1}
    ).json()["job_ids"]
    later = hub.request("POST", "/api/v1/jobs", key=hub.admin, json={"payload": INK, "count": 45}).json()
    expected = [*several, *later["job_ids"]]
    pages = [look(hub, f"?page={number}") for number in (1, 2, 3, 4)]
    assert [job_id for page in pages for job_id in ids(page)] == expected
    assert [len(page.rows) for page in pages] == [50, 50, 5, 0]
    assert pages[0].rows[12].waiting == "In line for attic, 12 jobs before it"
    assert pages[1].rows[12].waiting == "In line for attic, 62 jobs before it"


def test_a_row_tells_who_for_whom_and_the_mark_of_each_model(hub: Any, attic: Any) -> None:
    key = hub.make_key("jobs", name="My script")
    submit(hub, {"prompt": "<lora:ink:1><lora:oil:1>"}, key=key, targets=["attic"], name="Cover")
    submit(hub, {"prompt": "  many   words, <lora:ink:1>\n" + "x" * 200}, key=attic.key)
    first, second = look(hub).rows
    assert (first.title, first.submitted_by, first.targets) == ("Cover", "My script", ("attic",))
    assert [(need.name, need.mark) for need in first.needs] == [("ink", "have"), ("oil", "missing")]
    assert first.waiting == "Waits for oil: no server has it"
    assert (first.in_line, second.in_line) == (False, True)
    assert (second.submitted_by, second.targets) == ("attic", ())
    assert second.title.startswith("many words, xxx")
    assert second.title.endswith("…")


def test_filters_choose(hub: Any, attic: Any) -> None:
    named = {
        "fox": submit(hub, INK),
        "cover": submit(hub, {"prompt": "<lora:oil:1>"}, name="Cover"),
        "hare": submit(hub, {"prompt": "a hare"}, targets=["attic"]),
    }
    press(hub, "jobs/actions", action="star", ids=named["fox"])
    for query, found in {
        "text=FOX": {"fox"},
        "text=cov": {"cover"},
        "text=oil": {"cover"},
        "text=100%25": set(),
        "text=a%00b": set(),
        "starred=1": {"fox"},
        f"server={attic.server_id}": {"hare"},
        "submitter=page": set(),
        "state=failed": set(),
        "state=nonsense": {"fox", "cover", "hare"},
        "page=0": {"fox", "cover", "hare"},
    }.items():
        assert set(ids(look(hub, f"?{query}"))) == {named[name] for name in found}, query


def test_jobs_that_wait_for_one_model_are_grouped_with_what_to_copy(hub: Any, attic: Any) -> None:
    studio = hub.join("studio")
    tell(hub, studio, file("paint/oil.safetensors", "oil"))
    can(hub, studio)
    for _ in range(3):
        submit(hub, {"prompt": "<lora:oil:1>"}, targets=["attic"])
    submit(hub, {"prompt": "<lora:gone:1><lora:oil:1>"}, targets=["attic"])
    submit(hub, INK)
    groups = look(hub, "?state=models").groups
    assert [(group.name, group.jobs, group.code) for group in groups] == [
        ("oil", 4, "model_missing"),
        ("gone", 1, "model_missing"),
    ]
    assert groups[0].sha256 == sha("oil")
    (source,) = groups[0].sources
    assert (source.server, source.path, source.size) == ("studio", "paint/oil.safetensors", 1000)
    assert [(place.server, place.could_run) for place in groups[0].places] == [("attic", True)]
    assert groups[1].sources == ()


def test_several_are_changed_at_once_and_each_that_cannot_be_says_why(hub: Any, attic: Any) -> None:
    mine = hub.make_key("jobs")
    own, other = submit(hub, INK, key=mine), submit(hub, INK)
    rows = {row.job_id: row.may_change for row in look(hub, key=mine).rows}
    assert rows == {own: True, other: False}
    text = press(hub, "jobs/actions", key=mine, action="cancel", ids=[own, other])
    assert "1 job cancelled. 1 job not: This job was submitted by somebody else." in text
    press(hub, "jobs/actions", action="earlier", ids=[other])
    assert look(hub).rows[0].priority == 1
    press(hub, "jobs/actions", action="later", ids=[other])
    press(hub, "jobs/actions", action="later", ids=[other])
    assert look(hub).rows[0].priority == -1
    assert "Choose jobs first" in press(hub, "jobs/actions", action="cancel")
    assert "1 job deleted." in press(hub, "jobs/actions", action="delete", ids=[own])
    wrong = hub.request("POST", "/views/jobs/actions", key=hub.admin, data={"action": "x", "ids": own})
    assert wrong.status_code == 400


def test_a_job_that_was_sent_back_may_be_tried_again(hub: Any, attic: Any) -> None:
    job_id = submit(hub, INK)
    row = {"job_id": job_id, "server_id": attic.server_id, "reason": "refused", "at_ms": 1}
    write(hub, job_exclusions.insert().values(**row))
    assert look(hub).rows[0].may_retry is True
    press(hub, "jobs/actions", action="retry", ids=[job_id])
    assert (look(hub).rows[0].may_retry, look(hub).rows[0].in_line) == (False, True)


def test_the_queue_and_one_server_are_paused_and_go_on(hub: Any, attic: Any) -> None:
    submit(hub, INK)
    press(hub, "queue/pause")
    page = look(hub)
    assert (page.paused, page.rows[0].waiting) == (True, "Waits until the queue is resumed")
    line = hub.request("GET", "/views/first-line", key=hub.admin).text
    assert "queue paused" in line
    press(hub, "queue/resume")
    press(hub, f"queue/servers/{attic.server_id}/pause")
    page = look(hub)
    assert (page.paused, page.servers[0].paused) == (False, True)
    assert page.rows[0].waiting == "Waits for attic, which is paused"
    press(hub, f"queue/servers/{attic.server_id}/resume")
    assert look(hub).rows[0].in_line is True


def test_who_may_only_look_finds_no_buttons(hub: Any, attic: Any) -> None:
    submit(hub, INK)
    key = hub.make_key("view")
    page = look(hub, key=key)
    assert (page.may_pause, page.may_submit, page.rows[0].may_change) == (False, False, False)
    assert "data-sq-pick " not in hub.request("GET", "/views/queue", key=key).text


def test_a_running_job_shows_its_server_and_how_far_it_is(hub: Any, attic: Any) -> None:
    job_id = submit(hub, INK)
    base = f"/api/v1/servers/{attic.server_id}/runner"
    body = {"runner_id": "r", "others": True, "wait_s": 0}
    taken = hub.request("POST", f"{base}/next", key=attic.key, json=body).json()
    said = {"job_id": job_id, "fence": taken["fence"], "progress": 0.25}
    hub.request("POST", f"{base}/renew", key=attic.key, json=said)
    page = look(hub)
    assert (page.rows[0].state, page.rows[0].server, page.rows[0].progress) == ("processing", "attic", 0.25)
    assert (page.servers[0].job_id, page.servers[0].working_on) == (job_id, "a fox, in snow")


@pytest.mark.parametrize(
    ("path", "goes_to"),
    [("/queue", "./?view=queue"), ("/new", "./?view=new"), ("/jobs/a%26b", "../?view=job&id=a%26b")],
)
def test_short_addresses_lead_to_the_page(hub: Any, path: str, goes_to: str) -> None:
    answer = hub.request("GET", path)
    assert (answer.status_code, answer.headers["location"]) == (303, goes_to)
