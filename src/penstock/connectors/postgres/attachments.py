"""What hangs on a table and would be lost, or would stop it, if another table took its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.connectors.postgres.names import quote_table
from penstock.connectors.sql.link import SqlLink
from penstock.values import TableName

_HANGS_ON = """
SELECT DISTINCT w.number, h.what
FROM unnest($1::text[]) WITH ORDINALITY AS w (name, number)
JOIN pg_class c ON c.oid = to_regclass(w.name)
CROSS JOIN LATERAL (
    SELECT CASE v.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || v.relname
    FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
      AND r.ev_class <> c.oid
    UNION ALL SELECT 'foreign key ' || k.conname || ' of ' || k.conrelid::regclass::text
    FROM pg_constraint k WHERE k.contype = 'f' AND (k.confrelid = c.oid OR k.conrelid = c.oid)
    UNION ALL SELECT 'publication ' || p.pubname
    FROM pg_publication_rel l JOIN pg_publication p ON p.oid = l.prpubid WHERE l.prrelid = c.oid
    UNION ALL SELECT 'trigger ' || t.tgname FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
    UNION ALL SELECT 'rule ' || r.rulename FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'
    UNION ALL SELECT 'child ' || i.inhrelid::regclass::text FROM pg_inherits i WHERE i.inhparent = c.oid
    UNION ALL SELECT 'parent ' || i.inhparent::regclass::text FROM pg_inherits i WHERE i.inhrelid = c.oid
    UNION ALL SELECT 'partitions' WHERE c.relkind = 'p'
    UNION ALL SELECT 'sequence ' || s.relname
    FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
      AND d.deptype IN ('a', 'i')
    UNION ALL SELECT 'function ' || f.proname
    FROM pg_depend d JOIN pg_proc f ON f.oid = d.objid
    WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'n'
      AND ((d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid)
        OR (d.refclassid = 'pg_type'::regclass AND d.refobjid = c.reltype))
    UNION ALL SELECT 'column ' || a.attname || ' of ' || a.attrelid::regclass::text
    FROM pg_attribute a WHERE a.atttypid = c.reltype AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL SELECT 'row security'
    WHERE c.relrowsecurity OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)
    UNION ALL SELECT 'storage options'
    WHERE c.reloptions IS NOT NULL
       OR EXISTS (SELECT FROM pg_class t WHERE t.oid = c.reltoastrelid AND t.reloptions IS NOT NULL)
    UNION ALL SELECT 'replica identity' WHERE c.relreplident <> 'd'
    UNION ALL SELECT 'unlogged' WHERE c.relpersistence = 'u'
    UNION ALL SELECT 'tablespace' WHERE c.reltablespace <> 0
    UNION ALL SELECT 'table type' WHERE c.reloftype <> 0
    UNION ALL SELECT 'access method ' || m.amname FROM pg_am m WHERE m.oid = c.relam AND m.amname <> 'heap'
) AS h (what)
ORDER BY 1, 2
"""


def hangs_on(link: SqlLink, tables: Sequence[TableName]) -> Mapping[TableName, tuple[str, ...]]:
    """Names of what hangs on each table, in one query; an absent table has nothing."""
    names: list[str] = [quote_table(table) for table in tables]
    found: dict[TableName, list[str]] = {table: [] for table in tables}
    for number, what in link.query(_HANGS_ON, (names,)):  # type: ignore[arg-type]  # a list is one parameter
        found[tables[number - 1]].append(what)
    return {table: tuple(what) for table, what in found.items()}


__all__ = ["hangs_on"]
