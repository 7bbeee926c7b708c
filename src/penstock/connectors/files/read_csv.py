"""CSV into record batches of text, in constant memory; an unquoted empty cell is NULL, a quoted one is ''."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.connectors.files.listing import FileRef, check_unchanged
from penstock.connectors.files.text_stream import QuoteWatch, TextStream, scan_records
from penstock.errors import ExtractionError, counted

if TYPE_CHECKING:
    import pyarrow as pa

# Rows are parsed block by block; a row longer than a block is tried again with the next size.
_BLOCK_SIZES = (1 << 20, 64 << 20, 1 << 30)
_LONG_ROW = "straddling object"


def csv_names(root: Path, ref: FileRef) -> tuple[str, ...]:
    """The columns of a CSV file, none for an empty one. Raises ExtractionError for a header that names one twice."""
    if ref.columns:
        return ref.columns
    stream = TextStream(root, replace(ref, needs_final_newline=False))
    try:
        lines = (line for line in stream.lines())
        first = next((line for line in lines if line.strip("\r\n")), "")
        rows = csv.reader(itertools.chain([first], lines), delimiter=ref.delimiter)
        names = next(rows, [])
    except csv.Error as error:
        raise ExtractionError(f"{ref.path}: the header cannot be read: {error}", where=str(root)) from error
    finally:
        stream.close()
    if not ref.header:
        return tuple(f"f{i}" for i in range(len(names)))
    double = {n for n in names if names.count(n) > 1}
    if double:
        raise ExtractionError(
            f"{ref.path}: the header names {', '.join(sorted(map(repr, double)))} more than once",
            where=f"{ref.path}:1",
            fix="give each column its own name",
        )
    return tuple(names)


def read_csv(
    root: Path, ref: FileRef, wanted: Sequence[str], *, first_rows: int | None = None
) -> Iterator[pa.RecordBatch]:
    """The wanted columns as strings. With `first_rows` only a head is read, and its end is not checked."""
    names = csv_names(root, ref)
    if not names:
        return
    done = 0
    for block_size in _BLOCK_SIZES:
        try:
            for batch in _read_blocks(root, ref, names, wanted, _head_block(first_rows, block_size)):
                skipped = min(done, batch.num_rows) if block_size != _BLOCK_SIZES[0] else 0
                done -= skipped
                yield batch.slice(skipped)
        except _LongRowError as error:
            done = error.rows
            continue
        return
    raise ExtractionError(f"{ref.path} has a row of more than {_BLOCK_SIZES[-1]} bytes", where=str(root))


def _head_block(first_rows: int | None, block_size: int) -> int:
    return block_size if first_rows is None else max(block_size >> 2, 1 << 16)


class _LongRowError(Exception):
    """A row did not fit its block; `rows` were read before it."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        super().__init__(str(rows))


def _read_blocks(
    root: Path, ref: FileRef, names: Sequence[str], wanted: Sequence[str], block_size: int
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    stream = TextStream(root, ref, QuoteWatch(ref.delimiter))
    rows = 0
    try:
        reader = _open_reader(stream, ref, names, wanted, block_size)
        for batch in reader:
            yield batch
            rows += batch.num_rows
        check_unchanged(root, ref, stream.file)
    except pa.ArrowInvalid as error:
        if _LONG_ROW in str(error):
            raise _LongRowError(rows) from error
        raise _explain(root, ref, names, error) from error
    finally:
        stream.close()


def _open_reader(
    stream: TextStream, ref: FileRef, names: Sequence[str], wanted: Sequence[str], block_size: int
) -> pa.RecordBatchReader:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    generated = not ref.header or bool(ref.columns)
    return arrow_csv.open_csv(
        pa.PythonFile(stream, "r"),
        read_options=arrow_csv.ReadOptions(
            use_threads=False, block_size=block_size, column_names=list(names) if generated else None
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=ref.delimiter,
            newlines_in_values=True,
            # A line without a character is a row only where the one cell of the row can be NULL.
            ignore_empty_lines=len(names) > 1,
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=list(wanted),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[ref.null_value],
        ),
    )


def _explain(root: Path, ref: FileRef, names: Sequence[str], error: Exception) -> ExtractionError:
    """Arrow's message quotes the row: the place is looked up and the cells are left out."""
    if "UTF8" in str(error):
        return ExtractionError(
            f"{ref.path} is not UTF-8 text", where=str(root), fix="set extra.encoding to what the file is written in"
        )
    for record in scan_records(root, replace(ref, needs_final_newline=False)):
        if record.cells != len(names):
            return ExtractionError(
                f"{ref.path}, line {record.line}: {counted(record.cells, 'cell')} where the header has {len(names)}",
                where=f"{ref.path}:{record.line}",
                fix="correct the line; check extra.delimiter, and quote cells that hold it",
            )
    return ExtractionError(f"{ref.path} cannot be read as CSV", where=str(root), fix="check extra.delimiter")


class RowLines:
    """The lines that data rows begin at, asked for in order: the file is read again, once, and only where asked."""

    def __init__(self, root: Path, ref: FileRef) -> None:
        self._records = scan_records(root, replace(ref, needs_final_newline=False))
        self._passed = 0 if ref.columns or not ref.header else -1

    def line(self, row: int) -> int:
        """The line of a row, counted from 0."""
        record = next(itertools.islice(self._records, row - self._passed, None), None)
        self._passed = row + 1
        return record.line if record else 0
