"""The rows the suites move: few columns that every system has, values that go wrong easily."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from penstock.values import Field, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

Row = Mapping[str, object]

SCHEMA = TableSchema(
    (Field("id", "int64"), Field("stamp", "int64"), Field("note", "string"), Field("ratio", "float64")),
)
NOTES = (None, "", "plain", 'it\'s "quoted"', "żółw 🐢", "  spaces  ", "NULL", "two\nlines", "comma, tab\t;", "\\N")
RATIOS = (None, 0.0, -1.5, 1e300, 0.1)


def make_rows(start: int, stop: int) -> list[Row]:
    """Rows `start` <= id < `stop`; two rows share each stamp."""
    return [
        {"id": i, "stamp": i // 2 * 10, "note": NOTES[i % len(NOTES)], "ratio": RATIOS[i % len(RATIOS)]}
        for i in range(start, stop)
    ]


def as_table(rows: Sequence[Row]) -> pa.Table:
    """The rows with the suite's columns, also where there is no row."""
    import pyarrow as pa

    from penstock.schema.types import to_arrow_schema

    return pa.Table.from_pylist([dict(row) for row in rows], schema=to_arrow_schema(SCHEMA))


def multiset(rows: Iterable[Row], columns: Sequence[str] = SCHEMA.names) -> Counter[tuple[object, ...]]:
    """Rows as a multiset, whatever their order."""
    return Counter(tuple(row[name] for name in columns) for row in rows)
