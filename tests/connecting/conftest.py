"""Two real hubs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .a_hub import Hub


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    one = Hub(tmp_path / "hub")
    yield one
    one.end()


@pytest.fixture
def other_hub(tmp_path: Path) -> Iterator[Hub]:
    one = Hub(tmp_path / "other-hub")
    yield one
    one.end()
