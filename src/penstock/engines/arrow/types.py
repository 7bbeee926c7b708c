"""Casts of batches to a load's schema: exact, or an error that names the column and counts the rows."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Any

from penstock.errors import ConfigError, ContractError, counted
from penstock.records import dataclass
from penstock.schema.quarantine import QUARANTINE_SCHEMA
from penstock.schema.types import to_arrow_schema, to_arrow_type
from penstock.values import Field, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

# days and microseconds from 1970 to the first and the last moment of the years 1 to 9999
_DAYS = (-719_162, 2_932_896)
_MICROSECONDS = (_DAYS[0] * 86_400_000_000, (_DAYS[1] + 1) * 86_400_000_000 - 1)
_CALENDAR = {"date32[day]": _DAYS, "timestamp[us]": _MICROSECONDS, "timestamp[us, tz=UTC]": _MICROSECONDS}

arrow_schema_of = lru_cache(maxsize=256)(to_arrow_schema)


@dataclass(frozen=True, slots=True)
class Fitted:
    """`rows` in the schema asked for, `rejected` in QUARANTINE_SCHEMA (None: all rows fit)."""

    rows: pa.RecordBatch
    rejected: pa.RecordBatch | None = None


def fit_rows(rows: pa.RecordBatch, schema: TableSchema, *, quarantine: bool = False, position: int = 0) -> Fitted:
    """Pick the schema's columns by name and cast them exactly; other columns are left behind.

    A value that does not fit is a ContractError, or, with `quarantine`, its row is rejected; `position` is the number
    of the first row in its stream. Raises ConfigError for types between which no exact cast exists.
    """
    import pyarrow as pa

    columns, wrong = [], {}
    for field in schema.fields:
        column, misfits = _fit_column(_column_of(rows, field.name), field)
        columns.append(column)
        if misfits is not None and misfits.true_count:
            wrong[field] = misfits
    if not wrong:
        return Fitted(pa.RecordBatch.from_arrays(columns, schema=arrow_schema_of(schema)))
    if not quarantine:
        raise _misfit_error(wrong, rows.num_rows)
    return _split_off(rows, schema, wrong, position)


def fit_column(column: pa.Array, field: Field) -> pa.Array:
    """Cast one column exactly. Raises ContractError or ConfigError as `fit_rows` does."""
    fitted, misfits = _fit_column(column, field)
    if misfits is not None and misfits.true_count:
        raise _misfit_error({field: misfits}, len(column))
    return fitted


def _column_of(rows: pa.RecordBatch, name: str) -> pa.Array:
    index = rows.schema.get_field_index(name)
    if index < 0:
        raise ContractError(
            f"the rows have no column {name!r}, which the load was planned with",
            where=f"columns: {', '.join(rows.schema.names)}",
            fix="run again: the load is planned anew; a transform must return every column of its output schema",
        )
    return rows.column(index)


def _fit_column(column: pa.Array, field: Field) -> tuple[pa.Array, pa.BooleanArray | None]:
    """The column as its type, and which rows do not fit (they are NULL in it)."""
    import pyarrow as pa

    target = to_arrow_type(field.type)
    if isinstance(column, pa.ExtensionArray):
        column = _plain(column)
    misfits = None
    if column.type != target:
        column, misfits = _cast_column(column, target, field)
    strange = _outside_calendar(column)
    if strange is not None:
        misfits = strange if misfits is None else _either(misfits, strange)
    if not field.nullable and column.null_count:
        misfits = column.is_null()
    return column, misfits


def _either(one: pa.BooleanArray, other: pa.BooleanArray) -> pa.BooleanArray:
    import pyarrow.compute as pc

    return pc.or_(one, other)


def _cast_column(column: pa.Array, target: pa.DataType, field: Field) -> tuple[pa.Array, pa.BooleanArray | None]:
    import pyarrow as pa
    import pyarrow.compute as pc

    _require_castable(column.type, target, field)
    unfit = None
    try:
        result = _cast(column, target)
    except pa.ArrowInvalid:
        fits = _find_fitting(column, target)
        unfit = pc.invert(fits)
        column = pc.if_else(fits, column, pa.scalar(None, column.type))
        result = _cast(column, target)
    except pa.ArrowNotImplementedError as error:
        raise _no_cast_error(column.type, field) from error
    lost = _lost(column, result)
    wrong = [mask for mask in (unfit, lost) if mask is not None and mask.true_count]
    if not wrong:
        return result, None
    misfits = reduce(pc.or_, wrong)
    return pc.if_else(misfits, pa.scalar(None, result.type), result), misfits


def _cast(column: pa.Array, target: pa.DataType) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    types = pa.types
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_integer(column.type) and types.is_decimal(target):
        # Arrow wants room for any integer in the target: go over the widest decimal, whose rescaling is checked
        column = pc.cast(column, pa.decimal256(76, target.scale))
    if types.is_float16(column.type):
        column = pc.cast(column, pa.float32())
    if types.is_nested(column.type) and types.is_string(target):
        return pa.array([None if cell is None else _json_text(cell) for cell in column.to_pylist()], pa.string())
    return pc.cast(column, target, safe=True)


def _json_text(cell: object) -> str:
    """A list or struct as JSON, for destinations without such columns."""
    return json.dumps(_finite(cell), default=_json_value, allow_nan=False, ensure_ascii=False)


def _find_fitting(column: pa.Array, target: pa.DataType) -> pa.BooleanArray:
    """Which rows can be cast on their own, by halving; only reached when some cannot."""
    import numpy as np
    import pyarrow as pa

    fits = np.ones(len(column), np.bool_)
    pending = [(0, len(column))]
    while pending:
        start, length = pending.pop()
        try:
            # taken, not sliced: a slice of lists still holds the items of all, and they are cast too
            _cast(column.take(pa.array(range(start, start + length))), target)
        except pa.ArrowInvalid:
            if length == 1:
                fits[start] = False
                continue
            half = length // 2
            pending += [(start, half), (start + half, length - half)]
    return pa.array(fits)


def _lost(column: pa.Array, result: pa.Array) -> pa.BooleanArray | None:
    """Which values changed in a cast that Arrow calls safe; None where none can."""
    import pyarrow as pa
    import pyarrow.compute as pc

    source, target, types = column.type, result.type, pa.types
    if types.is_string(source) or types.is_large_string(source) or types.is_string_view(source):
        if not types.is_floating(target):
            return None
        spelled = pc.match_substring(column, "inf", ignore_case=True)
        return pc.fill_null(pc.and_(pc.is_inf(result), pc.invert(spelled)), False)  # noqa: FBT003 - Arrow's signature
    if types.is_nested(source) and types.is_nested(target):
        back = pc.cast(result, source, safe=False).to_pylist()
        return pa.array([repr(one) != repr(other) for one, other in zip(column.to_pylist(), back, strict=True)])
    if not _may_lose(source, target):
        return None
    # halves are compared as singles: that is what they were widened to on the way
    original = pc.cast(column, pa.float32()) if types.is_float16(source) else column
    same = pc.equal(pc.cast(result, original.type, safe=False), original)
    if types.is_floating(source):
        same = pc.or_(same, pc.is_nan(original))  # NaN becomes NaN, or did not get this far
    return pc.fill_null(pc.invert(same), False)  # noqa: FBT003 - Arrow's signature


def _outside_calendar(column: pa.Array) -> pa.BooleanArray | None:
    """Which dates and times no calendar of years 1 to 9999 has (infinities among them); None where all are in it.

    Each system spells or wraps these in its own way: written as they are, they would be read as other values.
    """
    bounds = _CALENDAR.get(str(column.type))
    if bounds is None or not len(column):
        return None
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = column.view(pa.int32() if pa.types.is_date32(column.type) else pa.int64())
    found = pc.min_max(numbers).as_py()
    if found["min"] is None or (found["min"] >= bounds[0] and found["max"] <= bounds[1]):
        return None
    outside = pc.or_(pc.less(numbers, bounds[0]), pc.greater(numbers, bounds[1]))
    return pc.fill_null(outside, False)  # noqa: FBT003 - Arrow's signature


def _may_lose(source: pa.DataType, target: pa.DataType) -> bool:
    """Pairs where Arrow's safe cast rounds or cuts; integers, text and decimals among themselves it checks."""
    import pyarrow.types as pt

    if pt.is_floating(source):
        narrower = pt.is_floating(target) and target.bit_width < source.bit_width
        return bool(narrower or pt.is_decimal(target) or pt.is_boolean(target))
    if pt.is_decimal(source):
        return bool(pt.is_floating(target))
    if pt.is_integer(source):
        return bool(pt.is_boolean(target))
    return bool(pt.is_timestamp(source) and pt.is_date(target))


def _require_castable(source: pa.DataType, target: pa.DataType, field: Field) -> None:
    """Refuse casts that Arrow does by reading a number as a moment, or by dropping the date of a moment."""
    import pyarrow.types as pt

    number_and_moment = pt.is_temporal(target) and pt.is_primitive(source) and not pt.is_temporal(source)
    moment_and_number = pt.is_temporal(source) and pt.is_primitive(target) and not pt.is_temporal(target)
    if number_and_moment or moment_and_number or (pt.is_timestamp(source) and pt.is_time(target)):
        raise _no_cast_error(source, field)


def _plain(column: pa.ExtensionArray) -> pa.Array:
    """The storage of an extension type; uuids become text."""
    import uuid

    import pyarrow as pa

    if column.type.extension_name == "arrow.uuid":
        cells = column.storage.to_pylist()
        return pa.array([None if cell is None else str(uuid.UUID(bytes=cell)) for cell in cells], pa.string())
    return column.storage


def _no_cast_error(source: pa.DataType, field: Field) -> ConfigError:
    return ConfigError(
        f"column {field.name!r}: no exact cast from {source} to {field.type}",
        fix="cast it in a transform, or declare another type under `columns:`",
    )


def _misfit_error(wrong: dict[Field, pa.BooleanArray], rows: int) -> ContractError:
    parts = [
        f"column {field.name!r}: {mask.true_count} of {counted(rows, 'row')} {_rule(field)}"
        for field, mask in wrong.items()
    ]
    return ContractError(
        "; ".join(parts),
        fix="widen the column, correct the rows at the source, read them as text (columns: {NAME: string}), cast in a "
        "transform, or set on_bad_value: quarantine",
    )


def _rule(field: Field) -> str:
    needed = "" if field.nullable else " not null"
    years = " (years 1 to 9999)" if field.type in ("date", "timestamp", "timestamptz") else ""
    return f"do not fit {field.type}{needed} exactly{years}"


def _split_off(rows: pa.RecordBatch, schema: TableSchema, wrong: dict[Field, pa.BooleanArray], position: int) -> Fitted:
    import pyarrow as pa
    import pyarrow.compute as pc

    bad = None
    for mask in wrong.values():
        bad = mask if bad is None else pc.or_(bad, mask)
    good = fit_rows(rows.filter(pc.invert(bad)), schema).rows
    numbers = pc.indices_nonzero(bad).to_pylist()
    rules = [next(f"{f.name}: {_rule(f)}" for f, mask in wrong.items() if mask[n].as_py()) for n in numbers]
    lines = [json.dumps(row, default=_json_value, allow_nan=False) for row in _json_rows(rows.filter(bad))]
    rejected = pa.RecordBatch.from_arrays(
        [pa.array(rules, pa.string()), pa.array([position + n for n in numbers], pa.int64()), pa.array(lines)],
        schema=arrow_schema_of(QUARANTINE_SCHEMA),
    )
    return Fitted(good, rejected)


def _json_rows(rows: pa.RecordBatch) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    for index, name in enumerate(rows.schema.names):
        if _outside_calendar(rows.column(index)) is not None:  # Python has no such dates either
            rows = rows.set_column(index, name, pc.cast(rows.column(index), pa.string()))
    return [{name: _finite(value) for name, value in row.items()} for row in rows.to_pylist()]


def _finite(value: object) -> object:
    """JSON has no NaN and no infinity; they are written as text."""
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):  # noqa: PLR0124 - NaN
        return str(value)
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    return value


def _json_value(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    write: Callable[[], str] | None = getattr(value, "isoformat", None)
    return write() if write is not None else str(value)
