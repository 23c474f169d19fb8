"""A runner asks for jobs through a proxy that ends silent requests."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.identity import store_identity
from stablequeue_client.hub_client.patience import REMEMBERED_S, SHORTEST_S, Patience
from stablequeue_client.shared.errors import GatewayError, HubUnreachableError, NotAHubError, StableQueueError
from stablequeue_client.shared.wire.inventory import ServerCapabilities
from stablequeue_client.shared.wire.runner import NEXT_WAIT_MAX_S
from stablequeue_client.webui.host.models import LoadedModels
from stablequeue_client.webui.runner.runner import Runner, RunnerContext

from ..agent.real_hub import RealHub
from ..proxy import Passing, Proxy
from ..webui_queueing.test_submission_service import join


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    made = RealHub(tmp_path_factory.mktemp("polling") / "hub")
    made.start()
    yield made
    made.kill()


def runner(folder: Path) -> Runner:
    host: Any = SimpleNamespace(memory=LoadedModels)
    return Runner(
        RunnerContext(
            host=host,
            server_dir=folder,
            models=None,  # type: ignore[arg-type]
            works_for_others=lambda: "always",
            capabilities=ServerCapabilities,
            is_generating=lambda: False,
            is_up=lambda: True,
            connect=lambda identity, timeouts: HubApi(identity.hub_url, identity.key, timeouts=timeouts),
        )
    )


def ends_long_waits(passing: Passing) -> int | None:
    waits = json.loads(passing.body).get("wait_s", 25) if passing.path.endswith("/runner/next") else 0
    return 504 if waits > 4 else None


def behind(hub: RealHub, proxy: Proxy, folder: Path) -> Runner:
    store_identity(folder, msgspec.structs.replace(join(hub, folder, folder.name), hub_url=proxy.url))
    return runner(folder)


def test_a_wait_that_a_proxy_ends_is_asked_again_at_once_and_shorter(tmp_path: Path, hub: RealHub) -> None:
    with Proxy(hub.url, refuses=ends_long_waits) as proxy:
        made = behind(hub, proxy, tmp_path / "attic")
        started = time.monotonic()
        assert [made._turn() for _ in range(4)] == [0.0] * 4
        assert time.monotonic() - started < 10
        assert len(proxy.refused) == 3
        assert made._link.state().problem is None


@pytest.mark.parametrize("status", [502, 504])
def test_a_hub_that_is_away_behind_its_proxy_is_asked_ever_more_rarely(
    tmp_path: Path, hub: RealHub, status: int
) -> None:
    with Proxy(hub.url, refuses=lambda passing: status) as proxy:
        made = behind(hub, proxy, tmp_path / f"shed{status}")
        assert made._turn() > 0
        problem = made._link.state().problem
        assert problem is not None
        assert problem.code == "gateway"


def test_patience_shrinks_to_its_shortest_and_comes_back() -> None:
    now = 1000.0
    patience = Patience(NEXT_WAIT_MAX_S, lambda: now)
    assert patience.wait_s == NEXT_WAIT_MAX_S
    waits = []
    while patience.shorten(GatewayError()):
        waits.append(patience.wait_s)
    assert waits == [12.5, 6.25, 3.125, SHORTEST_S]
    now += REMEMBERED_S + 1
    assert patience.wait_s == NEXT_WAIT_MAX_S


@pytest.mark.parametrize(
    ("error", "shortened"),
    [
        (HubUnreachableError(), True),
        (GatewayError(), True),
        (NotAHubError(), False),
        (StableQueueError(), False),
    ],
)
def test_only_what_may_have_ended_on_the_way_shortens_it(error: StableQueueError, shortened: bool) -> None:
    assert Patience(25).shorten(error) is shortened
