"""The process of PySpark transforms: how it ends, how its end is told, and that nothing is lost by it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from penstock.testing.project import ProjectFolder
from tests.engines.spark.lab import Lab, make_lab
from tests.engines.spark.test_golden import contents, write_transform

pytestmark = pytest.mark.feature("M9")

DIES = """
import os, signal, time
from pathlib import Path

def f(df):
    flag = Path({folder!r}, "flag")
    if df.count() and flag.exists():
        Path({folder!r}, "pid").write_text(str(os.getpid()))
        {act}
    return df.where("id < 15")
"""
KILLS_ITSELF = "os.kill(os.getpid(), signal.SIGKILL)"
WAITS = "time.sleep(600)"


def lab_that(act: str, folder: Path) -> Lab:
    """A lab that has been run once, whose next run does `act` in the process of its transforms."""
    lab = make_lab(folder, [{"target_name": "copy", "transform": "steps/t.py::f"}])
    write_transform(lab, DIES.format(folder=str(folder), act=act))
    lab.write()
    assert ProjectFolder(folder).run("run").exit_code == 0
    lab.fill((3, 30, "changed"))
    (folder / "flag").touch()
    return lab


def waiting(folder: Path, process: subprocess.Popen[str]) -> int:
    """The id of the transforms' process, once it is in the function."""
    deadline = time.monotonic() + 60
    while not (folder / "pid").exists() or not (folder / "pid").read_text():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int((folder / "pid").read_text())


def await_end_of(pid: int) -> None:
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and "zombie" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < deadline, f"process {pid} goes on"
        time.sleep(0.02)


def test_a_killed_process_of_transforms_fails_the_table_and_the_next_run_makes_it_good(tmp_path: Path) -> None:
    lab = lab_that(KILLS_ITSELF, tmp_path / "lab")
    before = contents(lab)
    ended = ProjectFolder(lab.folder).run("run")
    assert ended.exit_code == 1
    assert "the process that computes it ended (signal 9)" in ended.said
    assert "the next run begins it again" in ended.said
    assert "Traceback" not in ended.said
    assert contents(lab) == before
    assert lab.destination.litter() == []
    (lab.folder / "flag").unlink()
    assert ProjectFolder(lab.folder).run("run").exit_code == 0
    assert "changed" in repr(contents(lab))
    assert len(contents(lab)[1]) == 15


def test_a_table_after_a_killed_process_gets_a_new_one(tmp_path: Path) -> None:
    tables = [
        {"target_name": name, "transform": f"steps/t.py::{name}", "pass_on_error": True} for name in ("copy", "other")
    ]
    lab = make_lab(tmp_path / "lab", tables, settings={"threads": 1})
    write_transform(
        lab,
        "import os\ndef copy(df):\n    if df.count():\n        os._exit(3)\n    return df\n"
        "def other(df):\n    return df\n",
    )
    result = lab.run()
    assert list(result.errors) == ["copy"]
    assert "ended (exit code 3)" in str(result.errors["copy"])
    assert sum((lab.rows("other") or {}).values()) == 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_ends_the_process_of_its_transforms(number: signal.Signals, tmp_path: Path) -> None:
    lab = lab_that(WAITS, tmp_path / "lab")
    before = contents(lab)
    process = ProjectFolder(lab.folder).start("run")
    pid = waiting(lab.folder, process)
    process.send_signal(number)
    said = "".join(process.communicate(timeout=60))
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    await_end_of(pid)
    assert contents(lab) == before


def test_the_process_of_transforms_ends_with_a_killed_run(tmp_path: Path) -> None:
    lab = lab_that(WAITS, tmp_path / "lab")
    process = ProjectFolder(lab.folder).start("run")
    pid = waiting(lab.folder, process)
    process.kill()
    process.communicate()
    await_end_of(pid)


def test_the_process_of_transforms_ends_with_its_run(tmp_path: Path) -> None:
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy", "transform": "steps/t.py::f"}])
    text = "import os\nfrom pathlib import Path\ndef f(df):\n    Path(%r).write_text(str(os.getpid()))\n    return df\n"
    write_transform(lab, text % str(lab.folder / "pid"))
    assert not lab.run().errors
    pid = int((lab.folder / "pid").read_text())
    assert pid != os.getpid()
    await_end_of(pid)
