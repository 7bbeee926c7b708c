"""Moving batches: routes, order, counts, lazy begin, errors that leave nothing behind."""

from __future__ import annotations

import dataclasses
import datetime as dt
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engines.arrow import ArrowEngine
from penstock.errors import ContractError, Interrupted
from penstock.loading.digest import TableDigest, row_digests
from penstock.protocols import Frame, Move, Moved, Scope
from penstock.schema.types import from_arrow_schema
from penstock.values import Boundary, BoundaryRule, Cursor, Field, Shape, TableSchema
from tests.engines.arrow.pipes import (
    TICKET,
    KeepingLoad,
    PreparedReader,
    cursor_batch,
    rows_of,
    shape_of,
    splits_of,
    threads_alive,
)

NUMBERS = TableSchema((Field("id", "int64"),))


@pytest.fixture
def engine() -> Iterator[ArrowEngine]:
    made = ArrowEngine(memory_bytes=64 << 20, threads=4)
    yield made
    made.close()


def job_of(reader: PreparedReader, load: KeepingLoad, **options: object) -> Move:
    splits = splits_of(list(reader.batches), NUMBERS)
    settings: dict[str, object] = {"shape": Shape(NUMBERS), "begin": lambda: load, **options}
    return Move(reader=reader, splits=splits, **settings)  # type: ignore[arg-type]


def ids(start: int, count: int) -> pa.RecordBatch:
    return rows_of(id=range(start, start + count))


def ids_written(load: KeepingLoad) -> list[object]:
    return [row["id"] for row in load.rows()]


@dataclass
class Doubling:
    """A transform of the outside world: any Arrow table in, any out."""

    scope: Scope = "rows"
    calls: int = 0

    def output_schema(self, *inputs: TableSchema) -> TableSchema:
        return inputs[0]

    def apply(self, *inputs: Frame) -> Frame:
        self.calls += 1
        return pa.concat_tables([inputs[0], inputs[0]])


@pytest.mark.feature("N2")
def test_the_direct_route_writes_all_splits_in_order_by_one_call(engine: ArrowEngine) -> None:
    reader = PreparedReader({"a": [ids(0, 3), ids(3, 2)], "b": [ids(5, 1)], "c": [], "d": [ids(6, 4)]})
    load = KeepingLoad()
    moved = engine.move(job_of(reader, load, writers=4))
    assert (load.calls, ids_written(load)) == (["a"], list(range(10)))
    assert [piece.rows for piece in moved.pieces] == [10]
    assert sorted(reader.closed) == ["a", "b", "c", "d"]
    assert threads_alive() == []


def test_unordered_splits_arrive_completely_in_one_call(engine: ArrowEngine) -> None:
    reader = PreparedReader({name: [ids(10 * n, 5), ids(10 * n + 5, 5)] for n, name in enumerate("abcdef")})
    load = KeepingLoad()
    engine.move(job_of(reader, load, ordered=False))
    assert load.calls == ["a"]
    assert sorted(map(str, ids_written(load))) == sorted(map(str, range(60)))


def test_with_a_ticket_each_split_that_has_rows_is_written_by_its_own_call(engine: ArrowEngine) -> None:
    reader = PreparedReader({"a": [ids(0, 2)], "b": [], "c": [ids(2, 2)], "d": [ids(4, 1)]})
    load = KeepingLoad(ticket=TICKET)
    moved = engine.move(job_of(reader, load, writers=2))
    assert {name: [row["id"] for row in rows] for name, rows in load.written.items()} == {
        "a": [0, 1],
        "c": [2, 3],
        "d": [4],
    }
    assert load.most_at_once <= 2
    assert sorted(piece.split for piece in moved.pieces) == ["a", "c", "d"]


def test_writers_of_one_load_work_at_the_same_time(engine: ArrowEngine) -> None:
    both = threading.Barrier(2, timeout=30)

    def meet(_: pa.RecordBatch) -> None:
        both.wait()

    load = KeepingLoad(ticket=TICKET, on_batch=meet)
    engine.move(job_of(PreparedReader({"a": [ids(0, 1)], "b": [ids(1, 1)]}), load, writers=2))
    assert load.most_at_once == 2


@pytest.mark.feature("M3")
def test_nothing_is_begun_when_there_is_nothing_to_write(engine: ArrowEngine) -> None:
    begun: list[int] = []
    job = job_of(PreparedReader({"a": [], "b": [ids(0, 0)]}), KeepingLoad())
    moved = engine.move(dataclasses.replace(job, begin=lambda: begun.append(1) or KeepingLoad()))  # type: ignore[func-returns-value]
    assert (moved.load, moved.pieces, begun) == (None, (), [])
    assert moved.tally.read == 0


def test_an_eager_move_begins_before_any_row_and_writes_none(engine: ArrowEngine) -> None:
    load = KeepingLoad()
    moved = engine.move(job_of(PreparedReader({"a": []}), load, eager=True))
    assert moved.load is load
    assert (load.calls, load.written) == (["a"], {"a": []})


def test_begin_runs_in_the_calling_thread(engine: ArrowEngine) -> None:
    threads: list[threading.Thread] = []

    def begin() -> KeepingLoad:
        threads.append(threading.current_thread())
        return KeepingLoad()

    engine.move(dataclasses.replace(job_of(PreparedReader({"a": [ids(0, 1)]}), KeepingLoad()), begin=begin))
    assert threads == [threading.current_thread()]


@pytest.mark.feature("M3")
def test_rows_delivered_before_are_dropped_as_often_as_they_were_delivered(engine: ArrowEngine) -> None:
    rows = rows_of(id=[1, 2, 2, 2, 3])
    known = Boundary(dict(Counter(row_digests(rows_of(id=[1, 2, 2])))))
    load = KeepingLoad()
    shape = Shape(NUMBERS, boundary=BoundaryRule(known, lower=Cursor("int", 1)))
    moved = engine.move(job_of(PreparedReader({"a": [cursor_batch(rows, "id")]}), load, shape=shape))
    assert ids_written(load) == [2, 3]
    tally = moved.tally
    assert (tally.read, tally.deduplicated_in, tally.given, tally.returned, tally.written) == (5, 3, 2, 2, 2)
    assert tally.boundary == Boundary({row_digests(rows_of(id=[3]))[0]: 1})
    assert tally.reached == Cursor("int", 3)


def test_reading_only_known_rows_begins_nothing_but_reports_the_boundary(engine: ArrowEngine) -> None:
    rows = rows_of(id=[7, 7])
    known = Boundary(dict(Counter(row_digests(rows))))
    shape = Shape(NUMBERS, boundary=BoundaryRule(known))
    moved = engine.move(job_of(PreparedReader({"a": [cursor_batch(rows, "id")]}), KeepingLoad(), shape=shape))
    assert (moved.load, moved.tally.deduplicated_in, moved.tally.boundary) == (None, 2, known)


def test_columns_are_renamed_added_and_cast_to_the_plan(engine: ArrowEngine) -> None:
    moment = dt.datetime(2026, 5, 6, tzinfo=dt.UTC)
    schema = TableSchema(
        (
            Field("_ord", "int64"),
            Field("ID", "decimal(10,2)"),
            Field("mkpipe_id", "int64"),
            Field("_ingested_at", "timestamptz"),
        )
    )
    shape = Shape(
        schema,
        dedup_columns=("id",),
        ingested_at=("_ingested_at", moment),
        renames={"id": "ID"},
        order_column="_ord",
    )
    load = KeepingLoad()
    batch = cursor_batch(pa.RecordBatch.from_arrays([pa.array([1], pa.int32())], names=["id"]), "id")
    engine.move(job_of(PreparedReader({"a": [batch]}), load, shape=shape))
    (row,) = load.rows()
    assert {k: str(v) for k, v in row.items()} == {
        "_ord": "1",
        "ID": "1.00",
        "mkpipe_id": "-928762887014768240",
        "_ingested_at": str(moment),
    }


@pytest.mark.parametrize("ticket", [None, TICKET])
def test_a_row_wise_transform_sees_batches_and_its_rows_are_counted(engine: ArrowEngine, ticket: object) -> None:
    load, doubling = KeepingLoad(ticket=ticket), Doubling()  # type: ignore[arg-type]
    moved = engine.move(job_of(PreparedReader({"a": [ids(0, 3), ids(3, 3)]}), load, transform=doubling))
    assert doubling.calls == 2
    assert Counter(ids_written(load)) == Counter([*range(6), *range(6)])
    assert (moved.tally.given, moved.tally.returned, moved.tally.written) == (6, 12, 12)


@pytest.mark.parametrize("ticket", [None, TICKET])
def test_a_whole_table_transform_sees_all_splits_at_once(engine: ArrowEngine, ticket: object) -> None:
    load, doubling = KeepingLoad(ticket=ticket), Doubling(scope="table")  # type: ignore[arg-type]
    reader = PreparedReader({"a": [ids(0, 3)], "b": [ids(3, 3)], "c": [ids(6, 1)]})
    moved = engine.move(job_of(reader, load, transform=doubling, writers=3))
    assert (doubling.calls, len(load.calls)) == (1, 1)
    assert (moved.tally.given, moved.tally.written) == (7, 14)


def test_rows_that_do_not_fit_fail_the_move_by_column_and_count_without_a_value(engine: ArrowEngine) -> None:
    load = KeepingLoad()
    with pytest.raises(ContractError) as caught:
        engine.move(job_of(PreparedReader({"a": [rows_of(id=["1", "secret", "words"])]}), load))
    assert "column 'id': 2 of 3 rows" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert load.aborts == 1


def test_rows_that_do_not_fit_are_set_aside_when_the_table_says_so(engine: ArrowEngine) -> None:
    load = KeepingLoad()
    shape = Shape(NUMBERS, on_bad_value="quarantine")
    reader = PreparedReader({"a": [rows_of(id=["1", "x", "3"]), rows_of(id=["y"])]})
    moved = engine.move(job_of(reader, load, shape=shape))
    assert ids_written(load) == [1, 3]
    assert [(r["_penstock_position"], r["row"]) for r in load.quarantined] == [(1, '{"id": "x"}'), (3, '{"id": "y"}')]
    assert (moved.tally.returned, moved.tally.written, moved.tally.quarantined) == (4, 2, 2)
    assert [(piece.into, piece.rows) for piece in moved.pieces] == [("target", 2), ("quarantine", 2)]


def test_an_open_schema_passes_batches_as_they_are(engine: ArrowEngine) -> None:
    load = KeepingLoad()
    reader = PreparedReader({"a": [rows_of(x=[1]), rows_of(y=["b"])]})
    engine.move(job_of(reader, load, shape=Shape(TableSchema(()), digest=False)))
    assert load.rows() == [{"x": 1}, {"y": "b"}]


@pytest.mark.feature("N2")
@given(st.lists(st.lists(st.integers(0, 50), max_size=3), min_size=1, max_size=4), st.booleans())
def test_any_cut_into_splits_and_batches_gives_the_same_counts_rows_and_digest(
    cuts: list[list[int]], with_ticket: bool
) -> None:
    engine, sizes, start = ArrowEngine(1 << 20, 2), iter(cuts), 0
    batches: dict[str, list[pa.RecordBatch]] = {}
    for number, split in enumerate(sizes):
        batches[str(number)] = []
        for size in split:
            batches[str(number)].append(ids(start, size))
            start += size
    load = KeepingLoad(ticket=TICKET if with_ticket else None)
    moved = engine.move(job_of(PreparedReader(batches), load, writers=2))
    tally = moved.tally
    assert Counter(ids_written(load)) == Counter(range(start))
    assert (tally.read, tally.given, tally.returned, tally.written) == (start,) * 4
    whole = TableDigest()
    whole.add(ids(0, start))
    assert tally.digest == str(whole)
    assert (engine.budget.used_bytes, threads_alive()) == (0, [])


@pytest.mark.feature("N2")
def test_the_budget_is_exceeded_by_at_most_one_batch_however_slow_the_writer(engine: ArrowEngine) -> None:
    small = ArrowEngine(memory_bytes=64_000, threads=4)
    batches = {name: [ids(0, 1_000) for _ in range(20)] for name in "abcd"}
    seen: list[int] = []
    load = KeepingLoad(on_batch=lambda _: seen.append(small.budget.used_bytes))
    small.move(job_of(PreparedReader(batches), load))
    assert small.budget.peak_bytes <= 32_000 + 8_000
    assert max(seen) > 8_000


@pytest.mark.feature("N2")
def test_a_batch_larger_than_the_budget_passes() -> None:
    load = KeepingLoad()
    reader = PreparedReader({"a": [ids(0, 10)], "b": [ids(10, 10_000)], "c": [ids(20_000, 10_000)]})
    ArrowEngine(1_000, 2).move(job_of(reader, load))
    assert len(load.rows()) == 20_010


@pytest.mark.feature("N2")
@pytest.mark.parametrize("ticket", [None, TICKET])
def test_many_tables_at_once_under_a_tiny_budget_all_come_through(ticket: object) -> None:
    engine = ArrowEngine(40_000, 3)
    results: list[Moved] = []

    def move_one() -> None:
        reader = PreparedReader({name: [ids(0, 500) for _ in range(10)] for name in "abcde"})
        results.append(engine.move(job_of(reader, KeepingLoad(ticket=ticket), writers=2)))  # type: ignore[arg-type]

    tables = [threading.Thread(target=move_one) for _ in range(8)]
    for table in tables:
        table.start()
    for table in tables:
        table.join(60)
    assert [moved.tally.written for moved in results] == [25_000] * 8
    assert engine.budget.used_bytes == 0


@dataclass
class FailingTransform(Doubling):
    fails_at: int = 3
    guard: threading.Lock = field(default_factory=threading.Lock)

    def apply(self, *inputs: Frame) -> Frame:
        with self.guard:
            self.calls += 1
            if self.calls == self.fails_at:
                raise ValueError("this batch")
        return inputs[0]


@pytest.mark.parametrize("ticket", [None, TICKET])
@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("where", ["reader", "reader at once", "transform", "writer", "begin"])
def test_an_error_anywhere_stops_all_aborts_the_load_and_leaves_no_thread(
    ticket: object, eager: bool, where: str
) -> None:
    engine = ArrowEngine(100_000, 3)
    batches: dict[str, list[pa.RecordBatch | Exception]] = {n: [ids(0, 500) for _ in range(9)] for n in "abc"}
    load = KeepingLoad(ticket=ticket, fail_at=4 if where == "writer" else None)  # type: ignore[arg-type]
    if where.startswith("reader"):
        batches["b"].insert(0 if "once" in where else 5, ConnectionError("the source went away"))
    job = job_of(PreparedReader(batches), load, writers=2, eager=eager)
    if where == "transform":
        job = dataclasses.replace(job, transform=FailingTransform())
    begun: list[KeepingLoad] = []

    def begin() -> KeepingLoad:
        if where == "begin":
            raise ConnectionError("no lock to be had")
        begun.append(load)
        return load

    job = dataclasses.replace(job, begin=begin)
    with pytest.raises((ConnectionError, ValueError)):
        engine.move(job)
    assert threads_alive() == []
    assert engine.budget.used_bytes == 0
    assert load.aborts == len(begun)
    assert len(begun) == 1 or where in ("begin", "reader at once")


@given(
    st.sampled_from(["reader", "transform", "writer", "abandoned"]),
    st.integers(0, 11),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.sampled_from([2_000, 20_000, 1_000_000]),
)
def test_an_error_at_any_point_leaves_nothing_alive_and_nothing_held(
    where: str, point: int, writers: int, with_ticket: bool, ordered: bool, memory_bytes: int
) -> None:
    engine = ArrowEngine(memory_bytes, 3)
    batches: dict[str, list[pa.RecordBatch | Exception]] = {n: [ids(0, 100) for _ in range(4)] for n in "abc"}
    load = KeepingLoad(ticket=TICKET if with_ticket else None, fail_at=point + 1 if where == "writer" else None)
    if where == "reader":
        batches["abc"[point % 3]].insert(point // 3, ConnectionError("the source went away"))
    transform = FailingTransform(fails_at=point + 1) if where == "transform" else None
    stop = threading.Event()
    if where == "abandoned":
        load.on_batch = lambda _: stop.set() if load.batches > point else None
    job = job_of(PreparedReader(batches), load, writers=writers, ordered=ordered, transform=transform, stop=stop)
    with pytest.raises((ConnectionError, ValueError, Interrupted)):
        engine.move(job)
    assert threads_alive() == []
    assert engine.budget.used_bytes == 0


def test_a_stop_does_not_wait_for_a_reader_that_hangs_in_its_driver(engine: ArrowEngine) -> None:
    stop, gate, load = threading.Event(), threading.Event(), KeepingLoad()
    reader = PreparedReader({"a": [ids(0, 1)]}, gate=gate)
    stop.set()
    started = time.monotonic()
    with pytest.raises(Interrupted):
        engine.move(job_of(reader, load, stop=stop, eager=True))
    elapsed = time.monotonic() - started
    gate.set()
    assert (elapsed < 5, load.aborts) == (True, 1)
    for thread in threading.enumerate():
        if thread.name.startswith("penstock-"):
            thread.join(10)
    assert threads_alive() == []
    assert engine.budget.used_bytes == 0


def test_a_failing_abort_is_noted_on_the_error_that_caused_it(engine: ArrowEngine) -> None:
    class NotAborting(KeepingLoad):
        def abort(self) -> None:
            raise ConnectionError("gone too")

    load = NotAborting(fail_at=1)
    with pytest.raises(ConnectionError, match="the server went away") as caught:
        engine.move(job_of(PreparedReader({"a": [ids(0, 1)]}), load))
    assert "gone too" in caught.value.__notes__[0]


def test_a_stop_interrupts_a_waiting_move_and_leaves_nothing(engine: ArrowEngine) -> None:
    stop, gate, load = threading.Event(), threading.Event(), KeepingLoad()
    stop.signal_number = signal.SIGTERM  # type: ignore[attr-defined]
    load.on_batch = lambda _: stop.set()
    reader = PreparedReader({"a": [ids(0, 1)] * 100_000})
    with pytest.raises(Interrupted) as caught:
        engine.move(job_of(reader, load, stop=stop))
    gate.set()
    assert (caught.value.exit_code, load.aborts) == (143, 1)
    assert threads_alive() == []


def test_a_stop_without_a_number_counts_as_an_interrupt(engine: ArrowEngine) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted) as caught:
        engine.move(job_of(PreparedReader({"a": [ids(0, 1)]}), KeepingLoad(), stop=stop))
    assert caught.value.exit_code == 130


def test_a_failpoint_between_batches_is_an_error_like_any_other(
    engine: ArrowEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("source.batch_read", "load.batch_written"):
        monkeypatch.setenv("PENSTOCK_FAULTS", f"{name}=raise")
        load = KeepingLoad()
        with pytest.raises(RuntimeError, match=name):
            engine.move(job_of(PreparedReader({"a": [ids(0, 2), ids(2, 2)]}), load))
        assert threads_alive() == []


def test_progress_hears_of_every_row_and_byte_read(engine: ArrowEngine) -> None:
    heard: list[tuple[int, int]] = []

    class Hearing:
        def advance(self, rows: int, size_bytes: int) -> None:
            heard.append((rows, size_bytes))

    engine.move(job_of(PreparedReader({"a": [ids(0, 2), ids(2, 3)]}), KeepingLoad(), progress=Hearing()))
    assert heard == [(2, 16), (3, 24)]


def test_the_digest_leaves_out_what_belongs_to_the_load_and_not_to_the_rows(engine: ArrowEngine) -> None:
    texts = []
    for year in (2025, 2026):
        moment = dt.datetime(year, 1, 1, tzinfo=dt.UTC)
        rows = ids(0, 3)
        schema = TableSchema((*from_arrow_schema(rows.schema).fields, Field("_ingested_at", "timestamptz")))
        shape = Shape(schema, ingested_at=("_ingested_at", moment))
        texts.append(engine.move(job_of(PreparedReader({"a": [rows]}), KeepingLoad(), shape=shape)).tally.digest)
    assert texts[0] == texts[1]
    assert (
        engine.move(job_of(PreparedReader({"a": [ids(0, 3)]}), KeepingLoad(), shape=shape_of(ids(0, 1)))).tally.digest
        == texts[0]
    )
