"""Relaying bytes: routes, errors, and what is not loaded for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest

from penstock.engines.arrow import ArrowEngine
from penstock.errors import Interrupted, LoadError
from penstock.protocols import Chunks, Move
from penstock.values import Piece, Shape, Split, SplitId, TableSchema
from tests.engines.arrow.pipes import TICKET, KeepingLoad, PreparedChunks, PreparedReader, splits_of, threads_alive


def job_of(chunks: dict[str, Sequence[bytes]], load: KeepingLoad, **options: object) -> Move:
    reader = PreparedReader({}, chunks=chunks)
    splits = splits_of(list(chunks), TableSchema(()))
    return Move(reader, splits, begin=lambda: load, shape=Shape(TableSchema(())), **options)  # type: ignore[arg-type]


@pytest.fixture
def engine() -> ArrowEngine:
    return ArrowEngine(1 << 20, 2)


def test_bytes_arrive_as_they_are_and_rows_are_those_the_destination_counted(engine: ArrowEngine) -> None:
    load = KeepingLoad()
    moved = engine.relay(job_of({"a": [b"one", b"two"], "b": [b"three"]}, load))
    assert load.relayed == {"a": b"onetwo", "b": b"three"}
    assert (moved.tally.read, moved.tally.written, moved.tally.size_bytes) == (11, 11, 11)


def test_the_direct_route_relays_one_split_at_a_time(engine: ArrowEngine) -> None:
    load = KeepingLoad()
    engine.relay(job_of({name: [b"x"] * 50 for name in "abcd"}, load, writers=4))
    assert load.most_at_once == 1


def test_with_a_ticket_splits_are_relayed_at_the_same_time(engine: ArrowEngine) -> None:
    both = threading.Barrier(2, timeout=30)

    class Meeting(KeepingLoad):
        def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
            both.wait()
            return super().relay(split_id, attempt, chunks)

    moved = engine.relay(job_of({"a": [b"1"], "b": [b"2"]}, Meeting(ticket=TICKET), writers=2))
    assert len(moved.pieces) == 2


def test_the_event_loop_sees_the_same_bytes(engine: ArrowEngine) -> None:
    async def gather(chunks: Chunks) -> bytes:
        return b"".join([chunk async for chunk in chunks])

    class Looping(KeepingLoad):
        def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
            assert chunks.encoding == "test"
            self.relayed[split_id] = asyncio.run(gather(chunks))
            return Piece(split_id, attempt, 1)

    load = Looping()
    assert engine.relay(job_of({"a": [b"one", b"two"]}, load)).tally.size_bytes == 6
    assert load.relayed == {"a": b"onetwo"}


def test_servers_that_count_differently_fail_the_load(engine: ArrowEngine) -> None:
    class Counting(PreparedReader):
        def relay(self, split: Split) -> Chunks:
            return PreparedChunks([b"four"], rows=5)

    load = KeepingLoad()
    job = Move(Counting({}), splits_of(["a"], TableSchema(())), lambda: load, Shape(TableSchema(())))
    with pytest.raises(LoadError, match="sent 5 rows, the destination took 4"):
        engine.relay(job)
    assert load.aborts == 1


@pytest.mark.parametrize("ticket", [None, TICKET])
def test_an_error_in_one_split_stops_the_others_and_aborts(engine: ArrowEngine, ticket: object) -> None:
    class Breaking(KeepingLoad):
        def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
            if split_id == "b":
                raise ConnectionError("cut")
            return super().relay(split_id, attempt, chunks)

    load = Breaking(ticket=ticket)  # type: ignore[arg-type]
    with pytest.raises(ConnectionError, match="cut"):
        engine.relay(job_of({name: [b"x"] * 1_000 for name in "abcd"}, load, writers=2))
    assert (load.aborts, threads_alive()) == (1, [])


def test_a_stop_interrupts_a_relay(engine: ArrowEngine) -> None:
    stop = threading.Event()
    stop.set()
    load = KeepingLoad()
    with pytest.raises(Interrupted):
        engine.relay(job_of({"a": [b"x"] * 100_000}, load, stop=stop))
    assert load.aborts == 1


@pytest.mark.feature("N2")
def test_a_relay_loads_neither_pyarrow_nor_duckdb_nor_numpy() -> None:
    program = """
import sys
from penstock.engines.arrow import ArrowEngine
from penstock.protocols import Move
from penstock.values import *

class Chunks:
    encoding = Encoding("test")
    def __iter__(self): return iter([b"bytes"])

class Reader:
    def relay(self, split): return Chunks()

class Load:
    ticket = None
    def relay(self, split_id, attempt, chunks): return Piece(split_id, attempt, len(b"".join(chunks)))

split = Split(SplitId("a"), StreamName("s"), TableSchema(()), {})
moved = ArrowEngine(1 << 20, 2).relay(Move(Reader(), [split], Load, Shape(TableSchema(()))))
assert moved.tally.written == 5
heavy = {"pyarrow", "duckdb", "numpy", "polars", "pandas", "sqlglot"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
