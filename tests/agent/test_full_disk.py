"""The data folder cannot be written for a while: the agent stays, and catches up by itself."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from stablequeue_client.agent import main as agent_process

from .real_hub import RealHub, as_ready, environment, on_disk, until, write_model

pytest.importorskip("fastapi", reason="the hub is not installed here")
resource = pytest.importorskip("resource", reason="limits of another process are a matter of Linux")
if not hasattr(resource, "prlimit"):
    pytest.skip("limits of another process are a matter of Linux", allow_module_level=True)

BLOCKED_S = 8.0


def test_an_agent_outlives_a_data_folder_that_cannot_be_written(real_hub: RealHub, tmp_path: Path) -> None:
    loras, data, log_path = tmp_path / "loras", tmp_path / "data", tmp_path / "agent.log"
    write_model(loras / "first.safetensors", 20_000, 1)
    words = [
        sys.executable, "-m", "stablequeue_client", "agent", "--hub", real_hub.url,
        "--join", real_hub.join_key(), "--alias", "box", "--loras", str(loras), "--data", str(data),
    ]  # fmt: skip
    with (
        log_path.open("wb") as log,
        subprocess.Popen(
            words, env=environment(), stdout=subprocess.DEVNULL, stderr=log, cwd=tmp_path
        ) as agent,
    ):
        try:
            until(lambda: real_hub.rows() == as_ready(on_disk(loras)), 30, "the first file at the hub")
            _, free = resource.prlimit(agent.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (0, free))
            for number in range(2, 6):
                write_model(loras / f"m{number}.safetensors", 20_000, number)
            time.sleep(BLOCKED_S)
            assert agent.poll() is None
            assert real_hub.server()["reachable"]
            resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (free, free))
            seconds = 3 * agent_process.FAILED_RETRY_S + 10
            until(lambda: real_hub.rows() == as_ready(on_disk(loras)), seconds, "the rest at the hub")
        finally:
            agent.terminate()
        assert agent.wait(15) == 0
