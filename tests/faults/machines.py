"""Random histories of a source, with crashes, against what must always hold.

Every write makes a version of its own (a number that never comes again). Whatever happens: each version reaches the
target at most once, what was delivered stays, and once all is quiet a run brings every row's last version.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

import penstock
from penstock.failpoints import FailpointError
from penstock.testing.project import ProjectFolder
from tests.faults.places import Place

POINTS = (
    "source.opened",
    "begin.epoch_committed",
    "load.piece_written",
    "commit.applied",
    "commit.ledger_written",
    "commit.committed",
    "run.receipt",
    "backend.recorded",
)
IDS = st.integers(1, 5)


class Machine(RuleBasedStateMachine):
    """Insert, update, delete, run, crash. An heir says where, and what else may happen."""

    strategy = "append"

    def __init__(self) -> None:
        super().__init__()
        self.versions = 0
        self.clock = 0
        self.source, self.destination, self.folder = self.make_places()
        self.rows: dict[int, int] = {}  # id -> its last version, as committed
        self.existed: set[tuple[int, int]] = set()
        self.delivered: Counter[tuple[int, int]] = Counter()
        columns = "id bigint PRIMARY KEY, stamp bigint NOT NULL, note bigint, ratio bigint"
        self.source.execute(f"CREATE TABLE rows ({columns})")
        self.project = self.write_project()

    def make_places(self) -> tuple[Place, Place, Path]:
        raise AssertionError("the heir says where")

    @property
    def stream(self) -> str:
        return "rows"

    def write_project(self) -> Path:
        key = "write_key: [id]" if self.strategy == "upsert" else "tags: []"
        how = f"write_strategy: {self.strategy}, {key}"
        incremental = "replication_method: incremental, iterate_column: stamp, iterate_column_type: int"
        return ProjectFolder(self.folder).write(
            f"""
            version: 2
            default_environment: test
            test:
              settings: {{retries: 0}}
              connections: {{here: {self.source.connection()}, there: {self.destination.connection()}}}
              pipelines:
                - name: copy
                  source: here
                  destination: there
                  tables:
                    - {{name: {self.stream}, target_name: rows_copy, {incremental}, {how}}}
            """
        )

    def next_version(self) -> int:
        self.versions += 1
        return self.versions

    def write(self, number: int, stamp: int, execute: Any) -> int:
        """Insert or update a row as a new version; the caller says when it counts as committed."""
        version = self.next_version()
        execute(
            f"INSERT INTO rows VALUES ({number}, {stamp}, {version}, NULL)"
            " ON CONFLICT (id) DO UPDATE SET stamp = excluded.stamp, note = excluded.note"
        )
        return version

    def committed(self, number: int, version: int) -> None:
        self.rows[number] = version
        self.existed.add((number, version))

    @rule(number=IDS, tick=st.integers(0, 1))
    def put(self, number: int, tick: int) -> None:
        self.clock += tick
        self.committed(number, self.write(number, self.clock, self.source.execute))

    @rule(number=IDS)
    def delete(self, number: int) -> None:
        self.source.execute(f"DELETE FROM rows WHERE id = {number}")
        self.rows.pop(number, None)

    @rule()
    def run_well(self) -> None:
        penstock.run(self.project)
        self.look()

    @rule(point=st.sampled_from(POINTS))
    def run_and_crash(self, point: str) -> None:
        os.environ["PENSTOCK_FAULTS"] = f"{point}=raise"
        try:
            penstock.run(self.project)
        except (FailpointError, penstock.PenstockError):
            pass  # a run with nothing to deliver does not reach every point, so that not every one fails
        finally:
            del os.environ["PENSTOCK_FAULTS"]
        self.look()

    def look(self) -> None:
        """What a reader sees now, against what was seen before."""
        seen = self.destination.rows("rows_copy") or Counter()
        now = Counter({(row[0], row[2]): count for row, count in seen.items()})
        assert set(now) <= self.existed, "a row that never was"
        if self.strategy == "append":
            assert max(now.values(), default=1) == 1, "a version came twice"
            assert self.delivered <= now, "a delivered version is gone"
        else:
            assert len({number for number, _ in now}) == now.total(), "a key came twice"
        self.delivered = now

    def teardown(self) -> None:
        """When all is quiet, a run brings the last version of every row."""
        if self.rows:
            penstock.run(self.project)
            self.look()
            assert set(self.rows.items()) <= set(self.delivered), "a committed version was lost"
        assert self.destination.litter() == []


class SessionsMachine(Machine):
    """Adds sessions whose commits overtake one another, stamps that precede them, savepoints and rollbacks."""

    def __init__(self) -> None:
        self.sessions: dict[int, tuple[Any, dict[int, int]]] = {}
        super().__init__()

    def open_session(self) -> Any:
        raise AssertionError("the heir opens sessions")

    @rule(name=st.integers(0, 1), number=st.integers(10, 13), back=st.integers(0, 3), undo=st.booleans())
    def put_in_session(self, name: int, number: int, back: int, undo: bool) -> None:
        if name not in self.sessions:
            self.sessions[name] = (self.open_session(), {})
        session, written = self.sessions[name]
        number += 10 * name  # two sessions never wait for each other's row
        session("SAVEPOINT before_put")
        version = self.write(number, max(0, self.clock - back), session)
        if undo:
            session("ROLLBACK TO SAVEPOINT before_put")
        else:
            written[number] = version

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), keep=st.booleans())
    def end_session(self, data: st.DataObject, keep: bool) -> None:
        self._end(data.draw(st.sampled_from(sorted(self.sessions))), "COMMIT" if keep else "ROLLBACK")

    def _end(self, name: int, how: str) -> None:
        session, written = self.sessions.pop(name)
        session(how)
        if how == "COMMIT":
            for number, version in written.items():
                self.committed(number, version)

    def teardown(self) -> None:
        for name in sorted(self.sessions):
            self._end(name, "COMMIT")
        super().teardown()
