"""The six systems of the type page: tables filled by code that shares nothing with the product."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.pages.torture import Column

if TYPE_CHECKING:
    import pyarrow as pa

Numbered = Mapping[str, Column]  # by the column's name in the table
MOOD = "'fine', 'it''s bad', '12.30'"


def fill(system: str, table: str, columns: Numbered, *, folder: Path, url: str) -> None:
    """A table `id` and these columns: a row for each of the cells, and a row of NULLs."""
    if system == "postgres":
        asyncio.run(_execute(url, _postgres(table, columns)))
    elif system == "duckdb":
        import duckdb

        with duckdb.connect(str(folder / "duckdb.db")) as link:
            link.execute("SET TimeZone = 'UTC'")
            for statement in _duckdb(table, columns):
                link.execute(statement)
    elif system == "sqlite":
        with closing(sqlite3.connect(folder / "sqlite.db")) as link, link:
            for statement in _sqlite(table, columns):
                link.execute(statement)
    else:
        _write_file(folder / system / f"{table}.{system}", columns)


def height(columns: Numbered) -> int:
    return max(len(column.cells) for column in columns.values()) + 1


def cell(column: Column, row: int) -> tuple[str, Any] | None:
    return column.cells[row] if row < len(column.cells) else None


def _texts(columns: Numbered) -> Iterable[list[str | None]]:
    for row in range(height(columns)):
        yield [found[0] if (found := cell(c, row)) else None for c in columns.values()]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _create(table: str, columns: Numbered, integer: str) -> str:
    made = ", ".join(f"{name} {column.native}" for name, column in columns.items())
    return f"CREATE TABLE {table} (id {integer}, {made})"


def _inserts(table: str, columns: Numbered, cast: str) -> list[str]:
    made = []
    for row, texts in enumerate(_texts(columns)):
        cells = [
            "NULL" if text is None else cast.format(_literal(text), column.native)
            for text, column in zip(texts, columns.values(), strict=True)
        ]
        made.append(f"INSERT INTO {table} VALUES ({', '.join([str(row), *cells])})")
    return made


def _postgres(table: str, columns: Numbered) -> list[str]:
    mood = f"DO $$ BEGIN CREATE TYPE mood AS ENUM ({MOOD}); EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    return ["SET TimeZone = 'UTC'", mood, _create(table, columns, "bigint"), *_inserts(table, columns, "{}::{}")]


def _duckdb(table: str, columns: Numbered) -> list[str]:
    mood = f"CREATE TYPE IF NOT EXISTS mood AS ENUM ({MOOD})"
    return [mood, _create(table, columns, "BIGINT"), *_inserts(table, columns, "CAST({} AS {})")]


def _sqlite(table: str, columns: Numbered) -> list[str]:
    made = [_create(table, columns, "INTEGER")]
    bare = {"INTEGER", "REAL", "DECIMAL(12,2)", "BOOLEAN", "BLOB"}
    spelled = {"Infinity": "9e999", "-Infinity": "-9e999"}
    for row, texts in enumerate(_texts(columns)):
        cells = [
            "NULL" if t is None else spelled.get(t, t) if c.native in bare else _literal(t)
            for t, c in zip(texts, columns.values(), strict=True)
        ]
        made.append(f"INSERT INTO {table} VALUES ({', '.join([str(row), *cells])})")
    return made


async def _execute(url: str, statements: Sequence[str]) -> None:
    import asyncpg

    link = await asyncpg.connect(url, server_settings={"search_path": "torture"})
    try:
        await link.execute("CREATE SCHEMA IF NOT EXISTS torture")
        for statement in statements:
            await link.execute(statement)
    finally:
        await link.close()


def _write_file(path: Path, columns: Numbered) -> None:
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        _write_parquet(path, columns)
    elif path.suffix == ".csv":
        lines = [",".join(["id", *columns])]
        lines += [",".join([str(n), *map(_csv_cell, texts)]) for n, texts in enumerate(_texts(columns))]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    else:
        lines = []
        for number, texts in enumerate(_texts(columns)):
            cells = [_json_cell(c, t) for c, t in zip(columns.values(), texts, strict=True)]
            named = ", ".join(f'"{name}": {text}' for name, text in zip(columns, cells, strict=True))
            lines.append(f'{{"id": {number}, {named}}}')
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")


def _csv_cell(text: str | None) -> str:
    if text is None:
        return ""
    return '"' + text.replace('"', '""') + '"' if not text or re.search('[",\n\r]|^ | $', text) else text


def _json_cell(column: Column, text: str | None) -> str:
    if text is None:
        return "null"
    is_bare = column.native not in ("text", "text, base64", "strings")
    return text if is_bare else json.dumps(text)


def _write_parquet(path: Path, columns: Numbered) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = height(columns)
    made: dict[str, pa.Array] = {"id": pa.array(range(rows), pa.int64())}
    for name, column in columns.items():
        values = [found[1] if (found := cell(column, row)) else None for row in range(rows)]
        if column.native == "duration[us]":
            values = [None if v is None else v.nanoseconds // 1000 for v in values]
        made[name] = pa.array(values, _arrow_type(column.native))
        if column.native.startswith("dictionary"):
            made[name] = made[name].dictionary_encode()
    pq.write_table(pa.table(made), path)


def _arrow_type(native: str) -> pa.DataType:
    import pyarrow as pa

    made = {
        "float": pa.float32(),
        "double": pa.float64(),
        "dictionary<string>": pa.string(),
        "decimal128(12, 2)": pa.decimal128(12, 2),
        "decimal128(38, 10)": pa.decimal128(38, 10),
        "decimal256(50, 3)": pa.decimal256(50, 3),
        "fixed_size_binary[2]": pa.binary(2),
        "date32[day]": pa.date32(),
        "time64[us]": pa.time64("us"),
        "time32[ms]": pa.time32("ms"),
        "timestamp[us]": pa.timestamp("us"),
        "timestamp[ms]": pa.timestamp("ms"),
        "timestamp[us, tz=UTC]": pa.timestamp("us", "UTC"),
        "timestamp[ns]": pa.timestamp("ns"),
        "time64[ns]": pa.time64("ns"),
        "halffloat": pa.float16(),
        "duration[us]": pa.duration("us"),
        "list<struct<a: int32>>": pa.list_(pa.struct([("a", pa.int32())])),
        "list<int32>": pa.list_(pa.int32()),
        "list<string>": pa.list_(pa.string()),
        "struct<a: int32, b: string>": pa.struct([("a", pa.int32()), ("b", pa.string())]),
    }
    if native in made:
        return made[native]
    return getattr(pa, native)() if native != "bool" else pa.bool_()


def written_as(system: str, folder: Path) -> dict[str, str]:
    """How the data files of a table in `folder` hold each column: by the file itself, not by the manifest."""
    data = [p for p in sorted(folder.rglob("part-*")) if p.is_file()]
    if system == "parquet":
        import pyarrow.parquet as pq

        return {field.name: str(field.type) for field in pq.read_schema(data[0])}
    if system == "csv":
        with data[0].open(newline="", encoding="utf-8") as file:
            return dict.fromkeys(next(csv.reader(file)), "text")
    found: dict[str, str] = {}
    words = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    for line in data[0].read_text(encoding="utf-8").splitlines():
        for name, value in json.loads(line).items():
            if value is not None:
                found.setdefault(name, words[type(value)])
    return found
