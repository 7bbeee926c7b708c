"""Undecoded rows: COPY BINARY as the server sends it, and which columns may travel so."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from penstock.connectors.postgres import loop
from penstock.connectors.postgres.connect import address_of, close_connection, open_connection
from penstock.connectors.postgres.explain import driver_errors, explain_error
from penstock.connectors.postgres.identifiers import quote
from penstock.connectors.postgres.settings import bind_sql, session_settings
from penstock.errors import ExtractionError, PenstockError, SourceChangedError
from penstock.values import Connection, Encoding, Field, Split

if TYPE_CHECKING:
    import asyncpg

COPY_BINARY = Encoding("postgres-copy-binary")
QUEUE_BYTES = 8 << 20

# COPY BINARY of one type loaded as another may succeed and be garbage: only types that were tested, equal at both ends
_TESTED = frozenset(
    (
        "boolean",
        "smallint",
        "integer",
        "bigint",
        "real",
        "double precision",
        "numeric",
        "text",
        "character varying",
        "character",
        "bytea",
        "date",
        "time without time zone",
        "time with time zone",
        "timestamp without time zone",
        "timestamp with time zone",
        "interval",
        "uuid",
        "json",
        "jsonb",
        "inet",
        "cidr",
        "macaddr",
        "bit",
        "bit varying",
        "point",
        "int4range",
        "int8range",
        "numrange",
        "tsrange",
        "tstzrange",
        "daterange",
    )
)
_SNAPSHOT = re.compile(r"[0-9A-Fa-f]+(-[0-9A-Fa-f]+)*")
_MODIFIER = re.compile(r"\([^)]*\)")
# source type without modifier -> target types that hold each of its values as it is
_WIDER: Mapping[str, frozenset[str]] = {
    "smallint": frozenset(("integer", "bigint", "numeric")),
    "integer": frozenset(("bigint", "numeric")),
    "bigint": frozenset(("numeric",)),
    "real": frozenset(("double precision",)),
    "numeric": frozenset(("numeric",)),
    "character varying": frozenset(("text", "character varying")),
    "name": frozenset(("text", "character varying")),
    "text": frozenset(("character varying",)),
    "uuid": frozenset(("text", "character varying")),
    "json": frozenset(("text",)),
    "jsonb": frozenset(("text", "json")),
    "inet": frozenset(("text",)),
    "cidr": frozenset(("text",)),
}


def relay_casts(source_fields: Sequence[Field], target_fields: Sequence[Field]) -> tuple[str | None, ...] | None:
    """A cast in the source's SELECT for each column (None: as it is), or None where the Arrow path must be taken.

    Both ends must speak UTF-8, which `open_connection` sees to. Columns pair by position.
    """
    if len(source_fields) != len(target_fields):
        return None
    casts: list[str | None] = []
    for source, target in zip(source_fields, target_fields, strict=True):
        if source.native is None or target.native is None:
            return None
        if source.native == target.native and _base(source.native) in _TESTED:
            casts.append(None)
        elif _widens(source.native, target.native):
            casts.append(target.native)
        else:
            return None
    return tuple(casts)


def relay_splits(splits: Sequence[Split], target_fields: Sequence[Field]) -> tuple[Split, ...] | None:
    """The splits with the casts that make their bytes fit the target, or None for the Arrow path."""
    relayed = []
    for split in splits:
        casts = relay_casts(split.schema.fields, target_fields)
        if casts is None:
            return None
        columns = (f"t.{quote(f.name)}" for f in split.schema.fields)
        items = (f"{c}::{cast}" if cast else c for c, cast in zip(columns, casts, strict=True))
        work = {**split.work, "relay_sql": f"SELECT {', '.join(items)} {split.work['source']}"}
        relayed.append(replace(split, work=work))
    return tuple(relayed)


def _base(native: str) -> str:
    return " ".join(_MODIFIER.sub(" ", native.removesuffix("[]")).split())


def _widens(source: str, target: str) -> bool:
    """Whether each value of `source` casts to `target` unchanged; a length or precision must not be cut."""
    if source.endswith("[]") or target.endswith("[]") or _base(target) not in _WIDER.get(_base(source), ()):
        return False
    room, asked = _numbers(target), _numbers(source)
    if not room:
        return True
    if _base(target) == "character varying":
        return _base(source) == "character varying" and bool(asked) and asked[0] <= room[0]
    return (
        _base(source) == "numeric"
        and len(asked) == len(room) == 2
        and asked[1] <= room[1]
        and asked[0] - asked[1] <= room[0] - room[1]
    )


def _numbers(native: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\((-?\d+)(?:,(-?\d+))?\)", native)[0] if n) if "(" in native else ()


class CopyChunks:
    """One split as COPY BINARY. Iterate once; `rows` is the server's count after the end."""

    def __init__(self, connection: Connection, split: Split) -> None:
        self._connection = connection
        self._split = split
        self._where = f"{address_of(connection)}, {split.stream}"
        self.rows: int | None = None

    @property
    def encoding(self) -> Encoding:
        return COPY_BINARY

    def __iter__(self) -> Iterator[bytes]:
        chunks = self._chunks()
        try:
            while True:
                chunk = loop.run(_next(chunks))
                if chunk is None:
                    return
                yield chunk
        finally:
            loop.run(chunks.aclose())

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks()

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        session = await open_connection(self._connection, application="relay")
        queue = _ByteQueue(QUEUE_BYTES)
        copying = asyncio.create_task(self._copy(session, queue))
        try:
            while (chunk := await queue.get()) is not None:
                yield chunk
            await copying
        finally:
            if not copying.done():
                copying.cancel()
                session.terminate()
            await asyncio.gather(copying, return_exceptions=True)
            await close_connection(session)

    async def _copy(self, session: asyncpg.Connection, queue: _ByteQueue) -> None:
        work = self._split.work
        try:
            await _enter_snapshot(session, work, self._connection)
            reply = await session.copy_from_query(str(work["relay_sql"]), output=queue.put, format="binary")
            self.rows = int(reply.rpartition(" ")[2])
        except driver_errors() as error:
            raise self._explain(error) from error
        finally:
            queue.end()

    def _explain(self, error: BaseException) -> PenstockError:
        if getattr(error, "sqlstate", None) in ("42P01", "42703", "3F000"):
            return SourceChangedError(
                "a table or column went away while it was read", where=self._where, fix="run again", retryable=True
            )
        return explain_error(error, where=self._where, kind=ExtractionError)


async def _next(chunks: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(chunks, None)


async def _enter_snapshot(session: asyncpg.Connection, work: Mapping[str, Any], connection: Connection) -> None:
    await session.execute(
        f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{snapshot_of(work)}'"
    )
    sql, arguments = bind_sql({**session_settings(connection), **work["settings"]})
    await session.execute(sql, *arguments)


def snapshot_of(work: Mapping[str, Any]) -> str:
    """The split's snapshot. Raises ExtractionError for text that is none: it goes into SQL as it is."""
    snapshot = str(work["snapshot"])
    if not _SNAPSHOT.fullmatch(snapshot):
        raise ExtractionError(f"{snapshot!r} is no snapshot", fix="splits come from open() of the same source")
    return snapshot


class _ByteQueue:
    """Chunks between the copy and whoever takes them: at most so many bytes wait; a larger chunk passes alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._chunks: deque[bytes] = deque()
        self._ended = False
        self._filled = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, chunk: bytes) -> None:
        while self._size and self._size + len(chunk) > self._limit:
            self._room.clear()
            await self._room.wait()
        self._chunks.append(bytes(chunk))
        self._size += len(chunk)
        self._filled.set()

    async def get(self) -> bytes | None:
        """The next chunk; None at the end."""
        while not self._chunks:
            if self._ended:
                return None
            self._filled.clear()
            await self._filled.wait()
        chunk = self._chunks.popleft()
        self._size -= len(chunk)
        self._room.set()
        return chunk

    def end(self) -> None:
        self._ended = True
        self._filled.set()
