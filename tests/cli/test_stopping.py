"""Signals: the first asks, the second ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.cli.init import write_project
from penstock.cli.stopping import stop_on_signals

STUBBORN = """
import os, signal, sys, time
from penstock.cli.init import write_project
from penstock.cli.stopping import stop_on_signals
with stop_on_signals() as request:
    print("ready", flush=True)
    while True:
        signal.pause()
"""


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_sets_the_event_and_names_the_exit_code(
    number: signal.Signals, exit_code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as request:
        assert request.exit_code(1) == 1
        os.kill(os.getpid(), number)
        assert request.event.wait(5)
        assert request.exit_code(1) == exit_code
    assert signal.getsignal(number) is before
    assert f"{number.name}: stopping in good order" in capfd.readouterr().err


def test_the_second_signal_ends_the_process() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert "once more" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == -signal.SIGINT


SLOW_START = """
import os, signal, sys
from importlib.abc import MetaPathFinder

module = sys.argv.pop(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell hands down that it is ignored

class Interrupts(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
from penstock.__main__ import start
sys.exit(start())
"""


@pytest.mark.parametrize("module", ["penstock.cli.mistakes", "penstock.cli.run", "penstock.engines.arrow.engine"])
def test_a_stop_before_anything_began_is_told(module: str, tmp_path: Path) -> None:
    write_project(tmp_path)
    command = [sys.executable, "-c", SLOW_START, module, "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "error: stopped before anything was done\n"
