"""`penstock init`: a sample project that runs as it is, from a SQLite file into DuckDB and Parquet."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.options import Call, plain_command
from penstock.cli.screen import Screen
from penstock.errors import ConfigError
from penstock.values import Json

PROJECT = """\
# A Penstock project: what is moved, from where, to where. Try, in this folder:
#   penstock plan      what a run would do
#   penstock run       do it; the second time only what is new is moved
#   penstock status    where each table stands
#   penstock verify    prove that the targets hold what they should
#   penstock test      try the transform on the rows kept beside it
version: 2
default_environment: dev

dev:
  connections:
    shop:
      variant: sqlite
      database: data/shop.db
    warehouse:
      variant: duckdb
      database: out/warehouse.duckdb
    lake:
      variant: file
      extra:
        path: out/lake
        format: parquet

  pipelines:
    - name: warehouse
      source: shop
      destination: warehouse
      tables:
        - name: customers
          target_name: customers
          replication_method: full
        - name: orders
          target_name: orders
          replication_method: incremental
          iterate_column: changed_at
          iterate_column_type: datetime
          write_strategy: upsert
          write_key: [id]
          transform: transforms.py::with_total
          tags: [daily]

    - name: lake
      source: shop
      destination: lake
      tables:
        - name: orders
          target_name: orders_log
          replication_method: incremental
          iterate_column: changed_at
          iterate_column_type: datetime
          write_strategy: append
          tags: [daily]
"""

TRANSFORMS = '''\
"""Transforms of the sample project. The annotation says which frame a function wants."""

import duckdb


def with_total(df: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """Each order with what it costs altogether."""
    return df.project("*, quantity * unit_price AS total")
'''

FIXTURE = """\
# What with_total makes of these rows: `penstock test` tries it.
cases:
  - name: quantity times price
    types: {unit_price: "decimal(10,2)"}
    input:
      - {id: 1, quantity: 3, unit_price: "19.90"}
      - {id: 2, quantity: 1, unit_price: "0.05"}
    expected:
      - {id: 1, quantity: 3, unit_price: "19.90", total: "59.70"}
      - {id: 2, quantity: 1, unit_price: "0.05", total: "0.05"}
"""

IGNORED = """\
.penstock/
out/
.env
"""

FIRST_DAY = datetime(2026, 1, 1, 9, 0, tzinfo=UTC)
CITIES = ("Bergen", "Gdansk", "Izmir", "Kyoto", "Lisboa", "Malmö")
GOODS = (("kettle", 3995), ("lamp", 2450), ("rope, 10 m", 799), ("teapot", 1850), ("valve", 12900))


@plain_command
def command(
    call: Call,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder; made when missing.")] = Path(),
) -> int:
    files = write_project(directory)
    payload: dict[str, Json] = {"directory": str(directory.resolve()), "files": [str(name) for name in files]}
    return call.answer(payload, lambda s: show(s, directory, files))


def write_project(directory: Path) -> list[Path]:
    """The files written, relative to `directory`. Raises ConfigError rather than overwrite any of them."""
    texts = {
        "penstock.yaml": PROJECT,
        "transforms.py": TRANSFORMS,
        "transforms.with_total.yaml": FIXTURE,
        ".gitignore": IGNORED,
    }
    names = [Path(name) for name in (*texts, "data/shop.db")]
    present = [str(name) for name in names if (directory / name).exists()]
    if present:
        raise ConfigError(
            f"a sample project would overwrite {', '.join(present)}",
            where=str(directory.resolve()),
            fix="name another folder: penstock init DIR",
        )
    try:
        (directory / "data").mkdir(parents=True, exist_ok=True)
        _write_shop(directory / "data" / "shop.db")
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"the sample project cannot be written: {error.strerror}",
            where=str(directory.resolve()),
            fix="name a folder that may be written: penstock init DIR",
        ) from error
    return names


def _write_shop(path: Path) -> None:
    customers = [(n, f"Customer {n}", CITIES[n % len(CITIES)]) for n in range(1, 25)]
    orders = [_order(n) for n in range(1, 501)]
    shop = sqlite3.connect(path)
    with shop:
        shop.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT NOT NULL)")
        shop.execute(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL, item TEXT NOT NULL,"
            " quantity INTEGER NOT NULL, unit_price DECIMAL(10, 2) NOT NULL, changed_at TIMESTAMP NOT NULL)"
        )
        shop.executemany("INSERT INTO customers VALUES (?, ?, ?)", customers)
        shop.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", orders)
    shop.close()


def _order(number: int) -> tuple[int, int, str, int, float, str]:
    item, cents = GOODS[number * 7 % len(GOODS)]
    moment = FIRST_DAY + timedelta(hours=5 * number, minutes=number * 13 % 60)
    return number, number * 11 % 24 + 1, item, number % 4 + 1, cents / 100, f"{moment:%Y-%m-%d %H:%M:%S}"


def show(screen: Screen, directory: Path, files: list[Path]) -> None:
    for name in files:
        screen.line(f"  {name}")
    go = f"cd {directory} && " if directory != Path() else ""
    screen.line(f"written. Now: {go}penstock plan, then penstock run")
