"""Numbers of a project that bound what a run does: another value, another outcome."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

import penstock
from penstock.errors import ConfigError
from penstock.pipeline.connections import Ends
from penstock.pipeline.project import Project
from penstock.pipeline.results import RunOptions, Selection
from penstock.steps.survey import describe_lag
from penstock.values import Bounds, Connection
from tests.pipeline.conftest import Shop

APPEND = (
    "- {name: orders, target_name: orders, replication_method: incremental, iterate_column: at, boundary_limit: LIMIT}"
)


def test_boundary_limit_says_how_many_rows_may_share_the_last_cursor(shop: Shop) -> None:
    shop.source("INSERT INTO orders VALUES (?, ?, ?, ?)", (6, "x", "1.00", 5), (7, "y", "1.00", 5))
    with pytest.raises(ConfigError, match="more than 2 rows lie at the boundary"):
        penstock.run(shop.write(APPEND.replace("LIMIT", "2")))
    assert penstock.run(shop.write(APPEND.replace("LIMIT", "3"))).tables[0].rows_written == 7


@pytest.mark.parametrize(("setting", "warned"), [("1m", True), ("2m", False), ("1h", False)])
def test_horizon_warn_says_from_which_age_on_a_transaction_is_named(shop: Shop, setting: str, warned: bool) -> None:
    project = Project.open(shop.write("- {name: orders, target_name: orders}", f"{{horizon_warn: {setting}}}"))
    (step,) = project.steps(Selection(), RunOptions())
    told = describe_lag(step, Bounds(lag_seconds=120.0, lag_blocker="session 7"))
    assert told == ("the horizon is held back for 2 min by session 7" if warned else None)


@pytest.mark.parametrize(("most", "at_once"), [(1, 1), (2, 1), (4, 2), (6, 3)])
def test_max_connections_says_how_many_tables_are_loaded_at_once(most: int, at_once: int) -> None:
    """A table holds two: one for its snapshot, one that reads."""
    ends = Ends({n: Connection(n, "file", extra={"path": n}, max_connections=most) for n in ("source", "target")})
    entered = threading.Event()

    def load_one_more() -> None:
        with ends.places("source", "target"):
            entered.set()

    with ExitStack() as loading:
        for _ in range(at_once):
            loading.enter_context(ends.places("source", "target"))
        one_more = threading.Thread(target=load_one_more)
        one_more.start()
        assert not entered.wait(0.2)
    assert entered.wait(10)
    one_more.join()
