"""From where to where a read goes: what to ask the snapshot, and what its answers mean for the ledger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC

from penstock.connectors.postgres.cursors import (
    DAY,
    OrderSql,
    assumption,
    back,
    check_stored,
    convert,
    default_lookback,
    greatest,
    least,
    parse,
    shift,
)
from penstock.connectors.postgres.filters import Arguments, Filter, range_terms, render, xid_sql, xid_terms
from penstock.connectors.postgres.horizon import Facts, XidWindow, check_position, lag_of, notes_of, refuse_wrapped
from penstock.connectors.postgres.targets import Target
from penstock.errors import ConfigError, ExtractionError
from penstock.records import dataclass
from penstock.values import START, Bounds, Cursor, Position

PAGE_BYTES = 8192
ROWS_PER_PAGE = 291  # of no columns at all
NO_HORIZON = "read by cursor alone, not by transaction: it is a view, a foreign table or a query"


@dataclass(frozen=True, slots=True)
class Extent:
    """What one request will deliver, before and (with `bounds`) after the snapshot was asked."""

    target: Target
    wanted: Filter
    bounds: Bounds | None = None

    @property
    def first(self) -> bool:
        return is_first(self.target.request.after)


@dataclass(frozen=True, slots=True)
class Answers:
    """What the snapshot says: text of the highest cursor, the lowest held back, the end of a chain's next link."""

    found: bool
    high: str | None = None
    held: str | None = None
    nulls: bool = False
    link: str | None = None


def is_first(after: Position | None) -> bool:
    return after is None or (after.cursor is None and after.horizon is None)


def plan(target: Target, facts: Facts) -> Extent:
    """What the request asks for. Raises ConfigError or ExtractionError where it cannot be delivered as promised."""
    order, request = target.order, target.request
    if request.window is not None:
        return Extent(target, _static_window(target))
    if order is None:
        return Extent(target, Filter())
    after = request.after or START
    check_stored(after.cursor, order, stream=target.stream)
    check_stored(after.resume, order, stream=target.stream)
    if not target.heap:
        return Extent(target, _by_cursor(target, after))
    if is_first(after):
        return Extent(target, _first(target, facts))
    counts = check_position(after, facts, stream=target.stream, accept=request.accept_source_change)
    if after.chain_end is not None:
        return Extent(target, _link(target, after, facts, counts=counts))
    if counts and request.late_commits == "once" and after.resume is None and after.cursor is not None:
        refuse_wrapped(facts, target.stream)
    return Extent(target, _since(target, after, facts) if counts else _since_cursor(target, after, facts))


def _static_window(target: Target) -> Filter:
    window, order = target.request.window, target.order
    if order is None or window is None:
        raise ConfigError("a window needs a cursor column", where=target.stream, fix="give `iterate_column`")
    lower = convert(window.lower, order, stream=target.stream)
    return Filter(lower, upper=convert(window.upper, order, stream=target.stream), upper_open=True, nulls=False)


def _by_cursor(target: Target, after: Position) -> Filter:
    request = target.request
    nulls = request.cursor is not None and request.cursor.nulls == "include"
    if nulls and request.late_commits == "once":
        raise ConfigError(
            "`null_cursors: include` would append the rows without cursor again at every load of a view or query",
            where=target.stream,
            fix="choose `null_cursors: skip` or `fail`, or a keyed strategy (upsert)",
        )
    lower = after.cursor if after.chain_end is not None else (after.resume or after.cursor)
    return Filter(lower, nulls=nulls and (is_first(after) or after.chain_end is None), upper=after.chain_end)


def _first(target: Target, facts: Facts) -> Filter:
    settled = None if facts.quiet else XidWindow(facts.top, None, facts.horizon)
    late, nulls = target.request.late_commits, _takes_nulls(target)
    if late == "once":
        return Filter(xids=settled, nulls=nulls, null_xids=None)
    return Filter(nulls=nulls, null_xids=settled if late == "window" else None)


def _since(target: Target, after: Position, facts: Facts) -> Filter:
    late, nulls = target.request.late_commits, _takes_nulls(target)
    once = XidWindow(facts.top, after.horizon, facts.horizon)
    if late == "once":
        return Filter(after.resume, xids=once, nulls=nulls)
    if late == "all":
        return Filter(after.resume, xids=XidWindow(facts.top, after.horizon, None), nulls=nulls)
    # rows without a cursor lie in no window: they come once, and all again where no lower end means that all rows go
    null_low = after.horizon if after.resume is not None else None
    return Filter(after.resume, nulls=nulls, null_xids=XidWindow(facts.top, null_low, facts.horizon))


def _since_cursor(target: Target, after: Position, facts: Facts) -> Filter:
    """Without a horizon that counts: adopted positions, and another system that the table accepts."""
    if target.request.late_commits == "once":
        return Filter(after.cursor, lower_open=True, nulls=False, xids=XidWindow(facts.top, None, facts.horizon))
    return Filter(after.resume or after.cursor, nulls=_takes_nulls(target))


def _link(target: Target, after: Position, facts: Facts, *, counts: bool) -> Filter:
    late = target.request.late_commits
    # the window that is deleted at the target has its lower end in it, so what is read has too
    wanted = Filter(after.cursor, lower_open=late != "window", upper=after.chain_end, nulls=False)
    if late != "once" or not counts:
        return wanted
    # a row that changed since the first snapshot comes with the loads after the chain, unless they start above it
    return replace(wanted, xids=XidWindow(facts.top, None, after.horizon), below=after.resume)


def _takes_nulls(target: Target) -> bool:
    return target.request.cursor is not None and target.request.cursor.nulls == "include"


def question(extent: Extent, number: int, binder: Arguments) -> str:
    """One SELECT of five columns beside its number: found, high, held, nulls, link; all from one scan where it can."""
    target, wanted, order = extent.target, extent.wanted, extent.target.order
    if order is None or target.request.window is not None:
        source = target.from_sql(render(wanted, target.filter_order, binder))
        return _row(number, f"EXISTS (SELECT {source})")
    if target.request.after is None or is_first(target.request.after) or not target.heap or _is_link(extent):
        return _ask_range(extent, number, binder)
    if target.request.late_commits == "window":
        return _ask_window(extent, number, binder)
    return _ask_changes(extent, number, binder)


def _row(
    number: int, found: str, high: str = "NULL", held: str = "NULL", nulls: str = "false", link: str = "NULL"
) -> str:
    return f"SELECT {number}, {found}, ({high})::text, ({held})::text, {nulls}, ({link})::text"


def _is_link(extent: Extent) -> bool:
    after = extent.target.request.after
    return after is not None and after.chain_end is not None


def _ask_range(extent: Extent, number: int, binder: Arguments) -> str:
    """First loads, links of a chain, and everything that is read by cursor alone."""
    target, wanted = extent.target, extent.wanted
    order, inner = _orders(target)
    ranged = replace(wanted, nulls=True, xids=None, null_xids=None)
    found = f"EXISTS (SELECT {target.from_sql(render(ranged, inner, binder))})"
    # max() of each part by itself lets an index answer
    highest = ", ".join(f"max({part})" for part in order.parts)
    high = "NULL"
    if not _is_link(extent):
        high = f"SELECT GREATEST({highest}) {target.from_sql(range_terms(wanted, inner, binder))}"
    held = "NULL"
    if extent.first and wanted.xids is not None and not wanted.xids.everything:
        unsettled = XidWindow(wanted.xids.top, wanted.xids.high, None)
        held = f"SELECT min({order.value}) {target.from_sql([xid_sql(unsettled, binder)])}"
    nulls = _ask_nulls(extent)
    return _row(number, found, high, held, nulls, _ask_link(extent, binder))


def _ask_nulls(extent: Extent) -> str:
    target = extent.target
    order, inner = _orders(target)
    spec = target.request.cursor
    if spec is None or spec.nulls != "fail" or not order.nullable or (target.heap and not extent.first):
        return "false"
    return f"EXISTS (SELECT {target.from_sql([inner.is_null])})"


def _ask_link(extent: Extent, binder: Arguments) -> str:
    target, wanted = extent.target, extent.wanted
    order, inner = _orders(target)
    rows = target.request.chain_rows
    if rows is None or not (extent.first or _is_link(extent)) or _surely_fewer(target, rows):
        return "NULL"
    # strictly past the last link: where a link starts with its lower end, ties must not hold the chain up
    terms = range_terms(replace(wanted, lower_open=True), inner, binder) or [f"{inner.value} IS NOT NULL"]
    place = binder.number(max(rows, 1) - 1)
    return f"SELECT {order.value} {target.from_sql(terms)} ORDER BY {order.value} OFFSET {place} LIMIT 1"


def _surely_fewer(target: Target, rows: int) -> bool:
    """Whether the table has no more rows than one load takes: finding the place of a row may cost a sort."""
    relation = target.relation
    if relation is None:
        return False
    most = (relation.size_bytes or 0) // PAGE_BYTES * ROWS_PER_PAGE if relation.kind == "r" else None
    return (0 <= relation.rows * 2 <= rows and relation.rows > 0) or (most is not None and most <= rows)


def _ask_window(extent: Extent, number: int, binder: Arguments) -> str:
    target, wanted = extent.target, extent.wanted
    order, _ = _orders(target)
    limits = range_terms(wanted, order, binder)
    after = target.request.after
    recent = []
    if wanted.null_xids is not None and after is not None and after.horizon is not None:
        recent = [xid_sql(XidWindow(wanted.null_xids.top, after.horizon, None), binder)]
    prefilter = render(replace(wanted, null_xids=None, nulls=order.nullable), order, binder)
    found = f"EXISTS (SELECT {target.from_sql([*prefilter, *recent])})"
    nulls = f"EXISTS (SELECT {target.from_sql([order.is_null, *recent])})" if _fails_on_nulls(target) else "false"
    return _row(number, found, f"SELECT max({order.value}) {target.from_sql(limits)}", nulls=nulls)


def _ask_changes(extent: Extent, number: int, binder: Arguments) -> str:
    """One scan of what the prefilter leaves, of the versions since the last horizon; or the end of an index."""
    target, wanted = extent.target, extent.wanted
    order, _ = _orders(target)
    xids = wanted.xids
    since = XidWindow(xids.top, xids.low, None) if xids is not None else None
    scanned = replace(wanted, xids=since, nulls=wanted.nulls or _fails_on_nulls(target))
    settled = "true"
    if xids is not None and xids.high is not None and xids.high < xids.top:
        settled = f"({xid_sql(XidWindow(xids.top, None, xids.high), binder)})"
    elif order.indexed and len(order.parts) == 1:
        return _ask_index(scanned, target, number, binder)
    source = target.from_sql(render(scanned, order, binder))
    return (
        f"SELECT {number}, coalesce(found, false), high::text, held::text, coalesce(nulls, false), NULL::text FROM ("
        f"SELECT bool_or(settled) AS found, max(value) FILTER (WHERE settled) AS high, "
        f"min(value) FILTER (WHERE NOT settled) AS held, bool_or(value IS NULL AND settled) AS nulls "
        f"FROM (SELECT {order.value} AS value, {settled} AS settled {source}) AS s) AS m"
    )


def _ask_index(scanned: Filter, target: Target, number: int, binder: Arguments) -> str:
    """Where all that is visible is settled: an index has the highest of the changes first, and NULLs by themselves."""
    order, _ = _orders(target)
    changed = xid_terms(scanned.xids, binder)
    high = f"SELECT max({order.value}) {target.from_sql([*range_terms(scanned, order, binder), *changed])}"
    nulls = "false"
    if order.nullable and scanned.nulls:
        nulls = f"(SELECT count(*) > 0 {target.from_sql([order.is_null, *changed])})"
    # without OFFSET 0 each mention of `high` would be planned and looked up by itself
    return (
        f"SELECT {number}, high IS NOT NULL OR nulls, high::text, NULL::text, nulls, NULL::text"
        f" FROM (SELECT ({high}) AS high, {nulls} AS nulls OFFSET 0) AS m"
    )


def _orders(target: Target) -> tuple[OrderSql, OrderSql]:
    assert target.order is not None
    return target.order, target.filter_order or target.order


def _fails_on_nulls(target: Target) -> bool:
    spec = target.request.cursor
    return spec is not None and spec.nulls == "fail" and target.order is not None and target.order.nullable


def settle(extent: Extent, answers: Answers, facts: Facts, snapshot: str | None) -> Extent:
    """The extent with its bounds. Raises ExtractionError where rows without cursor must not be."""
    target, request = extent.target, extent.target.request
    estimate = _estimate(extent)
    if request.window is not None or target.order is None:
        # a window moves no cursor; a full read has none
        position = request.after or START if request.window is not None else Position(identity=facts.identity)
        bounds = Bounds(extent.wanted.lower, extent.wanted.upper, position)
        return replace(extent, bounds=_finish(bounds, answers, estimate, snapshot, ()))
    if answers.nulls and _fails_on_nulls(target):
        raise ExtractionError(
            f"rows without a value in the cursor {target.order.label!r}",
            where=target.stream,
            fix="`null_cursors: include` or `skip`, or fill the column at the source",
        )
    return _settle_incremental(extent, answers, facts, snapshot)


def _settle_incremental(extent: Extent, answers: Answers, facts: Facts, snapshot: str | None) -> Extent:
    target, wanted = extent.target, extent.wanted
    assert target.order is not None
    after = target.request.after or START
    high = parse(target.order, answers.high, stream=target.stream)
    held = parse(target.order, answers.held, stream=target.stream)
    link = parse(target.order, answers.link, stream=target.stream)
    if after.chain_end is not None:
        wanted, position = _next_link(extent, after, link)
    else:
        position = _position(extent, facts, greatest(after.cursor, high), held)
        if extent.first and link is not None and high is not None and link.value != high.value:
            wanted = replace(wanted, upper=link)
            position = replace(position, cursor=link, chain_end=high)
            if not target.heap:
                position = replace(position, resume=link)
    if not target.heap and wanted.upper is None:
        wanted = replace(wanted, upper=high)
    chained = position.chain_end is not None
    idle = not extent.first and after.chain_end is None and not answers.found
    bounds = Bounds(wanted.lower, position.cursor, position, idle or None, chained=chained)
    if target.heap:
        bounds = replace(bounds, lag_seconds=lag_of(facts), lag_blocker=facts.blocker)
    spec = target.request.cursor
    assumed = assumption(target.order, spec.lookback) if spec is not None else ()
    notes = (*assumed, *notes_of(facts, after)) if target.heap else (NO_HORIZON,)
    finished = _finish(bounds, answers, _estimate(extent), snapshot, notes)
    if target.heap and target.request.late_commits == "window" and not extent.first:
        finished = replace(finished, rows=None)  # that nothing changed says nothing of what the window holds
    return replace(extent, wanted=wanted, bounds=finished)


def _next_link(extent: Extent, after: Position, link: Cursor | None) -> tuple[Filter, Position]:
    end = after.chain_end
    assert end is not None
    last = link is None or link.value == end.value
    reached = end if last or link is None else link
    position = replace(after, cursor=reached, chain_end=None if last else end)
    if not extent.target.heap:
        # rows at the edge of a link are told apart by digest: from there on they are kept
        position = replace(position, resume=_resume_by_cursor(extent, reached) if last else reached)
    return replace(extent.wanted, upper=reached), position


def _position(extent: Extent, facts: Facts, cursor: Cursor | None, held: Cursor | None) -> Position:
    order, spec = extent.target.order, extent.target.request.cursor
    assert order is not None
    assert spec is not None
    if not extent.target.heap:
        return Position(cursor, _resume_by_cursor(extent, cursor), None, facts.identity)
    base = least(least(cursor, held), _in_flight(cursor, order, facts))
    resume = back(base, order, spec.lookback)
    return Position(cursor, resume, facts.horizon, facts.identity)


def _resume_by_cursor(extent: Extent, cursor: Cursor | None) -> Cursor | None:
    order, spec = extent.target.order, extent.target.request.cursor
    assert order is not None
    assert spec is not None
    lookback = default_lookback(order, everywhere=True) if spec.lookback is None else spec.lookback
    return back(cursor, order, lookback)


def _in_flight(cursor: Cursor | None, order: OrderSql, facts: Facts) -> Cursor | None:
    """The earliest stamp that a transaction under way may commit with; None for cursors that are no times."""
    start = facts.oldest_start
    if cursor is None or order.type not in ("date", "datetime"):
        return None
    if order.sql_type == "timestamptz":
        return Cursor("datetime", start)
    # stamps without a zone may be in anybody's: no later than the highest cursor, less what has passed since the start
    age = max((facts.now - start).total_seconds(), 0.0)
    naive = start.astimezone(UTC).replace(tzinfo=None)
    if order.type == "date":
        return least(shift(cursor, -math.ceil(age / DAY)), Cursor("date", naive.date()))
    return least(shift(cursor, -age), Cursor("datetime", naive))


def _estimate(extent: Extent) -> int | None:
    relation = extent.target.relation
    if relation is None or relation.rows < 0 or not extent.first or extent.target.request.window is not None:
        return None
    chain = extent.target.request.chain_rows
    rows = int(relation.rows)
    return min(rows, chain) if chain is not None else rows


def _finish(
    bounds: Bounds, answers: Answers, estimate: int | None, snapshot: str | None, notes: Sequence[str]
) -> Bounds:
    return replace(
        bounds,
        rows=None if answers.found else 0,
        rows_estimate=estimate,
        snapshot=snapshot,
        notes=tuple(notes),
    )


def known_idle(extent: Extent, facts: Facts) -> Answers | None:
    """The answer that needs no scan: no transaction anywhere in the cluster has ended since the last horizon."""
    wanted = extent.wanted
    xids = wanted.xids or wanted.null_xids
    if extent.first or xids is None or xids.low is None or xids.low < facts.top:
        return None
    return Answers(found=False)
