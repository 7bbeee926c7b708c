"""Rows that cannot be loaded, each with a canary in it: no error, log or history tells a cell."""

from __future__ import annotations

import pytest

from penstock.testing.project import ProjectFolder
from tests.attacks.conftest import MakeLab
from tests.attacks.lab import Lab
from tests.attacks.test_values import CANARY, said_anywhere, stream_of

pytestmark = pytest.mark.feature("M3")


def fails_silently(lab: Lab, *words: str, faults: str | None = None) -> str:
    """Run what must fail: neither what it says nor its log and its history hold the canary."""
    lab.settings["log_dir"] = str(lab.folder / ".penstock" / "logs")
    ended = ProjectFolder(lab.folder, warm=True).run("run", "--verbose", *words, faults=faults)
    assert ended.exit_code == 1, ended.said
    assert CANARY not in ended.said
    assert not said_anywhere(lab.folder, CANARY)
    return ended.said


CELLS = {
    "text in a number": ("sqlite", "duckdb", "n int", f"'{CANARY}'"),
    "no day": ("sqlite", "postgres", "n date", f"'2024-02-31 {CANARY}'"),
    "no moment": ("sqlite", "sqlite", "n timestamp", f"'{CANARY}'"),
    "no uuid": ("sqlite", "duckdb", "n uuid", f"'{CANARY}'"),
    "no uuid of the server's": ("sqlite", "postgres", "n uuid", f"'{CANARY}'"),
    "no json": ("sqlite", "duckdb", "n json", f"'{{\"{CANARY}\"'"),
    "no json of the server's": ("sqlite", "postgres", "n json", f"'{{\"{CANARY}\"'"),
    "bytes that are no text": ("sqlite", "duckdb", "n text", f"CAST(x'ff{CANARY.encode().hex()}' AS TEXT)"),
    "a NUL character": ("sqlite", "postgres", "n text", f"'{CANARY}' || char(0)"),
    "infinity": ("postgres", "duckdb", "n timestamp", "'infinity'"),
    "a year too far": ("postgres", "sqlite", "n timestamptz", "'294276-01-01'"),
    "before our era": ("postgres", "duckdb", "n date", "'0044-03-15 BC'"),
}


ALSO_AT_HOME = ("text in a number", "no moment", "infinity", "a year too far")  # in the connectors' own tests


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=[pytest.mark.faults] if what in ALSO_AT_HOME else []) for what in CELLS]
)
def test_a_cell_that_its_type_cannot_hold_ends_the_load_with_a_way_out_and_is_not_told(
    make_lab: MakeLab, what: str
) -> None:
    source, destination, column, value = CELLS[what]
    lab = make_lab(source, destination)
    lab.here.execute(f"CREATE TABLE t (id int, note text, {column})", f"INSERT INTO t VALUES (1, '{CANARY}', {value})")
    lab.write({"name": stream_of(lab, "t"), "target_name": "t_copy"})
    said = fails_silently(lab)
    assert "fix:" in said
    assert "t_copy" not in lab.there.tables()


FILES = {
    "a later cell of CSV": ("t.csv", "id,n\n" + "1,2\n" * 30_000 + f"1,{CANARY}\n", {}),
    "a ragged line": ("t.csv", f"id,n\n1,2\n1,2,{CANARY}\n", {}),
    "an open quote": ("t.csv", f'id,n\n1,2\n1,"{CANARY}\n', {}),
    "a cast of CSV": ("t.csv", f"id,n\n1,{CANARY}\n", {"columns": {"n": "date"}}),
    "a later line of JSON": ("t.jsonl", '{"n": 1}\n' * 30_000 + f'{{"n": "{CANARY}"}}\n', {}),
    "a line that is no JSON": ("t.jsonl", f'{{"n": 1}}\n{{"n": {CANARY}}}\n', {}),
    "a cast of JSON": ("t.jsonl", f'{{"n": "{CANARY}"}}\n', {"columns": {"n": "decimal(4,2)"}}),
}


@pytest.mark.parametrize("what", FILES)
def test_a_line_of_a_file_that_cannot_be_read_is_told_by_its_number(make_lab: MakeLab, what: str) -> None:
    name, text, more = FILES[what]
    lab = make_lab("sqlite", "duckdb")
    (lab.folder / name).write_text(text)
    project = lab.write({"name": name, "target_name": "t_copy", **more}).read_text()
    source = f'{{"variant": "file", "extra": {{"path": ".", "format": "{name.partition(".")[2]}"}}}}'
    here = f'{{"variant": "sqlite", "database": "{lab.folder / "src.db"}"}}'
    assert here in project
    (lab.folder / "penstock.yaml").write_text(project.replace(here, source))
    said = fails_silently(lab)
    assert name in said
    assert "t_copy" not in lab.there.tables()


SERVER_RULES = {
    "a trigger that raises with the row": (
        "CREATE FUNCTION dst.no() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'no: %', NEW USING DETAIL = NEW.note, HINT = NEW.note; END$$",
        "CREATE TRIGGER no BEFORE INSERT ON dst.t_copy FOR EACH ROW EXECUTE FUNCTION dst.no()",
    ),
    "an exclusion": ("ALTER TABLE dst.t_copy ADD EXCLUDE USING btree (note WITH =)",),
    "a foreign key": (
        "CREATE TABLE dst.known (note text PRIMARY KEY)",
        "ALTER TABLE dst.t_copy ADD FOREIGN KEY (note) REFERENCES dst.known",
    ),
    "a domain": (
        "CREATE DOMAIN dst.short AS text CHECK (length(VALUE) < 3)",
        "ALTER TABLE dst.t_copy ALTER COLUMN note TYPE dst.short",
    ),
    "an index expression": ("CREATE INDEX ON dst.t_copy ((note::int))",),
}


@pytest.mark.postgres
@pytest.mark.parametrize(("rule", "source"), list(zip(SERVER_RULES, ["sqlite", "postgres"] * 3, strict=False)))
def test_a_rule_of_the_server_that_a_row_breaks_is_told_without_the_row(
    make_lab: MakeLab, rule: str, source: str
) -> None:
    lab = make_lab(source, "postgres")
    lab.here.execute("CREATE TABLE t (id int, note text)", f"INSERT INTO t VALUES (1, '{CANARY}'), (2, '{CANARY}')")
    lab.there.execute("CREATE TABLE dst.t_copy (id bigint, note text, _ingested_at timestamptz)", *SERVER_RULES[rule])
    lab.write({"name": stream_of(lab, "t"), "target_name": "t_copy", "write_strategy": "append"})
    assert "internal" not in fails_silently(lab, "--debug")
    assert lab.rows("t_copy") == []


@pytest.mark.parametrize("destination", ["sqlite", "duckdb"])
def test_an_exception_nobody_foresaw_is_told_by_its_place_and_shown_by_debug(
    make_lab: MakeLab, destination: str
) -> None:
    lab = make_lab("sqlite", destination)
    lab.here.execute("CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    lab.write({"name": "t", "target_name": "t_copy"})
    text = "failpoint load.batch_written"  # stands for the text of an exception, which may quote a row
    said = fails_silently(lab, faults="load.batch_written=raise")
    assert "unexpected FailpointError in failpoints.py:" in said
    assert text not in said
    assert not said_anywhere(lab.folder, text)
    assert text in fails_silently(lab, "--debug", faults="load.batch_written=raise")
