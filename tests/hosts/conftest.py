"""The fake host in both families, each with the real Gradio of its family."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .running_host import FAMILIES, FakeHost, StartHost, host_python, start_fake_host


@pytest.fixture(scope="module")
def start_host() -> Iterator[StartHost]:
    """Start one: ``start_host(family, data, "--listen", environment={...})``.

    All end with the module: each that stays takes time from the others.
    """
    started: list[FakeHost] = []

    def start(family: str, data: Path, *words: str, environment: dict[str, str] | None = None) -> FakeHost:
        host = start_fake_host(family, data, words, environment or {})
        started.append(host)
        return host

    yield start
    for host in started:
        host.stop()


@pytest.fixture(params=FAMILIES, scope="session")
def family(request: pytest.FixtureRequest) -> str:
    """Each test that uses it runs once per family."""
    host_python(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def host(family: str, start_host: StartHost, tmp_path_factory: pytest.TempPathFactory) -> FakeHost:
    """One fake host per family, with sample models, shared by tests that leave it as it was."""
    return start_host(family, tmp_path_factory.mktemp(family) / "webui")
