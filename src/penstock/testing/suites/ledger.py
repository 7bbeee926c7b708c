"""What the ledger of every destination must do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from penstock.errors import FencedError
from penstock.protocols import Destination
from penstock.testing.loads import Loads, account_for, write
from penstock.testing.suites.destination import DestinationSeat
from penstock.testing.suites.rows import SCHEMA, as_table, make_rows
from penstock.values import Boundary, CommitReceipt, Cursor, LoadId, Position, TableName, load_id_of

POSITIONS = [
    Position(Cursor("int", 2**62), Cursor("int", -(2**62))),
    Position(Cursor("decimal", Decimal("12345678901234567890.123456789"))),
    Position(Cursor("date", date(9999, 12, 31))),
    Position(Cursor("datetime", datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC))),
    Position(Cursor("datetime", datetime(1, 1, 1)), chain_end=Cursor("datetime", datetime(2, 1, 1))),  # noqa: DTZ001
    Position(Cursor("string", "żółw'\"\n")),
    Position(Cursor("int", 5), horizon=2**40, identity="system 7, timeline 1"),
]


class LedgerSuite:
    """Override `seat`, as for the destination."""

    @pytest.fixture
    def seat(self) -> DestinationSeat:
        raise AssertionError("the suite's heir overrides the fixture `seat`")

    @pytest.fixture
    def destination(self, seat: DestinationSeat) -> Destination:
        return seat.make()

    @pytest.fixture
    def loads(self, seat: DestinationSeat, destination: Destination) -> Loads:
        return Loads(destination, seat.target)

    def deliver(self, loads: Loads, **account: object) -> CommitReceipt:
        session = loads.destination.begin(loads.plan(SCHEMA))
        try:
            piece = write(session, "0", as_table(make_rows(0, 3)))
            claim = replace(account_for([piece]), **account)  # type: ignore[arg-type]
            return session.commit([piece], claim)
        finally:
            session.abort()

    def test_spec01_before_the_first_load_there_is_no_head(self, seat: DestinationSeat, loads: Loads) -> None:
        ledger = loads.destination.ledger()
        assert ledger.heads([seat.target]) == {}
        assert list(ledger.history(seat.target, 10)) == []
        assert ledger.boundary(seat.target) == Boundary()
        assert ledger.find(LoadId("0" * 32)) is None

    def test_spec02_a_load_moves_the_head(self, seat: DestinationSeat, loads: Loads) -> None:
        receipt = self.deliver(loads, position=POSITIONS[0])
        head = loads.destination.ledger().heads([seat.target])[seat.target]
        assert (head.target, head.stream, head.owner) == (str(seat.target), loads.stream, loads.owner)
        assert (head.generation, head.sequence, head.state) == (1, 1, "done")
        assert (head.load_id, head.position) == (receipt.load_id, POSITIONS[0])

    @pytest.mark.parametrize("position", POSITIONS, ids=lambda p: p.cursor.type)
    def test_spec03_a_position_comes_back_as_it_was(
        self, seat: DestinationSeat, loads: Loads, position: Position
    ) -> None:
        self.deliver(loads, position=position)
        ledger = seat.make().ledger()
        assert ledger.heads([seat.target])[seat.target].position == position
        assert ledger.history(seat.target, 1)[0].position == position

    def test_spec04_a_load_is_found_by_its_id_with_all_it_said(self, seat: DestinationSeat, loads: Loads) -> None:
        receipt = self.deliver(loads, position=POSITIONS[0], read=9, deduplicated_in=6, digest="abc|12")
        row = loads.destination.ledger().find(receipt.load_id)
        assert row is not None
        assert row.load_id == load_id_of(str(seat.target), loads.stream, 1, 1)
        assert (row.target, row.generation, row.sequence) == (str(seat.target), 1, 1)
        assert (row.rows_read, row.rows_deduplicated, row.rows_written, row.rows_quarantined) == (9, 6, 3, 0)
        assert (row.digest, row.strategy, row.route, row.run_id) == ("abc|12", "append", "direct", "suite-run")
        assert row.committed_at.tzinfo is not None

    def test_spec05_history_is_newest_first_and_limited(self, seat: DestinationSeat, loads: Loads) -> None:
        for _ in range(4):
            self.deliver(loads)
        assert [row.sequence for row in loads.destination.ledger().history(seat.target, 3)] == [4, 3, 2]

    def test_spec06_epochs_rise_with_every_begin(self, seat: DestinationSeat, loads: Loads) -> None:
        seen = []
        for _ in range(3):
            loads.destination.begin(loads.plan(SCHEMA)).abort()
            seen.append(loads.destination.ledger().heads([seat.target])[seat.target].epoch)
        assert seen == sorted(set(seen))

    def test_spec07_a_begin_without_commit_moves_nothing_but_the_epoch(
        self, seat: DestinationSeat, loads: Loads
    ) -> None:
        self.deliver(loads, position=POSITIONS[0])
        before = loads.destination.ledger().heads([seat.target])[seat.target]
        loads.destination.begin(loads.plan(SCHEMA)).abort()
        after = loads.destination.ledger().heads([seat.target])[seat.target]
        assert replace(after, epoch=0, changed_at=None, holder="") == replace(
            before, epoch=0, changed_at=None, holder=""
        )

    def test_spec08_the_boundary_is_kept_until_another_is_given(self, seat: DestinationSeat, loads: Loads) -> None:
        first = Boundary({"a" * 32: 2, "b" * 32: 1}, {"id": "int64", "name": "string"})
        self.deliver(loads, boundary=first)
        self.deliver(loads, boundary=None)
        assert loads.destination.ledger().boundary(seat.target) == first
        self.deliver(loads, boundary=Boundary({"c" * 32: 1}))
        assert loads.destination.ledger().boundary(seat.target) == Boundary({"c" * 32: 1})
        self.deliver(loads, boundary=Boundary())
        assert loads.destination.ledger().boundary(seat.target) == Boundary()

    def test_spec09_an_unfinished_chain_leaves_the_head_open(self, seat: DestinationSeat, loads: Loads) -> None:
        self.deliver(loads, unfinished=True)
        assert loads.destination.ledger().heads([seat.target])[seat.target].state == "open"
        self.deliver(loads)
        assert loads.destination.ledger().heads([seat.target])[seat.target].state == "done"

    def test_spec10_a_head_is_set_by_hand_only_at_the_epoch_expected(self, seat: DestinationSeat, loads: Loads) -> None:
        self.deliver(loads)
        ledger = loads.destination.ledger()
        head = ledger.heads([seat.target])[seat.target]
        adopted = replace(head, position=POSITIONS[0], owner="adopted")
        with pytest.raises(FencedError):
            ledger.set_head(seat.target, adopted, expected_epoch=head.epoch - 1)
        assert ledger.heads([seat.target])[seat.target].owner == loads.owner
        ledger.set_head(seat.target, adopted, expected_epoch=head.epoch)
        stored = ledger.heads([seat.target])[seat.target]
        assert (stored.owner, stored.position) == ("adopted", POSITIONS[0])

    def test_spec11_a_full_refresh_starts_the_next_generation(self, seat: DestinationSeat, loads: Loads) -> None:
        self.deliver(loads)
        plan = loads.plan(SCHEMA, "replace")
        fresh = load_id_of(str(seat.target), loads.stream, 2, plan.sequence)
        loads.deliver(as_table(make_rows(0, 1)), plan=replace(plan, generation=2, load_id=fresh))
        head = loads.destination.ledger().heads([seat.target])[seat.target]
        assert (head.generation, head.sequence, head.load_id) == (2, 2, fresh)

    def test_spec12_a_generation_out_of_turn_is_fenced(self, loads: Loads) -> None:
        self.deliver(loads)
        with pytest.raises(FencedError):
            loads.destination.begin(replace(loads.plan(SCHEMA), generation=3))

    def test_spec13_heads_of_several_tables_come_together(self, seat: DestinationSeat, loads: Loads) -> None:
        self.deliver(loads)
        other = TableName(seat.target.schema, "other")
        self.deliver(Loads(loads.destination, other))
        absent = TableName(seat.target.schema, "absent")
        assert set(loads.destination.ledger().heads([seat.target, other, absent])) == {seat.target, other}

    def test_spec14_a_second_process_sees_the_same_ledger(self, seat: DestinationSeat, loads: Loads) -> None:
        receipt = self.deliver(loads, position=POSITIONS[0])
        again = seat.make().ledger()
        assert again.find(receipt.load_id) == loads.destination.ledger().find(receipt.load_id)

    def test_spec15_a_boundary_keeps_the_types_of_many_columns_of_any_name(
        self, seat: DestinationSeat, loads: Loads
    ) -> None:
        types = {f"żółw'\"\\ {n}": "struct<a: list<decimal(38,9)>, b: string>" for n in range(500)}
        self.deliver(loads, boundary=Boundary({"a" * 32: 1}, types))
        assert seat.make().ledger().boundary(seat.target) == Boundary({"a" * 32: 1}, types)
