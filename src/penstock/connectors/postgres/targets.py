"""One stream as it is read: a relation or a query, its columns, its order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.connectors.postgres.catalog import Relation, types_of
from penstock.connectors.postgres.cursors import OrderSql, order_by_expression, order_of
from penstock.connectors.postgres.filters import where
from penstock.connectors.postgres.types import SYSTEM, Column, Selected, select
from penstock.errors import ConfigError, ExtractionError, PenstockError
from penstock.records import dataclass
from penstock.values import ReadRequest, TableSchema

if TYPE_CHECKING:
    from penstock.connectors.postgres.connect import Session

PLACEHOLDER = "{query_filter}"
_ALIAS = re.compile(r'\)\s*(?:as\s+)?("[^"]+"|\w+)?\s*\Z', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """What one request reads. `inner` is the order as seen inside a query with a placeholder."""

    request: ReadRequest
    columns: tuple[Column, ...]
    relation: Relation | None = None
    query: str | None = None
    order: OrderSql | None = None
    inner: OrderSql | None = None

    @property
    def stream(self) -> str:
        return str(self.request.stream)

    @property
    def heap(self) -> bool:
        """Whether xmin tells when a row version came: ordinary tables only."""
        return self.relation is not None and self.relation.heap

    @property
    def filter_order(self) -> OrderSql | None:
        """The order that a filter is written with."""
        return self.inner or self.order

    def from_sql(self, terms: list[str], more: Sequence[str] = ()) -> str:
        """FROM .. WHERE ..; `terms` go where the query's placeholder is, `more` always outside."""
        if self.query is None:
            return f"FROM {self._relation_sql()} AS t{where([*terms, *more])}"
        if PLACEHOLDER not in self.query:
            return f"FROM ({self.query}\n) AS t{where([*terms, *more])}"
        inner = self.query.replace(PLACEHOLDER, where(terms) or " WHERE 1=1")
        return f"FROM ({inner}\n) AS t{where(list(more))}"

    def selected(self) -> list[Selected]:
        """The stream's columns in order, as the reader takes them."""
        return [select(c, self.request.types) for c in self.columns]

    def schema(self) -> TableSchema:
        key = self.relation.key if self.relation else ()
        return TableSchema(tuple(s.field for s in self.selected()), key, SYSTEM)

    def _relation_sql(self) -> str:
        assert self.relation is not None
        return self.relation.sql


def resolve(session: Session, request: ReadRequest, relation: Relation | None) -> Target:
    """The request's target. Raises ConfigError for what cannot be read so, ExtractionError for a missing stream."""
    if request.query is not None:
        query = clean_query(request.query, str(request.stream))
        target = Target(request, (), None, query)
        target = replace(target, columns=_query_columns(session, target))
    elif relation is not None:
        target = Target(request, relation.columns, relation)
    else:
        raise ExtractionError(
            f"there is no table or view {str(request.stream)!r} that the user may see",
            where=session.where,
            fix="correct the name (schema.table), or grant the user SELECT on it and USAGE on its schema",
            fault="config",
        )
    _check_overrides(target)
    return _with_order(session, target)


def clean_query(text: str, stream: str) -> str:
    """The SELECT inside, also of the form `(SELECT .. {query_filter}) alias`."""
    query = text.strip().rstrip(";").strip()
    if query.startswith("("):
        match = _ALIAS.search(query)
        if match is None:
            raise ConfigError("the query starts with a parenthesis that nothing closes", where=stream)
        if _closes_at_end(query, match.start()):
            query = query[1 : match.start()].strip()
    if not query:
        raise ConfigError("the query is empty", where=stream, fix="give a SELECT statement")
    return query


def _closes_at_end(query: str, end: int) -> bool:
    """Whether the first parenthesis is closed by the one at `end`, quoted text aside."""
    depth, quoted = 0, ""
    for index, char in enumerate(query[: end + 1]):
        if quoted:
            quoted = "" if char == quoted else quoted
        elif char in "'\"":
            quoted = char
        else:
            depth += (char == "(") - (char == ")")
            if depth == 0:
                return index == end
    return False


def _query_columns(session: Session, target: Target) -> tuple[Column, ...]:
    attributes = _attributes(session, f"SELECT * {target.from_sql([])}", target.stream, "the query")
    names = [a.name for a in attributes]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ConfigError(f"the query returns two columns named {twice[0]!r}", where=target.stream, fix="alias one")
    types = types_of(session, [a.type.oid for a in attributes])
    return tuple(replace(types[a.type.oid], name=a.name) for a in attributes)


def _with_order(session: Session, target: Target) -> Target:
    spec = target.request.cursor
    if spec is None:
        return target
    if spec.expression is not None:
        sql = f"SELECT ({spec.expression}) {target.from_sql([])}"
        (attribute,) = _attributes(session, sql, target.stream, f"the cursor {spec.label!r}")
        base = types_of(session, [attribute.type.oid])[attribute.type.oid].base
        return replace(target, order=order_by_expression(spec, base, stream=target.stream))
    indexed = target.relation.indexed if target.relation else frozenset[str]()
    order = order_of(spec, target.columns, stream=target.stream, indexed=indexed, table="t")
    if target.query is None or PLACEHOLDER not in target.query:
        return replace(target, order=order)
    inner = order_of(spec, target.columns, stream=target.stream, indexed=indexed, table="")
    return replace(target, order=order, inner=inner)


def _attributes(session: Session, sql: str, stream: str, what: str) -> list:  # type: ignore[type-arg]
    try:
        return list(session.wait(session.raw.prepare(sql)).get_attributes())
    except PenstockError as error:
        if error.fault == "transient":
            raise
        raise ConfigError(
            f"{what} cannot be run: {error.what}",
            where=stream,
            fix="try it in psql as it stands; columns in it are those of the stream",
        ) from error


def _check_overrides(target: Target) -> None:
    names = {c.name for c in target.columns}
    unknown = sorted(set(target.request.types) - names)
    if unknown:
        raise ConfigError(
            f"`columns` names {unknown[0]!r}, which the stream does not have",
            where=target.stream,
            fix=f"columns: {', '.join(sorted(names))}",
        )
