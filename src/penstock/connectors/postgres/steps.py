"""The steps that PostgreSQL does its own way: successors in the old table's image, swaps, the ingestion stamp."""

from __future__ import annotations

from dataclasses import replace

from penstock.connectors.postgres import stamp as stamps
from penstock.connectors.postgres import swap
from penstock.connectors.postgres.attachments import hangs_on
from penstock.connectors.postgres.dialect import PostgresDialect
from penstock.connectors.postgres.link import PostgresLink
from penstock.connectors.postgres.names import quote, quote_table
from penstock.connectors.sql.steps import Count, LoadTables, StepRunner
from penstock.values import AddColumns, CreateTable, Field, LoadPlan, TableName, TableSchema, WidenColumns, WriteStep


class PostgresSteps(StepRunner):
    """Carries out one plan over one PostgreSQL session."""

    def __init__(self, dialect: PostgresDialect, link: PostgresLink, plan: LoadPlan, tables: LoadTables) -> None:
        super().__init__(dialect, link, plan, tables)
        self._postgres, self._session = dialect, link

    def create(self, table: TableName) -> None:
        """Make the target, or its successor in the image of the table it will replace."""
        plan, link, schema = self._plan, self._session, self._schema
        if self.stamp:
            schema = replace(schema, fields=(*schema.fields, Field(self.stamp.column, "timestamptz")))
        if table != plan.target and self._postgres.existing(link, [plan.target]):
            swap.create_in_image(link, table, plan.target)
            swap.fit_columns(link, self._postgres, table, schema)
            swap.copy_image(link, plan.target, table)
        else:
            link.execute(self._postgres.create_table(table, schema))
            _comment(link, table, schema)
        if self.stamp:
            stamps.set_default(link, table, self.stamp.column, stamps.constant(self.stamp.value))
        link.fresh.add(table)

    def before_rows(self) -> None:
        super().before_rows()
        if self.stamp and not self._creates:
            stamps.prepare_live(self._session, self.filled_table, self.stamp.column, self.stamp.value)

    def after_rows(self, given: int) -> Count:
        count = super().after_rows(given)
        if self.stamp and self._creates:
            stamps.set_default(self._session, self._plan.target, self.stamp.column, stamps.reads_setting())
        return count

    @property
    def _creates(self) -> bool:
        return any(isinstance(step, CreateTable) for step in self._plan.steps)

    def _swap(self) -> None:
        plan, link, successor = self._plan, self._session, self._tables.successor
        if not self._postgres.existing(link, [plan.target]):
            link.execute(self._postgres.rename(successor, plan.target.name))
            return
        attached = [what for what in hangs_on(link, [plan.target])[plan.target] if what != f"view {plan.latest_view}"]
        if attached:  # since the plan was made; renaming would lose it
            self._refill(attached)
            return
        indices = swap.copy_indices(link, plan.target, successor)
        if plan.latest_view:
            link.execute(f"DROP VIEW IF EXISTS {quote_table(self._view(plan.latest_view))}")
        swap.exchange(link, plan.target, successor, indices)


def _comment(link: PostgresLink, table: TableName, schema: TableSchema) -> None:
    """Column comments come along; COMMENT takes no parameters, so the server quotes the text."""
    said = [(quote(f.name), f.comment) for f in schema.fields if f.comment]
    if not said:
        return
    sql = (
        "SELECT format('COMMENT ON COLUMN %s.%s IS %L', $1::text, name, text)"
        " FROM unnest($2::text[], $3::text[]) AS said (name, text)"
    )
    names, texts = (list(part) for part in zip(*said, strict=True))
    for (statement,) in link.session.query(sql, quote_table(table), names, texts):
        link.execute(statement)


def with_known_natives(link: PostgresLink, plan: LoadPlan) -> LoadPlan:
    """The plan without native types that this database does not have, or that are no plain type name."""
    steps: list[WriteStep] = list(plan.steps)
    widened = [s for s in steps if isinstance(s, AddColumns | WidenColumns)]
    fields = [*plan.schema.fields, *(f for s in widened for f in s.fields)]
    natives = sorted({f.native for f in fields if f.native})
    if not natives:
        return plan
    known = _known_types(link, natives)

    def kept(field: Field) -> Field:
        return field if field.native in known else replace(field, native=None)

    for index, step in enumerate(steps):
        if isinstance(step, AddColumns | WidenColumns):
            steps[index] = replace(step, fields=tuple(kept(f) for f in step.fields))
    schema = replace(plan.schema, fields=tuple(kept(f) for f in plan.schema.fields))
    return replace(plan, schema=schema, steps=tuple(steps))


# format_type() of what the catalogue has, without modifiers: only a spelling that is exactly one of these goes into DDL
_KNOWN = """
SELECT w.native
FROM unnest($1::text[]) AS w (native)
JOIN pg_type t ON t.typtype <> 'p' AND (t.typtype <> 'c' OR t.typrelid <> 0) AND pg_type_is_visible(t.oid)
 AND format_type(t.oid, NULL) = regexp_replace(w.native, '\\((\\d+)(,-?\\d+)?\\)', '')
UNION
SELECT w.native
FROM unnest($1::text[]) AS w (native)
JOIN pg_type t ON t.typtype <> 'p' AND NOT pg_type_is_visible(t.oid)
 AND format_type(t.oid, NULL) = regexp_replace(w.native, '\\((\\d+)(,-?\\d+)?\\)', '')
"""


def _known_types(link: PostgresLink, natives: list[str]) -> frozenset[str]:
    return frozenset(row[0] for row in link.session.query(_KNOWN, natives))


__all__ = ["PostgresSteps", "with_known_natives"]
