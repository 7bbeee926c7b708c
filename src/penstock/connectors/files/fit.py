"""Columns of a file as the types of their stream: exact, or an error that names the first cell that is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.connectors.files.read_jsonl import DECODER, to_column
from penstock.schema.texts import BadCellError, from_text, is_nested, refuse_no_uuid, to_text
from penstock.schema.types import TEXTUAL, from_arrow_type, to_arrow_type

if TYPE_CHECKING:
    import pyarrow as pa


def fit_column(column: pa.Array, kind: str, *, strict: bool, own: bool = True) -> pa.Array:
    """A column as the type of that spelling. Raises BadCellError for the first value that would change."""
    import pyarrow as pa
    import pyarrow.types as pt

    target = to_arrow_type(kind)
    if pt.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.type == target and kind != "numeric":
        return column
    if pt.is_large_string(column.type) or pt.is_string_view(column.type):
        column = column.cast(pa.string())
    if pt.is_string(column.type):
        return _from_text_column(column, kind, strict=strict, own=own)
    if pt.is_duration(column.type) and kind == "interval":
        return _from_durations(column)
    if kind in TEXTUAL:
        return to_text(column, from_arrow_type(column.type))
    return _cast(column, target)


def _from_text_column(column: pa.Array, kind: str, *, strict: bool, own: bool) -> pa.Array:
    if kind in TEXTUAL and kind != "numeric":
        if strict:
            _check_texts(column, kind)
        return column
    if is_nested(kind):
        values = [None if text is None else _decode(text, i) for i, text in enumerate(column.to_pylist())]
        return to_column(values, kind, strict=strict, own=own)
    return from_text(column, kind, strict=strict)


def _check_texts(column: pa.Array, kind: str) -> None:
    if kind == "uuid":
        refuse_no_uuid(column)
    if kind == "json":
        for index, text in enumerate(column.to_pylist()):
            if text is not None:
                _decode(text, index)


def _decode(text: str, index: int) -> Any:
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise BadCellError(index) from error


def _from_durations(column: pa.Array) -> pa.Array:
    import pyarrow as pa

    nanos = column.cast(pa.duration("ns")).cast(pa.int64()).to_pylist()
    values = [None if n is None else pa.MonthDayNano((0, 0, n)) for n in nanos]
    return pa.array(values, pa.month_day_nano_interval())


def _cast(column: pa.Array, target: pa.DataType) -> pa.Array:
    import pyarrow as pa

    try:
        return column.cast(target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise BadCellError(_first_bad(column, target)) from error


def _first_bad(column: pa.Array, target: pa.DataType) -> int:
    import pyarrow as pa

    for index in range(len(column)):
        try:
            column.slice(index, 1).cast(target)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return index
    return 0
