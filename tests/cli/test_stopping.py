"""Signals: the first asks, the second ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from penstock.cli.stopping import stop_on_signals

STUBBORN = """
import os, signal, sys, time
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
