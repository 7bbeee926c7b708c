"""The demo: an operational SQLite database of airports, replayed in two acts, into DuckDB and a Parquet lake.

`demo.py --engine spark` plays it on Apache Spark, with the same result.
"""

from __future__ import annotations

import csv
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"
AIRPORTS = HERE.parent / "data" / "airports.csv"
FIRST_ACT = 7_000
START = datetime(2026, 9, 1, 6, 0, 0)  # noqa: DTZ001 - the operational database keeps naive local stamps
COLUMNS = "iata, icao, name, city, subd, country, elevation, lat, lon, tz"


def main(engine: Sequence[str]) -> int:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    airports = read_airports()
    database = sqlite3.connect(OUT / "operations.db")
    say("Act one: an application has stored its first 7,000 airports")
    create_table(database)
    store(database, airports[:FIRST_ACT], START)
    penstock("plan", *engine)
    penstock("run", *engine)

    say("Act two: the application adds the rest, and corrects 40 elevations")
    store(database, airports[FIRST_ACT:], START + timedelta(days=1))
    correct_elevations(database, START + timedelta(days=1, hours=1))
    penstock("run", *engine)

    say("A third run finds nothing to do, and verify proves that both tables hold what they should")
    penstock("run", *engine)
    penstock("verify")
    database.close()
    show_results()
    return 0


def read_airports() -> list[dict[str, str]]:
    with AIRPORTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def create_table(database: sqlite3.Connection) -> None:
    database.execute(
        """CREATE TABLE airports (
            iata VARCHAR(3) PRIMARY KEY, icao VARCHAR(4), name TEXT NOT NULL, city TEXT, subd TEXT, country CHAR(2),
            elevation DOUBLE, lat DOUBLE, lon DOUBLE, tz TEXT, updated_at TIMESTAMP NOT NULL)"""
    )


def store(database: sqlite3.Connection, airports: list[dict[str, str]], start: datetime) -> None:
    """One airport a second, as an application would have stored them."""
    rows = [
        (*(row[name] or None for name in COLUMNS.split(", ")), stamp(start + timedelta(seconds=second)))
        for second, row in enumerate(airports)
    ]
    with database:
        database.executemany(f"INSERT INTO airports ({COLUMNS}, updated_at) VALUES ({'?, ' * 10}?)", rows)
    print(f"   {len(rows):,} airports stored")


def correct_elevations(database: sqlite3.Connection, start: datetime) -> None:
    with database:
        changed = database.execute(
            "UPDATE airports SET elevation = elevation + 1, updated_at = ? WHERE iata IN "
            "(SELECT iata FROM airports WHERE updated_at < ? ORDER BY iata LIMIT 40)",
            (stamp(start), stamp(START + timedelta(days=1))),
        ).rowcount
    print(f"   {changed} airports corrected")


def stamp(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="microseconds")


def penstock(*words: str) -> None:
    print(f"\n$ penstock {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "penstock", *words], cwd=HERE, check=True)


def show_results() -> None:
    say("The highest airports, from the warehouse")
    with duckdb.connect(str(OUT / "warehouse.duckdb"), read_only=True) as warehouse:
        print(warehouse.sql("SELECT iata, name, country, elevation_m FROM airports ORDER BY elevation_m DESC LIMIT 5"))
        total = warehouse.sql("SELECT count(*) FROM airports").fetchall()[0][0]
    say("Countries with most airports, and versions kept of each row, from the Parquet lake")
    lake = f"{OUT}/lake/airport_versions/**/*.parquet"
    with duckdb.connect() as reader:
        print(
            reader.sql(
                f"""SELECT country, count(DISTINCT iata) AS airports, count(*) AS versions
                FROM read_parquet('{lake}', hive_partitioning = true)
                GROUP BY country ORDER BY airports DESC LIMIT 5"""
            )
        )
        versions = reader.sql(f"SELECT count(*) FROM read_parquet('{lake}')").fetchall()[0][0]
    print(f"{total:,} airports in the warehouse, {versions:,} versions in the lake.")
    if (total, versions) != (7_884, 7_884 + 40):
        raise SystemExit("the demo lost or doubled rows")


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
