"""Whether a table may be loaded, and as which load."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.errors import RefusedError
from penstock.loading.admission import Claim, admit
from penstock.values import START, Cursor, LedgerHead, LoadId, Position, TableName

CLAIM = Claim(TableName("public", "t"), "sqlite:orders", "prod/shop", has_rows=None)
POSITION = Position(Cursor("int", 7), Cursor("int", 7))
HEAD = LedgerHead("public.t", "sqlite:orders", "prod/shop", 2, 9, 5, POSITION, "done", LoadId("x"))


def test_a_new_table_starts_at_one() -> None:
    admission = admit(CLAIM, None)
    assert (admission.generation, admission.sequence, admission.after) == (1, 1, START)


def test_the_next_load_follows_the_head() -> None:
    admission = admit(CLAIM, HEAD)
    assert (admission.generation, admission.sequence, admission.after) == (2, 6, POSITION)


def test_a_full_refresh_starts_a_generation_and_forgets_the_position() -> None:
    admission = admit(replace(CLAIM, refresh=True), HEAD)
    assert (admission.generation, admission.sequence, admission.after) == (3, 6, START)


def test_rows_without_a_ledger_are_refused_with_the_ways_out() -> None:
    with pytest.raises(RefusedError, match="no ledger") as caught:
        admit(replace(CLAIM, has_rows=True), None)
    assert "--full-refresh" in str(caught.value)
    assert "on_existing: append" in str(caught.value)
    assert caught.value.exit_code == 4


def test_an_empty_table_without_a_ledger_is_taken() -> None:
    assert admit(replace(CLAIM, has_rows=False), None).sequence == 1


def test_on_existing_append_takes_a_table_with_rows() -> None:
    assert admit(replace(CLAIM, has_rows=True, on_existing="append"), None).sequence == 1


def test_another_owner_is_refused_unless_shared() -> None:
    other = replace(HEAD, owner="prod/other")
    with pytest.raises(RefusedError, match="belongs to 'prod/other'"):
        admit(CLAIM, other)
    assert admit(replace(CLAIM, shared=True), other).sequence == 6


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("dev/shop", "if 'dev' is called 'prod' now, write project: dev at the top of the file"),
        (
            "prod/old",
            "if pipeline 'old' is called 'shop' now, write shared: true on the table until its next load is in",
        ),
        ("dev/old", "if 'dev/old' is called 'prod/shop' now, write shared: true"),
    ],
)
def test_who_was_renamed_is_told_how_to_get_the_table_back(before: str, said: str) -> None:
    with pytest.raises(RefusedError, match=f"belongs to '{before}', this is 'prod/shop'") as caught:
        admit(CLAIM, replace(HEAD, owner=before))
    assert said in str(caught.value.fix)
    assert "another target_name" in str(caught.value.fix)


def test_a_full_refresh_does_not_take_a_table_from_its_owner() -> None:
    with pytest.raises(RefusedError):
        admit(replace(CLAIM, refresh=True), replace(HEAD, owner="prod/other"))


def test_another_stream_is_refused() -> None:
    with pytest.raises(RefusedError, match="was filled from sqlite:users"):
        admit(CLAIM, replace(HEAD, stream="sqlite:users"))
