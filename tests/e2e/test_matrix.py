"""Each cell of the page of connectors: a destination and a strategy, three runs with changes between"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.errors import ConfigError
from tests.conftest import ROOT
from tests.faults.cells import System, make_place
from tests.faults.places import CREATE, FilesPlace, Place, SqlitePlace
from tests.pages import connectors_page
from tests.pages.connectors_page import CASES, supports, variants

pytestmark = [pytest.mark.postgres, pytest.mark.feature("M5")]

Row = tuple[int, int, str, float]
FIRST: list[Row] = [(n, n, f"note {n}", 0.5) for n in range(20)]
CELLS = [
    pytest.param(s.variant, case, id=f"{s.variant}-{case}") for s in variants() for case in CASES if supports(s, case)
]
REFUSED = [
    pytest.param(s.variant, case, id=f"{s.variant}-{case}")
    for s in variants()
    for case in CASES
    if not supports(s, case)
]
INCREMENTAL = {"replication_method": "incremental", "iterate_column": "stamp", "iterate_column_type": "int"}
KEYS: dict[str, dict[str, Any]] = {
    "append": INCREMENTAL,
    "replace": {"replication_method": "full"},
    "upsert": INCREMENTAL | {"write_key": ["id"]},
    "merge": INCREMENTAL | {"write_key": ["id"]},
    "delete_insert_keyed": INCREMENTAL | {"write_key": ["id"]},
    "delete_insert_window": INCREMENTAL,
}


@dataclass
class Bench:
    """A SQLite source, its rows as a dict, a destination, and what that should hold."""

    folder: Path
    destination: Place
    case: str
    source: SqlitePlace = field(init=False)
    rows: dict[int, Row] = field(default_factory=dict)
    model: Counter[Row] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.source = SqlitePlace(self.folder / "source.db")
        self.source.execute(CREATE.format("rows"))

    def put(self, *rows: Row) -> None:
        for row in rows:
            number, stamp, note, ratio = row
            values = f"({number}, {stamp}, '{note}', {ratio})"
            self.source.execute(f"INSERT OR REPLACE INTO rows VALUES {values}")
            self.rows[number] = row

    def delete(self, number: int) -> None:
        self.source.execute(f"DELETE FROM rows WHERE id = {number}")
        del self.rows[number]

    def run(self, *, low: int | None = None, high: int | None = None) -> None:
        """With `low` and `high` a window is loaded; the model follows by the strategy's own rule."""
        before = {row[0]: row for row in self.model}
        last = max((row[1] for row in self.model), default=-1)
        new = {n: row for n, row in self.rows.items() if row[1] > last}
        if self.case == "append":
            self.model.update(new.values())
        elif self.case == "replace":
            self.model = Counter(self.rows.values())
        elif low is None or high is None:
            self.model = Counter((before | new).values())
        else:
            kept = {n: row for n, row in before.items() if not low <= row[1] < high}
            inside = {n: row for n, row in self.rows.items() if low <= row[1] < high}
            self.model = Counter([*kept.values(), *inside.values()])
        window = {} if low is None else {"filter_lower_bound": str(low), "filter_upper_bound": str(high)}
        penstock.run(self.write(window))
        assert self.destination.rows("copy") == self.model

    def write(self, window: dict[str, str]) -> Path:
        table = {"name": "rows", "target_name": "copy", "write_strategy": strategy_of(self.case)}
        pipeline = {
            "name": "copy",
            "source": "here",
            "destination": "there",
            "tables": [table | KEYS[self.case] | window],
        }
        path = self.folder / "penstock.yaml"
        connections = f"{{here: {self.source.connection()}, there: {self.destination.connection()}}}"
        path.write_text(
            "version: 2\ndefault_environment: dev\ndev:\n  settings: {retries: 0}\n"
            f"  connections: {connections}\n  pipelines: {json.dumps([pipeline])}\n"
        )
        return path


def strategy_of(case: str) -> str:
    return case.removesuffix("_keyed").removesuffix("_window")


@pytest.fixture
def bench(variant: System, case: str, tmp_path: Path, request: pytest.FixtureRequest) -> Bench:
    def url() -> str:
        found: str = request.getfixturevalue("postgres_url")
        return found

    asked: Callable[[], str] = url
    return Bench(tmp_path, make_place(variant, tmp_path / "target", "dst", asked), case)


@pytest.mark.parametrize(("variant", "case"), CELLS)
def test_a_strategy(bench: Bench, case: str) -> None:
    if case == "delete_insert_window":
        bench.put(*FIRST)
        bench.run(low=0, high=15)
        bench.put((3, 3, "changed", 1.0), (30, 14, "new", 1.0))
        bench.delete(12)
        bench.run(low=10, high=20)
        bench.run(low=0, high=20)
        return
    bench.put(*FIRST)
    bench.run()
    bench.put((20, 20, "new", 1.0), (21, 21, "new", 1.0))
    if case != "append":
        bench.put((3, 22, "changed", 2.0))
    bench.run()
    if case == "replace":
        bench.delete(7)
    bench.put((22, 23, "newest", 3.0))
    bench.run()
    bench.run()


@pytest.mark.parametrize(("variant", "case"), REFUSED)
def test_a_refusal(bench: Bench, case: str) -> None:
    bench.put(*FIRST)
    with pytest.raises(ConfigError, match=f"write_strategy '{strategy_of(case)}' is not possible") as refused:
        penstock.run(bench.write({}))
    assert refused.value.fix
    assert bench.destination.rows("copy") is None
    assert isinstance(bench.destination, FilesPlace)


def test_every_cell_of_the_page_is_here() -> None:
    page = connectors_page.render()
    assert (ROOT / connectors_page.PAGE).read_text(encoding="utf-8") == page, "run `make docs` and commit the page"
    assert len(CELLS) + len(REFUSED) == page.count("`test_a_")
