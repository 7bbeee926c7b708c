"""Any listed file as record batches of one schema: columns it lacks are NULL, its folders' values are columns too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.connectors.files.fast_jsonl import parse_block
from penstock.connectors.files.listing import FileRef
from penstock.connectors.files.read_csv import csv_names, line_of_row, read_csv
from penstock.connectors.files.read_jsonl import (
    DECODER,
    BadRowError,
    Block,
    parse_lines,
    read_blocks,
    to_batch,
    to_column,
)
from penstock.connectors.files.read_parquet import read_parquet
from penstock.errors import ExtractionError
from penstock.records import dataclass
from penstock.schema.texts import BadCellError, from_text, is_nested, refuse_no_uuid, to_text
from penstock.schema.types import TEXTUAL, from_arrow_type, to_arrow_type
from penstock.values import Field, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """How one stream's files become rows. `inferred` columns, of types nobody named, take no cell they would change."""

    root: Path
    schema: TableSchema
    inferred: frozenset[str] = frozenset()
    batch_rows: int = 100_000
    batch_bytes: int = 4 << 20


def read_file(plan: ReadPlan, ref: FileRef) -> Iterator[pa.RecordBatch]:
    """Raises ExtractionError naming file, line and column, or SourceChangedError when the file is another."""
    if ref.format == "jsonl":
        yield from _read_jsonl(plan, ref)
        return
    wanted = [f.name for f in plan.schema.fields if f.name not in ref.partition]
    row = 0
    for batch in _raw_batches(plan, ref, wanted):
        for start in range(0, batch.num_rows, plan.batch_rows):
            share = batch.slice(start, plan.batch_rows)
            yield _fit(plan, ref, share, row)
            row += share.num_rows


def _raw_batches(plan: ReadPlan, ref: FileRef, wanted: list[str]) -> Iterator[pa.RecordBatch]:
    if ref.format == "parquet":
        return read_parquet(plan.root, ref, wanted, plan.batch_rows)
    present = set(csv_names(plan.root, ref))
    columns = [n for n in wanted if n in present]
    # Without any wanted column its rows still count: the first column stands for them.
    return _joined(read_csv(plan.root, ref, columns or sorted(present)[:1]), plan.batch_bytes // 2)


def _joined(batches: Iterator[pa.RecordBatch], least_bytes: int) -> Iterator[pa.RecordBatch]:
    """Fewer and larger ones: Arrow parses blocks of 1 MB, and each batch costs a millisecond or two on its way."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        waiting.append(batch)
        size += batch.nbytes
        if size >= least_bytes:
            yield pa.concat_batches(waiting)
            waiting, size = [], 0
    if waiting:
        yield pa.concat_batches(waiting)


def _read_jsonl(plan: ReadPlan, ref: FileRef) -> Iterator[pa.RecordBatch]:
    inside = plan.schema.without(*ref.partition)
    for block in read_blocks(plan.root, ref, block_bytes=plan.batch_bytes):
        batch = parse_block(block.content, inside, strict=plan.inferred, own=ref.own)
        if batch is None:
            batch = _parse_exactly(plan, ref, block, inside)
        for start in range(0, batch.num_rows, plan.batch_rows):
            yield _fit(plan, ref, batch.slice(start, plan.batch_rows), 0)


def _parse_exactly(plan: ReadPlan, ref: FileRef, block: Block, schema: TableSchema) -> pa.RecordBatch:
    lines = parse_lines(ref, block)
    try:
        return to_batch(lines, schema, strict=plan.inferred, own=ref.own)
    except BadRowError as error:
        raise _misfit(ref, f"line {lines.numbers[error.index]}", error.column) from error


def _fit(plan: ReadPlan, ref: FileRef, batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
    import pyarrow as pa

    present = set(batch.schema.names)
    columns = []
    for item in plan.schema.fields:
        if item.name in ref.partition:
            columns.append(_constant(ref, item, batch.num_rows))
        elif item.name in present:
            columns.append(_fit_column(plan, ref, item, batch.column(item.name), first_row))
        else:
            columns.append(pa.nulls(batch.num_rows, to_arrow_type(item.type)))
    return pa.RecordBatch.from_arrays(columns, names=list(plan.schema.names))


def _constant(ref: FileRef, item: Field, rows: int) -> pa.Array:
    import pyarrow as pa

    try:
        value = from_text(pa.array([ref.partition[item.name]], pa.string()), item.type)
    except BadCellError as error:
        raise _misfit(ref, "its folder", item) from error
    return pa.repeat(value[0], rows)


def _fit_column(plan: ReadPlan, ref: FileRef, item: Field, column: pa.Array, first_row: int) -> pa.Array:
    try:
        return fit_column(column, item.type, strict=item.name in plan.inferred, own=ref.own)
    except BadCellError as error:
        row = first_row + error.index
        if ref.format == "csv":
            raise _misfit(ref, f"line {line_of_row(plan.root, ref, row)}", item) from error
        raise _misfit(ref, f"row {row + 1}", item) from error


def _misfit(ref: FileRef, place: str, item: Field) -> ExtractionError:
    return ExtractionError(
        f"{ref.path}, {place}, column {item.name!r}: a value that is no {item.type}",
        where=ref.path,
        fix=f"correct it, or name a type that holds every value: columns: {{{item.name}: string}}",
    )


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
