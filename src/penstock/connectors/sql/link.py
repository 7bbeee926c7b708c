"""One connection to a SQL system, as the shared loader sees it: synchronous, used by one thread at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from penstock.records import dataclass
from penstock.values import TableName, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

Value: TypeAlias = bool | int | float | str | bytes | Decimal | date | datetime | time | None


@dataclass(frozen=True, slots=True)
class Stamp:
    """A column that the destination fills with one value for the whole load."""

    column: str
    value: datetime


class SqlLink(Protocol):
    """One session of one system.

    Every method raises LoadError (or a subclass) with the driver's error chained; its text carries no row value. Only
    `commit` may raise CommitUnknownError: the reply was lost.
    """

    def query(self, sql: str, params: Sequence[Value] = ()) -> list[tuple[Any, ...]]: ...
    def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        """Run one statement; returns the number of rows that the server says it changed."""
        ...

    def begin(self) -> None:
        """Open a transaction that may write."""
        ...

    def commit(self) -> None: ...
    def rollback(self) -> None:
        """End the transaction, if one is open, with nothing written; safe on a broken session."""
        ...

    def copy_in(
        self, table: TableName, schema: TableSchema, batches: Iterable[pa.RecordBatch], stamp: Stamp | None = None
    ) -> int:
        """Bulk load inside the open transaction; returns the server's own count.

        Batches have exactly the columns of `schema`, in order. With `stamp`, the column of that name, which is not in
        `schema`, gets its value in every row.
        """
        ...

    def lock(self, key: str, holder: str, wait_seconds: float) -> str | None:
        """Take the session lock `key`: None when it is ours, else who holds it after `wait_seconds`.

        The lock lives as long as the session: a dead process cannot hold it. From here on the session waits no longer
        than `wait_seconds` for anybody else's lock.
        """
        ...

    def unlock(self, key: str) -> None: ...
    def close(self) -> None:
        """End the session: an open transaction is rolled back, locks are released. Safe to repeat."""
        ...


Connect: TypeAlias = Callable[[], SqlLink]


@contextmanager
def linked(connect: Connect) -> Iterator[SqlLink]:
    """A session for the length of a block."""
    link = connect()
    try:
        yield link
    finally:
        link.close()


@contextmanager
def transaction(link: SqlLink) -> Iterator[None]:
    """Roll back when the block raises; the block itself commits."""
    link.begin()
    try:
        yield
    except BaseException:
        link.rollback()
        raise
