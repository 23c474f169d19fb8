"""What every test shares: quick and thorough profiles of hypothesis, and what CI may not skip."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "quick", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.register_profile("long", parent=settings.get_profile("quick"), max_examples=5_000)
settings.load_profile(os.environ.get("STABLEQUEUE_HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(autouse=True)
def _no_settings_from_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own STABLEQUEUE_* variables never change what a test sees."""
    for name in list(os.environ):
        if name.startswith("STABLEQUEUE_") and not name.startswith("STABLEQUEUE_TEST_"):
            monkeypatch.delenv(name)
