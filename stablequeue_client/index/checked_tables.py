"""Tables whose rows carry a checksum. Pure but for the connection that is passed in.

The last column is the CRC32 of the row's other values as MessagePack, so that value and type count.
``quick_check`` alone misses about half of all flipped bits; together they miss none.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from stablequeue_client.shared.errors import DataFolderError

_encode = msgspec.msgpack.Encoder().encode


class DamagedDatabaseError(DataFolderError):
    """A local database is damaged."""

    code = "damaged_database"
    remedy_text = "It is moved aside and rebuilt from the files themselves when it is opened again."


@dataclass(frozen=True)
class Table:
    """Columns as (name, SQL type), without the checksum; ``key`` are the first of them."""

    name: str
    columns: tuple[tuple[str, str], ...]
    key: int = 1

    @property
    def names(self) -> str:
        return ", ".join(name for name, _ in self.columns)

    @property
    def create(self) -> str:
        columns = ", ".join(f"{name} {kind}" for name, kind in self.columns)
        key = ", ".join(name for name, _ in self.columns[: self.key])
        return (
            f"CREATE TABLE {self.name} ({columns}, checksum INTEGER NOT NULL, "
            f"PRIMARY KEY ({key})) WITHOUT ROWID"
        )

    def put(self, connection: sqlite3.Connection, rows: Iterable[tuple[Any, ...]]) -> None:
        """Inserts or replaces rows (values in the order of the columns)."""
        marks = ", ".join("?" * (len(self.columns) + 1))
        connection.executemany(
            f"INSERT OR REPLACE INTO {self.name} VALUES ({marks})",  # noqa: S608 (a constant name)
            ((*row, checksum(row)) for row in rows),
        )

    def select(
        self, connection: sqlite3.Connection, where: str = "1", values: tuple[Any, ...] = ()
    ) -> list[tuple[Any, ...]]:
        """Rows that meet ``where``, in key order, each checked. Raises DamagedDatabaseError."""
        return list(self.iterate(connection, where, values))

    def iterate(
        self, connection: sqlite3.Connection, where: str = "1", values: tuple[Any, ...] = ()
    ) -> Iterator[tuple[Any, ...]]:
        """As ``select``, one by one."""
        order = ", ".join(name for name, _ in self.columns[: self.key])
        cursor = connection.execute(
            f"SELECT {self.names}, checksum FROM {self.name} WHERE {where} ORDER BY {order}",  # noqa: S608
            values,
        )
        return self._checked(cursor)

    def _checked(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """The rows without their checksums, once these agree."""
        crc32, encode = zlib.crc32, _encode
        for row in rows:
            values = row[:-1]
            if crc32(encode(values)) != row[-1]:
                raise DamagedDatabaseError(f"A row of {self.name} does not match its checksum.")
            yield values


FACTS = Table("facts", (("name", "TEXT NOT NULL"), ("value", "TEXT NOT NULL")))


def checksum(values: tuple[Any, ...]) -> int:
    """CRC32 over values and types of a row."""
    return zlib.crc32(_encode(tuple(values)))


def get_fact(connection: sqlite3.Connection, name: str) -> str | None:
    found = FACTS.select(connection, "name = ?", (name,))
    return str(found[0][1]) if found else None


def set_facts(connection: sqlite3.Connection, facts: Mapping[str, str]) -> None:
    FACTS.put(connection, facts.items())
