"""Jobs queued in a WebUI whose hub is behind a proxy: one that is refused on the way holds up no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stablequeue_client.hub_client.identity import Identity, store_identity
from stablequeue_client.hub_client.refused_here import refused_submissions
from stablequeue_client.webui.submit import sender as sender_module

from ..agent.real_hub import RealHub
from ..proxy import Passing, Proxy
from .test_submission_service import Desk, jobs_of, join, payload, until

PICTURE = "A" * 1_300_000


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    made = RealHub(tmp_path_factory.mktemp("behind") / "hub")
    made.start()
    yield made
    made.kill()


def behind(hub: RealHub, proxy: Proxy, folder: Path) -> Identity:
    identity = msgspec.structs.replace(join(hub, folder), hub_url=proxy.url)
    store_identity(folder, identity)
    return identity


def is_job(passing: Passing, prompt: bytes) -> bool:
    return passing.path == "/api/v1/jobs" and prompt in passing.body


def test_a_job_with_a_large_picture_goes_through_nginx_as_it_comes(tmp_path: Path, hub: RealHub) -> None:
    with Proxy(hub.url) as proxy:
        server = behind(hub, proxy, tmp_path)
        desk = Desk(tmp_path)
        desk.sender.start()
        keys = [desk.submission(payload(init_images=[PICTURE])), desk.submission(payload())]
        until(lambda: all(desk.sender.sent(key) for key in keys))
    assert len(jobs_of(hub, server)) == 2
    assert proxy.refused == []


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 422])
def test_a_job_that_the_proxy_refuses_is_set_aside_with_the_reason(
    tmp_path: Path, hub: RealHub, status: int
) -> None:
    with Proxy(hub.url, refuses=lambda passing: status if is_job(passing, b"bad") else None) as proxy:
        server = behind(hub, proxy, tmp_path)
        desk = Desk(tmp_path)
        refused = desk.submission(payload(prompt="a bad cat"))
        small = [desk.submission(payload(prompt=f"small {number}")) for number in range(3)]
        desk.sender.start()
        until(lambda: all(desk.sender.sent(key) for key in small))
        (kept,) = until(lambda: [job for job in desk.kept.all() if job.refused])
        assert kept.key == refused
        assert "on the way to the hub" in kept.refused
        assert str(status) in kept.refused
        assert refused_submissions(tmp_path) == [kept.refused]
    assert len(jobs_of(hub, server)) == 3


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_job_that_gets_no_answer_waits_alone_and_is_sent_later(
    tmp_path: Path, hub: RealHub, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "RETRY_FIRST_S", 0.05)
    trouble = [True]

    def refuses(passing: Passing) -> int | None:
        return status if trouble and is_job(passing, b"slow") else None

    with Proxy(hub.url, refuses=refuses) as proxy:
        server = behind(hub, proxy, tmp_path)
        desk = Desk(tmp_path)
        slow, small = desk.submission(payload(prompt="slow")), desk.submission(payload())
        desk.sender.start()
        until(lambda: desk.sender.sent(small))
        until(lambda: [(job.key, job.refused) for job in desk.kept.all()] == [(slow, "")])
        assert until(desk.sender.problem).code == "gateway"
        trouble.clear()
        until(lambda: desk.sender.sent(slow))
    assert len(jobs_of(hub, server)) == 2


@pytest.mark.parametrize("status", [401, 404, 502])
def test_a_proxy_that_lets_nothing_through_sets_nothing_aside(
    tmp_path: Path, hub: RealHub, status: int
) -> None:
    with Proxy(hub.url, refuses=lambda passing: status) as proxy:
        behind(hub, proxy, tmp_path)
        desk = Desk(tmp_path)
        keys = [desk.submission(payload()) for _ in range(2)]
        desk.sender.start()
        problem: Any = until(desk.sender.problem)
        assert problem.code == ("gateway" if status == 502 else "not_a_hub")
        assert [(job.key, job.refused) for job in desk.kept.all()] == [(key, "") for key in keys]
