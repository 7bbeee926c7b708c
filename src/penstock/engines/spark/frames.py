"""PySpark transforms: rows staged by tasks become a DataFrame, what the function returns is staged again, then loaded.

Both stages are files of successful attempts only, so a count, a cursor or a row is never that of an attempt that was
lost, repeated or speculative, however often Spark computes the frame.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from penstock.engines.arrow.frames import FrameKind
from penstock.engines.arrow.reference import PYSPARK, UserFunction, importable, neighbours_of
from penstock.engines.arrow.usererror import user_error
from penstock.engines.scope import PLANNING, TransformContext, keys_of, require_keys, scope_of
from penstock.engines.spark.connect import lost_server
from penstock.engines.spark.session import HeldSession
from penstock.engines.spark.staging import inside, new_name, open_to_read, open_to_write
from penstock.engines.spark.types import for_spark, spark_schema, table_schema
from penstock.errors import PenstockError, TransformError
from penstock.protocols import Chunks, Frame, Scope
from penstock.records import dataclass
from penstock.schema.types import to_arrow_schema
from penstock.values import Batch, Into, Shape, Split, SplitId, StreamName, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession


def _runs_elsewhere(*_: object) -> Iterator[Any]:
    raise AssertionError("a Spark frame is made by the spark engine")


FRAMES: Mapping[str, FrameKind] = {
    f"{PYSPARK}.DataFrame": FrameKind("pyspark.sql.DataFrame", _runs_elsewhere, is_bounded=True)
}


@dataclass(frozen=True, slots=True)
class SparkTransform:
    """A function of a Spark frame. It is given all rows of a load at once, whatever its scope."""

    user: UserFunction
    session: HeldSession
    context: TransformContext = PLANNING
    _outputs: dict[str, TableSchema] = field(default_factory=dict, compare=False, repr=False)

    @property
    def scope(self) -> Scope:
        return scope_of(self.user.function, undeclared="table")

    @property
    def keys(self) -> tuple[str, ...]:
        return keys_of(self.user.function)

    def with_context(self, context: TransformContext) -> SparkTransform:
        return replace(self, context=context)

    def output_schema(self, *inputs: TableSchema) -> TableSchema:
        """The columns the function makes of rows like these, found on an empty frame."""
        return self.declared_for(to_arrow_schema(inputs[0]))

    def declared_for(self, schema: pa.Schema) -> TableSchema:
        key = repr([(f.name, str(f.type), f.metadata) for f in schema])
        if key not in self._outputs:
            require_keys(self.keys, schema.names, what=self.name, where=self.user.where)
            session = self.session.get()
            empty = session.createDataFrame([], spark_schema(for_spark(schema)))
            made = self.call(empty)
            self._outputs[key] = table_schema(made.schema, schema, what=self.name, where=self.user.where)
        return self._outputs[key]

    def apply(self, *inputs: Frame) -> Frame:
        """A table from a small one: fixtures."""
        import pyarrow as pa

        rows = pa.table(inputs[0])
        declared = self.declared_for(rows.schema)
        given = rows.cast(for_spark(rows.schema)).to_pylist()
        frame = self.session.get().createDataFrame(
            [tuple(row.values()) for row in given], spark_schema(for_spark(rows.schema))
        )
        try:
            made = self.call(frame).toArrow()
        except PenstockError:
            raise
        except Exception as error:
            raise self.failure(error) from error
        return made.cast(to_arrow_schema(declared))

    def call(self, frame: DataFrame) -> DataFrame:
        """What the function returns. Raises TransformError where that is no Spark frame, or nothing at all."""
        arguments = (frame, self.context) if self.user.takes_context else (frame,)
        try:
            with importable(self.user.path.parent):
                _send_by_value(self.user)
                made = self.user.function(*arguments)
                _ = getattr(made, "schema", None)  # a Connect frame looks at what it is made of only when asked
        except PenstockError:
            raise
        except (Exception, SystemExit) as error:
            lost = lost_server(error)
            if lost is not None:
                raise lost from error
            raise user_error(error, self.user.path, self.name, fallback=self.user.where) from error
        if not hasattr(made, "mapInArrow") or not hasattr(made, "schema"):
            raise TransformError(
                f"{self.name} returned {type(made).__name__}, not a Spark DataFrame",
                where=self.user.where,
                fix="return the frame",
            )
        return made

    def checked(self, made: DataFrame, incoming: pa.Schema) -> DataFrame:
        """Raises TransformError where the columns are others than on an empty frame."""
        found = table_schema(made.schema, incoming, what=self.name, where=self.user.where)
        planned = self.declared_for(incoming)
        if {f.name: f.type for f in found.fields} != {f.name: f.type for f in planned.fields}:
            told = ", ".join(f"{f.name} {f.type}" for f in found.fields)
            raise TransformError(
                f"{self.name} returned other columns than on an empty frame: {told}",
                where=self.user.where,
                fix="return the same columns and types whatever the rows",
            )
        return made

    def failure(self, error: BaseException) -> TransformError:
        """Of a job that computed the frame. Spark's own text may quote rows: only its name for the error is told."""
        condition = getattr(error, "getCondition", lambda: None)()
        return TransformError(
            f"{self.name} failed in Spark: {condition or type(error).__name__}",
            where=self.user.where,
            fix="correct the transform; --debug shows Spark's own text, which may quote rows",
        )

    @property
    def name(self) -> str:
        label = f"transform {self.user.reference!r}"
        return f"{label} of table {self.context.target!r}" if self.context.target else label


def asks_for_session(error: BaseException | None) -> bool:
    """Whether Spark's functions raised it because there is no session yet."""
    return type(error).__name__ == "PySparkRuntimeError" or isinstance(error, AssertionError)


def _send_by_value(user: UserFunction) -> None:
    """Have the functions of the user's files, as UDFs, travel with their code: workers cannot import those files."""
    from pyspark.cloudpickle import register_pickle_by_value

    for module in (sys.modules.get(user.function.__module__), *neighbours_of(user.path)):
        if module is not None and sys.modules.get(module.__name__) is module:
            register_pickle_by_value(module)


def raw_shape(shape: Shape) -> Shape:
    """Rows as the source hands them out, those delivered before left out: what a transform is given."""
    return Shape(TableSchema(()), boundary=shape.boundary, order_column=shape.order_column, digest=False)


def finished_shape(shape: Shape) -> Shape:
    return replace(shape, boundary=None)


def schema_of_staged(files: Sequence[str], without_rows: pa.Schema) -> pa.Schema:
    """What the files' rows look like; the source's own columns where there is none."""
    import pyarrow as pa

    if not files:
        return without_rows
    with open_to_read(files[0]) as file, pa.ipc.open_stream(file) as reader:
        return reader.schema


def frame_of(session: SparkSession, files: Sequence[str], schema: pa.Schema) -> DataFrame:
    """The rows of staged files as a frame, a partition for each file."""
    kept = for_spark(schema)
    if not files:
        return session.createDataFrame([], spark_schema(kept))
    read = partial(_read_files, list(files), kept)
    return session.range(0, len(files), 1, len(files)).mapInArrow(read, spark_schema(kept))


def _read_files(files: list[str], schema: pa.Schema, numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for batch in numbers:
        for number in batch.column(0).to_pylist():
            with open_to_read(files[number]) as file, pa.ipc.open_stream(file) as reader:
                for rows in reader:
                    yield rows.cast(schema)


def staging_of(frame: DataFrame, folder: str) -> DataFrame:
    """A frame that, collected, leaves the rows in files and says which, one row a partition."""
    return frame.mapInArrow(partial(_stage, folder), "report string")


def _stage(folder: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    place = inside(folder, f"made-{new_name(0)}")
    rows, file, sink = 0, None, None
    try:
        for batch in batches:
            if sink is None:
                file = open_to_write(place)
                sink = pa.ipc.new_stream(file, batch.schema)
            sink.write_batch(batch)
            rows += batch.num_rows
    finally:
        if sink is not None and file is not None:
            sink.close()
            file.close()
    report = {"path": place, "rows": rows} if rows else None
    yield pa.RecordBatch.from_arrays([pa.array([json.dumps(report)])], names=["report"])


@dataclass(frozen=True, slots=True)
class StagedReader:
    """Reads staged files as splits; whoever reads one again reads the same rows."""

    def read(self, split: Split) -> Iterator[Batch]:
        import pyarrow as pa

        into: Into = "quarantine" if split.work["into"] == "quarantine" else "target"
        with open_to_read(str(split.work["path"])) as file, pa.ipc.open_stream(file) as reader:
            for rows in reader:
                yield Batch(split.stream, rows, into=into)

    def relay(self, split: Split) -> Chunks:
        raise AssertionError(f"split {split.id} is rows, not bytes")


def empty_file(folder: str, schema: TableSchema) -> dict[str, Any]:
    """The report of a file without rows."""
    import pyarrow as pa

    place = inside(folder, "empty.arrow")
    with open_to_write(place) as file, pa.ipc.new_stream(file, to_arrow_schema(schema)):
        return {"path": place, "rows": 0}


def splits_of(
    reports: Sequence[Mapping[str, Any]], stream: StreamName, schema: TableSchema, *, into: Into = "target"
) -> tuple[Split, ...]:
    return tuple(
        Split(SplitId(f"{into}-{number:05d}"), stream, schema, {"path": report["path"], "into": into}, report["rows"])
        for number, report in enumerate(reports)
    )
