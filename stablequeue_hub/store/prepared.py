"""Statements that are turned into SQL text once per database, run on the driver's own cursor.

Building a statement and its result costs SQLAlchemy several times what SQLite needs for an indexed look-up;
the answers that the page asks for every two seconds, and the writer's look-ups, go through here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler


class _ListParameter(ColumnElement[Any]):
    inherit_cache = False  # never met by SQLAlchemy's own cache: Prepared keeps the text

    def __init__(self, name: str) -> None:
        self.parameter: sa.BindParameter[Any] = sa.bindparam(name)


@compiles(_ListParameter)
def _in_brackets(element: _ListParameter, compiler: SQLCompiler, **options: Any) -> str:
    return f"({compiler.process(element.parameter, **options)})"


def in_list(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """``column IN (...)``, the values of the list parameter ``name``."""
    return column.bool_op("IN")(_ListParameter(name))


class _Compiled:
    """A statement's text for one database. ``constants``: the values that stand in the statement itself."""

    def __init__(self, statement: Any, dialect: Any) -> None:
        self._mark = "?" if dialect.name == "sqlite" else "%s"
        made = statement.compile(dialect=type(dialect)(paramstyle="qmark" if self._mark == "?" else "format"))
        self.order: list[str] = made.positiontup
        self.constants = {name: bind.value for name, bind in made.binds.items() if not bind.required}
        self._parts = str(made).split(self._mark)
        self._texts: dict[tuple[int, ...], str] = {}

    def with_marks(self, arguments: list[Any]) -> tuple[str, tuple[Any, ...]]:
        """The text with as many marks as the lists among ``arguments`` need, and the arguments in a row."""
        lengths: list[int] = []
        flat: list[Any] = []
        for argument in arguments:
            if type(argument) is list:
                padding = (1 << (len(argument) - 1).bit_length()) - len(argument)
                flat += argument
                flat += argument[-1:] * padding  # few lengths: few texts for the database to prepare
                lengths.append(len(argument) + padding)
            else:
                flat.append(argument)
                lengths.append(1)
        key = tuple(lengths)
        text = self._texts.get(key)
        if text is None:
            pieces = [", ".join([self._mark] * length) for length in lengths]
            text = self._parts[0] + "".join(
                piece + part for piece, part in zip(pieces, self._parts[1:], strict=True)
            )
            self._texts[key] = text
        return text, tuple(flat)


class Prepared:
    """A statement without SQLAlchemy's own ``in_``: its parameters are ``bindparam``s and ``in_list``s."""

    def __init__(self, statement: sa.Executable) -> None:
        self._statement: Any = statement
        self._compiled: dict[str, _Compiled] = {}

    def all(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        """Every row, for ``values`` by parameter name; lists (not empty) for those of ``in_list``."""
        text, arguments = self._text(connection, values)
        cursor = connection.connection.cursor()
        try:
            cursor.execute(text, arguments)
            return cursor.fetchall()
        finally:
            cursor.close()

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Run an INSERT, UPDATE or DELETE; how many rows it touched."""
        text, arguments = self._text(connection, values)
        cursor = connection.connection.cursor()
        try:
            cursor.execute(text, arguments)
            return int(cursor.rowcount)
        finally:
            cursor.close()

    def _text(self, connection: Connection, values: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
        compiled = self._compiled.get(connection.dialect.name)
        if compiled is None:
            compiled = _Compiled(self._statement, connection.dialect)
            self._compiled[connection.dialect.name] = compiled
        known = {**compiled.constants, **values}
        return compiled.with_marks([known[name] for name in compiled.order])
