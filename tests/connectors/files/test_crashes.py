"""A process killed anywhere in a load: the next run leaves exactly the source's rows, and no litter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import FencedError, LoadError, SourceChangedError
from penstock.failpoints import FailpointError
from penstock.testing.loads import account_for, write
from penstock.testing.suites.rows import SCHEMA, as_table, make_rows
from penstock.values import TableName
from tests.connectors.files.lake import Lake

pytestmark = pytest.mark.feature("N2", "M11r")

POINTS = (
    "load.target_created",
    "begin.locked",
    "begin.epoch_written",
    "begin.epoch_committed",
    "load.stage_created",
    "load.batch_written",
    "load.piece_written",
    "load.piece_committed",
    "commit.started",
    "commit.schema_changed",
    "files.part_renamed",
    "files.part_renamed@2",
    "commit.applied",
    "files.manifest_written",
    "commit.ledger_written",
    "files.manifest_renamed",
    "commit.committed",
    "commit.cleaned",
    "abort.started",
)

# These in every run of the tests, all of them in `make test-faults`.
SAMPLE = {
    ("append", "begin.epoch_written"),
    ("append", "load.piece_committed"),
    ("append", "files.part_renamed"),
    ("append", "files.manifest_written"),
    ("append", "files.manifest_renamed"),
    ("replace", "files.part_renamed@2"),
    ("replace", "files.manifest_renamed"),
    ("replace", "commit.committed"),
}
CELLS = [
    pytest.param(strategy, point, marks=() if (strategy, point) in SAMPLE else pytest.mark.faults)
    for strategy in ("append", "replace")
    for point in POINTS
]

# One load of rows 10 to 30 in two splits, unless the ledger says that it is in: what a run does.
LOAD = """
import sys
from pathlib import Path
from penstock.testing.loads import Loads, account_for, write
from penstock.testing.suites.rows import SCHEMA, as_table, make_rows
from penstock.values import TableName
from tests.connectors.files.lake import Lake

lake = Lake(Path(sys.argv[1]))
loads = Loads(lake.destination, TableName(None, "t"), lock_wait_seconds=20)
head = lake.destination.ledger().heads([loads.target]).get(loads.target)
if head is None or head.sequence < 2:
    session = loads.destination.begin(loads.plan(SCHEMA, sys.argv[2]))
    try:
        pieces = [write(session, str(i), as_table(make_rows(10 * i, 10 * i + 10)), batch_rows=4) for i in (1, 2)]
        session.commit(pieces, account_for(pieces))
    finally:
        session.abort()
"""


def run_load(root: Path, strategy: str, faults: str = "") -> int:
    here = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PENSTOCK_FAULTS": faults, "PYTHONPATH": f"{here / 'src'}{os.pathsep}{here}"}
    done = subprocess.run([sys.executable, "-c", LOAD, str(root), strategy], env=environment, check=False)
    return done.returncode


def ids(lake: Lake) -> Counter[int]:
    return Counter(row["id"] for row in lake.read())


def files_below(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


def check_clean(lake: Lake) -> None:
    manifest = json.loads((lake.root / "t" / "_penstock" / "manifest.json").read_text())
    expected = {f"t/{part['path']}" for part in manifest["parts"]}
    assert files_below(lake.root) == expected | {"t/_penstock/lock", "t/_penstock/manifest.json"}


@pytest.mark.claims(*{point.partition("@")[0] for point in POINTS})
@pytest.mark.parametrize(("strategy", "point"), CELLS)
def test_a_run_killed_anywhere_is_made_good_by_the_next(lake: Lake, point: str, strategy: str) -> None:
    lake.deliver(as_table(make_rows(0, 10)))
    before, after = Counter(range(10)), Counter(range(10, 30))
    if strategy == "append":
        after += before
    name, _, hit = point.partition("@")
    assert run_load(lake.root, strategy, f"{name}=kill" + (f"@{hit}" if hit else "")) == -signal.SIGKILL
    assert ids(lake) in (before, after)
    assert run_load(lake.root, strategy) == 0
    assert ids(lake) == after
    lake.loads().destination.begin(lake.loads().plan(SCHEMA)).abort()
    check_clean(lake)


def test_a_killed_first_load_leaves_no_table(lake: Lake) -> None:
    assert run_load(lake.root, "append", "files.manifest_written=kill") == -signal.SIGKILL
    target = TableName(None, "t")
    assert lake.destination.describe([target]) == {target: None}


def test_two_processes_load_one_after_the_other(lake: Lake) -> None:
    lake.deliver(as_table(make_rows(0, 10)))
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(run_load(lake.root, "append"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Whoever came second was fenced by a moved head, or saw the load in the ledger: it wrote nothing either way.
    assert 0 in codes
    assert ids(lake) == Counter(range(30))
    check_clean(lake)


def test_a_load_overtaken_in_its_sleep_cannot_commit(lake: Lake) -> None:
    loads = lake.loads()
    sleeper = lake.destination.begin(loads.plan(SCHEMA))
    piece = write(sleeper, "0", as_table(make_rows(0, 5)))
    sleeper._lock.release()  # as if its machine had lost the lock
    lake.deliver(as_table(make_rows(100, 105)))
    with pytest.raises(FencedError):
        sleeper.commit([piece], account_for([piece]))
    sleeper.abort()
    assert ids(lake) == Counter(range(100, 105))
    check_clean(lake)


def test_readers_never_see_a_replace_half_done(lake: Lake) -> None:
    """A reader that comes while files are swapped reads whole generations, or is told to come again."""
    lake.deliver(as_table(make_rows(0, 10)), "replace")
    stop = threading.Event()
    seen: list[Counter[int]] = []

    def look() -> None:
        while not stop.is_set():
            try:
                seen.append(ids(lake))
            except SourceChangedError:
                continue

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(1, 41):
            lake.deliver(as_table(make_rows(number * 10, number * 10 + 10)), "replace")
    finally:
        stop.set()
        reader.join()
    whole = {frozenset(range(n * 10, n * 10 + 10)) for n in range(41)}
    assert seen
    assert all(frozenset(found) in whole and found.total() == 10 for found in seen)


def test_a_disk_that_refuses_the_manifest_leaves_the_table_as_it_was(lake: Lake) -> None:
    lake.deliver(as_table(make_rows(0, 5)))
    loads = lake.loads()
    session = loads.destination.begin(loads.plan(SCHEMA))
    piece = write(session, "0", as_table(make_rows(5, 9)))
    blocker = lake.root / "t" / "_penstock" / "manifest.json.tmp"
    blocker.mkdir()
    with pytest.raises(LoadError, match="cannot be committed"):
        session.commit([piece], account_for([piece]))
    session.abort()
    blocker.rmdir()
    assert ids(lake) == Counter(range(5))
    check_clean(lake)
    lake.deliver(as_table(make_rows(5, 9)))
    assert ids(lake) == Counter(range(9))
    check_clean(lake)


@pytest.mark.parametrize("point", ["files.part_renamed", "files.manifest_written", "files.manifest_renamed"])
def test_an_error_in_the_commit_leaves_the_old_table_or_the_new_and_no_litter(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    lake.deliver(as_table(make_rows(0, 5)), "replace")
    monkeypatch.setenv("PENSTOCK_FAULTS", f"{point}=raise")
    with pytest.raises(FailpointError):
        lake.deliver(as_table(make_rows(5, 9)), "replace")
    monkeypatch.delenv("PENSTOCK_FAULTS")
    assert ids(lake) == Counter(range(5, 9) if point == "files.manifest_renamed" else range(5))
    check_clean(lake)


def test_a_failed_batch_leaves_no_open_file_and_no_litter(lake: Lake) -> None:
    loads = lake.loads()
    session = loads.destination.begin(loads.plan(SCHEMA))

    def breaking() -> Any:
        yield from ()
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        session.write("0", 1, breaking())  # type: ignore[arg-type]
    session.abort()
    assert files_below(lake.root) == {"t/_penstock/lock", "t/_penstock/manifest.json"}
