"""What SQLite says, without the one value that it quotes."""

from __future__ import annotations

import re
import sqlite3

_NOT_TEXT = re.compile(r"(Could not decode to UTF-8 column '.*?') with text .*", re.DOTALL)
MAKE_ROOM = "make room on the disk, then run again: nothing of this load is visible"
_FIXES = {
    sqlite3.SQLITE_READONLY: "make the file and its folder writable: SQLite keeps its journal beside the file; "
    "a source in WAL mode needs that too, or `PRAGMA journal_mode = DELETE` once",
    sqlite3.SQLITE_CANTOPEN: "make the file readable, and its folder writable where SQLite has to write",
}
_CHANGED = re.compile(r"no such (table|column)\b.*|table .* has no column named .*", re.DOTALL)
_READ_BYTES = "select the column as CAST(NAME AS BLOB) in custom_query, and decode it in a transform"


def safe_message(error: Exception) -> tuple[str, str | None]:
    """The message and, where there is one, the way out. `error` loses the value too, so that chaining it is safe.

    SQLite names tables and columns; only a cell that is no text is quoted.
    """
    text = str(error)
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return "the disk is full", MAKE_ROOM
    found = _NOT_TEXT.fullmatch(text)
    if found is None:
        return text, _FIXES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    error.args = (found[1],)
    return found[1], _READ_BYTES


def target_changed(error: Exception) -> bool:
    """Whether a table or column is gone that was there when the load was planned."""
    return _CHANGED.fullmatch(str(error)) is not None
