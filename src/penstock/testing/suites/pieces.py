"""What destinations must do whose writers open in any process."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from penstock.errors import LoadError
from penstock.protocols import Destination, LoadSession
from penstock.testing.loads import Loads, account_for, batches_of, write
from penstock.testing.suites.destination import DestinationSeat, DestinationSuite
from penstock.testing.suites.rows import SCHEMA, as_table, make_rows, multiset
from penstock.values import Json, Piece, SplitId, WriteTicket
from penstock.values.wire import piece_from_json, piece_to_json, ticket_from_json, ticket_to_json

if TYPE_CHECKING:
    import pyarrow as pa


def write_elsewhere(make: Callable[[], Destination], ticket: str, split: str, rows: pa.Table) -> dict[str, Json]:
    """Run in another process: nothing of the session is there but its ticket."""
    writer = make().writer(ticket_from_json(json.loads(ticket)))
    return piece_to_json(writer.write(SplitId(split), 1, batches_of(rows)))


def ticket_of(session: LoadSession) -> WriteTicket:
    assert session.ticket is not None
    return session.ticket


class PieceDestinationSuite(DestinationSuite):
    """For destinations with the operation remote_pieces; `seat.make` survives pickling."""

    def begin(self, loads: Loads) -> LoadSession:
        return loads.destination.begin(replace(loads.plan(SCHEMA, route="staged"), splits=4, writers=4))

    def test_spec60_the_operation_is_declared(self, destination: Destination) -> None:
        assert "remote_pieces" in destination.operations

    def test_spec61_a_second_attempt_at_a_split_changes_nothing(self, seat: DestinationSeat, loads: Loads) -> None:
        session = self.begin(loads)
        first = write(session, "a", as_table(make_rows(0, 5)), attempt=1)
        second = write(session, "a", as_table(make_rows(0, 5)), attempt=2)
        assert (second.split, second.attempt, second.rows) == (first.split, first.attempt, first.rows)
        session.commit([second], account_for([second]))
        session.abort()
        assert multiset(seat.read(seat.target)) == multiset(make_rows(0, 5))

    def test_spec62_an_attempt_that_failed_half_way_leaves_room_for_the_next(
        self, seat: DestinationSeat, loads: Loads
    ) -> None:
        session = self.begin(loads)
        rows = as_table(make_rows(0, 50))

        def breaking() -> object:
            yield next(batches_of(rows, 10))
            raise RuntimeError("the attempt is over")

        with pytest.raises(RuntimeError, match="the attempt is over"):
            session.write(SplitId("a"), 1, breaking())  # type: ignore[arg-type]
        piece = write(session, "a", rows, attempt=2)
        session.commit([piece], account_for([piece]))
        session.abort()
        assert multiset(seat.read(seat.target)) == multiset(make_rows(0, 50))

    def test_spec63_a_piece_written_in_another_process_is_committed_here(
        self, seat: DestinationSeat, loads: Loads
    ) -> None:
        session = self.begin(loads)
        ticket = json.dumps(ticket_to_json(ticket_of(session)))
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
            waiting = [
                pool.submit(write_elsewhere, seat.make, ticket, str(i), as_table(make_rows(i * 10, i * 10 + 10)))
                for i in range(3)
            ]
            pieces = [piece_from_json(json.loads(json.dumps(report.result()))) for report in waiting]
        session.commit(pieces, account_for(pieces))
        session.abort()
        assert multiset(seat.read(seat.target)) == multiset(make_rows(0, 30))
        assert self.no_litter(seat)

    def test_spec64_a_writer_of_a_load_that_is_over_is_refused(self, seat: DestinationSeat, loads: Loads) -> None:
        session = self.begin(loads)
        ticket = ticket_of(session)
        session.abort()
        with pytest.raises(LoadError):
            loads.destination.writer(ticket).write(SplitId("late"), 1, batches_of(as_table(make_rows(0, 1))))
        assert seat.read(seat.target) == []
        assert self.no_litter(seat)

    def test_spec65_pieces_survive_json(self, loads: Loads) -> None:
        session = self.begin(loads)
        piece: Piece = write(session, "a", as_table(make_rows(0, 5)))
        session.abort()
        assert piece_from_json(json.loads(json.dumps(piece_to_json(piece)))) == piece
