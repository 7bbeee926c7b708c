"""Replacing a table by renaming: a successor made in its image, filled, indexed, and put in its place."""

from __future__ import annotations

import re

from penstock.connectors.postgres.dialect import PostgresDialect, TargetColumn, target_columns
from penstock.connectors.postgres.names import quote, quote_table
from penstock.connectors.sql.link import SqlLink
from penstock.errors import LoadError
from penstock.failpoints import failpoint
from penstock.records import dataclass
from penstock.values import Field, TableName, TableSchema, private_name

_NAME = r'(?:"(?:[^"]|"")*"|[^\s".]+)'
_INDEX_HEAD = re.compile(rf"CREATE (?P<unique>UNIQUE )?INDEX {_NAME} ON (?:ONLY )?(?:{_NAME}\.)?{_NAME} USING ")
_LOCK_WAIT_OVER = "55P03"
ATTEMPTS = 10

_IMAGE = """
SELECT format('ALTER TABLE %s OWNER TO %I', $2::text, pg_get_userbyid(o.relowner))
FROM pg_class o, pg_class n
WHERE o.oid = to_regclass($1) AND n.oid = to_regclass($2) AND o.relowner <> n.relowner
UNION ALL
SELECT format('COMMENT ON TABLE %s IS %L', $2::text, obj_description(to_regclass($1), 'pg_class'))
WHERE obj_description(to_regclass($1), 'pg_class') IS NOT NULL
"""
# after the owner is set: what default privileges gave the successor goes, what the old table had comes
_GRANTS = """
WITH grants AS (
    SELECT c.oid = to_regclass($1) AS old, NULL::name AS col, g.*, c.relowner AS owner
    FROM pg_class c, aclexplode(c.relacl) g WHERE c.oid IN (to_regclass($1), to_regclass($2))
    UNION ALL
    SELECT true, a.attname, g.*, c.relowner
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped, aclexplode(a.attacl) g
    WHERE c.oid = to_regclass($1)
      AND EXISTS (SELECT FROM pg_attribute n WHERE n.attrelid = to_regclass($2) AND n.attname = a.attname
                  AND NOT n.attisdropped)
), named AS (
    SELECT *, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS who
    FROM grants WHERE grantee <> owner
)
SELECT 1, format('REVOKE ALL ON %s FROM %s', $2::text, who) FROM named WHERE NOT old
UNION
SELECT 2, format('GRANT %s%s ON %s TO %s%s', privilege_type,
                 CASE WHEN col IS NULL THEN '' ELSE format(' (%I)', col) END, $2::text, who,
                 CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM named WHERE old
ORDER BY 1
"""
_INDICES = """
SELECT i.relname::text, pg_get_indexdef(x.indexrelid), k.conname::text, k.contype::text, k.condeferrable, k.condeferred,
       x.indisclustered, obj_description(x.indexrelid, 'pg_class'), pg_get_constraintdef(k.oid)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
LEFT JOIN pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = x.indrelid AND k.contype IN ('p', 'u', 'x')
WHERE x.indrelid = to_regclass($1)
ORDER BY i.relname
"""
_BLOCKERS = """
SELECT string_agg(DISTINCT a.application_name || ' (server process ' || a.pid || ')', ', ')
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.relation = to_regclass($1) AND l.granted AND l.pid <> pg_backend_pid()
"""


def create_in_image(link: SqlLink, successor: TableName, old: TableName) -> None:
    """The same columns, defaults, constraints, statistics and column comments; indices come after the rows."""
    link.execute(f"CREATE TABLE {quote_table(successor)} (LIKE {quote_table(old)} INCLUDING ALL EXCLUDING INDEXES)")


def fit_columns(link: SqlLink, dialect: PostgresDialect, table: TableName, schema: TableSchema) -> None:
    """Bring the empty successor to the plan's columns: added and retyped; one that is required and unknown goes."""
    there = target_columns(link, table)
    changes = [_change(dialect, field, there.get(field.name), schema.system) for field in schema.fields]
    changes += [_loosening(field, there.get(field.name), schema.system == dialect.system) for field in schema.fields]
    changes += [
        f"DROP COLUMN {quote(name)}"
        for name, column in there.items()
        if name not in schema.names and not column.field.nullable and column.default is None
    ]
    wanted = ", ".join(change for change in changes if change)
    if wanted:
        link.execute(f"ALTER TABLE {quote_table(table)} {wanted}")


def _change(dialect: PostgresDialect, field: Field, there: TargetColumn | None, system: str | None) -> str:
    native = dialect.column_type(field, system)
    if there is None:
        return f"ADD COLUMN {quote(field.name)} {native}"
    same_system = field.native is not None and system == dialect.system
    if there.generated or (there.field.type == field.type and not (same_system and there.native != native)):
        return ""
    name = quote(field.name)
    drop = f"ALTER COLUMN {name} DROP DEFAULT, " if there.default is not None else ""
    return f"{drop}ALTER COLUMN {name} TYPE {native} USING NULL::{native}"


def _loosening(field: Field, there: TargetColumn | None, same_system: bool) -> str:  # noqa: FBT001 - one caller
    """A copied column that the source made nullable becomes so here; what a transform returns says nothing of it."""
    known = same_system and field.native is not None and there is not None and not there.generated
    if not known or there is None or there.field.nullable or not field.nullable:
        return ""
    return f"ALTER COLUMN {quote(field.name)} DROP NOT NULL"


def copy_image(link: SqlLink, old: TableName, successor: TableName) -> None:
    """Owner, grants and the table's comment."""
    names = (quote_table(old), quote_table(successor))
    for (sql,) in link.query(_IMAGE, names):
        link.execute(sql)
    for _, sql in link.query(_GRANTS, names):
        link.execute(sql)


@dataclass(frozen=True, slots=True)
class _Index:
    """An index of the old table, made on the successor under a private name."""

    name: str
    private: str
    constraint: str | None
    constraint_kind: str | None
    comment: str | None


def copy_indices(link: SqlLink, old: TableName, successor: TableName) -> list[_Index]:
    """Make the old table's indices and their constraints on the filled successor, before anybody waits for it."""
    made = []
    for name, definition, constraint, kind, deferrable, deferred, _, comment, clause in link.query(
        _INDICES, (quote_table(old),)
    ):
        private = private_name("index", str(successor), name)
        index = _Index(name, private, constraint, kind, comment)
        timing = (" DEFERRABLE" if deferrable else "") + (" INITIALLY DEFERRED" if deferred else "")
        table = f"ALTER TABLE {quote_table(successor)} ADD CONSTRAINT {quote(private)}"
        if kind == "x":
            link.execute(f"{table} {clause}")
        else:
            link.execute(_on_successor(definition, name, private, old, successor))
            if kind in ("p", "u"):
                word = "PRIMARY KEY" if kind == "p" else "UNIQUE"
                link.execute(f"{table} {word} USING INDEX {quote(private)}{timing}")
        made.append(index)
    return made


def _on_successor(definition: str, name: str, private: str, old: TableName, successor: TableName) -> str:
    """The definition names index and table before USING; the rest is the same for the successor."""
    head = _INDEX_HEAD.match(definition)
    if head is None:
        raise LoadError(f"the index {name!r} of {old} cannot be copied", where=str(old), fault="internal")
    rest = definition[head.end() :]
    return f"CREATE {head['unique'] or ''}INDEX {quote(private)} ON {quote_table(successor)} USING {rest}"


def exchange(link: SqlLink, old: TableName, successor: TableName, indices: list[_Index]) -> None:
    """Put the successor in the old table's place; readers wait for the time of a few catalogue changes."""
    _lock_for_exchange(link, old)
    link.execute(f"DROP TABLE {quote_table(old)}")
    failpoint("commit.swapped_out")
    link.execute(f"ALTER TABLE {quote_table(successor)} RENAME TO {quote(old.name)}")
    for index in indices:
        private = quote_table(TableName(old.schema, index.private))
        link.execute(f"ALTER INDEX {private} RENAME TO {quote(index.name)}")
        if index.comment is not None:
            sql = "SELECT format('COMMENT ON INDEX %s IS %L', $1::text, $2::text)"
            link.execute(str(link.query(sql, (quote_table(TableName(old.schema, index.name)), index.comment))[0][0]))
    failpoint("commit.swapped_in")


def _lock_for_exchange(link: SqlLink, table: TableName) -> None:
    """Two seconds at a time, so that readers who come after us are not held up by one who came long before."""
    link.execute("SAVEPOINT penstock_exchange")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            link.execute("SET LOCAL lock_timeout = '2s'")
            link.execute(f"LOCK TABLE {quote_table(table)} IN ACCESS EXCLUSIVE MODE")
        except LoadError as error:
            if getattr(error.__cause__, "sqlstate", None) != _LOCK_WAIT_OVER:
                raise
            link.execute("ROLLBACK TO SAVEPOINT penstock_exchange")
            if attempt == ATTEMPTS:
                raise _still_in_use(link, table) from error
        else:
            break
    link.execute("RELEASE SAVEPOINT penstock_exchange")


def _still_in_use(link: SqlLink, table: TableName) -> LoadError:
    holders = link.query(_BLOCKERS, (quote_table(table),))[0][0] or "a session that has just ended"
    return LoadError(
        f"table {table} could not be replaced: it is in use by {holders}",
        where=str(table),
        fix="run again when those sessions are done, or set replace_mode: in_place",
        fault="transient",
    )


__all__ = ["copy_image", "copy_indices", "create_in_image", "exchange", "fit_columns"]
