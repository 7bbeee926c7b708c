"""What every source must do."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import field

import pytest

from penstock.errors import ExtractionError, PenstockError
from penstock.protocols import Reader, ReadSession, Source
from penstock.records import dataclass
from penstock.schema.types import to_arrow_schema
from penstock.testing.suites.rows import SCHEMA, Row, make_rows, multiset
from penstock.values import (
    START,
    Batch,
    Cursor,
    CursorSpec,
    Position,
    ReadRequest,
    Split,
    SplitWish,
    StreamName,
    Window,
)
from penstock.values.wire import split_from_json, split_to_json


@dataclass(frozen=True)
class SourceSeat:
    """A system with three streams of the columns in rows.SCHEMA: `stream` holds make_rows(0, 100), `empty` nothing.

    `make` opens the source anew and survives pickling; `add` and `drop` change the system behind the source's back;
    `broken` opens a source whose system cannot be reached; there is no stream named `absent`. `listed` is how
    `streams()` calls the two, where it calls them otherwise.
    """

    make: Callable[[], Source]
    stream: StreamName
    empty: StreamName
    absent: StreamName
    add: Callable[[Sequence[Row]], None]
    drop: Callable[[StreamName], None]
    broken: Callable[[], Source]
    listed: tuple[str, ...] = ()
    cursor: CursorSpec = field(default_factory=lambda: CursorSpec(("stamp",)))


ROWS = make_rows(0, 100)


def read(reader: Reader, splits: Iterable[Split]) -> list[Row]:
    """All rows of the splits."""
    return [row for split in splits for batch in reader.read(split) for row in batch.rows.to_pylist()]


def read_elsewhere(make: Callable[[], Source], split: str) -> list[Row]:
    """Run in another process: nothing of the session that made the split is there."""
    return read(make().reader(), [split_from_json(json.loads(split))])


class SourceSuite:
    """Full reads. Override `seat`."""

    @pytest.fixture
    def seat(self) -> SourceSeat:
        raise AssertionError("the suite's heir overrides the fixture `seat`")

    @pytest.fixture
    def source(self, seat: SourceSeat) -> Source:
        return seat.make()

    def test_spec01_check_passes_where_the_system_answers(self, source: Source) -> None:
        source.check()

    def test_spec02_check_raises_where_it_does_not(self, seat: SourceSeat) -> None:
        with pytest.raises(PenstockError):
            seat.broken().check()

    def test_spec03_a_stream_is_described_with_its_columns_in_order(self, seat: SourceSeat, source: Source) -> None:
        (spec,) = source.streams([seat.stream])
        assert spec.name == seat.stream
        assert spec.schema is not None
        assert spec.schema.names == SCHEMA.names

    def test_spec04_all_streams_are_listed_when_none_is_named(self, seat: SourceSeat, source: Source) -> None:
        names = {spec.name for spec in source.streams()}
        assert set(seat.listed or (seat.stream, seat.empty)) <= names
        assert seat.absent not in names

    def test_spec05_a_stream_that_does_not_exist_is_left_out(self, seat: SourceSeat, source: Source) -> None:
        assert [spec.name for spec in source.streams([seat.absent, seat.empty])] == [seat.empty]

    def test_spec06_describing_fails_loudly_where_the_system_does_not_answer(self, seat: SourceSeat) -> None:
        with pytest.raises(PenstockError):
            list(seat.broken().streams([seat.stream]))

    def test_spec07_every_row_is_read_once_with_its_exact_values(self, seat: SourceSeat, source: Source) -> None:
        with source.open([ReadRequest(seat.stream)]) as session:
            assert multiset(read(source.reader(), session.splits)) == multiset(ROWS)

    def test_spec08_an_empty_stream_gives_no_row_and_a_typed_split(self, seat: SourceSeat, source: Source) -> None:
        with source.open([ReadRequest(seat.empty)]) as session:
            assert read(source.reader(), session.splits) == []
            assert session.splits
            assert all(split.schema.names == SCHEMA.names for split in session.splits)

    def test_spec09_batches_look_as_their_split_says(self, seat: SourceSeat, source: Source) -> None:
        with source.open([ReadRequest(seat.stream)]) as session:
            for split in session.splits:
                expected = to_arrow_schema(split.schema)
                for batch in source.reader().read(split):
                    assert batch.stream == seat.stream
                    assert batch.rows.schema.names == expected.names
                    assert batch.rows.schema.types == expected.types

    @pytest.mark.parametrize("batch_rows", [1, 7, 1000])
    def test_spec10_no_batch_is_larger_than_asked(self, seat: SourceSeat, source: Source, batch_rows: int) -> None:
        with source.open([ReadRequest(seat.stream, batch_rows=batch_rows)]) as session:
            sizes = [b.rows.num_rows for split in session.splits for b in source.reader().read(split)]
        assert max(sizes) <= batch_rows
        assert sum(sizes) == len(ROWS)

    def test_spec11_closing_the_iterator_stops_the_read(self, seat: SourceSeat, source: Source) -> None:
        with source.open([ReadRequest(seat.stream, batch_rows=5)]) as session:
            batches = source.reader().read(session.splits[0])
            next(batches)
            batches.close()  # type: ignore[attr-defined]
            assert list(batches) == []
            assert multiset(read(source.reader(), session.splits)) == multiset(ROWS)

    @pytest.mark.parametrize("count", [1, 3, 8])
    def test_spec12_splits_hold_every_row_exactly_once(self, seat: SourceSeat, source: Source, count: int) -> None:
        wish = SplitWish(count=count, column="id", type="int")
        with source.open([ReadRequest(seat.stream, splits=wish)]) as session:
            assert len({split.id for split in session.splits}) == len(session.splits)
            assert multiset(read(source.reader(), session.splits)) == multiset(ROWS)

    def test_spec13_reading_a_split_again_gives_the_same_rows(self, seat: SourceSeat, source: Source) -> None:
        with source.open([ReadRequest(seat.stream)]) as session:
            reader = source.reader()
            assert multiset(read(reader, session.splits)) == multiset(read(reader, session.splits))

    def test_spec14_a_split_survives_json(self, seat: SourceSeat, source: Source) -> None:
        with source.open([ReadRequest(seat.stream)]) as session:
            copies = [split_from_json(json.loads(json.dumps(split_to_json(split)))) for split in session.splits]
            assert copies == list(session.splits)
            assert multiset(read(seat.make().reader(), copies)) == multiset(ROWS)

    def test_spec15_a_reader_in_another_process_reads_the_split(self, seat: SourceSeat, source: Source) -> None:
        spawn = multiprocessing.get_context("spawn")
        with source.open([ReadRequest(seat.stream)]) as session, ProcessPoolExecutor(1, mp_context=spawn) as pool:
            orders = [json.dumps(split_to_json(split)) for split in session.splits]
            rows = [row for order in orders for row in pool.submit(read_elsewhere, seat.make, order).result()]
        assert multiset(rows) == multiset(ROWS)

    def test_spec16_two_streams_of_one_session_keep_their_own_splits(self, seat: SourceSeat, source: Source) -> None:
        with source.open([ReadRequest(seat.stream), ReadRequest(seat.empty)]) as session:
            assert set(session.bounds) == {seat.stream, seat.empty}
            mine = [split for split in session.splits if split.stream == seat.stream]
            assert multiset(read(source.reader(), mine)) == multiset(ROWS)

    def test_spec17_a_limit_is_kept(self, seat: SourceSeat, source: Source) -> None:
        with source.open([ReadRequest(seat.stream, limit=7)]) as session:
            assert len(read(source.reader(), session.splits)) == 7

    def test_spec18_a_stream_that_does_not_exist_is_an_error_and_not_empty(
        self, seat: SourceSeat, source: Source
    ) -> None:
        request = ReadRequest(seat.absent)
        with pytest.raises(ExtractionError), source.open([request]) as session:
            read(source.reader(), session.splits)

    def test_spec19_a_source_says_what_it_can_and_who_it_is(self, source: Source) -> None:
        assert isinstance(source, Source)
        assert source.identity


class SnapshotSourceSuite(SourceSuite):
    """For sources with the ability shared_snapshot: a session shows one state of the system."""

    def test_spec30_rows_added_after_opening_are_not_read(self, seat: SourceSeat, source: Source) -> None:
        with source.open([ReadRequest(seat.stream)]) as session:
            seat.add(make_rows(100, 110))
            assert multiset(read(source.reader(), session.splits)) == multiset(ROWS)

    def test_spec31_the_ability_is_declared(self, source: Source) -> None:
        assert "shared_snapshot" in source.abilities


class IncrementalSourceSuite(SourceSuite):
    """For sources that can be read from a cursor on."""

    def request(self, seat: SourceSeat, after: Position = START, **more: object) -> ReadRequest:
        return ReadRequest(seat.stream, cursor=seat.cursor, after=after, **more)  # type: ignore[arg-type]

    def position(self, seat: SourceSeat, session: ReadSession) -> Position:
        position = session.bounds[seat.stream].position
        assert position is not None
        return position

    def test_spec40_the_first_read_brings_everything_and_says_how_far(self, seat: SourceSeat, source: Source) -> None:
        with source.open([self.request(seat)]) as session:
            assert multiset(read(source.reader(), session.splits)) == multiset(ROWS)
            assert self.position(seat, session).cursor == Cursor("int", 490)

    def test_spec41_probing_says_the_same_bound_as_opening(self, seat: SourceSeat, source: Source) -> None:
        (probed,) = source.probe([self.request(seat)])
        with source.open([self.request(seat)]) as session:
            assert probed.upper == session.bounds[seat.stream].upper == Cursor("int", 490)

    def test_spec42_the_next_read_brings_what_came_since(self, seat: SourceSeat, source: Source) -> None:
        with source.open([self.request(seat)]) as session:
            position = self.position(seat, session)
        seat.add(make_rows(100, 110))
        with source.open([self.request(seat, position)]) as session:
            rows = multiset(read(source.reader(), session.splits))
        assert multiset(make_rows(100, 110)) <= rows
        assert rows <= multiset([*ROWS, *make_rows(100, 110)])

    def test_spec43_rows_that_share_the_last_cursor_and_come_later_are_not_lost(
        self, seat: SourceSeat, source: Source
    ) -> None:
        with source.open([self.request(seat)]) as session:
            position = self.position(seat, session)
        late = [{"id": 1000, "stamp": 490, "note": "late", "ratio": 1.0}]
        seat.add(late)
        with source.open([self.request(seat, position)]) as session:
            rows = multiset(read(source.reader(), session.splits))
        assert multiset(late) <= rows

    def test_spec44_with_nothing_new_no_row_below_the_resume_point_comes_again(
        self, seat: SourceSeat, source: Source
    ) -> None:
        with source.open([self.request(seat)]) as session:
            position = self.position(seat, session)
        resume = position.resume or position.cursor
        assert resume is not None
        with source.open([self.request(seat, position)]) as session:
            stamps = [row["stamp"] for row in read(source.reader(), session.splits)]
            assert self.position(seat, session).cursor == position.cursor
        assert all(int(str(stamp)) >= int(str(resume.value)) for stamp in stamps)

    def test_spec45_an_empty_stream_has_no_position_and_no_row(self, seat: SourceSeat, source: Source) -> None:
        request = ReadRequest(seat.empty, cursor=seat.cursor, after=START)
        with source.open([request]) as session:
            assert read(source.reader(), session.splits) == []
            position = session.bounds[seat.empty].position
        assert position is None or position.cursor is None

    def test_spec46_a_window_takes_its_lower_end_and_not_its_upper(self, seat: SourceSeat, source: Source) -> None:
        window = Window(Cursor("int", 100), Cursor("int", 200))
        with source.open([ReadRequest(seat.stream, cursor=seat.cursor, window=window)]) as session:
            assert multiset(read(source.reader(), session.splits)) == multiset(make_rows(20, 40))

    def test_spec47_each_row_travels_with_its_cursor(self, seat: SourceSeat, source: Source) -> None:
        with source.open([self.request(seat)]) as session:
            batches = [b for split in session.splits for b in source.reader().read(split)]
        assert all(cursors_of(batch) == batch.rows.column("stamp").to_pylist() for batch in batches)

    def test_spec48_splits_of_an_incremental_read_hold_every_row_once(self, seat: SourceSeat, source: Source) -> None:
        request = self.request(seat, splits=SplitWish(count=3, column="id", type="int"))
        with source.open([request]) as session:
            assert multiset(read(source.reader(), session.splits)) == multiset(ROWS)

    def test_spec49_a_dropped_stream_is_an_error_and_not_an_empty_read(self, seat: SourceSeat, source: Source) -> None:
        with source.open([self.request(seat)]) as session:
            position = self.position(seat, session)
        seat.drop(seat.stream)
        request = self.request(seat, position)
        with pytest.raises(ExtractionError), seat.make().open([request]) as session:
            read(source.reader(), session.splits)

    def test_spec50_acknowledging_what_was_committed_is_always_allowed(self, seat: SourceSeat, source: Source) -> None:
        with source.open([self.request(seat)]) as session:
            position = self.position(seat, session)
            assert position.cursor is not None
            session.acknowledge({seat.stream: position.cursor})
            session.acknowledge({seat.stream: position.cursor})


class LiveSourceSuite(IncrementalSourceSuite):
    """For sources that others may write to while they are read."""

    def test_spec60_rows_past_the_bound_wait_for_the_next_read(self, seat: SourceSeat, source: Source) -> None:
        with source.open([self.request(seat)]) as session:
            seat.add(make_rows(100, 110))
            assert multiset(read(source.reader(), session.splits)) == multiset(ROWS)
            position = self.position(seat, session)
        with source.open([self.request(seat, position)]) as session:
            rows = multiset(read(source.reader(), session.splits))
        assert multiset(make_rows(100, 110)) <= rows
        assert rows <= multiset([*ROWS, *make_rows(100, 110)])


def cursors_of(batch: Batch) -> list[object]:
    """The cursor of each row; an incremental read without cursors fails the test."""
    assert batch.cursors is not None
    values: list[object] = batch.cursors.to_pylist()
    return values
