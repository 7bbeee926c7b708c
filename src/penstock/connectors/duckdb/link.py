"""One DuckDB cursor as a SqlLink."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.connectors.duckdb.dialect import DUCKDB
from penstock.connectors.duckdb.handles import RIGHTS, Session, open_session
from penstock.connectors.sql.link import Stamp, Value
from penstock.errors import CommitUnknownError, LoadError
from penstock.schema.types import to_arrow_schema
from penstock.values import TableName, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

_SOURCE = "_penstock_batches"
_NO_SPACE = "No space left on device"


class DuckdbLink:
    """Raises LoadError; FencedError where another process holds the file."""

    def __init__(self, path: str, *, makes_file: bool) -> None:
        self._path = path
        self._session: Session = open_session(path, makes_file=makes_file)
        self._in_transaction = False
        self._staged = 0

    def query(self, sql: str, params: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        return self._call(lambda: list(self._session.cursor.execute(sql, list(params)).fetchall()))

    def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        rows = self.query(sql, params)
        return int(rows[0][0]) if rows and isinstance(rows[0][0], int) else 0

    def begin(self) -> None:
        self.query("BEGIN TRANSACTION")
        self._in_transaction = True

    def commit(self) -> None:
        import duckdb

        try:
            with self._session.still:
                self._session.cursor.execute("COMMIT")
        except (duckdb.TransactionException, duckdb.ConstraintException) as error:
            raise self._explain(error) from error  # refused: nothing of it is in
        except duckdb.Error as error:
            full = _NO_SPACE in str(error)
            raise CommitUnknownError(
                f"DuckDB failed at COMMIT: {'the disk is full' if full else type(error).__name__}",
                where=self._path,
                fix=_fix_of(error) if full else "run again: the ledger tells what is in",
            ) from error
        finally:
            self._in_transaction = False

    def rollback(self) -> None:
        if self._in_transaction:
            self._in_transaction = False
            self.query("ROLLBACK")

    def copy_in(
        self, table: TableName, schema: TableSchema, batches: Iterable[pa.RecordBatch], stamp: Stamp | None = None
    ) -> int:
        import pyarrow as pa

        arrow = pa.schema([pa.field(f.name, _travelling(f.type)) for f in to_arrow_schema(schema)])
        failed: list[BaseException] = []
        reader = pa.RecordBatchReader.from_batches(arrow, _remembering(batches, arrow, failed))
        select = ", ".join(
            f"CAST({DUCKDB.quote(f.name)} AS {DUCKDB.column_type(f, schema.system)})" for f in schema.fields
        )
        names, params = DUCKDB.columns(schema.names), []
        if stamp:
            names, select = f"{names}, {DUCKDB.quote(stamp.column)}", f"{select}, ?"
            params = [stamp.value]
        if table.schema == DUCKDB.temporary_schema:  # a stage: its rows are numbered as they come
            names, select = f"{names}, {DUCKDB.position}", f"{select}, row_number() OVER () + {self._staged}"
        self._session.cursor.register(_SOURCE, reader)
        try:
            count = self.execute(f"INSERT INTO {DUCKDB.table(table)} ({names}) SELECT {select} FROM {_SOURCE}", params)
        except LoadError:
            if failed:  # the rows' own error, which DuckDB knows only as text
                raise failed[0] from None
            raise
        self._session.cursor.unregister(_SOURCE)  # after an error the transaction takes no command but ROLLBACK
        self._staged += count
        return count

    def lock(self, key: str, holder: str, wait_seconds: float) -> str | None:
        return self._session.lock(key, holder, wait_seconds)

    def unlock(self, key: str) -> None:
        self._session.unlock(key)

    def close(self) -> None:
        self._session.close()

    def _call(self, action: Callable[[], T]) -> T:
        import duckdb

        try:
            return action()
        except duckdb.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> LoadError:
        """Conversion and constraint errors quote the value that failed: only their kind is told."""
        import duckdb

        quotes_values = isinstance(error, duckdb.ConversionException | duckdb.ConstraintException | duckdb.DataError)
        # some constraints are checked by COMMIT alone, and then it is the transaction that failed
        quotes_values = quotes_values or "constraint violation" in str(error)
        told = "" if quotes_values else f": {str(error).splitlines()[0]}"
        passing = not quotes_values and isinstance(error, duckdb.TransactionException | duckdb.IOException)
        passing = passing or _target_changed(error)
        if quotes_values:
            error.args = ()  # so that chaining it is safe
        return LoadError(
            f"DuckDB {type(error).__name__}{told}",
            where=self._path,
            fix=_fix_of(error),
            fault="transient" if passing else "data",
        )


def _fix_of(error: Exception) -> str | None:
    import duckdb

    if isinstance(error, duckdb.ConstraintException):
        return "correct the rows, or the table's constraints: NOT NULL, UNIQUE, CHECK"
    if _target_changed(error):
        return "run again: it is planned from the table as it is now"
    if _NO_SPACE in str(error):
        return "make room on the disk, then run again: nothing of this load is visible"
    if "Permission denied" in str(error):
        return RIGHTS
    if isinstance(error, duckdb.ConversionException):
        return "correct the rows, or load the column as text: columns: {NAME: string}"
    return None


def _target_changed(error: Exception) -> bool:
    """Whether a table or column is gone that was there when the load was planned."""
    import duckdb

    gone = isinstance(error, duckdb.CatalogException) and "does not exist" in str(error)
    return gone or (isinstance(error, duckdb.BinderException) and "does not have a column" in str(error))


def _remembering(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, failed: list[BaseException]
) -> Iterator[pa.RecordBatch]:
    """The batches under the declared schema; the first error of theirs is kept as it was."""
    import pyarrow as pa

    try:
        for batch in batches:
            columns = [_as_text(c) if _travelling(c.type) != c.type else c for c in batch.columns]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
    except BaseException as error:
        failed.append(error)
        raise


def _travelling(kind: pa.DataType) -> pa.DataType:
    """DuckDB reads no decimal of more than 38 digits and none of a scale below zero: they lie as text."""
    import pyarrow as pa

    is_foreign = pa.types.is_decimal256(kind) or (pa.types.is_decimal(kind) and kind.scale < 0)
    return pa.string() if is_foreign else kind


def _as_text(column: pa.Array) -> pa.Array:
    import pyarrow as pa

    return pa.array([None if value is None else format(value, "f") for value in column.to_pylist()], pa.string())
