"""Commands on a real project, as processes: what they print, for people and programs, and how they end."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from penstock.cli import main
from penstock.testing.project import Ended, ProjectFolder

SHAPES: dict[tuple[str, ...], set[str]] = {
    ("check",): {"connections"},
    ("preview", "orders", "--limit", "3"): {"stream", "columns", "rows"},
    ("plan",): {"project", "environment", "tables", "notes"},
    ("run",): {"run_id", "state", "started_at", "finished_at", "tables", "exit_code", "errors"},
    ("test",): {"checks"},
    ("status",): {"tables"},
    ("runs",): {"runs"},
    ("show", "last"): {"run", "tables"},
    ("verify",): {"tables"},
    ("connectors",): {"connectors"},
    ("init", "another"): {"directory", "files"},
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> ProjectFolder:
    """The sample project after one run."""
    folder = ProjectFolder(tmp_path_factory.mktemp("ran"), warm=True)
    assert folder.run("init").exit_code == 0
    done = folder.run("run", "--quiet")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.fixture
def sample(ran: ProjectFolder, tmp_path: Path) -> ProjectFolder:
    """A copy of it that a test may change."""
    shutil.copytree(ran.path, tmp_path / "copy")
    return ProjectFolder(tmp_path / "copy", warm=True)


def read_json(ended: Ended) -> dict[str, object]:
    value = ended.json()
    assert isinstance(value, dict), ended.said
    return dict(value)


def count(folder: ProjectFolder, table: str) -> int:
    with duckdb.connect(folder.path / "out" / "warehouse.duckdb", read_only=True) as warehouse:
        row = warehouse.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert row is not None
        return int(row[0])


class InProcess:
    """Commands in this process: for what is printed it makes no difference, and it is quick."""

    def __init__(self, folder: ProjectFolder, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._capsys = capsys

    def run(self, *words: str) -> Ended:
        with contextlib.chdir(self._folder.path):
            code = main(words)
        return Ended(code, *self._capsys.readouterr())


@pytest.fixture
def here(ran: ProjectFolder, capsys: pytest.CaptureFixture[str]) -> InProcess:
    return InProcess(ran, capsys)


@pytest.mark.parametrize("words", SHAPES, ids=lambda words: words[0])
@pytest.mark.claims("--json")
def test_json_is_exactly_one_object_on_stdout(here: InProcess, words: tuple[str, ...]) -> None:
    done = here.run(*words, "--json")
    assert done.exit_code == 0, done.said
    assert set(read_json(done)) == SHAPES[words]
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("words", [words for words in SHAPES if words[0] != "init"], ids=lambda words: words[0])
def test_people_get_text_without_escapes_where_there_is_no_terminal(here: InProcess, words: tuple[str, ...]) -> None:
    done = here.run(*words)
    assert done.exit_code == 0, done.said
    assert done.stdout
    assert "\x1b" not in done.said


def test_the_schema_is_the_object_itself(here: InProcess) -> None:
    plain, asked = here.run("schema"), here.run("schema", "--json")
    assert plain.stdout == asked.stdout
    assert "properties" in json.loads(plain.stdout)


@pytest.mark.feature("M1")
@pytest.mark.claims("--tags")
def test_the_sample_project_runs_as_it_is_and_the_second_time_writes_nothing(tmp_path: Path) -> None:
    folder = ProjectFolder(tmp_path, warm=True)
    assert folder.run("init", "shop").exit_code == 0
    folder = ProjectFolder(tmp_path / "shop", warm=True)
    first = read_json(folder.run("run", "--json"))
    assert (first["state"], first["exit_code"], first["errors"]) == ("succeeded", 0, {})
    assert count(folder, "orders") == 500
    assert list((folder.path / "out" / "lake").rglob("*.parquet"))
    second = read_json(folder.run("run", "--tags", "daily", "--json"))
    tables = second["tables"]
    assert isinstance(tables, list)
    assert [(t["target"].rpartition(".")[2], t["state"]) for t in tables] == [
        ("orders", "idle"),
        ("orders_log", "idle"),
    ]
    assert count(folder, "orders") == 500


def test_init_overwrites_nothing(sample: ProjectFolder) -> None:
    before = (sample.path / "penstock.yaml").read_text()
    done = sample.run("init")
    assert done.exit_code == 2
    assert "would overwrite penstock.yaml" in done.stderr
    assert (sample.path / "penstock.yaml").read_text() == before


def test_plan_shows_strategy_route_grade_steps_and_bounds(sample: ProjectFolder) -> None:
    shown = sample.run("plan", "--table", "orders").stdout
    for word in ("upsert", "exactly once", "steps", "reads", "incremental"):
        assert word in shown


def test_a_missing_project_file_exits_2_and_names_both_names(tmp_path: Path) -> None:
    done = ProjectFolder(tmp_path, warm=True).run("plan")
    assert done.exit_code == 2
    assert "penstock.yaml" in done.stderr
    assert "mkpipe_project.yaml" in done.stderr
    assert done.stdout == ""


@pytest.mark.claims("error:ConfigError", "exit:2")
def test_an_error_is_a_json_object_too(tmp_path: Path) -> None:
    done = ProjectFolder(tmp_path, warm=True).run("plan", "--json")
    error = read_json(done)["error"]
    assert isinstance(error, dict)
    assert (error["class"], error["exit_code"], done.exit_code) == ("ConfigError", 2, 2)


def test_a_filter_that_selects_nothing_exits_2(sample: ProjectFolder) -> None:
    done = sample.run("run", "--tags", "nobody")
    assert done.exit_code == 2
    assert done.stdout == ""


@pytest.mark.claims("--pipeline", "--table")
@pytest.mark.claims("exit:1")
def test_a_failed_table_exits_1_and_the_others_are_done(sample: ProjectFolder) -> None:
    with sqlite3.connect(sample.path / "data" / "shop.db") as shop:
        shop.execute("DROP TABLE customers")
    shop.close()
    done = sample.run("run", "--pipeline", "warehouse", "--table", "customers", "--json")
    result = read_json(done)
    assert (done.exit_code, result["exit_code"], result["state"]) == (1, 1, "failed")
    errors = result["errors"]
    assert isinstance(errors, dict)
    assert [set(error) >= {"class", "what", "where", "fix"} for error in errors.values()] == [True]


def test_a_connection_that_fails_is_shown_and_exits_1(sample: ProjectFolder) -> None:
    (sample.path / "data" / "shop.db").unlink()
    done = sample.run("check")
    assert done.exit_code == 1
    assert "shop (sqlite): failed" in done.stdout
    assert "warehouse (duckdb): ok" in done.stdout


@pytest.mark.feature("N6")
@pytest.mark.claims("exit:3")
def test_a_difference_exits_3(sample: ProjectFolder) -> None:
    with duckdb.connect(sample.path / "out" / "warehouse.duckdb") as warehouse:
        warehouse.execute("DELETE FROM orders WHERE id = 7")
    done = sample.run("verify", "--table", "orders", "--pipeline", "warehouse")
    assert done.exit_code == 3
    assert "different" in done.stdout


@pytest.mark.claims("error:RefusedError", "exit:4")
def test_a_target_that_is_not_ours_exits_4(tmp_path: Path) -> None:
    folder = ProjectFolder(tmp_path, warm=True)
    folder.run("init")
    (tmp_path / "out").mkdir()
    with duckdb.connect(tmp_path / "out" / "warehouse.duckdb") as warehouse:
        warehouse.execute("CREATE TABLE customers AS SELECT 1 AS id")
    done = folder.run("run", "--table", "customers")
    assert done.exit_code == 4
    assert "--full-refresh" in done.stderr


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.claims("--verbose")
@pytest.mark.claims("error:Interrupted", "exit:130", "exit:143")
def test_a_signal_stops_a_run_in_good_order(tmp_path: Path, number: signal.Signals, exit_code: int) -> None:
    folder = ProjectFolder(tmp_path, warm=True)
    folder.run("init")
    process = folder.start("run", "--verbose", "--json", faults="source.opened=sleep:2")
    assert process.stderr is not None
    for line in process.stderr:
        if "TableStarted" in line:
            break
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == exit_code, stdout + stderr
    assert f"{number.name}: stopping in good order" in stderr
    result = json.loads(stdout)
    assert (result["state"], result["exit_code"]) == ("stopped", exit_code)
    assert folder.run("run", "--quiet").exit_code == 0
    assert count(folder, "orders") == 500


def test_an_unexpected_exception_is_one_line_and_its_details_are_kept(sample: ProjectFolder) -> None:
    done = sample.run("run", faults="run.config_checked=raise")
    assert done.exit_code == 1
    assert "unexpected FailpointError" in done.stderr
    assert "Traceback" not in done.said
    details = Path(done.stderr.rpartition("details: ")[2].strip())
    assert "FailpointError: failpoint run.config_checked" in details.read_text()
    details.unlink()


@pytest.mark.claims("--debug")
def test_debug_shows_the_traceback(sample: ProjectFolder) -> None:
    done = sample.run("run", "--debug", faults="run.config_checked=raise")
    assert done.exit_code == 1
    assert "Traceback" in done.stderr
    Path(done.stderr.rpartition("details: ")[2].strip()).unlink()


def test_events_and_details_go_to_the_log_folder_of_the_project(sample: ProjectFolder) -> None:
    project = (sample.path / "penstock.yaml").read_text()
    sample.write(project.replace("dev:\n", "dev:\n  settings:\n    log_dir: logs\n", 1))
    assert sample.run("run", "--table", "customers").exit_code == 0
    done = sample.run("run", faults="run.config_checked=raise")
    (log,) = (sample.path / "logs").iterdir()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"RunStarted", "TableFinished", "RunFinished"} <= {line.get("event") for line in lines}
    assert "FailpointError" in lines[-1]["traceback"]
    assert f"details: {log}" in done.stderr


def test_a_killed_run_shows_when_it_was_last_heard_of(sample: ProjectFolder) -> None:
    killed = sample.run("run", "--table", "customers", faults="begin.locked=kill")
    assert killed.exit_code == -signal.SIGKILL
    assert "running (no sign of life since 20" in sample.run("runs").stdout
    assert "running (no sign of life since 20" in sample.run("show", "last").stdout


def test_losing_the_run_history_loses_nothing_else(sample: ProjectFolder) -> None:
    shutil.rmtree(sample.path / ".penstock")
    assert read_json(sample.run("runs", "--json")) == {"runs": []}
    assert sample.run("run", "--tags", "daily", "--quiet").exit_code == 0
    assert count(sample, "orders") == 500
    assert sample.run("verify").exit_code == 0


@pytest.mark.claims("error:BackendError")
def test_a_damaged_run_history_names_the_way_out(sample: ProjectFolder) -> None:
    state = sample.path / ".penstock" / "state.db"
    shutil.rmtree(state.parent)
    sample.write("no database, whatever its name says " * 40, ".penstock/state.db")
    done = sample.run("run", "--json")
    error = read_json(done)["error"]
    assert isinstance(error, dict)
    assert (done.exit_code, error["class"], error["exit_code"]) == (1, "BackendError", 1)
    assert "only history is lost" in str(error["fix"])
    state.unlink()
    assert sample.run("run", "--quiet").exit_code == 0


def test_show_takes_the_first_letters_of_a_run(sample: ProjectFolder) -> None:
    runs = read_json(sample.run("runs", "--json"))["runs"]
    assert isinstance(runs, list)
    found = read_json(sample.run("show", runs[0]["run_id"][:6], "--json"))["run"]
    assert found == runs[0]
    missing = sample.run("show", "nobody")
    assert (missing.exit_code, "penstock runs" in missing.stderr) == (2, True)


def test_a_transform_that_prints_does_not_break_the_json(sample: ProjectFolder) -> None:
    sample.write(
        """
        import duckdb

        def with_total(df: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
            print("hello from a transform")
            return df.project("*, quantity * unit_price AS total")
        """,
        "transforms.py",
    )
    done = sample.run("run", "--table", "orders", "--full-refresh", "--yes", "--json")
    assert done.exit_code == 0, done.said
    assert read_json(done)["state"] == "succeeded"


@pytest.mark.claims("exit:0")
def test_the_samples_transform_has_a_fixture_that_passes(sample: ProjectFolder) -> None:
    done = sample.run("test")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "transforms.with_total.yaml::with_total" in done.stdout
    assert "1 case, 0 failed" in done.stdout


@pytest.mark.feature("M7")
def test_a_transform_that_does_something_else_fails_its_fixture_and_exits_1(sample: ProjectFolder) -> None:
    code = (sample.path / "transforms.py").read_text()
    sample.write(code.replace("quantity * unit_price", "quantity + unit_price"), "transforms.py")
    done = sample.run("test", "--json")
    checks = read_json(done)["checks"]
    assert isinstance(checks, list)
    assert (done.exit_code, [check["ok"] for check in checks]) == (1, [False])
    assert "missing" in checks[0]["message"]


@pytest.mark.claims("--full-refresh")
def test_full_refresh_shows_its_plan_and_wants_a_yes_where_nobody_can_be_asked(sample: ProjectFolder) -> None:
    assert sample.run("run").exit_code == 0
    refused = sample.run("run", "--full-refresh", "--table", "customers")
    assert (refused.exit_code, "grade" in refused.stderr) == (2, True)
    assert "fix: say -y to go ahead: penstock run --full-refresh -y" in refused.stderr
    done = sample.run("run", "--full-refresh", "--table", "customers", "-y")
    assert done.exit_code == 0
    assert "Load these tables anew" not in done.stderr
    tables = read_json(sample.run("status", "--json", "--table", "customers"))["tables"]
    assert isinstance(tables, list)
    assert [table["generation"] for table in tables] == [2]


def on_a_terminal(folder: ProjectFolder, *words: str, types: str = "") -> Ended:
    """The command with a terminal as its standard input, on which somebody has typed ahead."""
    keyboard, terminal = pty.openpty()
    os.write(keyboard, types.encode())
    with subprocess.Popen(
        [sys.executable, "-m", "penstock", *words],
        cwd=folder.path,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        stdout, stderr = process.communicate(timeout=60)
    os.close(keyboard)
    os.close(terminal)
    return Ended(process.returncode, stdout, stderr)


@pytest.mark.parametrize(
    ("answer", "exit_code", "said"), [("n\n", 2, "not confirmed"), ("y\n", 0, "succeeded")], ids=["no", "yes"]
)
def test_full_refresh_asks_on_a_terminal(sample: ProjectFolder, answer: str, exit_code: int, said: str) -> None:
    done = on_a_terminal(sample, "run", "--full-refresh", "--table", "customers", types=answer)
    assert done.exit_code == exit_code, done.said
    assert "Load these tables anew" in done.stderr
    assert said in done.said


@pytest.mark.claims("--yes")
def test_yes_leaves_the_question_out(sample: ProjectFolder) -> None:
    done = on_a_terminal(sample, "run", "--full-refresh", "--yes", "--table", "customers")
    assert done.exit_code == 0
    assert "grade" in done.stderr
    assert "Load these tables anew" not in done.stderr


@pytest.mark.claims("--quiet")
def test_quiet_shows_nothing_but_errors(sample: ProjectFolder) -> None:
    assert sample.run("run", "--quiet").said == ""
    failed = sample.run("run", "--quiet", "--table", "nobody")
    assert (failed.exit_code, failed.stdout) == (2, "")
    assert failed.stderr.startswith("error: ")


@pytest.mark.claims("--config")
def test_config_names_a_project_elsewhere_whose_paths_stay_its_own(ran: ProjectFolder, tmp_path: Path) -> None:
    done = ProjectFolder(tmp_path, warm=True).run("status", "-c", str(ran.path / "penstock.yaml"), "--json")
    tables = read_json(done)["tables"]
    assert isinstance(tables, list)
    assert {table["state"] for table in tables} == {"done"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.claims("--env")
def test_env_chooses_the_environment(sample: ProjectFolder) -> None:
    project = (sample.path / "penstock.yaml").read_text()
    sample.write(project + project.partition("dev:\n")[2].join(["\nother:\n", ""]))
    assert read_json(sample.run("plan", "--env", "other", "--json"))["environment"] == "other"
    unknown = sample.run("plan", "--env", "nobody")
    assert unknown.exit_code == 2
    assert "other" in unknown.stderr


@pytest.mark.claims("--legacy")
def test_legacy_turns_an_unknown_key_into_a_warning_on_stderr(sample: ProjectFolder) -> None:
    project = (sample.path / "penstock.yaml").read_text()
    sample.write(project.replace("      variant: sqlite\n", "      variant: sqlite\n      colour: blue\n", 1))
    strict, lenient = sample.run("plan", "--json"), sample.run("plan", "--legacy", "--json")
    assert strict.exit_code == 2
    assert "colour" in strict.stdout
    assert lenient.exit_code == 0
    assert "warning: " in lenient.stderr
    assert "colour" in lenient.stderr
    assert "tables" in read_json(lenient)


@pytest.mark.claims("--threads")
def test_one_thread_runs_one_table_after_another(sample: ProjectFolder) -> None:
    done = sample.run("run", "--threads", "1", "--full-refresh", "--yes", "--verbose", "--json")
    assert done.exit_code == 0, done.said
    logged = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    steps = [
        (line["event"], line["table"]) for line in logged if line.get("event") in {"TableStarted", "TableFinished"}
    ]
    assert len(steps) == 6
    for (began, table), (ended, same) in zip(steps[::2], steps[1::2], strict=True):
        assert (began, ended, table) == ("TableStarted", "TableFinished", same)


@pytest.mark.claims("--limit")
def test_limit_lands_in_a_sample_beside_the_target(sample: ProjectFolder) -> None:
    assert sample.run("run", "--table", "customers", "--limit", "5", "--quiet").exit_code == 0
    assert (count(sample, "customers"), count(sample, "customers__sample")) == (24, 5)


def test_no_secret_is_in_any_output_or_log(tmp_path: Path) -> None:
    folder = ProjectFolder(tmp_path, warm=True)
    folder.write(
        """
        version: 2
        default_environment: dev
        dev:
          settings:
            log_dir: logs
            retries: 0
          connections:
            far:
              variant: postgres
              host: 127.0.0.1
              port: 1
              database: shop
              user: me
              password: ${FAR_PASSWORD}
            near:
              variant: sqlite
              database: near.db
          pipelines:
            - name: p
              source: far
              destination: near
              tables:
                - name: public.orders
                  target_name: orders
        """
    )
    password = "s3cret-of-the-far-side"
    for words in (["check"], ["plan", "--json"], ["run"], ["preview", "orders", "--json"], ["status"], ["verify"]):
        done = folder.run(*words, "--verbose", "--debug", env={"FAR_PASSWORD": password})
        assert done.exit_code != 0, words
        assert password not in done.said
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or password.encode() not in path.read_bytes(), path


def test_the_history_tells_programs_how_long_things_took(here: InProcess) -> None:
    told: Any = here.run("runs", "--json").json()
    shown: Any = here.run("show", "last", "--json").json()
    for record in (*told["runs"], shown["run"], *shown["tables"]):
        took = datetime.fromisoformat(record["finished_at"]) - datetime.fromisoformat(record["started_at"])
        assert record["seconds"] == took.total_seconds()
