"""Every exception Penstock raises.

PenstockError
├── ConfigError            the project, or how it is called, is wrong          fault=config     exit 2
│   └── PluginNotFoundError    no such variant, or its extra is not installed
├── ExtractionError        a source could not be read                          fault=transient|data
│   └── SourceChangedError     the source changed shape while it was read; planned again once
├── LoadError              a destination could not be written                  fault=transient|data
│   ├── FencedError            another run overtook this one, or holds the lock             exit 4
│   ├── RefusedError           the target belongs to someone else or is not ours to touch   exit 4
│   └── CommitUnknownError     the reply to COMMIT was lost and could not be resolved       exit 5
├── TransformError         a user's transform failed                           fault=data
├── ContractError          rows break a promise of the table                   fault=data
├── BackendError           the control database could not be used              fault=transient
└── Interrupted            a signal stopped the run in good order              exit 130/143

What a caller does next is in the attributes: `retryable`, `fault`, `exit_code`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import Literal, NamedTuple

Fault = Literal["config", "data", "transient", "internal"]

EXIT_DONE = 0
EXIT_TABLE_FAILED = 1
EXIT_USAGE = 2
EXIT_DIFFERENCE = 3
EXIT_REFUSED = 4
EXIT_UNKNOWN = 5
_GRAVEST_FIRST = (130, 143, EXIT_UNKNOWN, EXIT_DIFFERENCE, EXIT_REFUSED, EXIT_TABLE_FAILED, EXIT_USAGE)


def gravest(codes: Iterable[int]) -> int:
    """The one exit code of a command over many tables or connections, whichever command it is."""
    found = set(codes)
    return next((code for code in _GRAVEST_FIRST if code in found), EXIT_DONE)


def counted(number: int, noun: str) -> str:
    """`1 table`, `2,000 tables`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class Mistake(NamedTuple):
    """One of the things that are wrong with a project: `where` is a place in a file, `path` a key of the project."""

    message: str
    where: str
    path: str
    fix: str | None


class PenstockError(Exception):
    """What went wrong, where, and the way out; never a secret and never a row value."""

    fault: Fault = "internal"
    exit_code: int = EXIT_TABLE_FAILED

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        fault: Fault | None = None,
        retryable: bool | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        if fault is not None:
            self.fault = fault
        self.result: object = None  # of the run that ended with this error, where `penstock.run` raised it
        self.retryable = self.fault == "transient" if retryable is None else retryable
        super().__init__(self._text())

    def __reduce__(self) -> tuple[object, ...]:
        """Copied and pickled as it is, whatever a subclass's constructor takes."""
        return _blank, (type(self), self.args), self.__dict__

    def locate(self, where: str) -> None:
        """Name a better place, as one that knows the project file does."""
        self.where = where
        self.args = (self._text(),)

    def _text(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  at: {self.where}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


def _blank(kind: type[PenstockError], args: tuple[object, ...]) -> PenstockError:
    error = kind.__new__(kind)
    error.args = args
    return error


class ConfigError(PenstockError):
    """The project file, an option or a combination of both cannot be run; `mistakes` tells those of the file apart."""

    mistakes: tuple[Mistake, ...] = ()

    fault: Fault = "config"
    exit_code = EXIT_USAGE


class PluginNotFoundError(ConfigError):
    """No connector or backend of that name is installed."""


class ExtractionError(PenstockError):
    """Reading a source failed."""

    fault: Fault = "data"


class SourceChangedError(ExtractionError):
    """The source changed shape between planning and reading; the load is planned again once."""


class LoadError(PenstockError):
    """Writing to a destination failed; nothing of this load is visible."""

    fault: Fault = "data"


class FencedError(LoadError):
    """Another run holds the target, or overtook this one."""

    exit_code = EXIT_REFUSED


class RefusedError(LoadError):
    """The target is not ours to touch: another owner, or rows without a ledger."""

    fault: Fault = "config"
    exit_code = EXIT_REFUSED


class CommitUnknownError(LoadError):
    """The reply to COMMIT was lost; the ledger could not yet say what happened."""

    exit_code = EXIT_UNKNOWN


class TransformError(PenstockError):
    """A transform raised, or returned something it may not."""

    fault: Fault = "data"


class ContractError(PenstockError):
    """Rows or columns break what the table promises."""

    fault: Fault = "data"


class BackendError(PenstockError):
    """The control database cannot be opened, read or written."""

    fault: Fault = "transient"


class Interrupted(PenstockError):  # noqa: N818 - a stop on request is not an error of anybody's
    """A signal asked the run to stop; what was committed stays, the rest left no trace."""

    def __init__(self, signal_number: int) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(f"stopped by {name}", fix="run the same command again: it resumes")
        self.exit_code = 128 + signal_number


__all__ = [
    "EXIT_DIFFERENCE",
    "EXIT_DONE",
    "EXIT_REFUSED",
    "EXIT_TABLE_FAILED",
    "EXIT_UNKNOWN",
    "EXIT_USAGE",
    "BackendError",
    "CommitUnknownError",
    "ConfigError",
    "ContractError",
    "ExtractionError",
    "Fault",
    "FencedError",
    "Interrupted",
    "LoadError",
    "Mistake",
    "PenstockError",
    "PluginNotFoundError",
    "RefusedError",
    "SourceChangedError",
    "TransformError",
    "counted",
    "gravest",
]
