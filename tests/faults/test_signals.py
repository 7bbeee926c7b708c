"""A signal while a load is read, written or committed: the run ends by it, whole or not at all, and leaves nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.cells import System, make_cell

POINTS = ("source.opened", "begin.epoch_committed", "load.piece_written", "commit.started", "commit.ledger_written")
QUICK = {("sqlite", "commit.ledger_written"), ("duckdb", "load.piece_written"), ("file", "commit.started")}
SYSTEMS: tuple[System, ...] = ("sqlite", "duckdb", "file", "postgres")


def cases() -> list[object]:
    made: list[object] = []
    for system in SYSTEMS:
        for number, point in enumerate(POINTS):
            sent = (signal.SIGTERM, signal.SIGINT)[number % 2]
            marks = [pytest.mark.postgres] if system == "postgres" else []
            if (system, point) not in QUICK:
                marks.append(pytest.mark.faults)
            made.append(pytest.param(system, point, sent, marks=marks, id=f"{system}-{point}-{sent.name}"))
    return made


@pytest.mark.feature("N2")
@pytest.mark.parametrize(("system", "point", "sent"), cases())
def test_a_signal_at_any_moment_leaves_a_whole_load_or_none_and_no_litter(
    system: System, point: str, sent: signal.Signals, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cell = make_cell(system, "append", tmp_path, lambda: str(request.getfixturevalue("postgres_url")))
    assert cell.run().exit_code == 0
    cell.change()
    before = cell.seen()
    paused = cell.start_paused(point)
    paused.process.send_signal(sent)
    ended = paused.resume()
    assert ended.exit_code == 128 + sent or (ended.exit_code == 0 and point.startswith("commit")), ended.said
    cell.check_whole(before, cell.source_rows())
    assert cell.destination.litter() == []
    assert cell.processes() == []
    assert cell.run().exit_code == 0
    cell.check_done()
