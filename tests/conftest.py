"""What every test shares: quick and thorough profiles of hypothesis, and what CI may not skip."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from .turns import turn

settings.register_profile(
    "quick", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.register_profile("long", parent=settings.get_profile("quick"), max_examples=5_000)
settings.load_profile(os.environ.get("STABLEQUEUE_HYPOTHESIS_PROFILE", "quick"))


WAITING = ("hosts", "gate", "webui_tab", "webui_queueing", "own_hub", "agent", "cli", "contract", "browser")
"""Folders of tests that mostly wait for other programs, those with the longest modules first."""


def pytest_configure(config: pytest.Config) -> None:
    """xdist begins with the modules of the most tests, so that few long ones are left at the end."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for other programs begins first, so that what only computes fills the gaps."""
    places = {name: place for place, name in enumerate(WAITING)}
    root = Path(__file__).parent
    items.sort(key=lambda item: places.get(item.path.relative_to(root).parts[0], len(WAITING)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Outside of everything, the time limit too: waiting for a turn is not the test's time."""
    with turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.fixture(autouse=True)
def _no_settings_from_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own STABLEQUEUE_* variables never change what a test sees."""
    for name in list(os.environ):
        if name.startswith("STABLEQUEUE_") and not name.startswith("STABLEQUEUE_TEST_"):
            monkeypatch.delenv(name)
