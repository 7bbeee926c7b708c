"""Checks across keys and across tables, on shaped values, so that one mistake hides no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from penstock.config.problems import Path, suggest
from penstock.config.shape import Shaper
from penstock.config.units import has_unit
from penstock.records import dataclass

KEYED = ("upsert", "merge")
UNKEYED = ("append", "replace")
Shaped = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Table:
    """One table's keys as written, and where they are."""

    keys: Shaped
    path: Path
    shaper: Shaper

    def __getitem__(self, key: str) -> Any:
        return self.keys.get(key)

    def has(self, key: str) -> bool:
        """Whether it is written, also wrongly."""
        return key in self.keys or (*self.path, key) in self.shaper.failed

    def fail(self, key: str, what: str, fix: str) -> None:
        self.shaper.fail(what, (*self.path, key) if self.has(key) else self.path, fix=fix)

    @property
    def is_incremental(self) -> bool:
        return bool(self["replication_method"] == "incremental")


def check_environment(data: Shaped, path: Path, shaper: Shaper) -> None:
    """`data` holds the shaped connections and pipelines; `path` leads to the environment."""
    tables = list(_tables(data, path, shaper))
    for table in tables:
        _check_cursor(table)
        _check_strategy(table)
        _check_exclusive(table)
        _check_view(table)
    _check_pipelines(data, path, shaper)
    _check_targets(data, path, shaper)


def _pipelines(data: Shaped) -> Iterator[tuple[int, Shaped]]:
    pipelines = data.get("pipelines")
    for index, pipeline in enumerate(pipelines if isinstance(pipelines, list) else []):
        if isinstance(pipeline, Mapping):
            yield index, pipeline


def _tables(data: Shaped, path: Path, shaper: Shaper) -> Iterator[_Table]:
    for i, pipeline in _pipelines(data):
        yield from _tables_of(pipeline, (*path, "pipelines", i, "tables"), shaper)


def _tables_of(pipeline: Shaped, path: Path, shaper: Shaper) -> Iterator[_Table]:
    tables = pipeline.get("tables")
    for index, table in enumerate(tables if isinstance(tables, list) else []):
        if isinstance(table, Mapping):
            yield _Table(table, (*path, index), shaper)


def _check_cursor(table: _Table) -> None:
    if table.is_incremental and not table.has("iterate_column"):
        table.fail("replication_method", "incremental needs iterate_column", "name the column that shows what is new")
    if has_unit(table["lookback"]) and table["iterate_column_type"] not in ("datetime", "date"):
        table.fail(
            "lookback",
            "a lookback with a unit needs a cursor of datetime or date",
            "write iterate_column_type: datetime (or date), or a plain number in the cursor's units",
        )
    for key in ("filter_lower_bound", "filter_upper_bound"):
        if table.has(key) and not table.has("iterate_column"):
            table.fail(key, f"{key} needs iterate_column", "name the column that the window is about")


def _check_strategy(table: _Table) -> None:
    strategy = table["write_strategy"]
    if table.is_incremental and strategy == "replace":
        table.fail(
            "write_strategy",
            "incremental with replace would leave only what is new",
            "use append, upsert or delete_insert, or replication_method: full",
        )
    if strategy in KEYED and not table.has("write_key"):
        table.fail("write_strategy", f"{strategy} needs write_key", "name the columns that identify a row")
    if strategy == "delete_insert" and not (table.has("write_key") or table.has("iterate_column")):
        table.fail("write_strategy", "delete_insert needs write_key or iterate_column", "name what it should delete by")
    if table.has("write_key") and (strategy in UNKEYED or strategy is None):
        inferred = strategy or ("append" if table.is_incremental else "replace")
        table.shaper.findings.warn(
            f"write_key has no effect with {inferred}",
            (*table.path, "write_key"),
            fix="use upsert, merge or delete_insert, or remove it",
        )


def _check_exclusive(table: _Table) -> None:
    for first, second in (("custom_query", "custom_query_file"), ("transform", "transform_sql")):
        if table.has(first) and table.has(second):
            table.fail(second, f"{first} and {second} exclude each other", "keep one of them")
    if table["if_exists"] == "append" and table["replace_mode"] == "swap":
        table.fail(
            "replace_mode", "if_exists: append empties in place, replace_mode: swap does not", "keep one of them"
        )


def _check_view(table: _Table) -> None:
    if table["latest_view"] not in (None, False) and not table.has("dedup_columns"):
        table.fail("latest_view", "latest_view needs dedup_columns", "name the columns that make a row's id")


def _check_pipelines(data: Shaped, path: Path, shaper: Shaper) -> None:
    connections = list(data.get("connections", {}))
    seen: dict[str, Path] = {}
    for index, pipeline in _pipelines(data):
        here = (*path, "pipelines", index)
        for role in ("source", "destination"):
            name = pipeline.get(role)
            if isinstance(name, str) and name not in connections:
                fix = suggest(name, connections, title="connections:") or "write it under connections"
                shaper.fail(f"no connection {name!r}", (*here, role), fix=fix)
        name = pipeline.get("name")
        if not isinstance(name, str):
            continue
        if name in seen:
            first = shaper.findings.place_of(seen[name])
            shaper.fail(
                f"two pipelines are named {name!r}", (*here, "name"), fix=f"rename one; the first is at {first}"
            )
        seen.setdefault(name, (*here, "name"))


def _check_targets(data: Shaped, path: Path, shaper: Shaper) -> None:
    """Two tables of one project that land in one target would overwrite each other's ledger."""
    seen: dict[tuple[str, str], _Table] = {}
    for i, pipeline in _pipelines(data):
        destination = pipeline.get("destination")
        for table in _tables_of(pipeline, (*path, "pipelines", i, "tables"), shaper):
            target = table["target_name"]
            if not (isinstance(destination, str) and isinstance(target, str)):
                continue
            first = seen.setdefault((destination, _with_schema(target, data["connections"].get(destination))), table)
            if first is table or (first["shared"] is True and table["shared"] is True):
                continue
            place = shaper.findings.place_of((*first.path, "target_name"))
            shaper.fail(
                f"two tables land in {target!r} of {destination}",
                (*table.path, "target_name"),
                fix=f"rename one, or write shared: true on both; the first is at {place}",
            )


def _with_schema(target: str, connection: Any) -> str:
    schema = connection.get("schema") if isinstance(connection, Mapping) else None
    return target if "." in target or not isinstance(schema, str) else f"{schema}.{target}"
