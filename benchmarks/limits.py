"""The limits: the same rows moved by the barest code that can; `python -m benchmarks.limits NAME` runs one."""

from __future__ import annotations

import asyncio
import queue
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from benchmarks.projects import OUT
from benchmarks.servers import COLUMNS, database_url

ADBC_HINT = 4 << 20
SELECT = (
    "SELECT id, customer_id, reference, note, amount::text, discount::text, price, weight, is_open, ordered_on, "
    "created_at, updated_at FROM {table}"
)


def psql_to_psql() -> None:
    """psql COPY BINARY piped into psql COPY BINARY, into a fresh table."""
    source, target = database_url("bench_source"), database_url("bench_target")
    subprocess.run(["psql", "-q", target, "-c", f"CREATE TABLE orders ({COLUMNS})"], check=True)
    out = subprocess.Popen(
        ["psql", "-q", source, "-c", "COPY orders TO STDOUT (FORMAT binary)"], stdout=subprocess.PIPE
    )
    subprocess.run(["psql", "-q", target, "-c", "COPY orders FROM STDIN (FORMAT binary)"], stdin=out.stdout, check=True)
    if out.wait():
        raise SystemExit("psql failed")


def adbc_to_parquet() -> None:
    """A bare ADBC read and a pyarrow Parquet writer, on two threads."""
    import pyarrow.parquet as pq

    path = OUT / "bare.parquet"
    batches: queue.Queue[object] = queue.Queue(maxsize=8)
    reading = threading.Thread(target=_read_adbc, args=(batches,))
    reading.start()
    writer = None
    while (batch := batches.get()) is not None:
        writer = writer or pq.ParquetWriter(path, batch.schema, compression="zstd")  # type: ignore[attr-defined]
        writer.write_batch(batch)
    if writer is not None:
        writer.close()
    reading.join()


def adbc_to_adbc() -> None:
    """A bare ADBC read and adbc_ingest, on two threads."""
    import adbc_driver_postgresql.dbapi as adbc
    import pyarrow as pa

    with adbc.connect(database_url("bench_source")) as source, adbc.connect(database_url("bench_target")) as target:
        with source.cursor() as reading, target.cursor() as writing:
            reading.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(ADBC_HINT)})
            reading.execute(SELECT.format(table="orders"))
            reader: pa.RecordBatchReader = reading.fetch_record_batch()
            writing.adbc_ingest("orders", reader, mode="create")
        target.commit()


def csv_to_postgres() -> None:
    """DuckDB reads the CSV, pgpq encodes, asyncpg copies in."""
    asyncio.run(_csv_to_postgres())


async def _csv_to_postgres() -> None:
    import asyncpg
    import duckdb
    from pgpq import ArrowToPostgresBinaryEncoder

    link = duckdb.connect()
    reader = link.sql(f"SELECT * FROM read_csv('{OUT / 'orders.csv'}')").to_arrow_reader(100_000)
    encoder = ArrowToPostgresBinaryEncoder(reader.schema)
    kinds: list[Any] = encoder.schema().columns
    columns = ", ".join(f"{name} {kind.data_type.ddl()}" for name, kind in zip(reader.schema.names, kinds, strict=True))
    connection = await asyncpg.connect(database_url("bench_target"))
    await connection.execute(f"CREATE TABLE orders ({columns})")

    async def chunks() -> AsyncIterator[bytes]:
        yield encoder.write_header()
        for batch in reader:
            yield encoder.write_batch(batch)
        yield encoder.finish()

    await connection.copy_to_table("orders", source=chunks(), format="binary")
    await connection.close()


def staged_upsert() -> None:
    """The bare staged INSERT .. ON CONFLICT: COPY into a stage, one statement, in one transaction."""
    asyncio.run(_staged_upsert())


async def _staged_upsert() -> None:
    import asyncpg

    source = await asyncpg.connect(database_url("bench_source"))
    target = await asyncpg.connect(database_url("bench_target"))
    names = [
        r["attname"]
        for r in await target.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0 AND NOT attisdropped "
            "AND attname NOT LIKE '\\_%' ORDER BY attnum"
        )
    ]
    async with target.transaction():
        await target.execute(f"CREATE TEMP TABLE stage ON COMMIT DROP AS SELECT {', '.join(names)} FROM orders LIMIT 0")
        pipe: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=32)

        async def chunks() -> AsyncIterator[bytes]:
            while (chunk := await pipe.get()) is not None:
                yield chunk

        writing = asyncio.create_task(target.copy_to_table("stage", source=chunks(), format="binary"))
        await source.copy_from_query(
            f"SELECT {', '.join(names)} FROM orders WHERE updated_at >= timestamptz '2030-01-01 00:00+00'",
            output=pipe.put,
            format="binary",
        )
        await pipe.put(None)
        await writing
        updates = ", ".join(f"{n} = EXCLUDED.{n}" for n in names if n != "id")
        await target.execute(
            f"INSERT INTO orders ({', '.join(names)}) SELECT * FROM stage ON CONFLICT (id) DO UPDATE SET {updates}"
        )
    await source.close()
    await target.close()


def _read_adbc(batches: queue.Queue[object]) -> None:
    import adbc_driver_postgresql.dbapi as adbc

    with adbc.connect(database_url("bench_source")) as link, link.cursor() as cursor:
        cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(ADBC_HINT)})
        cursor.execute(SELECT.format(table="orders"))
        for batch in cursor.fetch_record_batch():
            batches.put(batch)
    batches.put(None)


LIMITS: dict[str, Callable[[], None]] = {
    "psql": psql_to_psql,
    "adbc": adbc_to_adbc,
    "parquet": adbc_to_parquet,
    "csv": csv_to_postgres,
    "upsert": staged_upsert,
}

if __name__ == "__main__":
    LIMITS[sys.argv[1]]()
