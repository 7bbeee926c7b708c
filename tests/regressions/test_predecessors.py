"""Faults that mkpipe's users met, by number: none comes back. What other files prove already is named, not repeated."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import sqlite3
import subprocess
import sys
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

import penstock
from penstock import plugins
from penstock.errors import PenstockError
from penstock.testing.project import ProjectFolder
from tests.pipeline.conftest import Shop

CONFORMANCE = ("postgres", "Postgres"), ("sqlite", "Sqlite"), ("duckdb", "Duckdb")
UPSERT = (
    "- {name: orders, target_name: orders, replication_method: incremental, iterate_column: at, "
    "write_strategy: upsert, write_key: [id]}"
)
APPEND = "- {name: orders, target_name: orders, replication_method: incremental, iterate_column: at}"


def conform(test: str) -> tuple[str, ...]:
    """A test of the shared suite, as each database runs it."""
    return tuple(f"tests/conformance/test_{system}.py::Test{name}Destination::{test}" for system, name in CONFORMANCE)


PG = "tests/connectors/postgres"
ELSEWHERE: dict[int, tuple[str, ...]] = {
    1: conform("test_spec30_upsert_adds_new_keys_and_updates_known_ones"),
    2: conform("test_spec04_a_failure_to_look_is_never_read_as_absent"),
    3: (
        *conform("test_spec11_readers_see_the_old_rows_until_a_replace_commits"),
        *conform("test_spec13_an_aborted_replace_leaves_the_old_rows"),
        f"{PG}/destination/test_swap.py::test_readers_never_see_the_table_empty_or_mixed_while_it_is_replaced",
        "tests/connectors/sql/test_shapes.py::test_a_reader_never_sees_a_replaced_table_empty_or_mixed",
    ),
    4: conform("test_spec33_a_key_that_is_not_unique_in_the_table_fails_the_load"),
    5: (
        f"{PG}/source/test_incremental.py::test_a_row_stamped_early_and_committed_late_is_delivered_once",
        f"{PG}/source/test_incremental.py::test_rows_without_cursor_are_a_choice",
    ),
    6: ("tests/e2e/test_twice.py::test_an_incremental_table_run_twice_makes_one_load",),
    7: (f"{PG}/source/test_incremental.py::test_a_list_of_cursors_counts_by_the_greatest",),
    8: ("tests/pipeline/test_api.py::test_a_static_window_is_loaded_again_without_moving_the_cursor",),
    11: (
        "tests/connectors/files/test_tables.py::test_replacing_takes_away_the_old_files_and_their_folders",
        "tests/schema/test_evolution.py::test_narrowing_never_fits",
    ),
    14: ("tests/engines/arrow/test_columns.py::test_ids_equal_those_spark_computed",),
    15: (
        *conform("test_spec50_a_new_column_is_null_in_the_rows_before_it"),
        "tests/conformance/test_postgres.py::TestPostgresDestination::test_spec55_a_widened_column_keeps_its_values",
        "tests/connectors/files/test_tables.py::test_columns_added_and_widened_read_as_one_table",
        f"{PG}/destination/test_swap.py::test_a_swap_keeps_owner_grants_indices_constraints_comments_and_defaults",
    ),
    17: ("tests/e2e/test_mkpipe_quickstart.py::test_it_runs_as_it_is_and_incrementally_the_second_time",),
    19: (f"{PG}/source/test_incremental.py::test_an_expression_orders_a_table_and_misses_nothing_by_default",),
    22: (
        f"{PG}/destination/test_loads.py::test_an_all_key_table_keeps_its_rows",
        "tests/connectors/sql/test_shapes.py::test_a_table_that_is_all_key_takes_an_upsert",
    ),
    24: (
        "tests/cli/test_commands.py::test_one_thread_runs_one_table_after_another",
        "tests/pipeline/test_api.py::test_plan_writes_nothing",
        "tests/pipeline/test_api.py::test_status_reads_the_ledger",
    ),
    25: (
        "tests/pipeline/test_api.py::test_a_failed_table_stops_its_pipeline_unless_it_may_be_passed",
        "tests/pipeline/test_api.py::test_a_selection_that_selects_nothing_is_an_error",
        "tests/faults/test_kill_anywhere.py::test_a_run_killed_at_any_point_is_made_good_by_the_next",
    ),
    26: ("tests/faults/test_postgres_faults.py::test_two_runs_at_once_load_each_row_once",),
    28: (
        *conform("test_spec21_a_name_full_of_traps_is_only_a_name"),
        f"{PG}/destination/test_loads.py::test_a_hostile_name_is_only_a_name_everywhere",
    ),
    29: (
        "tests/config/test_secrets.py::test_no_error_shows_a_secret",
        "tests/cli/test_commands.py::test_no_secret_is_in_any_output_or_log",
        "tests/e2e/test_mkpipe_quickstart.py::test_the_password_is_said_nowhere",
    ),
    30: ("tests/telemetry/test_logs.py::test_log_files_are_private_and_old_ones_are_removed",),
    31: (f"{PG}/source/test_splits.py::test_ctid_shares_of_one_snapshot_lose_nothing_to_concurrent_updates",),
}
OTHER_SYSTEMS = {10: "MongoDB", 12: "the ClickHouse backend", 13: "InfluxDB and Redis"}


def faults_tested_here() -> set[int]:
    found = [re.findall(r"Fault (\d+)", value.__doc__ or "") for value in globals().values() if callable(value)]
    return {int(number) for numbers in found for number in numbers}


def test_every_fault_is_answered_for() -> None:
    assert faults_tested_here() | set(ELSEWHERE) | set(OTHER_SYSTEMS) == set(range(1, 32))


@pytest.mark.parametrize("test", sorted({test for tests in ELSEWHERE.values() for test in tests}))
def test_what_is_said_to_be_tested_elsewhere_is(test: str) -> None:
    file, *names = test.split("::")
    found: object = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    for name in names:
        found = getattr(found, name)
    assert callable(found)


def rows_after_next_run(shop: Shop, tables: str) -> list[tuple[object, ...]]:
    result = penstock.run(shop.write(tables))
    assert result.exit_code == 0
    return shop.target("SELECT id, item FROM orders ORDER BY id")


def test_an_upsert_of_what_changed_keeps_every_other_row(shop: Shop) -> None:
    """Fault 1, Fault 2 and Fault 18."""
    penstock.run(shop.write(UPSERT))
    shop.source("UPDATE orders SET item = 'changed', at = 9 WHERE id = 2")
    rows = rows_after_next_run(shop, UPSERT)
    assert rows == [(1, "item 1"), (2, "changed"), (3, "item 3"), (4, "item 4"), (5, "item 5")]


def test_a_replace_that_fails_half_way_leaves_the_rows_that_were_there(shop: Shop) -> None:
    """Fault 3."""
    full = "- {name: orders, target_name: orders%s}"
    penstock.run(shop.write(full % ""))
    divides = ', transform_sql: "SELECT *, CAST(item AS INTEGER) AS broken FROM input"'
    with pytest.raises(PenstockError):
        penstock.run(shop.write(full % divides))
    assert shop.target("SELECT count(*) FROM orders") == [(5,)]


def test_rows_without_a_cursor_are_never_left_out_in_silence(shop: Shop) -> None:
    """Fault 5."""
    path = shop.write(APPEND)
    penstock.run(path)
    shop.source("INSERT INTO orders VALUES (6, 'no time', 1, NULL)")
    shop.source("INSERT INTO orders VALUES (7, 'later', 1, 8)")
    with pytest.raises(PenstockError, match="null_cursors"):
        penstock.run(path)


def test_a_late_row_within_the_lookback_arrives_once(shop: Shop) -> None:
    """Fault 5 and Fault 6."""
    path = shop.write(APPEND.replace("at}", "at, lookback: 10}"))
    penstock.run(path)
    shop.source("INSERT INTO orders VALUES (6, 'late', 1, 3)")
    for _ in range(3):
        penstock.run(path)
    assert shop.target("SELECT count(*), count(DISTINCT id) FROM orders") == [(6, 6)]


def test_an_old_row_that_was_updated_brings_no_history_again(shop: Shop) -> None:
    """Fault 7."""
    shop.source("ALTER TABLE orders ADD COLUMN updated INTEGER")
    path = shop.write(APPEND.replace("iterate_column: at", "iterate_column: [at, updated], null_cursors: skip"))
    penstock.run(path)
    shop.source("UPDATE orders SET updated = 2000000 WHERE id = 1")
    assert penstock.run(path).tables[0].rows_written == 1


def test_a_window_without_rows_loads_nothing_and_moves_no_cursor(shop: Shop) -> None:
    """Fault 8."""
    window = APPEND.replace(
        "iterate_column: at", "iterate_column: at, iterate_column_type: int, filter_lower_bound: 90"
    )
    penstock.run(shop.write(window))
    tables = [name for (name,) in shop.target("SELECT name FROM sqlite_master WHERE name = 'orders'")]
    assert not tables or shop.target("SELECT count(*) FROM orders") == [(0,)]
    assert penstock.run(shop.write(APPEND)).tables[0].rows_written == 5


def test_a_query_without_the_placeholder_brings_nothing_twice(shop: Shop) -> None:
    """Fault 9."""
    path = shop.write(APPEND.replace("at}", 'at, custom_query: "(SELECT id, item, at FROM orders) q"}'))
    for _ in range(2):
        penstock.run(path)
    assert shop.target("SELECT count(*) FROM orders") == [(5,)]


def test_a_file_table_never_takes_a_column_of_another_type(shop: Shop) -> None:
    """Fault 15: a Parquet table that nobody could read any more."""
    path = shop.write(APPEND)
    lake = path.read_text().replace("{variant: sqlite, database: target.db}", "{variant: file, extra: {path: lake}}")
    path.write_text(lake)
    penstock.run(path)
    path.write_text(lake.replace("iterate_column: at", 'iterate_column: at, columns: {item: "timestamp"}'))
    shop.source("INSERT INTO orders VALUES (6, '2024-01-01 00:00:00', 1, 7)")
    with pytest.raises(PenstockError, match="item"):
        penstock.run(path)
    with duckdb.connect() as reader:
        files = str(shop.folder / "lake" / "orders" / "**" / "*.parquet")
        assert reader.execute("SELECT count(*) FROM read_parquet(?)", [files]).fetchall() == [(5,)]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles"])
def test_the_ingestion_time_is_utc_whatever_the_machines_zone(shop: Shop, zone: str) -> None:
    """Fault 16."""
    shop.write(APPEND)
    before = datetime.now(UTC)
    assert ProjectFolder(shop.folder).run("run", "--quiet", env={"TZ": zone}).exit_code == 0
    ((text,),) = shop.target("SELECT DISTINCT _ingested_at FROM orders")
    loaded = datetime.fromisoformat(str(text))
    assert before <= loaded.replace(tzinfo=loaded.tzinfo or UTC) <= datetime.now(UTC)


def test_a_backend_without_a_database_has_its_place_beside_the_project(shop: Shop) -> None:
    """Fault 17."""
    assert penstock.run(shop.write(APPEND, "{backend: {variant: sqlite}}")).exit_code == 0
    assert (shop.folder / ".penstock" / "state.db").is_file()


def test_an_expression_shows_what_is_new(shop: Shop) -> None:
    """Fault 19."""
    path = shop.write(APPEND.replace("at}", '"coalesce(at, id)", iterate_column_type: int}'))
    penstock.run(path)
    shop.source("INSERT INTO orders VALUES (6, 'no time', 1, NULL)")
    assert [penstock.run(path).tables[0].rows_written for _ in range(2)] == [1, 0]


@pytest.mark.parametrize("variant", ["postgres", "postgresql"])
def test_postgres_has_both_of_its_names(variant: str) -> None:
    """Fault 20."""
    assert plugins.connector(variant).open_source is not None


def test_a_query_file_lies_beside_the_project_wherever_it_is_run(
    shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Fault 21."""
    (shop.folder / "sql").mkdir()
    (shop.folder / "sql" / "orders.sql").write_text("(SELECT id, item, at FROM orders {query_filter}) q")
    path = shop.write(APPEND.replace("at}", "at, custom_query_file: sql/orders.sql}"))
    with chdir(tmp_path_factory.mktemp("elsewhere")):
        assert penstock.run(path).tables[0].rows_written == 5


@pytest.mark.postgres
def test_a_target_with_a_schema_is_upserted_there_and_leaves_nothing_behind(shop: Shop, postgres_url: str) -> None:
    """Fault 22 and Fault 26."""
    path = shop.write(UPSERT.replace("target_name: orders", "target_name: mart.orders"))
    path.write_text(path.read_text().replace("{variant: sqlite, database: target.db}", server(postgres_url)))
    for statement in ("SELECT 1", "UPDATE orders SET item = 'changed', at = 9 WHERE id = 2"):
        shop.source(statement)
        penstock.run(path)
    assert ask(postgres_url, "SELECT count(*), count(*) FILTER (WHERE item = 'changed') FROM mart.orders") == [(5, 1)]
    query = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information)' ORDER BY 1"
    left = [str(name) for (name,) in ask(postgres_url, query)]
    assert [name for name in left if "_penstock" not in name] == ["mart.orders"]
    assert len([name for name in left if "_penstock" in name]) == 3


def server(url: str) -> str:
    address, _, database = url.partition("@")[2].partition("/")
    host, _, port = address.partition(":")
    return f"{{variant: postgres, host: {host}, port: {port}, database: {database}, user: postgres, schema: public}}"


def ask(url: str, query: str) -> list[tuple[object, ...]]:
    import asyncpg

    async def fetch() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    return asyncio.run(fetch())


@pytest.mark.parametrize("destination", ["sqlite", "duckdb", "file"])
def test_every_destination_takes_the_settings_of_added_columns_and_case(shop: Shop, destination: str) -> None:
    """Fault 23."""
    ends = {
        "sqlite": "{variant: sqlite, database: target.db}",
        "duckdb": "{variant: duckdb, database: target.duckdb}",
        "file": "{variant: file, extra: {path: lake}}",
    }
    settings = "{ingested_at_column: loaded_at, ingestion_id_column: row_id, column_name_case: upper}"
    path = shop.write(APPEND.replace("at}", "at, dedup_columns: [id, at]}"), settings)
    path.write_text(path.read_text().replace(ends["sqlite"], ends[destination]))
    penstock.run(path)
    queries = {
        "sqlite": "SELECT * FROM sqlite_scan('target.db', 'orders') LIMIT 1",
        "duckdb": "SELECT * FROM there.orders LIMIT 1",
        "file": "SELECT * FROM read_parquet('lake/orders/**/*.parquet') LIMIT 1",
    }
    if destination == "sqlite":
        database = sqlite3.connect(shop.folder / "target.db")
        names = [column[0] for column in database.execute("SELECT * FROM orders").description]
        database.close()
    else:
        with chdir(shop.folder), duckdb.connect() as reader:
            if destination == "duckdb":
                reader.execute("ATTACH 'target.duckdb' AS there (READ_ONLY)")
            names = [column[0] for column in reader.execute(queries[destination]).description or ()]
    assert names == ["ID", "ITEM", "AMOUNT", "AT", "row_id", "loaded_at"]


def test_a_failure_that_was_passed_over_is_in_the_result_and_the_exit_code(shop: Shop) -> None:
    """Fault 25."""
    tables = "- {name: nowhere, target_name: first, pass_on_error: true}\n" + APPEND
    shop.write(tables)
    done = ProjectFolder(shop.folder).run("run", "--json")
    assert done.exit_code == 1
    shown = json.loads(done.stdout)
    assert set(shown["errors"]) == {"first"}
    assert shop.target("SELECT count(*) FROM orders") == [(5,)]
    with pytest.raises(PenstockError, match="nowhere"):
        penstock.run(shop.folder / "penstock.yaml")


def test_a_run_that_died_blocks_no_later_run(shop: Shop) -> None:
    """Fault 25."""
    shop.write(APPEND)
    folder = ProjectFolder(shop.folder)
    assert folder.run("run", faults="load.piece_written=kill").exit_code < 0
    assert folder.run("run", "--quiet").exit_code == 0
    assert shop.target("SELECT count(*) FROM orders") == [(5,)]


@pytest.mark.postgres
def test_runs_in_one_process_leave_no_session_at_the_server(shop: Shop, postgres_url: str) -> None:
    """Fault 27."""
    address, _, database = postgres_url.partition("@")[2].partition("/")
    host, _, port = address.partition(":")
    backend = f"{{backend: {{variant: postgres, host: {host}, port: {port}, database: {database}, user: postgres}}}}"
    path = shop.write(APPEND, backend)
    path.write_text(path.read_text().replace("{variant: sqlite, database: target.db}", server(postgres_url)))
    for _ in range(3):
        penstock.run(path)
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert ask(postgres_url, query) == [(0,)]


@pytest.mark.parametrize("value", ["x'); DROP TABLE orders; --", "' OR '1'='1", "a\\'b", 'q"; --'])
def test_a_text_cursor_from_the_source_is_a_value_and_nothing_else(shop: Shop, value: str) -> None:
    """Fault 28."""
    path = shop.write(APPEND.replace("iterate_column: at", "iterate_column: item"))
    shop.source("INSERT INTO orders VALUES (?, ?, ?, ?)", (6, value, "1.00", 6))
    for _ in range(2):
        penstock.run(path)
    assert shop.target("SELECT count(*), max(item = 'item 5') FROM orders") == [(6, 1)]
    assert penstock.run(path).tables[0].state == "idle"


def test_a_configuration_shows_no_secret_however_it_is_printed(shop: Shop) -> None:
    """Fault 29."""
    path = shop.write(APPEND)
    path.write_text(path.read_text().replace("database: shop.db", "database: shop.db, password: open-sesame-7"))
    project = penstock.Project.open(path)
    printed = repr(project.config) + str(project.config.connections) + repr(vars(project))
    assert "shop.db" in printed
    assert "open-sesame-7" not in printed


def test_ten_rows_need_no_jvm(shop: Shop) -> None:
    """Fault 31: what stood under scale without a number."""
    run = f"import sys, penstock; penstock.run({str(shop.write(APPEND))!r})"
    ask = "sys.exit(bool({'pyspark', 'py4j', 'jpype'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", f"{run}; {ask}"], check=True)
    assert shop.target("SELECT * FROM orders")


def test_the_folder_holds_what_the_project_made_and_nothing_else(shop: Shop) -> None:
    """Fault 30: no credentials and no state outside the project's own folder."""
    penstock.run(shop.write(APPEND))
    assert {Path(file).name for file in shop.folder.iterdir()} == {"penstock.yaml", "shop.db", "target.db", ".penstock"}
