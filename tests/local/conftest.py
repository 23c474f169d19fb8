"""An index on disk and the WebUI's snapshot of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stablequeue_client.index.snapshot import IndexReader

from .synthetic_index import SyntheticIndex, make_index


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SyntheticIndex]:
    """An open index with folders and no files."""
    opened = make_index(tmp_path, 0)
    yield opened
    opened.close()


@pytest.fixture
def models(tmp_path: Path) -> Iterator[IndexReader]:
    """The WebUI's snapshot of ``index``; it does not pause."""
    reader = IndexReader(tmp_path, pause=lambda seconds: None)
    yield reader
    reader.close()
