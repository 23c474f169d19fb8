"""Pictures on their way to the hub: what is refused on the way is set aside, and holds up no other."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.connection import Timeouts
from stablequeue_client.hub_client.identity import Identity, store_identity
from stablequeue_client.hub_client.joined_connection import JoinedConnection
from stablequeue_client.hub_client.refused_here import refused_results
from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.shared.wire.inventory import Heartbeat, ServerCapabilities, SyncRequest
from stablequeue_client.shared.wire.runner import FinishRequest, NextRequest
from stablequeue_client.webui.runner import result_outbox
from stablequeue_client.webui.runner.result_outbox import Delivery, ResultOutbox, StoredResult

from ..agent.real_hub import RealHub
from ..fake_runner import FakeWebUI, png
from ..proxy import Passing, Proxy
from ..webui_queueing.test_submission_service import join


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    made = RealHub(tmp_path_factory.mktemp("results") / "hub")
    made.start()
    yield made
    made.kill()


def large_png(size: int) -> bytes:
    """A picture that no compression makes smaller."""
    small, noise = png(64, 64, "a cat\nSteps: 2"), os.urandom(size)
    chunk = len(noise).to_bytes(4, "big") + b"zzZz" + noise
    chunk += zlib.crc32(b"zzZz" + noise).to_bytes(4, "big")
    return small[:-12] + chunk + small[-12:]


class Place:
    """A server that joined, its results, and its way to the hub through a proxy."""

    def __init__(self, folder: Path, hub: RealHub, proxy: Proxy) -> None:
        self.folder, self.admin = folder, hub.admin()
        self.identity = msgspec.structs.replace(join(hub, folder, folder.name), hub_url=proxy.url)
        store_identity(folder, self.identity)
        self.server_id = self.identity.server_id
        self.outbox = ResultOutbox(folder)
        self.connection = JoinedConnection(self.identity, self._connect, Timeouts())
        self.runner = HubApi(hub.url, self.identity.key)
        self.runner.put_capabilities(self.server_id, ServerCapabilities("forge", works_for_others="always"))
        told = msgspec.convert(FakeWebUI(files=[]).inventory(), SyncRequest)
        self.runner.sync(self.server_id, told)
        beat = Heartbeat("b" * 16, 1, told.index_id, told.sequence, told.digest)
        self.runner.heartbeat(self.server_id, beat)

    def _connect(self, identity: Identity, timeouts: Timeouts) -> HubApi:
        return HubApi(identity.hub_url, identity.key, timeouts=timeouts)

    def made(self, picture: bytes) -> str:
        """A job that was handed over and made; its result waits here."""
        job_id = str(
            self.runner.submit_job(
                {"payload": {"prompt": "a cat", "steps": 2}, "targets": [self.server_id], "count": 1}
            )["job_id"]
        )
        job = self.runner.next_job(self.server_id, NextRequest("runner", others=True, wait_s=20))
        assert job is not None, self.admin.job_why(job_id)
        assert job.job_id == job_id
        sha256 = hashlib.sha256(picture).hexdigest()
        finish = FinishRequest(job.job_id, job.fence, "done", pictures=[sha256])
        self.outbox.keep(StoredResult(self.identity.hub_id or "", self.server_id, 1, finish), [picture])
        return job_id

    def deliver(self) -> list[Delivery]:
        api, hub_id = self.connection.hub(), self.identity.hub_id or ""
        return list(self.outbox.deliver(api, hub_id, self.server_id, self.connection.fault))

    def state(self, job_id: str) -> Any:
        return self.admin.job(job_id)["state"]


def is_picture(passing: Passing) -> bool:
    return "/pictures/" in passing.path and b"PNG" in passing.body[:8]


def test_a_picture_larger_than_the_proxys_limit_arrives_byte_for_byte(tmp_path: Path, hub: RealHub) -> None:
    picture = large_png(2_500_000)
    with Proxy(hub.url) as proxy:
        place = Place(tmp_path / "attic", hub, proxy)
        job_id = place.made(picture)
        (delivered,) = place.deliver()
        assert proxy.refused == []
    assert delivered.answer is not None
    assert delivered.answer.state == "completed"
    assert place.admin.job_picture(job_id, 0) == picture
    assert place.outbox.waiting() == 0


@pytest.mark.parametrize("status", [403, 405, 413])
def test_pictures_that_the_proxy_refuses_are_set_aside_and_the_next_ones_go(
    tmp_path: Path, hub: RealHub, status: int
) -> None:
    bad: list[bytes] = []

    def refuses(passing: Passing) -> int | None:
        return status if is_picture(passing) and passing.body in bad else None

    with Proxy(hub.url, refuses=refuses) as proxy:
        place = Place(tmp_path / f"shed{status}", hub, proxy)
        bad.append(png(64, 64, "bad"))
        refused = place.made(bad[0])
        (first,) = place.deliver()
        place.admin.cancel_job(refused)
        fine = place.made(png(64, 64, "a cat\nSteps: 2"))
        (second,) = place.deliver()
    assert first.refused
    assert str(status) in first.text
    assert second.answer is not None
    assert place.state(fine) == "completed"
    (aside,) = refused_results(place.folder)
    assert (aside.job_id, aside.reason) == (refused, first.text)
    assert (aside.folder / "0.png").read_bytes() == bad[0]
    assert place.outbox.waiting() == 0
    assert str(status) in str(place.admin.job_report(refused))


@pytest.mark.parametrize("tries", [2, result_outbox.TRIES])
def test_pictures_that_get_no_answer_are_sent_some_times_more(
    tmp_path: Path, hub: RealHub, monkeypatch: pytest.MonkeyPatch, tries: int
) -> None:
    monkeypatch.setattr(result_outbox, "RETRY_FIRST_S", 0.0)
    bad: list[bytes] = []

    def refuses(passing: Passing) -> int | None:
        return 504 if is_picture(passing) and passing.body in bad else None

    with Proxy(hub.url, refuses=refuses) as proxy:
        place = Place(tmp_path / f"loft{tries}", hub, proxy)
        bad.append(png(64, 64, "bad\nSteps: 2"))
        slow = place.made(bad[0])
        for _ in range(tries - 1):
            assert place.deliver() == []
        assert (place.state(slow), place.outbox.waiting()) == ("processing", 1)
        if tries < result_outbox.TRIES:
            bad.clear()
        (delivered,) = place.deliver()
    given_up = tries == result_outbox.TRIES
    assert (delivered.job_id, delivered.refused) == (slow, given_up)
    assert (place.state(slow) != "completed", len(refused_results(place.folder))) == (given_up, given_up)
    assert place.outbox.waiting() == 0


def test_a_hub_that_is_away_sets_nothing_aside(tmp_path: Path, hub: RealHub) -> None:
    away: list[int] = []
    with Proxy(hub.url, refuses=lambda passing: away[0] if away else None) as proxy:
        place = Place(tmp_path / "cellar", hub, proxy)
        place.made(png(64, 64, "a cat\nSteps: 2"))
        for status in (404, 502):
            place.connection.hub()
            away[:] = [status]
            with pytest.raises(StableQueueError):
                place.deliver()
            away.clear()
        assert place.outbox.waiting() == 1
        assert len(place.deliver()) == 1


def test_a_result_whose_picture_is_gone_from_the_disk_holds_up_no_other(tmp_path: Path, hub: RealHub) -> None:
    with Proxy(hub.url) as proxy:
        place = Place(tmp_path / "barn", hub, proxy)
        gone = place.made(png(64, 64, "one"))
        (picture,) = place.folder.glob(f"results/{gone}-*/0.png")
        picture.unlink()
        (delivered,) = place.deliver()
    assert (delivered.job_id, delivered.refused, place.outbox.waiting()) == (gone, True, 0)
    assert place.state(gone) != "processing"
