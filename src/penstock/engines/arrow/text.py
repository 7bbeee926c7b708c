"""Values as the text Spark's `cast(value as string)` gives them, session zone UTC, a column at a time.

Decimals are written plainly with their scale (Spark 4 casts under ANSI), doubles as Java's `Double.toString` does since
JDK 19 (shortest digits), fractions of seconds without trailing zeros.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from penstock.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa


def to_spark_text(column: pa.Array, name: str) -> pa.Array:
    """A string or binary column of the same length, NULL where the column is. Raises ConfigError for an interval."""
    import pyarrow as pa
    import pyarrow.compute as pc

    types, kind = pa.types, column.type
    if types.is_dictionary(kind):
        return to_spark_text(column.dictionary_decode(), name)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        return column
    if types.is_floating(kind):
        return _float_text(column)
    if types.is_decimal(kind):
        return _decimal_text(column)
    if types.is_temporal(kind):
        return _temporal_text(column, name)
    if types.is_nested(kind):
        return _nested_text(column, name)
    if types.is_string_view(kind):
        return pc.cast(column, pa.string())
    if types.is_binary_view(kind) or types.is_fixed_size_binary(kind):
        return pc.cast(column, pa.binary())
    return pc.cast(column, pa.string())


def _temporal_text(column: pa.Array, name: str) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    types, kind = pa.types, column.type
    if types.is_date(kind):
        return _signed_years(pc.cast(column, pa.date32()), pc.cast(pc.cast(column, pa.date32()), pa.string()))
    if types.is_timestamp(kind):
        micros = pc.cast(column, pa.timestamp("us", kind.tz))
        naive = pc.cast(micros, pa.timestamp("us"))
        return _signed_years(naive, _without_zeros(pc.cast(naive, pa.string())))
    if types.is_time(kind):
        return _without_zeros(pc.cast(pc.cast(column, pa.time64("us")), pa.string()))
    raise ConfigError(
        f"column {name!r} of type {kind} has no text to hash", fix="leave it out of dedup_columns, or cast it to text"
    )


def _without_zeros(text: pa.Array) -> pa.Array:
    """Trim `.120000` to `.12` and `.000000` to nothing; Arrow always writes six digits."""
    import pyarrow.compute as pc

    return pc.utf8_rtrim(pc.utf8_rtrim(text, characters="0"), characters=".")


def _signed_years(column: pa.Array, text: pa.Array) -> pa.Array:
    """Years past 9999 carry a plus sign in Java's ISO format."""
    import pyarrow.compute as pc

    late = pc.fill_null(pc.greater(pc.year(column), 9999), False)  # noqa: FBT003 - Arrow's own signature
    if not late.true_count:
        return text
    return pc.if_else(late, pc.binary_join_element_wise("+", text, ""), text)


def _decimal_text(column: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.cast(column, pa.string())
    scientific = pc.match_substring(text, "E")
    return _patch(text, scientific, column, lambda value: format(value, "f"))


def _float_text(column: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    single = not pa.types.is_float64(column.type)
    if pa.types.is_float16(column.type):
        column = pc.cast(column, pa.float32())
    text = pc.cast(column, pa.string())
    size = pc.abs(pc.cast(column, pa.float64()))
    plain = pc.or_(pc.equal(size, 0), pc.and_(pc.greater_equal(size, 1e-3), pc.less(size, 1e7)))
    whole = pc.and_(plain, pc.invert(pc.match_substring(text, ".")))
    text = pc.if_else(whole, pc.binary_join_element_wise(text, ".0", ""), text)
    return _patch(text, pc.invert(plain), column, _java_single if single else _java_double)


def _patch(text: pa.Array, wrong: pa.Array, column: pa.Array, write: Any) -> pa.Array:
    """Replace the text where `wrong`, writing each distinct value once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wrong = pc.fill_null(wrong, False)  # noqa: FBT003 - Arrow's own signature
    if not wrong.true_count:
        return text
    encoded = pc.dictionary_encode(column.filter(wrong))
    words = pa.array([write(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return pc.replace_with_mask(text, wrong, words.take(encoded.indices))


def _java_double(value: float) -> str:
    return _java_text(value, repr(value))


def _java_single(value: float) -> str:
    import numpy as np

    return _java_text(value, str(np.float32(value)))


def _java_text(value: float, shortest: str) -> str:
    if value != value:  # noqa: PLR0124 - NaN
        return "NaN"
    if value in {float("inf"), float("-inf")}:
        return "Infinity" if value > 0 else "-Infinity"
    sign, digits, exponent = Decimal(shortest).as_tuple()
    assert isinstance(exponent, int)
    point = len(digits) - 1 + exponent
    text = "".join(map(str, digits)).rstrip("0") or "0"
    return f"{'-' if sign else ''}{text[0]}.{text[1:] or '0'}E{point}"


def _nested_text(column: pa.Array, name: str) -> pa.Array:
    """`[a, null]` for lists, `{a, null}` for structs, as Spark writes them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(column.type):
        parts = [_inner_text(part, name) for part in column.flatten()]
        joined = pc.binary_join_element_wise(*parts, ", ") if parts else pa.array([""] * len(column))
        text = pc.binary_join_element_wise("{", joined, "}", "")
        return pc.if_else(column.is_valid(), text, pa.scalar(None, pa.string()))
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise ConfigError(
            f"column {name!r} of type {column.type} has no text to hash", fix="leave it out of dedup_columns"
        )
    items = _inner_text(column.flatten(), name)
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cast(pc.cumulative_sum(lengths), pa.int64())])
    joined = pc.binary_join(pa.LargeListArray.from_arrays(offsets, items), ", ")
    text = pc.binary_join_element_wise("[", joined, "]", "")
    return pc.if_else(column.is_valid(), text, pa.scalar(None, pa.string()))


def _inner_text(column: pa.Array, name: str) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.fill_null(pc.cast(to_spark_text(column, name), pa.string()), "null")
