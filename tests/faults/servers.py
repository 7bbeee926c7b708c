"""A PostgreSQL server of one test's own, to be killed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Server:
    """Starts on the same port again after it was killed."""

    binaries: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder}"
        control, log = self.binaries / "pg_ctl", self.folder / "log"
        try:
            self._as_owner(str(control), "-D", str(self.data), "-l", str(log), "-w", "-t", "60", "-o", options, "start")
        except subprocess.CalledProcessError as error:
            error.add_note(log.read_text())
            raise

    def kill(self) -> None:
        """Kill -9 the postmaster and everything it started, and see them gone: until then no other starts."""
        parent = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        killed = [parent, *map(int, children)]
        for process in killed:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{process}").exists() for process in killed):
            assert time.monotonic() < deadline, f"{killed} do not go"
            time.sleep(0.01)

    def initialize(self) -> None:
        command = ["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]
        self._as_owner(str(self.binaries / "initdb"), "-D", str(self.data), *command)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def _as_owner(self, *command: str) -> None:
        """PostgreSQL refuses to run as root."""
        user = "postgres" if os.getuid() == 0 else None
        subprocess.run(
            command, check=True, user=user, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )  # fmt: skip


@contextmanager
def own_server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="penstock-server-"))
    if os.getuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    server = Server(found[-1] if found else Path(str(on_path)).parent, folder, free_port())
    try:
        server.initialize()
        server.start()
        yield server
    finally:
        with suppress(FileNotFoundError):
            server.kill()
        shutil.rmtree(folder)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
