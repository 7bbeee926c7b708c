"""What every destination must do, whatever route a load takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from penstock.errors import FencedError, LoadError, PenstockError
from penstock.protocols import Destination
from penstock.records import dataclass
from penstock.testing.loads import Loads, account_for, write
from penstock.testing.suites.rows import SCHEMA, Row, as_table, make_rows, multiset
from penstock.values import (
    AddColumns,
    Cursor,
    DeleteWindow,
    Field,
    Insert,
    TableName,
    TableSchema,
    WidenColumns,
)


@dataclass(frozen=True)
class DestinationSeat:
    """A system that is empty before each test, looked at without the product.

    `read` gives the rows of a table as a reader of the system sees them, none for a table that is not there; `tables`
    names all tables, ours included. `target` does not exist. `broken` cannot be reached. `make` opens the destination.
    """

    make: Callable[[], Destination]
    target: TableName
    read: Callable[[TableName], list[Row]]
    tables: Callable[[], list[str]]
    broken: Callable[[], Destination]


LEDGER_TABLES = frozenset({"_penstock_ledger", "_penstock_loads", "_penstock_boundary"})


class DestinationSuite:
    """Append and replace. Override `seat`."""

    @pytest.fixture
    def seat(self) -> DestinationSeat:
        raise AssertionError("the suite's heir overrides the fixture `seat`")

    @pytest.fixture
    def destination(self, seat: DestinationSeat) -> Destination:
        return seat.make()

    @pytest.fixture
    def loads(self, seat: DestinationSeat, destination: Destination) -> Loads:
        return Loads(destination, seat.target)

    def no_litter(self, seat: DestinationSeat) -> bool:
        """Whether only the target and the ledger are there."""
        return set(seat.tables()) <= {seat.target.name} | LEDGER_TABLES

    def test_spec01_check_passes_where_the_system_answers(self, destination: Destination) -> None:
        destination.check()

    def test_spec02_check_raises_where_it_does_not(self, seat: DestinationSeat) -> None:
        with pytest.raises(PenstockError):
            seat.broken().check()

    def test_spec03_an_absent_table_is_none(self, seat: DestinationSeat, destination: Destination) -> None:
        assert destination.describe([seat.target]) == {seat.target: None}

    def test_spec04_a_failure_to_look_is_never_read_as_absent(self, seat: DestinationSeat) -> None:
        with pytest.raises(PenstockError):
            seat.broken().describe([seat.target])

    def test_spec05_the_first_load_makes_the_table_with_exact_values(self, seat: DestinationSeat, loads: Loads) -> None:
        receipt = loads.deliver(as_table(make_rows(0, 100)))
        assert multiset(seat.read(seat.target)) == multiset(make_rows(0, 100))
        assert (receipt.written, receipt.generation, receipt.sequence, receipt.repeated) == (100, 1, 1, False)

    def test_spec06_the_table_is_described_with_its_columns_in_order(self, seat: DestinationSeat, loads: Loads) -> None:
        loads.deliver(as_table(make_rows(0, 1)))
        table = loads.destination.describe([seat.target])[seat.target]
        assert table is not None
        assert table.names == SCHEMA.names

    def test_spec07_append_adds(self, seat: DestinationSeat, loads: Loads) -> None:
        loads.deliver(as_table(make_rows(0, 10)))
        loads.deliver(as_table(make_rows(5, 15)))
        assert multiset(seat.read(seat.target)) == multiset([*make_rows(0, 10), *make_rows(5, 15)])

    def test_spec08_replace_leaves_the_new_rows_only(self, seat: DestinationSeat, loads: Loads) -> None:
        loads.deliver(as_table(make_rows(0, 50)), "replace")
        loads.deliver(as_table(make_rows(40, 45)), "replace")
        assert multiset(seat.read(seat.target)) == multiset(make_rows(40, 45))
        assert self.no_litter(seat)

    def test_spec09_replacing_by_nothing_leaves_an_empty_table(self, seat: DestinationSeat, loads: Loads) -> None:
        loads.deliver(as_table(make_rows(0, 5)), "replace")
        loads.deliver(as_table([]), "replace")
        assert seat.read(seat.target) == []
        assert loads.destination.describe([seat.target])[seat.target] is not None

    def test_spec10_readers_see_nothing_before_the_commit(self, seat: DestinationSeat, loads: Loads) -> None:
        session = loads.destination.begin(loads.plan(SCHEMA))
        piece = write(session, "0", as_table(make_rows(0, 10)))
        assert seat.read(seat.target) == []
        session.commit([piece], account_for([piece]))
        session.abort()
        assert len(seat.read(seat.target)) == 10

    def test_spec11_readers_see_the_old_rows_until_a_replace_commits(self, seat: DestinationSeat, loads: Loads) -> None:
        loads.deliver(as_table(make_rows(0, 5)), "replace")
        session = loads.destination.begin(loads.plan(SCHEMA, "replace"))
        piece = write(session, "0", as_table(make_rows(10, 20)))
        assert multiset(seat.read(seat.target)) == multiset(make_rows(0, 5))
        session.commit([piece], account_for([piece]))
        session.abort()
        assert multiset(seat.read(seat.target)) == multiset(make_rows(10, 20))

    def test_spec12_an_aborted_load_leaves_nothing(self, seat: DestinationSeat, loads: Loads) -> None:
        session = loads.destination.begin(loads.plan(SCHEMA))
        write(session, "0", as_table(make_rows(0, 10)))
        session.abort()
        session.abort()
        assert seat.read(seat.target) == []
        assert loads.destination.describe([seat.target])[seat.target] is None
        assert self.no_litter(seat)

    def test_spec13_an_aborted_replace_leaves_the_old_rows(self, seat: DestinationSeat, loads: Loads) -> None:
        loads.deliver(as_table(make_rows(0, 5)), "replace")
        session = loads.destination.begin(loads.plan(SCHEMA, "replace"))
        write(session, "0", as_table(make_rows(10, 20)))
        session.abort()
        assert multiset(seat.read(seat.target)) == multiset(make_rows(0, 5))
        assert self.no_litter(seat)

    def test_spec14_a_repeated_commit_returns_the_first_receipt(self, seat: DestinationSeat, loads: Loads) -> None:
        session = loads.destination.begin(loads.plan(SCHEMA))
        piece = write(session, "0", as_table(make_rows(0, 3)))
        first = session.commit([piece], account_for([piece]))
        assert session.commit([piece], account_for([piece])) == replace(first, repeated=True)
        session.abort()
        assert len(seat.read(seat.target)) == 3

    def test_spec15_an_aborted_load_cannot_commit(self, seat: DestinationSeat, loads: Loads) -> None:
        session = loads.destination.begin(loads.plan(SCHEMA))
        piece = write(session, "0", as_table(make_rows(0, 3)))
        session.abort()
        with pytest.raises(LoadError):
            session.commit([piece], account_for([piece]))
        assert seat.read(seat.target) == []

    def test_spec16_a_plan_the_head_has_passed_is_fenced_at_once(self, seat: DestinationSeat, loads: Loads) -> None:
        stale = loads.plan(SCHEMA)
        loads.deliver(as_table(make_rows(0, 3)))
        with pytest.raises(FencedError) as raised:
            loads.destination.begin(stale)
        assert raised.value.retryable
        assert len(seat.read(seat.target)) == 3

    def test_spec17_a_second_load_waits_and_is_refused_naming_the_holder(
        self, seat: DestinationSeat, loads: Loads
    ) -> None:
        session = loads.destination.begin(loads.plan(SCHEMA))
        other = Loads(seat.make(), seat.target, holder="somebody else")
        with pytest.raises(FencedError, match="suite on this machine"):
            other.destination.begin(other.plan(SCHEMA))
        session.abort()
        other.deliver(as_table(make_rows(0, 2)))
        assert len(seat.read(seat.target)) == 2

    def test_spec18_a_count_that_differs_fails_the_load(self, seat: DestinationSeat, loads: Loads) -> None:
        session = loads.destination.begin(loads.plan(SCHEMA))
        piece = write(session, "0", as_table(make_rows(0, 3)))
        with pytest.raises(LoadError):
            session.commit([piece], replace(account_for([piece]), expected=4))
        session.abort()
        assert seat.read(seat.target) == []

    def test_spec19_a_load_of_no_rows_is_a_load(self, seat: DestinationSeat, loads: Loads) -> None:
        assert loads.deliver(as_table([])).written == 0
        assert seat.read(seat.target) == []
        assert loads.destination.ledger().heads([seat.target])[seat.target].sequence == 1

    def test_spec20_several_splits_make_one_load(self, seat: DestinationSeat, loads: Loads) -> None:
        session = loads.destination.begin(loads.plan(SCHEMA))
        pieces = [write(session, str(i), as_table(make_rows(i * 10, i * 10 + 10)), batch_rows=3) for i in range(4)]
        receipt = session.commit(pieces, account_for(pieces))
        session.abort()
        assert receipt.written == 40
        assert multiset(seat.read(seat.target)) == multiset(make_rows(0, 40))

    def test_spec21_a_name_full_of_traps_is_only_a_name(self, seat: DestinationSeat) -> None:
        name = TableName(seat.target.schema, 'Select "x"; drop\'--$1 ü')
        loads = Loads(seat.make(), name)
        columns = TableSchema((Field('a"b', "int64"), Field("select", "string"), Field("%s $1 ?", "int64")))
        rows = as_table([]).select([]).from_pylist([{'a"b': 1, "select": "';--", "%s $1 ?": 2}])
        loads.deliver(rows, plan=loads.plan(columns))
        assert seat.read(name) == [{'a"b': 1, "select": "';--", "%s $1 ?": 2}]


class KeyedDestinationSuite(DestinationSuite):
    """For destinations that upsert and delete by key or window."""

    def test_spec30_upsert_adds_new_keys_and_updates_known_ones(self, seat: DestinationSeat, loads: Loads) -> None:
        loads.deliver(as_table(make_rows(0, 10)), "upsert", key=("id",))
        changed = [{**row, "note": "changed"} for row in make_rows(5, 15)]
        loads.deliver(as_table(changed), "upsert", key=("id",))
        assert multiset(seat.read(seat.target)) == multiset([*make_rows(0, 5), *changed])
        assert self.no_litter(seat)

    def test_spec31_of_a_key_twice_in_a_load_the_last_by_cursor_wins_and_is_counted(
        self, seat: DestinationSeat, loads: Loads
    ) -> None:
        rows = [
            {"id": 1, "stamp": 20, "note": "newer", "ratio": None},
            {"id": 1, "stamp": 10, "note": "older", "ratio": None},
            {"id": 2, "stamp": 5, "note": "first of equals", "ratio": None},
            {"id": 2, "stamp": 5, "note": "last of equals", "ratio": None},
        ]
        receipt = loads.deliver(as_table(rows), "upsert", key=("id",), order=("stamp",))
        assert multiset(seat.read(seat.target)) == multiset([rows[0], rows[3]])
        assert (receipt.written, receipt.deduplicated_out) == (2, 2)

    def test_spec32_upserting_the_same_rows_again_changes_nothing(self, seat: DestinationSeat, loads: Loads) -> None:
        for _ in range(2):
            loads.deliver(as_table(make_rows(0, 10)), "upsert", key=("id",))
        assert multiset(seat.read(seat.target)) == multiset(make_rows(0, 10))

    def test_spec33_a_key_that_is_not_unique_in_the_table_fails_the_load(
        self, seat: DestinationSeat, loads: Loads
    ) -> None:
        twice = [*make_rows(0, 2), *make_rows(0, 2)]
        loads.deliver(as_table(twice))
        with pytest.raises(LoadError):
            loads.deliver(as_table(make_rows(0, 1)), "upsert", key=("id",))
        assert multiset(seat.read(seat.target)) == multiset(twice)

    def test_spec34_a_row_without_its_key_fails_the_load(self, seat: DestinationSeat, loads: Loads) -> None:
        loads.deliver(as_table(make_rows(0, 2)), "upsert", key=("id",))
        with pytest.raises(LoadError):
            loads.deliver(as_table([{"id": None, "stamp": 1, "note": None, "ratio": None}]), "upsert", key=("id",))
        assert multiset(seat.read(seat.target)) == multiset(make_rows(0, 2))

    def test_spec35_delete_insert_takes_away_the_keys_of_the_load_first(
        self, seat: DestinationSeat, loads: Loads
    ) -> None:
        loads.deliver(as_table(make_rows(0, 10)))
        fresh = [{"id": 100, "stamp": 10, "note": "only one of stamp 10 now", "ratio": None}]
        loads.deliver(as_table(fresh), "delete_insert", key=("stamp",))
        left = [row for row in make_rows(0, 10) if row["stamp"] != 10]
        assert multiset(seat.read(seat.target)) == multiset([*left, *fresh])

    @pytest.mark.parametrize("upper_open", [True, False])
    def test_spec36_a_window_is_taken_away_to_its_end(
        self, seat: DestinationSeat, loads: Loads, *, upper_open: bool
    ) -> None:
        loads.deliver(as_table(make_rows(0, 10)))
        window = DeleteWindow("stamp", Cursor("int", 10), Cursor("int", 30), upper_open=upper_open)
        plan = loads.plan(SCHEMA, "delete_insert", route="direct", steps=[window, Insert()])
        loads.deliver(as_table([]), plan=plan)
        gone = {10, 20} if upper_open else {10, 20, 30}
        assert multiset(seat.read(seat.target)) == multiset(r for r in make_rows(0, 10) if r["stamp"] not in gone)

    def test_spec37_an_aborted_upsert_leaves_table_and_surroundings_as_they_were(
        self, seat: DestinationSeat, loads: Loads
    ) -> None:
        loads.deliver(as_table(make_rows(0, 3)), "upsert", key=("id",))
        session = loads.destination.begin(loads.plan(SCHEMA, "upsert", key=("id",)))
        write(session, "0", as_table(make_rows(0, 9)))
        session.abort()
        assert multiset(seat.read(seat.target)) == multiset(make_rows(0, 3))
        assert self.no_litter(seat)


class EvolvingDestinationSuite(DestinationSuite):
    """For destinations that add columns."""

    def test_spec50_a_new_column_is_null_in_the_rows_before_it(self, seat: DestinationSeat, loads: Loads) -> None:
        loads.deliver(as_table(make_rows(0, 2)))
        extra = Field("extra", "string")
        schema = TableSchema((*SCHEMA.fields, extra))
        plan = loads.plan(schema, steps=[AddColumns((extra,)), Insert()])
        rows = as_table(make_rows(2, 3)).append_column("extra", [["here"]])
        loads.deliver(rows, plan=plan)
        names = (*SCHEMA.names, "extra")
        expected = [*({**r, "extra": None} for r in make_rows(0, 2)), {**make_rows(2, 3)[0], "extra": "here"}]
        assert multiset(seat.read(seat.target), names) == multiset(expected, names)

    def test_spec51_a_column_added_by_a_load_that_failed_is_not_there(
        self, seat: DestinationSeat, loads: Loads
    ) -> None:
        loads.deliver(as_table(make_rows(0, 2)))
        extra = Field("extra", "string")
        schema = TableSchema((*SCHEMA.fields, extra))
        session = loads.destination.begin(loads.plan(schema, steps=[AddColumns((extra,)), Insert()]))
        piece = write(session, "0", as_table(make_rows(2, 3)).append_column("extra", [["here"]]))
        with pytest.raises(LoadError):
            session.commit([piece], replace(account_for([piece]), expected=7))
        session.abort()
        table = loads.destination.describe([seat.target])[seat.target]
        assert table is not None
        assert table.names == SCHEMA.names


class WideningDestinationSuite(DestinationSuite):
    """For destinations that widen columns in place."""

    def test_spec55_a_widened_column_keeps_its_values(self, seat: DestinationSeat, loads: Loads) -> None:
        narrow = TableSchema((Field("id", "int32"), *SCHEMA.fields[1:]))
        plan = loads.plan(narrow)
        loads.deliver(as_table(make_rows(0, 2)).cast(as_int32(as_table([]).schema)), plan=plan)
        wide = Field("id", "int64")
        loads.deliver(
            as_table([{**make_rows(2, 3)[0], "id": 1 << 40}]),
            plan=loads.plan(SCHEMA, steps=[WidenColumns((wide,)), Insert()]),
        )
        assert sorted(int(str(row["id"])) for row in seat.read(seat.target)) == [0, 1, 1 << 40]


def as_int32(schema: object) -> object:
    """The suite's Arrow schema with a narrow id."""
    import pyarrow as pa

    assert isinstance(schema, pa.Schema)
    return schema.set(0, pa.field("id", pa.int32()))
