"""Hostile names: each exists literally at the destination or is refused; nothing else is touched."""

from __future__ import annotations

import pytest

from tests.attacks.conftest import MakeLab
from tests.attacks.lab import PAIRS, Lab, quoted
from tests.faults.places import PostgresPlace

CANARY = "canary"
SHAPES = (
    "select",
    "table",
    "order by",
    "user",
    "_",
    "0",
    "1abc",
    "-",
    "--",
    "-- x",
    "/*",
    "*/",
    "/* x */",
    ";",
    "; DROP TABLE canary",
    '"; DROP TABLE canary; --',
    "'; DROP TABLE canary; --",
    "'); DROP TABLE canary; --",
    '"); DROP TABLE canary; --',
    '" OR 1=1 --',
    "' OR '1'='1",
    "`; DROP TABLE canary",
    "]; DROP TABLE canary",
    "$1",
    "$$",
    "$$; DROP TABLE canary; $$",
    "?",
    "??",
    ":x",
    ":1",
    "::text",
    "%s",
    "%(x)s",
    "%",
    "%%",
    "{}",
    "{0}",
    "{x}",
    "{query_filter}",
    "{{ x }}",
    "$(id)",
    "`id`",
    "|id",
    "a.b",
    "a.b.c",
    '"a"."b"',
    ".",
    "..",
    "../x",
    "../../etc/passwd",
    "/etc/passwd",
    "\\",
    "\\\\",
    "a\\b",
    "\\'",
    '\\"',
    '"',
    '""',
    '"""',
    "'",
    "''",
    "a'b",
    'a"b',
    "a`b",
    "[a]",
    "a b",
    " a",
    "a ",
    "  ",
    "\ta",
    "a\nb",
    "a\r\nb",
    "\x01",
    "\x1b[31m",
    "\x7f",
    "a,b",
    "(a)",
    "a(b)",
    "count(*)",
    "*",
    "a=b",
    "a&b",
    "a#b",
    "#",
    "@a",
    "@@version",
    "!",
    "~",
    "^",
    "<script>alert(1)</script>",
    "&lt;",
    "%2e%2e",
    "%00",
    "\\x00",
    "null",
    "NULL",
    "none",
    "true",
    "nan",
    "__proto__",
    "constructor",
    "__class__",
    "rowid",
    "_rowid_",
    "oid",
    "ctid ",
    "xmin ",
    "tableoid ",
    "é",
    "e\u0301",
    "ß",
    "İ",
    "\u0131",
    "K",
    "日本語",
    "🚀",
    "👩‍👩‍👧‍👦",
    "مرحبا",
    "\u202eabc",
    "\u200b",
    "\ufeffa",
    "\u2028",
    "\u00a0",
    "a\u0000".rstrip("\u0000") + "\u0085",
    "A" * 63,
    "é" * 31,
    "input",
    "main",
    "temp",
    "public",
    "src",
    "dst",
    "pg_klass",
    "sqlite_x",
    "information_schema",
    "excluded",
    "target",
    "stage",
    "t",
    "s",
    "x",
    "row_number",
    "penstock",
    "_penstock",
    "split",
    "into",
    "values",
    "default",
    "group",
    "column",
    "primary",
    "key",
    "id2",
    "timestamp",
    "date",
    "interval",
    "end",
    "case",
    "when",
    "over",
    "window",
    "limit",
    "offset",
    "with",
    "using",
    "on",
    "all",
    "any",
    "array",
    "cast",
    "user()",
    "current_user",
    "current_timestamp",
    "1=1",
    "E'x'",
    "U&'x'",
    'U&"x"',
    "N'x'",
    "0x41",
    "1e5",
    "a/b",
    "a/../b",
    "con",
    "nul",
    "~root",
    "a?b",
    "a*b",
    "a|b",
    "a<b>",
    "a:b",
    "C:\\x",
    "file://x",
    "http://x",
    "x::f",
    "${HOME}",
    "${X:-y}",
    "$HOME",
    "!ref x",
    "&anchor",
    "*alias",
    "- item",
    "? key",
    ": value",
    "a: b",
    "a #b",
    "[",
    "{",
    "]",
    "}",
    ">",
    "|",
    "@",
    "no",
    "on ",
    "0123",
    "12:34:56",
    "1_000",
    "2024-01-01",
    "0o7",
    ".inf",
    "<<",
    "=",
    "~ ",
)
NAMES = tuple(dict.fromkeys(SHAPES))


def test_there_are_two_hundred_of_them() -> None:
    assert len(NAMES) >= 200


def seed_canaries(lab: Lab) -> None:
    for place in (lab.here, lab.there):
        place.execute(f"CREATE TABLE {CANARY} (id int)", f"INSERT INTO {CANARY} VALUES (1)")


def check_canaries(lab: Lab) -> None:
    for place in (lab.here, lab.there):
        assert place.query(f"SELECT id FROM {CANARY}") == [(1,)]


def distinct_columns() -> list[str]:
    """The names that no system would take for one another, whatever it does with case."""
    found: dict[str, str] = {"id": "id"}
    for name in NAMES:
        found.setdefault(name.lower().casefold(), name)
    return list(found.values())


@pytest.mark.feature("M2")
@pytest.mark.parametrize(("source", "destination"), PAIRS)
@pytest.mark.parametrize("strategy", [pytest.param("append", marks=pytest.mark.faults), "upsert"])
def test_hostile_columns_arrive_by_their_own_names(
    make_lab: MakeLab, source: str, destination: str, strategy: str
) -> None:
    lab = make_lab(source, destination)
    seed_canaries(lab)
    names = distinct_columns()
    definition = ", ".join(f"{quoted(name)} bigint" for name in names)
    lab.here.execute(
        f"CREATE TABLE wide ({definition})", f"INSERT INTO wide VALUES ({', '.join(str(i) for i in range(len(names)))})"
    )
    table: dict[str, object] = {"name": "src.wide" if source == "postgres" else "wide"}
    table |= {"target_name": "wide_copy", "write_strategy": strategy, "dedup_columns": names[:20]}
    if strategy == "upsert":
        table |= {"write_key": names[:12], "replication_method": "incremental", "iterate_column": [names[14]]}
        table |= {"iterate_column_type": "int"}
    lab.moved(table)
    lab.moved(table)
    expected = {name: index for index, name in enumerate(names)}
    columns = [c for c in lab.columns("wide_copy") if c != "mkpipe_id"]
    assert columns == names
    picked = ", ".join(quoted(name) for name in names)
    rows = set(lab.there.query(f"SELECT {picked} FROM wide_copy"))
    assert rows == {tuple(expected.values())}
    check_canaries(lab)


def distinct_tables(lab: Lab) -> list[str]:
    """Names that can be tables beside one another: `${` would be a variable of the project file."""
    found: dict[str, str] = {}
    for name in NAMES:
        if "$" not in name and not name.startswith(("sqlite_", "_penstock")):
            found.setdefault(name.casefold(), name)
    return [name for name in found.values() if name != CANARY]


@pytest.mark.feature("M2")
@pytest.mark.parametrize(
    ("source", "destination"),
    [("sqlite", "duckdb"), *(pytest.param(*pair, marks=pytest.mark.faults) for pair in PAIRS[1:])],
)
def test_hostile_tables_arrive_by_their_own_names_or_are_refused(
    make_lab: MakeLab, source: str, destination: str
) -> None:
    lab = make_lab(source, destination)
    seed_canaries(lab)
    # where there are schemas a dot parts schema and table
    dotted = "postgres" in (source, destination)
    names = [name for name in distinct_tables(lab) if not (dotted and ("." in name or '"' in name))]
    lab.here.execute(
        *(f"CREATE TABLE {quoted(name)} (n bigint)" for name in names),
        *(f"INSERT INTO {quoted(name)} VALUES ({index})" for index, name in enumerate(names)),
    )
    lab.settings["threads"] = 2
    result = lab.run(*({"name": name, "target_name": name, "pass_on_error": True} for name in names))
    made = lab.there.tables()
    arrived = {name: lab.there.query(f"SELECT n FROM {quoted(name)}") for name in names if name in made}
    assert not result.errors, {str(key): str(error) for key, error in result.errors.items()}
    assert arrived == {name: [(index,)] for index, name in enumerate(names)}
    check_canaries(lab)


@pytest.mark.feature("M2")
@pytest.mark.postgres
def test_a_name_that_cannot_be_stops_its_own_table_and_no_other(make_lab: MakeLab) -> None:
    lab = make_lab("sqlite", "postgres")
    seed_canaries(lab)
    lab.here.execute("CREATE TABLE good (n int)", "INSERT INTO good VALUES (1)")
    bad = ("..", ".x", "x.", "_penstock_ledger", "A" * 64, "é" * 32)
    tables = [{"name": "good", "target_name": name, "pass_on_error": True} for name in (*bad, "good")]
    result = lab.run(*tables)
    assert [t.state for t in result.tables] == ["failed"] * len(bad) + ["succeeded"]
    assert all("name" in str(error) for error in result.errors.values())
    assert lab.rows("good", "n") == [(1,)]
    check_canaries(lab)


@pytest.mark.feature("M2")
@pytest.mark.parametrize("name", ['"; DROP TABLE canary; --', "'; DROP TABLE canary; --", "a b", "🚀", "a.b", "\x01"])
@pytest.mark.postgres
def test_hostile_schemas_are_made_literally(make_lab: MakeLab, name: str) -> None:
    lab = make_lab("sqlite", "postgres")
    seed_canaries(lab)
    lab.here.execute("CREATE TABLE t (n int)", "INSERT INTO t VALUES (1)")
    assert isinstance(lab.there, PostgresPlace)
    lab.there.schema = name
    lab.moved({"name": "t", "target_name": "t"})
    lab.there.schema = "dst"
    schemas = {row[0] for row in lab.there.query("SELECT nspname FROM pg_namespace")}
    assert name in schemas
    assert lab.there.query(f"SELECT n FROM {quoted(name)}.t") == [(1,)]
    check_canaries(lab)
