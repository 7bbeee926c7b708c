"""Cursor values of rows from files: which rows a read wants, and how far it came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from penstock.connectors.files.fit import fit_column
from penstock.errors import ConfigError, counted
from penstock.records import dataclass
from penstock.schema.texts import BadCellError
from penstock.schema.types import SIGNED, UNSIGNED, decimal_of
from penstock.values import (
    Batch,
    Cursor,
    CursorSpec,
    CursorType,
    Json,
    NullCursors,
    ReadRequest,
    StreamName,
    TableSchema,
)

if TYPE_CHECKING:
    import pyarrow as pa

_FROM_TEXT: dict[CursorType, str] = {
    "int": "int64",
    "decimal": "decimal(38,9)",
    "date": "date",
    "datetime": "timestamp",
    "string": "string",
}


@dataclass(frozen=True, slots=True)
class CursorRule:
    """Which rows a read wants: lower <= cursor (<= or <) upper. JSON-able, for splits."""

    columns: tuple[str, ...]
    kind: str
    type: CursorType
    nulls: NullCursors
    lower: Cursor | None = None
    upper: Cursor | None = None
    upper_open: bool = False

    def to_json(self) -> dict[str, Json]:
        return {
            "columns": list(self.columns),
            "kind": self.kind,
            "type": self.type,
            "nulls": self.nulls,
            "lower": self.lower.to_json() if self.lower else None,
            "upper": self.upper.to_json() if self.upper else None,
            "upper_open": self.upper_open,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CursorRule:
        bounds = {name: Cursor.from_json(data[name]) if data[name] else None for name in ("lower", "upper")}
        return cls(**{**data, **bounds, "columns": tuple(data["columns"])})

    @property
    def is_bounded(self) -> bool:
        return self.lower is not None or self.upper is not None


def cursor_rule(request: ReadRequest, schema: TableSchema) -> CursorRule | None:
    """None for a stream without cursor. Raises ConfigError for a cursor that files cannot follow."""
    spec = request.cursor
    if spec is None:
        return None
    where = str(request.stream)
    if spec.expression is not None or not spec.columns:
        raise ConfigError(
            "a cursor expression cannot be computed in files", where=where, fix="name columns under iterate_column"
        )
    missing = [name for name in spec.columns if name not in schema.names]
    if missing:
        raise ConfigError(
            f"the cursor column {', '.join(map(repr, missing))} is not in the files",
            where=where,
            fix=f"columns: {', '.join(schema.names)}",
        )
    if spec.nulls == "include" and request.after is not None:
        raise ConfigError(
            "null_cursors include is not possible at files: of a row without cursor nothing says whether it is new",
            where=where,
            fix="use null_cursors: fail, or skip",
        )
    kind, kind_of_cursor = _cursor_kind(spec, schema, where)
    lower, upper = _limits(request)
    for bound in (lower, upper):
        if bound is not None and bound.type != kind_of_cursor:
            raise ConfigError(
                f"the cursor {spec.label} is a {kind_of_cursor} now, and the stored position is a {bound.type}",
                where=where,
                fix=f"name the column's type under columns:, or run once with --full-refresh ({spec.label})",
            )
    return CursorRule(
        spec.columns,
        kind,
        kind_of_cursor,
        spec.nulls or "fail",
        lower,
        upper,
        request.window is not None and upper is not None,
    )


def _limits(request: ReadRequest) -> tuple[Cursor | None, Cursor | None]:
    if request.window is not None:
        return request.window.lower, request.window.upper
    return ((request.after.resume or request.after.cursor) if request.after else None), None


def _cursor_kind(spec: CursorSpec, schema: TableSchema, where: str) -> tuple[str, CursorType]:
    kinds = {schema.field(name).type for name in spec.columns}
    if len(kinds) > 1:
        raise ConfigError(
            f"the cursor columns are of different types: {', '.join(sorted(kinds))}", where=where, fix="use one type"
        )
    kind = kinds.pop()
    found = _cursor_type(kind)
    if found is None:
        raise ConfigError(
            f"a {kind} column cannot be a cursor: {spec.label}",
            where=where,
            fix="use an integer, decimal, date, timestamp or string column",
        )
    if found == "string" and spec.type not in (None, "string"):
        return _FROM_TEXT[spec.type], spec.type  # text that is to be read as numbers or moments
    return kind, found


def _cursor_type(kind: str) -> CursorType | None:
    if kind in (*SIGNED, *UNSIGNED):
        return "int"
    if decimal_of(kind) is not None:
        return "decimal"
    plain: dict[str, CursorType] = {
        "date": "date",
        "timestamp": "datetime",
        "timestamptz": "datetime",
        "string": "string",
    }
    return plain.get(kind)


def to_cursor(kind: CursorType, value: object) -> Cursor:
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC)
    return Cursor(kind, cast("int | Decimal | date | datetime | str", value))


class BadCursorError(Exception):
    """The row of a batch, from 0, whose cursor is none or of another type. Its reader knows the place in the file."""

    def __init__(self, index: int, what: str, fix: str) -> None:
        self.index = index
        self.what = what
        self.fix = fix
        super().__init__(what)


def pick_rows(rule: CursorRule | None, stream: StreamName, rows: pa.RecordBatch) -> Batch:
    """The wanted rows of a file with their cursors. Raises BadCursorError where a row has none, `nulls` being fail."""
    import pyarrow.compute as pc

    if rule is None:
        return Batch(stream, rows)
    cursors = cursor_values(rule, rows)
    if cursors.null_count and rule.nulls == "fail":
        raise _without_cursor(rule, cursors)
    keep = _wanted(rule, cursors)
    if keep is not None:
        rows, cursors = rows.filter(keep), cursors.filter(keep)
    highest = pc.max(cursors).as_py()
    return Batch(stream, rows, cursors, to_cursor(rule.type, highest) if highest is not None else None)


def cursor_values(rule: CursorRule, rows: pa.RecordBatch) -> pa.Array:
    """The greatest of the cursor columns, row by row."""
    import pyarrow.compute as pc

    try:
        columns = [fit_column(rows.column(name), rule.kind, strict=False) for name in rule.columns]
    except BadCellError as error:
        what = f"a cursor that is no {rule.type} in {', '.join(rule.columns)}"
        raise BadCursorError(error.index, what, "correct the cell, or set iterate_column_type") from error
    if len(columns) == 1:
        return columns[0]
    return pc.max_element_wise(*columns, skip_nulls=True)


def _without_cursor(rule: CursorRule, cursors: pa.Array) -> BadCursorError:
    import pyarrow.compute as pc

    first = pc.index(pc.is_null(cursors), value=True).as_py()
    rows = (
        counted(cursors.null_count, "row") if cursors.null_count == 1 else f"the first of {cursors.null_count:,} rows"
    )
    what = f"{rows} without a cursor in {', '.join(rule.columns)}"
    return BadCursorError(first, what, "fill the column, or set null_cursors: skip")


def _wanted(rule: CursorRule, cursors: pa.Array) -> pa.Array | None:
    """Which rows to keep, None for all of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    flags = []
    if rule.lower is not None:
        flags.append(pc.greater_equal(cursors, _scalar(rule.lower, cursors.type)))
    if rule.upper is not None:
        compare = pc.less if rule.upper_open else pc.less_equal
        flags.append(compare(cursors, _scalar(rule.upper, cursors.type)))
    if cursors.null_count and (rule.nulls == "skip" or rule.is_bounded):
        flags.append(pc.is_valid(cursors))
    if not flags:
        return None
    keep = flags[0]
    for flag in flags[1:]:
        keep = pc.and_kleene(keep, flag)
    return keep if isinstance(keep, pa.Array) else keep.combine_chunks()


def _scalar(cursor: Cursor, kind: pa.DataType) -> pa.Scalar:
    import pyarrow as pa

    value = cursor.value
    if isinstance(value, datetime) and pa.types.is_timestamp(kind) and (kind.tz is None) != (value.tzinfo is None):
        # A naive bound means UTC, as everywhere in a run.
        value = value.replace(tzinfo=None if kind.tz is None else UTC)
    return pa.scalar(value, kind)


def step_back(cursor: Cursor, spec: CursorSpec) -> Cursor:
    """Where the next read has to look again. Raises ConfigError where the type has no distance."""
    if not spec.lookback:
        return cursor
    value, span = cursor.value, spec.lookback
    if isinstance(span, str) or isinstance(value, str):
        raise ConfigError(
            f"lookback {span} is not possible for the cursor {spec.label} at files",
            fix="give a number of seconds, days or units on a number, date or timestamp column",
        )
    if isinstance(value, datetime):
        return replace(cursor, value=value - timedelta(seconds=span))
    if isinstance(value, date):
        return replace(cursor, value=value - timedelta(days=span))
    if isinstance(value, Decimal):
        return replace(cursor, value=value - Decimal(str(span)))
    return replace(cursor, value=value - int(span))


def highest_value(rule: CursorRule, rows: pa.RecordBatch) -> Any:
    """The highest cursor of rows read for nothing else; None where none of them has one."""
    import pyarrow.compute as pc

    return pc.max(cursor_values(rule, rows)).as_py()
