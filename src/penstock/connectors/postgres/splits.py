"""Cuts one read into shares: by ctid under an exported snapshot, or by ranges of a column."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from penstock.connectors.postgres.extents import Extent
from penstock.connectors.postgres.filters import Arguments, Settings, render
from penstock.connectors.postgres.identifiers import quote
from penstock.connectors.postgres.targets import Target
from penstock.errors import ConfigError
from penstock.records import dataclass
from penstock.values import SplitWish

if TYPE_CHECKING:
    from penstock.connectors.postgres.connect import Session

SPLIT_BYTES = 256 << 20
PAGE_BYTES = 8192
TID_RANGE_SCANS = 140_000  # before, each ctid range reads the whole table
_ALIASED = re.compile(r"(.+?)\s+as\s+(\w+)\s*", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Share:
    """low <= what < high; an open end is None. `nulls`: rows where it is NULL belong here."""

    what: str
    sql_type: str
    low: str | None
    high: str | None
    nulls: bool = False

    def terms(self, binder: Settings) -> list[str]:
        low = f"{self.what} >= {binder.text(self.low, self.sql_type)}" if self.low is not None else None
        high = f"{self.what} < {binder.text(self.high, self.sql_type)}" if self.high is not None else None
        term = " AND ".join(t for t in (low, high) if t)
        if not self.nulls:
            return [term] if term else []
        return [f"({term} OR {self.what} IS NULL)"] if term else []


def cut(session: Session, extent: Extent, version: int) -> list[Share | None]:
    """The shares of one extent; [None] is one read of everything."""
    target = extent.target
    wish = target.request.splits
    if target.request.limit is not None or (wish.count is not None and wish.count <= 1):
        return [None]
    if wish.column is not None:
        return list(_by_column(session, extent, wish))
    if target.relation is not None and target.relation.ctid_orders_it and not wish.by_cursor:
        count = wish.count or _automatic(extent, version)
        return list(ctid_shares(target.relation.size_bytes or 0, count))
    if wish.count is not None and target.order is not None and target.order.type in ("int", "datetime"):
        return list(_by_column(session, extent, wish))
    return [None]


def ctid_shares(size_bytes: int, count: int) -> Sequence[Share | None]:
    """Ranges of pages; the last has no end, for pages that came after the size was asked."""
    pages = max(size_bytes // PAGE_BYTES, 1)
    count = min(count, pages)
    if count <= 1:
        return [None]
    edges = [pages * i // count for i in range(1, count)]
    return [
        Share("t.ctid", "tid", f"({low},0)" if low else None, f"({high},0)" if high else None)
        for low, high in zip([None, *edges], [*edges, None], strict=True)
    ]


def range_shares(what: str, kind: Literal["int", "datetime"], ends: tuple[str, str], count: int) -> Sequence[Share]:
    """Ranges of equal width between the ends; the first and the last are open, NULLs go with the first."""
    sql_type, edges = ("numeric", _int_edges(ends, count)) if kind == "int" else _datetime_edges(ends, count)
    return [
        Share(what, sql_type, low, high, nulls=low is None)
        for low, high in zip([None, *edges], [*edges, None], strict=True)
    ]


def _automatic(extent: Extent, version: int) -> int:
    target = extent.target
    chained = extent.bounds is not None and extent.bounds.chained
    later = target.order is not None and not extent.first
    if version < TID_RANGE_SCANS or chained or later or target.relation is None:
        return 1
    return max(min((target.relation.size_bytes or 0) // SPLIT_BYTES, (os.cpu_count() or 2) // 2), 1)


def _by_column(session: Session, extent: Extent, wish: SplitWish) -> Sequence[Share | None]:
    target = extent.target
    what = _split_sql(target, wish)
    kind = wish.type or (
        "datetime" if wish.column is None and target.order and target.order.type == "datetime" else "int"
    )
    count = wish.count or max((os.cpu_count() or 2) // 2, 2)
    if wish.lower is not None and wish.upper is not None:
        return range_shares(what, kind, (wish.lower, wish.upper), count)
    binder = Arguments()
    terms = render(extent.wanted, target.filter_order, binder) if wish.bounds_filtered else []
    sql = f"SELECT min({what})::text, max({what})::text {target.from_sql(terms)}"
    low, high = session.query(sql, *binder.values)[0]
    if low is None or high is None:
        return [None]
    return range_shares(what, kind, (wish.lower or low, wish.upper or high), count)


def _split_sql(target: Target, wish: SplitWish) -> str:
    if wish.column is None:
        assert target.order is not None
        return target.order.value
    if any(c.name == wish.column for c in target.columns):
        return f"t.{quote(wish.column)}"
    match = _ALIASED.fullmatch(wish.column)
    expression = match[1] if match else wish.column
    if match is None and re.fullmatch(r"\w+", expression):
        raise ConfigError(
            f"no column {wish.column!r} to cut the read by",
            where=f"{target.stream}, partitions_column",
            fix=f"columns: {', '.join(c.name for c in target.columns)}; or an expression, as `expression as name`",
        )
    return f"({expression})"


def _int_edges(ends: tuple[str, str], count: int) -> list[str]:
    try:
        low, high = int(float(ends[0])) if "." in ends[0] else int(ends[0]), int(ends[1].split(".")[0])
    except ValueError as error:
        raise _bad_bounds("whole numbers") from error
    edges = {low + (high - low + 1) * i // count for i in range(1, count)}
    return [str(e) for e in sorted(edges) if e > low]


def _datetime_edges(ends: tuple[str, str], count: int) -> tuple[str, list[str]]:
    try:
        low, high = (datetime.fromisoformat(end) for end in ends)
    except ValueError as error:
        raise _bad_bounds("dates or times, such as 2024-01-31 12:00:00") from error
    sql_type = "timestamptz" if low.tzinfo or high.tzinfo else "timestamp"
    low, high = (end if end.tzinfo or sql_type == "timestamp" else end.replace(tzinfo=UTC) for end in (low, high))
    step = (high - low + timedelta(microseconds=1)) / count
    edges = {low + step * i for i in range(1, count)}
    return sql_type, [e.isoformat(sep=" ") for e in sorted(edges) if e > low]


def _bad_bounds(wanted: str) -> ConfigError:
    return ConfigError(
        "the bounds of the splits are not what partitions_column_type says",
        where="partitions_lower_bound, partitions_upper_bound",
        fix=f"give {wanted}, or leave them out",
    )
