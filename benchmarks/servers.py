"""The benchmark's databases: made once per server, on the PostgreSQL that `make services` starts."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = """
    id bigint NOT NULL, customer_id integer NOT NULL, reference text NOT NULL, note text,
    amount numeric(12,2) NOT NULL, discount numeric(12,2), price double precision, weight real,
    is_open boolean NOT NULL, ordered_on date, created_at timestamp NOT NULL, updated_at timestamptz NOT NULL"""
ROWS = """
    SELECT g, (g * 7919 % 1000003)::int, 'order-' || g, CASE WHEN g % 3 = 0 THEN NULL ELSE 'note of ' || g % 977 END,
        (g % 100000) / 100.0, CASE WHEN g % 5 = 0 THEN (g % 997) / 100.0 END, g * 1.1, (g % 1000) * 0.5,
        g % 2 = 0, date '2020-01-01' + (g % 2000)::int, timestamp '2020-01-01' + g * interval '1 second',
        timestamptz '2020-01-01 00:00+00' + g * interval '1 second'
    FROM generate_series(1::bigint, {rows}::bigint) g"""


def server_url() -> str:
    """Where the benchmark's server is: told by the environment, else by what `.ci/services bench` wrote."""
    url = os.environ.get("PENSTOCK_BENCH_POSTGRES") or _written_url()
    if not url:
        raise SystemExit("no PostgreSQL to measure with: set PENSTOCK_BENCH_POSTGRES, or use `make bench`")
    return url


def _written_url() -> str | None:
    key = hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]
    written = Path(tempfile.gettempdir()) / f"penstock-services-{key}" / "env"
    lines = written.read_text().splitlines() if written.exists() else []
    return next(
        (v for name, _, v in (line.partition("=") for line in lines) if name == "PENSTOCK_BENCH_POSTGRES"), None
    )


def database_url(name: str) -> str:
    return f"{server_url().rpartition('/')[0]}/{name}"


def connection_yaml(name: str) -> dict[str, str | int]:
    """The connection keys of one of the benchmark's databases."""
    parts = urlsplit(database_url(name))
    keys: dict[str, str | int] = {
        "variant": "postgres",
        "host": parts.hostname or "127.0.0.1",
        "port": parts.port or 5432,
        "database": name,
        "user": parts.username or "postgres",
        "schema": "public",
    }
    if parts.password:
        keys["password"] = parts.password
    return keys


def execute(url: str, *statements: str) -> None:
    asyncio.run(_execute(url, statements))


def fetch_value(url: str, query: str) -> object:
    return asyncio.run(_fetch_value(url, query))


async def _execute(url: str, statements: Sequence[str]) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _fetch_value(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def make_database(name: str) -> None:
    execute(server_url(), f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"')


def make_orders(name: str, rows: int, *, table: str = "orders") -> None:
    """A table of `rows` rows x 12 columns: ints, text, numeric, floats, bool, date, timestamps, NULLs."""
    execute(
        database_url(name),
        f"DROP TABLE IF EXISTS {table} CASCADE",
        f"CREATE TABLE {table} ({COLUMNS})",
        f"INSERT INTO {table} {ROWS.format(rows=rows)}",
        f"ALTER TABLE {table} ADD PRIMARY KEY (id)",
        f"CREATE INDEX ON {table} (updated_at)",
        f"VACUUM (ANALYZE, FREEZE) {table}",
    )


def empty_target(name: str) -> None:
    """Drop everything a load made, and settle the server."""
    execute(database_url(name), "DROP SCHEMA public CASCADE", "CREATE SCHEMA public", "CHECKPOINT")
