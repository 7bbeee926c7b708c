"""Sessions of a Spark Connect server: how one is made, and what is told where the server cannot be used."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from penstock.errors import ConfigError, LoadError, PenstockError, PluginNotFoundError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
INSTALL = "pip install 'penstock[spark-connect]'"
# Spark's own number waits ten minutes for a server that is not there; this one waits four seconds.
_RETRIES = 4
OLDEST = (3, 5)
_ANEW = ("INVALID_HANDLE.SESSION_CHANGED", "INVALID_HANDLE.SESSION_NOT_FOUND")  # said by a server started anew


def connected(address: str, settings: Mapping[str, str]) -> SparkSession:
    """A session of the server, which has answered. Raises ConfigError, in which no token is."""
    try:
        from pyspark.sql.connect.client.retries import DefaultPolicy
        from pyspark.sql.connect.session import SparkSession as ConnectSession
    except ImportError as error:
        raise PluginNotFoundError("settings.spark.remote needs the client of Spark Connect", fix=INSTALL) from error
    os.environ["SPARK_CONNECT_MODE_ENABLED"] = "1"  # Spark's functions look there for whose columns they make
    session: SparkSession | None = None
    try:
        session = ConnectSession.builder.remote(address).create()
        session.client.set_retry_policies([DefaultPolicy(max_retries=_RETRIES)])
        for key, value in settings.items():
            if session.conf.isModifiable(key):
                session.conf.set(key, value)
        session.range(1).count()
        require_version(session)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - neither text nor traceback is kept: both may hold the token
        if session is not None:
            session.client.close()
        raise _unusable(error, without_token(address)) from None
    return session


def _unusable(error: Exception, address: str) -> ConfigError:
    status = status_of(error)
    if isinstance(error, ValueError):
        return ConfigError(
            "settings.spark.remote is no address of a Spark Connect server",
            fix="write it as sc://HOST:PORT/;token=TOKEN, all after HOST being optional",
        )
    told = {
        "UNAUTHENTICATED": ("refuses the token", "correct the token in settings.spark.remote"),
        "PERMISSION_DENIED": ("refuses this user", "correct the token or user_id in settings.spark.remote"),
        "UNAVAILABLE": (
            "does not answer",
            "start it, or correct host and port in settings.spark.remote; with a token, or use_ssl=true, it must "
            "speak TLS unless the host is localhost",
        ),
    }
    what, fix = told.get(status or "", (f"cannot be used: {status or type(error).__name__}", "see the server's log"))
    # without its sc://, as the whole of an address that needs no token would be masked like one that does
    return ConfigError(f"the Spark Connect server {what}", where=address.removeprefix("sc://"), fix=fix)


def lost_server(error: BaseException) -> PenstockError | None:
    """What is told of an error that says that server or session are gone; None for all others."""
    condition = str(getattr(error, "getCondition", lambda: None)())
    text = str(error).lower()
    is_closed = isinstance(error, ValueError) and "channel" in text and "closed" in text  # grpc's own words
    status = status_of(error)
    is_closed |= status == "CANCELLED" or condition.startswith("INVALID_HANDLE") or condition == "NO_ACTIVE_SESSION"
    if condition in _ANEW or status == "UNAVAILABLE":
        return went_away()
    if is_closed:
        return ConfigError("the Spark session was closed while the load ran", fix="keep it open until the run ends")
    if status == "UNAUTHENTICATED":
        return ConfigError("the Spark Connect server refuses the token", fix="make a session with a valid token")
    return None


def went_away() -> LoadError:
    return LoadError(
        "the Spark Connect server went away while the load ran",
        fault="transient",
        fix="see that it runs; the next run makes good what this one left",
    )


def require_version(session: SparkSession) -> None:
    """Raises ConfigError for a Spark that is too old, or is not the one that this process has the Python part of."""
    client, server = sys.modules["pyspark"].__version__, str(getattr(session, "version", None) or "")
    if not re.match(r"\d+\.\d+", server):
        return  # a vendor's own numbers
    if version_of(server) < OLDEST:
        raise ConfigError(f"Spark {server} is too old for the spark engine", fix="use 3.5 or later")
    if version_of(server)[0] != version_of(client)[0]:
        raise ConfigError(
            f"the session is of Spark {server}, and this process has pyspark {client}",
            fix=f"pip install 'pyspark=={server}', or another server",
        )


def version_of(text: str) -> tuple[int, int]:
    """Of `3.5.4-amzn-0` and its like: places that bring a Spark of their own add to its version as they please."""
    major, minor, *_ = [*re.findall(r"\d+", text), "0", "0"]
    return int(major), int(minor)


def answers(session: SparkSession) -> bool:
    """Whether the server of a Connect session is there and knows it."""
    try:
        session.conf.get("spark.sql.session.timeZone")
    except Exception as error:  # noqa: BLE001 - what else is wrong, the job itself will say
        return status_of(error) == "UNAUTHENTICATED" or lost_server(error) is None
    return True


def status_of(error: BaseException) -> str | None:
    """The name of the gRPC status that an error of the client carries."""
    code = getattr(error, "getGrpcStatusCode", lambda: None)()
    return str(code.name) if code is not None else None


def is_elsewhere(address: str) -> bool:
    """Whether a server of this address surely runs on another machine."""
    found = re.match(r"sc://([^:/;\[\]]+|\[[^\]]*\])", address)
    return found is not None and found[1] not in LOOPBACK


def without_token(address: str) -> str:
    return address.partition(";")[0].rpartition("@")[2]


def is_connect(session: SparkSession) -> bool:
    return ".connect." in type(session).__module__
