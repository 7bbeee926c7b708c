"""Local files pass the suites; written and looked at with bare pyarrow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from penstock.connectors.files import CONNECTOR
from penstock.protocols import Destination, Source
from penstock.testing.suites import (
    DestinationSeat,
    DestinationSuite,
    LedgerSuite,
    LiveSourceSuite,
    PieceDestinationSuite,
    SourceSeat,
)
from penstock.testing.suites.rows import Row, as_table, make_rows
from penstock.values import Connection, StreamName, TableName


def connection_to(folder: Path) -> Connection:
    return Connection("files", "file", base_dir=str(folder.parent), extra={"path": str(folder), "format": "parquet"})


def open_source(folder: Path) -> Source:
    assert CONNECTOR.open_source is not None
    return CONNECTOR.open_source(connection_to(folder))


def open_destination(folder: Path) -> Destination:
    assert CONNECTOR.open_destination is not None
    return CONNECTOR.open_destination(connection_to(folder))


def read_table(folder: Path, table: TableName) -> list[Row]:
    """The rows of the parts that the manifest lists."""
    for manifest in folder.glob("*/_penstock/manifest.json"):
        document = json.loads(manifest.read_text())
        if document["head"]["target"] == str(table):
            files = [manifest.parent.parent / part["path"] for part in document["parts"]]
            return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]
    return []


def names_in(folder: Path) -> list[str]:
    """Tables, and every file that is neither listed in a manifest nor a manifest."""
    listed, names = set(), []
    for manifest in folder.glob("*/_penstock/manifest.json"):
        table = manifest.parent.parent
        names.append(table.name)
        listed |= {manifest, *(table / part["path"] for part in json.loads(manifest.read_text())["parts"])}
    return names + [str(f) for f in folder.rglob("*") if f.is_file() and f not in listed and f.name != "lock"]


def write_file(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(as_table(rows), path)


@pytest.mark.feature("M3", "M11r")
class TestFilesSource(LiveSourceSuite):
    @pytest.fixture
    def seat(self, tmp_path: Path) -> SourceSeat:
        folder = tmp_path / "files"
        write_file(folder / "rows" / "0.parquet", make_rows(0, 60))
        write_file(folder / "rows" / "1.parquet", make_rows(60, 100))
        write_file(folder / "empty" / "0.parquet", [])

        def add(rows: Sequence[Row]) -> None:
            write_file(folder / "rows" / f"{rows[0]['id']}.parquet", rows)

        def drop(name: StreamName) -> None:
            for file in folder.glob(name):
                file.unlink()

        return SourceSeat(
            make=partial(open_source, folder),
            stream=StreamName("rows/*.parquet"),
            empty=StreamName("empty/*.parquet"),
            absent=StreamName("absent/*.parquet"),
            add=add,
            drop=drop,
            broken=partial(open_source, tmp_path / "nowhere"),
            listed=("rows", "empty"),
        )


@pytest.fixture
def files_seat(tmp_path: Path) -> DestinationSeat:
    folder = tmp_path / "files"
    folder.mkdir()
    not_a_folder = tmp_path / "a file"
    not_a_folder.write_text("")
    return DestinationSeat(
        make=partial(open_destination, folder),
        target=TableName(None, "target"),
        read=partial(read_table, folder),
        tables=partial(names_in, folder),
        broken=partial(open_destination, not_a_folder),
    )


@pytest.mark.feature("M5", "M11r")
class TestFilesDestination(DestinationSuite):
    @pytest.fixture
    def seat(self, files_seat: DestinationSeat) -> DestinationSeat:
        return files_seat


@pytest.mark.feature("M11r")
class TestFilesPieces(PieceDestinationSuite):
    @pytest.fixture
    def seat(self, files_seat: DestinationSeat) -> DestinationSeat:
        return files_seat


@pytest.mark.feature("N2", "M11r")
class TestFilesLedger(LedgerSuite):
    @pytest.fixture
    def seat(self, files_seat: DestinationSeat) -> DestinationSeat:
        return files_seat
