"""JSON lines into record batches: numbers keep every digit they are written with, and an error names its line."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.connectors.files.listing import FileRef, check_unchanged
from penstock.connectors.files.text_stream import TextStream
from penstock.errors import ExtractionError
from penstock.records import dataclass
from penstock.schema import intervals
from penstock.schema.texts import BadCellError, from_text, refuse_no_uuid
from penstock.schema.types import FLOATS, SIGNED, TEXTUAL, UNSIGNED, decimal_of, list_item, struct_fields, to_arrow_type
from penstock.values import Field, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa


class Number(str):
    """A JSON number as it is spelled in the file."""

    __slots__ = ()


Row = dict[str, Any]


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON; write it as a string")


def _to_object(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return row


DECODER = json.JSONDecoder(
    parse_float=Number, parse_int=Number, parse_constant=_refuse_constant, object_pairs_hook=_to_object
)


@dataclass(slots=True)
class Lines:
    """Rows of one block, and the line each stood on."""

    rows: list[Row] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a file, the first of which has this number."""

    content: bytes
    first_line: int


def read_blocks(root: Path, ref: FileRef, *, block_bytes: int = 4 << 20) -> Iterator[Block]:
    """The file in runs of whole lines; a line longer than a block is a block."""
    stream = TextStream(root, ref)
    waiting: list[bytes] = []
    line = 1
    try:
        while piece := stream.read(block_bytes):
            end = piece.rfind(b"\n") + 1
            if not end:
                waiting.append(piece)
                continue
            block = Block(b"".join([*waiting, piece[:end]]), line)
            waiting = [piece[end:]]
            line += block.content.count(b"\n")
            yield block
        check_unchanged(root, ref, stream.file)
        if any(waiting):
            yield Block(b"".join(waiting), line)
    finally:
        stream.close()


def line_of_object(root: Path, ref: FileRef, row: int) -> int:
    """The line of a row (from 0); lines of nothing but blanks are none."""
    numbered = (
        number
        for block in read_blocks(root, ref)
        for number, raw in enumerate(block.content.split(b"\n"), start=block.first_line)
        if raw and not raw.isspace()
    )
    return next(itertools.islice(numbered, row, None), 0)


def parse_lines(ref: FileRef, block: Block) -> Lines:
    """Raises ExtractionError with file and line for what is not one JSON object per line."""
    parsed = Lines()
    for number, raw in enumerate(block.content.split(b"\n"), start=block.first_line):
        if raw and not raw.isspace():
            parsed.rows.append(_parse(ref, number, raw))
            parsed.numbers.append(number)
    return parsed


def _parse(ref: FileRef, number: int, raw: bytes) -> Row:
    try:
        row = DECODER.decode(raw.decode())
    except UnicodeDecodeError:
        raise _bad_line(ref, number, "not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise _bad_line(ref, number, f"not JSON from character {error.colno} on ({error.msg})") from None
    except RecursionError:
        raise _bad_line(ref, number, "nested too deeply") from None
    except ValueError as error:
        raise _bad_line(ref, number, str(error)) from None
    if not isinstance(row, dict):
        raise _bad_line(ref, number, "not an object")
    return row


def _bad_line(ref: FileRef, number: int, what: str) -> ExtractionError:
    return ExtractionError(
        f"{ref.path}, line {number}: {what}",
        where=f"{ref.path}:{number}",
        fix="each line holds one JSON object; a file that was cut off has to be written again",
    )


class BadRowError(ValueError):
    """A value does not fit its column; `index` is its row in the batch."""

    def __init__(self, index: int, column: Field) -> None:
        self.index = index
        self.column = column
        super().__init__(f"row {index}")


def to_batch(batch: Lines, schema: TableSchema, *, strict: frozenset[str], own: bool) -> pa.RecordBatch:
    """Columns of the schema, NULL where a row lacks one. Raises BadRowError."""
    import pyarrow as pa

    columns = []
    for item in schema.fields:
        values = [row.get(item.name) for row in batch.rows]
        try:
            columns.append(to_column(values, item.type, strict=item.name in strict, own=own))
        except BadCellError as error:
            raise BadRowError(error.index, item) from None
    return pa.RecordBatch.from_arrays(columns, names=list(schema.names))


def to_column(values: list[Any], kind: str, *, strict: bool, own: bool) -> pa.Array:
    """Raises BadCellError for the first value that is not of the kind."""
    import pyarrow as pa

    if kind == "json":
        is_text = own and all(v is None or type(v) is str for v in values)
        return _to_strings(values if is_text else [_dump_or_none(v) for v in values])
    if list_item(kind) is not None or struct_fields(kind) is not None:
        return _to_nested(values, kind)
    if kind == "bool":
        _check_each(values, (bool,))
        return pa.array(values, pa.bool_())
    if kind == "null":
        _check_each(values, ())
        return pa.nulls(len(values))
    if kind in TEXTUAL and kind != "numeric":
        if strict:
            _check_each(values, (str,))
        texts = _to_strings([v if v is None or type(v) is str else dump(v) for v in values])
        if strict and kind == "uuid":
            refuse_no_uuid(texts)
        return texts
    numeric = kind in (*SIGNED, *UNSIGNED, *FLOATS, "numeric") or decimal_of(kind) is not None
    _check_each(values, (Number, str) if numeric else (str,))
    if strict and numeric and kind != "numeric":
        _check_each(values, (Number,))
    texts = _to_strings(values)
    return from_text(texts, kind, strict=strict)


def _to_strings(values: Sequence[str | None]) -> pa.Array:
    """JSON can spell half a surrogate pair, which is no text."""
    import pyarrow as pa

    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError as error:
        wrong = (i for i, v in enumerate(values) if v is not None and not _is_text(v))
        raise BadCellError(next(wrong)) from error


def _is_text(value: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _check_each(values: Sequence[object], allowed: tuple[type, ...]) -> None:
    for index, value in enumerate(values):
        if value is not None and type(value) not in allowed:
            raise BadCellError(index)


def _to_nested(values: list[Any], kind: str) -> pa.Array:
    import pyarrow as pa

    converted = []
    for index, value in enumerate(values):
        try:
            converted.append(_nested(value, kind))
        except (ValueError, TypeError, InvalidOperation) as error:
            raise BadCellError(index) from error
    return pa.array(converted, to_arrow_type(kind))


def _nested(value: Any, kind: str) -> object:
    """One value of a list or struct. Raises ValueError, TypeError or InvalidOperation where it is of another type."""
    if value is None:
        return None
    item, fields = list_item(kind), struct_fields(kind)
    if item is not None and isinstance(value, list):
        return [_nested(v, item) for v in value]
    if fields is not None and isinstance(value, dict):
        return {name: _nested(value.get(name), inner) for name, inner in fields}
    if item is not None or fields is not None or isinstance(value, list | dict):
        raise TypeError("another shape")
    if kind == "bool" or isinstance(value, bool):
        if kind != "bool" or not isinstance(value, bool):
            raise TypeError("not a boolean")
        return value
    return _nested_scalar(str(value), kind)


def _nested_scalar(text: str, kind: str) -> object:
    import pyarrow as pa

    if kind == "interval":
        return pa.MonthDayNano(intervals.from_iso(text))
    if decimal_of(kind) is not None:
        return Decimal(text)
    parsed = from_text(pa.array([text]), kind)
    return parsed[0].as_py()


def _dump_or_none(value: object) -> str | None:
    return None if value is None else dump(value)


def dump(value: Any) -> str:
    """A value as compact JSON, numbers as they were spelled."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(dump(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)
