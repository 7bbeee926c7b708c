"""The folder that transforms spill to: nobody's but a living process's."""

from __future__ import annotations

import fcntl
from pathlib import Path

from penstock.engines.arrow.workspace import Workspace


def left_behind(place: Path) -> Path:
    """As a killed process leaves it."""
    folder = place / "penstock-work-gone"
    folder.mkdir()
    (folder / "lock").touch()
    (folder / "spilled").write_bytes(b"rows")
    return folder


def test_a_run_that_needs_no_folder_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    folder = left_behind(tmp_path)
    Workspace(1 << 20, 1, tmp_path).close()
    assert not folder.exists()


def test_the_folder_of_a_living_process_stays(tmp_path: Path) -> None:
    folder = left_behind(tmp_path)
    with (folder / "lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        Workspace(1 << 20, 1, tmp_path).close()
        assert (folder / "spilled").exists()


def test_two_workspaces_have_folders_of_their_own_and_take_them_along(tmp_path: Path) -> None:
    one, other = (Workspace(1 << 20, 1, tmp_path) for _ in range(2))
    with one.folder() as first, other.folder() as second:
        assert first.parent != second.parent
    one.close()
    assert [folder.name for folder in tmp_path.iterdir()] == [second.parent.name]
    other.close()
    assert list(tmp_path.iterdir()) == []
