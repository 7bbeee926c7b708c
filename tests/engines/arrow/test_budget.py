"""The byte budget bounds what all moves hold, and never stands still."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engines.arrow.budget import ByteBudget, HaltedError, Lease


def take(budget: ByteBudget, size: int, *, urgent: bool = True) -> Lease:
    return budget.acquire(size, is_urgent=lambda: urgent, is_halted=lambda: False)


def would_wait(budget: ByteBudget, size: int, *, urgent: bool = True) -> bool:
    """Whether the request is not granted at once: the second look, after the first refusal, finds it halted."""
    looks = iter([False, True])
    waiting = threading.Thread(target=budget.wake)

    def halted() -> bool:
        answer = next(looks)
        if not answer:
            waiting.start()
        return answer

    try:
        budget.acquire(size, is_urgent=lambda: urgent, is_halted=halted).release()
    except HaltedError:
        return True
    finally:
        waiting.join()
    return False


@pytest.mark.feature("N2")
def test_what_exceeds_the_budget_waits() -> None:
    budget = ByteBudget(100)
    held = take(budget, 60)
    assert would_wait(budget, 50)
    held.release()
    assert not would_wait(budget, 50)


@pytest.mark.feature("N2")
def test_something_bigger_than_the_budget_passes_alone() -> None:
    budget = ByteBudget(100)
    held = take(budget, 10)
    assert would_wait(budget, 1_000)
    held.release()
    take(budget, 1_000).release()
    assert (budget.peak_bytes, budget.used_bytes) == (1_000, 0)


def test_reading_ahead_gets_half_and_leaves_urgent_requests_their_way() -> None:
    budget = ByteBudget(100)
    take(budget, 50, urgent=False)
    assert would_wait(budget, 1, urgent=False)
    assert not would_wait(budget, 50)
    assert not would_wait(budget, 1_000)


def test_releasing_twice_gives_back_once() -> None:
    budget = ByteBudget(100)
    lease = take(budget, 40)
    lease.release()
    lease.release()
    lease.resize(70)
    assert budget.used_bytes == 0


def test_a_halted_request_leaves_the_line() -> None:
    budget = ByteBudget(100)
    held = take(budget, 100)
    assert would_wait(budget, 100)
    held.release()
    assert not would_wait(budget, 100)


@given(st.lists(st.tuples(st.integers(1, 120), st.booleans()), min_size=1, max_size=30))
def test_many_threads_all_pass_and_exceed_it_by_at_most_one_request(requests: list[tuple[int, bool]]) -> None:
    budget = ByteBudget(100)

    def pass_through(size: int, urgent: bool) -> None:
        take(budget, size, urgent=urgent or size > 50).release()

    threads = [threading.Thread(target=pass_through, args=request) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert budget.used_bytes == 0
    assert budget.peak_bytes <= 100 + max(size for size, _ in requests)
