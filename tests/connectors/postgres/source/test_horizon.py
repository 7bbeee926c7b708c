"""The arithmetic of transaction ids, without a server."""

from __future__ import annotations

from hypothesis import assume, example, given
from hypothesis import strategies as st

from penstock.connectors.postgres.horizon import FIRST_NORMAL_XID, XID_MASK, XidWindow, condition, full_xid

TOPS = st.integers(FIRST_NORMAL_XID, (1 << 40) - 1)


@given(top=TOPS, age=st.integers(1, XID_MASK))
@example(top=(1 << 32) + 3, age=1)
@example(top=(1 << 32) + 3, age=(1 << 32) - 1)
def test_the_full_id_of_a_row_is_found_again_from_its_32_bits(top: int, age: int) -> None:
    full = top - age
    xmin = full & XID_MASK
    if full < FIRST_NORMAL_XID or xmin < FIRST_NORMAL_XID:
        return  # the server never gives such an id to a transaction
    assert full_xid(xmin, top) == full


@given(top=TOPS, behind=st.integers(0, (1 << 31) - 1), lag=st.integers(0, 1000), xmin=st.integers(1, XID_MASK))
@example(top=(1 << 32) + 5, behind=100, lag=0, xmin=XID_MASK)
@example(top=1000, behind=10, lag=3, xmin=2)
@example(top=1000, behind=900, lag=0, xmin=1005)
def test_a_window_holds_exactly_the_ids_between_its_ends(top: int, behind: int, lag: int, xmin: int) -> None:
    assume(xmin != top & XID_MASK)  # the first unused id: no row has it
    low, high = max(top - behind, FIRST_NORMAL_XID), max(top - lag, FIRST_NORMAL_XID)
    full = full_xid(xmin, top)
    assert XidWindow(top, low, high).contains(xmin) == (low <= full < high)
    assert XidWindow(top, low, None).contains(xmin) == (low <= full)


@given(top=TOPS, lag=st.integers(0, 1000), xmin=st.integers(1, XID_MASK))
def test_every_row_lies_below_the_horizon_or_waits_for_it(top: int, lag: int, xmin: int) -> None:
    assume(xmin != top & XID_MASK)
    high = max(top - lag, FIRST_NORMAL_XID)
    full = full_xid(xmin, top)
    settled = XidWindow(top, None, high).contains(xmin)
    waits = XidWindow(top, high, None).contains(xmin)
    assert settled == (full < high)
    assert settled != waits


@given(
    top=TOPS,
    behind=st.integers(0, (1 << 31) - 1),
    lag=st.integers(0, 1000),
    xmin=st.one_of(st.integers(1, XID_MASK), st.integers(1, 5)),
    ends=st.sampled_from(["both", "low", "high"]),
)
def test_the_sql_computes_what_the_window_says(top: int, behind: int, lag: int, xmin: int, ends: str) -> None:
    low = max(top - behind, FIRST_NORMAL_XID) if ends != "high" else None
    high = max(top - lag, FIRST_NORMAL_XID) if ends != "low" else None
    window = XidWindow(top, low, high)
    sql = condition(window, top=str(top), low=str(low), high=str(high))
    for postgres, python in (
        ("t.xmin::text::bigint", str(xmin)),
        (" AND ", " and "),
        (" OR ", " or "),
        ("true", "True"),
    ):
        sql = sql.replace(postgres, python)
    assert eval(sql) == window.contains(xmin)
