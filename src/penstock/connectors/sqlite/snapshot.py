"""One read transaction on a SQLite file."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from penstock.connectors.sql.extents import stepped_back
from penstock.connectors.sql.link import Value
from penstock.connectors.sql.selects import Arguments, Order
from penstock.connectors.sqlite.cells import to_cell
from penstock.connectors.sqlite.explain import safe_message
from penstock.connectors.sqlite.link import close_idle, open_for_reading
from penstock.errors import ConfigError, ExtractionError
from penstock.values import Cursor

T = TypeVar("T")

_numbers = itertools.count(1)


class SqliteSnapshot:
    """Every statement sees the file as it was at the first one. Raises ExtractionError."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._in_use = threading.RLock()
        if not Path(path).is_file():
            raise ExtractionError("there is no such SQLite file", where=path, fix="correct the connection's database")
        self._connection = self._call(lambda: open_for_reading(path))
        self._connection.create_collation("penstock_decimal", _compare_decimals)
        self._call(lambda: self._connection.execute("BEGIN"))

    def query(self, sql: str, params: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        with self._guard:
            return self._call(lambda: self._connection.execute(sql, [to_cell(p) for p in params]).fetchall())

    def stream(self, sql: str, params: Sequence[Value], first: int) -> Generator[list[tuple[Any, ...]], int, None]:
        """Rows in lists; send the wished size of the next list."""
        cursor = self._call(lambda: self._connection.execute(sql, [to_cell(p) for p in params]))
        size = first
        while rows := self._fetch(cursor, size):
            size = (yield rows) or size

    def _fetch(self, cursor: sqlite3.Cursor, size: int) -> list[tuple[Any, ...]]:
        return self._call(lambda: cursor.fetchmany(size))

    def spool(self, sql: str, params: Sequence[Value], width: int) -> str:
        """Copy a result into a temporary file of this connection; returns the SELECT that reads it."""
        name = f'temp."_penstock_spool_{next(_numbers)}"'
        columns = ", ".join(f"c{i}" for i in range(width))  # without a type: cells stay as they are
        self.query(f"CREATE TEMP TABLE {name.removeprefix('temp.')} ({columns})")
        self.query(f"INSERT INTO {name} {sql}", params)
        return f"SELECT {columns} FROM {name}"

    def end(self) -> None:
        """Let go of the file; spooled results stay."""
        self.query("COMMIT")

    def close(self) -> None:
        close_idle(self._connection, self._in_use)

    def is_wal(self) -> bool:
        return bool(self.query("PRAGMA journal_mode")[0][0] == "wal")

    # -- cursors -----------------------------------------------------------------------------------------------------

    def number(self, number: int) -> str:
        return f"?{number}"

    def bind(self, cursor: Cursor, order: Order, arguments: Arguments) -> str:
        return arguments.add(stored_value(cursor, order))

    def cursor_of(self, value: Any, order: Order) -> Cursor | None:
        if value is None:
            return None
        if isinstance(value, bytes):
            raise ExtractionError(f"the cursor {order.label} holds binary values", fix="choose another iterate_column")
        if isinstance(value, float) or order.type == "decimal":
            return Cursor("decimal", Decimal(value if isinstance(value, str) else repr(value)))
        return Cursor("int", value) if isinstance(value, int) else Cursor("string", value)

    def step_back(self, cursor: Cursor, amount: float) -> Cursor:
        """A text that is a time goes back in its own form."""
        if cursor.type != "string":
            return stepped_back(cursor, amount)
        text = str(cursor.value)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise ConfigError(
                "lookback needs a cursor that is a number or a time in ISO form", fix="use lookback: all, or none"
            ) from error
        if len(text) == 10:
            return Cursor("string", str(stepped_back(Cursor("date", moment.date()), amount).value))
        earlier = stepped_back(Cursor("datetime", moment), amount).value
        assert isinstance(earlier, datetime)
        return Cursor("string", text_like(text, earlier))

    def _call(self, action: Callable[[], T]) -> T:
        try:
            with self._in_use:
                return action()
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None) or 0
            busy = code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR)
            told, fix = safe_message(error)
            raise ExtractionError(
                f"SQLite: {told}", where=self._path, fix=fix, fault="transient" if busy else "data"
            ) from error


def _compare_decimals(first: str, second: str) -> int:
    one, two = Decimal(first), Decimal(second)
    return (one > two) - (one < two)


def stored_value(cursor: Cursor, order: Order) -> Value:
    """The cursor in the form that the column's cells have."""
    value = cursor.value
    if order.storage == "null":
        return to_cell(value)
    if order.storage == "text":
        if order.type == "decimal" and isinstance(value, int | Decimal):
            return format(Decimal(value), "f")
        if isinstance(value, datetime):
            return text_like(order.example or "", value)
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, str):
            return value
    elif isinstance(value, int):
        return value
    elif isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise ConfigError(
        f"a cursor of type {cursor.type} cannot be compared with {order.label}, whose cells are {order.storage}",
        fix="give the bound in the form the column is stored in, or load anew with --full-refresh",
    )


def text_like(example: str, moment: datetime) -> str:
    """The moment in the text form of the example: its separator, its zone; no fraction where none is needed."""
    separator = "T" if "T" in example[10:11] else " "
    text = moment.replace(tzinfo=None).isoformat(separator)
    if moment.tzinfo is None:
        return text
    zone = example[19:].lstrip(".0123456789")
    return text + ("Z" if zone == "Z" else moment.isoformat()[-6:] if zone else "")
