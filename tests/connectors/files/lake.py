"""A folder of files as the tests use it: both ends over it, and one way to write and read whole tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from penstock.connectors.files import CONNECTOR
from penstock.connectors.files.destination import FilesDestination
from penstock.connectors.files.source import FilesSource
from penstock.schema.types import from_arrow_schema, to_arrow_schema
from penstock.testing.loads import Loads
from penstock.values import Batch, CommitReceipt, Connection, ReadRequest, Strategy, StreamName, TableName, TableSchema


@dataclass
class Lake:
    """Tables and files below one folder."""

    root: Path
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def connection(self) -> Connection:
        return Connection("lake", "file", base_dir=str(self.root.parent), extra={"path": self.root.name, **self.extra})

    @property
    def source(self) -> FilesSource:
        assert CONNECTOR.open_source is not None
        found = CONNECTOR.open_source(self.connection)
        assert isinstance(found, FilesSource)
        return found

    @property
    def destination(self) -> FilesDestination:
        assert CONNECTOR.open_destination is not None
        found = CONNECTOR.open_destination(self.connection)
        assert isinstance(found, FilesDestination)
        return found

    def put(self, name: str, content: bytes | str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def loads(self, target: str = "t", **changes: object) -> Loads:
        return Loads(self.destination, TableName(None, target), changes=dict(changes))

    def deliver(
        self, rows: pa.Table, strategy: Strategy = "append", *, target: str = "t", **changes: object
    ) -> CommitReceipt:
        loads = self.loads(target)
        plan = loads.plan(from_arrow_schema(rows.schema), strategy)
        return loads.deliver(rows, plan=replace(plan, **changes))  # type: ignore[arg-type]

    def batches(self, request: ReadRequest) -> Iterator[Batch]:
        with self.source.open([request]) as session:
            for split in session.splits:
                yield from self.source.reader().read(split)

    def read(self, name: str = "t", **wishes: Any) -> list[dict[str, Any]]:
        return [row for b in self.batches(ReadRequest(StreamName(name), **wishes)) for row in b.rows.to_pylist()]

    def schema(self, name: str = "t", types: Mapping[str, str] | None = None) -> TableSchema:
        with self.source.open([ReadRequest(StreamName(name), types=types or {})]) as session:
            return session.splits[0].schema

    def kinds(self, name: str = "t") -> dict[str, str]:
        return {f.name: f.type for f in self.schema(name).fields}


def table(schema: TableSchema, columns: Sequence[Sequence[object]]) -> pa.Table:
    arrow = to_arrow_schema(schema)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, arrow, strict=True)], schema=arrow)
