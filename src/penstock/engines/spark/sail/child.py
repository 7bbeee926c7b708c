"""The process that Sail and the functions of PySpark transforms run in; `process` starts it and talks to it.

It takes orders as JSON on a socket, each in a thread with a Spark session of its own, so that a temporary view of one
is never seen by another. It ends with the socket: when its run does, or is killed.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.engines.arrow.reference import UserFunction, importable, load_user_function
from penstock.engines.arrow.usererror import user_error
from penstock.engines.scope import TransformContext
from penstock.engines.spark.frames import FRAMES, staging_of
from penstock.engines.spark.types import arrow_schema
from penstock.errors import ConfigError, PenstockError, TransformError
from penstock.values import RunId

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_KINDS = re.compile(
    r"RuntimeError: (?:(?:Arrow|Execution|External) error: )?(cast error|divi\w+ by zero|\w+(?:Error|Exception)(?=:))",
    re.IGNORECASE,
)
_SESSION_SETTINGS = {"spark.sql.session.timeZone": "UTC"}


def main(arguments: list[str]) -> None:
    """`SOCKET THREADS`: the number of the inherited socket, and how many orders are carried out at once."""
    link = Connection(int(arguments[0]))
    try:
        server = _Server()
    except Exception as error:  # noqa: BLE001 - told to who started this process, which raises it
        link.send_bytes(json.dumps(_told(error)).encode())
        os._exit(1)
    link.send_bytes(b"{}")
    sending = threading.Lock()

    def carry_out(order: dict[str, Any]) -> None:
        reply = json.dumps({"number": order["number"], **server.carry_out(order)}).encode()
        with sending:
            link.send_bytes(reply)

    with ThreadPoolExecutor(int(arguments[1])) as threads:
        while True:
            try:
                order = json.loads(link.recv_bytes())
            except (EOFError, OSError):
                os._exit(0)  # a thread may be deep in a query that nobody waits for any more
            threads.submit(carry_out, order)


class _Server:
    """Sail, listening on the loopback interface, and the functions that were asked for so far."""

    def __init__(self) -> None:
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        os.environ["SPARK_CONNECT_MODE_ENABLED"] = "1"  # Spark's functions look there for whose columns they make
        from pysail.spark import SparkConnectServer

        self._sail = SparkConnectServer("127.0.0.1", 0)
        self._sail.start(background=True)
        host, port = self._sail.listening_address
        self._address = f"sc://{host}:{port}"
        os.environ["SPARK_REMOTE"] = self._address  # for functions that ask for the session that there is
        self._functions: dict[tuple[str, str], UserFunction] = {}
        self._guard = threading.Lock()
        self._own = threading.local()

    def carry_out(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """The files of the rows, the first without any; or the error."""
        try:
            return {"files": self._files(order)}
        except (Exception, SystemExit) as error:  # noqa: BLE001 - told to who gave the order, which raises it
            return _told(error)

    def _files(self, order: Mapping[str, Any]) -> list[str]:
        import pyarrow as pa

        session = self._session()  # a file may ask for it as it is loaded
        user = self._function(order)
        frame = session.read.format("arrow").load(order["rows"])
        made = _checked(user, frame, order)
        columns = arrow_schema(made.schema)
        if len(set(columns.names)) == len(columns) > 0:
            try:
                reports = staging_of(made, order["folder"]).collect()
            except Exception as error:
                raise _failure(error, order) from error
        else:
            reports = []  # the other process tells what is wrong with the columns
        first = str(Path(order["folder"], "columns.arrow"))
        with pa.ipc.new_stream(first, columns):
            pass
        return [first, *(found["path"] for row in reports if (found := json.loads(row.report)) is not None)]

    def _function(self, order: Mapping[str, Any]) -> UserFunction:
        key = (order["reference"], order["base_dir"])
        with self._guard:
            if key not in self._functions:
                self._functions[key] = load_user_function(*key, None, more=FRAMES)
            return self._functions[key]

    def _session(self) -> SparkSession:
        from pyspark.sql.connect.session import SparkSession as ConnectSession

        session: SparkSession | None = getattr(self._own, "session", None)
        if session is None:
            session = self._own.session = ConnectSession.builder.remote(self._address).create()
            for key, value in _SESSION_SETTINGS.items():
                session.conf.set(key, value)
        return session


def _checked(user: UserFunction, frame: DataFrame, order: Mapping[str, Any]) -> DataFrame:
    """What the function returns. Raises TransformError where that is no Spark frame, or nothing at all."""
    told = order["context"]
    context = TransformContext(
        told["table"], told["target"], told["pipeline"], RunId(told["run_id"]), datetime.fromisoformat(told["at"])
    )
    arguments = (frame, context) if user.takes_context else (frame,)
    try:
        with importable(user.path.parent):
            made = user.function(*arguments)
            _ = getattr(made, "schema", None)  # looked at only when asked
    except PenstockError:
        raise
    except (Exception, SystemExit) as error:
        raise user_error(error, user.path, order["name"], fallback=user.where) from error
    if not hasattr(made, "mapInArrow") or not hasattr(made, "schema"):
        raise TransformError(
            f"{order['name']} returned {type(made).__name__}, not a Spark DataFrame",
            where=user.where,
            fix="return the frame",
        )
    return made


def _failure(error: Exception, order: Mapping[str, Any]) -> TransformError:
    """Of the query that computes the frame. Sail's own text may quote rows: only the kind of the error is told."""
    if "Resources exhausted" in str(error) or "Failed to allocate" in str(error):
        return TransformError(
            f"{order['name']} needs more memory than it has, spilling to disk included",
            where=order["where"],
            fix="raise settings.memory, or have the transform gather less; joins do not spill on Sail",
        )
    return TransformError(
        f"{order['name']} failed in Sail: {_kind_of(error)}",
        where=order["where"],
        fix="correct the transform, or use engine: spark; --debug shows Sail's own text, which may quote rows",
    )


def _kind_of(error: Exception) -> str:
    """Sail wraps what goes wrong in the text of another error: the part of it that is no value."""
    last = ([line for line in str(error).splitlines() if line.strip()] or [""])[-1]
    found = _KINDS.match(last)
    return found[1].lower() if found and " " in found[1] else found[1] if found else type(error).__name__


def _told(error: BaseException) -> dict[str, Any]:
    cause = error.__cause__ if isinstance(error, PenstockError) and error.__cause__ is not None else error
    told = {"text": f"{type(cause).__name__}: {cause}", "is_config": isinstance(error, ConfigError)}
    if isinstance(error, PenstockError):
        return {"error": {"what": error.what, "where": error.where, "fix": error.fix, **told}}
    what = f"the process of PySpark transforms failed: {type(error).__name__}"
    return {"error": {"what": what, "where": None, "fix": "--debug shows the error's own text", **told}}


if __name__ == "__main__":
    main(sys.argv[1:])
