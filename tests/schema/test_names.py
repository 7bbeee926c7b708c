"""Source names to destination names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ConfigError
from penstock.schema.names import check_table_name, map_names
from penstock.values import Limits

LIMITS = Limits()


@given(st.lists(st.text(min_size=1, max_size=15).filter(lambda s: "\x00" not in s), unique=True))
def test_names_that_fit_stay_as_they_are(names: list[str]) -> None:
    assert list(map_names(names, LIMITS).values()) == names


def test_upper_and_lower_case_are_applied() -> None:
    assert map_names(["Id", "NaMe"], LIMITS, "lower") == {"Id": "id", "NaMe": "name"}
    assert map_names(["Id"], LIMITS, "upper") == {"Id": "ID"}


def test_two_columns_never_become_one() -> None:
    with pytest.raises(ConfigError, match=r"'a' and 'A' would both become 'a'"):
        map_names(["a", "A"], LIMITS, "lower")


def test_names_that_differ_by_case_collide_where_the_destination_folds() -> None:
    with pytest.raises(ConfigError, match="would both become"):
        map_names(["a", "A"], Limits(fold="lower"))


@pytest.mark.parametrize("name", ["é" * 32, "x" * 64, "", "a\x00b"])
def test_a_name_the_destination_would_cut_or_refuse_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError):
        map_names([name], LIMITS)


def test_sixty_three_bytes_fit() -> None:
    assert map_names(["x" * 63], LIMITS) == {"x" * 63: "x" * 63}


def test_too_many_columns_are_refused_before_reading() -> None:
    with pytest.raises(ConfigError, match="1601 columns, the destination takes at most 1600"):
        map_names([f"c{i}" for i in range(1601)], LIMITS)


def test_our_own_table_names_are_not_for_users() -> None:
    with pytest.raises(ConfigError, match="Penstock's own"):
        check_table_name("_penstock_ledger", LIMITS)
