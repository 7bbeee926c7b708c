"""`spark.read.format("penstock")`: tables of a project's connections, as a Python data source of a session.

What Spark keeps of it is a class whose closure holds the connections: no option, plan or log has a secret.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from penstock import plugins
from penstock.config.problems import suggest
from penstock.engines.spark.notebook import prepare, require_version, rows_of, safely
from penstock.engines.spark.remote import keeps_files
from penstock.engines.spark.reports import error_from_json, error_to_json
from penstock.engines.spark.task import own_version
from penstock.engines.spark.types import arrow_schema, for_spark, spark_schema
from penstock.errors import ConfigError, PenstockError
from penstock.records import dataclass
from penstock.schema.types import to_arrow_schema
from penstock.values import Connection, ReadRequest, StreamName
from penstock.values.wire import split_from_json, split_to_json

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType

FORMAT = "penstock"
OPTIONS = ("connection", "table", "query")


def register(session: SparkSession, offered: Mapping[str, Connection | PenstockError]) -> None:
    """Make the connections readable in the session; one that cannot be is given as its error, raised when named."""
    try:
        from pyspark.sql import datasource
    except ImportError as error:
        raise ConfigError(
            f'spark.read.format("{FORMAT}") needs pyspark 4.0 or later',
            fix="upgrade pyspark, or take extract(spark=session).df",
        ) from error
    known = {n: c if isinstance(c, Connection) else json.dumps(error_to_json(c)) for n, c in offered.items()}
    session.dataSource.register(_source_class(datasource, own_version(), pickle.dumps(known)))


def _source_class(datasource: Any, version: str, known: bytes) -> type:
    """Made in a function, it travels by value, and its closure with it."""

    class PenstockReader(datasource.DataSourceReader):  # type: ignore[misc]
        def __init__(self, scan: Scan) -> None:
            self._scan = scan

        def partitions(self) -> list[Any]:
            return [datasource.InputPartition(part) for part in self._scan.parts]

        def read(self, partition: Any) -> Iterator[pa.RecordBatch]:
            return self._scan.read(version, partition.value)

    class PenstockDataSource(datasource.DataSource):  # type: ignore[misc]
        _scan: Scan | None = None

        @classmethod
        def name(cls) -> str:
            return FORMAT

        def schema(self) -> StructType:
            require_version(version)
            self._scan = Scan.of(dict(self.options), pickle.loads(known))  # noqa: S301 - made by register()
            return spark_schema(self._scan.schema)

        def reader(self, schema: StructType) -> PenstockReader:
            found = self.schema() if self._scan is None else spark_schema(self._scan.schema)
            if found != schema:
                raise ConfigError(
                    "the columns are those of the table: a schema cannot be given", fix="leave out .schema(), and cast"
                )
            assert self._scan is not None
            return PenstockReader(self._scan)

    return PenstockDataSource


@dataclass(frozen=True, slots=True)
class Scan:
    """One table or query as it was planned; `parts` are JSON lists of splits, or None for all in one session.

    A server's splits are good only while the session lives that cut them, and planning's does not: one task opens
    its own. Files are read by many.
    """

    connection: Connection
    request: ReadRequest
    schema: pa.Schema
    parts: tuple[str | None, ...]

    @classmethod
    def of(cls, options: Mapping[str, str], known: Mapping[str, Connection | str]) -> Scan:
        connection = _connection_of(options, known)
        request = _request_of(options)
        prepare(connection)
        with plugins.open_source(connection).open([request]) as session:
            splits = tuple(session.splits)
        schema = for_spark(to_arrow_schema(splits[0].schema))
        told = tuple(json.dumps(split_to_json(split)) for split in splits)
        return cls(connection, request, schema, told if keeps_files(connection) else (None,))

    def read(self, version: str, part: str | None) -> Iterator[pa.RecordBatch]:
        """The rows of a part, as Spark wants them."""
        require_version(version)
        prepare(self.connection)
        wanted = arrow_schema(spark_schema(self.schema))
        for rows in safely(lambda: self._rows(part)):
            yield rows.cast(wanted)

    def _rows(self, part: str | None) -> Iterator[pa.RecordBatch]:
        source = plugins.open_source(self.connection)
        if part is not None:
            yield from rows_of(source.reader(), split_from_json(json.loads(part)), self.schema)
            return
        with source.open([self.request]) as session:
            for split in session.splits:
                yield from rows_of(source.reader(), split, self.schema)


def _connection_of(options: Mapping[str, str], known: Mapping[str, Connection | str]) -> Connection:
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:  # the name alone is told: what is given with it may be a secret
        raise ConfigError(
            f"unknown option {unknown[0]!r}", fix=suggest(unknown[0], OPTIONS, title=f'options of "{FORMAT}":')
        )
    name = options.get("connection")
    if name is None:
        raise ConfigError("the option 'connection' is missing", fix=f"connections: {', '.join(sorted(known))}")
    if name not in known:
        raise ConfigError(f"no connection {name!r}", fix=suggest(name, sorted(known), title="connections:"))
    found = known[name]
    if isinstance(found, str):
        raise error_from_json(json.loads(found))
    return found


def _request_of(options: Mapping[str, str]) -> ReadRequest:
    table, query = options.get("table"), options.get("query")
    if (table is None) == (query is None):
        raise ConfigError("one of the options 'table' and 'query' is needed", fix="give one of them")
    return ReadRequest(StreamName(table or "query"), query=query)
