"""What orders a stream, as SQL and as values: one column, an expression, or the greatest of several columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Literal

from penstock.connectors.postgres.identifiers import quote
from penstock.connectors.postgres.types import Column, decimal_type
from penstock.errors import ConfigError, ExtractionError
from penstock.records import dataclass
from penstock.values import Cursor, CursorSpec, CursorType

HOUR = 3600.0
DAY = 86_400.0
INT_LOOKBACK = 1_000_000
_INT8_MIN = -(1 << 63)
_INTS = ("int2", "int4", "int8")
_STRINGS = ("text", "varchar", "bpchar", "name", "uuid", "char")
_TIMES = ("date", "timestamp", "timestamptz")


@dataclass(frozen=True, slots=True)
class OrderSql:
    """The cursor of one stream. `parts` are prefiltered one by one, `value` is what counts."""

    parts: tuple[str, ...]
    value: str
    type: CursorType
    sql_type: str
    arrow: str
    nullable: bool
    label: str
    column: str | None = None  # set where a plain column of the stream holds the cursor itself
    indexed: bool = False

    def at_least(self, bound: str) -> str:
        """Rows at or past the bound. Each part is compared on its own, so that indexes serve."""
        terms = [f"{part} >= {bound}" for part in self.parts]
        return terms[0] if len(terms) == 1 else f"({' OR '.join(terms)})"

    @property
    def is_null(self) -> str:
        """Rows without a cursor: the greatest of several is NULL where all are, which indexes of each can find."""
        terms = [f"{part} IS NULL" for part in self.parts]
        return terms[0] if len(terms) == 1 else f"({' AND '.join(terms)})"


def order_of(
    spec: CursorSpec, columns: Sequence[Column], *, stream: str, indexed: frozenset[str], table: str
) -> OrderSql:
    """The order by plain columns. Raises ConfigError for a column that is not there or cannot order."""
    by_name = {c.name: c for c in columns}
    missing = [name for name in spec.columns if name not in by_name]
    if missing:
        raise ConfigError(f"no column {missing[0]!r} to read by", where=stream, fix=f"columns: {', '.join(by_name)}")
    chosen = [by_name[name] for name in spec.columns]
    base = _common_base([c.base for c in chosen], stream, spec.label)
    prefix = f"{table}." if table else ""
    parts = tuple(_part(f"{prefix}{quote(c.name)}", base) for c in chosen)
    _check_type(spec, base, stream)
    value = parts[0] if len(parts) == 1 else f"GREATEST({', '.join(parts)})"
    single = chosen[0] if len(chosen) == 1 and base not in _STRINGS else None
    return OrderSql(
        parts,
        value,
        _kind(base),
        _sql_type(base),
        _arrow(base, single),
        all(not c.not_null for c in chosen),
        spec.label,
        single.name if single else None,
        bool(chosen) and all(c.name in indexed for c in chosen) and base not in _STRINGS,
    )


def order_by_expression(spec: CursorSpec, base: str, *, stream: str) -> OrderSql:
    """The order by an SQL expression of the project, whose type the server told."""
    base = _common_base([base], stream, spec.label)
    _check_type(spec, base, stream)
    value = _part(f"({spec.expression})", base)
    return OrderSql((value,), value, _kind(base), _sql_type(base), _arrow(base, None), nullable=True, label=spec.label)


def parse(order: OrderSql, text: str | None, *, stream: str) -> Cursor | None:
    """A cursor value as the server wrote it. Raises ExtractionError for what is no position: infinity, NaN, BC."""
    if text is None:
        return None
    try:
        return Cursor(order.type, _parse_value(order.type, text))
    except (ValueError, InvalidOperation) as error:
        raise ExtractionError(
            f"the highest value of the cursor {order.label!r} is infinite, NaN or outside the years 1 to 9999",
            where=stream,
            fix="correct these rows at the source, or read by an expression that leaves them out, such as "
            "nullif(column, 'infinity')",
        ) from error


def back(cursor: Cursor | None, order: OrderSql, lookback: float | Literal["all"] | None) -> Cursor | None:
    """`lookback` below the cursor; None means everything must be looked at again."""
    if cursor is None or lookback == "all":
        return None
    amount = default_lookback(order, everywhere=False) if lookback is None else lookback
    if amount == "all":
        return None
    return shift(cursor, -float(amount))


def default_lookback(order: OrderSql, *, everywhere: bool) -> float | Literal["all"]:
    """What is read again by default; `everywhere` is the answer where no horizon tells old rows from new."""
    if everywhere:
        return 0.0
    if order.type == "string" or (order.column is None and len(order.parts) == 1):
        return "all"
    if order.type in ("date", "datetime"):
        return HOUR if order.type == "datetime" else HOUR / DAY
    return float(INT_LOOKBACK)


def assumption(order: OrderSql, lookback: float | Literal["all"] | None) -> tuple[str, ...]:
    """What reading no further back than this takes for granted; nothing where everything is looked at again."""
    amount = default_lookback(order, everywhere=False) if lookback is None else lookback
    if amount == "all":
        return ()
    unit = {"datetime": HOUR, "date": 1 / 24}.get(str(order.type))
    shown = f"{amount:,.0f}" if unit is None else f"{amount / unit:,.6g} h"
    return (
        f"assumes that no row comes stamped more than {shown} below the highest {order.label} loaded "
        "(or the start of the oldest open transaction); `lookback: all` assumes nothing",
    )


def shift(cursor: Cursor, amount: float) -> Cursor:
    """The cursor moved by seconds, by days (a part of a day back is a whole one) or by units; a string stays."""
    value = cursor.value
    if isinstance(value, datetime):
        return Cursor("datetime", _clamped(value, amount))
    if isinstance(value, date):
        return Cursor("date", date.fromordinal(max(1, value.toordinal() + math.floor(amount))))
    if isinstance(value, Decimal):
        return Cursor("decimal", value + Decimal(repr(amount)))
    if isinstance(value, int):
        return Cursor("int", max(value + math.floor(amount), _INT8_MIN))
    return cursor


def least(first: Cursor | None, second: Cursor | None) -> Cursor | None:
    """The lower of two; None counts as absent."""
    if first is None or second is None:
        return first or second
    return first if first.value <= second.value else second  # type: ignore[operator]


def greatest(first: Cursor | None, second: Cursor | None) -> Cursor | None:
    if first is None or second is None:
        return first or second
    return first if first.value >= second.value else second  # type: ignore[operator]


def check_stored(cursor: Cursor | None, order: OrderSql, *, stream: str) -> None:
    """A stored cursor must be of the column's type. Raises ConfigError where the column or the cursor was changed."""
    if cursor is None:
        return
    naive = isinstance(cursor.value, datetime) and cursor.value.tzinfo is None
    fits = cursor.type == order.type and (cursor.type != "datetime" or naive == (order.sql_type == "timestamp"))
    if not fits:
        raise ConfigError(
            f"the stored cursor is a {cursor.type}, the cursor {order.label!r} is now a {order.sql_type}",
            where=stream,
            fix="put the cursor back, or run this table with --full-refresh",
        )


def convert(cursor: Cursor | None, order: OrderSql, *, stream: str) -> Cursor | None:
    """A bound that the project names, in the cursor's own type: naive times are UTC where the column has a zone."""
    if cursor is None:
        return None
    value = cursor.value
    if order.type == "datetime" and isinstance(value, date):
        moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001
        if order.sql_type == "timestamptz" and moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        elif order.sql_type == "timestamp" and moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
        return Cursor("datetime", moment)
    if order.type == "date" and isinstance(value, datetime) and value.time() == datetime.min.time():
        return Cursor("date", value.date())
    if order.type == "decimal" and isinstance(value, int):
        return Cursor("decimal", Decimal(value))
    check_stored(cursor, order, stream=stream)
    return cursor


def _clamped(value: datetime, seconds: float) -> datetime:
    try:
        return value + timedelta(seconds=seconds)
    except OverflowError:
        year, month, day = (1, 1, 1) if seconds < 0 else (9999, 12, 31)
        return datetime(year, month, day, tzinfo=value.tzinfo)


def _parse_value(kind: CursorType, text: str) -> int | Decimal | date | datetime | str:
    if kind == "int":
        return int(text)
    if kind == "decimal":
        value = Decimal(text)
        if not value.is_finite():
            raise ValueError("not finite")
        return value
    if kind == "date":
        return date.fromisoformat(text)
    return datetime.fromisoformat(text) if kind == "datetime" else text


def _common_base(bases: Sequence[str], stream: str, label: str) -> str:
    for family in (_INTS, _TIMES, (*_INTS, "numeric")):
        if all(base in family for base in bases):
            return max(bases, key=family.index)
    if all(base in _STRINGS for base in bases):
        return "text"
    raise ConfigError(
        f"the cursor {label!r} is of type {', '.join(dict.fromkeys(bases))}: that has no order to read by",
        where=stream,
        fix="integers, numeric, date, timestamp, timestamptz or text (of one kind), or an expression cast to one",
    )


def _part(sql: str, base: str) -> str:
    # one order for strings everywhere: bytes, as Python and every other server have it
    return f'{sql}::text COLLATE "C"' if base in _STRINGS else sql


def _kind(base: str) -> CursorType:
    if base in _INTS:
        return "int"
    if base == "numeric":
        return "decimal"
    if base in _TIMES:
        return "date" if base == "date" else "datetime"
    return "string"


def _sql_type(base: str) -> str:
    return "int8" if base in _INTS else ("text" if base in _STRINGS else base)


def _arrow(base: str, column: Column | None) -> str:
    """The house type of the cursors handed on beside the rows."""
    if base == "numeric":
        spelled = decimal_type(column.base_native) if column else "numeric"
        return spelled if spelled != "numeric" else "decimal(76,20)"
    return {"date": "date", "timestamp": "timestamp", "timestamptz": "timestamptz"}.get(
        base, "int64" if base in _INTS else "string"
    )


def _check_type(spec: CursorSpec, base: str, stream: str) -> None:
    kind = _kind(base)
    families = (("int", "decimal"), ("date", "datetime"), ("string",))
    if spec.type is not None and not any(spec.type in family and kind in family for family in families):
        raise ConfigError(
            f"the cursor {spec.label!r} is declared {spec.type} and is a {base} at the source",
            where=stream,
            fix="correct iterate_column_type, or leave it out",
        )


def text_value(cursor: Cursor) -> str:
    """What a session setting holds for it."""
    value = cursor.value
    return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)
