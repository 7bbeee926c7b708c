"""The project as one object: what the CLI, the Python API and later the UI call."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, get_args

from penstock.config import ProjectConfig, load_project
from penstock.config.problems import suggest
from penstock.engines.arrow.fixtures import check_fixtures
from penstock.errors import EXIT_DIFFERENCE, EXIT_DONE, ConfigError, Interrupted, PenstockError, gravest
from penstock.failpoints import failpoint
from penstock.pipeline.compile import compile_steps
from penstock.pipeline.connections import Ends
from penstock.pipeline.describe import plan_table
from penstock.pipeline.engines import ClosableEngine, Engines
from penstock.pipeline.frames import Extracted, Frame, FrameSource, named_load_id
from penstock.pipeline.results import (
    CheckResult,
    Preview,
    ProjectPlan,
    RunOptions,
    RunResult,
    Selection,
    TableStatus,
    TableVerdict,
    TransformCheck,
)
from penstock.pipeline.run import RetryPolicy, Runner, TableOutcome
from penstock.plugins import connector, open_backend
from penstock.protocols import Backend
from penstock.steps.replicate import Parties
from penstock.steps.replicate_step import Reading, ReplicateStep
from penstock.steps.survey import Surveyed, describe_lag
from penstock.steps.verify import Findings, verify_table
from penstock.telemetry.events import Bus, RunFinished, RunStarted
from penstock.telemetry.logs import redactor
from penstock.values import ReadRequest, RunId, RunRecord, RunState, Strategy, StreamName, TableRecord, utc_now

Answer = TypeVar("Answer")
FRAME = "the frame given to load()"
# An embedded database keeps its indices in memory: below this a keyed load of some million rows cannot end.
LEAST_EMBEDDED_BYTES = 512 << 20


class Project:
    """A project file, loaded and checked. Nothing is connected before a method needs it."""

    def __init__(self, config: ProjectConfig) -> None:
        self.config = config
        self._ends = self._open_ends()
        self._engines = Engines(config.settings)
        self._backend: Backend | None = None
        self._guard = threading.RLock()

    def _open_ends(self) -> Ends:
        connections = {name: c.to_connection() for name, c in self.config.used_connections.items()}
        memory = max(self.config.settings.memory, LEAST_EMBEDDED_BYTES)
        staging = self.config.settings.staging
        for variant in {c.variant for c in connections.values()}:
            configure = connector(variant).configure
            if configure is not None:
                configure(memory, str(staging) if staging else None, self.config.settings.lock_wait)
        stands_at = {name: self.config.location(("connections", name)) for name in connections}
        return Ends(connections, frozenset(p.destination for p in self.config.pipelines), stands_at)

    @classmethod
    def open(cls, config: Path | str | None = None, *, environment: str | None = None, legacy: bool = False) -> Project:
        """Raises ConfigError with every mistake of the file at once."""
        path = Path(config) if config is not None else None
        return cls(load_project(path, environment=environment, legacy=legacy))

    def run(
        self,
        selection: Selection | None = None,
        options: RunOptions | None = None,
        *,
        bus: Bus | None = None,
        stop: threading.Event | None = None,
    ) -> RunResult:
        """Run the selected tables. A table's failure is in the result; only what stops them all is raised."""
        selection, options = selection or Selection(), options or RunOptions()
        steps = self.steps(selection, options)
        failpoint("run.config_checked")
        command = _command(selection, options)
        return self._run_steps(steps, command, options, bus or Bus(), stop or threading.Event(), self._ends)

    def _run_steps(
        self,
        steps: Sequence[ReplicateStep],
        command: str,
        options: RunOptions,
        bus: Bus,
        stop: threading.Event,
        ends: Ends,
    ) -> RunResult:
        run = self._start(command, bus, len(steps))
        settings = self.config.settings
        runner = Runner(
            run_id=run.run_id,
            ends=ends,
            engine=self.engine(options),
            backend=self.backend(),
            bus=bus,
            threads=options.threads or settings.threads,
            holder=f"run {run.run_id} of {self.name} on {socket.gethostname()}, process {os.getpid()}",
            retry=RetryPolicy(settings.retries),
            stop=stop,
        )
        try:
            with self._working(ends, options):
                outcomes = runner.run(steps)
        except BaseException as error:
            self._finish(replace(run, state="failed", error=type(error).__name__), bus, 0)
            raise
        return self._conclude(run, outcomes, bus, stopped=stop.is_set())

    def _start(self, command: str, bus: Bus, tables: int) -> RunRecord:
        run_id = RunId(uuid.uuid4().hex[:16])
        run = RunRecord(run_id, self.name, self.config.environment, command, "running", utc_now())
        self.backend().start_run(run)
        bus.emit(RunStarted(run_id, self.name, self.config.environment, tables))
        return run

    def _conclude(self, run: RunRecord, outcomes: Sequence[TableOutcome], bus: Bus, *, stopped: bool) -> RunResult:
        errors = _errors_by_table(outcomes)
        code = gravest(error.exit_code for error in errors.values())
        if stopped and code == 0:
            code = Interrupted(2).exit_code
        state: RunState = "stopped" if stopped else "failed" if errors else "succeeded"
        first = next(iter(errors.values()), None)
        rows = sum(o.record.rows_written for o in outcomes)
        told = redactor.redact(first.what) if first else None
        done = self._finish(replace(run, state=state, error=told), bus, rows)
        records = tuple(o.record for o in outcomes)
        return RunResult(run.run_id, state, run.started_at, done.finished_at or utc_now(), records, code, errors)

    def _finish(self, run: RunRecord, bus: Bus, rows: int) -> RunRecord:
        done = replace(run, finished_at=utc_now())
        self.backend().finish_run(done)
        seconds = ((done.finished_at or run.started_at) - run.started_at).total_seconds()
        bus.emit(RunFinished(run.run_id, run.state, seconds, rows))
        return done

    def plan(self, selection: Selection | None = None, options: RunOptions | None = None) -> ProjectPlan:
        """What a run would do now. Reads heads, columns and bounds; writes nothing."""
        options = options or RunOptions()
        steps = self.steps(selection or Selection(), options)
        with self._working(self._ends, options):
            plans = self._each(steps, plan_table, lambda table: plan_table(table, None), options)
        waiting = tuple(f"{path} at {where} waits for feature {feat}" for path, where, feat in self.config.waiting)
        return ProjectPlan(self.name, self.config.environment, tuple(plans), (*self.config.warnings, *waiting))

    def verify(self, selection: Selection | None = None) -> tuple[TableVerdict, ...]:
        """Compare the selected tables with their ledgers and, where a key allows it, with their sources.

        A table that cannot be looked at is unchecked, with its error; the others are compared.
        """
        options = RunOptions()
        steps = self.steps(selection or Selection(), options)

        def check(table: Surveyed, parties: Parties) -> TableVerdict:
            try:
                return _verdict(table.step, verify_table(table, parties, self._ends.source(table.step.destination)))
            except PenstockError as error:
                table.step.locate(error)
                return _verdict(table.step, Findings("unchecked"), error)

        def refuse(table: Surveyed) -> TableVerdict:
            return _verdict(table.step, Findings("unchecked"), table.error)

        with self._working(self._ends, options):
            return tuple(self._each(steps, check, refuse, options))

    def check(self) -> tuple[CheckResult, ...]:
        """Try every connection that a pipeline names, each in the roles it has there.

        Raises ConfigError before that for tables that cannot be run, such as one whose transform cannot be used.
        """
        if any(pipeline.tables for pipeline in self.config.pipelines):
            self.steps(Selection(), RunOptions())
        sources = {p.source for p in self.config.pipelines}
        destinations = {p.destination for p in self.config.pipelines}
        with ThreadPoolExecutor(max_workers=8) as pool:
            names = sorted(sources | destinations)
            return tuple(pool.map(lambda n: self._check_one(n, n in sources, n in destinations), names))

    def _check_one(self, name: str, reads: bool, writes: bool) -> CheckResult:  # noqa: FBT001 - private, two callers
        variant = self._ends.connection(name).variant
        try:
            with self._ends.locating(name):
                if reads:
                    self._ends.source(name).check()
                if writes:
                    self._ends.destination(name).check()
        except PenstockError as error:
            return CheckResult(name, variant, ok=False, message=str(error), exit_code=error.exit_code)
        roles = " and ".join(r for r, used in (("read", reads), ("write", writes)) if used)
        return CheckResult(name, variant, ok=True, message=f"can {roles}")

    def preview(self, table: str, limit: int = 10) -> Preview:
        """The first rows of a table as its source holds them, before any transform."""
        step = self.steps(Selection(table=table), RunOptions())[0]
        source = self._ends.source(step.source)
        reading = step.reading
        request = ReadRequest(StreamName(reading.stream), query=reading.query, types=reading.types, limit=limit)
        with self._ends.locating(step.source), source.open([request]) as session:
            schema = session.splits[0].schema
            reader = source.reader()
            batches = (batch.rows for split in session.splits for batch in reader.read(split))
            rows = [tuple(row.values()) for rows in batches for row in rows.to_pylist()]
        columns = tuple((f.name, f.type) for f in schema.fields)
        return Preview(str(reading.stream), columns, tuple(rows[:limit]))

    def test(self) -> tuple[TransformCheck, ...]:
        """Run every transform of the project on the fixture rows kept beside it."""
        used = dict.fromkeys(t.transform for p in self.config.pipelines for t in p.tables if t.transform)
        folder, frame = str(self.config.base_dir), self.config.settings.transform_frame
        engine = self.engine(RunOptions())
        try:
            found = [
                check
                for reference in used
                for check in check_fixtures(reference, folder, default_frame=frame, load=engine.load_transform)
            ]
        finally:
            engine.close()
        return tuple(TransformCheck(c.file, c.function, c.case, c.ok, c.message) for c in found)

    def status(self, selection: Selection | None = None) -> tuple[TableStatus, ...]:
        """Where each table stands by its destination's ledger; the run history adds what it remembers."""
        steps = self.steps(selection or Selection(), RunOptions())
        return tuple(self._status(table) for _, table in sorted(self._numbered(steps), key=lambda found: found[0]))

    def _status(self, table: Surveyed) -> TableStatus:
        head, writing = table.head, table.step.writing
        return TableStatus(
            pipeline=table.step.pipeline,
            target=str(writing.target),
            state=_state_of(table),
            cursor=str(head.position.cursor) if head and head.position.cursor else None,
            generation=head.generation if head else None,
            sequence=head.sequence if head else None,
            changed_at=head.changed_at if head else None,
            horizon_lag=_printed_lag(table),
            last_run=self._last_run(table.step),
            owner=head.owner if head and head.owner != table.step.owner else None,
            error=str(table.error) if table.error else None,
            exit_code=table.error.exit_code if table.error else EXIT_DONE,
        )

    def _last_run(self, step: ReplicateStep) -> TableRecord | None:
        for run in self.backend().runs(20):
            found = self.backend().run(run.run_id)
            for record in found[1] if found else ():
                if (record.pipeline, record.target) == (step.pipeline, str(step.writing.target)):
                    return record
        return None

    def extract(self, table: str, selection: Selection | None = None, options: RunOptions | None = None) -> Extracted:
        """The rows the next run of a table would read; no transform, and no cursor moves."""
        options = options or RunOptions()
        try:
            step = self._one_step(table, selection, options)
        finally:
            self.engine(options).close()  # which may have looked at a session, to compile a transform
        found = self._survey([step])[0]
        if found.error is not None or found.request is None:
            raise found.error or PenstockError(f"{table} could not be surveyed")
        source, request = self._ends.source(step.source), replace(found.request, chain_rows=None, set_aside=False)
        engine = self._engines.apart(options)  # which its own close() ends, and no run of this project
        if engine is None:
            return Extracted(lambda: source.open([request]), source.reader())
        reader = self._ends.reader_elsewhere(engine, step.source)
        return Extracted(
            lambda: source.open([request]),
            source.reader(),
            lambda splits: engine.frame_of(reader, splits),
            engine.close,
        )

    def register_spark(self, session: object) -> None:
        """Make the connections of the pipelines readable by `session.read.format("penstock")`."""
        engine = self._engines.apart(RunOptions(spark=session))
        engine.offer(tuple(self._ends.connections.values()))

    def load(
        self,
        table: str,
        frame: Frame,
        *,
        write_mode: Strategy | None = None,
        load_id: str | None = None,
        selection: Selection | None = None,
    ) -> RunResult:
        """Load a frame into a table of the project, by the table's strategy unless `write_mode` is given.

        With `load_id` the same id is taken in once, however often it is repeated. No transform runs, no cursor moves.
        """
        step = self._one_step(table, selection, RunOptions())
        if write_mode is not None and write_mode not in get_args(Strategy):
            raise ConfigError(f"unknown write_mode {write_mode!r}", fix=suggest(write_mode, get_args(Strategy)))
        writing = replace(step.writing, strategy=write_mode or step.writing.strategy)
        if writing.strategy in ("upsert", "merge", "delete_insert") and not writing.key:
            raise ConfigError(f"{writing.strategy} of a frame needs write_key", where=step.where, fix="set write_key")
        named = named_load_id(str(writing.target), load_id) if load_id is not None else None
        step = replace(
            step,
            reading=Reading(step.reading.stream, types=step.reading.types, batch_rows=step.reading.batch_rows),
            writing=writing,
            transform=None,
            error=None,
            load_id=named,
        )
        ends = Ends(self._ends.connections, stands_at=self._ends.stands_at)
        taken = named is not None and ends.destination(step.destination).ledger().find(named) is not None
        with nullcontext(frame) if taken else self._engines.arrow_of(frame) as given:
            ends.lend(FRAME, FrameSource(given, step.reading.stream))
            steps = [] if taken else [replace(step, source=FRAME)]
            result = self._run_steps(steps, f"load {table}", RunOptions(), Bus(), threading.Event(), ends)
        return self._with_repeat(result, step) if taken else result

    def _with_repeat(self, result: RunResult, step: ReplicateStep) -> RunResult:
        """The table is told of as idle: what was named is in already."""
        target, strategy = str(step.writing.target), step.writing.strategy
        stream, times = str(step.reading.stream), (result.started_at, result.finished_at)
        record = TableRecord(result.run_id, step.pipeline, stream, target, strategy, "idle", *times)
        self.backend().record_table(record)
        return replace(result, tables=(record,))

    def _one_step(self, table: str, selection: Selection | None, options: RunOptions) -> ReplicateStep:
        chosen = replace(selection or Selection(), table=table)
        steps = self.steps(chosen, options)
        named = [s for s in steps if table in (str(s.writing.target), s.writing.target.name)]
        steps = named if len(named) == 1 else steps  # a target's own name, though others read a stream of that name
        if len(steps) > 1:
            found = ", ".join(f"{s.pipeline}: {s.writing.target}" for s in steps)
            raise ConfigError(
                f"{table!r} names {len(steps)} tables: {found}", fix="name the pipeline, or the target name"
            )
        return steps[0]

    def steps(self, selection: Selection, options: RunOptions) -> list[ReplicateStep]:
        """The compiled steps. Raises ConfigError when nothing is selected or an engine is not available."""
        engine = self.engine(options)
        return compile_steps(self.config, selection, options, lambda: engine)

    @contextmanager
    def _working(self, ends: Ends, options: RunOptions) -> Iterator[None]:
        """Give back what was kept, the engine's memory and temporary files at the end; they open again when asked."""
        try:
            with ends.kept_open():
                yield
        finally:
            self.engine(options).close()

    def engine(self, options: RunOptions) -> ClosableEngine:
        return self._engines.of(options)

    def backend(self) -> Backend:
        with self._guard:
            if self._backend is None:
                options = self.config.settings.backend.to_options(self.config.base_dir)
                self._backend = open_backend(self.config.settings.backend.variant, options)
            return self._backend

    @property
    def name(self) -> str:
        return self.config.project or self.config.path.stem

    def _each(
        self,
        steps: Sequence[ReplicateStep],
        act: Callable[[Surveyed, Parties], Answer],
        give_up: Callable[[Surveyed], Answer],
        options: RunOptions,
    ) -> list[Answer]:
        """Survey the steps group by group and act on each table, in the order of the steps."""
        results: dict[int, Answer] = {}
        for index, table in self._numbered(steps):
            try:
                parties = self._parties(table.step, options) if table.error is None else None
            except PenstockError as error:  # an engine that cannot reach one of the ends
                table, parties = replace(table, error=error), None  # noqa: PLW2901 - the same table, and what is wrong
            results[index] = act(table, parties) if parties is not None else give_up(table)
        return [results[i] for i in range(len(steps))]

    def _numbered(self, steps: Sequence[ReplicateStep]) -> Iterator[tuple[int, Surveyed]]:
        for indices, tables in self._surveyed(steps):
            yield from zip(indices, tables, strict=True)

    def _surveyed(self, steps: Sequence[ReplicateStep]) -> Iterator[tuple[list[int], list[Surveyed]]]:
        groups: dict[tuple[str, str], list[int]] = {}
        for index, step in enumerate(steps):
            groups.setdefault((step.source, step.destination), []).append(index)
        for indices in groups.values():
            yield indices, self._survey([steps[i] for i in indices])

    def _survey(self, steps: Sequence[ReplicateStep]) -> list[Surveyed]:
        """Where two ends cannot be asked, each of their tables has that error, and the other tables are seen."""
        try:
            return self._ends.survey(steps)
        except PenstockError as error:
            return [Surveyed(step, error=error) for step in steps]

    def _parties(self, step: ReplicateStep, options: RunOptions) -> Parties:
        engine = self.engine(options)
        return Parties(
            source=self._ends.source(step.source),
            destination=self._ends.destination(step.destination),
            engine=engine,
            remote=self._ends.remote(engine, step),
            run_id=RunId("plan"),
            holder="plan",
            started_at=utc_now(),
        )


def _errors_by_table(outcomes: Sequence[TableOutcome]) -> dict[str, PenstockError]:
    """By target; two destinations may have a table of the same name, which its pipeline then tells apart."""
    names = [o.record.target for o in outcomes]
    return {
        f"{o.record.pipeline}: {name}" if names.count(name) > 1 else name: o.error
        for o, name in zip(outcomes, names, strict=True)
        if o.error is not None
    }


def _state_of(table: Surveyed) -> str:
    if not table.ledger_read:
        return "unknown"
    return "never loaded" if table.head is None or table.head.load_id is None else table.head.state


def _printed_lag(table: Surveyed) -> str | None:
    """The lag in seconds; named in full once it is longer than the project accepts."""
    if table.bounds is None or table.bounds.position is None or table.bounds.position.horizon is None:
        return None
    return describe_lag(table.step, table.bounds) or f"{table.bounds.lag_seconds:.0f} s"


def _verdict(step: ReplicateStep, found: Findings, error: PenstockError | None = None) -> TableVerdict:
    return TableVerdict(
        pipeline=step.pipeline,
        target=str(step.writing.target),
        state=found.state,
        rows_target=found.rows_target,
        rows_ledger=found.rows_ledger,
        rows_source=found.rows_source,
        changed_since=found.changed_since,
        missing=found.missing,
        extra=found.extra,
        different=found.different,
        sample=found.sample,
        error=str(error) if error else None,
        notes=found.notes,
        exit_code=_verdict_code(found, error),
    )


def _verdict_code(found: Findings, error: PenstockError | None) -> int:
    if found.state == "different":
        return EXIT_DIFFERENCE
    return error.exit_code if error else EXIT_DONE


def _command(selection: Selection, options: RunOptions) -> str:
    """The run as a command line, for the history."""
    words = ["run"]
    for flag, value in (("--pipeline", selection.pipeline), ("--table", selection.table), ("--limit", options.limit)):
        words += [flag, str(value)] if value is not None else []
    words += ["--tags", ",".join(selection.tags)] if selection.tags else []
    return " ".join([*words, *(["--full-refresh"] if options.full_refresh else [])])
