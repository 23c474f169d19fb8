"""Whether two stat keys describe one and the same file. Pure."""

from __future__ import annotations

from stablequeue_client.index.reconcile import same_stamps
from stablequeue_client.index.rows import stored_stamps
from stablequeue_client.shared.models.model_files import StatKey


def same_file(one: StatKey, other: StatKey) -> bool:
    """Each may come from the disk or from the index, which keeps 64 bits of everything."""
    return same_stamps(stored_stamps(one), stored_stamps(other))
