"""SQLite on a disk that fills up: at a statement, and at COMMIT, which SQLite then rolls back by itself."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from penstock.errors import CommitUnknownError, LoadError
from penstock.values import Account, Position, SplitId, TableName
from tests.connectors.sql.loads import FIRST, ITEMS, batches_of, items, plan_of
from tests.connectors.sql.place import Place, open_place

T = TableName(None, "items")


class FullDisk(sqlite3.Connection):
    """Refuses COMMIT, or INSERT, as SQLite does when a write finds no room."""

    at: ClassVar[str] = ""

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        if self.at and sql.startswith(self.at):
            super().execute("ROLLBACK")
            raise full()
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any) -> sqlite3.Cursor:
        if self.at and sql.startswith(self.at):
            raise full()
        return super().executemany(sql, parameters)


def full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


def load_until_full(place: Place, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session = place.destination.begin(plan_of(place.destination, T, FIRST))
    try:
        if at == "INSERT":
            monkeypatch.setattr(FullDisk, "at", at)
        piece = session.write(SplitId("one"), 1, batches_of(ITEMS, items((1, "a"))))
        monkeypatch.setattr(FullDisk, "at", at)
        session.commit([piece], Account(Position(), read=1, expected=1))
    finally:
        monkeypatch.setattr(FullDisk, "at", "")
        session.abort()


@pytest.mark.parametrize("at", ["COMMIT", "INSERT"])
def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=FullDisk))
    place = open_place("sqlite", tmp_path)
    with pytest.raises(LoadError, match="the disk is full") as caught:
        load_until_full(place, at, monkeypatch)
    assert not isinstance(caught.value, CommitUnknownError)
    assert caught.value.fix == "make room on the disk, then run again: nothing of this load is visible"
    assert place.destination.describe([T]) == {T: None}
