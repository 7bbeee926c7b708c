"""The Python API: run, plan, extract, load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import penstock
from penstock.errors import ConfigError, PenstockError, RefusedError, TransformError
from penstock.pipeline.results import RunResult
from tests.pipeline.conftest import Shop

FULL = "- {name: orders, target_name: orders}"
APPEND = "- {name: orders, target_name: orders, replication_method: incremental, iterate_column: at, tags: [a]}"
UPSERT = (
    "- {name: orders, target_name: orders, replication_method: incremental, iterate_column: at, "
    "write_strategy: upsert, write_key: [id]}"
)


@pytest.mark.feature("M2")
def test_run_moves_the_table_and_returns_what_it_did(shop: Shop) -> None:
    result = penstock.run(shop.write(FULL))
    assert (result.state, result.exit_code, result.tables[0].rows_written) == ("succeeded", 0, 5)
    assert shop.target("SELECT id, item, amount FROM orders WHERE id = 3") == [(3, "item 3", 3.5)]


@pytest.mark.feature("M3")
def test_a_second_incremental_run_moves_only_what_is_new(shop: Shop) -> None:
    path = shop.write(APPEND)
    penstock.run(path)
    shop.source("INSERT INTO orders VALUES (?, ?, ?, ?)", (6, "late", "6.00", 5), (7, "new", "7.00", 9))
    result = penstock.run(path)
    assert result.tables[0].rows_written == 2
    assert shop.target("SELECT count(*), count(DISTINCT id) FROM orders") == [(7, 7)]


def test_an_idle_run_writes_nothing(shop: Shop) -> None:
    path = shop.write(APPEND)
    penstock.run(path)
    before = shop.target("SELECT sequence, epoch, changed_at FROM _penstock_ledger")
    assert penstock.run(path).tables[0].state == "idle"
    assert shop.target("SELECT sequence, epoch, changed_at FROM _penstock_ledger") == before


def test_run_raises_the_first_error_with_the_result(shop: Shop) -> None:
    path = shop.write("- {name: nowhere, target_name: orders}")
    with pytest.raises(PenstockError, match="nowhere") as caught:
        penstock.run(path)
    assert isinstance(caught.value.result, RunResult)
    assert penstock.run(path, raise_on_error=False).tables[0].state == "failed"


@pytest.mark.feature("M2")
@pytest.mark.parametrize("keys", [{"table": "nope"}, {"tags": ["nope"]}, {"pipeline": "nope"}])
def test_a_selection_that_selects_nothing_is_an_error(shop: Shop, keys: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="nothing to run"):
        penstock.run(shop.write(APPEND), **keys)  # type: ignore[arg-type]


def test_plan_writes_nothing(shop: Shop) -> None:
    plan = penstock.plan(shop.write(UPSERT))
    table = plan.tables[0]
    assert (table.strategy, table.route, table.grade) == ("upsert", "direct", "exactly once")
    assert not (shop.folder / "target.db").exists()


def test_a_failed_table_stops_its_pipeline_unless_it_may_be_passed(shop: Shop) -> None:
    tables = "- {name: nowhere, target_name: first%s}\n" + FULL
    stopped = penstock.run(shop.write(tables % ""), threads=1, raise_on_error=False)
    assert [t.state for t in stopped.tables] == ["failed", "stopped"]
    passed = penstock.run(shop.write(tables % ", pass_on_error: true"), threads=1, raise_on_error=False)
    assert [t.state for t in passed.tables] == ["failed", "succeeded"]
    assert passed.exit_code == 1


@pytest.mark.feature("N2")
def test_a_table_with_rows_and_no_ledger_is_refused_until_told(shop: Shop) -> None:
    path = shop.write(APPEND)
    penstock.run(path)
    database = shop.folder / "target.db"
    import sqlite3

    with sqlite3.connect(database) as target:
        target.execute("DELETE FROM _penstock_ledger")
        target.execute("DELETE FROM _penstock_loads")
    target.close()
    with pytest.raises(RefusedError, match="no ledger") as caught:
        penstock.run(path)
    assert caught.value.exit_code == 4
    assert penstock.run(path, full_refresh=True).exit_code == 0
    assert shop.target("SELECT count(*) FROM orders") == [(5,)]


def test_a_full_refresh_starts_a_generation(shop: Shop) -> None:
    path = shop.write(UPSERT)
    penstock.run(path)
    shop.source("DELETE FROM orders WHERE id = 1")
    penstock.run(path, full_refresh=True)
    assert shop.target("SELECT generation, sequence FROM _penstock_ledger") == [(2, 2)]
    assert shop.target("SELECT min(id), count(*) FROM orders") == [(2, 4)]


def test_a_full_refresh_in_place_gives_the_table_the_columns_that_are_new(shop: Shop) -> None:
    """A key that a transform may have doubled meets a stage first, so the old table stays, and follows the stream."""
    transformed = UPSERT.replace("write_key: [id]", 'write_key: [id], transform_sql: "SELECT %s FROM input"')
    penstock.run(shop.write(transformed % "id, input.at"))
    plan = penstock.plan(path := shop.write(transformed % "*, 'x' || input.at AS at_text"), full_refresh=True)
    assert plan.tables[0].steps[0].startswith("add columns: item string, amount decimal(10,2), at_text string")
    penstock.run(path, full_refresh=True)
    assert shop.target("SELECT item, at_text FROM orders WHERE id = 5") == [("item 5", "x5")]


def test_a_replace_follows_deletes(shop: Shop) -> None:
    path = shop.write(FULL)
    penstock.run(path)
    shop.source("DELETE FROM orders WHERE id < 4")
    penstock.run(path)
    assert shop.target("SELECT count(*) FROM orders") == [(2,)]


def test_an_emptied_source_empties_the_table_because_it_was_counted(shop: Shop) -> None:
    path = shop.write(FULL)
    penstock.run(path)
    shop.source("DELETE FROM orders")
    penstock.run(path)
    assert shop.target("SELECT count(*) FROM orders") == [(0,)]


def test_a_transform_that_drops_everything_empties_no_table(shop: Shop) -> None:
    penstock.run(shop.write(FULL))
    path = shop.write('- {name: orders, target_name: orders, transform_sql: "SELECT * FROM input WHERE id < 0"}')
    with pytest.raises(PenstockError, match="would be emptied"):
        penstock.run(path)
    assert shop.target("SELECT count(*) FROM orders") == [(5,)]


def test_limit_lands_in_a_sample_and_touches_nothing_else(shop: Shop) -> None:
    path = shop.write(APPEND)
    penstock.run(path, limit=2)
    assert shop.target("SELECT count(*) FROM orders__sample") == [(2,)]
    penstock.run(path)
    assert shop.target("SELECT count(*) FROM orders") == [(5,)]


@pytest.mark.feature("M2")
def test_extract_reads_lazily_and_moves_no_cursor(shop: Shop) -> None:
    path = shop.write(APPEND)
    extracted = penstock.extract(path, table="orders")
    assert extracted.to_arrow().num_rows == 5
    assert extracted.to_polars().height == 5
    assert extracted.to_pandas().shape == (5, 4)
    assert extracted.df.aggregate("sum(id)").fetchall() == [(15,)]
    assert penstock.run(path).tables[0].rows_written == 5


def test_extract_and_load_take_a_targets_own_name_where_another_table_reads_a_stream_of_that_name(shop: Shop) -> None:
    path = shop.write(f"{FULL}\n        - {{name: orders, target_name: orders_log}}")
    assert penstock.extract(path, table="orders").to_arrow().num_rows == 5
    assert penstock.load(path, table="orders", df=pa.table({"id": [9]})).tables[0].target == "orders"
    twice = shop.write("- {name: orders, target_name: a}\n        - {name: orders, target_name: b}")
    with pytest.raises(ConfigError, match="'orders' names 2 tables: main: a, main: b"):
        penstock.extract(twice, table="orders")


@pytest.mark.feature("M2")
def test_load_takes_any_arrow_frame_by_the_tables_strategy(shop: Shop) -> None:
    path = shop.write(UPSERT)
    penstock.run(path)
    frame = pl.DataFrame({"id": [5, 8], "item": ["changed", "loaded"], "amount": ["1.00", "8.00"], "at": [5, 8]})
    penstock.load(path, table="orders", df=frame.with_columns(pl.col("amount").cast(pl.Decimal(10, 2))))
    assert shop.target("SELECT id, item FROM orders WHERE id >= 5 ORDER BY id") == [(5, "changed"), (8, "loaded")]


def test_a_named_load_is_taken_in_once(shop: Shop) -> None:
    path = shop.write("- {name: orders, target_name: loaded, write_strategy: append}")
    table = pa.table({"id": [1, 2]})
    first, second = (penstock.load(path, table="loaded", df=table, load_id="monday") for _ in range(2))
    assert [(t.state, t.rows_written) for t in first.tables] == [("succeeded", 2)]
    assert [(t.target, t.state, t.rows_written) for t in second.tables] == [("loaded", "idle", 0)]
    found = penstock.Project.open(path).backend().run(second.run_id)
    assert found is not None
    assert [t.state for t in found[1]] == ["idle"]
    penstock.load(path, table="loaded", df=table, load_id="tuesday")
    assert shop.target("SELECT count(*) FROM loaded") == [(4,)]


@pytest.mark.parametrize(
    ("write_mode", "what"),
    [("upsrt", "did you mean 'upsert'"), ("upsert", "needs write_key"), ("delete_insert", "needs write_key")],
)
def test_a_write_mode_that_cannot_be_is_a_config_error(shop: Shop, write_mode: Any, what: str) -> None:
    frame = pa.table({"id": [1]})
    with pytest.raises(ConfigError, match=what):
        penstock.load(shop.write(FULL), table="orders", df=frame, write_mode=write_mode)


def test_an_engine_that_is_not_known_is_an_error_with_the_nearest_name(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="engine 'sprak' is not known"):
        penstock.run(shop.write(FULL), engine="sprak")
    with pytest.raises(ConfigError, match="a Spark session is given, and engine arrow is asked for"):
        penstock.run(shop.write(FULL), engine="arrow", spark=object())


def test_what_is_no_frame_is_an_error_that_names_the_choices(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="not a frame with an Arrow stream"):
        penstock.load(shop.write(FULL), table="orders", df=[1, 2])


def test_sql_that_fails_on_a_row_names_its_table_and_where_the_text_is(shop: Shop) -> None:
    query = ', transform_sql: "SELECT *, item::INTEGER AS n FROM input"}'
    with pytest.raises(TransformError, match="ConversionException") as caught:
        penstock.run(shop.write(FULL.replace("}", query)))
    assert str(caught.value.where).endswith("penstock.yaml:13:11")
    assert str(caught.value.fix).endswith("`--debug` shows it")


def test_sql_that_names_no_column_says_which_and_how_to_find_the_right_one(shop: Shop) -> None:
    with pytest.raises(TransformError, match='"nope" not found') as caught:
        penstock.run(shop.write(FULL.replace("}", ', transform_sql: "SELECT nope FROM input"}')))
    assert "`penstock preview`" in str(caught.value.fix)


def test_verify_finds_what_somebody_changed(shop: Shop) -> None:
    project = shop.open(UPSERT)
    project.run()
    assert [v.state for v in project.verify()] == ["equal"]
    import sqlite3

    with sqlite3.connect(shop.folder / "target.db") as target:
        target.execute("UPDATE orders SET item = 'x' WHERE id = 2")
        target.execute("DELETE FROM orders WHERE id = 4")
    target.close()
    verdict = project.verify()[0]
    assert (verdict.state, verdict.different, verdict.missing) == ("different", 1, 1)
    assert verdict.sample == ("different: (id) = (2)", "missing: (id) = (4)")


def test_verify_counts_what_changed_since_apart(shop: Shop) -> None:
    project = shop.open(UPSERT)
    project.run()
    shop.source("UPDATE orders SET item = 'newer', at = 99 WHERE id = 1")
    shop.source("DELETE FROM orders WHERE id = 2")
    verdict = project.verify()[0]
    assert (verdict.state, verdict.changed_since) == ("equal", 2)


def test_verify_tells_a_foreign_row_from_one_deleted_at_the_source(shop: Shop) -> None:
    project = shop.open(UPSERT)
    project.run()
    shop.source("DELETE FROM orders WHERE id = 2")
    import sqlite3

    with sqlite3.connect(shop.folder / "target.db") as target:
        target.execute("INSERT INTO orders (id, item, at) VALUES (77, 'smuggled in', 1)")
    target.close()
    verdict = project.verify()[0]
    assert (verdict.state, verdict.extra, verdict.changed_since) == ("different", 1, 1)
    assert verdict.sample == ("extra: (id) = (77)",)


def test_verify_of_a_keyless_table_says_so(shop: Shop) -> None:
    project = shop.open(APPEND)
    project.run()
    verdict = project.verify()[0]
    assert (verdict.state, verdict.rows_ledger) == ("equal", 5)
    assert any("keyless" in note for note in verdict.notes)
    import sqlite3

    with sqlite3.connect(shop.folder / "target.db") as target:
        target.execute("UPDATE orders SET amount = '9.99' WHERE id = 2")
    target.close()
    assert project.verify()[0].state == "different"


def test_verify_compares_what_delete_insert_wrote_where_the_source_has_one_row_of_a_key(shop: Shop) -> None:
    project = shop.open(UPSERT.replace("upsert", "delete_insert"))
    project.run()
    assert (project.verify()[0].state, project.verify()[0].rows_source) == ("equal", 5)
    shop.change_target("DELETE FROM orders WHERE id = 4")
    verdict = project.verify()[0]
    assert (verdict.state, verdict.sample) == ("different", ("missing: (id) = (4)",))


def test_verify_calls_nothing_equal_that_it_cannot_compare(shop: Shop) -> None:
    project = shop.open(UPSERT.replace("upsert", "delete_insert").replace("[id]", "[item]"))
    project.run()
    shop.change_target("DELETE FROM orders WHERE id = 4")
    verdict = project.verify()[0]
    assert (verdict.state, verdict.rows_target) == ("unchecked", 4)
    assert "nothing to compare it with" in verdict.notes[0]


def test_status_reads_the_ledger(shop: Shop) -> None:
    project = shop.open(APPEND)
    assert project.status()[0].state == "never loaded"
    project.run()
    status = project.status()[0]
    assert (status.state, status.cursor, status.sequence) == ("done", "5", 1)
    assert status.last_run is not None
    assert status.last_run.rows_written == 5


def test_deleting_the_run_history_loses_history_and_nothing_else(shop: Shop) -> None:
    path = shop.write(APPEND)
    penstock.run(path)
    history = shop.folder / ".penstock" / "state.db"
    assert history.exists()
    for file in history.parent.glob("state.db*"):
        file.unlink()
    assert penstock.run(path).tables[0].state == "idle"


def test_a_static_window_is_loaded_again_without_moving_the_cursor(shop: Shop) -> None:
    penstock.run(shop.write(APPEND))
    shop.source("UPDATE orders SET item = 'corrected' WHERE at IN (2, 3)")
    window = APPEND.replace("tags: [a]", "iterate_column_type: int, filter_lower_bound: 2, filter_upper_bound: 4")
    penstock.run(shop.write(window))
    assert shop.target("SELECT count(*) FROM orders") == [(5,)]
    assert shop.target("SELECT id FROM orders WHERE item = 'corrected' ORDER BY id") == [(2,), (3,)]
    assert penstock.run(shop.write(APPEND)).tables[0].state == "idle"


def test_delete_insert_by_window_follows_deletes_in_the_window(shop: Shop) -> None:
    tables = APPEND.replace("tags: [a]", "write_strategy: delete_insert, lookback: 2")
    path = shop.write(tables)
    penstock.run(path)
    shop.source("DELETE FROM orders WHERE id = 4")
    shop.source("INSERT INTO orders VALUES (?, ?, ?, ?)", (9, "new", "9.00", 9))
    penstock.run(path)
    assert shop.target("SELECT id FROM orders ORDER BY id") == [(1,), (2,), (3,), (5,), (9,)]


def test_importing_penstock_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = ("pyarrow", "duckdb", "pydantic", "ruamel", "polars")
    code = f"import sys, penstock; print([m for m in {heavy} if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_every_public_name_is_there_and_sorted() -> None:
    assert sorted(penstock.__all__) == penstock.__all__ == dir(penstock)
    for name in penstock.__all__:
        assert getattr(penstock, name) is not None


def test_the_project_can_be_handed_over_instead_of_a_path(shop: Shop) -> None:
    project = penstock.Project.open(shop.write(FULL))
    assert penstock.run(project).exit_code == 0
    assert isinstance(Path(project.config.path), Path)


def test_errors_of_two_tables_of_one_name_are_both_told(shop: Shop) -> None:
    path = shop.write("- {name: nowhere, target_name: orders}")
    text = path.read_text()
    pipelines = text[text.index("    - name: main") :]
    second = pipelines.replace("name: main", "name: other").replace("destination: target", "destination: elsewhere")
    connection = "    elsewhere: {variant: sqlite, database: elsewhere.db}\n  pipelines:"
    path.write_text(text.replace("  pipelines:", connection, 1) + second)
    result = penstock.run(path, raise_on_error=False)
    assert sorted(result.errors) == ["main: orders", "other: orders"]


def test_a_cursor_column_whose_name_is_no_identifier_is_a_column(shop: Shop) -> None:
    shop.source('CREATE TABLE odd (id INTEGER, "order date" INTEGER)')
    shop.source("INSERT INTO odd VALUES (?, ?)", (1, 1), (2, 2))
    path = shop.write('- {name: odd, target_name: odd, replication_method: incremental, iterate_column: "order date"}')
    penstock.run(path)
    shop.source("INSERT INTO odd VALUES (?, ?)", (3, 3))
    assert penstock.run(path).tables[0].rows_written == 1
