"""What all tests share: servers, project folders, hypothesis profiles, and the rule that no skip goes unlisted."""

from __future__ import annotations

import asyncio
import fnmatch
import hashlib
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

pytest.register_assert_rewrite("penstock.testing.suites", "penstock.testing.backend")

from penstock.testing.project import ProjectFolder  # noqa: E402 - after the line that makes its asserts speak

ROOT = Path(__file__).resolve().parent.parent
LISTED_SKIPS = ROOT / "tests" / "skips.txt"

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("search", derandomize=False, deadline=None, max_examples=2_000, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

_databases = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """The URL of a server whose superuser we are, this worker's own; `make services` starts them."""
    second = os.environ.get("PENSTOCK_TEST_POSTGRES_2") if os.environ.get("PYTEST_XDIST_WORKER") == "gw1" else None
    url = second or os.environ.get("PENSTOCK_TEST_POSTGRES")
    if not url:
        pytest.fail("no PostgreSQL to test with: run `make services`, or set PENSTOCK_TEST_POSTGRES")
    return url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A database of this test alone."""
    yield from _fresh_database(postgres_server)


@pytest.fixture(scope="module")
def postgres_module_url(postgres_server: str) -> Iterator[str]:
    """A database the tests of one module share."""
    yield from _fresh_database(postgres_server)


@pytest.fixture
def tmp_project(tmp_path: Path) -> ProjectFolder:
    """A project folder: write its YAML, then run `penstock` in it as a process of its own."""
    return ProjectFolder(tmp_path, warm=True)


def _fresh_database(server: str) -> Iterator[str]:
    name = f"penstock_{os.getpid()}_{next(_databases)}"
    asyncio.run(_execute(server, f'CREATE DATABASE "{name}"'))
    yield f"{server.rpartition('/')[0]}/{name}"
    asyncio.run(_execute(server, f'DROP DATABASE "{name}" WITH (FORCE)'))


async def _execute(url: str, statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def pytest_configure() -> None:
    """Take the servers' addresses from what `.ci/services` wrote for this checkout, unless they are set already."""
    key = hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]
    written = Path(os.environ.get("TMPDIR") or tempfile.gettempdir()) / f"penstock-services-{key}" / "env"
    if written.exists():
        for name, _, value in (line.partition("=") for line in written.read_text().splitlines()):
            os.environ.setdefault(name, value)


def _unlisted_skips(config: pytest.Config) -> list[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter else []
    listed = [line.split(" | ", 1) for line in LISTED_SKIPS.read_text().splitlines() if " | " in line]
    found = []
    for report in reports:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if not any(fnmatch.fnmatchcase(report.nodeid, test) and reason == why for test, why in listed):
            found.append(f"{report.nodeid} | {reason}")
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.exitstatus == pytest.ExitCode.OK and _unlisted_skips(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    unlisted = _unlisted_skips(config)
    if unlisted:
        terminalreporter.section("skips not listed in tests/skips.txt", red=True)
        for line in unlisted:
            terminalreporter.line(line)
