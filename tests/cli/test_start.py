"""The command line before any project: help, version, mistakes in the words, and what it loads to get there."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

from penstock import __version__
from penstock.cli import main
from penstock.cli.group import COMMANDS

HEAVY = ("pyarrow", "pydantic", "duckdb", "rich", "ruamel", "asyncpg", "polars", "pandas", "numpy", "sqlglot")
LOADED = "import sys; print(' '.join(m for m in {heavy!r} if m in sys.modules))"


def penstock(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "penstock", *words], capture_output=True, text=True, check=False)


def loaded_after(statements: str) -> str:
    code = f"{statements}\n{LOADED.format(heavy=HEAVY)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def test_importing_the_cli_loads_nothing_heavy() -> None:
    assert loaded_after("import penstock.cli") == ""


@pytest.mark.parametrize("words", [["--help"], ["--version"], []])
def test_help_and_version_load_nothing_heavy(words: list[str]) -> None:
    assert loaded_after(f"from penstock.cli import main; main({words!r})") == ""


def test_help_lists_every_command_with_its_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, purpose in COMMANDS.items():
        assert f"{name} {purpose}" in shown


def test_h_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-h"]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_help_takes_little_time(capsys: pytest.CaptureFixture[str]) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert penstock("--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with capsys.disabled():
        sys.stdout.write(f" [penstock --help: {spent:.2f} s CPU]")
    assert spent > 0


def test_version_is_the_packages() -> None:
    assert penstock("--version").stdout == f"penstock {__version__}\n"


def test_no_words_at_all_shows_the_help_and_is_a_usage_error() -> None:
    done = penstock()
    assert done.returncode == 2
    assert "Commands:" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plna"], "plan"),
        (["run", "--full-refersh"], "--full-refresh"),
        (["run", "--threads", "many"], "--threads"),
        (["run", "--threads", "0"], "--threads"),
        (["preview"], "TABLE"),
        (["show"], "RUN"),
    ],
)
def test_a_mistake_in_the_words_exits_2_and_says_what_was_meant(words: list[str], said: str) -> None:
    done = penstock(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_a_mistake_in_the_words_is_a_json_object_where_json_was_asked_for() -> None:
    done = penstock("run", "--threads", "many", "--json")
    assert done.returncode == 2
    assert done.stderr == ""
    error = json.loads(done.stdout)["error"]
    assert (error["class"], error["exit_code"], error["fault"]) == ("UsageError", 2, "config")
    assert "--threads" in error["what"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_the_options_all_have(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert main([command, "-h"]) == 0
    assert capsys.readouterr().out == shown
    assert COMMANDS[command].split(";")[0].split(".")[0] in " ".join(shown.split())
    for option in ("--json", "--verbose", "--debug"):
        assert option in shown


def test_a_closed_pipe_behind_the_help_is_no_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "penstock", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def ended(statements: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The console script's way into the process and out of it, after `statements`."""
    code = f"{statements}\nimport sys\nfrom penstock.__main__ import start\nsys.exit(start())"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)


def test_a_long_answer_arrives_whole_before_the_process_ends() -> None:
    answer = ended("", "schema")
    assert answer.returncode == 0
    assert json.loads(answer.stdout)["properties"]


def test_the_exit_code_is_the_command_s() -> None:
    assert ended("", "runn").returncode == 2


def test_what_others_left_for_the_end_of_the_process_is_done() -> None:
    done = ended("import atexit\natexit.register(print, 'closed')", "--version")
    assert "closed" in done.stdout.splitlines()


def test_threads_end_before_the_process_does() -> None:
    slow = "import threading, time\nthreading.Thread(target=lambda: (time.sleep(2), print('written'))).start()"
    assert "written" in ended(slow, "--version").stdout.splitlines()
