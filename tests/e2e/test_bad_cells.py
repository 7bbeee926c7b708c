"""`on_bad_value`: a cell that is no value of its column ends the load, or its row goes to quarantine."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import duckdb
import pytest

from penstock.testing.project import Ended, ProjectFolder

PROJECT = """
version: 2
default_environment: dev
dev:
  settings: {{retries: 0}}
  connections:
    landing: {{variant: file, extra: {{path: data, format: {form}}}}}
    d: {{variant: duckdb, database: d.duckdb}}
  pipelines:
    - name: p
      source: landing
      destination: d
      tables:
        - {{name: t, target_name: t{more}}}
"""
INCREMENTAL = ", replication_method: incremental, iterate_column: id, iterate_column_type: int"
QUARANTINE = ", on_bad_value: quarantine"


def write(project: ProjectFolder, more: str, form: str = "csv") -> None:
    project.write(PROJECT.format(form=form, more=more))


def put(project: ProjectFolder, text: str, name: str = "t/1.csv") -> None:
    path = project.path / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def rows(project: ProjectFolder, query: str) -> list[Any]:
    with closing(duckdb.connect(str(project.path / "d.duckdb"))) as link:
        found: list[Any] = link.execute(query).fetchall()
        return found


def aside(project: ProjectFolder) -> list[tuple[str, int, Any]]:
    found = rows(project, "SELECT _penstock_rule, _penstock_position, row FROM t__quarantine ORDER BY 1, 2")
    return [(rule, position, json.loads(row)) for rule, position, row in found]


def counted(ended: Ended) -> tuple[int, int, int]:
    assert ended.exit_code == 0, ended.said
    result: Any = ended.json()
    (table,) = result["tables"]
    return table["rows_read"], table["rows_written"], table["rows_quarantined"]


def test_rows_of_csv_with_a_cell_of_another_type_are_set_aside(tmp_project: ProjectFolder) -> None:
    write(tmp_project, ", columns: {v: int64, w: date}" + QUARANTINE)
    put(tmp_project, 'id,v,w\n1,10,2024-01-01\n2,n/a,2024-01-02\n"3",30,"\n"\n4,,\n5,1.5,soon\n6,60,2024-01-06\n')
    assert counted(tmp_project.run("run", "--json")) == (6, 3, 3)
    assert rows(tmp_project, "SELECT id, v, w::VARCHAR FROM t ORDER BY id") == [
        (1, 10, "2024-01-01"),
        (4, None, None),
        (6, 60, "2024-01-06"),
    ]
    assert aside(tmp_project) == [
        ("v: no int64 (t/1.csv, line 3)", 3, {"id": "2", "v": "n/a", "w": "2024-01-02"}),
        ("v: no int64 (t/1.csv, line 7)", 7, {"id": "5", "v": "1.5", "w": "soon"}),
        ("w: no date (t/1.csv, line 4)", 4, {"id": "3", "v": "30", "w": "\n"}),
    ]
    shown = tmp_project.run("show", "last")
    assert "quarantined" in shown.said, shown.said


def test_a_bad_cell_ends_the_load_by_default_and_names_both_ways_out(tmp_project: ProjectFolder) -> None:
    write(tmp_project, ", columns: {v: int64}")
    put(tmp_project, "id,v\n1,10\n2,n/a\n")
    ended = tmp_project.run("run")
    assert ended.exit_code == 1
    assert "t/1.csv, line 3, column 'v': a value that is no int64" in ended.said
    assert "on_bad_value: quarantine" in ended.said
    assert "columns: {v: string}" in ended.said
    assert "n/a" not in ended.said


def test_rows_of_json_lines_are_set_aside_as_they_were_written(tmp_project: ProjectFolder) -> None:
    write(tmp_project, ", columns: {v: int64}" + QUARANTINE, "jsonl")
    put(tmp_project, '{"id": 1, "v": 10}\n\n{"id": 2, "v": "n/a", "more": [1.50]}\n{"id": 3, "v": true}\n', "t/1.jsonl")
    assert counted(tmp_project.run("run", "--json")) == (3, 1, 2)
    assert rows(tmp_project, "SELECT id, v FROM t") == [(1, 10)]
    assert aside(tmp_project) == [
        ("v: no int64 (t/1.jsonl, line 3)", 3, {"id": 2, "v": "n/a", "more": [1.5]}),
        ("v: no int64 (t/1.jsonl, line 4)", 4, {"id": 3, "v": True}),
    ]


def test_what_the_target_has_is_what_a_cell_must_be(tmp_project: ProjectFolder) -> None:
    write(tmp_project, QUARANTINE + INCREMENTAL)
    put(tmp_project, "id,v\n1,10\n")
    assert counted(tmp_project.run("run", "--json")) == (1, 1, 0)
    put(tmp_project, "id,v\n2,n/a\n3,30\n", "t/2.csv")
    planned = tmp_project.run("plan")
    assert "v: read as int64, the type of the table's column; the files hold other cells, which go" in planned.said
    assert counted(tmp_project.run("run", "--json"))[1:] == (1, 1)
    assert rows(tmp_project, "SELECT id, v FROM t ORDER BY id") == [(1, 10), (3, 30)]
    assert [row["id"] for _, _, row in aside(tmp_project)] == ["2"]


def test_a_row_set_aside_is_set_aside_once(tmp_project: ProjectFolder) -> None:
    """Also where it is at the position that the next read begins with."""
    write(tmp_project, ", columns: {v: int64}" + QUARANTINE + INCREMENTAL)
    put(tmp_project, "id,v\n1,10\n2,n/a\n2,20\n")
    assert counted(tmp_project.run("run", "--json")) == (3, 2, 1)
    again: Any = tmp_project.run("run", "--json").json()
    assert again["tables"][0]["state"] == "idle"
    put(tmp_project, "id,v\n3,x\n", "t/2.csv")
    assert counted(tmp_project.run("run", "--json"))[1:] == (0, 1)
    assert tmp_project.run("run", "--json").json()["tables"][0]["state"] == "idle"  # type: ignore[index, call-overload]
    assert [position for _, position, _ in aside(tmp_project)] == [3, 2]
    assert rows(tmp_project, "SELECT id, v FROM t ORDER BY id") == [(1, 10), (2, 20)]


def test_a_cell_of_the_cursor_column_ends_the_load_all_the_same(tmp_project: ProjectFolder) -> None:
    write(tmp_project, ", columns: {id: int64}" + QUARANTINE + INCREMENTAL)
    put(tmp_project, "id,v\n1,10\nx,20\n")
    ended = tmp_project.run("run")
    assert ended.exit_code == 1
    assert "t/1.csv, line 3, column 'id'" in ended.said
    assert "quarantine" not in ended.said


def test_rows_set_aside_go_round_the_transform(tmp_project: ProjectFolder) -> None:
    write(tmp_project, ', columns: {v: int64}, transform_sql: "SELECT id, v * 2 AS v FROM input"' + QUARANTINE)
    put(tmp_project, "id,v\n1,10\n2,n/a\n")
    assert counted(tmp_project.run("run", "--json")) == (2, 1, 1)
    assert rows(tmp_project, "SELECT id, v FROM t") == [(1, 20)]


def test_many_bad_cells_in_many_batches_are_all_found(tmp_project: ProjectFolder) -> None:
    write(tmp_project, ", columns: {v: int64}, fetchsize: 1000" + QUARANTINE)
    put(tmp_project, "id,v\n" + "".join(f"{n},{'x' if n % 97 == 0 else n}\n" for n in range(1, 10_001)))
    assert counted(tmp_project.run("run", "--json")) == (10_000, 9_897, 103)
    assert [position for _, position, _ in aside(tmp_project)].count(98) == 1
    assert rows(tmp_project, "SELECT sum((_penstock_position - 1) % 97) FROM t__quarantine") == [(0,)]


@pytest.mark.parametrize("more", [QUARANTINE, ""])
def test_nothing_is_left_of_a_load_that_fails_after_rows_were_set_aside(tmp_project: ProjectFolder, more: str) -> None:
    write(tmp_project, ", columns: {v: int64}" + more)
    put(tmp_project, "id,v\n1,x\n2,2\n3\n")
    assert tmp_project.run("run").exit_code == 1
    assert rows(tmp_project, "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 't%'") == []
