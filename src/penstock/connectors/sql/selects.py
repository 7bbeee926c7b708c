"""The SELECTs of a source: what orders a stream, which rows are wanted, and where a filter goes in a custom query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, replace

from penstock.connectors.sql.link import Value
from penstock.records import dataclass
from penstock.values import Cursor, CursorType

PLACEHOLDER = "{query_filter}"
CURSOR_COLUMN = "_penstock_cursor"


@dataclass(frozen=True, slots=True)
class Order:
    """What orders one stream. `parts` are filtered one by one, so that indices serve; `value` is what counts.

    `storage` is the connector's own note of how the cursor is stored; `example` a stored value to take a format from.
    """

    parts: tuple[str, ...]
    value: str
    type: CursorType
    label: str
    storage: str = ""
    example: str | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """lower <= cursor <= upper (`upper_open`: < upper). `nulls`: rows without a cursor are wanted too."""

    lower: Cursor | None = None
    upper: Cursor | None = None
    upper_open: bool = False
    nulls: bool = False


@dataclass(slots=True)
class Arguments:
    """Parameters of one statement, numbered, so that a filter may stand in several places."""

    number: Callable[[int], str]
    values: list[Value] = field(default_factory=list)

    def add(self, value: Value) -> str:
        self.values.append(value)
        return self.number(len(self.values))


Bind = Callable[[Cursor, Order, Arguments], str]  # a cursor's place in a comparison


@dataclass(frozen=True, slots=True)
class Relation:
    """What is read: a table, or a query that may have a place for the filter."""

    text: str
    columns: tuple[str, ...] = ()
    is_query: bool = False

    @classmethod
    def of_table(cls, quoted: str) -> Relation:
        return cls(quoted)

    @classmethod
    def of_query(cls, query: str, alias: str) -> Relation:
        """`SELECT ...` or `(SELECT ...) alias`, as mkpipe documents it."""
        text = query.strip().rstrip(";").strip()
        if not text.startswith("("):
            return cls(f"({text}\n) AS {alias}", is_query=True)
        return cls(f"{text} AS {alias}" if text.endswith(")") else text, is_query=True)

    @property
    def filters_inside(self) -> bool:
        return self.is_query and PLACEHOLDER in self.text

    def select(self, columns: str, conditions: Sequence[str], tail: str = "") -> str:
        """A SELECT whose conditions stand where the query asks for them, else outside of it."""
        where = f"WHERE {' AND '.join(conditions)}" if conditions else "WHERE 1=1"
        if self.filters_inside:
            return f"SELECT {columns} FROM {self.text.replace(PLACEHOLDER, where)}{tail}"
        return f"SELECT {columns} FROM {self.text}{' ' + where if conditions else ''}{tail}"


def conditions_of(wanted: Filter, order: Order, bind: Bind, arguments: Arguments) -> list[str]:
    """Conditions to be joined by AND; none when everything is wanted, rows without a cursor too."""
    limits: list[str] = []
    if wanted.lower is not None:
        low = bind(wanted.lower, order, arguments)
        terms = [f"{part} >= {low}" for part in order.parts]
        limits.append(terms[0] if len(terms) == 1 else f"({' OR '.join(terms)})")
    if wanted.upper is not None:
        sign = "<" if wanted.upper_open else "<="
        limits.append(f"{order.value} {sign} {bind(wanted.upper, order, arguments)}")
    if not wanted.nulls:
        return limits or [f"{order.value} IS NOT NULL"]
    if not limits:
        return []
    return [f"(({' AND '.join(limits)}) OR {order.value} IS NULL)"]


def without_nulls(wanted: Filter) -> Filter:
    return replace(wanted, nulls=False)
