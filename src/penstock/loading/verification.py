"""What the ledger claims of a table, put together from its loads."""

from __future__ import annotations

from collections.abc import Sequence

_COUNT_DIGITS = 16
_SUM_DIGITS = 32


def combine_digests(digests: Sequence[str]) -> str | None:
    """The digest of all rows of several loads, None where they were made by different algorithms.

    A digest is `algorithm:hex`, the hex a row count and two sums modulo 2**128 (see digest.py).
    """
    algorithms = {text.partition(":")[0] for text in digests}
    if len(algorithms) != 1:
        return None
    rows, first, second = 0, 0, 0
    for text in digests:
        body = text.partition(":")[2]
        middle = _COUNT_DIGITS + _SUM_DIGITS
        rows += int(body[:_COUNT_DIGITS], 16)
        first += int(body[_COUNT_DIGITS:middle], 16)
        second += int(body[middle:], 16)
    modulus = 1 << 128
    return f"{algorithms.pop()}:{rows:016x}{first % modulus:032x}{second % modulus:032x}"
