"""Progress: plain lines seldom, bars on a terminal, nothing when quiet."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.telemetry.events import (
    Bus,
    HorizonLag,
    Retrying,
    RowsMoved,
    TableFailed,
    TableFinished,
    TableIdle,
    TablePlanned,
    TableStarted,
)
from penstock.telemetry.progress import PlainDisplay, show_progress

STORY = """
import sys
from penstock.telemetry.events import *
from penstock.telemetry.progress import show_progress
bus = Bus()
with show_progress(bus, sys.stderr, quiet="--quiet" in sys.argv):
    bus.emit(TablePlanned("orders", "p", "append", "direct", rows_estimate=4000))
    bus.emit(TableStarted("orders", "p"))
    for _ in range(4):
        bus.emit(RowsMoved("orders", 1000, 8000))
    bus.emit(TableFinished("orders", 4000, 0.5))
    bus.emit(TableFailed("[red]items", "LoadError", "no such column"))
print("done")
"""


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_one_row_is_one_row() -> None:
    out, clock = io.StringIO(), Clock()
    show = PlainDisplay(out, clock)
    show(TableStarted("orders", "p"))
    clock.now += 10
    show(RowsMoved("orders", 1, 8))
    show(TableFinished("orders", 1, 0.5))
    assert out.getvalue() == "orders: 1 row, 0 rows/s\norders: 1 row in 0.5 s, 2 rows/s\n"


def test_plain_lines_come_at_most_one_per_table_and_interval() -> None:
    out, clock = io.StringIO(), Clock()
    show = PlainDisplay(out, clock)
    show(TablePlanned("orders", "p", "append", "direct", rows_estimate=9000))
    for table in ("orders", "items"):
        show(TableStarted(table, "p"))
    for _ in range(60):
        clock.now += 0.1
        show(RowsMoved("orders", 100, 800))
        show(RowsMoved("items", 10, 80))
    show(TableFinished("orders", 6000, 6.0))
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r"orders: 5,\d00 of about 9,000 rows, 1,000 rows/s", lines[0])
    assert re.fullmatch(r"items: 5\d0 rows, 100 rows/s", lines[1])
    assert lines[2] == "orders: 6,000 rows in 6.0 s, 1,000 rows/s"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (TableIdle("orders"), "orders: nothing new"),
        (TableFailed("orders", "LoadError", "disk full\n  at: x"), "orders: failed, LoadError: disk full"),
        (
            Retrying("orders", 1, 3, 2.0, "ExtractionError", "connection lost"),
            "orders: connection lost; attempt 2 of 3 in 2 s",
        ),
        (
            HorizonLag("orders", 900.0, "pid 7"),
            "orders: the newest 900 s wait for an open transaction, held by pid 7",
        ),
    ],
)
def test_what_happens_to_a_table_is_one_plain_line(event: TableIdle, line: str) -> None:
    out = io.StringIO()
    PlainDisplay(out)(event)
    assert out.getvalue() == line + "\n"


def test_a_table_that_finishes_at_once_does_not_divide_by_zero() -> None:
    out = io.StringIO()
    PlainDisplay(out)(TableFinished("orders", 3, 0.0))
    assert out.getvalue() == "orders: 3 rows in 0.0 s, 0 rows/s\n"


def test_quiet_shows_nothing() -> None:
    out, bus = io.StringIO(), Bus()
    with show_progress(bus, out, quiet=True):
        bus.emit(TableFinished("orders", 3, 1.0))
    assert out.getvalue() == ""


def tell_story(*args: str) -> tuple[str, str]:
    """The story's stdout, and what a terminal on its stderr was sent."""
    keyboard, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", STORY, *args],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        text=True,
    ) as process:
        os.close(terminal)
        shown = b""
        while True:
            try:
                chunk = os.read(keyboard, 65536)
            except OSError:  # the other end is closed: Linux says EIO
                break
            if not chunk:
                break
            shown += chunk
        os.close(keyboard)
        out = process.communicate()[0]
    return out, shown.decode()


def test_a_terminal_gets_bars_with_rate_and_closing_lines_on_stderr_only() -> None:
    out, shown = tell_story()
    assert out == "done\n"
    assert "\x1b[" in shown
    assert "━" in shown
    assert "orders: 4,000 rows in 0.5 s, 8,000 rows/s" in shown
    assert "[red]items: failed, LoadError: no such column" in shown


def test_a_quiet_terminal_gets_nothing() -> None:
    assert tell_story("--quiet") == ("done\n", "")


def test_a_pipe_gets_plain_lines_and_rich_is_not_even_loaded(tmp_path: Path) -> None:
    story = STORY + "assert 'rich' not in sys.modules"
    done = subprocess.run([sys.executable, "-W", "error", "-c", story], capture_output=True, text=True, check=True)
    assert done.stdout == "done\n"
    assert done.stderr == ("orders: 4,000 rows in 0.5 s, 8,000 rows/s\n[red]items: failed, LoadError: no such column\n")
