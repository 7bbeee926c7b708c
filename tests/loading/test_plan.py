"""Strategy, table and operations in; route and steps out."""

from __future__ import annotations

import itertools

import pytest

from penstock.errors import ConfigError
from penstock.loading.plan import Recipe, Wish, plan_load, swaps_table
from penstock.values import Cursor, DeleteWindow, Field, Operation, Strategy

COMMON: tuple[Operation, ...] = ("transaction", "create", "append", "delete_all", "swap", "add_column", "widen_column")
KEYED: tuple[Operation, ...] = ("stage", "upsert", "delete_matching", "delete_window", "unique_key", "ingested_at")
SQL: frozenset[Operation] = frozenset((*COMMON, *KEYED))
PARALLEL: frozenset[Operation] = SQL | {"remote_pieces"}
FILES: frozenset[Operation] = frozenset({"transaction", "create", "append", "delete_all", "swap", "remote_pieces"})


def verbs(recipe: Recipe) -> list[str]:
    return [step.verb for step in recipe.steps]


def test_a_first_append_makes_the_table_in_the_loads_transaction() -> None:
    recipe = plan_load(Wish("append", exists=False), SQL, where="t")
    assert (recipe.route, verbs(recipe)) == ("direct", ["create table", "insert"])


def test_a_later_append_only_inserts() -> None:
    recipe = plan_load(Wish("append", exists=True), SQL, where="t")
    assert (recipe.route, verbs(recipe)) == ("direct", ["insert"])


def test_parallel_appends_are_staged() -> None:
    assert plan_load(Wish("append", exists=True, writers=4), PARALLEL, where="t").route == "staged"


def test_parallel_first_loads_and_replaces_go_through_a_shadow() -> None:
    for wish in (Wish("append", exists=False, writers=4), Wish("replace", exists=True, writers=4)):
        recipe = plan_load(wish, PARALLEL, where="t")
        assert recipe.route == "shadow"
        assert verbs(recipe)[-1] == "swap"


def test_one_process_never_takes_the_shadow() -> None:
    assert plan_load(Wish("replace", exists=True, writers=4), SQL, where="t").route == "direct"


@pytest.mark.feature("M5")
@pytest.mark.parametrize("strategy", ["upsert", "merge"])
def test_a_keyed_load_is_staged_and_ensures_its_key(strategy: Strategy) -> None:
    recipe = plan_load(Wish(strategy, exists=True, key=("id",)), SQL, where="t")
    assert (recipe.route, verbs(recipe)) == ("staged", ["ensure unique key", "upsert"])
    assert recipe.dedup_needed


def test_a_first_keyed_load_of_a_unique_key_is_written_once() -> None:
    recipe = plan_load(Wish("upsert", exists=False, key=("id",), key_is_unique=True), SQL, where="t")
    assert (recipe.route, verbs(recipe)) == ("direct", ["create table", "insert", "ensure unique key"])


def test_a_first_keyed_load_that_may_hold_duplicates_meets_the_stage_first() -> None:
    recipe = plan_load(Wish("upsert", exists=False, key=("id",)), SQL, where="t")
    assert (recipe.route, verbs(recipe)) == ("staged", ["create table", "ensure unique key", "upsert"])


def test_delete_insert_by_key_deletes_the_keys_of_the_load() -> None:
    recipe = plan_load(Wish("delete_insert", exists=True, key=("id",)), SQL, where="t")
    assert verbs(recipe) == ["delete matching keys", "insert"]


def test_delete_insert_by_window_deletes_the_window() -> None:
    window = DeleteWindow("at", Cursor("int", 3), None)
    recipe = plan_load(Wish("delete_insert", exists=True, window=window), SQL, where="t")
    assert recipe.steps[0] == window


def test_replace_swaps_unless_something_hangs_on_the_table() -> None:
    assert verbs(plan_load(Wish("replace", exists=True), SQL, where="t"))[-1] == "swap"
    held = plan_load(Wish("replace", exists=True, attachments=("view v",)), SQL, where="t")
    assert verbs(held) == ["delete all rows", "insert"]
    assert "view v" in held.notes[0]


def test_a_wished_swap_that_would_break_a_view_is_refused() -> None:
    with pytest.raises(ConfigError, match="view v"):
        plan_load(Wish("replace", exists=True, replace_mode="swap", attachments=("view v",)), SQL, where="t")


def test_a_full_refresh_of_a_keyed_table_ensures_its_key_again() -> None:
    recipe = plan_load(Wish("upsert", exists=True, key=("id",), key_is_unique=True, refresh=True), SQL, where="t")
    assert verbs(recipe) == ["create table", "insert", "ensure unique key", "swap"]


@pytest.mark.parametrize("strategy", ["upsert", "merge", "delete_insert"])
def test_files_refuse_what_they_cannot_do_and_name_what_they_can(strategy: Strategy) -> None:
    with pytest.raises(ConfigError, match="append, replace"):
        plan_load(Wish(strategy, exists=True, key=("id",)), FILES, where="t")


def test_column_changes_come_before_rows() -> None:
    wish = Wish("append", exists=True, added=(Field("b", "string"),), widened=(Field("a", "int64"),))
    assert verbs(plan_load(wish, SQL, where="t")) == ["add columns", "widen columns", "insert"]


def test_column_changes_a_destination_cannot_make_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot add columns"):
        plan_load(Wish("append", exists=True, added=(Field("b", "string"),)), FILES, where="t")


STRATEGIES: tuple[Strategy, ...] = ("append", "replace", "upsert", "merge", "delete_insert")


@pytest.mark.parametrize(
    ("strategy", "exists", "refresh", "unique", "writers"),
    list(itertools.product(STRATEGIES, [True, False], [True, False], [True, False], [1, 4])),
)
def test_every_plan_brings_its_rows_in_exactly_once(
    strategy: Strategy, exists: bool, refresh: bool, unique: bool, writers: int
) -> None:
    wish = Wish(strategy, exists=exists, key=("id",), key_is_unique=unique, refresh=refresh, writers=writers)
    steps = verbs(plan_load(wish, PARALLEL, where="t"))
    assert steps.count("insert") + steps.count("upsert") == 1
    assert ("create table" in steps) or exists
    removing = {"delete all rows", "swap"} & set(steps)
    assert bool(removing) == (exists and (refresh or strategy == "replace")) or (writers > 1 and not exists)


@pytest.mark.parametrize("strategy", ["append", "replace", "upsert"])
def test_whether_a_table_is_swapped_is_known_before_its_columns(strategy: Strategy) -> None:
    for exists, refresh, unique, attachments, where in itertools.product(
        (True, False), (True, False), (True, False), ((), ("view v",)), (SQL, SQL - {"swap"})
    ):
        wish = Wish(
            strategy,
            exists=exists,
            key=("id",) if strategy == "upsert" else (),
            key_is_unique=unique,
            refresh=refresh,
            attachments=attachments,
        )
        swapped = exists and plan_load(wish, where, where="t").replace_mode == "swap"
        assert swaps_table(wish, where, where="t") == swapped, wish
