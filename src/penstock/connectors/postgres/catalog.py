"""What the server's catalog says of many relations, in one round trip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penstock.connectors.postgres.identifiers import candidates, quote_table, to_stream_name
from penstock.connectors.postgres.types import SYSTEM, Column, to_field
from penstock.records import dataclass
from penstock.values import StreamName, StreamSpec, TableSchema

if TYPE_CHECKING:
    from penstock.connectors.postgres.connect import Session

_COLUMNS = """
(SELECT coalesce(json_agg(json_build_array(
        a.attname, format_type(a.atttypid, a.atttypmod), b.typname, b.typtype,
        format_type(b.oid, CASE WHEN y.typtype = 'd' THEN b.typmod ELSE a.atttypmod END),
        e.typname, e.typtype, a.attnotnull OR y.typnotnull, col_description(c.oid, a.attnum)) ORDER BY a.attnum), '[]')
 FROM pg_attribute a
 JOIN pg_type y ON y.oid = a.atttypid
 CROSS JOIN LATERAL (
    WITH RECURSIVE unwrapped AS (
        SELECT y.oid, y.typname, y.typtype, y.typbasetype, y.typtypmod, y.typelem, -1 AS typmod
        UNION ALL
        SELECT p.oid, p.typname, p.typtype, p.typbasetype, p.typtypmod, p.typelem, u.typtypmod
        FROM unwrapped u JOIN pg_type p ON p.oid = u.typbasetype WHERE u.typtype = 'd')
    SELECT oid, typname, typtype, typelem, typmod FROM unwrapped WHERE typtype <> 'd') AS b
 LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typname LIKE E'\\\\_%'
 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)"""

_RELATION = f"""
SELECT {{number}}, n.nspname, c.relname, c.relkind::text, {_COLUMNS}::text,
       (SELECT json_agg(a.attname ORDER BY k.place)::text
        FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k (attnum, place), pg_attribute a
        WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid AND a.attnum = k.attnum),
       (SELECT json_agg(DISTINCT a.attname)::text FROM pg_index i, pg_attribute a
        WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL
          AND a.attrelid = c.oid AND a.attnum = i.indkey[0]
          AND (SELECT amname FROM pg_am m JOIN pg_class ic ON ic.relam = m.oid WHERE ic.oid = i.indexrelid) = 'btree'),
       CASE WHEN c.relkind = 'p'
            THEN (SELECT sum(greatest(l.reltuples, 0))
                  FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid WHERE p.isleaf)
            WHEN c.reltuples = 0 AND c.relpages = 0 THEN -1 -- before 14 what was never counted has zero rows
            ELSE c.reltuples END::float8,
       CASE c.relkind WHEN 'p'
            THEN (SELECT sum(pg_relation_size(p.relid)) FROM pg_partition_tree(c.oid) p WHERE p.isleaf)
            WHEN 'r' THEN pg_relation_size(c.oid) WHEN 'm' THEN pg_relation_size(c.oid) END::bigint,
       c.relkind IN ('r', 'p') AND coalesce(m.amname, 'heap') = 'heap' AND NOT EXISTS (
            SELECT FROM pg_inherits h JOIN pg_class f ON f.oid = h.inhrelid
            WHERE h.inhparent = c.oid AND f.relkind = 'f')
         AND NOT (c.relkind = 'p' AND EXISTS (
            SELECT FROM pg_partition_tree(c.oid) p JOIN pg_class f ON f.oid = p.relid WHERE f.relkind = 'f')),
       c.relhassubclass
FROM {{wanted}}
JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
LEFT JOIN pg_am m ON m.oid = c.relam
"""

_NAMED = _RELATION.format(
    number="w.number::int",
    # numbers go as text: asyncpg asks the server five times what an array of integers is
    wanted="unnest($1::text[], $2::text[], $3::text[]) AS w (number, schema, name)\n"
    "JOIN pg_namespace n ON n.nspname = w.schema",
)
_NAMED += "WHERE c.relname = w.name ORDER BY w.number::int"
_LISTED = _RELATION.format(number="0", wanted="pg_namespace n")
_LISTED += (
    "WHERE (n.nspname = $1 OR ($1 IS NULL AND n.nspname !~ '^(pg_|information_schema$)'))\n"
    "AND NOT c.relispartition ORDER BY n.nspname, c.relname"
)


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or foreign table. `heap`: xmin tells when a row version came; `inherited`: it has children."""

    schema: str
    name: str
    kind: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    indexed: frozenset[str] = frozenset()  # leading columns of its btree indexes
    rows: float = -1.0
    size_bytes: int | None = None
    heap: bool = True
    inherited: bool = False

    @property
    def sql(self) -> str:
        return quote_table(self.schema, self.name)

    @property
    def lockable(self) -> bool:
        return self.kind in ("r", "p")

    @property
    def ctid_orders_it(self) -> bool:
        """Whether ctid ranges cut it into shares: one heap without children."""
        return self.kind == "r" and self.heap and not self.inherited

    def column(self, name: str) -> Column | None:
        return next((c for c in self.columns if c.name == name), None)

    def to_spec(self, stream: str) -> StreamSpec:
        schema = TableSchema(tuple(to_field(c) for c in self.columns), self.key, SYSTEM)
        estimate = int(self.rows) if self.rows >= 0 else None
        return StreamSpec(StreamName(stream), schema, self.heap, estimate, self.size_bytes)


def describe(session: Session, streams: Sequence[str], default_schema: str) -> dict[str, Relation]:
    """The relations the names mean; a name that means none is left out."""
    meanings = [(n, schema, name) for n, s in enumerate(streams) for schema, name in candidates(s, default_schema)]
    if not meanings:
        return {}
    numbers, schemas, names = (list(part) for part in zip(*meanings, strict=True))
    rows = session.query(_NAMED, [str(n) for n in numbers], schemas, names)
    by_meaning = {tuple(row[:3]): row for row in rows}
    found: dict[str, Relation] = {}
    for meaning in meanings:
        if meaning in by_meaning:
            found.setdefault(streams[meaning[0]], _to_relation(by_meaning[meaning]))
    return found


def list_all(session: Session, schema: str | None, default_schema: str) -> dict[str, Relation]:
    """Every relation of the schema, or of all schemas of users; partitions are part of their table."""
    relations = [_to_relation(row) for row in session.query(_LISTED, schema)]
    return {to_stream_name(r.schema, r.name, default_schema): r for r in relations}


def _to_relation(row: Sequence[Any]) -> Relation:
    _, schema, name, kind, columns, key, indexed, rows, size_bytes, heap, inherited = row
    return Relation(
        schema,
        name,
        kind,
        tuple(to_column(c) for c in json.loads(columns)),
        tuple(json.loads(key)) if key else (),
        frozenset(json.loads(indexed)) if indexed else frozenset(),
        rows if rows is not None else -1.0,
        size_bytes,
        bool(heap),
        bool(inherited) and kind == "r",
    )


def to_column(row: Sequence[Any]) -> Column:
    name, native, base, kind, base_native, item, item_kind, not_null, comment = row
    return Column(name, native, base, kind, base_native, item, item_kind, bool(not_null), comment)


_TYPES = """
SELECT y.oid::bigint, json_build_array('', format_type(y.oid, -1), b.typname, b.typtype, format_type(b.oid, -1),
       e.typname, e.typtype, false, NULL)::text
FROM pg_type y
JOIN pg_type b ON b.oid = CASE WHEN y.typtype = 'd' THEN y.typbasetype ELSE y.oid END
LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typname LIKE E'\\\\_%'
WHERE y.oid = ANY ($1::oid[])
"""


def types_of(session: Session, oids: Sequence[int]) -> dict[int, Column]:
    """Nameless columns of these types, without modifier; a result column never has a domain as its type."""
    return {oid: to_column(json.loads(text)) for oid, text in session.query(_TYPES, sorted(set(oids)))}
