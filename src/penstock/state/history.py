"""The tables of run history: their SQL, their migrations and the way records become rows, for every backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, TypeAlias

from penstock.errors import BackendError
from penstock.records import dataclass
from penstock.values import RunRecord, TableRecord

Cell: TypeAlias = "str | int | datetime | None"

RUN_COLUMNS = tuple(f.name for f in fields(RunRecord))
TABLE_COLUMNS = tuple(f.name for f in fields(TableRecord))
STAMPS = frozenset({"started_at", "finished_at"})
FOREVER = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one system spells the history: a prefix before each name, and its types."""

    prefix: str
    stamp: str
    count: str

    def table(self, name: str) -> str:
        return f"{self.prefix}{name}"


@dataclass(frozen=True, slots=True)
class Statements:
    """Parameters are $1, $2, ... in column order, in every system."""

    put_run: str
    put_table: str
    runs: str  # $1: started before, $2: limit
    run: str
    tables: str


def statements(dialect: Dialect) -> Statements:
    runs, tables = dialect.table("penstock_runs"), dialect.table("penstock_tables")
    run_columns, table_columns = ", ".join(RUN_COLUMNS), ", ".join(TABLE_COLUMNS)
    return Statements(
        put_run=_put(runs, RUN_COLUMNS, ("run_id",)),
        put_table=_put(tables, TABLE_COLUMNS, ("run_id", "pipeline", "target")),
        runs=f"SELECT {run_columns} FROM {runs} WHERE started_at < $1 ORDER BY started_at DESC, run_id DESC LIMIT $2",
        run=f"SELECT {run_columns} FROM {runs} WHERE run_id = $1",
        tables=f"SELECT {table_columns} FROM {tables} WHERE run_id = $1 ORDER BY started_at, pipeline, target",
    )


def _put(table: str, columns: Sequence[str], key: Sequence[str]) -> str:
    names = ", ".join(columns)
    places = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
    updates = ", ".join(f"{c} = excluded.{c}" for c in columns if c not in key)
    return f"INSERT INTO {table} ({names}) VALUES ({places}) ON CONFLICT ({', '.join(key)}) DO UPDATE SET {updates}"


def migrations(dialect: Dialect) -> tuple[tuple[str, ...], ...]:
    """Element n brings version n to n + 1. Elements are never changed once released, only added."""
    runs, tables = dialect.table("penstock_runs"), dialect.table("penstock_tables")
    stamp, count = dialect.stamp, dialect.count
    return (
        (
            f"CREATE TABLE {runs} (run_id text PRIMARY KEY, project text NOT NULL, environment text NOT NULL,"
            f" command text NOT NULL, state text NOT NULL, started_at {stamp} NOT NULL,"
            f" finished_at {stamp}, error text)",
            f"CREATE TABLE {tables} (run_id text NOT NULL, pipeline text NOT NULL, stream text NOT NULL,"
            f" target text NOT NULL, strategy text NOT NULL, state text NOT NULL, started_at {stamp} NOT NULL,"
            f" finished_at {stamp}, route text, loads {count} NOT NULL, rows_read {count} NOT NULL,"
            f" rows_written {count} NOT NULL, rows_deduplicated {count} NOT NULL, rows_quarantined {count} NOT NULL,"
            f" size_bytes {count} NOT NULL, cursor_before text, cursor_after text, error text,"
            " PRIMARY KEY (run_id, pipeline, target))",
        ),
        (f"CREATE INDEX penstock_runs_newest ON {runs} (started_at, run_id)",),
    )


def version_statements(dialect: Dialect) -> tuple[str, str, str, str]:
    """Create the version table, read it, clear it, write it ($1)."""
    table = dialect.table("penstock_version")
    return (
        f"CREATE TABLE IF NOT EXISTS {table} (version {dialect.count} NOT NULL)",
        f"SELECT version FROM {table}",
        f"DELETE FROM {table}",
        f"INSERT INTO {table} (version) VALUES ($1)",
    )


def pending(dialect: Dialect, version: int, where: str) -> tuple[str, ...]:
    """The statements that bring `version` up to date. Raises BackendError when it is newer than this Penstock."""
    known = migrations(dialect)
    if version > len(known):
        raise BackendError(
            f"the run history has format {version}, this Penstock knows formats up to {len(known)}",
            where=where,
            fix="upgrade Penstock, or name another database under settings.backend",
            fault="config",
        )
    return tuple(statement for step in known[version:] for statement in step)


def latest(dialect: Dialect) -> int:
    return len(migrations(dialect))


def run_cells(run: RunRecord) -> list[Cell]:
    return [_clean(getattr(run, name)) for name in RUN_COLUMNS]


def table_cells(record: TableRecord) -> list[Cell]:
    return [_clean(getattr(record, name)) for name in TABLE_COLUMNS]


def run_from(row: Sequence[Any]) -> RunRecord:
    return RunRecord(**_typed(RUN_COLUMNS, row))


def table_from(row: Sequence[Any]) -> TableRecord:
    return TableRecord(**_typed(TABLE_COLUMNS, row))


def _typed(columns: Sequence[str], row: Sequence[Any]) -> Mapping[str, Any]:
    return {name: _stamp(cell) if name in STAMPS else cell for name, cell in zip(columns, row, strict=True)}


def _stamp(cell: str | datetime | None) -> datetime | None:
    if isinstance(cell, str):
        return datetime.fromisoformat(cell)
    return cell.astimezone(UTC) if cell is not None else None


def _clean(cell: Cell) -> Cell:
    # PostgreSQL stores no NUL and neither system a lone surrogate; an error text may quote both.
    if isinstance(cell, str):
        return cell.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
    return cell
