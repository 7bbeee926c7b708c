"""Any listed file as record batches of one schema: columns it lacks are NULL, its folders' values are columns too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.connectors.files.fast_jsonl import parse_block
from penstock.connectors.files.listing import FileRef
from penstock.connectors.files.read_csv import RowLines, csv_names, read_csv
from penstock.connectors.files.read_jsonl import line_of_object, parse_lines, read_blocks
from penstock.connectors.files.read_parquet import read_parquet
from penstock.connectors.files.untyped import Aside, ReadPlan, UntypedBatch, UntypedLines, fit_rows

if TYPE_CHECKING:
    import pyarrow as pa


def read_file(plan: ReadPlan, ref: FileRef) -> Iterator[pa.RecordBatch | Aside]:
    """Raises ExtractionError naming file, line and column, or SourceChangedError when the file is another."""
    if ref.format == "jsonl":
        yield from _read_jsonl(plan, ref)
        return
    wanted = [f.name for f in plan.schema.fields if f.name not in ref.partition]
    lines = RowLines(plan.root, ref)
    number = lines.line if ref.format == "csv" else _from_one
    row = 0
    for batch in _raw_batches(plan, ref, wanted):
        for start in range(0, batch.num_rows, plan.batch_rows):
            share = batch.slice(start, plan.batch_rows)
            yield from fit_rows(plan, ref, UntypedBatch(ref, share, partial(_number, number, row)))
            row += share.num_rows


def place_of_row(root: Path, ref: FileRef, row: int) -> tuple[str, str]:
    """Where a row (from 0) stands, in words and as `file:line`."""
    if ref.format == "csv":
        return _line(ref, RowLines(root, ref).line(row))
    if ref.format == "jsonl":
        return _line(ref, line_of_object(root, ref, row))
    place = f"{ref.path}, row {row + 1}" if ref.row_groups is None else ref.path  # else it was counted in a part
    return place, ref.path


def _line(ref: FileRef, line: int) -> tuple[str, str]:
    return f"{ref.path}, line {line}", f"{ref.path}:{line}"


def _from_one(row: int) -> int:
    return row + 1


def _number(number: Callable[[int], int], first: int, row: int) -> int:
    return number(first + row)


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


def _read_jsonl(plan: ReadPlan, ref: FileRef) -> Iterator[pa.RecordBatch | Aside]:
    inside = plan.schema.without(*ref.partition)
    for block in read_blocks(plan.root, ref, block_bytes=plan.batch_bytes):
        batch = parse_block(block.content, inside, strict=plan.inferred, own=ref.own)
        if batch is None:
            yield from _read_exactly(plan, ref, UntypedLines(ref, parse_lines(ref, block)))
            continue
        for start in range(0, batch.num_rows, plan.batch_rows):
            share = batch.slice(start, plan.batch_rows)
            yield from fit_rows(plan, ref, UntypedBatch(ref, share, _from_one))


def _read_exactly(plan: ReadPlan, ref: FileRef, lines: UntypedLines) -> Iterator[pa.RecordBatch | Aside]:
    for found in fit_rows(plan, ref, lines):
        if isinstance(found, Aside):
            yield found
            continue
        for start in range(0, found.num_rows, plan.batch_rows):
            yield found.slice(start, plan.batch_rows)
