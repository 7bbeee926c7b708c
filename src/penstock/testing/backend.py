"""What every backend must do: inherit BackendSuite, say how to open one, and run it with pytest."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from penstock.protocols import Backend
from penstock.values import RunId, RunRecord, TableRecord

BEGIN = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def a_run(name: str, *, minutes: float = 0) -> RunRecord:
    """A run that started `minutes` after noon."""
    return RunRecord(RunId(name), "shop", "default", "run --tags daily", "running", BEGIN + timedelta(minutes=minutes))


def a_table(run: str, target: str, *, pipeline: str = "orders") -> TableRecord:
    return TableRecord(
        run_id=RunId(run),
        pipeline=pipeline,
        stream=f"public.{target}",
        target=target,
        strategy="append",
        state="running",
        started_at=BEGIN,
    )


class BackendSuite:
    """Each test takes backends from `open()`, which must give the same empty history on every call of one test."""

    def open(self) -> Backend:
        raise AssertionError("the suite's heir says how its backend is opened")

    def test_an_empty_history_has_no_runs(self) -> None:
        assert list(self.open().runs(10)) == []

    def test_a_run_nobody_started_is_none(self) -> None:
        assert self.open().run(RunId("nobody")) is None

    def test_a_started_run_is_read_back_as_it_was(self) -> None:
        backend = self.open()
        backend.start_run(a_run("a"))
        assert backend.run(RunId("a")) == (a_run("a"), [])

    def test_a_finished_run_replaces_the_started_one(self) -> None:
        backend = self.open()
        backend.start_run(a_run("a"))
        done = replace(a_run("a"), state="failed", finished_at=BEGIN + timedelta(seconds=3), error="no such table")
        backend.finish_run(done)
        assert backend.runs(10)[0] == done
        assert len(backend.runs(10)) == 1

    def test_finishing_a_run_whose_start_was_lost_records_it(self) -> None:
        backend = self.open()
        backend.finish_run(replace(a_run("a"), state="succeeded"))
        assert [r.state for r in backend.runs(10)] == ["succeeded"]

    def test_every_field_of_a_table_record_survives(self) -> None:
        backend = self.open()
        backend.start_run(a_run("a"))
        record = replace(
            a_table("a", "orders"),
            state="partial",
            finished_at=BEGIN + timedelta(seconds=9.5),
            route="staged",
            loads=3,
            rows_read=5_000_000_000,
            rows_written=4_999_999_990,
            rows_deduplicated=7,
            rows_quarantined=3,
            size_bytes=1 << 45,
            cursor_before="2026-02-28 00:00:00+00:00",
            cursor_after="2026-03-01 00:00:00+00:00",
            error="line one\nline two: 'quoted' \"twice\" %s ?1 $1",
        )
        backend.record_table(record)
        found = backend.run(RunId("a"))
        assert found is not None
        assert list(found[1]) == [record]

    def test_a_table_record_is_replaced_by_run_pipeline_and_target(self) -> None:
        backend = self.open()
        backend.start_run(a_run("a"))
        backend.record_table(a_table("a", "orders"))
        backend.record_table(replace(a_table("a", "orders"), state="succeeded", rows_read=4))
        backend.record_table(a_table("a", "orders", pipeline="other"))
        found = backend.run(RunId("a"))
        assert found is not None
        assert [(t.pipeline, t.state, t.rows_read) for t in found[1]] == [
            ("orders", "succeeded", 4),
            ("other", "running", 0),
        ]

    def test_a_record_belongs_to_its_run_only(self) -> None:
        backend = self.open()
        backend.start_run(a_run("a"))
        backend.start_run(a_run("b", minutes=1))
        backend.record_table(a_table("a", "orders"))
        found = backend.run(RunId("b"))
        assert found is not None
        assert list(found[1]) == []

    def test_runs_come_newest_first_and_limited(self) -> None:
        backend = self.open()
        for name, minutes in (("b", 2), ("a", 1), ("c", 3)):
            backend.start_run(a_run(name, minutes=minutes))
        assert [r.run_id for r in backend.runs(2)] == ["c", "b"]

    def test_runs_before_a_time_leave_that_time_out(self) -> None:
        backend = self.open()
        for name, minutes in (("a", 1), ("b", 2), ("c", 3)):
            backend.start_run(a_run(name, minutes=minutes))
        newest = backend.runs(1)[0]
        assert [r.run_id for r in backend.runs(10, before=newest.started_at)] == ["b", "a"]

    def test_times_come_back_in_utc_to_the_microsecond(self) -> None:
        backend = self.open()
        backend.start_run(a_run("a"))
        started = backend.runs(1)[0].started_at
        assert (started.utcoffset(), started.microsecond) == (timedelta(0), 123456)

    def test_a_text_no_database_can_store_is_recorded_all_the_same(self) -> None:
        backend = self.open()
        backend.finish_run(replace(a_run("a"), state="failed", error="nul \x00 surrogate \ud800 snow \N{SNOWMAN}"))
        error = backend.runs(1)[0].error
        assert error is not None
        assert error.startswith("nul ")
        assert error.endswith(" snow \N{SNOWMAN}")

    def test_what_one_backend_wrote_another_reads(self) -> None:
        self.open().start_run(a_run("a"))
        assert [r.run_id for r in self.open().runs(10)] == ["a"]

    def test_threads_share_one_backend(self) -> None:
        backend = self.open()
        backend.start_run(a_run("a"))

        def write(number: int) -> None:
            backend.record_table(a_table("a", f"table_{number:03}"))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(64)))
        found = backend.run(RunId("a"))
        assert found is not None
        assert sorted(t.target for t in found[1]) == [f"table_{n:03}" for n in range(64)]
