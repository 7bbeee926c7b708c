"""PySpark transforms of the arrow engine: batches leave this process as files, and come back as files."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from penstock.engines.arrow.frames import FrameKind, Offer
from penstock.engines.arrow.reference import UserFunction
from penstock.engines.arrow.transform import ArrowTransform, function_transform
from penstock.engines.arrow.workspace import Workspace
from penstock.engines.scope import scope_of
from penstock.engines.spark.frames import FRAMES
from penstock.engines.spark.sail.lint import require_clean
from penstock.engines.spark.sail.process import SailProcess
from penstock.engines.spark.types import for_spark
from penstock.errors import ConfigError, PluginNotFoundError, TransformError
from penstock.schema.types import from_arrow_schema, to_arrow_type

if TYPE_CHECKING:
    import pyarrow as pa

CONNECT_MODE: Final = "SPARK_CONNECT_MODE_ENABLED"  # Spark's functions look there for whose columns they make
INSTALL: Final = "pip install 'penstock[pyspark]', or use engine: spark"
_OWNERS: Final = ("pyspark-client", "pyspark", "databricks-connect")  # of the folder pyspark/
_LEAST_BYTES: Final = 512 << 20  # measured: sorts, groups and joins 5M rows
_CONCURRENT: Final = 4


class SailFrames:
    """One process for the transforms of a run, started for the first of them."""

    frames: Mapping[str, FrameKind] = FRAMES

    def __init__(self, memory_bytes: int, *, least_bytes: int = _LEAST_BYTES) -> None:
        self._memory_bytes = max(memory_bytes, least_bytes)
        self._process: SailProcess | None = None
        self._guard = threading.Lock()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Columns and Python functions that a file makes as it is loaded need no session, and so no JVM."""
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        with self._guard:
            before = os.environ.get(CONNECT_MODE)
            os.environ[CONNECT_MODE] = "1"
            try:
                yield
            finally:
                if before is None:
                    del os.environ[CONNECT_MODE]
                else:
                    os.environ[CONNECT_MODE] = before

    def transform(self, user: UserFunction, base_dir: str, workspace: Workspace) -> ArrowTransform:
        """Raises ConfigError where Sail is not installed, or where the function asks for what it lacks."""
        require_clean(user)
        _require_installed(user)

        def run(offer: Offer, told: ArrowTransform) -> Iterator[pa.RecordBatch]:
            yield from self._run(offer, told, base_dir)

        scope = scope_of(user.function, undeclared="table")
        return replace(function_transform(user, workspace), scope=scope, run_otherwise=run)

    def close(self) -> None:
        """End the process; the next transform starts another."""
        with self._guard:
            if self._process is not None:
                self._process.close()
                self._process = None

    def _run(self, offer: Offer, transform: ArrowTransform, base_dir: str) -> Iterator[pa.RecordBatch]:
        user, context = transform.user, transform.context
        assert user is not None
        with offer.workspace.folder() as folder:
            rows = folder / "rows.arrow"
            _write(offer, rows)
            order = {
                "reference": user.reference,
                "base_dir": str(Path(base_dir).absolute()),
                "rows": str(rows),
                "folder": str(folder),
                "name": transform.name,
                "where": user.where,
                "context": {
                    "table": context.table,
                    "target": context.target,
                    "pipeline": context.pipeline,
                    "run_id": context.run_id,
                    "at": context.started_at.isoformat(),
                },
            }
            files = self._started(folder.parent).ask(order)["files"]
            rows.unlink()
            yield from _read(files, offer.schema, transform)

    def _started(self, spill: Path) -> SailProcess:
        with self._guard:
            if self._process is None or self._process.has_ended():
                self._process = SailProcess(self._memory_bytes, _CONCURRENT, spill)
            return self._process


def _write(offer: Offer, path: Path) -> None:
    import pyarrow as pa

    schema = for_spark(offer.schema)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in offer.batches:
            writer.write_batch(batch.cast(schema))


def _read(files: list[str], incoming: pa.Schema, transform: ArrowTransform) -> Iterator[pa.RecordBatch]:
    """The rows of the files, first a batch without any; a column passed on is of the type it came in."""
    import pyarrow as pa

    for path in files:
        with pa.memory_map(path) as file, pa.ipc.open_stream(file) as reader:
            schema = _passed_on(reader.schema, incoming)
            if path == files[0]:
                yield pa.RecordBatch.from_pylist([], schema=schema)
            for rows in reader:
                try:
                    fitting = rows.cast(schema)
                except pa.ArrowInvalid as error:
                    raise TransformError(
                        f"{transform.name}: a value does not fit the type that its column came in",
                        where=transform.where,
                        fix="give the column another name, or cast it",
                    ) from error
                yield fitting


def _passed_on(made: pa.Schema, incoming: pa.Schema) -> pa.Schema:
    """Columns that came in wider, for want of a Spark type, go out as they came."""
    import pyarrow as pa

    before = {field.name: field for field in from_arrow_schema(incoming).fields}
    wider = for_spark(incoming)

    def kind(field: pa.Field) -> pa.DataType:
        if field.name in before and wider.field(field.name).type == field.type:
            return to_arrow_type(before[field.name].type)
        return field.type

    return pa.schema([pa.field(field.name, kind(field)) for field in made])


def _require_installed(user: UserFunction) -> None:
    try:
        import pysail  # noqa: F401 - light; its native part is loaded in the other process
    except ImportError as error:
        raise PluginNotFoundError(
            f"transform {user.reference!r} takes a PySpark frame, which the arrow engine makes with pysail",
            where=user.where,
            fix=INSTALL,
        ) from error
    version = _client_version()
    if version is None:
        raise PluginNotFoundError(
            f"transform {user.reference!r} needs pyspark, which is not installed", where=user.where, fix=INSTALL
        )
    if not (4, 0) <= tuple(int(part) for part in version.split(".")[:2]) < (4, 3):
        raise ConfigError(
            f"Sail does not take pyspark {version}",
            where=user.where,
            fix="install 4.2: pip install 'penstock[pyspark]'; or use engine: spark",
        )


def _client_version() -> str | None:
    for name in _OWNERS:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None
