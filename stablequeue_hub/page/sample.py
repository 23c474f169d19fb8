"""The mark of the sample library, which every page shows."""

from __future__ import annotations

from pathlib import Path

SAMPLE_MARKER = "demo.json"
"""In the data folder of ``up --demo``; the client's ``demo.MARKER``."""


def is_sample(data_dir: Path) -> bool:
    """The data folder is that of ``up --demo``."""
    return (data_dir / SAMPLE_MARKER).is_file()
