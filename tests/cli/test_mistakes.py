"""Errors on their way out: whole for programs, one line for people, and no secret in either."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.cli.mistakes import ExplainedError, error_to_json, explain_unexpected, print_error, print_json_error
from penstock.errors import FencedError, LoadError
from penstock.values import Secret

PASSWORD = "correct-horse-9"


@pytest.fixture(autouse=True)
def _reveal() -> None:
    Secret("env:PASSWORD", lambda: PASSWORD).reveal()


def raised() -> Exception:
    try:
        raise KeyError(f"row with {PASSWORD} in it")
    except KeyError as error:
        return error


def test_an_error_keeps_what_a_program_needs() -> None:
    error = FencedError("held by run 7", where="orders", fix="wait", retryable=True, fault="transient")
    assert error_to_json(error) == {
        "class": "FencedError",
        "what": "held by run 7",
        "where": "orders",
        "fix": "wait",
        "fault": "transient",
        "retryable": True,
        "exit_code": 4,
    }


def test_no_secret_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    error = LoadError(f"login with {PASSWORD}", where=f"pg://u:{PASSWORD}@h", fix=f"not {PASSWORD}")
    print_error(str(error))
    print_json_error(error_to_json(error))
    out, err = capsys.readouterr()
    assert PASSWORD not in out + err
    assert json.loads(out)["error"]["what"] == "login with ***"
    assert err.startswith("error: login with ***\n  at: pg://u:***@h\n")


def test_control_characters_in_an_error_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("no table \x1b[2Jorders")
    assert "\x1b" not in capsys.readouterr().err


def test_an_unexpected_exception_becomes_one_line_and_a_private_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    explained = explain_unexpected(raised())
    assert explained.what.startswith("unexpected KeyError in test_mistakes.py:")
    assert "row with" not in str(explained)
    assert explained.log is not None
    assert explained.log.parent == tmp_path
    assert explained.log.stat().st_mode & 0o777 == 0o600
    text = explained.log.read_text()
    assert "Traceback" in text
    assert PASSWORD not in text
    assert str(explained.log) in str(explained)


def test_an_unexpected_exception_where_nothing_can_be_written_points_to_debug(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    explained = explain_unexpected(raised())
    assert explained.log is None
    assert "--debug" in str(explained)


def test_an_unexpected_exception_is_told_to_programs_too() -> None:
    told = error_to_json(ExplainedError("unexpected KeyError", Path("/tmp/x.log")))
    assert (told["class"], told["exit_code"], told["details"]) == ("UnexpectedError", 1, "/tmp/x.log")
