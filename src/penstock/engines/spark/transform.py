"""Transforms that travel: made again in each task, from the user's file or, where executors lack it, from its text."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.config.paths import within
from penstock.engines.arrow.transform import ArrowTransform, load_function, parse_sql
from penstock.engines.arrow.workspace import Workspace
from penstock.engines.scope import PLANNING, TransformContext
from penstock.errors import ConfigError, TransformError
from penstock.protocols import Frame, Scope
from penstock.records import dataclass
from penstock.values import TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

_TASK_BYTES = 128 << 20
_MOST_SOURCE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Origin:
    """What a transform is made from: SQL, or a function's reference; `sources` are files by path below `base_dir`."""

    sql: str | None = None
    reference: str = ""
    base_dir: str = ""
    default_frame: str | None = None
    sources: Mapping[str, bytes] | None = None


@dataclass(slots=True)
class TravellingTransform:
    """A transform of the arrow engine; pickled, it is its origin, and made anew where it is first used."""

    origin: Origin
    scope: Scope
    context: TransformContext = PLANNING
    _made: ArrowTransform | None = None
    _workspace: Workspace | None = field(default=None, init=False)
    _folder: str | None = field(default=None, init=False)

    @classmethod
    def of_function(
        cls, loaded: ArrowTransform, origin: tuple[str, str, str | None], *, shares_disk: bool
    ) -> TravellingTransform:
        reference, base_dir, default_frame = origin
        if shares_disk:
            return cls(Origin(None, reference, base_dir, default_frame), loaded.scope, _made=loaded)
        file, _, function = reference.rpartition("::")
        path = within(Path(base_dir), file, what="the transform file")
        root = Path(base_dir).resolve() if path.is_relative_to(Path(base_dir).resolve()) else path.parent
        sent = Origin(None, f"{path.relative_to(root)}::{function}", str(root), default_frame, _sources(path, root))
        return cls(sent, loaded.scope, _made=loaded)

    @classmethod
    def of_sql(cls, parsed: ArrowTransform, sql: str) -> TravellingTransform:
        return cls(Origin(sql), parsed.scope, _made=parsed)

    def __reduce__(self) -> tuple[object, ...]:
        return TravellingTransform, (self.origin, self.scope, self.context)

    def with_context(self, context: TransformContext) -> TravellingTransform:
        made = self._made.with_context(context) if self._made is not None else None
        return TravellingTransform(self.origin, self.scope, context, made)

    @property
    def keys(self) -> tuple[str, ...]:
        return self._arrow().keys

    def output_schema(self, *inputs: TableSchema) -> TableSchema:
        return self._arrow().output_schema(*inputs)

    def declared_for(self, schema: pa.Schema) -> TableSchema:
        return self._arrow().declared_for(schema)

    def apply(self, *inputs: Frame) -> Frame:
        return self._arrow().apply(*inputs)

    def stream(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._arrow().stream(batches, schema)
        except TransformError as error:
            if self._folder is not None and error.where:  # as the driver, and who reads it, knows the file
                error.locate(error.where.replace(self._folder, self.origin.base_dir))
            raise

    def close(self) -> None:
        """Give back what was opened where this was made again."""
        if self._workspace is not None:
            self._workspace.close()
            self._workspace = self._made = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _arrow(self) -> ArrowTransform:
        if self._made is None:
            self._workspace = Workspace(_TASK_BYTES, 1, None)
            self._made = replace(self._make(self._workspace), context=self.context)
        return self._made

    def _make(self, workspace: Workspace) -> ArrowTransform:
        origin = self.origin
        if origin.sql is not None:
            return parse_sql(origin.sql, workspace)
        base_dir = origin.base_dir
        if origin.sources is not None:
            base_dir = self._folder = tempfile.mkdtemp(prefix="penstock-transform-")
            for name, content in origin.sources.items():
                path = Path(base_dir, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return load_function(origin.reference, base_dir, workspace, default_frame=origin.default_frame)


def _sources(file: Path, root: Path) -> dict[str, bytes]:
    """The user's file and the modules beside and below it. Raises ConfigError where they are too much to send."""
    found: dict[str, bytes] = {}
    for path in sorted(file.parent.rglob("*.py")):
        name = path.relative_to(root)
        if not any(part.startswith(".") for part in name.parts):
            found[str(name)] = path.read_bytes()
        if sum(map(len, found.values())) > _MOST_SOURCE_BYTES:
            raise ConfigError(
                f"the Python files in {file.parent.name} are too many to send to the executors",
                where=str(file),
                fix="put transforms, and the modules they import, into a folder of their own",
            )
    return found
