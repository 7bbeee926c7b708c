"""Splits as a lazy Spark frame: one partition for each, read anew whenever the frame is computed."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from penstock.engines.spark.remote import RemoteReader, limit_systems
from penstock.engines.spark.reports import unforeseen
from penstock.engines.spark.task import SYSTEM_BYTES, own_version
from penstock.engines.spark.types import for_spark, spark_schema
from penstock.errors import ConfigError, PenstockError, SourceChangedError
from penstock.protocols import Reader
from penstock.schema.types import to_arrow_schema
from penstock.values import Connection, Split
from penstock.values.wire import split_from_json, split_to_json

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession


def lazy_frame(session: SparkSession, reader: Reader, splits: Sequence[Split]) -> DataFrame:
    """The rows of the splits, which tasks read when the frame is computed; a naive timestamp is TIMESTAMP_NTZ."""
    schema = for_spark(to_arrow_schema(splits[0].schema))
    told = [json.dumps(split_to_json(split)) for split in splits]
    read = partial(_read_numbered, own_version(), pickle.dumps(reader), told, schema)
    return session.range(0, len(told), 1, len(told)).mapInArrow(read, spark_schema(schema))


def _read_numbered(
    version: str, reader: bytes, splits: list[str], schema: pa.Schema, numbers: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    require_version(version)
    opened: Reader = pickle.loads(reader)  # noqa: S301 - made by the process that made the frame
    if isinstance(opened, RemoteReader):
        prepare(opened.connection)
    for batch in numbers:
        for number in batch.column(0).to_pylist():
            split = split_from_json(json.loads(splits[number]))
            yield from safely(lambda split=split: rows_of(opened, split, schema))  # type: ignore[misc]


def prepare(connection: Connection) -> None:
    """Tell an embedded system how much of a task's memory is its."""
    limit_systems(frozenset({connection.variant}), SYSTEM_BYTES, None)


def rows_of(reader: Reader, split: Split, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The split's rows as the frame's columns. Raises SourceChangedError where the source has others by now."""
    planned = to_arrow_schema(split.schema)
    if not for_spark(planned).equals(schema):
        raise SourceChangedError(
            "the columns of the source changed since the frame was made", where=split.stream, fix="read it again"
        )
    for batch in reader.read(split):
        yield batch.rows.cast(planned).cast(schema)


def safely(rows: Callable[[], Iterator[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
    """The batches. What nobody expected is told by its place: its own text may hold a row, and Spark logs it."""
    try:
        yield from rows()
    except PenstockError as error:
        raise error.with_traceback(None) from None
    except Exception as error:  # noqa: BLE001 - the edge of a task
        raise unforeseen(error) from None


def require_version(version: str) -> None:
    """Raises ConfigError where the executors have another penstock than the process that made the frame."""
    if version != own_version():
        raise ConfigError(
            f"the executors have penstock {own_version()}, this process {version}",
            fix="install the same version on both",
        )
