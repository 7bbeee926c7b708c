"""How far one read goes: bounds, exact counts and the next position, all from one snapshot."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from penstock.connectors.sql.link import Value
from penstock.connectors.sql.selects import Arguments, Filter, Order, Relation, conditions_of, without_nulls
from penstock.errors import ExtractionError, counted
from penstock.records import dataclass
from penstock.values import START, Bounds, Cursor, Position, ReadRequest


class Snapshot(Protocol):
    """One state of a source, and how its system spells cursors."""

    def query(self, sql: str, params: list[Value]) -> list[tuple[Any, ...]]: ...
    def number(self, number: int) -> str:
        """The placeholder of a parameter; one number may occur several times."""
        ...

    def bind(self, cursor: Cursor, order: Order, arguments: Arguments) -> str:
        """The cursor as a parameter in the form in which it is stored. Raises ConfigError where it cannot be one."""
        ...

    def cursor_of(self, value: Any, order: Order) -> Cursor | None: ...
    def step_back(self, cursor: Cursor, amount: float) -> Cursor:
        """The cursor less seconds, days or units."""
        ...


@dataclass(frozen=True, slots=True)
class Extent:
    """`wanted` is None where the stream is read whole, without a cursor."""

    bounds: Bounds
    wanted: Filter | None
    order: Order | None


def extent_of(snapshot: Snapshot, request: ReadRequest, relation: Relation, order: Order | None) -> Extent:
    """Raises ExtractionError, with the count, for rows without a cursor where null_cursors is `fail`."""
    measure = Measure(snapshot, relation, request.stream)
    if order is None or request.cursor is None:
        return Extent(Bounds(position=START, rows=_limited(measure.count([], []), request)), None, order)
    if request.window is not None:
        return _window_extent(measure, request, order)
    return _cursor_extent(measure, request, order)


@dataclass(frozen=True, slots=True)
class Measure:
    """Questions about rows of one relation."""

    snapshot: Snapshot
    relation: Relation
    stream: str

    def count(self, conditions: list[str], values: list[Value]) -> int:
        return int(self.snapshot.query(self.relation.select("count(*)", conditions), values)[0][0])

    def count_wanted(self, wanted: Filter, order: Order) -> int:
        arguments = Arguments(self.snapshot.number)
        conditions = conditions_of(wanted, order, self.snapshot.bind, arguments)
        return self.count(conditions, arguments.values)

    def count_nulls(self, order: Order) -> int:
        return self.count([f"{order.value} IS NULL"], [])

    def highest(self, wanted: Filter, order: Order) -> Cursor | None:
        arguments = Arguments(self.snapshot.number)
        conditions = conditions_of(without_nulls(wanted), order, self.snapshot.bind, arguments)
        rows = self.snapshot.query(self.relation.select(f"max({order.value})", conditions), arguments.values)
        return self.snapshot.cursor_of(rows[0][0], order)

    def nth(self, number: int, wanted: Filter, order: Order) -> Cursor | None:
        """The cursor of the n-th wanted row, counted from 1; None where there are fewer."""
        arguments = Arguments(self.snapshot.number)
        conditions = conditions_of(without_nulls(wanted), order, self.snapshot.bind, arguments)
        tail = f" ORDER BY {order.value} LIMIT 1 OFFSET {int(number) - 1}"
        rows = self.snapshot.query(self.relation.select(order.value, conditions, tail), arguments.values)
        return self.snapshot.cursor_of(rows[0][0], order) if rows else None


def _limited(rows: int, request: ReadRequest) -> int:
    return rows if request.limit is None else min(rows, request.limit)


def _window_extent(measure: Measure, request: ReadRequest, order: Order) -> Extent:
    """A window never moves the cursor."""
    assert request.window is not None
    wanted = Filter(request.window.lower, request.window.upper, upper_open=request.window.upper is not None)
    rows = measure.count_wanted(wanted, order)
    position = request.after or START
    bounds = Bounds(wanted.lower, wanted.upper, position, idle=rows == 0 or None, rows=_limited(rows, request))
    return Extent(bounds, wanted, order)


def _cursor_extent(measure: Measure, request: ReadRequest, order: Order) -> Extent:
    after = request.after or START
    lower = after.resume or after.cursor
    nulls = _count_nulls(measure, request, order)
    end = after.chain_end or measure.highest(Filter(lower), order)
    if end is None:  # nothing at or past the lower bound
        rows = nulls
        bounds = Bounds(lower, None, after, idle=rows == 0 or None, rows=_limited(rows, request))
        return Extent(bounds, Filter(lower, nulls=nulls > 0), order)
    upper = _chain_link(measure, request, order, end)
    wanted = Filter(lower, upper, nulls=nulls > 0)
    chained = upper != end
    position = Position(upper, upper if chained else _resume(measure.snapshot, request, upper))
    if chained:
        position = Position(upper, upper, chain_end=end)
    rows = measure.count_wanted(wanted, order)
    bounds = Bounds(lower, upper, position, idle=rows == 0 or None, rows=_limited(rows, request), chained=chained)
    return Extent(bounds, wanted, order)


def _count_nulls(measure: Measure, request: ReadRequest, order: Order) -> int:
    """How many rows without a cursor are to be delivered: every read hands them out, the boundary tells known ones."""
    assert request.cursor is not None
    policy = request.cursor.nulls or "fail"
    if policy == "skip":
        return 0
    count = measure.count_nulls(order)
    if policy == "fail" and count:
        raise ExtractionError(
            f"{counted(count, 'row')} without a value in the cursor {order.label}: could be missed or delivered again",
            where=request.stream,
            fix="fill the column, or choose null_cursors: include or skip",
        )
    return count


def _chain_link(measure: Measure, request: ReadRequest, order: Order, end: Cursor) -> Cursor:
    """The upper bound of this load: the end, or the n-th row's cursor on a first load in several loads.

    Rows at the lower bound are read again and were delivered: they do not count.
    """
    after = request.after or START
    is_first = after.cursor is None or after.chain_end is not None
    if request.chain_rows is None or not is_first:
        return end
    number = request.chain_rows
    if after.cursor is not None:
        number += measure.count_wanted(Filter(after.resume or after.cursor, after.cursor), order)
    found = measure.nth(number, Filter(after.resume or after.cursor, end), order)
    return found or end


def _resume(snapshot: Snapshot, request: ReadRequest, upper: Cursor) -> Cursor | None:
    assert request.cursor is not None
    lookback = request.cursor.lookback
    if lookback == "all":
        return None
    return snapshot.step_back(upper, float(lookback)) if lookback else upper


def stepped_back(cursor: Cursor, amount: float) -> Cursor:
    """The cursor less seconds, days (a part of a day is a whole one) or units; a text stays."""
    value = cursor.value
    if isinstance(value, datetime):
        room = value - datetime.min.replace(tzinfo=value.tzinfo)
        return Cursor("datetime", value - min(room, timedelta(seconds=amount)))
    if isinstance(value, date):
        return Cursor("date", date.fromordinal(max(1, value.toordinal() - math.ceil(amount))))
    if isinstance(value, Decimal):
        return Cursor("decimal", value - Decimal(repr(amount)))
    if isinstance(value, int):
        return Cursor("int", value - math.ceil(amount))
    return cursor
