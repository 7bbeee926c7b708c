"""A bare ADBC session: the driver's DB-API layer imports every frame library that is installed, 60 MB of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class AdbcSession:
    """One connection with one transaction open; used by one thread. Driver errors pass through as they are."""

    def __init__(self, conninfo: str) -> None:
        import adbc_driver_manager as manager
        import adbc_driver_postgresql as driver

        self._manager = manager
        self._database = driver.connect(conninfo)
        try:
            self._connection = manager.AdbcConnection(self._database)
        except BaseException:
            self._database.close()
            raise
        self._connection.set_autocommit(False)

    def execute(self, sql: str, params: Sequence[str] = ()) -> None:
        """Run a statement to its end; its result, if any, is dropped."""
        statement = self._statement(sql)
        try:
            if params:
                statement.prepare()
                statement.bind(_row_of(params))
            handle, _ = statement.execute_query()
            with _reader(handle) as rows:
                for _ in rows:
                    pass
        finally:
            statement.close()

    def stream(self, sql: str, batch_bytes: int) -> AdbcStream:
        """The result in batches of about that size. Close it before the session."""
        statement = self._statement(sql)
        try:
            statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(batch_bytes)})
            handle, _ = statement.execute_query()
            return AdbcStream(statement, _reader(handle))
        except BaseException:
            statement.close()
            raise

    def schema(self, sql: str) -> Any:
        """The Arrow schema of a query's result, found without running it."""
        import pyarrow as pa

        statement = self._statement(sql)
        try:
            return pa.schema(statement.execute_schema())
        finally:
            statement.close()

    def close(self) -> None:
        self._connection.close()
        self._database.close()

    def _statement(self, sql: str) -> Any:
        statement = self._manager.AdbcStatement(self._connection)
        statement.set_sql_query(sql)
        return statement


class AdbcStream:
    """Record batches of one query."""

    def __init__(self, statement: Any, reader: Any) -> None:
        self._statement = statement
        self._reader = reader

    @property
    def schema(self) -> Any:
        return self._reader.schema

    def __iter__(self) -> Any:
        return iter(self._reader)

    def close(self) -> None:
        """Stops the query where it is still running."""
        self._reader.close()
        self._statement.close()


def _row_of(params: Sequence[str]) -> Any:
    import pyarrow as pa

    columns = [pa.array([value], pa.string()) for value in params]
    return pa.RecordBatch.from_arrays(columns, names=[str(number) for number in range(len(columns))])


def _reader(handle: Any) -> Any:
    from adbc_driver_manager._reader import AdbcRecordBatchReader

    return AdbcRecordBatchReader._import_from_c(handle.address)
