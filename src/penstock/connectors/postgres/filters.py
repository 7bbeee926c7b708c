"""Which rows of a stream are wanted, and the same as SQL, with values bound as parameters or as session settings."""

from __future__ import annotations

from dataclasses import field
from typing import Protocol

from penstock.connectors.postgres.cursors import OrderSql, text_value
from penstock.connectors.postgres.horizon import XidWindow, condition
from penstock.records import dataclass
from penstock.values import Cursor


class Binder(Protocol):
    """Puts a value in its place and gives the SQL that stands for it."""

    def cursor(self, cursor: Cursor, order: OrderSql) -> str: ...
    def number(self, number: int) -> str: ...


@dataclass(slots=True)
class Arguments:
    """Binds as $1, $2, ...: for statements that take parameters."""

    values: list[object] = field(default_factory=list)

    def cursor(self, cursor: Cursor, order: OrderSql) -> str:
        return f"{self._next(cursor.value)}::{order.sql_type}"

    def number(self, number: int) -> str:
        return f"{self._next(number)}::bigint"

    def _next(self, value: object) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


@dataclass(slots=True)
class Settings:
    """Binds as session settings: COPY takes no parameters."""

    values: dict[str, str] = field(default_factory=dict)

    def cursor(self, cursor: Cursor, order: OrderSql) -> str:
        sql = f"{self._next(text_value(cursor))}::{order.sql_type}"
        # bare, an index can use it and the planner knows its value; as a subquery it is worked out once, not per row
        return sql if order.indexed else f"(SELECT {sql})"

    def number(self, number: int) -> str:
        return f"(SELECT {self._next(str(number))}::bigint)"

    def text(self, value: str, sql_type: str) -> str:
        return f"{self._next(value)}::{sql_type}"

    def _next(self, value: str) -> str:
        name = f"penstock.v{len(self.values)}"
        self.values[name] = value
        return f"current_setting('{name}')"


@dataclass(frozen=True, slots=True)
class Filter:
    """lower <= cursor <= upper (`_open`: without the end itself), of the transactions in `xids`.

    `nulls`: rows without a cursor are wanted too, as far as `null_xids` goes. `below`: rows under it are wanted
    whatever their transaction.
    """

    lower: Cursor | None = None
    lower_open: bool = False
    upper: Cursor | None = None
    upper_open: bool = False
    xids: XidWindow | None = None
    nulls: bool = True
    null_xids: XidWindow | None = None
    below: Cursor | None = None


def render(wanted: Filter, order: OrderSql | None, binder: Binder) -> list[str]:
    """The conditions, to be joined by AND; none when everything is wanted."""
    if order is None:
        return []
    limits = range_terms(wanted, order, binder)
    xids = xid_terms(wanted.xids, binder)
    if xids and wanted.below is not None:
        xids = [f"({xids[0]} OR {order.value} < {binder.cursor(wanted.below, order)})"]
    if not order.nullable:
        return limits + xids
    if not wanted.nulls:
        return (limits or [f"{order.value} IS NOT NULL"]) + xids
    null_terms = xid_terms(wanted.null_xids, binder)
    if limits:
        without = " AND ".join([order.is_null, *null_terms])
        return [f"({' AND '.join(limits)} OR {without})", *xids]
    if null_terms:
        return [f"({order.value} IS NOT NULL OR {null_terms[0]})", *xids]
    return xids


def range_terms(wanted: Filter, order: OrderSql, binder: Binder) -> list[str]:
    """The cursor's ends alone."""
    terms = []
    if wanted.lower is not None:
        low = binder.cursor(wanted.lower, order)
        terms.append(f"{order.value} > {low}" if wanted.lower_open else order.at_least(low))
    if wanted.upper is not None:
        high = binder.cursor(wanted.upper, order)
        terms.append(f"{order.value} {'<' if wanted.upper_open else '<='} {high}")
    return terms


def xid_sql(window: XidWindow, binder: Binder) -> str:
    top = binder.number(window.top)
    low = binder.number(window.low) if window.low is not None else "0"
    bounded = window.high is not None and window.high < window.top
    high = binder.number(window.high) if bounded and window.high is not None else "0"
    return condition(window, top=top, low=low, high=high)


def xid_terms(window: XidWindow | None, binder: Binder) -> list[str]:
    return [] if window is None or window.everything else [f"({xid_sql(window, binder)})"]


def where(terms: list[str]) -> str:
    return f" WHERE {' AND '.join(terms)}" if terms else ""
