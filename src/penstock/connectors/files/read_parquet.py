"""Parquet into record batches, row group by row group, and what its footer says beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.connectors.files.listing import FileRef, check_unchanged, open_checked
from penstock.connectors.files.sinks import spelled_type
from penstock.errors import ExtractionError
from penstock.records import dataclass
from penstock.schema.types import from_arrow_schema, from_arrow_type
from penstock.values import Field

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


@dataclass(frozen=True, slots=True)
class Footer:
    """`group_bytes` and `group_rows` are by row group; `extremes` are (lowest, highest) of each column that tells."""

    fields: tuple[Field, ...]
    group_rows: tuple[int, ...]
    group_bytes: tuple[int, ...]
    extremes: dict[str, tuple[tuple[Any, Any] | None, ...]]

    @property
    def rows(self) -> int:
        return sum(self.group_rows)


def read_footer(root: Path, ref: FileRef, statistics_of: Sequence[str] = ()) -> Footer:
    """Raises ExtractionError for a file that has none, naming the file."""
    file = open_checked(root, ref)
    try:
        opened = _open(ref, file, root)
        metadata = opened.metadata
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        return Footer(
            fields=_fields_of(ref, opened.schema_arrow),
            group_rows=tuple(g.num_rows for g in groups),
            group_bytes=tuple(g.total_byte_size for g in groups),
            extremes={name: tuple(_extremes(g, name) for g in groups) for name in statistics_of},
        )
    finally:
        file.close()


def _open(ref: FileRef, file: Any, root: Path) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(pa.PythonFile(file, "r"), coerce_int96_timestamp_unit="us")
    except (pa.ArrowInvalid, OSError, NotImplementedError) as error:
        raise ExtractionError(
            f"{ref.path} is not a whole Parquet file: {_short(error)}",
            where=str(root),
            fix="write the file again (write, then rename), or keep other files out of the stream's name",
        ) from error


def _short(error: BaseException) -> str:
    return str(error).partition("\n")[0].partition(". Either")[0][:200]


def _fields_of(ref: FileRef, schema: pa.Schema) -> tuple[Field, ...]:
    double = {n for n in schema.names if schema.names.count(n) > 1}
    if double:
        raise ExtractionError(f"{ref.path}: columns named twice: {', '.join(sorted(map(repr, double)))}")
    return tuple(_field_of(ref, item) for item in schema)


def _field_of(ref: FileRef, item: pa.Field) -> Field:
    import pyarrow as pa

    if spelled_type(item) == "interval" and item.type == pa.string():
        return Field(item.name, "interval", item.nullable)
    try:
        from_arrow_type(item.type)
    except ValueError as error:
        raise ExtractionError(
            f"{ref.path}: column {item.name!r} is a {item.type}, which no table here can hold",
            where=ref.path,
            fix="leave the column out of the file, or write it as JSON text",
        ) from error
    return from_arrow_schema(pa.schema([item])).fields[0]


def _extremes(group: pq.RowGroupMetaData, name: str) -> tuple[Any, Any] | None:
    for position in range(group.num_columns):
        column = group.column(position)
        if column.path_in_schema == name:
            found = column.statistics
            if found is None or not found.has_min_max or not found.has_null_count or found.null_count:
                return None
            return found.min, found.max
    return None


def read_parquet(root: Path, ref: FileRef, wanted: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The wanted columns, those the file lacks left out."""
    import pyarrow as pa

    file = open_checked(root, ref)
    try:
        opened = _open(ref, file, root)
        present = set(opened.schema_arrow.names)
        columns = [n for n in wanted if n in present]
        groups = list(ref.row_groups) if ref.row_groups is not None else None
        if not columns:
            yield from _only_counts(opened, groups, batch_rows)
        else:
            for batch in opened.iter_batches(batch_rows, row_groups=groups, columns=columns, use_threads=False):
                yield batch.select(columns)
        check_unchanged(root, ref, file)
    except (pa.ArrowInvalid, OSError) as error:
        raise ExtractionError(
            f"{ref.path} cannot be read: {_short(error)}", where=str(root), fix="write the file again"
        ) from error
    finally:
        file.close()


def _only_counts(opened: pq.ParquetFile, groups: Sequence[int] | None, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Rows of a file that holds none of the wanted columns: they are there, with NULL in each."""
    import pyarrow as pa

    metadata = opened.metadata
    picked = range(metadata.num_row_groups) if groups is None else groups
    left = sum(metadata.row_group(i).num_rows for i in picked)
    while left > 0:
        rows = min(left, batch_rows)
        yield pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))
        left -= rows
