"""The process that computes PySpark transforms, seen from the run that started it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from penstock.errors import ConfigError, PenstockError, TransformError

_CHILD: Final = "penstock.engines.spark.sail.child"
_START_SECONDS: Final = 120  # half a second when the machine is idle
_END_SECONDS: Final = 5


class SailError(Exception):
    """What the process said of an error; it may quote rows, so only --debug shows it."""


class SailProcess:
    """Started at once. Orders are carried out in the order of `ask`, several at a time. Safe to use from many threads.

    It is no child that inherits anything but its end of a socket, and that socket's end is its own.
    """

    def __init__(self, memory_bytes: int, threads: int, spill: Path) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-P", "-m", _CHILD, str(theirs.fileno()), str(threads)]
            self._process = subprocess.Popen(  # noqa: S603 - this package's own module
                command,
                stdin=subprocess.DEVNULL,
                env=_environment(memory_bytes, spill),
                pass_fds=[theirs.fileno()],
                process_group=0,  # Ctrl-C is for the run, which then ends this
            )
        self._link = Connection(ours.detach())
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._numbers = itertools.count()
        self._guard = threading.Lock()
        self._has_ended = False
        try:
            self._await_start()
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._listen, name="penstock-sail", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def has_ended(self) -> bool:
        return self._has_ended

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to the order. Raises the error that came of it, or TransformError once the process is gone."""
        answer: Future[dict[str, Any]] = Future()
        number = next(self._numbers)
        with self._guard:
            if self._has_ended:
                raise self._gone(order)
            self._waiting[number] = answer
            with contextlib.suppress(OSError):  # the listener hears of it, and answers
                self._link.send_bytes(json.dumps({"number": number, **order}).encode())
        found = answer.result()
        if not found:
            raise self._gone(order)
        if "error" in found:
            raise _raised(found["error"]) from SailError(found["error"]["text"])
        return found

    def close(self) -> None:
        """End the process, whatever it does; safe to repeat."""
        with self._guard:
            self._has_ended = True
        # A shut socket wakes the listener; a closed one would not.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._link.fileno())) as link:
            link.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _await_start(self) -> None:
        if not self._link.poll(_START_SECONDS):
            raise TransformError(
                f"the process of PySpark transforms did not start within {_START_SECONDS} seconds",
                fix="run it again when the machine is less busy",
            )
        try:
            said = json.loads(self._link.recv_bytes())
        except (EOFError, OSError) as error:
            raise TransformError(
                "the process of PySpark transforms ended as soon as it was started",
                fix="its own last words are on stderr; check that pysail and pyspark work with this Python",
            ) from error
        if "error" in said:
            raise _raised(said["error"]) from SailError(said["error"]["text"])

    def _listen(self) -> None:
        """Hand the answers out, an empty one to everybody when the process is gone."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                answer = json.loads(self._link.recv_bytes())
                with self._guard:
                    waiting = self._waiting.pop(answer["number"])
                waiting.set_result(answer)
        with self._guard:
            self._has_ended = True
            left = list(self._waiting.values())
            self._waiting.clear()
        for waiting in left:
            waiting.set_result({})

    def _gone(self, order: Mapping[str, Any]) -> TransformError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        code = self._process.returncode
        how = "" if code is None else f" (signal {-code})" if code < 0 else f" (exit code {code})"
        return TransformError(
            f"{order['name']}: the process that computes it ended{how}",
            where=order["where"],
            fix="it may have run out of memory: have the transform gather less, or lower settings.memory; nothing of "
            "this load was committed, and the next run begins it again",
        )


def _raised(told: Mapping[str, Any]) -> PenstockError:
    kind = ConfigError if told["is_config"] else TransformError
    return kind(told["what"], where=told["where"], fix=told["fix"])


def _environment(memory_bytes: int, spill: Path) -> dict[str, str]:
    return {
        **os.environ,
        # as this process finds modules, whatever it was told since it started
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "SAIL_RUNTIME__MEMORY_POOL__TYPE": "fair",
        "SAIL_RUNTIME__MEMORY_POOL__FAIR__MAX_SIZE": str(memory_bytes),
        "SAIL_RUNTIME__TEMPORARY_FILES__PATHS": json.dumps([str(spill)]),
        "RUST_LOG": "off",  # what goes wrong is told by the error that is raised, and Sail's text may quote rows
    }
