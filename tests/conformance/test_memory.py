"""The systems in memory pass the suites they are the model of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from penstock.errors import ExtractionError, LoadError
from penstock.protocols import Destination, Source
from penstock.testing.memory import MemoryDestination, MemorySource
from penstock.testing.suites import (
    DestinationSeat,
    EvolvingDestinationSuite,
    KeyedDestinationSuite,
    LedgerSuite,
    LiveSourceSuite,
    PieceDestinationSuite,
    SnapshotSourceSuite,
    SourceSeat,
    WideningDestinationSuite,
)
from penstock.testing.suites.rows import Row, as_table, make_rows
from penstock.values import StreamName, StreamSpec, TableName, TableSchema


class BrokenSource(MemorySource):
    """Its system does not answer."""

    def check(self) -> None:
        raise ExtractionError("memory is gone", fault="transient")

    def streams(self, like: Sequence[str] | None = None) -> Iterable[StreamSpec]:
        raise ExtractionError(f"memory is gone, {like} with it", fault="transient")


class BrokenDestination(MemoryDestination):
    """Its system does not answer."""

    def check(self) -> None:
        raise LoadError("memory is gone", fault="transient")

    def describe(self, tables: Sequence[TableName]) -> dict[TableName, TableSchema | None]:
        raise LoadError(f"memory is gone, {tables} with it", fault="transient")


def open_source(tables: dict[str, pa.Table]) -> Source:
    return MemorySource(tables)


def open_again(destination: MemoryDestination) -> Destination:
    return MemoryDestination(destination.folder, destination.store)


class TestMemorySource(SnapshotSourceSuite, LiveSourceSuite):
    @pytest.fixture
    def seat(self) -> SourceSeat:
        tables = {"rows": as_table(make_rows(0, 100)), "empty": as_table([])}

        def add(rows: Sequence[Row]) -> None:
            tables["rows"] = pa.concat_tables([tables["rows"], as_table(rows)])

        def drop(name: StreamName) -> None:
            del tables[name]

        return SourceSeat(
            make=partial(open_source, tables),
            stream=StreamName("rows"),
            empty=StreamName("empty"),
            absent=StreamName("absent"),
            add=add,
            drop=drop,
            broken=BrokenSource,
        )


@pytest.fixture
def memory_seat(tmp_path: Path) -> DestinationSeat:
    destination = MemoryDestination(tmp_path)

    return DestinationSeat(
        make=partial(open_again, destination),
        target=TableName(None, "target"),
        read=lambda table: list(destination.store.rows(table)),
        tables=lambda: [str(table) for table in destination.store.state.tables] + [p.name for p in tmp_path.iterdir()],
        broken=partial(BrokenDestination, tmp_path),
    )


class TestMemoryDestination(KeyedDestinationSuite, EvolvingDestinationSuite, WideningDestinationSuite):
    @pytest.fixture
    def seat(self, memory_seat: DestinationSeat) -> DestinationSeat:
        return memory_seat


class TestMemoryPieces(PieceDestinationSuite):
    @pytest.fixture
    def seat(self, memory_seat: DestinationSeat, tmp_path: Path) -> DestinationSeat:
        return memory_seat

    @pytest.fixture
    def destination(self, seat: DestinationSeat) -> Destination:
        return seat.make()


class TestMemoryLedger(LedgerSuite):
    @pytest.fixture
    def seat(self, memory_seat: DestinationSeat) -> DestinationSeat:
        return memory_seat
