"""What SQLite says, without the one value that it quotes."""

from __future__ import annotations

import re
import sqlite3

_NOT_TEXT = re.compile(r"(Could not decode to UTF-8 column '.*?') with text .*", re.DOTALL)
MAKE_ROOM = "make room on the disk, then run again: nothing of this load is visible"
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
        return text, None
    error.args = (found[1],)
    return found[1], _READ_BYTES
