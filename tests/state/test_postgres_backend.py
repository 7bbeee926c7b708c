"""The PostgreSQL backend: the shared suite, and what only a server can do to it."""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import unquote, urlsplit

import pytest

from penstock.connectors.postgres.backend import open_backend
from penstock.connectors.postgres.connect import Session
from penstock.errors import BackendError, ConfigError
from penstock.protocols import Backend
from penstock.state import history
from penstock.testing.backend import BackendSuite, a_run, a_table
from penstock.values import Connection, RunId

pytestmark = pytest.mark.postgres

WRITER = """
import json, sys
from penstock.connectors.postgres.backend import open_backend
from penstock.testing.backend import a_run, a_table
backend = open_backend(json.loads(sys.argv[1]))
backend.start_run(a_run(sys.argv[2]))
for number in range(10):
    backend.record_table(a_table(sys.argv[2], f"t{number}"))
"""


def options_of(url: str, **more: object) -> dict[str, object]:
    parts = urlsplit(url)
    found = {
        "host": parts.hostname,
        "port": parts.port,
        "user": parts.username,
        "password": unquote(parts.password) if parts.password else None,
        "database": parts.path[1:],
    }
    return {**found, **more}


def session_of(url: str) -> Session:
    parts = urlsplit(url)
    return Session(
        Connection("test", "postgres", parts.hostname, parts.port, parts.path[1:], parts.username), application="test"
    )


class TestPostgresBackend(BackendSuite):
    @pytest.fixture(autouse=True)
    def _place(self, postgres_url: str) -> None:
        self.options = options_of(postgres_url)

    def open(self) -> Backend:
        return open_backend(self.options)


def test_eight_processes_make_and_fill_one_history(postgres_url: str) -> None:
    import json

    options = options_of(postgres_url)
    writers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WRITER, json.dumps(options), f"run{n}"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(8)
    ]
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [("", 0)] * 8
    backend = open_backend(options)
    assert sorted(r.run_id for r in backend.runs(100)) == [f"run{n}" for n in range(8)]


def test_the_schema_is_made_with_the_name_given_however_odd(postgres_url: str) -> None:
    odd = 'Odd "schema"; --'
    backend = open_backend(options_of(postgres_url, schema=odd))
    backend.start_run(a_run("a"))
    session = session_of(postgres_url)
    found = session.query("SELECT table_schema FROM information_schema.tables WHERE table_name = 'penstock_runs'")
    session.close()
    assert found == [(odd,)]


def test_a_user_without_the_right_to_create_uses_a_schema_made_for_it(postgres_url: str) -> None:
    session = session_of(postgres_url)
    session.execute("CREATE ROLE historian LOGIN")
    try:
        session.execute("CREATE SCHEMA penstock AUTHORIZATION historian")
        backend = open_backend(options_of(postgres_url, user="historian"))
        backend.start_run(a_run("a"))
        assert [r.run_id for r in backend.runs(1)] == ["a"]
    finally:
        session.execute("DROP OWNED BY historian; DROP ROLE historian")
        session.close()


@pytest.mark.parametrize("version", [0, 1])
def test_a_history_of_every_older_format_is_brought_up_to_date(postgres_url: str, version: int) -> None:
    dialect = history.Dialect(prefix='"penstock".', stamp="timestamptz", count="bigint")
    create, read, _, write = history.version_statements(dialect)
    session = session_of(postgres_url)
    session.execute("CREATE SCHEMA penstock")
    for statement in (create, *(s for step in history.migrations(dialect)[:version] for s in step)):
        session.execute(statement)
    session.execute(write, version)
    backend = open_backend(options_of(postgres_url))
    backend.start_run(a_run("a"))
    assert session.query(read) == [(history.latest(dialect),)]
    assert session.query("SELECT to_regclass('penstock.penstock_runs_newest') IS NOT NULL") == [(True,)]
    session.close()


def test_a_history_of_a_newer_penstock_is_refused_and_left_alone(postgres_url: str) -> None:
    open_backend(options_of(postgres_url))
    session = session_of(postgres_url)
    session.execute("UPDATE penstock.penstock_version SET version = 99")
    with pytest.raises(BackendError, match=r"format 99.*up to 2(.|\n)*upgrade Penstock"):
        open_backend(options_of(postgres_url))
    assert session.query("SELECT version FROM penstock.penstock_version") == [(99,)]
    session.close()


def test_a_session_ended_by_the_server_is_opened_again(postgres_url: str) -> None:
    backend = open_backend(options_of(postgres_url))
    backend.start_run(a_run("a"))
    session = session_of(postgres_url)
    session.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'penstock history'"
    )
    backend.record_table(a_table("a", "orders"))
    found = backend.run(RunId("a"))
    assert found is not None
    assert [t.target for t in found[1]] == ["orders"]
    session.close()


def test_dropping_the_schema_loses_history_and_nothing_else(postgres_url: str) -> None:
    open_backend(options_of(postgres_url)).start_run(a_run("a"))
    session = session_of(postgres_url)
    session.execute("DROP SCHEMA penstock CASCADE")
    assert list(open_backend(options_of(postgres_url)).runs(10)) == []
    session.close()


def test_a_server_that_is_not_there_is_a_transient_backend_error() -> None:
    with pytest.raises(BackendError, match="cannot be reached") as caught:
        open_backend({"host": "127.0.0.1", "port": 1, "password": "swordfish"})
    assert caught.value.retryable
    assert "swordfish" not in str(caught.value)


def test_a_database_that_is_not_there_is_a_config_error_naming_settings_backend(postgres_url: str) -> None:
    with pytest.raises(ConfigError, match=r"settings\.backend"):
        open_backend(options_of(postgres_url, database="nobody_made_this"))


def test_a_closed_backend_opens_again_when_asked(postgres_url: str) -> None:
    backend = open_backend(options_of(postgres_url))
    backend.close()  # type: ignore[attr-defined]
    backend.start_run(a_run("a"))
    assert [r.run_id for r in backend.runs(1)] == ["a"]
