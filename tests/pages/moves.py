"""Moves the torture columns from every system into every system, and says what became of each value."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from penstock.pipeline.project import Project
from penstock.pipeline.results import RunOptions, RunResult
from penstock.plugins import open_destination, open_source
from penstock.protocols import Source
from penstock.schema.types import SIGNED, UNSIGNED, decimal_of, list_item, struct_fields
from penstock.values import Connection, ReadRequest, StreamName, TableName, TableSchema
from tests.pages import systems
from tests.pages.torture import COLUMNS, EXTREMES, Column

SYSTEMS = tuple(COLUMNS)
FILES = ("parquet", "csv", "jsonl")
TABLE = "torture"
DATABASE_KEYS = {"sqlite": "sqlite.db", "duckdb": "duckdb.db"}


@dataclass(frozen=True)
class Outcome:
    """What one column became in one destination. `native` is the destination's own type; None where it was refused."""

    native: str | None
    note: str = ""

    def __str__(self) -> str:
        return "refused" if self.native is None else f"`{self.native}`" + (f" {self.note}" if self.note else "")


@dataclass
class Journey:
    """The six systems in a folder, one database, and a project with a pipeline for each pair."""

    folder: Path
    url: str
    outcomes: dict[tuple[str, str], dict[str, Outcome]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    options: RunOptions = field(default_factory=RunOptions)

    def go(self) -> Mapping[tuple[str, str], Mapping[str, Outcome]]:
        """What became of each column, by pair; raises AssertionError naming every value that is another one now."""
        for source in SYSTEMS:
            systems.fill(source, TABLE, numbered(source), folder=self.folder, url=self.url)
            self.wrong += misread(self.read(self.source(source), stream_of(source, TABLE), source), source)
        failed = self.failed(self.run(self.pipelines({source: [TABLE] for source in SYSTEMS})))
        broken: dict[str, list[str]] = {}
        for source in SYSTEMS:
            for destination in SYSTEMS:
                if f"{destination}.from_{source}_{TABLE}" in failed:
                    broken.setdefault(source, []).append(destination)
                else:
                    self.outcomes[source, destination] = self.compare(source, destination, TABLE, numbered(source))
        self.go_one_by_one(broken)
        assert not self.wrong, "\n".join(self.wrong)
        return self.outcomes

    def go_one_by_one(self, broken: Mapping[str, Sequence[str]]) -> None:
        """Where a table did not get in whole, each of its columns alone: those that fail are the refused."""
        for source in broken:
            for name, column in numbered(source).items():
                systems.fill(source, f"{TABLE}_{name}", {name: column}, folder=self.folder, url=self.url)
        tables = {source: [f"{TABLE}_{name}" for name in numbered(source)] for source in broken}
        if not broken:
            return
        failed = self.failed(self.run(self.pipelines(tables, broken)))
        for source, destinations in broken.items():
            for destination in destinations:
                found = self.outcomes.setdefault((source, destination), {})
                for name, column in numbered(source).items():
                    table = f"{TABLE}_{name}"
                    if f"{destination}.from_{source}_{table}" in failed:
                        found[name] = Outcome(None)
                    else:
                        found |= self.compare(source, destination, table, {name: column})

    def run(self, pipelines: Sequence[Mapping[str, Any]]) -> RunResult:
        """One run of a project written as JSON, which is YAML."""
        connections = {f"{s}_source": self.keys(s, s) for s in SYSTEMS}
        connections |= {f"{s}_target": self.keys(s, f"{s}_target") for s in SYSTEMS}
        settings = {"retries": 0, "threads": 4}
        environment = {"settings": settings, "connections": connections, "pipelines": pipelines}
        path = self.folder / "penstock.yaml"
        path.write_text(json.dumps({"version": 2, "default_environment": "dev", "dev": environment}))
        return Project.open(path).run(options=self.options)

    def pipelines(
        self, tables: Mapping[str, Sequence[str]], pairs: Mapping[str, Sequence[str]] | None = None
    ) -> list[dict[str, Any]]:
        return [
            {
                "name": f"{source}_to_{destination}",
                "source": f"{source}_source",
                "destination": f"{destination}_target",
                "tables": [table_of(source, destination, table) for table in tables[source]],
            }
            for source in tables
            for destination in (pairs[source] if pairs else SYSTEMS)
        ]

    def failed(self, result: RunResult) -> dict[str, str]:
        """The tables that failed, each with its error: a refusal is a mistake of nobody, and says a way out."""
        found = {}
        for record in result.tables:
            if record.state != "succeeded":
                error = result.errors[record.target]
                if not error.fix or "unexpected" in str(error):
                    self.wrong.append(f"{record.pipeline} {record.target}: {error}"[:300])
                found[f"{record.pipeline.partition('_to_')[2]}.{record.target.rpartition('.')[2]}"] = str(error)
        return found

    def keys(self, system: str, name: str) -> dict[str, Any]:
        if system in FILES:
            return {"variant": "file", "extra": {"path": name, "format": system}}
        if system in DATABASE_KEYS:
            return {"variant": system, "database": f"{name}.db"}
        server, _, database = self.url.removeprefix("postgresql://").partition("/")
        host, _, port = server.rpartition("@")[2].partition(":")
        schema = "torture" if name == system else name
        keys = {"host": host, "port": int(port), "database": database, "user": "postgres", "schema": schema}
        return {"variant": "postgres", **keys}

    def connection(self, system: str, name: str) -> Connection:
        keys = self.keys(system, name)
        if system in DATABASE_KEYS:
            keys["database"] = str(self.folder / keys["database"])
        variant = keys.pop("variant")
        return Connection(name, variant, base_dir=str(self.folder), **keys)

    def source(self, system: str) -> Source:
        return open_source(self.connection(system, system))

    def read(self, source: Source, stream: str, system: str | None = None) -> Read:
        types = declared(numbered(system)) if system else {}
        with source.open([ReadRequest(StreamName(stream), types=types)]) as session:
            reader = source.reader()
            rows = [row for split in session.splits for b in reader.read(split) for row in b.rows.to_pylist()]
            return Read(session.splits[0].schema, sorted(rows, key=lambda row: int(row["id"])))

    def compare(self, source: str, destination: str, table: str, columns: Mapping[str, Column]) -> dict[str, Outcome]:
        connection = self.connection(destination, f"{destination}_target")
        name = f"from_{source}_{table}"
        target = TableName(connection.schema, name)
        described = open_destination(connection).describe([target])[target]
        assert described is not None
        natives = {f.name: f.native or f.type for f in described.fields}
        if destination in FILES:
            natives = systems.written_as(destination, self.folder / f"{destination}_target" / name)
        back = self.read(open_source(connection), f"{connection.schema}.{name}" if connection.schema else name)
        found = {}
        for column_name, column in columns.items():
            kind = back.schema.field(column_name).type
            values = [row[column_name] for row in back.rows]
            note = judge(column, kind, values)
            if note is None:
                expected = expected_of(column, len(values))
                self.wrong.append(f"{source} -> {destination}: {column.native} as {kind}: {values} for {expected}")
            found[column_name] = Outcome(natives[column_name], note or "")
        return found


@dataclass(frozen=True)
class Read:
    schema: TableSchema
    rows: list[dict[str, Any]]


def numbered(system: str) -> dict[str, Column]:
    return {f"c{number}": column for number, column in enumerate(COLUMNS[system])}


def declared(columns: Mapping[str, Column]) -> dict[str, str]:
    return {name: column.declared for name, column in columns.items() if column.declared}


def stream_of(system: str, table: str) -> str:
    return {"postgres": f"torture.{table}"}.get(system, f"{table}.{system}" if system in FILES else table)


def table_of(source: str, destination: str, table: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": stream_of(source, table),
        "target_name": f"from_{source}_{table}",
        "replication_method": "full",
        "pass_on_error": True,
    }
    names = numbered(source) if table == TABLE else {n: numbered(source)[n] for n in [table.rpartition("_")[2]]}
    types = declared(names)
    return made | ({"columns": types} if types else {})


def misread(read: Read, system: str) -> list[str]:
    """Where a source's types are not the house's that the column says, or its values not those that were written."""
    found = []
    for name, column in numbered(system).items():
        kind = read.schema.field(name).type
        values = [row[name] for row in read.rows]
        expected = expected_of(column, len(values))
        if kind != column.house or plain(values) != plain(expected):
            found.append(f"{system}: {column.native} as {kind}, not {column.house}: {values} for {expected}")
    return found


def expected_of(column: Column, rows: int) -> list[Any]:
    return [*(value for _, value in column.cells), *[None] * (rows - len(column.cells))]


def judge(column: Column, kind: str, values: Sequence[Any]) -> str | None:
    """What happened to the column: nothing (""), or how it lies now; None where a value is another one."""
    expected = expected_of(column, len(values))
    if plain(values) == plain(expected):
        return "as text" if is_text(kind) and not is_text(column.house) else ""
    if is_number(column.house) and is_number(kind):
        return "" if as_numbers(values) == as_numbers(expected) else None
    if column.house.startswith("float") and without_sign(values) == without_sign(expected):
        return "-0.0 becomes 0.0"
    if column.house == "json" and is_text(kind) and [from_json(v) for v in values] == [from_json(v) for v in expected]:
        return "spelled anew"
    if is_nested(column.house) and is_text(kind):
        if [from_json(v) for v in values] == [plain_json(v) for v in expected]:
            return "as JSON"
        return None
    if is_text(kind):
        return "as text" if values == [None if v is None else str(v) for v in expected] else None
    return None


def without_sign(values: Sequence[Any]) -> object:
    return plain(values, zero_sign=False)


def plain(value: Any, *, zero_sign: bool = True) -> object:
    """A value that compares by all it is: NaN with itself, -0.0 not with 0.0, 1 not with true."""
    if isinstance(value, float):
        return ("float", repr(value if value or zero_sign else 0.0))
    if isinstance(value, Decimal):
        return ("decimal", value)
    if isinstance(value, dict):
        return {key: plain(item, zero_sign=zero_sign) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item, zero_sign=zero_sign) for item in value]
    return (type(value).__name__, value)


def is_text(kind: str) -> bool:
    return kind in ("string", "json", "enum", "uuid", "numeric")


def is_number(kind: str) -> bool:
    return kind in (*SIGNED, *UNSIGNED, "numeric") or decimal_of(kind) is not None


def is_nested(kind: str) -> bool:
    return list_item(kind) is not None or struct_fields(kind) is not None


def as_numbers(values: Sequence[Any]) -> list[str | None]:
    """Numbers of any type, spelled alike; NaN and infinities have a spelling too."""
    return [None if v is None else f"{Decimal(v):f}" if Decimal(v).is_finite() else str(Decimal(v)) for v in values]


def from_json(text: str | None) -> object:
    try:
        return None if text is None else json.loads(text, parse_float=str)
    except (ValueError, TypeError):
        return ("not JSON", text)


def plain_json(value: Any) -> object:
    """What a nested value is in JSON."""
    if isinstance(value, list):
        return [plain_json(item) for item in value]
    if isinstance(value, dict):
        return {key: plain_json(item) for key, item in value.items()}
    if value is None or isinstance(value, int | str):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def meet_extremes(journey: Journey) -> list[str]:
    """Every extreme value sent on its way, as it is and by its way out; says what did not go as EXTREMES tells."""
    pipelines, wanted = [], {}
    for number, extreme in enumerate(EXTREMES):
        table = f"extreme{number}"
        systems.fill(extreme.source, table, {"c": extreme.column}, folder=journey.folder, url=journey.url)
        takers = ["parquet", *extreme.refused_by]
        ways = [(name, None) for name in takers] + ([("parquet", extreme.way_out)] if extreme.way_out else [])
        for destination, types in ways:
            target = f"{table}_{destination}_{types or 'as_it_is'}"
            kind = types or extreme.column.declared
            made: dict[str, Any] = {"name": stream_of(extreme.source, table), "target_name": target}
            made |= {"replication_method": "full", "pass_on_error": True}
            tables = [made | ({"columns": {"c": kind}} if kind else {})]
            ends = {"source": f"{extreme.source}_source", "destination": f"{destination}_target"}
            pipelines.append({"name": target, **ends, "tables": tables})
            passes = destination not in extreme.refused_by if extreme.refused_by else types is not None
            wanted[target] = "succeeded" if passes else "failed"
    result = journey.run(pipelines)
    found = {record.pipeline: record.state for record in result.tables}
    silent = [f"{name}: an error without a way out: {error}" for name, error in result.errors.items() if not error.fix]
    return [f"{name} {found[name]}, not {state}" for name, state in wanted.items() if found[name] != state] + silent
