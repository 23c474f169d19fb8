"""Large bodies on their way through a proxy that takes only small ones, to new hubs and old ones."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.shared.errors import NotAHubError, TooLargeError
from stablequeue_client.shared.wire.jobs import JOB_MAX_BYTES

from ..proxy import Passing, Proxy
from .real_hub import RealHub
from .scripted_hub import HEALTH, Asked, Say, ScriptedHub, say_error, say_json


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = RealHub(tmp_path_factory.mktemp("pieces") / "hub")
    made.start()
    yield made
    made.kill()


def through(proxy: Proxy, hub: RealHub) -> HubApi:
    return HubApi(proxy.url, (hub.data / "admin.key").read_text().strip())


def submission(size: int) -> dict[str, Any]:
    picture = random.Random(size).randbytes(size // 2).hex()
    return {"payload": {"prompt": "a cat", "init_images": [picture]}}


@pytest.mark.parametrize("limit", [1 << 20, 300_000, 60_000])
def test_a_large_job_arrives_whole_however_little_the_proxy_takes(hub: RealHub, limit: int) -> None:
    wanted = submission(1_500_000)
    with Proxy(hub.url, limit=limit) as proxy:
        answer = through(proxy, hub).submit_job(wanted)
        assert len(proxy.refused) < 8
        assert max(passing.size for passing in proxy.passed) <= limit
    assert hub.admin().job(answer["job_id"])["payload"]["init_images"] == wanted["payload"]["init_images"]


def test_what_is_small_but_too_large_for_the_proxy_goes_in_pieces_as_well(hub: RealHub) -> None:
    with Proxy(hub.url, limit=100_000) as proxy:
        api = through(proxy, hub)
        assert api.submit_job(submission(400_000))["job_id"]
        first = len(proxy.refused)
        assert api.submit_job(submission(400_000))["job_id"]
        assert len(proxy.refused) == first, "the size that went through is remembered"


def test_a_small_job_goes_at_once(hub: RealHub) -> None:
    with Proxy(hub.url) as proxy:
        through(proxy, hub).submit_job(submission(1000))
        assert [passing.path for passing in proxy.passed] == ["/api/v1/jobs"]


def test_a_piece_that_a_proxy_drops_is_sent_again(hub: RealHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stablequeue_client.hub_client.connection.PIECE_WAIT_MAX_S", 0.01)
    trouble = [502, 504, 503]

    def refuses(passing: Passing) -> int | None:
        return trouble.pop() if trouble and "offset=7" in passing.path else None

    with Proxy(hub.url, refuses=refuses) as proxy:
        assert through(proxy, hub).submit_job(submission(2_000_000))["job_id"]
    assert trouble == []


def test_a_proxy_that_refuses_every_piece_is_named_after_few_tries(hub: RealHub) -> None:
    with Proxy(hub.url, limit=1000) as proxy:
        with pytest.raises(NotAHubError, match="413"):
            through(proxy, hub).submit_job(submission(2_000_000))
        assert len(proxy.refused) < 10


def test_the_hubs_own_limit_is_told_as_its_own(hub: RealHub) -> None:
    with Proxy(hub.url) as proxy, pytest.raises(TooLargeError):
        through(proxy, hub).submit_job(submission(JOB_MAX_BYTES + 10))


def old_hub(asked: Asked) -> Say:
    if asked.path == "/healthz":
        return say_json(HEALTH)
    if asked.path.startswith("/api/v1/bodies/"):
        return say_error("not_found", 404)
    return say_json({"job_id": "1", "size": len(asked.body)})


def test_an_old_hub_gets_it_whole(tmp_path: Path) -> None:
    with ScriptedHub(old_hub) as hub:
        assert HubApi(hub.url).submit_job(submission(1_500_000))["size"] > 1_500_000
        assert [asked.path for asked in hub.asked] == ["/healthz", "/api/v1/jobs"]
