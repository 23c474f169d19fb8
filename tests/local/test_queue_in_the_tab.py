"""The queue in the tab over a real hub: what is shown, what the buttons do, and what is said without one."""

from __future__ import annotations

import asyncio
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.identity import new_identity, store_identity
from stablequeue_client.hub_client.user_calls import HubAwayError, NoHubError, UserCalls
from stablequeue_client.shared.errors import (
    ConflictError,
    ForbiddenError,
    InvalidValueError,
    NotFoundError,
    StableQueueError,
)
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.tab import fragments, pictures
from stablequeue_client.webui.tab.queue_actions import ActionAnswer
from stablequeue_client.webui.tab.queue_page import VIEWS

from ..agent.real_hub import RealHub, until
from ..agent.scripted_hub import HEALTH, HUB_ID, Asked, Say, ScriptedHub, say_error, say_json
from .joined import join
from .still_webui import still_webui

TEXT = (
    "a fox <lora:ink:1>\nNegative prompt: mud\nSteps: 12, Sampler: Euler, Seed: 5, Size: 512x768, Model: base"
)
ACTIONS = ["jobs/actions", "new/queue", "new/check", "new/text"]


def png(text: str) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"tEXt", b"parameters\0" + text.encode("latin-1"))]
    parts += [(b"IDAT", zlib.compress(b"\0\0\0\0")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.fixture
def rt(tmp_path: Path) -> Iterator[Runtime]:
    made = still_webui(tmp_path)
    yield made
    made.models.close()


@pytest.fixture(scope="module")
def real_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    hub = RealHub(tmp_path_factory.mktemp("queue") / "hub")
    hub.start()
    yield hub
    hub.kill()


@pytest.fixture
def own(rt: Runtime, real_hub: RealHub) -> Iterator[HubApi]:
    """The hub that this WebUI joined, with its key."""
    identity = join(real_hub, rt.places.server_dir, "desk")
    yield HubApi(identity.hub_url, identity.key)
    real_hub.admin().forget_server(identity.server_id)


def shown(rt: Runtime, view: str, ident: str = "", **query: str) -> str:
    """As soon as the hub has answered."""
    found = ""

    def ready() -> bool:
        nonlocal found
        found = " ".join(str(VIEWS[view](rt, ident, query)).split())
        return "Contacting the hub" not in found

    until(ready, 20, view)
    return found


def press(rt: Runtime, path: str, /, *fields: tuple[str, str], **more: str) -> ActionAnswer:
    return asyncio.run(fragments.act_on_queue(rt, path, [*fields, *more.items()]))


def said(done: ActionAnswer) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", done.html).split())


def submit(hub: HubApi, prompt: str = "a fox <lora:gone:1>", **options: Any) -> str:
    return str(hub.submit_job({"payload": {"prompt": prompt}, **options})["job_id"])


# --- with a hub -------------------------------------------------------------------------------------------


def test_own_jobs_may_be_changed_and_those_of_others_are_only_shown(
    rt: Runtime, own: HubApi, real_hub: RealHub
) -> None:
    mine, other = submit(own), submit(real_hub.admin())
    page = shown(rt, "queue")
    assert f'id="sq-menu-{mine}"' in page
    assert f'id="sq-job-{other}"' in page
    assert f'id="sq-menu-{other}"' not in page
    assert "Pause all" not in page
    assert "?view=new" in page
    job = shown(rt, "job", other)
    assert "Use for a new job" in job
    for button in ("Cancel", "Delete", "Star<", "Decide", "Rename"):
        assert button not in job
    with pytest.raises(ForbiddenError):
        press(rt, f"jobs/{other}/edit", name="stolen")
    assert "somebody else" in said(press(rt, "jobs/actions", ("ids", other), action="cancel"))
    assert own.job(other)["state"] == "pending"


def test_buttons_do_at_the_hub_what_they_say(rt: Runtime, own: HubApi) -> None:
    job_id = submit(own)
    assert said(press(rt, "jobs/actions", ("ids", job_id), action="earlier")) == "1 job moved forward."
    assert said(press(rt, "jobs/actions", ("ids", job_id), action="star")) == "1 job starred."
    job = own.job(job_id)
    assert (job["priority"], job["starred"]) == (1, True)
    assert said(press(rt, f"jobs/{job_id}/edit", name="fox", prompt="an owl", steps="9")) == "Saved."
    assert (
        said(press(rt, f"jobs/{job_id}/edit", name="fox", prompt="an owl", steps="9"))
        == "Nothing was changed."
    )
    job = own.job(job_id)
    assert (job["name"], job["payload"]["prompt"], job["payload"]["steps"]) == ("fox", "an owl", 9)
    done = press(rt, "jobs/actions", ("ids", job_id), action="cancel", go="queue")
    assert (said(done), done.go) == ("1 job cancelled.", "?view=queue")
    many = press(rt, "jobs/actions", ("ids", job_id), ("ids", submit(own)), action="cancel")
    assert said(many).startswith("1 job cancelled. 1 job not: ")
    assert said(press(rt, "jobs/actions", action="cancel")) == "Choose jobs first."
    assert said(press(rt, "jobs/actions", ("ids", job_id), action="delete")) == "1 job deleted."
    with pytest.raises(NotFoundError):
        own.job(job_id)
    for wrong in ("jobs/actions", f"jobs/{job_id}/decisions"):
        with pytest.raises(InvalidValueError):
            press(rt, wrong, ("ids", job_id), action="explode", decision="explode")
    with pytest.raises(NotFoundError):
        press(rt, f"jobs/{job_id}/explode")


def test_run_again_and_queue_are_done_once_however_often_they_are_sent(rt: Runtime, own: HubApi) -> None:
    job_id = submit(own)
    own.cancel_job(job_id)
    first, second = (press(rt, f"jobs/{job_id}/again", seed="same", once="a1") for _ in range(2))
    assert first.go == second.go != ""
    assert press(rt, f"jobs/{job_id}/again", seed="same", once="a2").go != first.go
    with pytest.raises(ConflictError):
        press(rt, f"jobs/{job_id}/again", seed="new", once="a1")
    form = [("prompt", "an owl"), ("count", "2"), ("once", "q1")]
    assert [said(press(rt, "new/queue", *form)) for _ in range(2)] == ["2 jobs queued."] * 2
    assert own.jobs(mine="1")["total"] == 5


def test_a_model_that_is_waited_for_is_decided_about(rt: Runtime, own: HubApi) -> None:
    job_id = submit(own)
    assert "1 needs you" in until_first_line(rt, "needs you")
    assert "gone" in shown(rt, "queue", state="models")
    done = press(rt, f"jobs/{job_id}/decisions", requirement="0", decision="not_a_model")
    assert said(done) == "Decided for 1 job."
    assert own.job_why(job_id)["waiting_code"] != "model_missing"


def until_first_line(rt: Runtime, words: str) -> str:
    found = ""

    def ready() -> bool:
        nonlocal found
        found = str(asyncio.run(fragments.view(rt, "first-line", "", {})))
        return words in found

    until(ready, 20, words)
    return " ".join(re.sub(r"<[^>]*>", " ", found).split())


def test_a_picture_or_a_text_becomes_a_form_that_is_checked_and_queued(rt: Runtime, own: HubApi) -> None:
    for form in (
        asyncio.run(fragments.form_of_picture(rt, png(TEXT))),
        press(rt, "new/text", text=TEXT).html,
    ):
        assert 'value="512"' in form
        assert ">a fox &lt;lora:ink:1&gt;</textarea>" in form
        assert "No server can make it now" in form
    checked = press(rt, "new/check", text=TEXT, prompt="a fox <lora:ink:1>", steps="12")
    assert "ink" in checked.html
    done = press(rt, "new/queue", text=TEXT, prompt="a fox", steps="12", targets="desk")
    job = own.job(done.go.partition("id=")[2])
    assert (job["payload"]["steps"], job["submitted_by"].partition(":")[0]) == (12, "server")
    again = shown(rt, "new", **{"from": job["job_id"]})
    assert "Starts from" in again
    assert 'value="12"' in again
    for data, words in (
        (png("")[:40], "no generation text"),
        (b"<svg onload=alert(1)>", "no generation text"),
    ):
        with pytest.raises(InvalidValueError, match=words):
            asyncio.run(fragments.form_of_picture(rt, data))
    with pytest.raises(InvalidValueError):
        press(rt, "new/text", text=" ")
    assert "No model has this name" in shown(rt, "pick", kind="lora", search="ink")


def test_this_webui_pauses_itself_and_nobody_else(rt: Runtime, own: HubApi, real_hub: RealHub) -> None:
    desk = next(server["server_id"] for server in own.servers() if server["alias"] == "desk")
    other = join(real_hub, rt.places.server_dir.parent / "other", "attic").server_id
    assert said(press(rt, f"queue/servers/{desk}/pause")) == "Paused."
    page = shown(rt, "queue")
    assert f"queue/servers/{desk}/resume" in page
    assert f"queue/servers/{other}/" not in page
    with pytest.raises(ForbiddenError):
        press(rt, f"queue/servers/{other}/pause")


def test_a_job_that_is_gone_is_said_and_not_taken_for_an_old_hub(rt: Runtime, own: HubApi) -> None:
    assert "There is no such job" in shown(rt, "job", "0" * 8 + "-0000-0000-0000-" + "0" * 12)


# --- what lies here ----------------------------------------------------------------------------------------


def test_kept_jobs_stand_above_the_queue_and_are_sent_again_or_thrown_away(rt: Runtime) -> None:
    kept = rt.queueing.kept
    first = kept.keep("a" * 32, {"payload": {"prompt": "a <b>fox</b> " + "x" * 200}, "count": 3})
    kept.keep("b" * 32, {"payload": {"prompt": ""}})
    kept.refuse(first, "No such sampler <i>here</i>.")
    page = shown(rt, "queue")
    assert "1 queued job waits here until this WebUI has a hub" in page
    assert "1 job of this WebUI was refused" in page
    assert "a &lt;b&gt;fox&lt;/b&gt;" in page
    assert "No such sampler &lt;i&gt;here&lt;/i&gt;." in page
    assert "3 jobs" in page
    assert "2 jobs kept here" in until_first_line(rt, "kept here")
    assert said(press(rt, f"queue/kept/{'a' * 32}/again")) == "Sending it."
    assert "2 queued jobs wait here" in shown(rt, "queue")
    for key in "ab":
        assert said(press(rt, f"queue/kept/{key * 32}/throw-away")) == "Thrown away."


def test_pictures_that_did_not_get_to_the_hub_are_named_with_their_folder(rt: Runtime) -> None:
    aside = rt.places.server_dir / "results" / "0f3a-7.refused"
    aside.mkdir(parents=True)
    (aside / "reason.txt").write_text("A proxy refused it as <b>too large</b> (413).", "utf-8")
    page = shown(rt, "queue")
    assert "The pictures of 1 finished job did not get to the hub" in page
    assert "A proxy refused it as &lt;b&gt;too large&lt;/b&gt; (413)." in page
    assert str(aside) in page
    assert "queued job" not in shown(rt, "queue")
    for step in ("again", "throw-away"):
        with pytest.raises(NotFoundError, match="may have it by now"):
            press(rt, f"queue/kept/{'a' * 32}/{step}")


def test_results_that_wait_for_the_hub_are_told(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rt.runner, "_results", 2)
    assert "2 finished jobs of this WebUI wait here until the hub answers" in shown(rt, "queue")


# --- without one, or with another -------------------------------------------------------------------------


def test_without_a_hub_the_queue_says_what_to_do_and_so_does_every_button(rt: Runtime) -> None:
    assert "Set up a hub" in shown(rt, "queue")
    for action in ACTIONS:
        with pytest.raises(NoHubError, match="Set up"):
            press(rt, action, ("ids", "x"), action="cancel", text="x")
    with pytest.raises(NoHubError):
        asyncio.run(pictures.picture(rt, "0" * 36, 0))


@pytest.fixture
def said_by_hub(rt: Runtime) -> Iterator[dict[str, Say]]:
    """What a scripted hub answers by path; else that there is no such thing."""
    answers: dict[str, Say] = {"/healthz": say_json({**HEALTH, "hub_id": HUB_ID})}

    def answer(asked: Asked) -> Say:
        return answers.get(asked.path.partition("?")[0], say_error("not_found", 404))

    with ScriptedHub(answer) as hub:
        made = msgspec.structs.replace(new_identity("desk", hub.url), hub_id=HUB_ID)
        store_identity(rt.places.server_dir, made)
        yield answers


def test_a_hub_without_these_views_is_called_too_old(rt: Runtime, said_by_hub: dict[str, Say]) -> None:
    for view, ident in (("queue", ""), ("job", "1"), ("new", ""), ("pick", "")):
        assert "too old to show its queue" in shown(rt, view, ident), view
    said_by_hub["/views/new/check"] = Say(200, b"<p>a page</p>")
    said_by_hub["/api/v1/jobs/actions"] = Say(405, b'{"detail": "Method Not Allowed"}')
    for action in ("new/check", "jobs/actions"):
        with pytest.raises(HubAwayError, match=r"too old for that\. Update the hub"):
            press(rt, action, ("ids", "x"), action="cancel")


@pytest.mark.parametrize("body", [b"<svg onload=alert(1)>", b"GIF89a", b"", b"\x89PN"])
def test_only_a_png_of_a_hub_is_passed_on(rt: Runtime, said_by_hub: dict[str, Say], body: bytes) -> None:
    said_by_hub["/api/v1/jobs/1/pictures/0"] = Say(200, body, {"Content-Type": "image/png"})
    with pytest.raises(NotFoundError, match="not a PNG"):
        asyncio.run(pictures.picture(rt, "1", 0))
    said_by_hub["/api/v1/jobs/1/pictures/0"] = Say(200, png(TEXT), {"Content-Type": "text/html"})
    assert asyncio.run(pictures.picture(rt, "1", 0)) == png(TEXT)


def test_the_key_goes_to_no_other_hub_and_a_hub_that_is_away_is_named_with_a_remedy(
    rt: Runtime, tmp_path: Path
) -> None:
    keys: list[str] = []

    def answer(asked: Asked) -> Say:
        keys.append(asked.headers.get("Authorization", ""))
        return say_json({**HEALTH, "hub_id": "d" * 32})

    with ScriptedHub(answer) as hub:
        made = msgspec.structs.replace(new_identity("desk", hub.url), hub_id=HUB_ID)
        store_identity(rt.places.server_dir, made)
        with pytest.raises(HubAwayError, match="Another hub"):
            press(rt, "jobs/actions", ("ids", "x"), action="cancel")
    assert keys == [""]
    with pytest.raises(HubAwayError, match="Then try again"):
        press(rt, "jobs/actions", ("ids", "x"), action="cancel")
    assert "does not answer" in shown(rt, "queue")


def test_a_connection_is_used_again_and_greeted_again_after_a_while(
    rt: Runtime, said_by_hub: dict[str, Say], monkeypatch: pytest.MonkeyPatch
) -> None:
    said_by_hub["/api/v1/jobs/1"] = say_json({})
    calls, greeted = UserCalls(rt.places.server_dir), []
    said_by_hub["/healthz"] = say_json({**HEALTH, "hub_id": HUB_ID})
    for pause in (0, 0, 60):
        monkeypatch.setattr("stablequeue_client.hub_client.user_calls.GREETED_S", 10.0 - pause)
        calls.run(lambda hub: greeted.append(hub))
    assert greeted[0] is greeted[1]
    assert greeted[1] is not greeted[2]
    with pytest.raises(StableQueueError):
        calls.run(lambda hub: hub.job("2"))
    calls.run(lambda hub: greeted.append(hub))
    assert greeted[3] is not greeted[0]
