"""Each strategy over three rounds, from and into each system: tables and ledgers are those of the arrow engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from penstock.pipeline.results import RunResult
from tests.engines.spark.lab import INCREMENTAL, Lab, make_lab
from tests.faults.cells import System

pytestmark = [pytest.mark.feature("M9"), pytest.mark.postgres]

TABLES: dict[str, dict[str, Any]] = {
    "append": {**INCREMENTAL, "write_strategy": "append"},
    "replace": {"write_strategy": "replace"},
    "upsert": {**INCREMENTAL, "write_strategy": "upsert", "write_key": ["id"]},
    "merge": {**INCREMENTAL, "write_strategy": "merge", "write_key": ["id"]},
    "delete_insert": {**INCREMENTAL, "write_strategy": "delete_insert", "write_key": ["id"]},
    "in_place": {"write_strategy": "replace", "replace_mode": "in_place"},
    "parallel": {"write_strategy": "replace", "partitions_column": "id", "partitions_count": 3},
    "hashed": {**INCREMENTAL, "write_strategy": "append", "dedup_columns": ["id", "note"]},
}
CELLS: list[tuple[System, System, str]] = [
    *(("postgres", "postgres", case) for case in TABLES),
    *(("sqlite", "duckdb", case) for case in ("append", "replace", "upsert", "hashed")),
    ("duckdb", "sqlite", "merge"),
    ("sqlite", "postgres", "append"),
    ("postgres", "file", "append"),
    ("postgres", "file", "parallel"),
    ("postgres", "duckdb", "parallel"),
]


def told(result: RunResult) -> list[tuple[Any, ...]]:
    return [
        (t.state, t.rows_read, t.rows_written, t.rows_deduplicated, t.rows_quarantined, t.cursor_after)
        for t in result.tables
    ]


@pytest.mark.parametrize(("source", "destination", "case"), CELLS, ids=str)
def test_three_rounds_on_spark_leave_what_arrow_leaves(
    source: System, destination: System, case: str, tmp_path: Path, postgres_url: str, spark: object
) -> None:
    tables = [{"target_name": "copy", **TABLES[case]}]
    labs = [
        make_lab(tmp_path / name, tables, source=source, destination=destination, url=postgres_url)
        for name in ("arrow", "spark")
    ]
    go_three_rounds(labs, spark, case)
    heads = [sorted(head[:2] for head in lab.destination.ledger().heads.values()) for lab in labs]
    assert heads[0] == heads[1] != []


def go_three_rounds(labs: Sequence[Lab], spark: object, case: str) -> None:
    """The first lab on arrow, the second on Spark: the same reports and rows after each, and nothing left over."""
    for change in range(3):
        reports = []
        for lab, session in zip(labs, (None, spark), strict=True):
            alter(lab, change, case)
            result = lab.run(session)
            assert not result.errors, result.errors
            reports.append(told(result))
        assert reports[0] == reports[1]
        assert labs[0].rows() == labs[1].rows()
    assert [lab.destination.litter() for lab in labs] == [[], []]
    verdict = labs[1].open().verify()[0]
    assert verdict.state in ("equal", "unchecked"), verdict


def alter(lab: Lab, change: int, case: str) -> None:
    if change == 1:
        lab.fill((100, 9, "late at the last stamp"), (101, 20, "new"), (102, 21, "it's new"))
        if case != "append":
            lab.fill((3, 22, "changed"))
    elif change == 2 and case in ("replace", "in_place", "parallel"):
        lab.source.execute("DELETE FROM rows WHERE id < 4")
