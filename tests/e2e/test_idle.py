"""A run that finds nothing new: how often it asks the servers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

TABLES = 30
MOST_ROUND_TRIPS = 10


@dataclass(slots=True)
class Asked:
    """One connection: how often its client spoke after the server had, the login and the goodbye left out."""

    turns: int = 0
    speaker: str = ""

    @property
    def round_trips(self) -> int:
        return self.turns - 2


@contextmanager
def counting_proxy(host: str, port: int) -> Iterator[tuple[int, list[Asked]]]:
    connections: list[Asked] = []
    sockets: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket, speaker: str, asked: Asked) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                asked.turns += speaker == "client" and asked.speaker != "client"
                asked.speaker = speaker
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((host, port))
                sockets.extend((client, server))
                connections.append(asked := Asked())
                for arguments in ((client, server, "client", asked), (server, client, "server", asked)):
                    threading.Thread(target=pump, args=arguments, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], connections
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for each in sockets:
            each.close()


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


def write_project(folder: Path, url: str, port: int) -> None:
    parts = urlsplit(url)
    keys = f"variant: postgres, host: 127.0.0.1, port: {port}, user: {parts.username}, database: {parts.path[1:]}"
    tables = "\n".join(
        f"        - {{name: idle_from.t{n}, target_name: t{n}, replication_method: incremental,"
        f" iterate_column: id, iterate_column_type: int}}"
        for n in range(TABLES)
    )
    (folder / "penstock.yaml").write_text(f"""
version: 2
default_environment: dev
dev:
  connections:
    source: {{{keys}, schema: idle_from}}
    target: {{{keys}, schema: idle_to}}
  pipelines:
    - name: idle
      source: source
      destination: target
      tables:
{tables}
""")


def run(folder: Path) -> None:
    command = [sys.executable, "-m", "penstock", "run", "--quiet"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.postgres
def test_an_idle_run_asks_each_server_ten_times_a_connection_whatever_the_tables(
    tmp_path: Path, postgres_url: str
) -> None:
    makes = [f"CREATE TABLE idle_from.t{n} AS SELECT 1::bigint AS id, 'x' AS name" for n in range(TABLES)]
    asyncio.run(execute(postgres_url, "CREATE SCHEMA idle_from", *makes))
    parts = urlsplit(postgres_url)
    assert parts.hostname is not None
    assert parts.port is not None
    write_project(tmp_path, postgres_url, parts.port)
    run(tmp_path)
    with counting_proxy(parts.hostname, parts.port) as (port, connections):
        write_project(tmp_path, postgres_url, port)
        run(tmp_path)
    assert 2 <= len(connections) <= 4
    assert max(asked.round_trips for asked in connections) <= MOST_ROUND_TRIPS
