"""The source, the target, the ledger and the run history change under a run: nothing is lost, doubled or made up."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from penstock.testing.project import Ended
from tests.attacks.conftest import MakeLab
from tests.attacks.lab import Lab
from tests.faults.places import PostgresPlace

INCREMENTAL = {"replication_method": "incremental", "iterate_column": "moment", "iterate_column_type": "int"}


def filled(make_lab: MakeLab, source: str, destination: str) -> tuple[Lab, dict[str, object]]:
    lab = make_lab(source, destination)
    rows = ", ".join(f"({n}, {n}, 'n{n}')" for n in range(1, 51))
    lab.here.execute("CREATE TABLE t (id int, moment int, note varchar(20))", f"INSERT INTO t VALUES {rows}")
    return lab, {"name": "src.t" if source == "postgres" else "t", "target_name": "t_copy"}


def changed_while_running(lab: Lab, point: str, *statements: str) -> Ended:
    """Run; once the failpoint is reached, change the source; let it go on."""
    mark = lab.folder / "paused"
    process = lab.project.start("run", faults=f"{point}=pause:{mark}@1")
    deadline = time.monotonic() + 60
    while not mark.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if not mark.exists():
        process.kill()
        raise AssertionError(f"{point} was not reached: {process.communicate()}")
    try:
        # the open read holds the table: what wants it alone has to wait, and gives up
        lab.here.execute("SET lock_timeout = '500ms'", *statements)
    except asyncpg.LockNotAvailableError:
        pass
    finally:
        mark.unlink(missing_ok=True)
    try:
        stdout, stderr = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Ended(process.returncode, stdout, stderr)


CHANGES = {
    "dropped": ("DROP TABLE t",),
    "renamed": ("ALTER TABLE t RENAME TO u",),
    "column dropped": ("ALTER TABLE t DROP COLUMN note",),
    "column added": ("ALTER TABLE t ADD COLUMN more int",),
    "retyped": ("ALTER TABLE t ALTER COLUMN moment TYPE text USING 'x' || moment",),
    "updated": ("UPDATE t SET note = 'changed'",),
    "deleted": ("DELETE FROM t WHERE id > 10",),
    "truncated": ("TRUNCATE t",),
    "recreated": ("DROP TABLE t", "CREATE TABLE t (id int, moment int, note varchar(20))"),
}


@pytest.mark.postgres
@pytest.mark.parametrize(
    "change", ["deleted", *(pytest.param(c, marks=pytest.mark.faults) for c in CHANGES if c != "deleted")]
)
@pytest.mark.parametrize("destination", ["postgres", "duckdb"])
@pytest.mark.parametrize("strategy", ["append", "replace"])
def test_a_source_that_changes_under_a_run_gives_one_of_its_states_or_an_error(
    make_lab: MakeLab, change: str, destination: str, strategy: str
) -> None:
    lab, table = filled(make_lab, "postgres", destination)
    lab.settings["retries"] = 1
    lab.write(table | {"write_strategy": strategy} | (INCREMENTAL if strategy == "append" else {}))
    before = sorted(lab.here.query("SELECT id, moment, note FROM t"))
    assert isinstance(lab.here, PostgresPlace)
    ended = changed_while_running(lab, "source.opened", *CHANGES[change])
    arrived = "t_copy" in lab.there.tables()
    if ended.exit_code == 0:
        columns = lab.columns("t_copy")
        if change in ("deleted", "truncated", "recreated", "updated"):
            states = [before]
            if "t" in lab.here.tables():
                states.append(sorted(lab.here.query("SELECT id, moment, note FROM t")))
            assert sorted(lab.there.query("SELECT id, moment, note FROM t_copy")) in states
            if change != "updated":
                assert lab.there.query("SELECT count(*) FROM t_copy") == [(50,)] or change == "recreated"
        assert lab.there.query("SELECT count(*) FROM t_copy") in ([(50,)], [(10,)], [(0,)]), columns
    else:
        assert ended.exit_code == 1, ended.said
        assert "Traceback" not in ended.said
        assert not arrived
    assert [name for name in lab.there.tables() if name.startswith("_penstock_") and len(name) == 22] == []


@pytest.mark.parametrize("destination", ["sqlite", "duckdb", "postgres"])
@pytest.mark.parametrize("strategy", ["append", "upsert"])
@pytest.mark.parametrize("harm", ["dropped", "truncated", "retyped", "column dropped"])
def test_a_target_that_somebody_changed_is_never_filled_wrongly(
    make_lab: MakeLab, destination: str, strategy: str, harm: str
) -> None:
    lab, table = filled(make_lab, "sqlite", destination)
    table |= INCREMENTAL | {"write_strategy": strategy} | ({"write_key": ["id"]} if strategy == "upsert" else {})
    lab.moved(table)
    if harm == "dropped":
        lab.there.execute("DROP TABLE t_copy")
    elif harm == "truncated":
        lab.there.execute("DELETE FROM t_copy")
    elif harm == "retyped":
        lab.there.execute("DROP TABLE t_copy", "CREATE TABLE t_copy (id bigint, moment bigint, note int)")
    else:
        lab.there.execute("DROP TABLE t_copy", "CREATE TABLE t_copy (id bigint, moment bigint)")
    lab.here.execute("INSERT INTO t VALUES (51, 51, 'new')")
    result = lab.run(table)
    said = "\n".join(map(str, result.errors.values()))
    if result.state == "succeeded":
        notes = lab.there.query("SELECT id, note FROM t_copy WHERE id = 51")
        assert notes == [(51, "new")], (harm, notes)
        if harm == "dropped":
            # rows that the ledger says are in are not: a run that goes on must bring them all
            assert lab.there.query("SELECT count(*) FROM t_copy") == [(51,)], "half a table passed for a whole one"
    else:
        assert "t_copy" in said


@pytest.mark.parametrize("destination", ["sqlite", "duckdb", "postgres"])
@pytest.mark.parametrize("harm", ["rows deleted", "tables dropped", "position mangled", "newer format"])
def test_a_ledger_that_somebody_edited_is_refused_and_never_believed(
    make_lab: MakeLab, destination: str, harm: str
) -> None:
    lab, table = filled(make_lab, "sqlite", destination)
    table |= INCREMENTAL
    lab.moved(table)
    names = ("_penstock_ledger", "_penstock_loads", "_penstock_boundary")
    if harm == "rows deleted":
        lab.there.execute("DELETE FROM _penstock_ledger")
    elif harm == "tables dropped":
        lab.there.execute(*(f"DROP TABLE {name}" for name in names))
    elif harm == "position mangled":
        lab.there.execute("UPDATE _penstock_ledger SET cursor_value = '{\"cursor\": [1'")
    else:
        lab.there.execute("UPDATE _penstock_ledger SET format = 99")
    lab.here.execute("INSERT INTO t VALUES (51, 51, 'new')")
    said = lab.refused(table)
    assert "Traceback" not in said
    assert "fix:" in said
    assert lab.there.query("SELECT count(*), count(DISTINCT id) FROM t_copy") == [(50, 50)]


@pytest.mark.parametrize("harm", ["deleted", "random bytes", "empty", "newer", "folder"])
def test_a_run_history_that_is_gone_or_broken_costs_no_row(make_lab: MakeLab, harm: str) -> None:
    lab, table = filled(make_lab, "sqlite", "duckdb")
    table |= INCREMENTAL
    lab.moved(table)
    state = lab.folder / ".penstock" / "state.db"
    for extra in (Path(f"{state}-wal"), Path(f"{state}-shm")):
        extra.unlink(missing_ok=True)
    if harm == "newer":
        with closing(sqlite3.connect(state)) as link, link:
            link.execute("PRAGMA user_version = 999")
    elif harm == "random bytes":
        state.write_bytes(os.urandom(20_000))
    else:
        state.unlink()
        if harm == "empty":
            state.touch()
        if harm == "folder":
            state.mkdir()
    lab.here.execute("INSERT INTO t VALUES (51, 51, 'new')")
    lab.write(table)
    ended = lab.project.run("run")
    assert "Traceback" not in ended.said
    assert ended.exit_code in (0, 1), ended.said
    if ended.exit_code == 0:
        assert lab.there.query("SELECT count(*), count(DISTINCT id) FROM t_copy") == [(51, 51)]
    else:
        assert lab.there.query("SELECT count(*), count(DISTINCT id) FROM t_copy") == [(50, 50)]
        assert "state.db" in ended.said
