"""How SQLite spells things, and what its catalogue says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from penstock.connectors.sql.dialect import Dialect
from penstock.connectors.sql.link import SqlLink, Value
from penstock.connectors.sqlite.types import house_type, native_type
from penstock.values import Field, TableName, TableSchema


class Queryable(Protocol):
    """A link or a snapshot."""

    def query(self, sql: str, params: Sequence[Value] = ()) -> list[tuple[Any, ...]]: ...


class SqliteDialect(Dialect):
    """Names are compared without case, as SQLite does; there are no schemas."""

    system: ClassVar[str] = "sqlite"
    has_schemas: ClassVar[bool] = False
    # rowid would be shadowed by a user's column of that name.
    position: ClassVar[str] = '"_penstock_position"'
    position_column: ClassVar[str | None] = '"_penstock_position" INTEGER PRIMARY KEY'
    upsert_select_end: ClassVar[str] = " WHERE true"  # else ON CONFLICT is parsed as a join condition
    subqueries_keep_names: ClassVar[bool] = False  # columns called true and false lose theirs

    def quote(self, name: str) -> str:
        """In backquotes: what stands in double quotes and is no column would be taken for a text."""
        return "`" + name.replace("`", "``") + "`"

    def native_type(self, field: Field) -> str:
        return native_type(field)

    def house_type(self, native: str) -> str:
        return house_type(native) or "string"

    def greatest(self, expressions: Sequence[str]) -> str:
        """max() of several arguments is NULL as soon as one is."""
        if len(expressions) == 1:
            return expressions[0]
        everything = ", ".join(expressions)
        return f"max({', '.join(f'coalesce({e}, {everything})' for e in expressions)})"

    def describe(self, link: SqlLink, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema | None]:
        return {table: self._describe(link, table) for table in tables}

    def _describe(self, link: SqlLink, table: TableName) -> TableSchema | None:
        columns = table_columns(link, table.name)
        if not columns:
            return None
        return TableSchema(tuple(_field_of(c) for c in columns), key=key_of(columns), system=self.system)

    def existing(self, link: SqlLink, tables: Sequence[TableName]) -> frozenset[TableName]:
        names = {str(row[0]).lower() for row in link.query("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return frozenset(t for t in tables if t.name.lower() in names)

    def unique_keys(self, link: SqlLink, table: TableName) -> Sequence[frozenset[str]]:
        keys = [frozenset(c[1] for c in table_columns(link, table.name) if c[5])]
        sql = 'SELECT name FROM pragma_index_list(?) WHERE "unique" = 1 AND partial = 0'
        for (index,) in link.query(sql, [table.name]):
            names = [row[0] for row in link.query("SELECT name FROM pragma_index_info(?)", [index])]
            if None not in names:
                keys.append(frozenset(names))
        return [key for key in keys if key]

    def indices(self, link: SqlLink, table: TableName) -> Sequence[str]:
        where = "type = 'index' AND tbl_name = ? COLLATE NOCASE AND sql IS NOT NULL"
        return [str(row[0]) for row in link.query(f"SELECT sql FROM sqlite_master WHERE {where}", [table.name])]

    def attachments(self, link: SqlLink, table: TableName) -> Sequence[str]:
        """Constraints count too: a successor made from a stream's columns would not have them."""
        found: list[str] = []
        word = re.compile(rf"(?<!\w){re.escape(table.name)}(?!\w)", re.IGNORECASE)
        for kind, name, on, sql in link.query("SELECT type, name, tbl_name, sql FROM sqlite_master"):
            if kind in ("view", "trigger") and (str(on).lower() == table.name.lower() or word.search(sql or "")):
                found.append(f"{kind} {name}")
            elif kind == "table" and str(name).lower() != table.name.lower():
                parents = link.query('SELECT lower("table") FROM pragma_foreign_key_list(?)', [name])
                found.extend([f"foreign key of {name}"] if (table.name.lower(),) in parents else [])
        if link.query("SELECT 1 FROM pragma_foreign_key_list(?) LIMIT 1", [table.name]):
            found.append("foreign keys")
        if any(column[5] for column in table_columns(link, table.name)):
            found.append("primary key")
        if link.query("SELECT 1 FROM pragma_index_list(?) WHERE origin = 'u'", [table.name]):
            found.append("unique constraint")
        return found

    def widen_column(self, link: SqlLink, table: TableName, field: Field, system: str | None) -> None:
        """SQLite cannot change a declared type. Times get the text form of their new type; affinity does the rest."""
        del system
        shape = self.describe(link, [table])[table]
        before = next((f.type for f in shape.fields if f.name.lower() == field.name.lower()), "") if shape else ""
        suffix = _LONGER_TEXT.get((before, field.type))
        self.rebuild(
            link, table, field, f"{self.quote(field.name)} || '{suffix}'" if suffix else self.quote(field.name)
        )


_LONGER_TEXT = {
    ("date", "timestamp"): " 00:00:00.000000",
    ("date", "timestamptz"): " 00:00:00.000000+00:00",
    ("timestamp", "timestamptz"): "+00:00",
}
SQLITE = SqliteDialect()


def table_columns(link: Queryable, table: str) -> list[tuple[Any, ...]]:
    """(cid, name, type, notnull, default, pk) of each column that a SELECT * shows; none for an absent table."""
    return link.query(
        'SELECT cid, name, type, "notnull", dflt_value, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1', [table]
    )


def _field_of(column: Sequence[Any]) -> Field:
    _, name, declared, required, _, _ = column
    return Field(name, house_type(declared) or "string", nullable=not required, native=declared or None)


def key_of(columns: Sequence[Sequence[Any]]) -> tuple[str, ...]:
    """The primary key, if it cannot be NULL: SQLite allows NULL in any but an INTEGER PRIMARY KEY."""
    keyed = sorted((c for c in columns if c[5]), key=lambda c: int(c[5]))
    is_rowid = len(keyed) == 1 and str(keyed[0][2]).upper() == "INTEGER"
    return tuple(c[1] for c in keyed) if is_rowid or all(c[3] for c in keyed) else ()
