"""Log lines in JSON, to a folder or to standard error, with every revealed secret left out."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO
from urllib.parse import quote, quote_plus

from penstock.errors import ConfigError
from penstock.records import dataclass
from penstock.telemetry.events import Bus, Event, HorizonLag, Retrying, RowsMoved, TableFailed, event_to_json
from penstock.values import observe_secrets

HIDDEN = "***"
KEPT_DAYS = 30
SHORTEST = 4  # hiding every "a" would garble a log and spell the secret out

# a scheme without a limit would make a long text take quadratic time
_URL_PASSWORD = re.compile(r"(?P<head>[a-z][a-z0-9+.-]{0,30}://[^\s:/@]*:)[^\s/@]+(?P<tail>@)", re.IGNORECASE)
_DSN_PASSWORD = re.compile(r"(?P<head>\b(?:password|passwd|pwd)\s*=\s*)(?:'[^']*'|[^\s;,&']+)", re.IGNORECASE)


class Redactor:
    """Takes known secrets out of text. A belt: the braces are that no message is made from a secret."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._spellings: tuple[str, ...] = ()

    def register(self, secret: str) -> None:
        """Hide `secret` from now on, as it is and as URLs, JSON and Python spell it."""
        if len(secret) < SHORTEST:
            return
        spellings = {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
        with self._guard:
            self._spellings = tuple(sorted({*self._spellings, *spellings}, key=len, reverse=True))

    def redact(self, text: str) -> str:
        for spelling in self._spellings:
            text = text.replace(spelling, HIDDEN)
        text = _URL_PASSWORD.sub(rf"\g<head>{HIDDEN}\g<tail>", text)
        return _DSN_PASSWORD.sub(rf"\g<head>{HIDDEN}", text)


redactor = Redactor()
observe_secrets(redactor.register)


class JsonFormatter(logging.Formatter):
    """One JSON object per record; `event` holds the fields of an event."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redactor.redact(record.getMessage()),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line.update({k: redactor.redact(v) if isinstance(v, str) else v for k, v in fields.items()})
        if record.exc_info and record.exc_info[1] is not None:
            line["traceback"] = redactor.redact("".join(traceback.format_exception(record.exc_info[1])))
        return json.dumps(line, default=str)


def log_file(folder: Path, moment: datetime) -> Path:
    """Where the lines of that moment are."""
    return folder / f"penstock-{moment.astimezone(UTC):%Y-%m-%d}.jsonl"


class DailyFileHandler(logging.Handler):
    """One file per day, appended to in single writes, so that many processes can share a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._remove_old(datetime.now(UTC))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = (self.format(record) + "\n").encode("utf-8", "replace")
            path = log_file(self._folder, datetime.fromtimestamp(record.created, UTC))
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(handle, line)
            finally:
                os.close(handle)
        except Exception:  # noqa: BLE001 - logging's own rule: reported on stderr, never raised
            self.handleError(record)

    def _remove_old(self, now: datetime) -> None:
        oldest = log_file(self._folder, now - timedelta(days=KEPT_DAYS)).name
        for path in self._folder.glob("penstock-????-??-??.jsonl"):
            if path.name < oldest:
                path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class EventLog:
    """Turns events into log records; a single batch is worth a DEBUG line only."""

    logger: logging.Logger

    def __call__(self, event: Event) -> None:
        self.logger.log(_level(event), type(event).__name__, extra={"fields": event_to_json(event)})


def _level(event: Event) -> int:
    if isinstance(event, TableFailed):
        return logging.ERROR
    if isinstance(event, Retrying | HorizonLag):
        return logging.WARNING
    return logging.DEBUG if isinstance(event, RowsMoved) else logging.INFO


@contextmanager
def logging_to(
    *, log_dir: Path | None = None, verbose: TextIO | None = None, bus: Bus | None = None
) -> Iterator[logging.Logger]:
    """Have the loggers under `penstock` write to `log_dir` and, when given, to `verbose`; undone at exit."""
    logger = logging.getLogger("penstock")
    handlers = _handlers(log_dir, verbose)
    before = (logger.level, logger.propagate)
    for handler in handlers:
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    stop = bus.subscribe(EventLog(logging.getLogger("penstock.events"))) if bus and handlers else None
    try:
        yield logger
    finally:
        if stop is not None:
            stop()
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(before[0])
        logger.propagate = before[1]


def _handlers(log_dir: Path | None, verbose: TextIO | None) -> list[logging.Handler]:
    handlers: list[logging.Handler] = []
    if log_dir is not None:
        try:
            handlers.append(DailyFileHandler(log_dir))
        except OSError as error:
            raise ConfigError(
                f"the log folder cannot be used: {error.strerror}",
                where=f"settings.log_dir: {log_dir}",
                fix="make it writable, or name another folder",
            ) from error
    if verbose is not None:
        handlers.append(logging.StreamHandler(verbose))
    return handlers
