"""Local files pass the suites of sources, destinations, pieces and ledgers; looked at with pyarrow and json alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import pyarrow.parquet as pq
import pytest

from penstock.connectors.files import CONNECTOR
from penstock.protocols import Destination, Source
from penstock.testing.loads import Loads
from penstock.testing.suites import (
    DestinationSeat,
    EvolvingDestinationSuite,
    IncrementalSourceSuite,
    LedgerSuite,
    PieceDestinationSuite,
    SnapshotSourceSuite,
    SourceSeat,
    WideningDestinationSuite,
)
from penstock.testing.suites.rows import SCHEMA, Row, as_table, make_rows
from penstock.values import Connection, StreamName, TableName


def connect(root: Path, kind: str = "parquet") -> Connection:
    return Connection("lake", "file", extra={"path": str(root), "format": kind}, base_dir=str(root.parent))


def open_source(root: Path, kind: str = "parquet") -> Source:
    assert CONNECTOR.open_source is not None
    return CONNECTOR.open_source(connect(root, kind))


def open_destination(root: Path, kind: str = "parquet") -> Destination:
    assert CONNECTOR.open_destination is not None
    return CONNECTOR.open_destination(connect(root, kind))


def read_by_manifest(root: Path, table: TableName) -> list[Row]:
    """Rows of the parts the manifest names, columns they lack as NULL."""
    folder = folder_of(root, table)
    if folder is None:
        return []
    manifest = json.loads((folder / "_penstock" / "manifest.json").read_text())
    names = [f["name"] for f in manifest["schema"]["fields"]] if manifest["schema"] else []
    rows: list[Row] = []
    for part in manifest["parts"]:
        rows += [{n: row.get(n) for n in names} for row in pq.read_table(folder / part["path"]).to_pylist()]
    return rows


def folder_of(root: Path, table: TableName) -> Path | None:
    found = [p for p in root.iterdir() if unquote(p.name) == table.name] if root.exists() else []
    return found[0] if found else None


def names_in(root: Path) -> list[str]:
    """Target folders, and whatever lies in them that no manifest accounts for."""
    names = [unquote(p.name) for p in root.iterdir()] if root.exists() else []
    for path in root.rglob("*"):
        if path.is_file() and path.name not in ("lock", "manifest.json"):
            folder = root / path.relative_to(root).parts[0]
            manifest = json.loads((folder / "_penstock" / "manifest.json").read_text())
            if str(path.relative_to(folder)) not in {part["path"] for part in manifest["parts"]}:
                names.append(str(path))
    return names


@pytest.fixture
def parquet_seat(tmp_path: Path) -> DestinationSeat:
    root = tmp_path / "lake"
    blocked = tmp_path / "a file"
    blocked.write_text("not a folder")
    return DestinationSeat(
        make=partial(open_destination, root),
        target=TableName(None, "target"),
        read=partial(read_by_manifest, root),
        tables=partial(names_in, root),
        broken=partial(open_destination, blocked / "below"),
    )


@pytest.mark.feature("M5", "M11r")
class TestFilesDestination(EvolvingDestinationSuite, WideningDestinationSuite, PieceDestinationSuite):
    @pytest.fixture
    def seat(self, parquet_seat: DestinationSeat) -> DestinationSeat:
        return parquet_seat


@pytest.mark.feature("N2", "M11r")
class TestFilesLedger(LedgerSuite):
    @pytest.fixture
    def seat(self, parquet_seat: DestinationSeat) -> DestinationSeat:
        return parquet_seat


def put(root: Path, kind: str, stream: str, rows: Sequence[Row]) -> None:
    """Another file of the stream, written without the product."""
    folder = root / stream
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(list(folder.iterdir())):03d}.{kind}"
    if kind == "parquet":
        pq.write_table(as_table(rows), path)
        return
    with path.open("w", newline="") as file:
        if kind == "jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
            return
        plain = csv.writer(file, lineterminator="\n")
        plain.writerow(SCHEMA.names)
        for row in rows:
            file.write(",".join(cell(row[name]) for name in SCHEMA.names) + "\n")


def cell(value: object) -> str:
    """NULL is a bare empty cell, text is quoted."""
    if value is None:
        return ""
    return '"' + value.replace('"', '""') + '"' if isinstance(value, str) else str(value)


def drop(root: Path, stream: StreamName) -> None:
    for path in (root / stream).iterdir():
        path.unlink()


def source_seat(tmp_path: Path, kind: str) -> SourceSeat:
    root = tmp_path / "landing"
    put(root, kind, "rows", make_rows(0, 60))
    put(root, kind, "rows", make_rows(60, 100))
    put(root, kind, "empty", [])
    return SourceSeat(
        make=partial(open_source, root, kind),
        stream=StreamName("rows"),
        empty=StreamName("empty"),
        absent=StreamName("absent"),
        add=partial(put, root, kind, "rows"),
        drop=partial(drop, root),
        broken=partial(open_source, tmp_path / "nowhere", kind),
    )


@pytest.mark.feature("M3", "M11r")
class TestParquetSource(SnapshotSourceSuite, IncrementalSourceSuite):
    @pytest.fixture
    def seat(self, tmp_path: Path) -> SourceSeat:
        return source_seat(tmp_path, "parquet")


@pytest.mark.feature("M11r")
class TestCsvSource(SnapshotSourceSuite):
    @pytest.fixture
    def seat(self, tmp_path: Path) -> SourceSeat:
        return source_seat(tmp_path, "csv")


@pytest.mark.feature("M11r")
class TestJsonLinesSource(SnapshotSourceSuite):
    @pytest.fixture
    def seat(self, tmp_path: Path) -> SourceSeat:
        seat = source_seat(tmp_path, "jsonl")
        # JSON lines without a line have no columns; an empty table of ours has them in its manifest.
        drop(tmp_path / "landing", seat.empty)
        Loads(open_destination(tmp_path / "landing", "jsonl"), TableName(None, seat.empty)).deliver(as_table([]))
        return seat
