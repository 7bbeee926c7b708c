"""Undecoded bytes from source to destination: neither pyarrow nor duckdb is loaded for them."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator

from penstock.engines.arrow.budget import ByteBudget, HaltedError
from penstock.engines.arrow.crew import Crew, Task
from penstock.engines.arrow.move import abandon
from penstock.failpoints import failpoint
from penstock.protocols import Chunks, LoadSession, Move, Moved, Progress
from penstock.values import Encoding, Piece, Split, Tally


def run_relay(job: Move, budget: ByteBudget) -> Moved:
    """Relay every split; one at a time on the direct route. The load is begun at once: no row is looked at."""
    crew = Crew(budget, job.stop)
    load = job.begin()
    relay = _Relay(job, crew, load)
    try:
        relay.run()
        return Moved(load, tuple(relay.pieces), relay.tally())
    except BaseException as error:
        abandon(crew, load, relay.writers, error)
        raise


class CountedChunks:
    """Chunks that stop when the move does, and report what passes."""

    def __init__(self, chunks: Chunks, crew: Crew, progress: Progress | None) -> None:
        self.size_bytes = 0
        self._chunks = chunks
        self._crew = crew
        self._progress = progress

    @property
    def encoding(self) -> Encoding:
        return self._chunks.encoding

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._count(chunk)
            yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            self._count(chunk)
            yield chunk

    def _count(self, chunk: bytes) -> None:
        if self._crew.is_halted():
            raise HaltedError
        failpoint("source.batch_read")
        self.size_bytes += len(chunk)
        if self._progress is not None:
            self._progress.advance(0, len(chunk))


class _Relay:
    def __init__(self, job: Move, crew: Crew, load: LoadSession) -> None:
        self.writers: list[Task] = []
        self.pieces: list[Piece] = []
        self._job = job
        self._crew = crew
        self._load = load
        self._size_bytes = 0
        self._guard = threading.Lock()
        self._unread = iter(list(job.splits))

    def run(self) -> None:
        at_once = 1 if self._load.ticket is None else max(1, self._job.writers)
        for number in range(min(at_once, len(self._job.splits))):
            self.writers.append(self._crew.spawn(f"relay-{number}", self._relay_splits))
        self._crew.wait(lambda: all(task.done for task in self.writers))
        self._crew.join()
        self._crew.wait(lambda: True)

    def tally(self) -> Tally:
        """Rows as the destination's server counted them; the commit compares them with the source's."""
        rows = sum(piece.rows for piece in self.pieces)
        return Tally(read=rows, given=rows, returned=rows, written=rows, size_bytes=self._size_bytes)

    def _relay_splits(self) -> None:
        while True:
            with self._guard:
                split = next(self._unread, None)
            if split is None:
                return
            self._relay_split(split)

    def _relay_split(self, split: Split) -> None:
        chunks = CountedChunks(self._job.reader.relay(split), self._crew, self._job.progress)
        piece = self._load.relay(split.id, 0, chunks)
        with self._guard:
            self.pieces.append(piece)
            self._size_bytes += chunks.size_bytes
