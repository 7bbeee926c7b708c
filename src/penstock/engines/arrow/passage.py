"""The writing half of a move: a thread that shapes rows beside the one that writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from penstock.engines.arrow.crew import Crew, Lane, drain
from penstock.engines.arrow.intake import Parcel
from penstock.engines.arrow.shaping import Shaper
from penstock.errors import LoadError
from penstock.failpoints import failpoint
from penstock.protocols import Writer
from penstock.values import Batch, Piece, Split, SplitId, StreamName

if TYPE_CHECKING:
    import pyarrow as pa


class Passage:
    """The splits that one write call takes: their lanes, one shaper, and what was written."""

    def __init__(self, split: Split | None, lanes: Sequence[Lane[Parcel]], shaper: Shaper, *, ordered: bool) -> None:
        self.split_id = split.id if split is not None else SplitId("0")
        self._stream = split.stream if split is not None else StreamName("")
        self.shaper = shaper
        self.written = 0
        self.pieces: list[Piece] = []
        self._lanes = lanes
        self._ordered = ordered

    def run(self, crew: Crew, writer: Writer, *, is_whole_table: bool, skip_empty: bool) -> None:
        """Shape and write the rows, then those set aside. With `skip_empty`, no rows means no call."""
        shaped: Lane[Parcel] = Lane(crew, attended=True)
        shape = self._shape_table if is_whole_table else self._shape_rows
        crew.spawn(f"shape-{self.split_id}", lambda: shape(crew, shaped))
        parcels = iter(shaped)
        first = next(parcels, None)
        if first is not None or not skip_empty:
            self._write(writer, first, parcels)
        aside = self.shaper.quarantined
        if aside:
            batches = (Batch(self._stream, rows) for rows in aside)
            self.pieces.append(writer.write(self.split_id, 0, batches, into="quarantine"))

    def _write(self, writer: Writer, first: Parcel | None, rest: Iterator[Parcel]) -> None:
        self.pieces.append(writer.write(self.split_id, 0, self._feed(first, rest)))
        if next(rest, None) is not None:
            raise LoadError(f"the writer of split {self.split_id!r} left rows unread", fault="internal")

    def _feed(self, first: Parcel | None, rest: Iterator[Parcel]) -> Iterator[Batch]:
        parcel = first
        while parcel is not None:
            yield Batch(self._stream, parcel.rows)
            # the writer asks for more: it is done with these
            failpoint("load.batch_written")
            self.written += parcel.rows.num_rows
            parcel.discard()
            parcel = next(rest, None)

    def _shape_rows(self, crew: Crew, shaped: Lane[Parcel]) -> None:
        for parcel in self._given(crew):
            results = [Parcel(rows) for rows in self.shaper.shape_rows(parcel.rows, parcel.cursors)]
            assert parcel.lease is not None
            if results:
                parcel.lease.resize(sum(result.rows.nbytes for result in results))
                results[-1].lease = parcel.lease
            else:
                parcel.discard()
            del parcel
            for result in results:
                shaped.put(result)
        shaped.close()

    def _shape_table(self, crew: Crew, shaped: Lane[Parcel]) -> None:
        for rows in self.shaper.shape_table(self._released(crew)):
            shaped.put(Parcel(rows, None, crew.lease(rows.nbytes, shaped.is_attended)))
        shaped.close()

    def _released(self, crew: Crew) -> Iterator[tuple[pa.RecordBatch, pa.Array | None]]:
        """Rows handed to a transform that gathers them where it likes: they leave the queues' budget."""
        for parcel in self._given(crew):
            yield parcel.rows, parcel.cursors
            parcel.discard()

    def _given(self, crew: Crew) -> Iterator[Parcel]:
        """What is to be shaped; the rows that the source set aside stay so."""
        for parcel in self._parcels(crew):
            if parcel.into == "target":
                yield parcel
                continue
            self.shaper.set_aside(parcel.rows)
            parcel.discard()

    def _parcels(self, crew: Crew) -> Iterator[Parcel]:
        if not self._ordered:
            for lane in self._lanes:
                lane.attend()
            yield from drain(self._lanes, crew)
            return
        for lane in self._lanes:
            lane.attend()
            yield from lane
