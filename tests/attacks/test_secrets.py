"""A secret is told by nothing: no output, log, history, traceback, nor the locals of any frame of an error."""

from __future__ import annotations

import json
import socket
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.errors import PenstockError
from penstock.testing.project import Ended, ProjectFolder

pytestmark = pytest.mark.feature("M1")

CANARY = "zq7-secret-canary/@:'\"%41"
PIECE = "zq7-secret-canary"
WAYS = {
    "variable": "${CANARY}",
    "part of a text": "x${CANARY}",
    "env": "env:CANARY",
    "file": "file:password.txt",
    "dotenv": "${FROM_DOTENV}",
    "literal": CANARY,
}
SERVER = {"variant": "postgres", "host": "127.0.0.1", "port": 1, "database": "d", "user": "u"}
URL = f"postgresql://u:{PIECE}@h/d"


@contextmanager
def server_that_refuses_the_password() -> Iterator[int]:
    """Asks for the password in clear text, as a hostile server would, and refuses it in the words of PostgreSQL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                with link:
                    link.recv(4096)
                    link.sendall(b"R\0\0\0\x08\0\0\0\x03")
                    said = link.recv(4096)[5:].rstrip(b"\0")
                    fields = b"SFATAL\0C28P01\0Mpassword authentication failed\0Dit was " + said + b"\0\0"
                    link.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def write(folder: Path, connection: Mapping[str, Any], *, writes: bool = False) -> ProjectFolder:
    (folder / "password.txt").write_text(CANARY + "\n")
    (folder / ".env").write_text(f"FROM_DOTENV={PIECE}-dotenv\n")
    beside = {"variant": "sqlite", "database": "beside.db"}
    here, there = (beside, connection) if writes else (connection, beside)
    table = {"name": "t", "target_name": "t"}
    project = {
        "version": 2,
        "default_environment": "dev",
        "dev": {
            "settings": {"retries": 0, "log_dir": "logs"},
            "connections": {"here": here, "there": there},
            "pipelines": [{"name": "p", "source": "here", "destination": "there", "tables": [table]}],
        },
    }
    (folder / "penstock.yaml").write_text(json.dumps(project))
    return ProjectFolder(folder, warm=True)


def run(project: ProjectFolder, *words: str) -> Ended:
    return project.run(*words, env={"CANARY": CANARY})


def kept(project: ProjectFolder) -> list[str]:
    """The files of Penstock's that hold the canary: what the user wrote is aside."""
    own = {"password.txt", ".env", "penstock.yaml"}
    files = (f for f in project.path.rglob("*") if f.is_file() and f.name not in own)
    return [str(f) for f in files if PIECE.encode() in f.read_bytes()]


COMMANDS = (
    ("run", "--verbose", "--debug"),
    ("run", "--json"),
    ("plan", "--debug", "--json"),
    ("check",),
    ("preview", "t", "--debug"),
    ("verify", "--verbose"),
    ("status", "--json"),
    ("runs", "--json"),
    ("show", "last"),
)


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[pytest.mark.faults] if way in ("dotenv", "literal") else []) for way in WAYS]
)
def test_a_refused_password_is_told_by_no_command_and_kept_in_no_file(tmp_path: Path, way: str) -> None:
    with server_that_refuses_the_password() as port:
        project = write(tmp_path, SERVER | {"port": port, "password": WAYS[way]})
        commands = COMMANDS if way == "variable" else COMMANDS[:1]
        said = {words: run(project, *words).said for words in commands}
    assert "password authentication failed" in said[COMMANDS[0]]
    assert [words for words, text in said.items() if PIECE in text] == []
    assert kept(project) == []


FAILURES: dict[str, dict[str, Any]] = {
    "nothing listens": {},
    "unknown host": {"host": "no-such-host.invalid", "extra": {"sslmode": "disable"}},
    "a key that does not exist": {"extra": {"sslmode": "verify-full", "sslcert": "no.pem", "sslkey": CANARY}},
    "a URL for a host": {"host": URL},
    "a URL for a database": {"database": URL},
    "a secret as a number": {"port": "${CANARY}"},
    "a secret as a word": {"extra": {"sslmode": "${CANARY}"}},
    "a secret under a wrong key": {"pasword": CANARY},
    "a secret under a wrong key of extra": {"extra": {"secret": CANARY}},
}


@pytest.mark.parametrize(("failure", "writes"), [(f, n % 2 == 1) for n, f in enumerate(FAILURES)])
def test_a_connection_that_fails_tells_no_secret(tmp_path: Path, failure: str, *, writes: bool) -> None:
    project = write(tmp_path, SERVER | {"password": "${CANARY}"} | FAILURES[failure], writes=writes)
    ended = run(project, "run", "--verbose", "--debug")
    assert ended.exit_code in (1, 2), ended.said
    assert PIECE not in ended.said
    assert kept(project) == []


@pytest.mark.postgres
@pytest.mark.parametrize("writes", [False, True])
def test_a_session_that_is_killed_in_the_middle_tells_no_secret(
    tmp_path: Path, postgres_url: str, *, writes: bool
) -> None:
    host, _, rest = postgres_url.rpartition("@")[2].partition(":")
    port, _, database = rest.partition("/")
    at = {"host": host, "port": int(port), "database": database, "user": "postgres", "password": "${CANARY}"}
    project = write(tmp_path, SERVER | at, writes=writes)
    fill(project, postgres_url, writes=writes)
    point = "load.batch_written" if writes else "source.batch_read"
    faults = f"{point}=pause:{tmp_path}/on@1"
    process = project.start("run", "--verbose", "--debug", faults=faults, env={"CANARY": CANARY})
    while not (tmp_path / "on").exists():
        assert process.poll() is None, process.communicate()
    ask(postgres_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ 'penstock'")
    (tmp_path / "on").unlink()
    stdout, stderr = process.communicate(timeout=60)
    assert PIECE not in stdout + stderr
    assert kept(project) == []


def fill(project: ProjectFolder, url: str, *, writes: bool) -> None:
    import sqlite3

    if not writes:
        ask(url, "CREATE TABLE t AS SELECT n AS id FROM generate_series(1, 10) n")
        return
    with sqlite3.connect(project.path / "beside.db") as link:
        link.execute("CREATE TABLE t AS SELECT 1 AS id")
    link.close()


def ask(url: str, statement: str) -> None:
    import asyncio

    import asyncpg

    async def execute() -> None:
        link = await asyncpg.connect(url)
        await link.execute(statement)
        await link.close()

    asyncio.run(execute())


def everything_told(error: BaseException | None) -> str:
    """The error as the greediest of tracebacks prints it: the whole chain, notes, and each frame's locals."""
    told, seen = "", set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__]
        frames = traceback.TracebackException.from_exception(one, capture_locals=True)
        told += "".join(frames.format(chain=False)) + repr(one) + repr(one.args) + repr(getattr(one, "__dict__", ""))
    return told


@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("failure", ["the password is refused", "nothing listens"])
def test_no_frame_of_an_error_holds_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str, *, writes: bool
) -> None:
    monkeypatch.setenv("CANARY", CANARY)
    with server_that_refuses_the_password() as port:
        at = {"port": port} if failure == "the password is refused" else {}
        project = write(tmp_path, SERVER | at | {"password": "${CANARY}"}, writes=writes)
        with pytest.raises(PenstockError) as caught:
            penstock.run(project.path / "penstock.yaml")
    assert PIECE not in everything_told(caught.value)
