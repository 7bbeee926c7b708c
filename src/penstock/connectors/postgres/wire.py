"""Arrow arrays to PostgreSQL's binary formats, a column at a time: each value becomes its exact bytes on the wire."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_EPOCH_DAYS = 10_957  # 2000-01-01, where PostgreSQL counts from
_EPOCH_MICROS = _EPOCH_DAYS * 86_400_000_000
_NEGATIVE, _NAN, _INFINITY, _MINUS_INFINITY = 0x4000, 0xC000, 0xD000, 0xF000
_MAX_SCALE = 16_383
_CANONICAL_UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
_PLAIN_NUMBER = r"^[+-]?\d+(\.\d+)?$"


def fixed_wire(values: pa.Array, kind: str) -> pa.Array:
    """Numbers, booleans, dates and times of the type `kind`; `values` has its Arrow type already."""
    import numpy as np
    import pyarrow as pa

    formats = {"bool": ">u1", "int2": ">i2", "int4": ">i4", "float4": ">f4", "float8": ">f8", "date": ">i4"}
    shift = {"date": _EPOCH_DAYS, "timestamp": _EPOCH_MICROS, "timestamptz": _EPOCH_MICROS}.get(kind, 0)
    numbers = _numbers(values, kind)
    if shift:
        numbers = numbers.astype("i8") - shift
    data = numbers.astype(formats.get(kind, ">i8"))
    width = data.dtype.itemsize
    offsets = np.arange(0, (len(values) + 1) * width, width, dtype=np.int32)
    filled = pa.Array.from_buffers(
        pa.binary(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    )
    return _with_nulls_of(values, filled)


def _numbers(values: pa.Array, kind: str) -> np.ndarray:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == "bool":
        return np.asarray(pc.fill_null(values.cast(pa.uint8()), 0))
    plain = {"date": pa.int32(), "time": pa.int64(), "timestamp": pa.int64(), "timestamptz": pa.int64()}.get(kind)
    numbers = values.view(plain) if plain is not None else values
    return np.asarray(pc.fill_null(numbers, 0))


def interval_wire(values: pa.Array) -> pa.Array:
    """Month-day-nano intervals; ValueError where a part is finer than a microsecond."""
    import numpy as np

    stored = _interval_parts(values)
    valid = _valid(values)
    if (stored["nanos"][valid] % 1000).any():
        raise ValueError("an interval has parts finer than a microsecond")
    data = np.zeros(len(values), dtype=[("micros", ">i8"), ("days", ">i4"), ("months", ">i4")])
    data["micros"] = stored["nanos"] // 1000
    data["days"], data["months"] = stored["days"], stored["months"]
    return _with_nulls_of(values, _of_width(data.view("u1"), len(values), 16))


def interval_nanos(values: pa.Array) -> pa.Array:
    """What month-day-nano intervals hold below a day."""
    import numpy as np
    import pyarrow as pa

    nanos = np.ascontiguousarray(_interval_parts(values)["nanos"])
    return pa.array(nanos, pa.int64(), mask=~_valid(values))


def _interval_parts(values: pa.Array) -> np.ndarray:
    import numpy as np

    parts = np.dtype([("months", "<i4"), ("days", "<i4"), ("nanos", "<i8")])
    return np.frombuffer(values.buffers()[1], dtype=parts)[values.offset : values.offset + len(values)]


def uuid_wire(texts: pa.Array) -> pa.Array:
    """Texts to the 16 bytes of a uuid; ValueError where one is none (it is not shown)."""
    import numpy as np
    import pyarrow.compute as pc

    zero = "00000000-0000-0000-0000-000000000000"
    filled = pc.fill_null(texts, zero)
    canonical = pc.match_substring_regex(filled, _CANONICAL_UUID)
    plain = pc.if_else(canonical, filled, zero)
    typed = characters(plain)[0].reshape(len(texts), 36)
    nibbles = np.zeros(256, dtype="u1")
    for digit in range(16):
        nibbles[[ord(f"{digit:x}"), ord(f"{digit:X}")]] = digit
    digits = nibbles[np.delete(typed, (8, 13, 18, 23), axis=1)]
    packed = _of_width((digits[:, 0::2] << 4 | digits[:, 1::2]).astype("u1").reshape(-1), len(texts), 16)
    return _with_nulls_of(texts, _replace(packed, pc.invert(canonical), texts, _odd_uuid))


def _odd_uuid(text: str) -> bytes:
    try:
        return uuid.UUID(text).bytes
    except ValueError:
        raise ValueError("a value is not a uuid") from None


def jsonb_wire(texts: pa.Array) -> pa.Array:
    """Texts with the version byte jsonb wants in front."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(pa.scalar(b"\x01", pa.binary()), texts.cast(pa.binary()), b"")


def list_wire(lists: pa.Array, element_oid: int, encode: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """One-dimensional arrays; `encode` gives the elements' own bytes."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    elements = encode(lists.flatten()).cast(pa.binary())
    valid = _valid(elements)
    lengths = pc.fill_null(pc.binary_length(elements), -1).to_numpy().astype(">i4")
    prefixes = _of_width(np.ascontiguousarray(lengths).view("u1"), len(elements), 4)
    prefixed = pc.binary_join_element_wise(prefixes, pc.fill_null(elements, b""), b"")
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype("i4")
    offsets = np.concatenate(([0], np.cumsum(counts))).astype("i4")
    bodies = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), prefixed), b"")
    nulls_before = np.concatenate(([0], np.cumsum(~valid)))
    has_null = nulls_before[offsets[1:]] > nulls_before[offsets[:-1]]
    return _with_nulls_of(lists, pc.binary_join_element_wise(_list_heads(counts, has_null, element_oid), bodies, b""))


def _list_heads(counts: np.ndarray, has_null: np.ndarray, oid: int) -> pa.Array:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    heads = np.zeros((len(counts), 5), dtype=">i4")
    heads[:, 0], heads[:, 1], heads[:, 2], heads[:, 3], heads[:, 4] = 1, has_null, oid, counts, 1
    full = _of_width(heads.reshape(-1).view("u1"), len(counts), 20)
    empty = pa.scalar(b"\0" * 8 + oid.to_bytes(4, "big"), pa.binary())
    return pc.if_else(pa.array(counts == 0), empty, full)


def numeric_wire(texts: pa.Array) -> pa.Array:
    """Texts of numbers to numeric: any length, NaN and infinities too, the scale kept; ValueError where one is none."""
    import pyarrow.compute as pc

    filled = pc.fill_null(texts, "0")
    plain = pc.match_substring_regex(filled, _PLAIN_NUMBER)
    packed = _plain_numeric(pc.if_else(plain, filled, "0"))
    return _with_nulls_of(texts, _replace(packed, pc.invert(plain), texts, odd_numeric))


def _plain_numeric(texts: pa.Array) -> pa.Array:
    """Base 10,000 digits of all rows at once: each character finds its group by its distance from the point."""
    import numpy as np

    flat, start, end = characters(texts)
    first = flat[start] if len(start) else flat
    start = start + ((first == ord("-")) | (first == ord("+")))
    point = end.copy()
    dots = np.flatnonzero(flat == ord("."))
    point[np.searchsorted(end, dots, side="right")] = dots
    scale = np.maximum(end - point - 1, 0)
    if (scale > _MAX_SCALE).any():
        raise ValueError(f"a number has more than {_MAX_SCALE} digits after the point")
    whole_groups = (point - start + 3) // 4
    groups = whole_groups + (scale + 3) // 4
    digits = _group_digits(flat, point, whole_groups, groups, point - start + scale)
    return _pack_numeric(digits, first == ord("-"), scale, whole_groups, groups)


def _group_digits(
    flat: np.ndarray, point: np.ndarray, whole_groups: np.ndarray, groups: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    import numpy as np

    position = np.flatnonzero((flat >= ord("0")) & (flat <= ord("9")))
    row = np.repeat(np.arange(len(point)), lengths)
    distance = point[row] - position
    place = distance - (distance > 0)
    group = (np.cumsum(groups) - groups + whole_groups - 1)[row] - (place >> 2)
    weight = np.array([1, 10, 100, 1000])[place & 3]
    return np.bincount(group, weights=(flat[position] - ord("0")) * weight, minlength=int(groups.sum())).astype(">i2")


def _pack_numeric(
    digits: np.ndarray, negative: np.ndarray, scale: np.ndarray, whole_groups: np.ndarray, groups: np.ndarray
) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    count = len(scale)
    first_group = np.cumsum(groups) - groups
    nonzero = np.flatnonzero(digits)
    rows = np.repeat(np.arange(count), groups)[nonzero]
    left, right = (np.searchsorted(rows, np.arange(count), side=side) for side in ("left", "right"))
    some = left < right
    lead, last = np.zeros(count, "i8"), np.full(count, -1, "i8")
    lead[some] = nonzero[left[some]] - first_group[some]
    last[some] = nonzero[right[some] - 1] - first_group[some]
    kept = last - lead + 1
    ends = np.cumsum(4 + kept)
    head = ends - 4 - kept
    data = np.zeros(int(ends[-1]) if count else 0, dtype=">i2")
    data[head] = kept
    data[head + 1] = np.where(some, whole_groups - 1 - lead, 0)
    data[head + 2] = np.where(negative & some, _NEGATIVE, 0)
    data[head + 3] = scale
    data[_ranges(head + 4, kept)] = digits[_ranges(first_group + lead, kept)]
    offsets = np.concatenate(([0], ends * 2)).astype("i4")
    return pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def odd_numeric(text: str) -> bytes:
    """One number that is not just digits: NaN, infinity, an exponent, blanks around it."""
    try:
        number = Decimal(text)
    except ArithmeticError:
        raise ValueError("a value is not a number") from None
    if number.is_nan():
        return _special(_NAN)
    if number.is_infinite():
        return _special(_MINUS_INFINITY if number < 0 else _INFINITY)
    import pyarrow as pa

    return bytes(_plain_numeric(pa.array([f"{number:f}"]))[0].as_py())


def _special(sign: int) -> bytes:
    return b"\0\0\0\0" + sign.to_bytes(2, "big") + b"\0\0"


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, ... of each row, one after the other."""
    import numpy as np

    return np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(int(lengths.sum()))


def characters(texts: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The characters of all rows, and where each row starts and ends in them."""
    import numpy as np

    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, dtype="i4")[texts.offset : texts.offset + len(texts) + 1].astype("i8")
    flat = np.frombuffer(data, dtype="u1")[bounds[0] : bounds[-1]] if data is not None else np.zeros(0, "u1")
    bounds = bounds - bounds[0]
    return flat, bounds[:-1], bounds[1:]


def _of_width(data: np.ndarray, count: int, width: int) -> pa.Array:
    import pyarrow as pa

    return pa.Array.from_buffers(pa.binary(width), count, [None, pa.py_buffer(data)]).cast(pa.binary())


def _valid(values: pa.Array) -> np.ndarray:
    import numpy as np

    return np.asarray(values.is_valid())


def _with_nulls_of(original: pa.Array, filled: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.if_else(original.is_valid(), filled, None) if original.null_count else filled


def _replace(packed: pa.Array, odd: pa.Array, texts: pa.Array, encode: Callable[[str], bytes]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pc.any(odd).as_py():
        return packed
    odd_bytes = pa.array([encode(text) for text in texts.filter(odd).to_pylist()], pa.binary())
    return pc.replace_with_mask(packed, odd, odd_bytes)


__all__ = [
    "characters",
    "fixed_wire",
    "interval_nanos",
    "interval_wire",
    "jsonb_wire",
    "list_wire",
    "numeric_wire",
    "uuid_wire",
]
