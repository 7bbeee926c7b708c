"""Undecoded bytes from source to destination: neither pyarrow nor duckdb is loaded for them."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator

from penstock.engines.arrow.budget import ByteBudget, HaltedError
from penstock.engines.arrow.crew import Crew, Task
from penstock.engines.arrow.move import abandon
from penstock.errors import LoadError, counted
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
        tally = relay.tally()
    except BaseException as error:
        abandon(crew, load, relay.writers, error)
        raise
    return Moved(load, tuple(relay.pieces), tally)


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

    @property
    def rows(self) -> int | None:
        """The source's own count, where it gives one after the end."""
        return getattr(self._chunks, "rows", None)

    def __iter__(self) -> Iterator[bytes]:
        chunks = iter(self._chunks)
        try:
            for chunk in chunks:
                self._count(chunk)
                yield chunk
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._chunks)
        try:
            async for chunk in chunks:
                self._count(chunk)
                yield chunk
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()

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
        self._read: list[int | None] = []
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
        """Rows as the two servers counted them. Raises LoadError where they differ."""
        written = sum(piece.rows for piece in self.pieces)
        read = written if None in self._read else sum(rows for rows in self._read if rows is not None)
        if read != written:
            raise LoadError(
                f"the source sent {counted(read, 'row')}, the destination took {written}",
                fix="run again",
                fault="transient",
            )
        return Tally(read=read, given=read, returned=read, written=written, size_bytes=self._size_bytes)

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
            self._read.append(chunks.rows)
            self._size_bytes += chunks.size_bytes
