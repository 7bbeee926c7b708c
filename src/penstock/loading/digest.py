"""Digests over typed values: of single rows at a boundary, and of whole tables as multisets of rows."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from penstock.schema.types import FLOATS, SIGNED, TEXTUAL, UNSIGNED, decimal_of, list_item, struct_fields

if TYPE_CHECKING:
    import pyarrow as pa

_SUM_BITS = 128
_BYTES_AT_ONCE = 8 << 20
_guard = threading.Lock()


def row_digests(rows: pa.RecordBatch) -> list[str]:
    """128 bits of each row, 32 hex digits: equal for equal typed values, whatever system or width they came in.

    NULLs are left out and columns sorted by name, so a new empty column or another column order changes nothing.
    """
    names = sorted(rows.schema.names)
    columns = [_encode_column(name, _plain_values(rows.column(name))) for name in names]
    return [hashlib.blake2b(b"".join(cells), digest_size=16).hexdigest() for cells in zip(*columns, strict=True)]


def _encode_column(name: str, values: list[object]) -> list[bytes]:
    """Each value with its column's name before it; nothing for NULL. A column's values are all of one kind."""
    label = _framed(name.encode())
    first = next((value for value in values if value is not None), None)
    encode = _encoder_of(first)
    return [b"" if value is None else label + encode(value) for value in values]


def _plain_values(column: Any) -> list[object]:
    """Python values; moments as whole microseconds, since datetime objects end at the year 9999."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_timestamp(column.type):
        values: list[object] = column.to_pylist()
        return values
    zone = "z" if column.type.tz else "n"
    micros = pc.cast(pc.cast(column, pa.timestamp("us", column.type.tz)), pa.int64())
    return [None if cell is None else _Moment(zone, cell) for cell in micros.to_pylist()]


class _Moment(tuple[str, int]):
    """A timestamp, with or without zone, in microseconds."""

    __slots__ = ()

    def __new__(cls, zone: str, micros: int) -> _Moment:
        return super().__new__(cls, (zone, micros))


def _encoder_of(sample: object) -> Callable[[Any], bytes]:
    """Kind, length, text: no two different values share an encoding, no value runs into the next."""
    if isinstance(sample, list | dict):
        return _encode_nested
    for kind, letter, write in _KINDS:
        if isinstance(sample, kind):
            return _scalar_encoder(letter, write)
    return _scalar_encoder(b"o", lambda value: repr(value).encode())


def _scalar_encoder(letter: bytes, write: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    return lambda value: letter + _framed(write(value))


def _encode_nested(value: object) -> bytes:
    if isinstance(value, list):
        return b"l" + _framed(b"".join(_encode_nested(item) for item in value))
    if isinstance(value, dict):
        return b"s" + _framed(b"".join(_framed(str(k).encode()) + _encode_nested(v) for k, v in value.items()))
    return _encoder_of(value)(value)


def _framed(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


def _write_float(value: float) -> bytes:
    if value != value:  # noqa: PLR0124 - all NaNs are one value
        return b"nan"
    return (value + 0.0).hex().encode()  # adding zero makes -0.0 equal to 0.0


def _write_datetime(value: datetime) -> bytes:
    return (value.astimezone(UTC) if value.tzinfo else value).isoformat().encode()


def _write_text(value: str) -> bytes:
    return value.encode()


def _write_decimal(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    kept = text.rstrip("0")
    scale = int(exponent) + len(text) - len(kept)
    return f"{'-' if sign and kept else ''}{kept or '0'}E{scale if kept else 0}".encode()


_KINDS: tuple[tuple[type, bytes, Callable[[Any], bytes]], ...] = (
    (bool, b"b", lambda value: b"1" if value else b"0"),
    (int, b"i", lambda value: str(value).encode()),
    (float, b"f", _write_float),
    (Decimal, b"d", _write_decimal),
    (str, b"t", _write_text),
    (bytes, b"x", bytes),
    (_Moment, b"m", lambda value: f"{value[0]}{value[1]}".encode()),
    (datetime, b"m", _write_datetime),
    (date, b"y", lambda value: value.isoformat().encode()),
    (time, b"c", lambda value: value.isoformat().encode()),
    (timedelta, b"u", lambda value: str(value // timedelta(microseconds=1)).encode()),
    (type(None), b"0", lambda _: b""),
)


def digest_kind(spelling: str) -> str:
    """What of a column's type enters its rows' digests: equal values of equal kinds have equal ones."""
    item, parts = list_item(spelling), struct_fields(spelling)
    if item is not None:
        return f"list<{digest_kind(item)}>"
    if parts is not None:
        return f"struct<{', '.join(f'{name}: {digest_kind(kind)}' for name, kind in parts)}>"
    for kinds, kind in ((TEXTUAL, "text"), ((*SIGNED, *UNSIGNED), "integer"), (FLOATS, "float")):
        if spelling in kinds:
            return kind
    return "decimal" if decimal_of(spelling) else spelling


class TableDigest:
    """A digest of a multiset of rows: order and batch cuts do not matter; add batches of one schema.

    Two sums of 64-bit row hashes, combined in opposite column orders, and the count. Equal typed values only hash
    alike within one DuckDB version, so the text names it.
    """

    def __init__(self) -> None:
        self._rows = 0
        self._sums = [0, 0]
        self._cursor: Any = None
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0

    def add(self, rows: pa.RecordBatch) -> None:
        """Takes the rows without copying them; a few MB of them wait for each other: a query costs 4 ms of its own."""
        if not rows.num_rows:
            return
        self._rows += rows.num_rows
        self._waiting.append(_hashable(rows))
        self._waiting_bytes += rows.nbytes
        if self._waiting_bytes >= _BYTES_AT_ONCE:
            self._hash_waiting()

    def combine(self, other: TableDigest) -> None:
        other._hash_waiting()
        self._rows += other._rows
        self._add_sums(*other._sums)

    def __str__(self) -> str:
        """`algorithm:hex`; texts of different algorithms cannot be compared."""
        self._hash_waiting()
        return f"{digest_algorithm()}:{self._rows:016x}{self._sums[0]:032x}{self._sums[1]:032x}"

    def _hash_waiting(self) -> None:
        import pyarrow as pa

        if not self._waiting:
            return
        rows = pa.Table.from_batches(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        if self._cursor is None:
            self._cursor = _database().cursor()
        self._cursor.register("batch", rows)
        try:
            first, second = self._cursor.execute(_sums_query(rows.num_columns)).fetchall()[0]
        finally:
            self._cursor.unregister("batch")
        self._add_sums(first, second)

    def _add_sums(self, first: int, second: int) -> None:
        self._sums = [(self._sums[0] + first) % (1 << _SUM_BITS), (self._sums[1] + second) % (1 << _SUM_BITS)]


def add_digests(texts: Sequence[str]) -> str:
    """The digest of all rows together, from those of parts. Raises ValueError where their algorithms differ."""
    total = TableDigest()
    for text in texts:
        algorithm, _, sums = text.partition(":")
        if algorithm != digest_algorithm():
            raise ValueError(f"digests of {algorithm} and {digest_algorithm()} cannot be added")
        total._rows += int(sums[:16], 16)
        total._add_sums(int(sums[16:48], 16), int(sums[48:80], 16))
    return str(total)


def digest_algorithm() -> str:
    import duckdb

    return f"duckdb-hash-{duckdb.__version__}"


def is_comparable(text: str) -> bool:
    """Whether a stored digest can be compared with one computed here."""
    return text.partition(":")[0] == digest_algorithm()


@lru_cache(maxsize=64)
def _sums_query(columns: int) -> str:
    """Columns go by position: names may be anything. Hashing the hash undoes the linearity of DuckDB's combination."""
    names = [f"c{number}" for number in range(columns)]
    forward, backward = ", ".join(names), ", ".join(reversed(names))
    return (
        f"select sum(hash(h)::hugeint), sum(hash(g)::hugeint) "
        f"from (select hash({forward}) as h, hash(1, {backward}) as g from batch)"
    )


def _hashable(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The columns renamed by position; decimals over 38 digits as text, which DuckDB has no type for."""
    import pyarrow as pa

    columns = [c.cast(pa.string()) if pa.types.is_decimal256(c.type) else c for c in rows.columns]
    return pa.RecordBatch.from_arrays(columns, names=[f"c{number}" for number in range(len(columns))])


def _database() -> Any:
    """One database of the process: hashing needs no memory of its own, and one thread, the caller's."""
    with _guard:
        return _open_database()


@lru_cache(maxsize=1)
def _open_database() -> Any:
    import duckdb

    return duckdb.connect(":memory:", config={"threads": 1, "memory_limit": "64MB", "temp_directory": ""})
