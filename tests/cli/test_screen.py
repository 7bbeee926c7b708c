"""What people see: aligned, escaped, and never cut short."""

from __future__ import annotations

import io
import os
import pty
from datetime import UTC, datetime, timedelta, timezone

import pytest

from penstock.cli.screen import Screen, printable, size_text, text_of
from penstock.errors import counted


def plain(columns: list[str], rows: list[list[object]]) -> list[str]:
    out = io.StringIO()
    Screen(out).table(columns, rows)
    return out.getvalue().splitlines()


def on_a_terminal(columns: list[str], rows: list[list[object]], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    keyboard, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stream:
        Screen(stream).table(columns, rows)
        stream.flush()
        shown = os.read(keyboard, 65536).decode()
    os.close(keyboard)
    return shown


def test_a_plain_table_is_aligned_with_numbers_to_the_right() -> None:
    assert plain(["table", "rows"], [["orders", 1200], ["items", 7]]) == [
        "table    rows",
        "orders  1,200",
        "items       7",
    ]


def test_a_column_without_values_and_a_table_without_rows_are_left_out() -> None:
    assert plain(["table", "error"], [["orders", None]]) == ["table", "orders"]
    assert plain(["table", "error"], []) == []


def test_a_narrow_terminal_never_cuts_a_number_short(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [f"column {n}" for n in range(6)]
    shown = on_a_terminal(columns, [[1234567890 + n for n in range(6)]], monkeypatch)
    for n in range(6):
        assert f"1,234,567,89{n}" in shown


def test_states_have_colours_on_a_terminal_and_markup_in_names_has_no_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_a_terminal(["table", "state"], [["[bold]orders[/]", "failed"]], monkeypatch)
    assert "[bold]orders[/]" in shown
    assert "\x1b[1;31mfailed" in shown


@pytest.mark.parametrize("hostile", ["a\x1b[2Jb", "a\nb", "a\rb", "a\u202eb", "a\x00b", "a\ud800b"])
def test_control_characters_of_a_name_or_a_value_are_escaped(hostile: str) -> None:
    (head, row) = plain([hostile], [[hostile]])
    assert head == row == printable(hostile)
    assert row.isprintable()
    row.encode()


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, ""),
        (True, "yes"),
        (1234, "1,234"),
        (3.14159, "3.1"),
        (datetime(2026, 3, 1, 12, tzinfo=UTC), "2026-03-01 12:00:00Z"),
        (datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2))), "2026-03-01 10:00:00Z"),
        (datetime(2026, 3, 1, 12), "2026-03-01 12:00:00"),
    ],
)
def test_cells_read_as_people_write_them(cell: object, text: str) -> None:
    assert text_of(cell) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_500_000, "1.5 MB"), (10**18, "1000.0 PB")]
)
def test_sizes_have_units(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text


def test_one_is_counted_in_the_singular() -> None:
    assert [counted(n, "table") for n in (0, 1, 2)] == ["0 tables", "1 table", "2 tables"]
