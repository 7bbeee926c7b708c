"""Writes through Spark's own JDBC: attempts land in a private table of the load, those that count are adopted."""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock import plugins
from penstock.engines.spark.drivers import explain_jdbc, with_driver
from penstock.engines.spark.jdbc import JdbcReader, frames_of, united
from penstock.engines.spark.remote import RemoteWriter
from penstock.engines.spark.reports import TaskFailedError, error_from_json, error_to_json, pieces_of, unforeseen
from penstock.engines.spark.task import Orders, attempt_number, other_version, own_version
from penstock.engines.spark.types import spark_schema
from penstock.errors import LoadError, PenstockError
from penstock.protocols import Landed, Landing
from penstock.records import dataclass
from penstock.values import WriteTicket
from penstock.values.wire import piece_from_json

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

RunJob = Callable[[Callable[[], None]], None]
Work = Callable[[Iterator["pa.RecordBatch"]], Iterator["pa.RecordBatch"]]
_ROWS = 10_000  # of a batch on its way to the JVM


@dataclass(frozen=True, slots=True)
class JdbcWriter(RemoteWriter):
    """A Writer for the loads whose rows Spark itself writes."""

    jars_folder: str | None = field(default=None, kw_only=True)
    batch_rows: int = field(default=10_000, kw_only=True)

    def landing(self, ticket: WriteTicket) -> Landing:
        return plugins.open_jdbc_destination(self.connection).landing(ticket)


def land(
    session: SparkSession, writer: JdbcWriter, orders: Orders, ticket: WriteTicket, run: RunJob
) -> list[dict[str, Any]]:
    """Have the rows written and adopted; the reports of the attempts that count, in the order of their tasks."""
    landing = writer.landing(ticket)
    landing.create()
    orders = replace(orders, open_writer=None, ticket=None)
    run(lambda: _submit(session, writer, landing, orders))
    reports = _first_of_each(landing.reports(), len(orders.groups))
    landing.adopt([Landed(task, attempt, tuple(pieces_of(told))) for task, (attempt, told) in enumerate(reports)])
    return [report for _, report in reports]


def _first_of_each(found: Sequence[tuple[int, int, str]], count: int) -> list[tuple[int, dict[str, Any]]]:
    """One attempt of each task: a task whose commit was in doubt was run again, and may be in twice."""
    kept: dict[int, tuple[int, str]] = {}
    for task, attempt, report in sorted(found):
        kept.setdefault(task, (attempt, report))
    if set(kept) != set(range(count)):
        raise LoadError(f"{count} tasks ran, {len(kept)} left a report", fault="internal")
    reports = [(kept[task][0], json.loads(kept[task][1])) for task in range(count)]
    for _, report in reports:
        if "error" in report:
            raise error_from_json(report["error"])
    return reports


def _submit(session: SparkSession, writer: JdbcWriter, landing: Landing, orders: Orders) -> None:
    try:
        frame = _frame(session, landing, orders)
        options = landing.options(writer.batch_rows)
        with_driver(
            session,
            writer.connection,
            writer.jars_folder,
            lambda: frame.write.format("jdbc").options(**options).mode("append").save(),
        )
    except PenstockError:
        raise
    except Exception as error:  # noqa: BLE001 - neither text nor traceback is kept: both may hold values
        reader = orders.reader
        ends = [writer.connection, *([reader.connection] if isinstance(reader, JdbcReader) else [])]
        raise explain_jdbc(error, ends) from None


def _frame(session: SparkSession, landing: Landing, orders: Orders) -> DataFrame:
    """One partition and one task for each group of splits; its rows, and its report last."""
    schema = spark_schema(landing.schema)
    if isinstance(orders.reader, JdbcReader):
        frames = frames_of(session, orders.reader, orders.groups)
        return united([f.mapInArrow(landed_rows(orders, landing, n), schema) for n, f in enumerate(frames)])
    count = len(orders.groups)
    return session.range(0, count, 1, count).mapInArrow(landed(orders, landing), schema)


def landed(orders: Orders, landing: Landing) -> Work:
    """What `mapInArrow` runs over a range of task numbers."""
    return partial(_land_tasks, own_version(), pickle.dumps((orders, landing)))


def landed_rows(orders: Orders, landing: Landing, number: int) -> Work:
    """What `mapInArrow` runs over the rows of one group."""
    return partial(_land_rows, own_version(), pickle.dumps((orders, landing)), number)


def _land_tasks(version: str, pickled: bytes, numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in numbers:
        for number in batch.column(0).to_pylist():
            yield from _land(version, pickled, number, None)


def _land_rows(version: str, pickled: bytes, number: int, rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from _land(version, pickled, number, rows)


def _land(version: str, pickled: bytes, number: int, rows: Iterator[pa.RecordBatch] | None) -> Iterator[pa.RecordBatch]:
    """The task's rows wait in a file of its own until its counts are known: then they go out, the report last."""
    strange = other_version(version)
    if strange is not None:
        raise TaskFailedError(strange)
    orders, landing = pickle.loads(pickled)  # noqa: S301 - made by the driver of this very run
    attempt = attempt_number()
    with tempfile.TemporaryDirectory(prefix="penstock-task-", dir=_folder_of(orders)) as folder:
        report = replace(orders, staging=folder).run(number, attempt, rows)
        try:
            for at, piece in enumerate(report.get("pieces", ())):
                yield from _rows_of(landing, piece, (number, attempt, at))
        except PenstockError as error:
            report = {"error": error_to_json(error)}
        except Exception as error:  # noqa: BLE001 - the edge of a task: its text may hold a row
            raise TaskFailedError(unforeseen(error)) from None
        yield _report_row(landing, (number, attempt), json.dumps(report))


def _folder_of(orders: Orders) -> str | None:
    """The run's own folder where it is on this machine, else the machine's: another one's tasks do not see it."""
    return orders.staging if orders.staging is not None and Path(orders.staging).is_dir() else None


def _rows_of(landing: Landing, told: Any, about: tuple[int, int, int]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    piece = piece_from_json(told)
    if piece.work["path"] is None:
        return
    if piece.into != "target":
        raise LoadError(
            "rows that are set aside cannot be written through JDBC",
            fix="leave out spark: {write: jdbc}, or on_bad_value: quarantine",
            fault="config",
        )
    with pa.memory_map(str(piece.work["path"])) as file, pa.ipc.open_stream(file) as reader:
        for batch in reader:
            for start in range(0, batch.num_rows, _ROWS):
                rows = batch.slice(start, _ROWS)
                marks = [pa.array([value] * rows.num_rows, pa.int64()) for value in about]
                columns = [*marks, pa.nulls(rows.num_rows, pa.string()), *landing.encode(rows)]
                yield pa.RecordBatch.from_arrays(columns, schema=landing.schema)


def _report_row(landing: Landing, about: tuple[int, int], report: str) -> pa.RecordBatch:
    import pyarrow as pa

    number, attempt = about
    row = {"task": number, "attempt": attempt, "piece": -1, "report": report}
    return pa.RecordBatch.from_arrays(
        [pa.array([row.get(f.name)], f.type) for f in landing.schema], schema=landing.schema
    )
