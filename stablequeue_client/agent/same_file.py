"""Whether two stat keys describe one and the same file. Pure."""

from __future__ import annotations

from stablequeue_client.index_rows import stored_stamps
from stablequeue_client.model_files import StatKey
from stablequeue_client.reconcile import same_stamps


def same_file(one: StatKey, other: StatKey) -> bool:
    """Each may come from the disk or from the index, which keeps 64 bits of everything."""
    return same_stamps(stored_stamps(one), stored_stamps(other))
