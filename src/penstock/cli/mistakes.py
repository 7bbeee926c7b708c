"""How errors are told: to people on standard error, to programs as one JSON object on standard output."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

import typer

from penstock.cli.screen import printable
from penstock.errors import EXIT_TABLE_FAILED, ConfigError, Mistake, PenstockError
from penstock.telemetry.logs import redactor
from penstock.values import Json


class ExplainedError(Exception):
    """An exception nobody foresaw, in one line; its details are in `log`."""

    def __init__(self, what: str, log: Path | None) -> None:
        self.what = what
        self.log = log
        place = f"  details: {log}" if log else "  details: run it again with --debug"
        super().__init__(f"{what}\n{place}")


def explain_unexpected(error: BaseException, log: Path | None = None) -> ExplainedError:
    """One line for an unforeseen exception. Its own text may hold a row: it goes into `log`, or a private file."""
    origin = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" in {Path(origin[0].filename).name}:{origin[0].lineno}" if origin else ""
    return ExplainedError(f"unexpected {type(error).__name__}{place}", log or _write_private(error))


def _write_private(error: BaseException) -> Path | None:
    text = redactor.redact("".join(traceback.format_exception(error)))
    try:
        handle, name = tempfile.mkstemp(prefix="penstock-", suffix=".log")  # mode 0600
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError:
        return None
    return Path(name)


def error_to_json(error: PenstockError | ExplainedError) -> dict[str, Json]:
    """What a program needs to decide what to do next."""
    if isinstance(error, ExplainedError):
        found: dict[str, Json] = {"class": "UnexpectedError", "what": error.what, "where": None, "fix": None}
        log = str(error.log) if error.log else None
        return {**found, "fault": "internal", "retryable": False, "exit_code": EXIT_TABLE_FAILED, "details": log}
    mistakes = error.mistakes if isinstance(error, ConfigError) else ()
    told: dict[str, Json] = {"problems": [_mistake_to_json(m) for m in mistakes]} if mistakes else {}
    return {
        "class": type(error).__name__,
        "what": redactor.redact(error.what),
        "where": redactor.redact(error.where) if error.where else None,
        "fix": redactor.redact(error.fix) if error.fix else None,
        "fault": error.fault,
        "retryable": error.retryable,
        "exit_code": error.exit_code,
        **told,
    }


def _mistake_to_json(mistake: Mistake) -> dict[str, Json]:
    return {key: redactor.redact(text) if text else None for key, text in mistake._asdict().items()}


def usage_to_json(what: str) -> dict[str, Json]:
    """A command line that could not be understood, in the same words."""
    fix = "`penstock --help` and `penstock COMMAND --help` say what there is"
    return error_to_json(ConfigError(what, fix=fix)) | {"class": "UsageError"}


def print_json_error(error: dict[str, Json]) -> None:
    sys.stdout.write(json.dumps({"error": error}) + "\n")
    sys.stdout.flush()


def print_error(text: str) -> None:
    typer.secho("error: ", fg="red", err=True, nl=False)
    typer.echo(printable(redactor.redact(text), keep="\n"), err=True)


def print_traceback(error: BaseException, *, wanted: bool) -> None:
    if wanted:
        sys.stderr.write(redactor.redact("".join(traceback.format_exception(error))))
