"""The figures: what is measured, against which limit, and how far from it a release may be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.dlt_rival import forget, has_dlt, run_dlt
from benchmarks.measure import Reading, measure
from benchmarks.projects import OUT, run_project, write_project
from benchmarks.servers import connection_yaml, database_url, empty_target, execute, make_orders

FILES = {"variant": "file", "extra": {"path": str(OUT / "lake"), "format": "parquet"}}
CSV = {"variant": "file", "extra": {"path": str(OUT), "format": "csv"}}


@dataclass(frozen=True, slots=True)
class Case:
    """`limit` and `subject` run once per call, `between` settles the target before each of them.

    Without `most` it stands beside the others for comparison; `runs` holds back what takes long.
    """

    name: str
    limit_name: str
    limit: Callable[[], Reading]
    subject: Callable[[], Reading]
    between: Callable[[], None]
    most: float | None = None
    most_bytes: int | None = None
    runs: int | None = None


def bare(name: str) -> Reading:
    return measure([sys.executable, "-m", "benchmarks.limits", name])


def table(**keys: object) -> dict[str, object]:
    return {"name": "public.orders", "target_name": "orders", "replication_method": "full", **keys}


def _fresh() -> None:
    empty_target("bench_target")


def relay_case() -> Case:
    folder = write_project("relay", table())
    return Case(
        "relay, _ingested_at on",
        "psql into psql",
        lambda: bare("psql"),
        lambda: run_project(folder),
        _fresh,
        1.10,
        100 << 20,
    )


def arrow_cases() -> list[Case]:
    wishes: dict[str, dict[str, object]] = {
        "dedup_columns": {"dedup_columns": ["id", "updated_at"]},
        "a cast": {"columns": {"customer_id": "int64"}},
        "row-wise DuckDB transform": {"transform_sql": "SELECT *, amount * 2 AS twice FROM input"},
    }
    return [_arrow_case(name, keys) for name, keys in wishes.items()]


def _arrow_case(name: str, keys: dict[str, object]) -> Case:
    folder = write_project(name.replace(" ", "-"), table(**keys))
    return Case(name, "psql into psql", lambda: bare("psql"), lambda: run_project(folder), _fresh, 1.9, 256 << 20)


def sail_case() -> Case:
    """A filter and one column more, whole runs: the PySpark function on Sail over the same in DuckDB."""
    from benchmarks.spark import TRANSFORM

    made = write_project("sail", table(transform="twice.py::twice"))
    (made / "twice.py").write_text(TRANSFORM)
    limit = write_project("sail-duckdb", table(transform="twice.py::twice"))
    (limit / "twice.py").write_text(
        '"""A filter and one column more."""\n\nimport duckdb\n\n\n'
        "def twice(rows: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:\n"
        "    return rows.filter('is_open').project('*, amount * 2 AS twice')\n"
    )
    return Case(
        "PySpark transform without JVM",
        "the same in DuckDB",
        lambda: run_project(limit),
        lambda: run_project(made),
        _fresh,
        2.0,
    )


def beside_cases() -> list[Case]:
    """What else moves the same table, as fast as it can be set up."""

    def settled() -> None:
        _fresh()
        forget()

    cases = [Case("bare ADBC read and ingest", "psql into psql", lambda: bare("psql"), lambda: bare("adbc"), _fresh)]
    if has_dlt():
        cases.append(Case("dlt, connectorx and csv", "psql into psql", lambda: bare("psql"), run_dlt, settled, runs=1))
    return cases


def parquet_case() -> Case:
    folder = write_project("parquet", table(), destination=FILES)

    def fresh() -> None:
        measure(["rm", "-rf", str(OUT / "lake"), str(OUT / "bare.parquet")])

    return Case(
        "PostgreSQL to Parquet", "ADBC + pyarrow", lambda: bare("parquet"), lambda: run_project(folder), fresh, 1.3
    )


def csv_case() -> Case:
    from benchmarks.projects import write_tables

    source = dict(CSV)
    wish = table(name="orders.csv")
    folder = write_tables("csv", [wish], source=source, destination=connection_yaml("bench_target"))
    return Case("CSV to PostgreSQL", "DuckDB + pgpq", lambda: bare("csv"), lambda: run_project(folder), _fresh, 1.3)


class UpsertCase:
    """100k changed rows into 5M: both sides start from the same loaded table, and the same rows change each time."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        wish = table(
            replication_method="incremental",
            iterate_column="updated_at",
            iterate_column_type="datetime",
            write_strategy="upsert",
            write_key=["id"],
        )
        self.folder = write_project("upsert", wish)

    def prepare(self) -> None:
        """A loaded target; afterwards each change stamps 100k rows anew."""
        empty_target("bench_target")
        run_project(self.folder)

    def change(self) -> None:
        step = max(1, self.rows // 100_000)
        execute(
            database_url("bench_source"),
            "CREATE SEQUENCE IF NOT EXISTS bench_rounds",
            "UPDATE orders SET amount = amount + 0.01, updated_at = timestamptz '2030-01-01 00:00+00' "
            f"+ nextval('bench_rounds') * interval '1 microsecond' WHERE id % {step} = 0",
            "CHECKPOINT",
        )
        execute(database_url("bench_target"), "CHECKPOINT")

    def case(self) -> Case:
        return Case(
            "upsert of 100k rows",
            "staged INSERT .. ON CONFLICT",
            lambda: bare("upsert"),
            lambda: run_project(self.folder),
            self.change,
            1.3,
        )


def idle_tables(count: int) -> tuple[list[dict[str, object]], Callable[[], None]]:
    """`count` small incremental tables, and what makes them."""

    def make() -> None:
        for number in range(count):
            make_orders("bench_source", 100, table=f"idle_{number}")

    wishes = [
        table(
            name=f"public.idle_{number}",
            target_name=f"idle_{number}",
            replication_method="incremental",
            iterate_column="updated_at",
            iterate_column_type="datetime",
        )
        for number in range(count)
    ]
    return wishes, make
