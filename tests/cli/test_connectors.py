"""The support matrix says what the connectors say of themselves."""

from __future__ import annotations

import pytest

from penstock.cli.connectors import is_possible, support_of
from penstock.connectors.files import CONNECTOR as FILES
from penstock.values import Connection, Operation


@pytest.mark.parametrize("variant", ["postgres", "sqlite", "duckdb"])
def test_databases_take_every_strategy(variant: str) -> None:
    found = support_of(variant)
    assert (found.reads, found.writes, found.missing) == (True, True, None)
    assert found.strategies == ("append", "replace", "upsert", "merge", "delete_insert")


def test_files_append_and_replace_only() -> None:
    assert support_of("file").strategies == ("append", "replace")


def test_operations_and_abilities_are_those_of_the_opened_connector() -> None:
    assert FILES.open_destination is not None
    opened = FILES.open_destination(Connection("x", "file", extra={"path": "."}))
    assert set(support_of("file").operations) == opened.operations


def test_another_name_of_a_connector_says_whose_it_is() -> None:
    assert support_of("postgresql").title == "PostgreSQL, as postgres"


@pytest.mark.parametrize(
    ("operations", "upsert", "delete_insert"),
    [
        (frozenset({"append", "create"}), False, False),
        (frozenset({"append", "create", "stage", "upsert", "unique_key"}), True, False),
        (frozenset({"append", "create", "stage", "delete_matching", "delete_window"}), False, True),
    ],
)
def test_a_strategy_is_possible_where_the_planner_finds_a_way(
    operations: frozenset[Operation], upsert: bool, delete_insert: bool
) -> None:
    assert is_possible("append", operations)
    assert is_possible("upsert", operations) is upsert
    assert is_possible("delete_insert", operations) is delete_insert
