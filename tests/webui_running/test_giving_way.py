"""A job that comes when its moment is over goes back at once, for another server."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stablequeue_client.hub_client.identity import Identity
from stablequeue_client.shared.wire.inventory import ServerCapabilities, WorksForOthers
from stablequeue_client.shared.wire.runner import Assignment, RefuseRequest
from stablequeue_client.webui.runner.runner import Runner, RunnerContext

ME = Identity("s" * 8, "secret", "attic", "http://127.0.0.1:1", "hub")


class Hub:
    """Takes what is given back."""

    def __init__(self) -> None:
        self.refused: list[RefuseRequest] = []

    def refuse_job(self, server_id: str, said: RefuseRequest) -> None:
        self.refused.append(said)


class TakenError(Exception):
    """The job was not given back."""


def runner(tmp_path: Path, *, generating: bool, works: WorksForOthers) -> Runner:
    def no_renewing(*_: Any) -> Any:
        raise TakenError

    made = Runner(
        RunnerContext(
            host=None,  # type: ignore[arg-type]
            server_dir=tmp_path,
            models=None,  # type: ignore[arg-type]
            works_for_others=lambda: works,
            capabilities=ServerCapabilities,
            is_generating=lambda: generating,
            is_up=lambda: True,
            connect=lambda *_: None,  # type: ignore[arg-type, return-value]
        )
    )
    made._lease_renewal = no_renewing  # type: ignore[method-assign]
    return made


@pytest.mark.parametrize(
    ("generating", "works", "own", "given_back"),
    [
        (True, "always", False, True),
        (False, "always", False, False),
        (True, "always", True, False),
        (False, "never", False, True),
        (False, "idle", False, True),
    ],
)
def test_a_job_of_others_goes_back_while_somebody_generates(
    tmp_path: Path, generating: bool, works: Any, own: bool, given_back: bool
) -> None:
    hub = Hub()
    connection = SimpleNamespace(hub=lambda: hub, identity=ME)
    job = Assignment("job", 1, "a cat", {}, [], submitter="forge", own=own)
    made = runner(tmp_path, generating=generating, works=works)
    if given_back:
        made._work(connection, job)  # type: ignore[arg-type]
        assert [said.code for said in hub.refused] == ["busy"]
    else:
        with pytest.raises(TakenError):
            made._work(connection, job)  # type: ignore[arg-type]
        assert hub.refused == []
