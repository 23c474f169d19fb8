"""From a press to the hub: kept first, then sent, and each once whatever happens between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.connection import Timeouts
from stablequeue_client.hub_client.identity import Identity, new_identity, store_identity
from stablequeue_client.shared.errors import HubUnreachableError, InvalidValueError
from stablequeue_client.shared.wire.inventory import JoinRequest
from stablequeue_client.webui.host.capture import CannotQueueError, CapturedPage, PageInput
from stablequeue_client.webui.submit.outbox import SubmissionOutbox
from stablequeue_client.webui.submit.sender import Sender
from stablequeue_client.webui.submit.submission import (
    ANNOUNCED_S,
    Submission,
    SubmissionChoices,
    SubmissionService,
)

from ..agent.real_hub import RealHub


class Page:
    """In the place of a host: the second value of a press is the payload."""

    def capture(self, tab: str, values: Sequence[Any], inputs: Sequence[PageInput]) -> CapturedPage:
        return CapturedPage(tab, values, inputs, {})

    def payload(self, pressed: CapturedPage) -> dict[str, Any]:
        if pressed.values[1] is None:
            raise CannotQueueError("There is no picture to start from.", remedy="Choose one.")
        return dict(pressed.values[1])


class LosesAnswers(HubApi):
    """The hub gets what is sent, and so many of its answers are lost."""

    lost = 0

    def submit_job(self, wanted: Any) -> Any:
        answer = super().submit_job(wanted)
        if type(self).lost > 0:
            type(self).lost -= 1
            raise HubUnreachableError
        return answer


def until(true: Callable[[], Any], limit_s: float = 20) -> Any:
    end = time.monotonic() + limit_s
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


class Desk:
    """The desk of one WebUI. ``api``: how its sender speaks to a hub."""

    def __init__(self, folder: Path, api: type[HubApi] = HubApi) -> None:
        self.kept = SubmissionOutbox(folder)

        def connect(identity: Identity, timeouts: Timeouts) -> HubApi:
            return api(identity.hub_url, identity.key, timeouts=timeouts)

        self.now = 0.0
        self.sender = Sender(folder, self.kept, connect)
        self.desk = SubmissionService(Page(), self.kept, self.sender, now=lambda: self.now)

    def submission(self, payload: dict[str, Any] | None, **choices: Any) -> str:
        key = self.desk.announce("txt2img", SubmissionChoices(**choices))
        assert self.desk.capture(key, "txt2img", (key, payload), [])
        until(lambda: self.now_of(key).stage in ("kept", "failed"))
        return key

    def now_of(self, key: str) -> Submission:
        press = self.desk.submission(key)
        assert press is not None
        return press


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    """One hub; each test is another server's."""
    made = RealHub(tmp_path_factory.mktemp("queueing") / "hub")
    made.start()
    yield made
    made.kill()


def jobs_of(hub: RealHub, server: Identity) -> list[dict[str, Any]]:
    """This server's, newest first."""
    mine = f"server:{server.server_id}"
    return [job for job in hub.admin().jobs(limit=200)["jobs"] if job["submitted_by"] == mine]


def join(hub: RealHub, folder: Path, alias: str = "attic") -> Identity:
    identity = new_identity(alias, hub.url)
    request = JoinRequest(identity.server_id, identity.secret, alias)
    answer = HubApi(hub.url, hub.join_key()).join(request)
    identity = msgspec.structs.replace(identity, hub_id=answer.hub_id)
    store_identity(folder, identity)
    return identity


def payload(**more: Any) -> dict[str, Any]:
    return {"prompt": "a cat", "seed": 5, "steps": 2, **more}


def test_what_was_kept_without_a_hub_is_sent_once_when_there_is_one(tmp_path: Path, hub: RealHub) -> None:
    before = Desk(tmp_path / "server")
    key = before.submission(payload(), count=3)
    assert [job.key for job in before.kept.all()] == [key]
    assert before.sender.sent(key) is None
    after = Desk(tmp_path / "server")  # the WebUI was started again meanwhile
    after.sender.start()
    server = join(hub, tmp_path / "server")
    after.sender.wake()
    sent = until(lambda: after.sender.sent(key))
    assert (sent.count, sent.possible) == (3, False)
    until(lambda: after.kept.all() == [])
    assert sorted(job["seed"] for job in jobs_of(hub, server)) == [5, 6, 7]


def test_a_lost_answer_makes_no_second_job(tmp_path: Path, hub: RealHub) -> None:
    server = join(hub, tmp_path / "server")
    LosesAnswers.lost = 2
    desk = Desk(tmp_path / "server", LosesAnswers)
    desk.sender.start()
    key = desk.submission(payload())
    until(lambda: desk.sender.sent(key))
    assert LosesAnswers.lost == 0
    assert len(jobs_of(hub, server)) == 1


def test_an_outage_delays_and_loses_nothing_and_keeps_the_order(tmp_path: Path, hub: RealHub) -> None:
    server = join(hub, tmp_path / "server")
    desk = Desk(tmp_path / "server")
    desk.sender.start()
    hub.kill()
    keys = [desk.submission(payload(prompt=f"cat {number}")) for number in range(3)]
    until(lambda: desk.sender.problem() is not None)
    assert [job.key for job in desk.kept.all()] == keys
    hub.start()
    desk.sender.wake()
    until(lambda: all(desk.sender.sent(key) for key in keys))
    listed = [hub.admin().job(job["job_id"]) for job in jobs_of(hub, server)]
    assert [job["payload"]["prompt"] for job in reversed(listed)] == ["cat 0", "cat 1", "cat 2"]


def test_a_refused_job_stays_with_the_reason_and_holds_up_no_other(tmp_path: Path, hub: RealHub) -> None:
    server = join(hub, tmp_path / "server")
    desk = Desk(tmp_path / "server")
    desk.sender.start()
    refused = desk.submission(payload(seed=2.5))
    fine = desk.submission(payload())
    until(lambda: desk.sender.sent(fine) and len(desk.kept.all()) == 1)
    (job,) = desk.kept.all()
    assert job.key == refused
    assert "seed" in job.refused
    assert desk.desk.send_again(refused)
    until(lambda: desk.kept.all()[0].refused)
    assert desk.kept.drop(refused)
    assert len(jobs_of(hub, server)) == 1


def test_a_job_for_one_server_goes_to_that_one(tmp_path: Path, hub: RealHub) -> None:
    identity = join(hub, tmp_path / "server")
    desk = Desk(tmp_path / "server")
    desk.sender.start()
    key = desk.submission(payload(), target=identity.server_id)
    sent = until(lambda: desk.sender.sent(key))
    assert hub.admin().job(sent.job_id)["targets"] == [identity.server_id]


def test_the_key_goes_to_no_other_hub(tmp_path: Path, hub: RealHub) -> None:
    identity = join(hub, tmp_path / "server")
    store_identity(tmp_path / "server", msgspec.structs.replace(identity, hub_id="0" * 32))
    desk = Desk(tmp_path / "server")
    desk.sender.start()
    desk.submission(payload())
    trouble = until(desk.sender.problem)
    assert trouble.code == "other_hub"
    assert len(desk.kept.all()) == 1


def test_what_the_page_cannot_make_is_said_and_kept_nowhere(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    press = desk.now_of(desk.submission(None))
    assert (press.stage, press.text) == ("failed", "There is no picture to start from. Choose one.")
    assert desk.kept.all() == []


def test_only_an_announced_press_is_taken_and_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path).desk
    key = desk.announce("txt2img", SubmissionChoices())
    values = (key, payload())
    assert not desk.capture("0" * 32, "txt2img", values, [])
    assert not desk.capture({"key": key}, "txt2img", values, [])
    assert not desk.capture(key, "img2img", values, [])
    taken = []
    threads = [
        threading.Thread(target=lambda: taken.append(desk.capture(key, "txt2img", values, [])))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False, False, False, True]


def test_a_press_that_comes_too_late_is_not_taken(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    key = desk.desk.announce("txt2img", SubmissionChoices())
    desk.now = ANNOUNCED_S + 1
    assert not desk.desk.capture(key, "txt2img", (key, payload()), [])
    assert desk.desk.timed_out(desk.now_of(key))


@pytest.mark.parametrize(
    "choices",
    [SubmissionChoices(count=0), SubmissionChoices(count=101), SubmissionChoices(seed_rule="guess")],
)
def test_what_the_page_does_not_offer_is_refused(tmp_path: Path, choices: SubmissionChoices) -> None:
    with pytest.raises(InvalidValueError):
        Desk(tmp_path).desk.announce("txt2img", choices)
