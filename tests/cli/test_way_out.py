"""Wrong input on the sample project: what is told names the thing, its place in the file, and what to do."""

from __future__ import annotations

import copy
import json
import pickle
import sqlite3
from contextlib import chdir
from datetime import UTC, date, datetime, time
from pathlib import Path

import pytest

from penstock.cli import main
from penstock.errors import FencedError, Interrupted
from penstock.pipeline.results import RunResult, to_json
from penstock.testing.project import ProjectFolder
from penstock.values import RunId

pytestmark = pytest.mark.feature("M1")


@pytest.fixture
def sample(tmp_path: Path) -> ProjectFolder:
    assert main(["init", str(tmp_path)]) == 0
    return ProjectFolder(tmp_path, warm=True)


def change(sample: ProjectFolder, old: str, new: str) -> None:
    text = (sample.path / "penstock.yaml").read_text()
    assert old in text
    sample.write(text.replace(old, new, 1))


def told(sample: ProjectFolder, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with chdir(sample.path):
        code = main(words)
    out, err = capsys.readouterr()
    return code, out + err


WRONG = {
    "a variable that is not set hides no other mistake and makes none": (
        "data/shop.db",
        "${SHOP_DB_OF_NOBODY}",
        ("plan",),
        2,
        ("error: the environment variable SHOP_DB_OF_NOBODY is not set", "penstock.yaml:14:17, dev.connections.shop"),
    ),
    "a transform's file": (
        "transforms.py::with_total",
        "transform.py::with_total",
        ("plan",),
        2,
        ("no transform file 'transform.py'", "at: penstock.yaml:39:22, ", "relative to the project file's folder"),
    ),
    "a database that is not there": (
        "data/shop.db",
        "data/shp.db",
        ("check",),
        1,
        ("no such SQLite file", "at: penstock.yaml:13:7, connections.shop (", "correct the connection's database"),
    ),
    "a server that does not answer": (
        "variant: duckdb\n      database: out/warehouse.duckdb",
        "variant: postgres\n      host: 127.0.0.1\n      port: 1",
        ("status",),
        1,
        (
            "unknown",
            "error: customers, orders: ",
            "connection refused",
            "at: penstock.yaml:16:7, connections.warehouse (127.0.0.1:1/",
            "orders_log",
        ),
    ),
    "a cursor's type that is not the column's": (
        "iterate_column_type: datetime",
        "iterate_column_type: int",
        ("run", "--table", "orders", "--pipeline", "warehouse"),
        2,
        ("iterate_column_type is int, but 'changed_at' is timestamp", "at: penstock.yaml:32:11"),
    ),
    "a table that could not begin": (
        "- name: customers",
        "- name: custmers",
        ("run", "--threads", "1", "--pipeline", "warehouse"),
        1,
        (
            "has no table 'custmers'",
            "orders: not started: customers of the same pipeline failed",
            "pass_on_error: true",
        ),
    ),
}


@pytest.mark.parametrize(("old", "new", "words", "code", "said"), list(WRONG.values()), ids=list(WRONG))
def test_a_mistake_says_what_where_and_the_way_out(
    sample: ProjectFolder,
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    words: tuple[str, ...],
    code: int,
    said: tuple[str, ...],
) -> None:
    change(sample, old, new)
    ended, text = told(sample, capsys, *words)
    assert ended == code, text
    assert [part for part in said if part not in text] == [], text
    assert "\n  at: " in text or "\n    at: " in text
    assert "mistakes" not in text


def test_an_environment_asked_for_is_not_blamed_on_the_file(
    sample: ProjectFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = told(sample, capsys, "plan", "--env", "prod")
    assert (code, "default_environment" in text, "environments: dev" in text) == (2, False, True)


@pytest.mark.parametrize("empty", ["", " ", ","])
@pytest.mark.parametrize("command", ["run", "plan", "status", "verify"])
def test_a_filter_of_no_tags_does_not_select_everything(
    sample: ProjectFolder, capsys: pytest.CaptureFixture[str], command: str, empty: str
) -> None:
    code, text = told(sample, capsys, command, "--tags", empty)
    assert (code, "--tags names no tag" in text) == (2, True)


def test_a_table_of_another_pipeline_is_not_offered(sample: ProjectFolder, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = told(sample, capsys, "run", "-p", "lake", "-t", "customers")
    assert code == 2
    assert "fix: tables of pipeline 'lake': orders_log\n" in text


def test_where_one_connection_is_down_the_plan_of_the_other_tables_is_shown(
    sample: ProjectFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    change(sample, "variant: duckdb\n      database: out/warehouse.duckdb", "variant: postgres\n      port: 1")
    code, text = told(sample, capsys, "plan", "--json")
    tables = {t["target"]: t["error"] for t in json.loads(text)["tables"]}
    assert code == 1
    assert "connection refused" in tables["orders"]
    assert tables["orders_log"] is None


def test_verify_goes_on_past_a_table_that_cannot_be_looked_at(
    sample: ProjectFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(sample, capsys, "run", "-p", "lake")[0] == 0
    change(sample, "variant: duckdb\n      database: out/warehouse.duckdb", "variant: postgres\n      port: 1")
    code, text = told(sample, capsys, "verify", "--json")
    verdicts = {v["target"]: v for v in json.loads(text)["tables"]}
    assert code == 1
    assert verdicts["orders"]["state"] == "unchecked"
    assert "connection refused" in verdicts["orders"]["error"]
    assert (verdicts["orders_log"]["state"], verdicts["orders_log"]["error"]) == ("equal", None)
    code, text = told(sample, capsys, "verify")
    assert code == 1
    assert "orders: unchecked\n  error     the server cannot be reached" in text


def test_status_says_what_failed_of_which_table_and_what_its_ledger_says_all_the_same(
    sample: ProjectFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    change(sample, "- name: customers", "- name: custmers")
    code, text = told(sample, capsys, "status")
    assert code == 1
    assert "unknown" not in text
    assert "customers   never loaded" in text
    assert "error: customers: the source has no table 'custmers'\n  at: penstock.yaml:29:11" in text


def test_a_table_is_named_once_and_its_refusal_has_a_place(
    sample: ProjectFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(sample, capsys, "run", "--quiet")[0] == 0
    change(sample, "- name: warehouse\n", "- name: renamed\n")
    assert told(sample, capsys, "run", "--quiet", "-t", "customers")[0] == 4
    for command in (["show", "last"], ["status", "-t", "customers"], ["plan", "-t", "customers"]):
        text = told(sample, capsys, *command)[1]
        assert "customers: table customers" not in text
        assert "table customers belongs to 'dev/warehouse', this is 'dev/renamed'" in text
        assert "at: penstock.yaml:29:11, customers" in text


def test_rows_that_break_a_promise_are_told_with_the_tables_place(
    sample: ProjectFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(sample, capsys, "run", "--quiet")[0] == 0
    change(sample, "replication_method: full\n", "replication_method: full\n          schema_evolution: freeze\n")
    with sqlite3.connect(sample.path / "data" / "shop.db") as shop:
        shop.execute("ALTER TABLE customers ADD COLUMN age INTEGER")
    shop.close()
    for command in ("plan", "run"):
        code, text = told(sample, capsys, command, "-t", "customers")
        assert (code, "schema_evolution" in text) == (1, True), text
        assert "at: penstock.yaml:29:11, " in text


def test_a_pattern_that_no_file_matches_says_where_was_looked_and_what_is_there(
    sample: ProjectFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    change(sample, "variant: sqlite\n      database: data/shop.db", "variant: file\n      extra: {path: data}")
    change(sample, "- name: customers", "- name: 'customers/*.csv'")
    (sample.path / "data" / "orders.csv").write_text("id\n1\n")
    for command in ("plan", "run", "status"):
        code, text = told(sample, capsys, command, "-t", "customers")
        assert code == 1
        assert "no file matches 'customers/*.csv'" in text
        assert f"at: penstock.yaml:29:11, {sample.path / 'data' / 'customers'}" in text
        assert "there: orders.csv" in text
        assert "rights of the user" not in text


CODES = {
    "a table the source does not have": ("- name: customers", "- name: custmers", 1),
    "a cursor of another type": ("iterate_column_type: datetime", "iterate_column_type: int", 2),
    "a table of another owner": ("- name: warehouse\n", "- name: renamed\n", 4),
}


@pytest.mark.parametrize(("old", "new", "code"), list(CODES.values()), ids=list(CODES))
def test_commands_agree_on_the_exit_code_of_an_error(
    sample: ProjectFolder, capsys: pytest.CaptureFixture[str], old: str, new: str, code: int
) -> None:
    assert told(sample, capsys, "run", "--quiet")[0] == 0
    change(sample, old, new)
    ended = {command: told(sample, capsys, command)[0] for command in ("plan", "status", "verify", "run")}
    assert set(ended.values()) == {code}, ended


def test_a_result_with_an_interrupted_table_is_json() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    result = RunResult(RunId("1"), "stopped", now, now, (), 130, {"orders": Interrupted(2)})
    shown = to_json(result)
    assert isinstance(shown, dict)
    assert shown["started_at"] == "2026-01-02T03:04:05+00:00"
    assert "stopped by SIGINT" in str(shown["errors"])


def test_what_json_cannot_say_is_said_as_text() -> None:
    values = [float("nan"), float("inf"), b"\x00\xff", date(2026, 1, 2), time(3, 4), 1.5]
    assert to_json(values) == ["nan", "inf", "00ff", "2026-01-02", "03:04:00", 1.5]
    json.dumps(to_json(values), allow_nan=False)


@pytest.mark.parametrize("error", [Interrupted(15), FencedError("held", where="w", fix="f", retryable=True)], ids=repr)
def test_errors_are_copied_and_pickled_whole(error: Exception) -> None:
    for copied in (copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(copied) is type(error)
        assert (str(copied), vars(copied)) == (str(error), vars(error))


def test_each_mistake_of_a_project_file_is_an_object_for_programs(
    sample: ProjectFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    change(sample, "replication_method: incremental", "replication_methd: incremental")
    change(sample, "variant: sqlite", "variant: sqlit")
    code, said = told(sample, capsys, "plan", "--json")
    error = json.loads(said)["error"]
    assert (code, error["class"]) == (2, "ConfigError")
    assert "2 mistakes" in error["what"]
    first, second = error["problems"]
    assert set(first) == {"message", "where", "path", "fix"}
    assert (first["path"], second["path"]) != ("", "")
    assert first["where"].startswith("penstock.yaml:")
    assert "did you mean" in second["fix"]


def test_one_mistake_is_a_list_of_one(sample: ProjectFolder, capsys: pytest.CaptureFixture[str]) -> None:
    change(sample, "variant: sqlite", "variant: sqlit")
    _, said = told(sample, capsys, "plan", "--json")
    (only,) = json.loads(said)["error"]["problems"]
    assert only["message"] == json.loads(said)["error"]["what"]
