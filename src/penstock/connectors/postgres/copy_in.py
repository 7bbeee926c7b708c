"""COPY .. FROM STDIN on the shared loop: from another thread batch by batch, or from a relay with no thread between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

from penstock.connectors.postgres import loop
from penstock.connectors.postgres.connect import Session
from penstock.connectors.postgres.encode import HEADER, TRAILER
from penstock.errors import LoadError
from penstock.records import dataclass
from penstock.values import TableName

if TYPE_CHECKING:
    import asyncpg


_PIECE_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class CopyTarget:
    """Where the bytes go; `freeze` only where the table was made in this transaction."""

    table: TableName
    columns: tuple[str, ...]
    freeze: bool = False


class _AbandonedError(Exception):
    """Tells the server to drop what it has of this COPY."""


def copy_rows(session: Session, target: CopyTarget, encoded: Iterable[bytes]) -> int:
    """Send the encoded rows of each batch; returns the server's count. What `encoded` raises ends the COPY."""
    pump = loop.run(_Pump.start(session.raw, target))
    try:
        for rows in encoded:
            session.wait(pump.put(rows))
        return _count_of(session.wait(pump.finish()))
    except BaseException:
        loop.run(pump.abandon())
        raise


class _Pump:
    """Hands chunks from a thread to the COPY that runs on the loop; one chunk waits while one is sent."""

    def __init__(self, raw: asyncpg.Connection, target: CopyTarget) -> None:
        self._queue: asyncio.Queue[bytes | _AbandonedError | None] = asyncio.Queue(maxsize=1)
        self._copying = asyncio.ensure_future(_copy(raw, target, self._drain(raw)))

    @classmethod
    async def start(cls, raw: asyncpg.Connection, target: CopyTarget) -> _Pump:
        return cls(raw, target)

    async def put(self, chunk: bytes | _AbandonedError | None) -> None:
        """Waits for a place; raises what ended the COPY before its time."""
        putting = asyncio.ensure_future(self._queue.put(chunk))
        try:
            await asyncio.wait((putting, self._copying), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not putting.done():
                putting.cancel()
        if self._copying.done():
            self._copying.result()

    async def finish(self) -> str:
        await self.put(None)
        return await self._copying

    async def abandon(self) -> None:
        if not self._copying.done():
            self._queue.put_nowait(_AbandonedError()) if self._queue.empty() else self._copying.cancel()
        await asyncio.wait((self._copying,))
        if not self._copying.cancelled():
            self._copying.exception()  # looked at: what is told is why it was abandoned

    async def _drain(self, raw: asyncpg.Connection) -> AsyncIterator[bytes]:
        yield HEADER
        while (chunk := await self._queue.get()) is not None:
            if isinstance(chunk, _AbandonedError):
                raise chunk
            # sent in pieces: asyncpg and the socket's buffer each copy what they are given
            for start in range(0, len(chunk), _PIECE_BYTES):
                yield chunk[start : start + _PIECE_BYTES]
            if raw.is_closed():
                return
        yield TRAILER


async def relay_chunks(raw: asyncpg.Connection, target: CopyTarget, chunks: AsyncIterator[bytes]) -> tuple[int, int]:
    """Pass the source's bytes on; rows by the server's count, and bytes."""
    size = 0
    tail = b""

    async def counted() -> AsyncIterator[bytes]:
        nonlocal size, tail
        async for chunk in chunks:
            size += len(chunk)
            tail = (tail + bytes(chunk[-2:]))[-2:]
            yield chunk
        if tail != TRAILER:  # the server would take a stream that just stops
            raise LoadError("the source's bytes end before their trailer", fault="transient")

    return _count_of(await _copy(raw, target, counted())), size


async def _copy(raw: asyncpg.Connection, target: CopyTarget, source: AsyncIterator[bytes]) -> str:
    reply: str = await raw.copy_to_table(
        target.table.name,
        schema_name=target.table.schema,
        columns=list(target.columns),
        source=source,
        format="binary",
        freeze=target.freeze or None,
    )
    return reply


def _count_of(reply: str) -> int:
    return int(reply.rpartition(" ")[2])


__all__ = ["CopyTarget", "copy_rows", "relay_chunks"]
