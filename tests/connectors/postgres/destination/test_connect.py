"""Logging in, and what an error says."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import traceback
from dataclasses import replace

import pytest

from penstock.connectors.postgres import loop
from penstock.connectors.postgres.connect import Session
from penstock.errors import ConfigError, LoadError, PenstockError
from penstock.values import Connection, Secret

pytestmark = pytest.mark.postgres


def test_a_session_runs_in_utc_and_utf8_under_our_name(session: Session) -> None:
    row = session.query(
        "SELECT current_setting('timezone'), current_setting('client_encoding'), current_setting('application_name')"
    )
    assert row == [("UTC", "UTF8", "penstock tests")]


def test_a_missing_database_is_a_config_error_that_names_the_connection(database: Connection) -> None:
    with pytest.raises(ConfigError, match=r'database "nowhere" does not exist') as caught:
        Session(replace(database, database="nowhere"), application="tests")
    assert caught.value.where is not None
    assert "connections.warehouse" in caught.value.where
    assert not caught.value.retryable


def test_an_unknown_host_is_not_retried(database: Connection) -> None:
    with pytest.raises(PenstockError, match=r"host|looked up"):
        Session(replace(database, host="no-such-host.invalid", extra={"sslmode": "disable"}), application="tests")


def test_a_refused_connection_is_retryable(database: Connection) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(PenstockError, match="connection refused") as caught:
            Session(replace(database, port=taken.getsockname()[1]), application="tests")
    assert caught.value.retryable


def test_a_server_without_tls_is_refused_when_tls_is_asked_for(database: Connection) -> None:
    with pytest.raises(ConfigError, match="TLS"):
        Session(replace(database, extra={"sslmode": "verify-full"}), application="tests")


def test_a_wrong_password_shows_no_secret_and_a_rotated_one_is_fetched_anew(
    database: Connection, session: Session
) -> None:
    answers = iter(["wrong-secret", "right-secret"])
    held = Secret("vault:db", lambda: next(answers))
    with socket.create_server(("127.0.0.1", 0)) as server:
        seen: list[bytes] = []
        thread = threading.Thread(target=_refuse_logins, args=(server, seen, 2))
        thread.start()
        with pytest.raises(ConfigError, match="password authentication failed") as caught:
            Session(replace(database, port=server.getsockname()[1], password=held), application="tests")
        thread.join()
    assert seen == [b"wrong-secret", b"right-secret"]
    told = "".join(traceback.format_exception(caught.value))
    assert "wrong-secret" not in told
    assert "right-secret" not in told


def _refuse_logins(server: socket.socket, seen: list[bytes], times: int) -> None:
    for _ in range(times):
        link, _ = server.accept()
        with link:
            length = int.from_bytes(link.recv(4), "big")
            link.recv(length - 4)
            link.sendall(b"R\x00\x00\x00\x08\x00\x00\x00\x03")  # clear-text password wanted
            seen.append(link.recv(1000)[5:-1])
            fields = b"SFATAL\0C28P01\0Mpassword authentication failed for user\0\0"
            link.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)


def test_an_error_shows_no_row_value_not_even_in_its_chain(database: Connection) -> None:
    session = Session(database, application="tests", kind=LoadError)
    session.execute("CREATE TABLE people (ssn text NOT NULL, born date NOT NULL)")
    number = "-".join(("123", "45", "6789"))
    with pytest.raises(LoadError) as missing:
        session.execute("INSERT INTO people VALUES ($1, NULL)", number)
    with pytest.raises(LoadError) as garbled:
        session.execute("INSERT INTO people VALUES ('x', $1::text::date)", f'{number} "' + "".join(("and ", "more")))
    with pytest.raises(LoadError) as refused:
        session.execute("INSERT INTO people VALUES ('x', $1)", number)
    session.close()
    told = "".join(line for e in (missing, garbled, refused) for line in traceback.format_exception(e.value))
    assert number not in told
    assert "and more" not in told
    assert "'born'" in missing.value.what
    assert "invalid input syntax for type date" in garbled.value.what
    assert missing.value.fault == "data"


def test_a_session_ended_by_the_server_is_a_transient_error(session: Session, database: Connection) -> None:
    doomed = Session(database, application="tests")
    pid = doomed.query("SELECT pg_backend_pid()")[0][0]
    session.query("SELECT pg_terminate_backend($1)", pid)
    with pytest.raises(PenstockError) as caught:
        doomed.query("SELECT 1")
    assert caught.value.retryable
    doomed.close()


def test_waiting_for_the_loop_on_the_loop_is_our_own_bug_and_raises() -> None:
    async def inner() -> None:
        loop.run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="own thread"):
        loop.run(inner())


def test_an_interrupt_ends_the_statement_at_the_server_too(session: Session, database: Connection) -> None:
    waiting = Session(database, application="interrupted")
    pid = waiting.query("SELECT pg_backend_pid()")[0][0]
    state = "SELECT wait_event::text FROM pg_stat_activity WHERE pid = $1"

    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        while session.query(state, pid) != [("PgSleep",)]:
            pass
        signal.pthread_kill(main, signal.SIGINT)

    # a library that another test imported may have taken the signal over
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            waiting.query("SELECT pg_sleep(60)")
    finally:
        signal.signal(signal.SIGINT, before)
    assert waiting.query("SELECT 1") == [(1,)]
    waiting.close()
