"""The JDBC drivers of a session: added when one is missed; and what is said of errors in which they had a part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from penstock import plugins
from penstock.engines.spark.connect import is_connect
from penstock.engines.spark.jars import check_jar
from penstock.engines.spark.reports import error_of_job
from penstock.errors import ConfigError, ExtractionError, LoadError, PenstockError
from penstock.values import Connection, Jar

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Answer = TypeVar("Answer")
_UNREACHABLE = ("Connection refused", "UnknownHostException", "connection attempt failed", "SocketTimeoutException")
_BROKEN = ("I/O error occurred while sending", "terminating connection", "This connection has been closed")
_REFUSED = ("authentication failed", "no pg_hba.conf entry", "does not exist", "password-based authentication")
_LOCKED = ("[SQLITE_BUSY", "[SQLITE_LOCKED")
_NO_CONNECTION = "FAILED_JDBC.CONNECTION"
_CAUSES = 10


def with_driver(
    session: SparkSession, connection: Connection, jars_folder: str | None, action: Callable[[], Answer]
) -> Answer:
    """What the action gives, tried again once the driver was added where it lacked one."""
    try:
        return action()
    except Exception as error:
        if not _lacks_driver(error):
            raise
    _add_driver(session, connection, jars_folder)
    return action()


def _lacks_driver(error: Exception) -> bool:
    return "ClassNotFoundException" in str(error) or "No suitable driver" in str(error)


def _add_driver(session: SparkSession, connection: Connection, jars_folder: str | None) -> None:
    """The connector's jars as `install-jars` left them, else Spark fetches them from its repositories."""
    for jar in plugins.connector(connection.variant).jars:
        path = Path(jars_folder, jar.file_name) if jars_folder else None
        if path is not None and path.is_file():
            check_jar(path, jar)
            _add_file(session, path)
        elif is_connect(session):
            raise ConfigError(
                f"the Connect server has no JDBC driver {jar.coordinates}",
                where=f"connections.{connection.name}",
                fix="run `penstock install-jars` on this machine, and set PENSTOCK_JARS where it is not the default "
                f"folder, or start the server with spark.jars.packages={jar.coordinates}",
            )
        else:
            _fetch(session, jar, connection)


def _add_file(session: SparkSession, path: Path) -> None:
    if is_connect(session):  # ADD JAR reaches no driver there
        session.addArtifacts(str(path))
        return
    session.sql("ADD JAR '" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'")


def _fetch(session: SparkSession, jar: Jar, connection: Connection) -> None:
    try:
        session.sql(f"ADD JAR ivy://{jar.coordinates}?transitive=false")
    except Exception as error:  # noqa: BLE001 - Ivy's text names hosts and folders and may be pages long
        raise ConfigError(
            f"Spark cannot fetch the JDBC driver {jar.coordinates}: {type(error).__name__}",
            where=f"connections.{connection.name}",
            fix="run `penstock install-jars` where a Maven repository is reachable and set PENSTOCK_JARS to its "
            f"folder, or start the session with spark.jars.packages={jar.coordinates}",
        ) from None


def explain_jdbc(error: Exception, connections: Sequence[Connection]) -> PenstockError:
    """Spark's text may hold SQL, values and the properties of a connection: none of it is quoted or chained."""
    text, where = _all_words(error), ", ".join(f"connections.{connection.name}" for connection in connections)
    if _lacks_driver(error):
        variants = [plugins.connector(connection.variant) for connection in connections]
        jars = ",".join(sorted({jar.coordinates for found in variants for jar in found.jars}))
        return ConfigError(
            "the Spark session's executors have no JDBC driver",
            where=where,
            fix=f"start it with spark.jars.packages={jars}",
        )
    if any(words in text for words in _REFUSED):
        return ConfigError(
            "the server refused the JDBC login", where=where, fix="check user, password, database and sslmode"
        )
    if any(words in text for words in _UNREACHABLE):
        return ExtractionError(
            "the server cannot be reached through JDBC", where=where, fix="is it up, and reachable?", fault="transient"
        )
    if any(words in text for words in _BROKEN):
        return LoadError("a JDBC connection broke more often than Spark tries again", where=where, fault="transient")
    if any(words in text for words in _LOCKED):
        return ExtractionError("the file is locked by another process", where=where, fault="transient")
    if _NO_CONNECTION in text:
        return ConfigError(
            "no connection could be made through JDBC",
            where=where,
            fix="the driver has other ways than the native reader: check sslmode and the format of keys",
        )
    return error_of_job(error)


def _all_words(error: Exception) -> str:
    """The error's text and those of its causes in the JVM, to tell errors apart by and to show nowhere."""
    words, cause = [str(error)], getattr(error, "_origin", None)
    while cause is not None and len(words) < _CAUSES:
        words.append(str(cause.getMessage()))
        cause = cause.getCause()
    return "\n".join(words)
