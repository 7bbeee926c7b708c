"""The six doubles, each driven through the protocols alone: what later work will need, the contracts can say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from penstock.errors import ExtractionError, FencedError, LoadError
from penstock.failpoints import FailpointError
from penstock.protocols import Destination, Engine, Move, Moved, Reader, ReadSession
from penstock.schema.types import from_arrow_schema
from penstock.testing.doubles import (
    ChangeLog,
    ChangeLogSource,
    DocumentSource,
    Fate,
    GroupTotals,
    PreparedDestination,
    ProcessEngine,
    SharedRead,
    deliver_to_all,
    final_plan,
)
from penstock.testing.doubles.prepared import TAG, next_request
from penstock.testing.engines import SerialEngine
from penstock.testing.loads import Loads
from penstock.testing.memory import MemoryDestination, MemorySource
from penstock.values import (
    START,
    Account,
    BoundaryRule,
    CommitReceipt,
    Cursor,
    CursorSpec,
    LoadPlan,
    Position,
    ReadRequest,
    Shape,
    Split,
    SplitId,
    SplitWish,
    StreamName,
    TableName,
    TableSchema,
)

TARGET = TableName(None, "target")
ROWS = StreamName("rows")


def move_into(
    destination: Destination,
    plan: LoadPlan,
    splits: Sequence[Split],
    reader: Reader,
    *,
    engine: Engine | None = None,
    boundary: BoundaryRule | None = None,
) -> Moved:
    job = Move(
        reader=reader,
        splits=splits,
        begin=lambda: destination.begin(plan),
        shape=Shape(plan.schema, boundary=boundary),
        open_writer=destination.writer,
    )
    return (engine or SerialEngine()).move(job)


def commit(moved: Moved, position: Position = START, final: LoadPlan | None = None) -> CommitReceipt:
    assert moved.load is not None
    tally = moved.tally
    account = Account(
        position=position,
        read=tally.read,
        deduplicated_in=tally.deduplicated_in,
        given=tally.given,
        returned=tally.returned,
        expected=tally.written,
        boundary=tally.boundary,
        final=final,
    )
    try:
        return moved.load.commit(moved.pieces, account)
    finally:
        moved.load.abort()


def numbered(*ids: int, stamp: int | None = None) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "stamp": pa.array([stamp or i for i in ids], pa.int64())})


class TestChangeLog:
    """A change log that wants acknowledgements."""

    def load(self, source: ChangeLogSource, destination: MemoryDestination, *, acknowledge: bool = True) -> Moved:
        head = destination.ledger().heads([TARGET]).get(TARGET)
        request = ReadRequest(source.stream, after=head.position if head else START)
        with source.open([request]) as session:
            plan = Loads(destination, TARGET).plan(session.splits[0].schema)
            moved = move_into(destination, plan, session.splits, source.reader())
            if moved.load is not None:
                receipt = commit(moved, Position(moved.tally.reached))
                if acknowledge and receipt.position.cursor is not None:
                    session.acknowledge({source.stream: receipt.position.cursor})
        return moved

    @pytest.fixture
    def source(self) -> ChangeLogSource:
        source = ChangeLogSource(ChangeLog(pa.schema([("id", pa.int64())])), most=2)
        for number in range(1, 6):
            source.log.transact({"id": number}, {"id": -number})
        return source

    def test_the_log_is_forgotten_only_up_to_what_was_committed(self, source: ChangeLogSource, tmp_path: Path) -> None:
        destination = MemoryDestination(tmp_path)
        self.load(source, destination)
        assert [row["id"] for row in destination.store.rows(TARGET)] == [1, -1, 2, -2]
        assert [position for position, _ in source.log.entries] == [3, 4, 5]

    def test_a_crash_between_commit_and_acknowledge_delivers_nothing_twice(
        self, source: ChangeLogSource, tmp_path: Path
    ) -> None:
        destination = MemoryDestination(tmp_path)
        self.load(source, destination, acknowledge=False)
        assert source.log.acknowledged == 0
        for _ in range(2):
            self.load(source, destination)
        assert [row["id"] for row in destination.store.rows(TARGET)] == [1, -1, 2, -2, 3, -3, 4, -4, 5, -5]

    def test_a_read_with_no_new_change_begins_no_load(self, source: ChangeLogSource, tmp_path: Path) -> None:
        destination = MemoryDestination(tmp_path)
        for _ in range(3):
            self.load(source, destination)
        before = destination.ledger().heads([TARGET])[TARGET]
        assert self.load(source, destination).load is None
        assert destination.ledger().heads([TARGET])[TARGET] == before

    def test_a_log_that_forgot_undelivered_changes_is_a_hard_stop(self, source: ChangeLogSource) -> None:
        source.log.acknowledge(4)
        with pytest.raises(ExtractionError, match="forgotten changes 3 to 4"):
            source.open([ReadRequest(source.stream, after=Position(Cursor("int", 2)))])


class TestProcessEngine:
    """Each split in a process of its own; some attempts are doubled, some are lost."""

    def test_doubled_and_lost_attempts_leave_each_row_once(self, tmp_path: Path) -> None:
        source = MemorySource({"rows": numbered(*range(1, 9))})
        destination = MemoryDestination(tmp_path)
        fates: dict[SplitId, Fate] = {
            SplitId("rows-1"): "twice",
            SplitId("rows-2"): "killed while writing",
            SplitId("rows-3"): "killed after writing",
        }
        engine = ProcessEngine(fates)
        with source.open([ReadRequest(ROWS, splits=SplitWish(count=4))]) as session:
            plan = Loads(destination, TARGET).plan(source.schema("rows"), route="staged")
            moved = move_into(destination, plan, session.splits, source.reader(), engine=engine)
            receipt = commit(moved)
        assert sorted(str(row["id"]) for row in destination.store.rows(TARGET)) == [str(i) for i in range(1, 9)]
        assert receipt.written == 8
        assert engine.attempts == {"rows-0": 1, "rows-1": 2, "rows-2": 2, "rows-3": 2}
        assert {piece.split: piece.attempt for piece in moved.pieces} == {
            "rows-0": 1,
            "rows-1": 1,
            "rows-2": 2,
            "rows-3": 1,
        }
        assert list(tmp_path.iterdir()) == []

    def test_an_attempt_that_wakes_up_after_the_load_writes_nothing(self, tmp_path: Path) -> None:
        source, destination = MemorySource({"rows": numbered(1)}), MemoryDestination(tmp_path)
        session = destination.begin(Loads(destination, TARGET).plan(source.schema("rows"), route="staged"))
        ticket = session.ticket
        session.abort()
        assert ticket is not None
        split = source.open([ReadRequest(ROWS)]).splits[0]
        with pytest.raises(LoadError, match="is over"):
            destination.writer(ticket).write(split.id, 2, source.reader().read(split))


class TestDocuments:
    """A document source without a schema."""

    def load(self, documents: list[dict[str, object]], destination: MemoryDestination) -> CommitReceipt:
        source = DocumentSource(documents)
        assert [spec.schema for spec in source.streams()] == [None]
        with source.open([ReadRequest(source.stream)]) as session:
            plan = Loads(destination, TARGET).plan(TableSchema(()), route="staged")
            moved = move_into(destination, plan, session.splits, source.reader())
            return commit(moved, final=final_plan(plan, moved.pieces))

    def test_the_commit_unifies_what_the_pieces_look_like(self, tmp_path: Path) -> None:
        destination = MemoryDestination(tmp_path)
        self.load([{"a": 1}, {"a": 2, "b": "x"}, {"a": 2.5}, {"c": None}], destination)
        table = destination.describe([TARGET])[TARGET]
        assert table is not None
        assert {f.name: f.type for f in table.fields} == {"a": "float64", "b": "string", "c": "null"}
        assert destination.store.rows(TARGET) == [
            {"a": 1.0, "b": None, "c": None},
            {"a": 2.0, "b": "x", "c": None},
            {"a": 2.5, "b": None, "c": None},
            {"a": None, "b": None, "c": None},
        ]

    def test_a_later_load_adds_and_widens_columns(self, tmp_path: Path) -> None:
        destination = MemoryDestination(tmp_path)
        self.load([{"a": 1}], destination)
        self.load([{"a": "one", "d": True}], destination)
        assert destination.store.rows(TARGET) == [{"a": "1", "d": None}, {"a": "one", "d": True}]


class TestPrepared:
    """A destination without transactions."""

    def request(self, destination: PreparedDestination) -> ReadRequest:
        return next_request(ReadRequest(ROWS, cursor=CursorSpec(("stamp",))), destination.ledger(), TARGET)

    def load(self, source: MemorySource, destination: PreparedDestination) -> CommitReceipt | None:
        with source.open([self.request(destination)]) as session:
            bounds = session.bounds[ROWS]
            plan = replace(Loads(destination, TARGET).plan(source.schema("rows")), bounds=bounds)
            rule = BoundaryRule(lower=bounds.lower)
            moved = move_into(destination, plan, session.splits, source.reader(), boundary=rule)
            return commit(moved, bounds.position or START) if moved.load else None

    def test_a_crash_half_way_is_replayed_over_the_very_same_range(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source, destination = MemorySource({"rows": numbered(1, 2)}), PreparedDestination()
        monkeypatch.setenv("PENSTOCK_FAULTS", "load.batch_written=raise")
        with pytest.raises(FailpointError):
            self.load(source, destination)
        monkeypatch.delenv("PENSTOCK_FAULTS")
        assert len(destination.store.rows(TARGET)) == 2  # readers do see them: the grade is not "exactly once"
        assert destination.ledger().heads([TARGET])[TARGET].state == "prepared"
        source.tables["rows"] = numbered(1, 2, 3)
        assert self.request(destination).upto == Cursor("int", 2)
        self.load(source, destination)
        assert sorted(int(str(row["id"])) for row in destination.store.rows(TARGET)) == [1, 2]
        head = destination.ledger().heads([TARGET])[TARGET]
        assert (head.state, head.position.cursor) == ("done", Cursor("int", 2))

    def test_another_range_than_the_prepared_one_is_fenced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source, destination = MemorySource({"rows": numbered(1, 2)}), PreparedDestination()
        monkeypatch.setenv("PENSTOCK_FAULTS", "load.batch_written=raise")
        with pytest.raises(FailpointError):
            self.load(source, destination)
        monkeypatch.delenv("PENSTOCK_FAULTS")
        source.tables["rows"] = numbered(1, 2, 3)
        with source.open([ReadRequest(ROWS, cursor=CursorSpec(("stamp",)), after=START)]) as session:
            plan = replace(Loads(destination, TARGET).plan(source.schema("rows")), bounds=session.bounds[ROWS])
            with pytest.raises(FencedError, match="read again up to 2"):
                destination.begin(plan)

    def test_every_row_is_tagged_with_its_load(self, tmp_path: Path) -> None:
        source, destination = MemorySource({"rows": numbered(1)}), PreparedDestination()
        receipt = self.load(source, destination)
        assert receipt is not None
        assert destination.store.rows(TARGET) == [{"id": 1, "stamp": 1, TAG: receipt.load_id}]


class TestSubscriber:
    """A subscriber that needs the keys a load touched."""

    def upsert(self, destination: MemoryDestination, totals: GroupTotals, *rows: tuple[int, str, int]) -> None:
        ids, groups, values = zip(*rows, strict=True)
        table = pa.table({"id": pa.array(ids, pa.int64()), "team": pa.array(groups), "points": pa.array(values)})
        loads = Loads(destination, TARGET, changes={"subscriptions": (totals.subscription,)})
        loads.deliver(table, "upsert", key=("id",))

    def test_a_row_that_moves_between_groups_makes_both_dirty(self, tmp_path: Path) -> None:
        destination = MemoryDestination(tmp_path)
        totals = GroupTotals(destination.store, TARGET, "team", "points")
        self.upsert(destination, totals, (1, "red", 5), (2, "red", 7), (3, "blue", 1))
        totals.catch_up()
        totals.computed.clear()
        self.upsert(destination, totals, (2, "green", 7))
        totals.catch_up()
        assert totals.totals == {"red": 5.0, "green": 7.0, "blue": 1.0}
        assert sorted(map(str, totals.computed)) == ["green", "red"]

    def test_a_group_that_lost_its_last_row_disappears(self, tmp_path: Path) -> None:
        destination = MemoryDestination(tmp_path)
        totals = GroupTotals(destination.store, TARGET, "team", "points")
        self.upsert(destination, totals, (1, "red", 5))
        totals.catch_up()
        self.upsert(destination, totals, (1, "blue", 5))
        totals.catch_up()
        assert totals.totals == {"blue": 5.0}

    def test_a_load_that_did_not_commit_makes_nothing_dirty(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        destination = MemoryDestination(tmp_path)
        totals = GroupTotals(destination.store, TARGET, "team", "points")
        monkeypatch.setenv("PENSTOCK_FAULTS", "commit.ledger_written=raise")
        with pytest.raises(FailpointError):
            self.upsert(destination, totals, (1, "red", 5))
        assert destination.store.dirty_rows(totals.subscription.dirty) == []


class TestFanOut:
    """One read feeding two destinations."""

    def test_each_destination_gets_what_its_ledger_lacks_from_one_read(self, tmp_path: Path) -> None:
        source = MemorySource({"rows": numbered(1, 2, 3)})
        ahead, behind = MemoryDestination(tmp_path / "a"), MemoryDestination(tmp_path / "b")
        self.deliver(source, [ahead])
        source.tables["rows"] = pa.concat_tables([numbered(1, 2, 3), numbered(33, stamp=3), numbered(4)])
        shared, session = self.deliver(source, [ahead, behind])
        for destination in (ahead, behind):
            assert sorted(int(str(row["id"])) for row in destination.store.rows(TARGET)) == [1, 2, 3, 4, 33]
        assert shared.reads == ["rows-0", "rows-1"]
        assert session.acknowledged == {ROWS: Cursor("int", 4)}  # type: ignore[attr-defined]

    def test_one_failing_leaves_the_other_and_holds_back_the_acknowledgement(self, tmp_path: Path) -> None:
        source = MemorySource({"rows": numbered(*range(1, 100))})
        well, broken = MemoryDestination(tmp_path / "a"), MemoryDestination(tmp_path / "b")
        broken.store.lock(TARGET, "somebody else", 0)
        _, session = self.deliver(source, [well, broken])
        assert len(well.store.rows(TARGET)) == 99
        assert broken.store.rows(TARGET) == []
        assert session.acknowledged == {}  # type: ignore[attr-defined]
        broken.store.unlock(TARGET, "somebody else")
        _, session = self.deliver(source, [well, broken])
        assert len(well.store.rows(TARGET)) == len(broken.store.rows(TARGET)) == 99

    def deliver(
        self, source: MemorySource, destinations: Sequence[MemoryDestination]
    ) -> tuple[SharedRead, ReadSession]:
        positions = [self.position(destination) for destination in destinations]
        cursors = [position.cursor for position in positions]
        known = [cursor for cursor in cursors if cursor is not None]
        lowest = Position(min(known, key=lambda c: int(str(c.value)))) if len(known) == len(cursors) else START
        request = ReadRequest(
            ROWS, cursor=CursorSpec(("stamp",)), after=lowest, splits=SplitWish(count=2), batch_rows=10
        )
        with source.open([request]) as session:
            shared = SharedRead(source.reader(), session.splits, cursors)
            upper = session.bounds[ROWS].position or START

            def delivery(destination: MemoryDestination) -> CommitReceipt:
                index = list(destinations).index(destination)
                known = destination.ledger().boundary(TARGET)
                plan = Loads(destination, TARGET).plan(from_arrow_schema(source.tables["rows"].schema))
                rule = BoundaryRule(known, cursors[index])
                moved = move_into(destination, plan, session.splits, shared.branches[index], boundary=rule)
                if moved.load is None:
                    head = destination.ledger().heads([TARGET])[TARGET]
                    return CommitReceipt(
                        plan.load_id, head.generation, head.sequence, 0, 0, head.position, datetime.now(UTC)
                    )
                return commit(moved, upper)

            deliveries = [lambda _reader, d=destination: delivery(d) for destination in destinations]
            deliver_to_all(shared, deliveries, session, ROWS)
        return shared, session

    def position(self, destination: MemoryDestination) -> Position:
        head = destination.ledger().heads([TARGET]).get(TARGET)
        return head.position if head else START
