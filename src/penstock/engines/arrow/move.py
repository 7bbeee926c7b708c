"""Batches from readers to writers: threads, lanes and one byte budget between them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from penstock.engines.arrow.budget import ByteBudget
from penstock.engines.arrow.crew import JOIN_WRITERS_SECONDS, Crew, Lane, Task
from penstock.engines.arrow.intake import Intake, Parcel
from penstock.engines.arrow.passage import Passage
from penstock.engines.arrow.shaping import Shaper
from penstock.errors import LoadError
from penstock.loading.digest import TableDigest
from penstock.protocols import LoadSession, Move, Moved
from penstock.values import Split, Tally


def run_move(job: Move, budget: ByteBudget, threads: int) -> Moved:
    """Move one load's rows. After any error nothing of the move is left: no thread, no load, no bytes held."""
    crew = Crew(budget, job.stop)
    mover = _Mover(job, crew)
    try:
        return mover.run(threads)
    except BaseException as error:
        abandon(crew, mover.load, mover.writers, error)
        raise
    finally:
        crew.release_all()


def abandon(crew: Crew, load: LoadSession | None, writers: list[Task], error: BaseException) -> None:
    """Stop everyone, the writers first, so that abort finds their connections idle; `error` stays the one raised."""
    crew.halt()
    crew.join(writers, stopped_seconds=JOIN_WRITERS_SECONDS)
    if load is not None:
        try:
            load.abort()
        except Exception as failure:  # noqa: BLE001 - noted on the error that is raised
            error.add_note(f"the load could not be aborted either: {type(failure).__name__}: {failure}")
    crew.join()


def share_out(items: list[Passage], work: Callable[[Passage], None]) -> Callable[[], None]:
    """What one of several writer threads does: take the next item until none is left."""
    remaining, guard = iter(items), threading.Lock()

    def take_turns() -> None:
        while True:
            with guard:
                item = next(remaining, None)
            if item is None:
                return
            work(item)

    return take_turns


class _Mover:
    """One move. `begin` runs in the calling thread, as soon as a row turns up that must be written."""

    def __init__(self, job: Move, crew: Crew) -> None:
        self.load: LoadSession | None = None
        self.writers: list[Task] = []
        self._job = job
        self._crew = crew
        self._intake = Intake(job, crew)
        self._passages: list[Passage] = []
        self._is_whole_table = job.transform is not None and job.transform.scope != "rows"

    def run(self, threads: int) -> Moved:
        job, crew, intake = self._job, self._crew, self._intake
        intake.start(max(threads, job.writers))
        if not job.eager:
            crew.wait(lambda: intake.has_rows() or intake.is_finished())
        if job.eager or intake.has_rows():
            self.load = job.begin()
            self._start_writers(self.load)
        crew.wait(lambda: intake.is_finished() and all(task.done for task in self.writers))
        crew.join()
        crew.wait(lambda: True)
        pieces = tuple(piece for passage in self._passages for piece in passage.pieces)
        return Moved(self.load, pieces, self._tally())

    def _start_writers(self, load: LoadSession) -> None:
        apart = load.ticket is not None
        self._passages = self._plan_passages(apart=apart and not self._is_whole_table)
        work = share_out(
            self._passages,
            lambda passage: passage.run(self._crew, load, is_whole_table=self._is_whole_table, skip_empty=apart),
        )
        for number in range(min(max(1, self._job.writers), len(self._passages))):
            self.writers.append(self._crew.spawn(f"write-{number}", work))

    def _plan_passages(self, *, apart: bool) -> list[Passage]:
        job, lanes = self._job, self._intake.lanes
        if not apart:
            return [self._passage(job.splits[0] if job.splits else None, lanes)]
        return [self._passage(split, [lane]) for split, lane in zip(job.splits, lanes, strict=True)]

    def _passage(self, split: Split | None, lanes: Sequence[Lane[Parcel]]) -> Passage:
        return Passage(split, lanes, Shaper(self._job.shape, self._job.transform), ordered=self._job.ordered)

    def _tally(self) -> Tally:
        intake, shapers = self._intake, [passage.shaper for passage in self._passages]
        tally = Tally(
            read=intake.read,
            deduplicated_in=intake.read - intake.given,
            given=intake.given,
            returned=sum(shaper.returned for shaper in shapers),
            written=sum(passage.written for passage in self._passages),
            quarantined=sum(rows.num_rows for shaper in shapers for rows in shaper.quarantined),
            size_bytes=intake.size_bytes,
            reached=intake.reached,
            boundary=intake.boundary(),
            digest=_combined(shapers) if self._job.shape.digest else None,
            unrecognised=intake.unrecognised(),
        )
        if tally.returned != tally.written + tally.quarantined:
            raise LoadError(
                f"{tally.returned} rows left the transform, {tally.written} were written and {tally.quarantined} set "
                "aside: the engine lost rows",
                fault="internal",
            )
        return tally


def _combined(shapers: list[Shaper]) -> str:
    total = TableDigest()
    for shaper in shapers:
        if shaper.digest is not None:
            total.combine(shaper.digest)
    return str(total)
