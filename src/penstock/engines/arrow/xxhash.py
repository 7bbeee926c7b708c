"""XXH64 of a whole column at once, each row with its own seed: what Spark's `xxhash64` computes of strings."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

SEED: Final = 42  # Spark's
_MASK: Final = (1 << 64) - 1
_P1: Final = 0x9E3779B185EBCA87
_P2: Final = 0xC2B2AE3D27D4EB4F
_P3: Final = 0x165667B19E3779F9
_P4: Final = 0x85EBCA77C2B2AE63
_P5: Final = 0x27D4EB2F165667C5
_STRIPE: Final = 32
_LONG_CELL: Final = 4096  # beyond, the stripes of one cell are walked by Python: numpy has nothing to vectorise over


class _Cells(NamedTuple):
    """Bytes of a column, padded and seen as words, with where each row starts and how long it is."""

    words: NDArray[np.uint64]
    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]


def hash_column(column: pa.Array, seeds: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """XXH64 of each cell of a string or binary column, seeded by row; NULL counts as empty."""
    import numpy as np

    cells = _cells_of(column)
    hashes = seeds + np.uint64(_P5)
    _hash_stripes(cells, seeds, hashes)
    hashes += cells.lengths.view(np.uint64)
    _hash_tail(cells, hashes)
    return _avalanche(hashes)


def _cells_of(column: pa.Array) -> _Cells:
    import numpy as np
    import pyarrow as pa

    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if column.null_count:
        column = column.fill_null("" if text else b"")
    wide = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
    _, offset_buffer, value_buffer = column.buffers()
    if len(column) == 0 or offset_buffer is None:
        empty = np.zeros(0, np.int64)
        return _Cells(np.zeros(2, np.uint64), np.zeros(16, np.uint8), empty, empty)
    stored = np.frombuffer(offset_buffer, np.int64 if wide else np.int32)
    offsets: NDArray[np.int64] = stored[column.offset : column.offset + len(column) + 1].astype(np.int64)
    first, last = int(offsets[0]), int(offsets[-1])
    data = np.zeros((last - first + 15) // 8 * 8 + 8, np.uint8)  # room to read whole words past the last byte
    if last > first:
        data[: last - first] = np.frombuffer(value_buffer, np.uint8)[first:last]
    return _Cells(data.view("<u8"), data, offsets[:-1] - first, np.diff(offsets))


def _hash_stripes(cells: _Cells, seeds: NDArray[np.uint64], hashes: NDArray[np.uint64]) -> None:
    """Fill in the start value of the rows of 32 bytes and more."""
    import numpy as np

    rows = np.flatnonzero(cells.lengths >= _STRIPE)
    if not len(rows):
        return
    for row in rows[cells.lengths[rows] > _LONG_CELL]:
        start, length = int(cells.starts[row]), int(cells.lengths[row])
        hashes[row] = _hash_long(cells.data[start : start + length // 32 * 32].tobytes(), int(seeds[row]))
    rows = rows[cells.lengths[rows] <= _LONG_CELL]
    rows = rows[np.argsort(-(cells.lengths[rows] // _STRIPE), kind="stable")]
    hashes[rows] = _walk_stripes(cells, rows, seeds[rows])


def _walk_stripes(cells: _Cells, rows: NDArray[np.int64], seeds: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`rows` come with the longest first, so that those still walking are a prefix."""
    import numpy as np

    starts, counts = cells.starts[rows], cells.lengths[rows] // _STRIPE
    lanes = [
        seeds + np.uint64((_P1 + _P2) & _MASK),
        seeds + np.uint64(_P2),
        seeds.copy(),
        seeds - np.uint64(_P1),
    ]
    for stripe in range(int(counts[0]) if len(counts) else 0):
        active = int(np.searchsorted(-counts, -stripe, side="left"))
        for number, lane in enumerate(lanes):
            words = _read_words(cells, starts[:active] + (stripe * _STRIPE + number * 8))
            lane[:active] = _round(lane[:active], words)
    total = _rotate(lanes[0], 1) + _rotate(lanes[1], 7) + _rotate(lanes[2], 12) + _rotate(lanes[3], 18)
    for lane in lanes:
        total ^= _round_zero(lane)
        total *= np.uint64(_P1)
        total += np.uint64(_P4)
    return total


def _hash_tail(cells: _Cells, hashes: NDArray[np.uint64]) -> None:
    import numpy as np

    tails = cells.lengths & (_STRIPE - 1)
    ends = cells.starts + cells.lengths
    starts = ends - tails
    for number in range(3):
        rows = _where(tails >= 8 * (number + 1))
        if rows is not None:
            words = _read_words(cells, starts[rows] + 8 * number)
            mixed = hashes[rows] ^ _round_zero(words)
            hashes[rows] = _rotate(mixed, 27) * np.uint64(_P1) + np.uint64(_P4)
    rows = _where((tails & 4) > 0)
    if rows is not None:
        halves = _read_words(cells, starts[rows] + (tails[rows] & ~7)) & np.uint64(0xFFFFFFFF)
        mixed = hashes[rows] ^ (halves * np.uint64(_P1))
        hashes[rows] = _rotate(mixed, 23) * np.uint64(_P2) + np.uint64(_P3)
    for number in range(3):
        rows = _where((tails & 3) > number)
        if rows is not None:
            single = cells.data[ends[rows] - (tails[rows] & 3) + number].astype(np.uint64)
            hashes[rows] = _rotate(hashes[rows] ^ (single * np.uint64(_P5)), 11) * np.uint64(_P1)


def _where(mask: NDArray[np.bool_]) -> NDArray[np.int64] | slice | None:
    """The rows of a mask: a slice when it is all of them, None when none; both spare gathering and scattering."""
    import numpy as np

    count = int(np.count_nonzero(mask))
    if not count:
        return None
    return slice(None) if count == len(mask) else np.flatnonzero(mask)


def _read_words(cells: _Cells, positions: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Eight bytes from any position: two aligned words, shifted together (unaligned gathers are slow in numpy)."""
    import numpy as np

    index = positions >> 3
    shift = ((positions & 7) << 3).view(np.uint64)
    words: NDArray[np.uint64] = cells.words.take(index)
    words >>= shift
    index += 1
    high = cells.words.take(index)
    high <<= np.uint64(1)
    np.subtract(np.uint64(63), shift, out=shift)
    high <<= shift
    words |= high
    return words


def _round(lane: NDArray[np.uint64], words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    import numpy as np

    return _rotate(lane + words * np.uint64(_P2), 31) * np.uint64(_P1)


def _round_zero(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`_round` of an empty lane."""
    import numpy as np

    return _rotate(words * np.uint64(_P2), 31) * np.uint64(_P1)


def _rotate(values: NDArray[np.uint64], bits: int) -> NDArray[np.uint64]:
    import numpy as np

    rotated: NDArray[np.uint64] = values << np.uint64(bits)
    rotated |= values >> np.uint64(64 - bits)
    return rotated


def _avalanche(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    import numpy as np

    hashes ^= hashes >> np.uint64(33)
    hashes *= np.uint64(_P2)
    hashes ^= hashes >> np.uint64(29)
    hashes *= np.uint64(_P3)
    hashes ^= hashes >> np.uint64(32)
    return hashes


def _hash_long(stripes: bytes, seed: int) -> int:
    first, second = (seed + _P1 + _P2) & _MASK, (seed + _P2) & _MASK
    third, fourth = seed, (seed - _P1) & _MASK
    for one, two, three, four in struct.iter_unpack("<4Q", stripes):
        first = _round_one(first, one)
        second = _round_one(second, two)
        third = _round_one(third, three)
        fourth = _round_one(fourth, four)
    total = _rotate_one(first, 1) + _rotate_one(second, 7) + _rotate_one(third, 12) + _rotate_one(fourth, 18)
    for lane in (first, second, third, fourth):
        total = ((total & _MASK) ^ _round_one(0, lane)) * _P1 + _P4
    return total & _MASK


def _round_one(lane: int, word: int) -> int:
    return (_rotate_one((lane + word * _P2) & _MASK, 31) * _P1) & _MASK


def _rotate_one(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (64 - bits))) & _MASK
