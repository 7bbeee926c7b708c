"""How DuckDB spells things, and what its catalogue says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from penstock.connectors.duckdb.types import house_type, native_type
from penstock.connectors.sql.dialect import Dialect
from penstock.connectors.sql.link import SqlLink, Value
from penstock.values import Field, TableName, TableSchema, private_name

_HERE = "database_name = current_database()"


class Queryable(Protocol):
    """A link or a snapshot."""

    def query(self, sql: str, params: Sequence[Value] = ()) -> list[tuple[Any, ...]]: ...


class DuckdbDialect(Dialect):
    system: ClassVar[str] = "duckdb"
    # rowid would be shadowed by a user's column of that name; the link numbers the rows of a stage.
    position: ClassVar[str] = '"_penstock_position"'
    position_column: ClassVar[str | None] = '"_penstock_position" BIGINT'

    def native_type(self, field: Field) -> str:
        return native_type(field.type)

    def house_type(self, native: str) -> str:
        return house_type(native)

    def column_type(self, field: Field, system: str | None) -> str:
        """Maps and unions travel as JSON and lie as JSON: DuckDB casts no text of JSON to either."""
        return self.native_type(field) if "json" in field.type else super().column_type(field, system)

    def describe(self, link: SqlLink, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema | None]:
        return {table: table_schema(link, table) for table in tables}

    def existing(self, link: SqlLink, tables: Sequence[TableName]) -> frozenset[TableName]:
        rows = link.query(f"SELECT lower(schema_name), lower(table_name) FROM duckdb_tables() WHERE {_HERE}")
        there = set(rows)
        return frozenset(t for t in tables if (schema_of(t).lower(), t.name.lower()) in there)

    def unique_keys(self, link: SqlLink, table: TableName) -> Sequence[frozenset[str]]:
        where = f"{_HERE} AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?)"
        place = [schema_of(table), table.name]
        sql = f"SELECT constraint_column_names FROM duckdb_constraints() WHERE {where}"
        keys = [frozenset(r[0]) for r in link.query(f"{sql} AND constraint_type IN ('PRIMARY KEY', 'UNIQUE')", place)]
        sql = f"SELECT expressions FROM duckdb_indexes() WHERE {where} AND is_unique"
        return [*keys, *(frozenset(_index_columns(str(row[0]))) for row in link.query(sql, place))]

    def indices(self, link: SqlLink, table: TableName) -> Sequence[str]:
        where = f"{_HERE} AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?)"
        sql = f"SELECT sql FROM duckdb_indexes() WHERE {where} AND sql IS NOT NULL"
        return [str(row[0]) for row in link.query(sql, [schema_of(table), table.name])]

    def attachments(self, link: SqlLink, table: TableName) -> Sequence[str]:
        """Views name their table and take its successor; constraints would be lost."""
        place = [schema_of(table), table.name]
        where = f"{_HERE} AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?)"
        kinds = "('PRIMARY KEY', 'UNIQUE', 'FOREIGN KEY', 'CHECK')"
        sql = f"SELECT DISTINCT lower(constraint_type) FROM duckdb_constraints() WHERE {where}"
        found = [str(row[0]) for row in link.query(f"{sql} AND constraint_type IN {kinds} ORDER BY 1", place)]
        sql = (
            f"SELECT DISTINCT table_name FROM duckdb_constraints() WHERE {_HERE} AND lower(referenced_table) = lower(?)"
        )
        return [*found, *(f"foreign key of {row[0]}" for row in link.query(sql, [table.name]))]

    def delete_all(self, link: SqlLink, table: TableName, *, before_index: bool) -> None:
        """An index made after a DELETE of the same transaction holds the deleted rows: a new table has none."""
        shape = table_schema(link, table)
        if not before_index or shape is None or self.attachments(link, table):
            super().delete_all(link, table, before_index=before_index)
            return
        successor = TableName(table.schema, private_name("emptied", str(table)))
        indices = self.indices(link, table)
        link.execute(self.create_table(successor, shape))
        link.execute(f"DROP TABLE {self.table(table)}")
        link.execute(self.rename(successor, table.name))
        for sql in indices:
            link.execute(sql)

    def widen_column(self, link: SqlLink, table: TableName, field: Field, system: str | None) -> None:
        """An index hinders any change of its table's columns, even when it is dropped in the same transaction."""
        if self.indices(link, table):
            self.rebuild(link, table, field, self.quote(field.name))
        else:
            super().widen_column(link, table, field, system)


DUCKDB = DuckdbDialect()


def schema_of(table: TableName) -> str:
    return table.schema or "main"


def table_schema(link: Queryable, table: TableName) -> TableSchema | None:
    """Columns of a table or view; None where the catalogue has neither."""
    where = f"{_HERE} AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?)"
    place = [schema_of(table), table.name]
    sql = f"SELECT column_name, data_type, is_nullable FROM duckdb_columns() WHERE {where} ORDER BY column_index"
    columns = link.query(sql, place)
    if not columns:
        return None
    fields = tuple(Field(str(n), house_type(str(t)), bool(nullable), str(t)) for n, t, nullable in columns)
    sql = f"SELECT constraint_column_names FROM duckdb_constraints() WHERE {where} AND constraint_type = 'PRIMARY KEY'"
    keys = link.query(sql, place)
    return TableSchema(fields, key=tuple(keys[0][0]) if keys else (), system="duckdb")


def _index_columns(expressions: str) -> list[str]:
    """`[id, '"a b"']` as DuckDB prints the columns of an index; an expression gives no column of that name."""
    parts, depth, quote, start = [], 0, "", 1
    for index, char in enumerate(expressions):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "([":
            depth += 1
        elif char in ")]" or char == ",":
            if depth == 1:
                parts.append(expressions[start:index])
                start = index + 1
            depth -= char in ")]"
    names = [part.strip().strip("'") for part in parts if part.strip()]
    return [n[1:-1].replace('""', '"') if n.startswith('"') else n for n in names]
