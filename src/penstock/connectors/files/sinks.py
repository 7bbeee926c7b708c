"""One open data file per format: rows in, bytes on disk, durable once closed."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from penstock.connectors.files import encode
from penstock.connectors.files.options import Compression, FileFormat
from penstock.connectors.files.places import sync_file
from penstock.records import dataclass
from penstock.schema import intervals
from penstock.schema.types import TYPE_KEY, to_arrow_schema
from penstock.values import TableSchema

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_EXTENSIONS: dict[Compression, str] = {"none": "", "snappy": "", "gzip": ".gz", "zstd": ".zst"}


@dataclass(frozen=True, slots=True)
class Style:
    """How files of a load are written; plain values, so that a ticket carries it."""

    format: FileFormat
    compression: Compression
    delimiter: str = ","
    header: bool = True
    null_value: str = ""
    max_file_bytes: int = 512_000_000

    @property
    def extension(self) -> str:
        if self.format == "parquet":
            return "parquet"
        return self.format + _EXTENSIONS[self.compression]


class Sink(Protocol):
    """An open data file."""

    @property
    def size_bytes(self) -> int: ...
    def write(self, rows: pa.Table) -> None: ...
    def close(self) -> None:
        """Finish the file and make it durable."""
        ...


def open_sink(path: Path, schema: TableSchema, style: Style) -> Sink:
    if style.format == "parquet":
        return ParquetSink(path, schema, style)
    return TextSink(path, schema, style)


@dataclass(slots=True)
class ParquetSink:
    """Each write is one row group."""

    path: Path
    schema: TableSchema
    style: Style
    _writer: pq.ParquetWriter = field(init=False)
    _file: pa.NativeFile = field(init=False)

    def __post_init__(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._file = pa.OSFile(str(self.path), "wb")
        self._writer = pq.ParquetWriter(
            self._file, stored_schema(self.schema), compression=self.style.compression, use_dictionary=True
        )

    @property
    def size_bytes(self) -> int:
        return int(self._file.tell())

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(to_stored(rows, self.schema), row_group_size=max(1, rows.num_rows))

    def close(self) -> None:
        self._writer.close()
        self._file.close()
        sync_file(self.path)


def stored_schema(schema: TableSchema) -> pa.Schema:
    """The Arrow schema of a Parquet file: intervals, which Parquet cannot hold, are text that says what it is."""
    import pyarrow as pa

    fields = []
    for item in to_arrow_schema(schema):
        kind = pa.string() if pa.types.is_interval(item.type) else item.type
        fields.append(pa.field(item.name, kind, nullable=True, metadata=item.metadata))
    return pa.schema(fields)


def to_stored(rows: pa.Table, schema: TableSchema) -> pa.Table:
    """Rows as `stored_schema` has them."""
    import pyarrow as pa

    columns = []
    for position, item in enumerate(schema.fields):
        column = rows.column(position)
        if item.type == "interval":
            column = pa.chunked_array([intervals.to_texts(chunk) for chunk in column.chunks], pa.string())
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=stored_schema(schema))


def spelled_type(item: pa.Field) -> str | None:
    """The house spelling a file of ours keeps beside a column, None for files of others."""
    kept = (item.metadata or {}).get(TYPE_KEY)
    return kept.decode() if kept else None


@dataclass(slots=True)
class TextSink:
    """CSV or JSON lines, compressed or not."""

    path: Path
    schema: TableSchema
    style: Style
    _file: pa.NativeFile = field(init=False)
    _raw: pa.NativeFile = field(init=False)

    def __post_init__(self) -> None:
        import pyarrow as pa

        self._raw = pa.OSFile(str(self.path), "wb")
        packed = self.style.compression != "none"
        self._file = pa.CompressedOutputStream(self._raw, self.style.compression) if packed else self._raw
        if self.style.format == "csv" and self.style.header:
            self._file.write(encode.csv_header(self.schema.names, self.style.delimiter))

    @property
    def size_bytes(self) -> int:
        return int(self._raw.tell())

    def write(self, rows: pa.Table) -> None:
        kinds = [f.type for f in self.schema.fields]
        for batch in rows.to_batches():
            if self.style.format == "csv":
                content = encode.to_csv(
                    batch.columns, kinds, delimiter=self.style.delimiter, null_value=self.style.null_value
                )
            else:
                content = encode.to_jsonl(batch.columns, self.schema.names, kinds)
            self._file.write(content)

    def close(self) -> None:
        self._file.close()
        if not self._raw.closed:
            self._raw.close()
        sync_file(self.path)
