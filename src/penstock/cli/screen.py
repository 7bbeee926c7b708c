"""Puts tables and lines on a stream: with colours on a terminal, as plain aligned text elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TextIO

from penstock.telemetry.logs import redactor

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
FOLDED = 24  # longer cells may take several lines of a terminal
STYLES = {
    "succeeded": "green",
    "equal": "green",
    "ok": "green",
    "done": "green",
    "failed": "bold red",
    "different": "bold red",
    "refused": "bold red",
    "unknown": "bold magenta",
    "partial": "yellow",
    "stopped": "yellow",
    "unchecked": "yellow",
    "idle": "dim",
}


class Screen:
    """Knows whether people see colours; rich is loaded only when they do."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colours = stream.isatty()

    def line(self, text: str = "", *, style: str = "") -> None:
        text = printable(redactor.redact(text), keep="\n")
        if not (self._colours and style):
            self._stream.write(text + "\n")
            return
        from rich.console import Console

        Console(file=self._stream, soft_wrap=True).print(text, style=style, markup=False, highlight=False)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Numbers are aligned to the right. Columns without a single value are left out, and so is a table of none."""
        shown = [n for n in range(len(columns)) if any(row[n] is not None for row in rows)]
        if not shown:
            return
        names = [printable(columns[n]) for n in shown]
        texts = [[printable(text_of(row[n])) for n in shown] for row in rows]
        numeric = [all(_is_number(row[n]) for row in rows) for n in shown]
        if self._colours:
            self._rich_table(names, texts, numeric)
        else:
            self._plain_table([names, *texts], numeric)

    def _plain_table(self, texts: Sequence[Sequence[str]], numeric: Sequence[bool]) -> None:
        widths = [max(len(row[n]) for row in texts) for n in range(len(numeric))]
        for row in texts:
            cells = [
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(row, widths, numeric, strict=True)
            ]
            self._stream.write("  ".join(cells).rstrip() + "\n")

    def _rich_table(self, columns: Sequence[str], texts: Sequence[Sequence[str]], numeric: Sequence[bool]) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
        lengths = [max(len(row[n]) for row in (columns, *texts)) for n in range(len(columns))]
        for n, column in enumerate(columns):
            short = lengths[n] <= FOLDED
            table.add_column(Text(column), justify="right" if numeric[n] else "left", no_wrap=short, overflow="fold")
        for row in texts:
            table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
        console = Console(file=self._stream)
        # Rather a long line than a number cut short.
        console.width = max(console.width, sum(min(length, FOLDED) + 3 for length in lengths))
        console.print(table)


def _is_number(cell: object) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def printable(text: str, *, keep: str = "") -> str:
    """Control characters escaped: a name or a value must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def of_table(table: str, text: str) -> str:
    """What is told of a table, which is named once."""
    first = text.partition("\n")[0]
    return text if re.search(rf"(?<![\w.]){re.escape(table)}(?!\w)", first) else f"{table}: {text}"


def text_of(cell: object) -> str:
    """A cell as people read it: thousands apart, times in UTC to the second, nothing for None."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:,.1f}"
    if isinstance(cell, datetime) and cell.tzinfo is not None:
        return f"{cell.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    return str(cell)


def size_text(size_bytes: int) -> str:
    """1_500_000 as `1.5 MB`."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    power = min((len(str(size_bytes)) - 1) // 3, len(UNITS) - 1)
    return f"{size_bytes / 1000**power:.1f} {UNITS[power]}"
