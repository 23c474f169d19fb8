"""Whether two stat keys describe one and the same file. Pure."""

from __future__ import annotations

from stablequeue_client.shared.model_files.model_file import StatKey

Stamps = tuple[int, int, int, int]
"""(size, mtime_ns, ctime_ns, inode) as the index stores them."""
_INT64 = 1 << 63


def same_file(one: StatKey, other: StatKey) -> bool:
    """Each may come from the disk or from the index, which keeps 64 bits of everything."""
    return same_stamps(stored_stamps(one), stored_stamps(other))


def same_stamps(one: Stamps, other: Stamps) -> bool:
    """Equal; an inode counts where both sides have one."""
    return one[:3] == other[:3] and (one[3] == other[3] or not (one[3] and other[3]))


def _to_int64(value: int) -> int:
    """``value`` within the 64 bits that SQLite has: inodes are unsigned, stamps may lie beyond 2262."""
    return value if -_INT64 <= value < _INT64 else (value + _INT64) % (2 * _INT64) - _INT64


def stored_stamps(stat: StatKey) -> Stamps:
    return _to_int64(stat.size), _to_int64(stat.mtime_ns), _to_int64(stat.ctime_ns), _to_int64(stat.inode)
