"""One session of a PostgreSQL destination, as the shared loader sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.connectors.postgres.connect import Session
from penstock.connectors.postgres.copy_in import CopyTarget, copy_rows
from penstock.connectors.postgres.dialect import TargetColumn, native_type, target_columns
from penstock.connectors.postgres.encode import CopyEncoder, EncodedColumn, takes
from penstock.connectors.postgres.exact import changed_text
from penstock.connectors.postgres.names import quote, quote_table
from penstock.connectors.sql.link import Stamp, Value
from penstock.errors import CommitUnknownError, LoadError, counted
from penstock.failpoints import failpoint
from penstock.values import Connection, TableName, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

_LOCK_WAIT_OVER = "55P03"
_HOLDER = """
SELECT coalesce(nullif(a.application_name, ''), 'a session'), l.pid, coalesce(host(a.client_addr), 'local'),
       to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::int8 << 32 | l.objid::int8) = $1::int8
"""


class PostgresLink:
    """Implements SqlLink. `fresh` names the tables made in the open transaction: only they may be frozen."""

    def __init__(self, connection: Connection, *, application: str = "load", namespace: str = "") -> None:
        self.session = Session(connection, application=application, kind=LoadError)
        self.fresh: set[TableName] = set()
        self._namespace = namespace

    def query(self, sql: str, params: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        return self.session.query(sql, *params)

    def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        """Run one statement; returns the number of rows that the server says it changed."""
        count = self.session.execute(sql, *params).rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    def begin(self) -> None:
        self.session.begin()

    def commit(self) -> None:
        """Raises CommitUnknownError when the connection broke before the reply came."""
        try:
            reply = self.session.execute("COMMIT")
        except LoadError as error:
            if not self.session.closed:
                raise
            raise CommitUnknownError(
                "the connection broke while the server was asked to commit", where=self.session.where
            ) from error
        self.fresh.clear()
        if reply != "COMMIT":
            raise LoadError("the transaction had failed before its COMMIT", where=self.session.where, fault="internal")

    def rollback(self) -> None:
        """End the transaction, if one is open, with nothing written; a broken session has ended it already."""
        self.fresh.clear()
        try:
            self.session.rollback()
        except LoadError:
            if not self.session.closed:
                raise

    def close(self) -> None:
        self.session.close()

    # -- locks -------------------------------------------------------------------------------------------------------

    def lock(self, key: str, holder: str, wait_seconds: float) -> str | None:
        """Take the session lock `key`: None when it is ours, else who holds it after `wait_seconds`."""
        number = lock_number(self._namespace, key)
        wait = f"{max(1, int(wait_seconds * 1000))}ms"
        settings = "set_config('lock_timeout', $2, false), set_config('tcp_keepalives_idle', '60', false)"
        if holder:
            settings += ", set_config('application_name', left('penstock ' || $3, 63), false)"
        names = (wait, holder) if holder else (wait,)
        if self.query(f"SELECT pg_try_advisory_lock($1), {settings}", (number, *names))[0][0]:
            return None
        try:
            self.query("SELECT pg_advisory_lock($1)", (number,))
        except LoadError as error:
            if getattr(error.__cause__, "sqlstate", None) != _LOCK_WAIT_OVER:
                raise
            return self._holder(number)
        return None

    def _holder(self, number: int) -> str:
        rows = self.query(_HOLDER, (number,))
        if not rows:
            return "a session that has just ended"
        application, pid, address, since = rows[0]
        return f"{application!r} (server process {pid}, from {address}, connected since {since} UTC)"

    def unlock(self, key: str) -> None:
        self.query("SELECT pg_advisory_unlock($1)", (lock_number(self._namespace, key),))

    # -- rows --------------------------------------------------------------------------------------------------------

    def copy_in(
        self, table: TableName, schema: TableSchema, batches: Iterable[pa.RecordBatch], stamp: Stamp | None = None
    ) -> int:
        """COPY inside the open transaction; `stamp` is the column's default, see stamp.py."""
        del stamp
        there = target_columns(self, table)
        missing = [name for name in schema.names if name not in there]
        if missing:
            raise LoadError(
                f"table {table} has no column {', '.join(map(repr, missing))}",
                where=str(table),
                fix="run again: it is planned from the table as it is now",
                fault="transient",
            )
        if all(takes(f.type, there[f.name].wire) for f in schema.fields):
            return self._copy(table, schema, there, batches)
        return self._copy_and_cast(table, schema, there, batches)

    def _copy(
        self,
        table: TableName,
        schema: TableSchema,
        there: dict[str, TargetColumn],
        batches: Iterable[pa.RecordBatch],
    ) -> int:
        columns = [EncodedColumn(f.name, f.type, there[f.name].wire) for f in schema.fields]
        target = CopyTarget(table, schema.names, freeze=table in self.fresh)
        return copy_rows(self.session, target, _encoded(CopyEncoder(columns, where=str(table)), batches))

    def _copy_and_cast(
        self,
        table: TableName,
        schema: TableSchema,
        there: dict[str, TargetColumn],
        batches: Iterable[pa.RecordBatch],
    ) -> int:
        """Some column's bytes are not its text (inet, ranges, ...): the server casts, from a table of this session."""
        stage = TableName("pg_temp", "_penstock_cast")
        natives = {
            f.name: there[f.name].native if takes(f.type, there[f.name].wire) else native_type(f) for f in schema.fields
        }
        columns = ", ".join(f"{quote(name)} {native}" for name, native in natives.items())
        self.execute(f"CREATE TEMP TABLE {quote(stage.name)} ({columns})")
        count = self._copy(stage, schema, target_columns(self, stage), batches)
        failpoint("load.stage_created")
        self.refuse_changed(stage, {name: there[name] for name in natives if there[name].native != natives[name]})
        casts = ", ".join(f"{quote(name)}::{there[name].native}" for name in natives)
        names = ", ".join(quote(name) for name in natives)
        moved = self.execute(f"INSERT INTO {quote_table(table)} ({names}) SELECT {casts} FROM {quote_table(stage)}")
        self.execute(f"DROP TABLE {quote_table(stage)}")
        return min(count, moved)

    def refuse_changed(self, stage: TableName, columns: Mapping[str, TargetColumn]) -> None:
        """A modifier (bit(4), numeric(5,1)[]) cuts and rounds in a cast: compare with the cast to the bare type."""
        for name, column in columns.items():  # of the stage: the column's own name may be another
            changed, params = changed_text(name, column.wire.name, column.native)
            bare = str(self.query("SELECT format_type($1::int8::oid, -1)", (column.wire.oid,))[0][0])
            if bare != column.native:
                cell = quote(name)
                changed += f" OR {cell}::{bare} IS DISTINCT FROM {cell}::{column.native}::{bare}"
            rows = self.query(f"SELECT count(*) FROM {quote_table(stage)} WHERE {changed}", params)[0][0]
            if rows:
                raise LoadError(
                    f"column {column.field.name!r} holds values that {column.native} cannot hold as they are: "
                    f"{counted(rows, 'row')}",
                    where=self.session.where,
                    fix="change the column's type under `columns:`, or the value in a transform",
                )


def _encoded(encoder: CopyEncoder, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    for batch in batches:
        if batch.num_rows:
            yield encoder.rows(batch)


def lock_number(namespace: str, key: str) -> int:
    """The advisory lock of a target: the ledger's schema is part of it, so that two ledgers do not meet."""
    digest = hashlib.sha256(f"penstock\x1f{namespace}\x1f{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


__all__ = ["PostgresLink", "lock_number"]
