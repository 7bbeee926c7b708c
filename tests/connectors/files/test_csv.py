"""CSV as it is found in the world: every cell as it was written, or an error that names the line."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from penstock.errors import ExtractionError
from tests.connectors.files.lake import Lake

pytestmark = pytest.mark.feature("M11r")


def cells(lake: Lake, content: bytes | str, **extra: Any) -> list[dict[str, Any]]:
    lake.put("x.csv", content)
    return Lake(lake.root, {**lake.extra, **extra}).read("x.csv")


def fails(lake: Lake, content: bytes | str, **extra: Any) -> str:
    with pytest.raises(ExtractionError) as raised:
        cells(lake, content, **extra)
    assert raised.value.fix
    return str(raised.value)


def test_an_empty_cell_is_null_and_a_quoted_one_is_an_empty_string(lake: Lake) -> None:
    assert cells(lake, 'a,b\n"",\n,""\nNULL,\\N\n') == [
        {"a": "", "b": None},
        {"a": None, "b": ""},
        {"a": "NULL", "b": "\\N"},
    ]


def test_a_null_value_of_the_users_is_null_only_without_quotes(lake: Lake) -> None:
    assert cells(lake, 'a,b\nNULL,"NULL"\n,x\n', null_value="NULL") == [
        {"a": None, "b": "NULL"},
        {"a": "", "b": "x"},
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_understood_and_kept_inside_quotes(lake: Lake, end: str) -> None:
    text = end.join(["a,b", f'1,"x{end}y"', '2,"say ""hi"""', ""])
    assert cells(lake, text) == [{"a": 1, "b": f"x{end}y"}, {"a": 2, "b": 'say "hi"'}]


def test_a_byte_order_mark_is_not_part_of_the_first_name(lake: Lake) -> None:
    assert cells(lake, b"\xef\xbb\xbfid,b\n1,2\n") == [{"id": 1, "b": 2}]


def test_other_encodings_are_read_when_they_are_named(lake: Lake) -> None:
    assert cells(lake, "id;ö\n1;ß\n".encode("cp1252"), encoding="cp1252", delimiter=";") == [{"id": 1, "ö": "ß"}]
    assert cells(lake, "id\tö\n1\tß\n".encode("utf-16"), encoding="utf-16", delimiter="\t") == [{"id": 1, "ö": "ß"}]


def test_text_that_is_not_utf8_is_an_error_that_names_the_way_out(lake: Lake) -> None:
    assert "encoding" in fails(lake, b"a,b\n1,\xff\n")


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (["1", "-2"], "int64"),
        (["0123", "1"], "string"),
        (["+49", "1"], "string"),
        (["9223372036854775808"], "decimal(38,0)"),
        (["1" * 39], "numeric"),
        (["1.5", "2"], "float64"),
        (["0.1234567890123456789"], "numeric"),
        (["9007199254740993", "0.5"], "numeric"),
        (["1e400"], "numeric"),
        (["NaN", "1.5"], "float64"),
        (["true", "FALSE"], "bool"),
        (["0", "1"], "int64"),
        (["2024-02-29"], "date"),
        (["2024-02-30"], "string"),
        (["2024-01-01 10:00:00"], "timestamp"),
        (["2024-01-01T10:00:00.123456"], "timestamp"),
        (["2024-01-01T10:00:00.1234567"], "string"),
        (["2024-01-01T10:00:00Z", "2024-01-01 10:00:00+02:00"], "timestamptz"),
        (["2024-01-01T10:00:00Z", "2024-01-01 10:00:00"], "string"),
        (["10:00:00", "23:59:59.5"], "time"),
        (["10:00:00", "24:00:00"], "string"),
        (["1", "x"], "string"),
        (["", ""], "string"),
    ],
)
def test_types_are_the_narrowest_that_keep_every_digit(lake: Lake, column: list[str], kind: str) -> None:
    lake.put("x.csv", "id,v\n" + "".join(f"1,{cell}\n" for cell in column))
    assert lake.kinds("x.csv")["v"] == kind


def test_a_type_is_inferred_from_the_heads_of_all_files(lake: Lake) -> None:
    lake.put("d/1.csv", "id,v\n1,1\n")
    lake.put("d/2.csv", "id,v,w\n2,x,2024-01-01\n")
    assert lake.kinds("d/*.csv") == {"id": "int64", "v": "string", "w": "date"}
    assert [row["v"] for row in lake.read("d")] == ["1", "x"]


@pytest.mark.parametrize(
    ("late", "kind"), [("some text", "int64"), ("0123", "int64"), ("1.5", "int64"), ("99999999999999999999", "int64")]
)
def test_a_later_cell_that_does_not_fit_names_file_line_and_column_and_no_value(
    lake: Lake, late: str, kind: str
) -> None:
    lines = [f'{i},"two\nlines"\n' for i in range(30_000)]
    text = fails(lake, "v,note\n" + "".join(lines) + f'\n{late},x\n1,"y"\n')
    assert "x.csv, line 60003, column 'v'" in text
    assert kind in text
    assert "columns:" in text
    assert late not in text


def test_a_later_number_that_float64_would_round_is_refused(lake: Lake) -> None:
    lines = "".join(f"{i},1.5\n" for i in range(30_000))
    assert "float64" in fails(lake, f"id,v\n{lines}1,0.1234567890123456789\n")


def test_columns_override_what_is_inferred(lake: Lake) -> None:
    lake.put("x.csv", "id,v,w\n1,0123,1.10\n2,,2.205\n")
    types = {"id": "string", "v": "int32", "w": "decimal(10,3)"}
    rows = lake.read("x.csv", types=types)
    assert [f.type for f in lake.schema("x.csv", types).fields] == ["string", "int32", "decimal(10,3)"]
    assert [(r["id"], r["v"], str(r["w"])) for r in rows] == [("1", 123, "1.100"), ("2", None, "2.205")]


def test_a_decimal_is_never_rounded_to_the_scale_that_was_named(lake: Lake) -> None:
    lake.put("x.csv", "id,v\n1,1.105\n")
    with pytest.raises(ExtractionError, match=r"line 2, column 'v'"):
        lake.read("x.csv", types={"v": "decimal(10,2)"})


@pytest.mark.parametrize("line", ["secret,2,3", "secret", '1,"secret",3'])
def test_a_ragged_line_is_named_and_not_shown(lake: Lake, line: str) -> None:
    text = fails(lake, f'a,b\n1,"x\ny"\n\n{line}\n4,5\n')
    assert "x.csv, line 5" in text
    assert "secret" not in text


def test_an_unknown_delimiter_leaves_one_column(lake: Lake) -> None:
    assert cells(lake, "a;b\n1;2\n") == [{"a;b": "1;2"}]
    assert cells(lake, "a;b\n1;2\n", delimiter=";") == [{"a": 1, "b": 2}]


def test_a_header_that_names_a_column_twice_is_refused(lake: Lake) -> None:
    assert "more than once" in fails(lake, "a,a\n1,2\n")


def test_a_file_without_header_has_numbered_columns(lake: Lake) -> None:
    assert cells(lake, "1,x\n2,y\n", header=False) == [{"f0": 1, "f1": "x"}, {"f0": 2, "f1": "y"}]


def test_a_header_alone_is_no_row(lake: Lake) -> None:
    assert cells(lake, "a,b\n") == []


def test_an_empty_file_beside_others_is_no_row(lake: Lake) -> None:
    lake.put("d/1.csv", "")
    lake.put("d/2.csv", "a\n1\n")
    assert lake.read("d") == [{"a": 1}]


def test_an_empty_line_is_null_where_a_row_is_one_cell(lake: Lake) -> None:
    assert cells(lake, 'a\nx\n\n""\n') == [{"a": "x"}, {"a": None}, {"a": ""}]


def test_a_cell_longer_than_any_block_passes_alone(lake: Lake) -> None:
    long = "x" * 5_000_000
    rows = cells(lake, f'a,b\n1,"short"\n2,"{long}"\n3,"after"\n')
    assert [len(row["b"]) for row in rows] == [5, len(long), 5]


def test_a_quote_inside_an_unquoted_cell_is_a_character(lake: Lake) -> None:
    assert cells(lake, 'a,b\n1,5" pipe\n2,"x"\n') == [{"a": 1, "b": '5" pipe'}, {"a": 2, "b": "x"}]


def test_tab_separated_files_are_known_by_name(lake: Lake) -> None:
    lake.put("x.tsv", "a\tb\n1\tx,y\n")
    assert lake.read("x.tsv") == [{"a": 1, "b": "x,y"}]


def test_columns_that_only_some_files_have_are_null_in_the_others(lake: Lake) -> None:
    lake.put("d/1.csv", "a,b\n1,x\n")
    lake.put("d/2.csv", "c,a\n2.5,2\n")
    assert lake.read("d/*") == [{"a": 1, "b": "x", "c": None}, {"a": 2, "b": None, "c": 2.5}]


PLAIN = 'id,note,v\n1,"a ""quoted"" cell",1.5\n2,"two\nlines",\n3,"",22.75\n4,x,300\n'


def test_no_prefix_of_a_csv_is_loaded_in_part_without_a_word(lake: Lake) -> None:
    """Stated rule: the complete lines of a file that ends in a line end; anything else is refused."""
    whole = cells(lake, PLAIN)
    data = PLAIN.encode()
    ends = {len("".join(PLAIN.splitlines(keepends=True)[:n])) for n in (0, 1, 2, 4, 5, 6)}
    accepted = set()
    for cut in range(len(data)):
        try:
            found = cells(lake, data[:cut])
        except ExtractionError:
            continue
        accepted.add(cut)
        assert [list(map(str, row.values())) for row in found] == [
            list(map(str, row.values())) for row in whole[: len(found)]
        ] or not found
    assert accepted <= ends


def test_a_last_line_without_its_end_is_taken_when_the_user_says_so(lake: Lake) -> None:
    assert "may be cut off" in fails(lake, "a,b\n1,2")
    assert cells(lake, "a,b\n1,2", final_newline="optional") == [{"a": 1, "b": 2}]


def test_a_truncated_gzip_is_refused_at_every_length(lake: Lake) -> None:
    packed = gzip.compress(PLAIN.encode() * 20, mtime=0)
    for cut in range(1, len(packed)):
        lake.put("x.csv.gz", packed[:cut])
        with pytest.raises(ExtractionError):
            lake.read("x.csv.gz")


def test_gzip_members_one_after_the_other_are_one_file(lake: Lake) -> None:
    lake.put("x.csv.gz", gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4"))
    assert lake.read("x.csv.gz") == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
