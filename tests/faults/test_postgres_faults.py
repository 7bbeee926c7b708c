"""What only a server can do to a run: swallow the reply to COMMIT, die, end its session while it sleeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.cells import Cell, Strategy, finish, make_cell
from tests.faults.places import PostgresPlace
from tests.faults.proxy import proxied
from tests.faults.servers import own_server

SOME_STRATEGIES = ["upsert", *(pytest.param(strategy, marks=pytest.mark.faults) for strategy in ("append", "replace"))]
pytestmark = pytest.mark.postgres


def postgres_cell(strategy: Strategy, folder: Path, url: str) -> tuple[Cell, PostgresPlace]:
    cell = make_cell("postgres", strategy, folder, lambda: url)
    assert isinstance(cell.destination, PostgresPlace)
    return cell, cell.destination


@pytest.mark.feature("N2")
@pytest.mark.parametrize("strategy", SOME_STRATEGIES)
def test_a_lost_reply_to_commit_is_resolved_by_the_ledger(
    strategy: Strategy, tmp_path: Path, postgres_url: str
) -> None:
    cell, there = postgres_cell(strategy, tmp_path, postgres_url)
    host, port, _ = there.parts()
    with proxied(host, int(port)) as proxy:
        there.address = proxy.address
        cell.write_project()
        for trigger in (None, b"COMMIT", b"COMMIT"):
            if cell.ledgers:
                cell.change_again()
            proxy.swallow = trigger
            done = cell.run()
            assert done.exit_code == 0, done.said
            cell.check_done()
    assert proxy.swallowed == 2


@pytest.mark.feature("N2")
@pytest.mark.claims("error:CommitUnknownError", "exit:5")
def test_a_commit_that_nobody_can_be_asked_about_exits_5_and_the_next_run_finds_out(
    tmp_path: Path, postgres_url: str
) -> None:
    cell, there = postgres_cell("append", tmp_path, postgres_url)
    host, port, _ = there.parts()
    with proxied(host, int(port), swallow=None) as proxy:
        there.address = proxy.address
        cell.write_project()
        file = cell.project.path / "penstock.yaml"
        file.write_text(file.read_text().replace("lock_wait: 20", "lock_wait: 1"))
        assert cell.run().exit_code == 0
        cell.change_again()
        lost = cell.start_paused("commit.ledger_written")
        proxy.shut, proxy.swallow = True, b"COMMIT"
        ended = lost.resume()
        assert ended.exit_code == 5, ended.said
        assert proxy.swallowed == 1
        proxy.shut = False
        done = cell.run()
        assert done.exit_code == 0, done.said
        cell.check_done()


@pytest.mark.feature("N2")
@pytest.mark.parametrize(
    "point",
    [
        "commit.ledger_written",
        pytest.param("begin.epoch_committed", marks=pytest.mark.faults),
        pytest.param("load.piece_written", marks=pytest.mark.faults),
        pytest.param("commit.committed", marks=pytest.mark.faults),
    ],
)
def test_a_server_killed_under_a_run_loses_and_doubles_nothing(point: str, tmp_path: Path) -> None:
    with own_server() as server:
        cell, _ = postgres_cell("append", tmp_path, server.url)
        before, after = cell.seen(), cell.source_rows()
        paused = cell.start_paused(point)
        server.kill()
        ended = paused.resume()
        assert (ended.exit_code == 0) == (point == "commit.committed"), ended.said
        server.start()
        cell.check_whole(before, after)
        done = cell.run()
        assert done.exit_code == 0, done.said
        cell.check_done()


@pytest.mark.feature("N2")
@pytest.mark.parametrize("strategy", SOME_STRATEGIES)
def test_a_zombie_whose_session_was_ended_while_it_slept_commits_nothing(
    strategy: Strategy, tmp_path: Path, postgres_url: str
) -> None:
    cell, there = postgres_cell(strategy, tmp_path, postgres_url)
    zombie = cell.start_paused("commit.started")
    there.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    done = cell.run()
    assert done.exit_code == 0, done.said
    in_by_now = cell.source_rows()
    cell.check_ledger()
    zombie.resume()
    assert cell.seen() == in_by_now
    cell.check_done()


@pytest.mark.feature("N2")
def test_two_runs_at_once_load_each_row_once(tmp_path: Path, postgres_url: str) -> None:
    cell, _ = postgres_cell("append", tmp_path, postgres_url)
    first = cell.start_paused("load.piece_written")
    others = [cell.start() for _ in range(2)]
    ends = [first.resume(), *(finish(other) for other in others)]
    assert [end.exit_code for end in ends] == [0, 0, 0], ends
    cell.check_done()


@pytest.mark.feature("N2")
@pytest.mark.claims("error:FencedError", "exit:4")
def test_the_second_run_is_refused_naming_the_holder_once_the_wait_is_over(tmp_path: Path, postgres_url: str) -> None:
    cell, _ = postgres_cell("append", tmp_path, postgres_url)
    file = cell.project.path / "penstock.yaml"
    file.write_text(file.read_text().replace("lock_wait: 20", "lock_wait: 1"))
    first = cell.start_paused("commit.started")
    second = cell.run()
    assert second.exit_code == 4
    assert str(first.process.pid) in second.said
    ended = first.resume()
    assert ended.exit_code == 0, ended.said
    cell.check_done()
