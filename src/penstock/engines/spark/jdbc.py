"""Reads through Spark's own JDBC source, for tables that ask for it: its partitions are the splits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from functools import reduce
from typing import TYPE_CHECKING, Any

from penstock import plugins
from penstock.engines.spark.drivers import explain_jdbc, with_driver
from penstock.engines.spark.remote import RemoteReader
from penstock.engines.spark.task import Orders, row_task
from penstock.errors import PenstockError
from penstock.protocols import Chunks
from penstock.records import dataclass
from penstock.values import Batch, Split
from penstock.values.wire import split_from_json

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True, slots=True)
class JdbcReader(RemoteReader):
    """A Reader that has no rows before Spark brings them: `of` is the one that a task uses."""

    jars_folder: str | None = field(default=None, kw_only=True)

    def read(self, split: Split) -> Iterator[Batch]:
        raise AssertionError(f"split {split.id} is read by Spark")

    def relay(self, split: Split) -> Chunks:
        raise AssertionError(f"split {split.id} is rows, not bytes")

    def of(self, batches: Iterator[pa.RecordBatch]) -> ArrivedRows:
        return ArrivedRows(self, batches)


@dataclass(frozen=True, slots=True)
class ArrivedRows:
    """Reads what Spark hands to one task, once."""

    reader: JdbcReader
    batches: Iterator[pa.RecordBatch]

    def read(self, split: Split) -> Iterator[Batch]:
        return plugins.open_jdbc(self.reader.connection).read(split, self.batches)

    def relay(self, split: Split) -> Chunks:
        raise AssertionError(f"split {split.id} is rows, not bytes")


def submit(session: SparkSession, reader: JdbcReader, orders: Orders) -> list[Any]:
    """One partition and one task for each group of splits; a group is read one split after the other."""
    try:
        frames = frames_of(session, reader, orders.groups)
        made = [
            frame.mapInArrow(row_task(orders, number), "number bigint, report string")
            for number, frame in enumerate(frames)
        ]
        return list(united(made).collect())
    except PenstockError:
        raise
    except Exception as error:  # noqa: BLE001 - neither text nor traceback is kept: both may hold values
        raise explain_jdbc(error, [reader.connection]) from None


def frames_of(session: SparkSession, reader: JdbcReader, groups: Sequence[str]) -> list[DataFrame]:
    """The rows of each group of splits, each in one partition."""
    return [_group(session, reader, [split_from_json(item) for item in json.loads(group)]) for group in groups]


def united(frames: Sequence[DataFrame]) -> DataFrame:
    return reduce(lambda left, right: left.union(right), frames)


def _group(session: SparkSession, reader: JdbcReader, group: Sequence[Split]) -> DataFrame:
    jdbc = plugins.open_jdbc(reader.connection)
    frames = [_frame(session, reader, jdbc.options(split)) for split in group]
    return frames[0] if len(frames) == 1 else united(frames).coalesce(1)


def _frame(session: SparkSession, reader: JdbcReader, options: Mapping[str, str]) -> DataFrame:
    def load() -> DataFrame:
        frame = session.read.format("jdbc").options(**options).load()
        _ = frame.schema  # a Connect session looks at nothing before it is asked
        return frame

    return with_driver(session, reader.connection, reader.jars_folder, load)
