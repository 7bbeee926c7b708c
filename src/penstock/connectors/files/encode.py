"""Rows as the bytes of CSV and JSON lines, column by column in Arrow: no Python per cell but for the rare types."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.schema.texts import is_nested, to_text
from penstock.schema.types import FLOATS, SIGNED, UNSIGNED, decimal_of

if TYPE_CHECKING:
    import pyarrow as pa

_CONTROL = r"[\x00-\x1f]"


def csv_header(names: Sequence[str], delimiter: str) -> bytes:
    return (delimiter.join(_quote(name, delimiter) for name in names) + "\n").encode()


def _quote(text: str, delimiter: str) -> str:
    needed = not text or any(c in text for c in ('"', "\r", "\n", delimiter)) or text != text.strip()
    return '"' + text.replace('"', '""') + '"' if needed else text


def to_csv(columns: Sequence[pa.Array], kinds: Sequence[str], *, delimiter: str, null_value: str) -> bytes:
    """Lines of CSV: NULL is the bare null_value, an empty string is quoted, text is quoted where it must be."""
    cells = [_csv_cells(c, k, delimiter, null_value) for c, k in zip(columns, kinds, strict=True)]
    return _join(cells, delimiter, "\n")


def _csv_cells(column: pa.Array, kind: str, delimiter: str, null_value: str) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    text = to_text(column, kind) if column.type != pa.string() else column
    if null_value or kind == "binary" or is_nested(kind) or pa.types.is_string(column.type):
        text = _quote_cells(text, delimiter, null_value)
    return pc.fill_null(text, null_value)


def _quote_cells(text: pa.Array, delimiter: str, null_value: str) -> pa.Array:
    import pyarrow.compute as pc

    marks = '["\r\n' + ("\\" + delimiter if delimiter in "\\]^-" else delimiter) + "]|^$|^[ \t]|[ \t]$"
    needed = pc.match_substring_regex(text, marks)
    if null_value:
        needed = pc.or_(needed, pc.equal(text, null_value))
    if not pc.any(needed).as_py():
        return text
    doubled = pc.replace_substring(text, '"', '""')
    return pc.if_else(needed, pc.binary_join_element_wise('"', doubled, '"', ""), text)


def to_jsonl(columns: Sequence[pa.Array], names: Sequence[str], kinds: Sequence[str]) -> bytes:
    """Lines of JSON. Decimals are numbers with all their digits, NaN and infinities are strings, as is `json` text."""
    import pyarrow.compute as pc

    cells = []
    for position, (column, name, kind) in enumerate(zip(columns, names, kinds, strict=True)):
        start = ("{" if position == 0 else "") + json.dumps(name, ensure_ascii=False) + ":"
        cells.append(pc.binary_join_element_wise(start, pc.fill_null(_json_cells(column, kind), "null"), ""))
    return _join(cells, ",", "}\n")


def _json_cells(column: pa.Array, kind: str) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == "bool" or kind in (*SIGNED, *UNSIGNED):
        return pc.cast(column, pa.string())
    if decimal_of(kind) is not None:
        return to_text(column, kind)
    if kind in FLOATS:
        text = to_text(column, kind)
        return pc.if_else(pc.is_finite(column), text, pc.binary_join_element_wise('"', text, '"', ""))
    if is_nested(kind):
        return to_text(column, kind)
    return _json_strings(to_text(column, kind))


def _json_strings(text: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.any(pc.match_substring_regex(text, _CONTROL)).as_py():
        dumped = [None if v is None else json.dumps(v, ensure_ascii=False) for v in text.to_pylist()]
        return pa.array(dumped, pa.string())
    if pc.any(pc.match_substring_regex(text, r'["\\]')).as_py():
        text = pc.replace_substring(pc.replace_substring(text, "\\", "\\\\"), '"', '\\"')
    return pc.binary_join_element_wise('"', text, '"', "")


def _join(cells: Sequence[pa.Array], separator: str, end: str) -> bytes:
    """All lines as one run of bytes: the value buffer of the joined array is the file's content."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wide = [pc.cast(c, pa.large_string()) for c in cells]
    between, tail, nothing = (pa.scalar(text, pa.large_string()) for text in (separator, end, ""))
    wide[-1] = pc.binary_join_element_wise(wide[-1], tail, nothing)
    lines = pc.binary_join_element_wise(*wide, between)
    _, offsets, values = lines.buffers()
    if values is None or not len(lines):
        return b""
    ends = memoryview(offsets).cast("q")
    return memoryview(values)[ends[lines.offset] : ends[lines.offset + len(lines)]].tobytes()
