"""Hostile values: cursors, bounds and cells are data and nothing else; none of them is told in an error or a log."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from penstock.errors import PenstockError
from tests.attacks.conftest import MakeLab
from tests.attacks.lab import PAIRS, Lab

CANARY = "zq7-row-canary"
INJECTIONS = (
    "'; DROP TABLE canary; --",
    '"; DROP TABLE canary; --',
    "') OR 1=1; --",
    "\\'; DROP TABLE canary; --",
    "$1",
    "?1",
    "%s",
    "{query_filter}",
    "a\nb",
    "zz\U0001f680",
)


def stream_of(lab: Lab, name: str) -> str:
    return f"src.{name}" if hasattr(lab.here, "schema") else name


@pytest.mark.feature("M3")
@pytest.mark.parametrize(("source", "destination"), PAIRS)
@pytest.mark.parametrize("strategy", [pytest.param("append", marks=pytest.mark.faults), "delete_insert"])
def test_a_cursor_that_looks_like_sql_is_a_value(
    make_lab: MakeLab, source: str, destination: str, strategy: str
) -> None:
    lab = make_lab(source, destination)
    for place in (lab.here, lab.there):
        place.execute("CREATE TABLE canary (id int)")
    lab.here.execute("CREATE TABLE t (c varchar(200), n int)")
    table = {
        "name": stream_of(lab, "t"),
        "target_name": "t_copy",
        "replication_method": "incremental",
        "iterate_column": "c",
        "iterate_column_type": "string",
        "write_strategy": strategy,
    }
    for index, text in enumerate(sorted(INJECTIONS)):
        lab.here.execute(f"INSERT INTO t VALUES ('{text.replace(chr(39), chr(39) * 2)}', {index})")
        if index % 3 == 0:
            lab.moved(table)
    lab.moved(table)
    assert [row[0] for row in lab.rows("t_copy", "n, c")] == list(range(len(INJECTIONS)))
    if strategy != "append":
        lab.moved(table | {"filter_lower_bound": INJECTIONS[0], "filter_upper_bound": "~"})
    assert lab.here.query("SELECT count(*) FROM canary") == [(0,)]
    assert lab.there.query("SELECT count(*) FROM canary") == [(0,)]


@pytest.mark.feature("M3")
@pytest.mark.parametrize("source", ["sqlite", "duckdb", "postgres"])
@pytest.mark.parametrize("key", ["filter_lower_bound", "partitions_lower_bound"])
def test_a_bound_that_looks_like_sql_is_refused_or_a_value(make_lab: MakeLab, source: str, key: str) -> None:
    lab = make_lab(source, "sqlite")
    lab.here.execute("CREATE TABLE canary (id int)", "CREATE TABLE t (c int, n int)", "INSERT INTO t VALUES (1, 1)")
    table = {
        "name": stream_of(lab, "t"),
        "target_name": "t_copy",
        "replication_method": "incremental",
        "iterate_column": "c",
        "iterate_column_type": "int",
        "partitions_column": "c",
        "partitions_count": 2,
        key: "1; DROP TABLE canary",
    }
    if key.startswith("partitions"):
        table["partitions_upper_bound"] = "9; DROP TABLE canary"
    with contextlib.suppress(PenstockError):
        lab.run(table)
    assert lab.here.query("SELECT count(*) FROM canary") == [(0,)]


def said_anywhere(folder: Path, text: str) -> list[str]:
    """The files of Penstock's own (logs, history) that hold the text."""
    files = [f for f in (folder / ".penstock").rglob("*") if f.is_file()]
    return [str(f) for f in files if text.encode() in f.read_bytes()]


BREAKAGES = {
    "not null": "CREATE TABLE t_copy (id bigint, note text NOT NULL, n text)",
    "unique": "CREATE TABLE t_copy (id bigint, note text, n text UNIQUE)",
    "check": "CREATE TABLE t_copy (id bigint, note text, n text CHECK (length(n) < 3))",
}


@pytest.mark.parametrize("destination", ["sqlite", "duckdb", "postgres"])
@pytest.mark.parametrize("breakage", BREAKAGES)
@pytest.mark.parametrize("strategy", ["append", pytest.param("replace", marks=pytest.mark.faults)])
def test_no_error_and_no_log_tells_a_row(make_lab: MakeLab, destination: str, breakage: str, strategy: str) -> None:
    lab = make_lab("sqlite", destination)
    lab.here.execute(
        "CREATE TABLE t (id int, note text, n text)",
        f"INSERT INTO t VALUES (1, NULL, '{CANARY}'), (2, NULL, '{CANARY}')",
    )
    lab.there.execute(BREAKAGES[breakage])
    lab.write(
        {"name": "t", "target_name": "t_copy", "write_strategy": strategy, "replace_mode": "in_place"}
        if strategy == "replace"
        else {"name": "t", "target_name": "t_copy", "write_strategy": "append"}
    )
    ended = lab.project.run("run", "--json")
    assert ended.exit_code != 0, ended.said
    assert CANARY not in ended.said
    assert not said_anywhere(lab.folder, CANARY)


@pytest.mark.parametrize("source", ["sqlite", "duckdb", "postgres"])
def test_a_bad_cast_tells_no_value(make_lab: MakeLab, source: str) -> None:
    lab = make_lab(source, "duckdb")
    lab.here.execute("CREATE TABLE t (id int, n text)", f"INSERT INTO t VALUES (1, '{CANARY}')")
    lab.write({"name": stream_of(lab, "t"), "target_name": "t_copy", "columns": {"n": "int32"}})
    ended = lab.project.run("run", "--json")
    assert ended.exit_code == 1
    assert CANARY not in ended.said
    assert not said_anywhere(lab.folder, CANARY)
    lab.write(
        {"name": stream_of(lab, "t"), "target_name": "t_copy", "columns": {"n": "int32"}, "on_bad_value": "quarantine"}
    )
    ended = lab.project.run("run", "--json")
    assert CANARY not in ended.said
    assert not said_anywhere(lab.folder, CANARY)
