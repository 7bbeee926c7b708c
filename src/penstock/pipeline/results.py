"""What plan, run, verify, check, status and preview give back: plain values that the CLI, the API and the UI show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, fields, is_dataclass
from datetime import date, datetime
from datetime import time as clock_time
from math import isfinite
from typing import TYPE_CHECKING, Literal, cast

from penstock.errors import EXIT_DONE
from penstock.records import dataclass
from penstock.values import Grade, Json, RunId, RunRecord, RunState, TableRecord

if TYPE_CHECKING:
    from penstock.errors import PenstockError


@dataclass(frozen=True, slots=True)
class Selection:
    """Which tables: `table` matches source or target names, `tags` match any."""

    pipeline: str | None = None
    table: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunOptions:
    full_refresh: bool = False
    threads: int | None = None
    limit: int | None = None
    engine: str | None = None
    spark: object | None = None  # a SparkSession to run on, whose owner ends it


@dataclass(frozen=True, slots=True)
class TablePlan:
    """What `plan` prints of one table. `notes` state assumptions, warnings and keys that wait for a feature."""

    pipeline: str
    stream: str
    target: str
    source: str
    destination: str
    method: Literal["full", "incremental"]
    strategy: str
    route: str
    grade: Grade
    relay: bool
    steps: tuple[str, ...]
    splits: int
    bounds: str
    rows_estimate: int | None
    idle: bool
    columns: tuple[tuple[str, str, str], ...]  # name, type at the source, type at the destination
    runs: str = ""  # where its splits are read and written
    notes: tuple[str, ...] = ()
    error: str | None = None
    exit_code: int = EXIT_DONE  # of a run that ended with this error


@dataclass(frozen=True, slots=True)
class ProjectPlan:
    project: str
    environment: str
    tables: tuple[TablePlan, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunResult:
    """`errors` maps target to the error that ended it; `exit_code` is the process's."""

    run_id: RunId
    state: RunState
    started_at: datetime
    finished_at: datetime
    tables: tuple[TableRecord, ...]
    exit_code: int
    errors: Mapping[str, PenstockError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TableVerdict:
    """`state` equal, different or unchecked, with `error` where the table could not be looked at.

    A sampled diff names keys, never other values.
    """

    pipeline: str
    target: str
    state: Literal["equal", "different", "unchecked"]
    rows_target: int
    rows_ledger: int | None
    rows_source: int | None
    changed_since: int
    missing: int
    extra: int
    different: int
    sample: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None
    exit_code: int = EXIT_DONE


@dataclass(frozen=True, slots=True)
class CheckResult:
    connection: str
    variant: str
    ok: bool
    message: str
    exit_code: int = EXIT_DONE


@dataclass(frozen=True, slots=True)
class TableStatus:
    """Where a table stands, by its destination's ledger."""

    pipeline: str
    target: str
    state: str
    cursor: str | None
    generation: int | None
    sequence: int | None
    changed_at: datetime | None
    horizon_lag: str | None = None
    last_run: TableRecord | None = None
    owner: str | None = None  # where it is not this pipeline
    error: str | None = None
    exit_code: int = EXIT_DONE


@dataclass(frozen=True, slots=True)
class Preview:
    stream: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[object, ...], ...]


@dataclass(frozen=True, slots=True)
class TransformCheck:
    """One fixture of `penstock test`; `file` is relative to the project."""

    file: str
    function: str
    case: str
    ok: bool
    message: str = ""


def to_json(value: object) -> Json:
    """Any of these values as JSON: dates in ISO form, bytes in hexadecimal, errors and what JSON cannot say as text."""
    if isinstance(value, RunRecord | TableRecord):
        return {**{f.name: to_json(getattr(value, f.name)) for f in fields(value)}, "seconds": value.seconds}
    if is_dataclass(value):
        return {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [to_json(v) for v in value]
    if isinstance(value, date | clock_time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    said = value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and isfinite(value))
    return cast("Json", value) if said else str(value)
