"""JSON lines: numbers keep their digits, shapes keep their text, and what is not a line of JSON is named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.files.fast_jsonl import parse_block
from penstock.connectors.files.listing import FileRef
from penstock.connectors.files.read_jsonl import BadRowError, Block, parse_lines, to_batch
from penstock.errors import ExtractionError
from penstock.values import Field, TableSchema
from tests.connectors.files.lake import Lake

pytestmark = pytest.mark.feature("M11r")


def fails(lake: Lake, content: bytes | str) -> str:
    lake.put("x.jsonl", content)
    with pytest.raises(ExtractionError) as raised:
        lake.read("x.jsonl")
    return str(raised.value)


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        (["1", "-2", "null"], "int64", [1, -2, None]),
        (["1", "1.5"], "float64", [1.0, 1.5]),
        (["12345678901234567890"], "decimal(38,0)", ["12345678901234567890"]),
        (["0.1234567890123456789"], "numeric", ["0.1234567890123456789"]),
        (["1e400"], "numeric", ["1e400"]),
        (["1" * 5000], "numeric", ["1" * 5000]),
        (['""', '"0123"', "null"], "string", ["", "0123", None]),
        (["true", "false"], "bool", [True, False]),
        (["true", "1"], "json", ["true", "1"]),
        (['"x"', "1.10"], "json", ['"x"', "1.10"]),
        (['{"b": 1.10, "a": [1, null]}'], "json", ['{"b":1.10,"a":[1,null]}']),
    ],
)
def test_types_follow_the_spelling(lake: Lake, values: list[str], kind: str, found: list[object]) -> None:
    lake.put("x.jsonl", "".join(f'{{"id": 1, "v": {value}}}\n' for value in values))
    assert lake.kinds("x.jsonl")["v"] == kind
    rows = [row["v"] for row in lake.read("x.jsonl")]
    assert [str(v) if kind.startswith("decimal") else v for v in rows] == found


def test_a_key_that_a_line_lacks_is_null(lake: Lake) -> None:
    lake.put("x.jsonl", '{"a": 1}\n\n  \n{"b": "x"}\r\n{}\n')
    assert lake.read("x.jsonl") == [{"a": 1, "b": None}, {"a": None, "b": "x"}, {"a": None, "b": None}]


@pytest.mark.parametrize(
    "line",
    [
        '{"a": 1',
        '{"a": 1}}',
        '{"a": 1} {"a": 2}',
        "[1]",
        "1",
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": 1, "a": 2}',
        "{'a': 1}",
        '{"a": 01}',
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
    ids=lambda line: str(line)[:20],
)
def test_what_is_not_one_object_is_named_by_its_line(lake: Lake, line: str) -> None:
    assert "x.jsonl, line 3" in fails(lake, f'{{"a": 1}}\n\n{line}\n')


def test_text_that_is_not_utf8_is_named_by_its_line(lake: Lake) -> None:
    assert "x.jsonl, line 2" in fails(lake, b'{"a": "x"}\n{"a": "\xff"}\n')


def test_half_a_surrogate_pair_is_no_text(lake: Lake) -> None:
    assert "line 1, column 'a'" in fails(lake, '{"a": "\\ud800"}\n')


@pytest.mark.parametrize("late", ['"some text"', "1.5", "true", "[1]", "12345678901234567890"])
def test_a_later_value_that_does_not_fit_names_line_and_column_and_no_value(lake: Lake, late: str) -> None:
    lines = '{"v": 1}\n' * 300_000
    text = fails(lake, f'{lines}{{"v": {late}}}\n')
    assert "x.jsonl, line 300001, column 'v'" in text
    assert late not in text


def test_columns_override_what_is_inferred(lake: Lake) -> None:
    lake.put("x.jsonl", '{"a": "2024-01-01T00:00:00Z", "b": "12", "c": [1, 2], "d": {"x": 1.5}}\n')
    types = {"a": "timestamptz", "b": "int32", "c": "list<int64>", "d": "struct<x: decimal(5,2)>"}
    (row,) = lake.read("x.jsonl", types=types)
    assert (row["a"].isoformat(), row["b"], row["c"]) == ("2024-01-01T00:00:00+00:00", 12, [1, 2])
    assert str(row["d"]["x"]) == "1.50"


def test_text_takes_every_value_as_it_is_spelled(lake: Lake) -> None:
    lake.put("x.jsonl", '{"v": 1.10}\n{"v": true}\n{"v": "x"}\n{"v": [1, "y"]}\n{"v": null}\n')
    assert [row["v"] for row in lake.read("x.jsonl", types={"v": "string"})] == ["1.10", "true", "x", '[1,"y"]', None]


def test_no_prefix_of_a_file_is_loaded_in_part_without_a_word(lake: Lake) -> None:
    """Stated rule: complete lines, or a last line that is a whole object."""
    lines = ['{"id": 1, "v": "two\\nlines"}\n', '{"id": 22, "v": ""}\n', '{"id": 333, "v": null}\n']
    data = "".join(lines).encode()
    ends = {len("".join(lines[:n])) for n in range(4)}
    for cut in range(len(data)):
        lake.put("x.jsonl", data[:cut])
        try:
            rows = lake.read("x.jsonl")
        except ExtractionError:
            continue
        assert cut in ends | {end - 1 for end in ends}
        assert [row["id"] for row in rows] == [1, 22, 333][: len(rows)]


SCHEMA = TableSchema(
    (Field("i", "int64"), Field("f", "float64"), Field("s", "string"), Field("b", "bool"), Field("d", "decimal(9,2)"))
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=4),
    st.just("1.5"),
    st.lists(st.integers(), max_size=1),
)
ROWS = st.lists(st.dictionaries(st.sampled_from(["i", "f", "s", "b", "d", "other"]), VALUES, max_size=5), max_size=3)


@pytest.mark.parametrize("strict", [frozenset[str](), frozenset(SCHEMA.names)])
@given(rows=ROWS)
def test_the_fast_parser_agrees_with_the_exact_one_or_leaves_it_the_block(
    strict: frozenset[str], rows: list[dict[str, object]]
) -> None:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    schema = SCHEMA if not strict else SCHEMA.without("d")
    fast = parse_block(content, schema, strict=strict, own=False)
    if fast is None:
        return
    ref = FileRef("x.jsonl", 0, 0, "jsonl")
    try:
        exact = to_batch(parse_lines(ref, Block(content, 1)), schema, strict=strict, own=False)
    except BadRowError as error:
        raise AssertionError("the fast parser took what the exact one refuses") from error
    assert fast.to_pylist() == exact.to_pylist()
