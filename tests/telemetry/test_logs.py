"""Logs: JSON lines that many processes may share, and no secret in any of them."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from penstock.errors import ConfigError
from penstock.telemetry.events import Bus, RowsMoved, TableFailed, TableFinished
from penstock.telemetry.logs import KEPT_DAYS, Redactor, logging_to, redactor
from penstock.values import Secret

PASSWORD = 'p@ss"word/ü 9\\'

SHARER = """
import logging, sys
from pathlib import Path
from penstock.telemetry.logs import logging_to
with logging_to(log_dir=Path(sys.argv[1])) as logger:
    for number in range(200):
        logger.info("%s says %s", sys.argv[2], "x" * 500)
"""


def lines_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]


def test_events_become_one_json_object_per_line(tmp_path: Path) -> None:
    bus = Bus()
    with logging_to(log_dir=tmp_path, bus=bus):
        bus.emit(TableFinished("orders", 3, 0.5))
        bus.emit(RowsMoved("orders", 3, 30))
        bus.emit(TableFailed("items", "LoadError", "disk full\n  at: items"))
    finished, failed = lines_of(tmp_path)
    assert (finished["event"], finished["level"], finished["rows"]) == ("TableFinished", "info", 3)
    assert (failed["event"], failed["level"], failed["message"]) == ("TableFailed", "error", "disk full\n  at: items")
    assert datetime.fromisoformat(str(failed["at"])).utcoffset() == timedelta(0)


def test_verbose_writes_the_same_lines_to_the_given_stream() -> None:
    out, bus = io.StringIO(), Bus()
    with logging_to(verbose=out, bus=bus):
        bus.emit(TableFinished("orders", 3, 0.5))
    assert json.loads(out.getvalue())["event"] == "TableFinished"


def test_logging_is_undone_at_exit(tmp_path: Path) -> None:
    bus, logger = Bus(), logging.getLogger("penstock")
    before = (list(logger.handlers), logger.level, logger.propagate)
    with logging_to(log_dir=tmp_path, bus=bus):
        assert len(logger.handlers) == len(before[0]) + 1
    bus.emit(TableFinished("orders", 3, 0.5))
    assert (list(logger.handlers), logger.level, logger.propagate) == before
    assert list(tmp_path.iterdir()) == []


def test_a_revealed_secret_never_reaches_a_log_however_it_is_spelt(tmp_path: Path) -> None:
    secret = Secret("env:PW", lambda: PASSWORD)
    secret.reveal()
    with logging_to(log_dir=tmp_path) as logger:
        logger.info("plain %s", PASSWORD)
        logger.info("url postgres://u:%s@h/db", quote(PASSWORD, safe=""))
        logger.info("repr %r and json %s", PASSWORD, json.dumps({"p": PASSWORD}))
        logger.info("fields", extra={"fields": {"detail": f"got {PASSWORD}"}})
        try:
            raise ValueError(f"cannot log in with {PASSWORD!r}")
        except ValueError:
            logger.exception("failed")
    text = "".join(path.read_text() for path in tmp_path.iterdir())
    spellings = (PASSWORD, quote(PASSWORD, safe=""), json.dumps(PASSWORD)[1:-1], json.dumps(json.dumps(PASSWORD))[3:-3])
    assert len(text.splitlines()) == 5
    assert not [spelling for spelling in spellings if spelling in text]
    assert "cannot log in with" in text


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://me:hunter2@db:5432/x", "postgresql://me:***@db:5432/x"),
        ("host=db password=hunter2 dbname=x", "host=db password=*** dbname=x"),
        ("host=db Password = 'hun ter2' dbname=x", "host=db Password = *** dbname=x"),
        ("https://example.org/path?a=b@c", "https://example.org/path?a=b@c"),
        ("at 12:30:11 me@home", "at 12:30:11 me@home"),
    ],
)
def test_passwords_in_urls_and_connection_strings_are_hidden_unregistered(text: str, hidden: str) -> None:
    assert Redactor().redact(text) == hidden


def test_a_secret_that_holds_another_is_hidden_whole() -> None:
    wary = Redactor()
    wary.register("swordfish")
    wary.register("swordfish-and-more")
    assert wary.redact("it is swordfish-and-more") == "it is ***"


def test_the_one_redactor_hears_of_secrets_as_they_are_revealed() -> None:
    Secret("file:/run/token", lambda: "tok-5e884898").reveal()
    assert redactor.redact("bearer tok-5e884898") == "bearer ***"


def test_four_processes_share_a_folder_without_breaking_a_line(tmp_path: Path) -> None:
    sharers = [subprocess.Popen([sys.executable, "-c", SHARER, str(tmp_path), f"p{n}"]) for n in range(4)]
    assert [sharer.wait() for sharer in sharers] == [0] * 4
    assert len(lines_of(tmp_path)) == 800


def test_log_files_are_private_and_old_ones_are_removed(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    old = tmp_path / f"penstock-{now - timedelta(days=KEPT_DAYS + 1):%Y-%m-%d}.jsonl"
    kept = tmp_path / f"penstock-{now - timedelta(days=KEPT_DAYS - 1):%Y-%m-%d}.jsonl"
    other = tmp_path / "penstock-notes.jsonl"
    for path in (old, kept, other):
        path.write_text("")
    with logging_to(log_dir=tmp_path) as logger:
        logger.info("hello")
    assert not old.exists()
    assert kept.exists()
    assert other.exists()
    (written,) = [path for path in tmp_path.iterdir() if path.stat().st_size]
    assert written.stat().st_mode & 0o777 == 0o600


def test_a_log_folder_that_cannot_be_made_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"settings\.log_dir"), logging_to(log_dir=tmp_path / "file" / "logs"):
        pass
