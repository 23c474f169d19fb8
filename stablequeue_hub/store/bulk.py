"""Many rows at once, in the same SQL on both databases.

Driver-level ``executemany`` on plain tuples: several times faster than statements built per row, and in
slices, so that a large write never keeps other threads of the process waiting for long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Table

SLICE = 500

T = TypeVar("T")


def slices(items: Iterable[T], size: int = SLICE) -> Iterator[list[T]]:
    """``items`` in lists of at most ``size``."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def insert_rows(
    connection: Connection,
    table: Table,
    columns: tuple[str, ...],
    rows: Sequence[tuple[Any, ...]],
    *,
    key: tuple[str, ...] = (),
    update: tuple[str, ...] = (),
) -> None:
    """Insert ``rows`` (values in the order of ``columns``). Where ``key`` is there already, the columns of
    ``update`` are overwritten, or nothing happens without any; without ``key`` that is an error."""
    change_rows(connection, _insert_sql(table.name, columns, key, update), rows)


def change_rows(connection: Connection, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run a statement written with ``?`` once for each tuple."""
    if connection.dialect.paramstyle != "qmark":
        sql = sql.replace("?", "%s")
    for part in slices(rows):
        connection.exec_driver_sql(sql, part)


@lru_cache(maxsize=64)
def _insert_sql(table: str, columns: tuple[str, ...], key: tuple[str, ...], update: tuple[str, ...]) -> str:
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    sql = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 (names of our own tables)
    if not key:
        return sql
    changes = ", ".join(f"{column} = excluded.{column}" for column in update)
    action = f"UPDATE SET {changes}" if update else "NOTHING"
    return f"{sql} ON CONFLICT ({', '.join(key)}) DO {action}"
