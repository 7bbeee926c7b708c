"""A standalone cluster of two machines, as far as Spark can tell: a master, and workers at two loopback addresses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from tests.engines.spark.conftest import free_port

HOSTS = ("127.0.0.2", "127.0.0.3")


@dataclass
class Cluster:
    folder: Path
    port: int = field(default_factory=free_port)
    web_port: int = field(default_factory=free_port)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def master(self) -> str:
        return f"spark://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns once both workers are there."""
        master = ["master.Master", "--host", "127.0.0.1", "--port", str(self.port), "--webui-port", str(self.web_port)]
        self._start(*master, host="127.0.0.1")
        for host in HOSTS:
            self._start("worker.Worker", "--host", host, "--cores", "1", "--memory", "1g", self.master, host=host)
        deadline = time.monotonic() + 120
        while self._page().count("ALIVE") <= len(HOSTS):  # the master is one more
            assert time.monotonic() < deadline, "the cluster does not come up"
            time.sleep(0.2)

    def kill(self) -> None:
        for process in self.processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self, deployed: str, *arguments: str, host: str) -> None:
        import pyspark

        home = Path(pyspark.__file__).parent
        env = {**os.environ, "SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_HOSTNAME": host}
        env |= {"SPARK_WORKER_DIR": str(self.folder / host), "SPARK_DAEMON_MEMORY": "256m"}
        with (self.folder / f"{host}.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [f"{home}/bin/spark-class", f"org.apache.spark.deploy.{deployed}", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=env,
                    start_new_session=True,
                )
            )

    def _page(self) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}/", timeout=5) as page:
                return str(page.read().decode())
        except OSError:  # not up yet
            return ""
