"""The command line: its entry point, and what it says when something goes wrong."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import typer

from penstock.cli import ondemand
from penstock.cli.group import build_group
from penstock.cli.mistakes import (
    ExplainedError,
    error_to_json,
    explain_unexpected,
    print_error,
    print_json_error,
    print_traceback,
    usage_to_json,
)
from penstock.errors import EXIT_TABLE_FAILED, EXIT_USAGE, PenstockError

EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code of the process. Never raises for a failure, whatever it is."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        ondemand.install()
    _write_anything()
    debug = "--debug" in words
    try:
        return int(build_group().main(words, prog_name="penstock", standalone_mode=False) or 0)
    except typer.TyperException as mistake:
        return _misused(mistake, as_json="--json" in words)
    except (typer.Abort, KeyboardInterrupt):  # a run under way takes signals itself
        print_error("stopped before anything was done")
        return EXIT_INTERRUPTED
    except (PenstockError, ExplainedError) as error:
        print_traceback(error, wanted=debug)
        return _failed(error, as_json="--json" in words)
    except Exception as error:  # noqa: BLE001 - the rim of the process: one line for people, the rest into a file
        print_traceback(error, wanted=debug)
        return _failed(explain_unexpected(error), as_json="--json" in words)


def _write_anything() -> None:
    """A character the terminal's encoding does not have is escaped, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _misused(mistake: typer.TyperException, *, as_json: bool) -> int:
    show = getattr(mistake, "show", None)
    if as_json or show is None:
        print_json_error(usage_to_json(mistake.format_message()))
    else:
        show()
    return EXIT_USAGE


def _failed(error: PenstockError | ExplainedError, *, as_json: bool) -> int:
    if as_json:
        print_json_error(error_to_json(error))
    else:
        print_error(str(error))
    return error.exit_code if isinstance(error, PenstockError) else EXIT_TABLE_FAILED


__all__ = ["main"]
