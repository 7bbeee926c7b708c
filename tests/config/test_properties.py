"""Random projects: what loads is written and loaded again the same; no text raises anything but ConfigError."""

from __future__ import annotations

import contextlib
import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from penstock.config import ProjectConfig, load_project
from penstock.errors import ConfigError

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
NAME = st.text("abcdefgh_", min_size=1, max_size=6)
LONGER = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def optional(fields: dict[str, st.SearchStrategy[Any]], **required: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(required, optional=fields)


SETTINGS = optional(
    {
        "engine": st.sampled_from(["arrow", "spark"]),
        "memory": st.one_of(st.integers(0, 1 << 40), st.integers(1, 500).map(lambda n: f"{n}MB")),
        "threads": st.integers(1, 64),
        "lock_wait": st.one_of(st.floats(0, 1e6), st.integers(1, 90).map(lambda n: f"{n}m")),
        "timezone": st.sampled_from(["UTC", "Europe/Berlin"]),
        "log_dir": TEXT,
        "column_name_case": st.sampled_from(["as_is", "lower", "upper"]),
        "backend": st.just({"variant": "sqlite", "database": "a.db"}),
        "spark": st.fixed_dictionaries({"extra_config": st.dictionaries(TEXT, TEXT, max_size=2)}),
    }
)
TABLE_OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "tags": st.lists(TEXT, max_size=3),
    "fetchsize": st.integers(1, 10**9),
    "iterate_column": st.one_of(TEXT, st.lists(TEXT, min_size=1, max_size=2)),
    "iterate_column_type": st.sampled_from(["int", "datetime", "decimal", "string"]),
    "lookback": st.one_of(st.just("all"), st.integers(0, 10**6)),
    "dedup_columns": st.lists(TEXT, min_size=1, max_size=2),
    "write_strategy": st.sampled_from(["append", "replace"]),
    "columns": st.dictionaries(TEXT, st.sampled_from(["int64", "decimal(12,2)", "list<string>"]), max_size=2),
    "custom_query": TEXT,
    "pass_on_error": st.booleans(),
    "schema_evolution": st.sampled_from(["evolve", "freeze", "ignore"]),
    "transform_sql": TEXT,
    "partitions_lower_bound": st.one_of(TEXT, st.integers()),
    "delta_properties": st.dictionaries(TEXT, st.one_of(st.booleans(), st.integers(), TEXT), max_size=2),
}


@st.composite
def projects(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(NAME, min_size=1, max_size=3, unique=True))
    extra: st.SearchStrategy[dict[str, Any]] = st.one_of(
        st.just({}), st.just({"mode": "wild", "depth": 2.5, "token": "env:TOKEN"})
    )
    connections = {
        name: {"variant": "river", "host": draw(TEXT), "password": "env:PW", "extra": draw(extra)} for name in names
    }
    pipelines = []
    for index in range(draw(st.integers(0, 2))):
        tables = [
            {"name": draw(TEXT), "target_name": f"t{index}_{i}", **draw(optional(TABLE_OPTIONS))}
            for i in range(draw(st.integers(0, 3)))
        ]
        ends = {"source": draw(st.sampled_from(names)), "destination": draw(st.sampled_from(names))}
        pipelines.append({"name": f"p{index}", **ends, "tables": tables})
    environment = {"settings": draw(SETTINGS), "connections": connections, "pipelines": pipelines}
    return {"version": 2, "x-note": draw(TEXT), "prod": environment}


def escaped(value: Any) -> Any:
    """Text as a project spells it: `${` is a variable there."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, list):
        return [escaped(v) for v in value]
    return {k: escaped(v) for k, v in value.items()} if isinstance(value, dict) else value


def load_text(folder: Path, text: str) -> ProjectConfig:
    path = folder / "penstock.yaml"
    path.write_text(text, encoding="utf-8")
    return load_project(path, environ={})


def dump(project: ProjectConfig) -> dict[str, Any]:
    def plain(model: Any) -> dict[str, Any]:
        found: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return found

    environment = {
        "settings": plain(project.settings),
        "connections": {name: plain(c) for name, c in project.connections.items()},
        "pipelines": [plain(p) for p in project.pipelines],
    }
    return {"version": 2, project.environment: environment}


@pytest.mark.feature("M1")
@LONGER
@given(project=projects())
def test_a_project_written_out_loads_as_the_same_project(project: dict[str, Any], tmp_path: Path) -> None:
    loaded = load_text(tmp_path, json.dumps(escaped(project)))
    written = dump(loaded)
    again = load_text(tmp_path, json.dumps(escaped(written)))
    assert dump(again) == written
    assert again.settings == loaded.settings
    assert again.pipelines == loaded.pipelines
    for table, text in zip(tables_of(project), tables_of(written), strict=True):
        assert text["name"] == table["name"]
        assert text.get("iterate_column") == table.get("iterate_column")
        assert text.get("columns") == table.get("columns")


def tables_of(project: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for pipeline in project["prod"]["pipelines"]:
        yield from pipeline["tables"]


def mappings_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of the mappings whose keys are checked."""
    if isinstance(value, dict):
        if not path or path[-1] not in ("columns", "delta_properties", "extra_config", "connections"):
            yield path
        for key, inner in value.items():
            yield from mappings_of(inner, (*path, key))
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from mappings_of(inner, (*path, index))


@pytest.mark.feature("M1")
@LONGER
@given(project=projects(), data=st.data())
def test_a_key_nobody_knows_is_always_found_with_its_line(
    project: dict[str, Any], data: st.DataObject, tmp_path: Path
) -> None:
    broken = copy.deepcopy(project)
    place = broken
    for part in data.draw(st.sampled_from(sorted(mappings_of(broken["prod"], ("prod",)), key=str))):
        place = place[part]
    place["qqqqqqqqqq"] = 1
    with pytest.raises(ConfigError, match="unknown key 'qqqqqqqqqq'") as caught:
        load_text(tmp_path, json.dumps(escaped(broken), indent=1))
    text = (tmp_path / "penstock.yaml").read_text().splitlines()
    found = re.search(r"unknown key 'qqqqqqqqqq'\n  at: .*?penstock\.yaml:(\d+):(\d+), ", str(caught.value))
    assert found is not None
    line, column = int(found[1]), int(found[2])
    assert text[line - 1][column - 1 :].startswith('"qqqqqqqqqq"')


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.lists(TEXT, max_size=2), st.dictionaries(TEXT, TEXT)
)


@pytest.mark.feature("M1")
@LONGER
@given(project=projects(), data=st.data(), junk=JUNK)
def test_a_value_of_any_kind_anywhere_loads_or_is_a_located_error(
    project: dict[str, Any], data: st.DataObject, junk: Any, tmp_path: Path
) -> None:
    broken = copy.deepcopy(project)
    place = broken
    path = data.draw(st.sampled_from(sorted(mappings_of(broken), key=str)))
    for part in path:
        place = place[part]
    key = data.draw(st.sampled_from([*sorted(place), "name"]))
    place[key] = junk
    error = mistake_in(json.dumps(broken), tmp_path)
    assert error is None or re.search(r"penstock\.yaml:\d+:\d+", str(error))


def mistake_in(text: str, folder: Path) -> ConfigError | None:
    try:
        load_text(folder, text)
    except ConfigError as error:
        return error
    return None


MARKS = [*"-{}[]?|>'!:#\n\t\x00\ufeff", '"']
WORDS = ["prod:", "&a", "*a", "---", "...", "${", "settings:", "connections:", "pipelines:", "0x"]
FRAGMENTS = st.sampled_from([*MARKS, *WORDS, "  ", "<<: *a", "!!int ", "%YAML 1.1\n", "\\U99999999", "\\ud800"])


@pytest.mark.feature("M1")
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(st.lists(FRAGMENTS, max_size=12).map("".join), st.text(st.characters(codec="utf-8"), max_size=40))
)
@example(text='prod: {settings: {log_dir: "\\U99999999"}}')
@example(text="prod: &a {<<: *a}")
@example(text="prod: {settings: {retries: " + "9" * 5000 + "}}")
@example(text="prod: {settings: {lock_wait: .inf}}")
@example(text="prod: {settings: {memory: .nan}}")
@example(text="prod: {settings: {memory: 1" + "0" * 390 + "}}")
@example(text="%YAML 1.1\n---\nprod: {settings: {retries: 0x}}")
@example(text="%YAML 9.9\n---\nprod: {}")
@example(text='prod: {settings: {log_dir: "\\ud800"}}')
@example(text="? [a]\n: b")
@example(
    text="prod:\n  connections: {a: {variant: [x]}, b: 5, c: [1], d: }\n  pipelines: [5, [1], {source: [a], tables: 5}]"
)
@example(text="prod: {settings: {backend: {variant: {}}, timezone: '../../etc/passwd'}}")
@example(text="prod: {settings: {timezone: ''}}")
@example(text="prod: {settings: {timezone: Europe}}")
def test_no_text_raises_anything_but_config_error(text: str, tmp_path: Path) -> None:
    with contextlib.suppress(ConfigError):
        load_text(tmp_path, text)
