"""Reads through Spark's own JDBC source, for tables that ask for it: its partitions are the splits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock import plugins
from penstock.engines.spark.jars import check_jar
from penstock.engines.spark.remote import RemoteReader
from penstock.engines.spark.reports import error_of_job
from penstock.engines.spark.task import Orders, row_task
from penstock.errors import ConfigError, ExtractionError, PenstockError
from penstock.protocols import Chunks
from penstock.records import dataclass
from penstock.values import Batch, Split
from penstock.values.wire import split_from_json

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

_UNREACHABLE = ("Connection refused", "UnknownHostException", "connection attempt failed", "SocketTimeoutException")
_CAUSES = 10
_REFUSED = ("authentication failed", "no pg_hba.conf entry", "does not exist", "password-based authentication")
_NO_CONNECTION = "FAILED_JDBC.CONNECTION"


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
    groups = [[split_from_json(item) for item in json.loads(group)] for group in orders.groups]
    try:
        frames = [_group(session, reader, group) for group in groups]
        made = [
            frame.mapInArrow(row_task(orders, number), "number bigint, report string")
            for number, frame in enumerate(frames)
        ]
        return list(reduce(lambda left, right: left.union(right), made).collect())
    except PenstockError:
        raise
    except Exception as error:  # noqa: BLE001 - neither text nor traceback is kept: both may hold values
        raise _explain(error, reader) from None


def _group(session: SparkSession, reader: JdbcReader, group: Sequence[Split]) -> DataFrame:
    jdbc = plugins.open_jdbc(reader.connection)
    frames = [_frame(session, reader, jdbc.options(split)) for split in group]
    return frames[0] if len(frames) == 1 else reduce(lambda left, right: left.union(right), frames).coalesce(1)


def _frame(session: SparkSession, reader: JdbcReader, options: Mapping[str, str]) -> DataFrame:
    try:
        return session.read.format("jdbc").options(**options).load()
    except Exception as error:
        if not _lacks_driver(error):
            raise
    _add_driver(session, reader)
    return session.read.format("jdbc").options(**options).load()


def _lacks_driver(error: Exception) -> bool:
    return "ClassNotFoundException" in str(error) or "No suitable driver" in str(error)


def _add_driver(session: SparkSession, reader: JdbcReader) -> None:
    """The connector's jars as `install-jars` left them, else Spark fetches them from its repositories."""
    jars = plugins.connector(reader.connection.variant).jars
    for jar in jars:
        path = Path(reader.jars_folder, jar.file_name) if reader.jars_folder else None
        if path is not None and path.is_file():
            check_jar(path, jar)
            session.sql("ADD JAR '" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'")
            continue
        try:
            session.sql(f"ADD JAR ivy://{jar.coordinates}?transitive=false")
        except Exception as error:  # noqa: BLE001 - Ivy's text names hosts and folders and may be pages long
            raise ConfigError(
                f"Spark cannot fetch the JDBC driver {jar.coordinates}: {type(error).__name__}",
                where=f"connections.{reader.connection.name}",
                fix="run `penstock install-jars` where a Maven repository is reachable and set PENSTOCK_JARS to its "
                f"folder, or start the session with spark.jars.packages={jar.coordinates}",
            ) from None


def _explain(error: Exception, reader: JdbcReader) -> PenstockError:
    """Spark's text may hold SQL, values and the properties of the connection: none of it is quoted or chained."""
    text, where = _all_words(error), f"connections.{reader.connection.name}"
    if _lacks_driver(error):
        jars = ",".join(jar.coordinates for jar in plugins.connector(reader.connection.variant).jars)
        return ConfigError(
            "the Spark session's executors have no JDBC driver",
            where=where,
            fix=f"start it with spark.jars.packages={jars}",
        )
    if any(words in text for words in _REFUSED):
        return ConfigError(
            "the server refused the JDBC login", where=where, fix="check user, password, database and sslmode"
        )
    if any(words in text for words in _UNREACHABLE):
        return ExtractionError(
            "the server cannot be reached through JDBC", where=where, fix="is it up, and reachable?", fault="transient"
        )
    if _NO_CONNECTION in text:
        return ConfigError(
            "no connection could be made through JDBC",
            where=where,
            fix="the driver has other ways than the native reader: check sslmode and the format of keys",
        )
    return error_of_job(error)


def _all_words(error: Exception) -> str:
    """The error's text and those of its causes in the JVM, to tell errors apart by and to show nowhere."""
    words, cause = [str(error)], getattr(error, "_origin", None)
    while cause is not None and len(words) < _CAUSES:
        words.append(str(cause.getMessage()))
        cause = cause.getCause()
    return "\n".join(words)
