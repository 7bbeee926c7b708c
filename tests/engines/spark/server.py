"""A Spark Connect server as a process of its own, which asks for a token."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow

TOKEN = "s3cret-token-of-the-server"


@dataclass
class ConnectServer:
    process: subprocess.Popen[bytes]
    port: int

    @property
    def address(self) -> str:
        return f"sc://localhost:{self.port}"  # to no other name is a token sent without TLS

    @property
    def url(self) -> str:
        return f"{self.address}/;token={TOKEN}"

    def kill(self) -> None:
        """As a machine that is gone: the JVM and every worker of it at once."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start_server(
    folder: Path, port: int, settings: dict[str, str], master: str = "local[2,2]", python: str = sys.executable
) -> ConnectServer:
    """Answers when this returns. `folder` takes its log; `python` is that of the tasks."""
    import pyspark

    home = Path(pyspark.__file__).parent
    conf = {
        **settings,
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
    }
    command = [f"{home}/bin/spark-submit", "--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
    options = [word for key, value in conf.items() for word in ("--conf", f"{key}={value}")]
    env = {
        **os.environ,
        "SPARK_HOME": str(home),
        "PYSPARK_PYTHON": python,
        "SPARK_CONNECT_AUTHENTICATE_TOKEN": TOKEN,
    }
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--master", master, *options, "spark-internal"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            start_new_session=True,
        )
    server = ConnectServer(process, port)
    try:
        _wait_for(server, folder / "server.log")
    except BaseException:
        server.kill()
        raise
    return server


def _wait_for(server: ConnectServer, log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        with socket.socket() as link:
            if link.connect_ex(("127.0.0.1", server.port)) == 0:
                return
        assert server.process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def python_without_penstock(folder: Path) -> Path:
    """This Python with every package that is installed for it, but not ours."""
    packages = folder / "packages"
    packages.mkdir(parents=True)
    for installed in Path(pyarrow.__file__).parents[1].iterdir():
        if installed.suffix != ".pth" and not installed.name.startswith(("penstock", "_penstock")):
            (packages / installed.name).symlink_to(installed)
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{packages}:$PYTHONPATH" exec {sys.executable} -S "$@"\n')
    program.chmod(0o755)
    return program
