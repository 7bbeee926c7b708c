"""Runs compiled steps: surveys them together, loads them in parallel, retries what may be retried, records it all."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import field, replace
from itertools import groupby
from pathlib import Path

from penstock.errors import (
    CommitUnknownError,
    FencedError,
    Interrupted,
    PenstockError,
    RefusedError,
    SourceChangedError,
)
from penstock.pipeline.connections import Ends
from penstock.protocols import Backend, Engine
from penstock.records import dataclass
from penstock.steps.replicate import Delivery, Parties, Prepared, deliver
from penstock.steps.replicate_step import ReplicateStep
from penstock.steps.survey import Surveyed, describe_lag
from penstock.telemetry.events import (
    Bus,
    HorizonLag,
    LoadCommitted,
    Retrying,
    TableFailed,
    TableFinished,
    TableIdle,
    TableMeter,
    TablePlanned,
    TableStarted,
)
from penstock.telemetry.logs import redactor
from penstock.values import RunId, TableRecord, TableState, utc_now


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waits first_wait, 2 * first_wait, 4 * first_wait ... seconds, at most longest_wait, before each further try."""

    retries: int = 3
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 30.0

    def wait_before(self, attempt: int) -> float:
        doubled: float = self.first_wait_seconds * 2 ** (attempt - 1)
        return min(self.longest_wait_seconds, doubled)


@dataclass(slots=True)
class TableOutcome:
    """A table's record and, where it failed, why."""

    record: TableRecord
    error: PenstockError | None = None


@dataclass(slots=True)
class Runner:
    """One run over many tables. A failed table stops its pipeline's later ones unless it may be passed over."""

    run_id: RunId
    ends: Ends
    engine: Engine
    backend: Backend
    bus: Bus
    threads: int
    holder: str
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    stop: threading.Event = field(default_factory=threading.Event)
    _broken: dict[str, str] = field(default_factory=dict)  # pipeline -> the table that failed

    def run(self, steps: Sequence[ReplicateStep]) -> list[TableOutcome]:
        """The outcomes, in the order of the steps. Raises nothing for a table's failure."""
        with ThreadPoolExecutor(max_workers=self.threads, thread_name_prefix="penstock-table") as pool:
            surveyed = self._survey(steps, pool)
            futures = [pool.submit(self._run_table, table) for table in surveyed]
            return [future.result() for future in futures]

    def _survey(self, steps: Sequence[ReplicateStep], pool: ThreadPoolExecutor) -> list[Surveyed]:
        ends = [(s.source, s.destination) for s in steps]
        order = sorted(range(len(steps)), key=lambda i: ends[i])
        groups = [list(group) for _, group in groupby(order, key=lambda i: ends[i])]
        found: list[Surveyed | None] = [None] * len(steps)
        for group, tables in zip(
            groups, pool.map(lambda g: self._survey_group([steps[i] for i in g]), groups), strict=True
        ):
            for index, table in zip(group, tables, strict=True):
                found[index] = table
        return [table for table in found if table is not None]

    def _survey_group(self, steps: list[ReplicateStep]) -> list[Surveyed]:
        """Where the two ends cannot be asked at all, each table fails with that error."""
        first = steps[0]
        attempt = 0
        while True:
            try:
                return self.ends.survey(steps)
            except PenstockError as error:
                attempt += 1
                if not self._wait_before_retry(str(first.writing.target), error, attempt):
                    return [Surveyed(step, error=error) for step in steps]

    def _wait_before_retry(self, table: str, error: PenstockError, attempt: int) -> bool:
        """Wait out the back-off; False when this error, or this many tries, end it."""
        if not error.retryable or attempt > self.retry.retries or self.stop.is_set():
            return False
        wait = self.retry.wait_before(attempt)
        what = redactor.redact(error.what)
        self.bus.emit(Retrying(table, attempt, self.retry.retries + 1, wait, type(error).__name__, what))
        return not self.stop.wait(wait)

    def _run_table(self, table: Surveyed) -> TableOutcome:
        step = table.step
        record = TableRecord(
            run_id=self.run_id,
            pipeline=step.pipeline,
            stream=str(step.reading.stream),
            target=str(step.writing.target),
            strategy=step.writing.strategy,
            state="running",
            started_at=utc_now(),
            cursor_before=_printed_cursor(table),
        )
        if self.stop.is_set() or step.pipeline in self._broken:
            return self._finish(TableOutcome(replace(record, state="stopped", error=self._why_not(step))))
        self.bus.emit(TableStarted(record.target, step.pipeline))
        self._warn_of_lag(table)
        task = _TableTask(self, table, record)
        outcome = self._guarded(task)
        if outcome.error is not None and not step.pass_on_error:
            self._broken.setdefault(step.pipeline, record.target)
        return self._finish(outcome)

    def _why_not(self, step: ReplicateStep) -> str:
        if self.stop.is_set():
            return "not started: the run was stopping"
        failed = self._broken[step.pipeline]
        return f"not started: {failed} of the same pipeline failed and has no pass_on_error: true"

    def _warn_of_lag(self, table: Surveyed) -> None:
        if table.bounds is not None and describe_lag(table.step, table.bounds) is not None:
            target = str(table.step.writing.target)
            self.bus.emit(HorizonLag(target, table.bounds.lag_seconds, table.bounds.lag_blocker))

    def _guarded(self, task: _TableTask) -> TableOutcome:
        try:
            with self.ends.locating(task.table.step.source, task.table.step.destination):
                return task.run()
        except PenstockError as error:
            return task.fail(error)
        except Exception as error:  # noqa: BLE001 - the edge of a table: one table's bug must not take down the others
            return task.fail(_unexpected(error, task.table.step.where))

    def _finish(self, outcome: TableOutcome) -> TableOutcome:
        record = replace(outcome.record, finished_at=utc_now())
        self.backend.record_table(record)
        seconds = ((record.finished_at or record.started_at) - record.started_at).total_seconds()
        if outcome.error is not None:
            self.bus.emit(TableFailed(record.target, type(outcome.error).__name__, record.error or ""))
        elif record.state == "idle":
            self.bus.emit(TableIdle(record.target))
        elif record.state == "succeeded":
            self.bus.emit(TableFinished(record.target, record.rows_written, seconds))
        return TableOutcome(record, outcome.error)


@dataclass(slots=True)
class _TableTask:
    """One table through all of its loads and retries."""

    runner: Runner
    table: Surveyed
    record: TableRecord
    attempt: int = 0
    replanned: bool = False

    def run(self) -> TableOutcome:
        while True:
            if self.table.error is not None:
                raise self.table.error
            if self.table.bounds is not None and self.table.bounds.idle:
                return self._done("idle")
            try:
                delivery = self._deliver()
            except PenstockError as error:
                if not self._may_try_again(error):
                    raise
                self.table = self._look_again()
                if isinstance(error, CommitUnknownError) and self.table.error is not None:
                    raise error from self.table.error  # what is not known must not end as a plain failure
                continue
            self._add(delivery)
            if not delivery.unfinished:
                return self._done("idle" if self.record.loads == 0 else "succeeded")
            # The chain goes on from the ledger: what was refreshed must not be refreshed again.
            self.table = self._look_again(replace(self.table.step, full_refresh=False))

    def _deliver(self) -> Delivery:
        step, runner = self.table.step, self.runner
        if runner.stop.is_set():
            raise Interrupted(2)
        parties = Parties(
            source=runner.ends.source(step.source),
            destination=runner.ends.destination(step.destination),
            engine=runner.engine,
            run_id=runner.run_id,
            holder=runner.holder,
            started_at=self.record.started_at,
            progress=TableMeter(runner.bus, self.record.target),
            stop=runner.stop,
            remote=runner.ends.remote(runner.engine, step),
            on_planned=self._say_planned,
        )
        with self._locating(), runner.ends.places(step.source, step.destination):
            started = time.monotonic()
            delivery = deliver(self.table, parties)
            if delivery.receipt is not None:
                receipt = delivery.receipt
                spent = time.monotonic() - started
                runner.bus.emit(LoadCommitted(self.record.target, receipt.load_id, receipt.written, spent))
            return delivery

    @contextmanager
    def _locating(self) -> Iterator[None]:
        """What no connection is blamed for is told with the table's place in the project file."""
        step = self.table.step
        try:
            with self.runner.ends.locating(step.source, step.destination):
                yield
        except Interrupted:
            raise
        except PenstockError as error:
            step.locate(error)
            raise

    def _say_planned(self, prepared: Prepared) -> None:
        plan = prepared.plan
        event = TablePlanned(
            self.record.target, self.record.pipeline, plan.strategy, plan.route, prepared.rows_estimate
        )
        self.runner.bus.emit(event)

    def _may_try_again(self, error: PenstockError) -> bool:
        if isinstance(error, SourceChangedError):
            first, self.replanned = not self.replanned, True
            return first
        self.attempt += 1
        return self.runner._wait_before_retry(self.record.target, error, self.attempt)

    def _look_again(self, step: ReplicateStep | None = None) -> Surveyed:
        return self.runner._survey_group([step or self.table.step])[0]

    def _add(self, delivery: Delivery) -> None:
        tally, receipt = delivery.tally, delivery.receipt
        reached = receipt.position.cursor if receipt else None
        self.attempt = 0
        self.record = replace(
            self.record,
            route=delivery.prepared.plan.route,
            loads=self.record.loads + (receipt is not None),
            rows_read=self.record.rows_read + tally.read,
            rows_written=self.record.rows_written + (receipt.written if receipt else 0),
            rows_deduplicated=self.record.rows_deduplicated
            + tally.deduplicated_in
            + (receipt.deduplicated_out if receipt else 0),
            rows_quarantined=self.record.rows_quarantined + tally.quarantined,
            size_bytes=self.record.size_bytes + tally.size_bytes,
            cursor_after=str(reached) if reached else self.record.cursor_after,
        )

    def _done(self, state: TableState) -> TableOutcome:
        after = self.record.cursor_after or self.record.cursor_before
        return TableOutcome(replace(self.record, state=state, cursor_after=after))

    def fail(self, error: PenstockError) -> TableOutcome:
        told = redactor.redact(str(error))
        return TableOutcome(replace(self.record, state=self._state_of(error), error=told), error)

    def _state_of(self, error: PenstockError) -> TableState:
        if isinstance(error, CommitUnknownError):
            return "unknown"
        if isinstance(error, Interrupted):
            return "partial" if self.record.loads else "stopped"
        if isinstance(error, FencedError | RefusedError):
            return "refused"
        return "partial" if self.record.loads else "failed"


def _printed_cursor(table: Surveyed) -> str | None:
    cursor = table.head.position.cursor if table.head else None
    return str(cursor) if cursor else None


def _unexpected(error: Exception, where: str | None) -> PenstockError:
    """An exception nobody foresaw, told by its place: its own text, which the cause keeps, may hold a row."""
    origin = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" in {Path(origin[0].filename).name}:{origin[0].lineno}" if origin else ""
    internal = PenstockError(
        f"unexpected {type(error).__name__}{place}", where=where, fix="run it again with --debug to see its traceback"
    )
    internal.__cause__ = error
    return internal
