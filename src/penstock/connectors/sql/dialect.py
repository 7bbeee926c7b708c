"""How one SQL system spells things: facts as attributes, renderers and catalogue lookups as methods.

A connector subclasses Dialect, sets the facts that differ, and implements the catalogue lookups.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import ClassVar

from penstock.connectors.sql.link import SqlLink, Value
from penstock.errors import LoadError
from penstock.schema.types import SIGNED, UNSIGNED, decimal_of
from penstock.values import Cursor, Field, LoadPlan, TableName, TableSchema, private_name


class Dialect(ABC):
    """The standard spelling; what a system does otherwise it overrides."""

    system: ClassVar[str]
    for_update: ClassVar[str] = ""  # suffix of the SELECT that takes the head
    position: ClassVar[str] = "rowid"  # orders the rows of a stage as they came
    position_column: ClassVar[str | None] = None  # DDL of that column, where a stage needs one
    temporary_stage: ClassVar[bool] = True  # stages are TEMP tables of the session's own link: nothing to sweep
    stage_prefix: ClassVar[str] = "CREATE TABLE"  # of a stage that other sessions write to
    upsert_select_end: ClassVar[str] = ""  # between a table selected from and ON CONFLICT
    subqueries_keep_names: ClassVar[bool] = True  # else a column of a subquery may be called otherwise
    index_before_swap: ClassVar[bool] = False  # a successor may carry its unique index before it is renamed
    has_schemas: ClassVar[bool] = True
    temporary_schema: ClassVar[str | None] = "temp"

    # -- names and values ------------------------------------------------------------------------------------------

    def quote(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def table(self, table: TableName) -> str:
        return (
            self.quote(table.name) if table.schema is None else f"{self.quote(table.schema)}.{self.quote(table.name)}"
        )

    def columns(self, names: Iterable[str], prefix: str = "") -> str:
        return ", ".join(prefix + self.quote(name) for name in names)

    def mark(self, number: int) -> str:
        """The placeholder of parameter `number`, counted from 1."""
        del number
        return "?"

    def marks(self, count: int, start: int = 1) -> str:
        return ", ".join(self.mark(start + i) for i in range(count))

    def stamp_mark(self, number: int) -> str:
        """The placeholder of a timestamptz parameter in a SELECT list."""
        return self.mark(number)

    def bound_value(self, cursor: Cursor, field: Field) -> Value:
        """The parameter that compares `cursor` with the column; a text cursor is parsed for a typed column."""
        if cursor.type != "string" or field.type in ("string", "uuid", "json", "enum"):
            return cursor.value
        return parsed_text(str(cursor.value), field)

    # -- types and tables ------------------------------------------------------------------------------------------

    @abstractmethod
    def native_type(self, field: Field) -> str:
        """The column type that holds a house type without loss. Raises LoadError where there is none."""

    @abstractmethod
    def house_type(self, native: str) -> str:
        """The house spelling of a native type, modifiers kept."""

    def column_type(self, field: Field, system: str | None) -> str:
        """The native spelling is kept within one system, unless the configuration asked for another type."""
        if field.native and system == self.system and self.house_type(field.native) == field.type:
            return field.native
        return self.native_type(field)

    def column(self, field: Field, system: str | None) -> str:
        required = "" if field.nullable else " NOT NULL"
        return f"{self.quote(field.name)} {self.column_type(field, system)}{required}"

    def create_table(self, table: TableName, schema: TableSchema) -> str:
        columns = ", ".join(self.column(f, schema.system) for f in schema.fields)
        return f"CREATE TABLE {self.table(table)} ({columns})"

    def create_stage(self, stage: TableName, schema: TableSchema) -> str:
        """No constraint: bad keys are counted and reported by us, not by the first row that fails."""
        columns = [f"{self.quote(f.name)} {self.column_type(f, schema.system)}" for f in schema.fields]
        if self.position_column:
            columns.append(self.position_column)
        if self.temporary_stage:
            return f"CREATE TEMP TABLE {self.quote(stage.name)} ({', '.join(columns)})"
        return f"{self.stage_prefix} {self.table(stage)} ({', '.join(columns)})"

    def stage_name(self, target: TableName, name: str) -> TableName:
        return TableName(self.temporary_schema if self.temporary_stage else target.schema, name)

    def drop_table(self, table: TableName) -> str:
        return f"DROP TABLE IF EXISTS {self.table(table)}"

    def add_column(self, table: TableName, field: Field, system: str | None) -> str:
        return f"ALTER TABLE {self.table(table)} ADD COLUMN {self.quote(field.name)} {self.column_type(field, system)}"

    def widen_column(self, link: SqlLink, table: TableName, field: Field, system: str | None) -> None:
        link.execute(
            f"ALTER TABLE {self.table(table)} ALTER COLUMN {self.quote(field.name)}"
            f" TYPE {self.column_type(field, system)}"
        )

    def rebuild(self, link: SqlLink, table: TableName, field: Field, value: str) -> None:
        """Copy the table, one column in another type with `value` as its cells. Raises LoadError for constraints."""
        shape = self.describe(link, [table])[table]
        attached = [a for a in self.attachments(link, table) if not a.startswith("view ")]  # views go by name
        if shape is None or attached:
            raise LoadError(
                f"column {field.name!r} of {table} cannot become {field.type} because of: {', '.join(attached)}",
                where=str(table),
                fix="change the column by hand, or load anew with --full-refresh",
            )
        wider = replace(field, native=None)
        fields = tuple(wider if f.name.lower() == field.name.lower() else f for f in shape.fields)
        values = ", ".join(value if f is wider else self.quote(f.name) for f in fields)
        successor = TableName(table.schema, private_name("rebuilt", str(table)))
        indices = self.indices(link, table)
        link.execute(self.create_table(successor, replace(shape, fields=fields)))
        link.execute(f"INSERT INTO {self.table(successor)} SELECT {values} FROM {self.table(table)}")
        link.execute(f"DROP TABLE {self.table(table)}")
        link.execute(self.rename(successor, table.name))
        for sql in indices:
            link.execute(sql)

    def rename(self, table: TableName, name: str) -> str:
        return f"ALTER TABLE {self.table(table)} RENAME TO {self.quote(name)}"

    def create_unique_index(self, table: TableName, name: str, key: Sequence[str]) -> str:
        return f"CREATE UNIQUE INDEX {self.quote(name)} ON {self.table(table)} ({self.columns(key)})"

    def greatest(self, expressions: Sequence[str]) -> str:
        """The greatest value that is not NULL."""
        return expressions[0] if len(expressions) == 1 else f"greatest({', '.join(expressions)})"

    # -- what a link is asked for ------------------------------------------------------------------------------------

    @abstractmethod
    def describe(self, link: SqlLink, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema | None]:
        """Columns and declared key of each table, by catalogue lookup; None where the catalogue has no such table."""

    @abstractmethod
    def existing(self, link: SqlLink, tables: Sequence[TableName]) -> frozenset[TableName]:
        """Which of the tables the catalogue knows."""

    @abstractmethod
    def unique_keys(self, link: SqlLink, table: TableName) -> Sequence[frozenset[str]]:
        """The column sets of unique constraints and whole-table unique indices."""

    def indices(self, link: SqlLink, table: TableName) -> Sequence[str]:
        """Statements that make the table's indices anew, as if it were just renamed into place."""
        del link, table
        return ()

    def attachments(self, link: SqlLink, table: TableName) -> Sequence[str]:
        """What hangs on the table and would break if it were replaced by renaming: views, triggers, foreign keys."""
        del link, table
        return ()

    def create_schema(self, link: SqlLink, schema: str | None) -> None:
        """Make the schema where it is missing."""
        if schema and self.has_schemas:
            link.execute(f"CREATE SCHEMA IF NOT EXISTS {self.quote(schema)}")

    def create_target(self, link: SqlLink, plan: LoadPlan, table: TableName, schema: TableSchema) -> None:
        """Make the target, or (when `table` is not the target) its successor."""
        del plan
        link.execute(self.create_table(table, schema))

    def create_view(self, link: SqlLink, view: TableName, select: str) -> None:
        link.execute(f"DROP VIEW IF EXISTS {self.table(view)}")
        link.execute(f"CREATE VIEW {self.table(view)} AS {select}")

    def drop_target(self, link: SqlLink, plan: LoadPlan) -> None:
        """Take the old target out of the way of its successor."""
        link.execute(self.drop_table(plan.target))

    def delete_all(self, link: SqlLink, table: TableName, *, before_index: bool) -> None:
        """Empty the table. `before_index`: a unique index is made next, in the same transaction."""
        del before_index
        link.execute(f"DELETE FROM {self.table(table)}")

    def prepare_stamp(self, link: SqlLink, plan: LoadPlan, table: TableName) -> None:
        """Called in the load's transaction before rows go straight into `table`, when the load fills `ingested_at`."""
        del link, plan, table


def parsed_text(text: str, field: Field) -> Value:
    """A text cursor as a value of the column's type. Raises LoadError where it is not one."""
    try:
        if field.type == "date":
            return date.fromisoformat(text[:10])
        if field.type in ("timestamp", "timestamptz"):
            return datetime.fromisoformat(text)
        if field.type in (*SIGNED, *UNSIGNED):
            return int(text)
        if field.type == "numeric" or decimal_of(field.type):
            return Decimal(text)
    except (ValueError, ArithmeticError) as error:
        raise LoadError(
            f"a text cursor cannot be compared with column {field.name!r} of type {field.type}",
            fix="use a write_key, or give the source column a type under columns:",
        ) from error
    return text
