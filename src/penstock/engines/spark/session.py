"""The session an engine runs on: the caller's, the active one, one behind `remote`, or a local one made here."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.engines.spark.connect import (
    LOOPBACK,
    OLDEST,
    answers,
    connected,
    is_connect,
    is_elsewhere,
    require_version,
    version_of,
    went_away,
    without_token,
)
from penstock.engines.spark.java import prepare_java
from penstock.errors import ConfigError, PluginNotFoundError
from penstock.records import dataclass
from penstock.values import Secret

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

INSTALL = "pip install 'penstock[spark]'"
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class SparkOptions:
    """`settings.spark`; memory as Spark spells it, None where it is to be found out."""

    master: str = "local[*]"
    remote: Secret | None = None
    driver_memory: str | None = None
    executor_memory: str | None = None
    extra_config: Mapping[str, str | int | float | bool] | None = None


class HeldSession:
    """One engine's session: looked for when first asked for, and ended with the engine where it was made here."""

    def __init__(self, options: SparkOptions, given: SparkSession | None = None) -> None:
        self._options = options
        self._given = given
        self._made: SparkSession | None = None
        self._had_one = False
        self._guard = threading.Lock()

    def get(self) -> SparkSession:
        """A session that answers. Raises ConfigError with the way out.

        One that was made here and whose server was started anew is replaced; while that server is away, LoadError says
        that it may come back.
        """
        if self._given is not None:
            _import_pyspark()
            if is_stopped(self._given):
                raise ConfigError("the Spark session is closed", fix="make a new one, and pass that")
            if is_connect(self._given) and not answers(self._given):
                raise ConfigError(
                    "the Spark Connect session is gone: its server does not know it any more, or does not answer",
                    fix="make a new session, and pass that",
                )
            require_version(self._given)
            return self._given
        with self._guard:
            if self._made is not None and is_connect(self._made) and not answers(self._made):
                _made_here.forget(self._made)
                self._made = None
            if self._made is None:
                active = _active()
                if active is not None:
                    return active
                self._made = self._borrowed()
            return self._made

    def _borrowed(self) -> SparkSession:
        try:
            found = _made_here.borrow(self._options)
        except ConfigError as error:
            if self._had_one:
                raise went_away() from error
            raise
        self._had_one = True
        return found

    @property
    def is_local(self) -> bool:
        """Whether tasks run on this machine and see its files. Starts no JVM, but asks a server of this machine."""
        known = self._known()
        if known is not None:
            return runs_here(self.get())
        if self._options.remote is None:
            return _is_local(self._options.master)
        # behind a port of this machine there may be a cluster
        return not is_elsewhere(self._options.remote.reveal()) and runs_here(self.get())

    @property
    def place(self) -> str:
        """Where tasks run, for people; no token of an address is in it. Starts no session."""
        known = self._known()
        if known is not None and (known is not self._made or self._options.remote is None):
            return f"Connect at {known.client.host}" if is_connect(known) else str(known.sparkContext.master)
        if self._options.remote is not None:
            return without_token(self._options.remote.reveal())
        return self._options.master

    def _known(self) -> SparkSession | None:
        return self._given or self._made or (_active() if "pyspark" in sys.modules else None)

    def close(self) -> None:
        with self._guard:
            if self._made is not None:
                _made_here.give_back(self._made)
                self._made = None


class _MadeHere:
    """A process has one local session at most: engines that run at the same time share it, the last one ends it."""

    def __init__(self) -> None:
        self._session: SparkSession | None = None
        self._users = 0
        self._guard = threading.Lock()

    @property
    def session(self) -> SparkSession | None:
        return self._session

    def borrow(self, options: SparkOptions) -> SparkSession:
        with self._guard:
            if self._session is None or is_stopped(self._session):
                self._session, self._users = _make(options), 0
            self._users += 1
            return self._session

    def forget(self, session: SparkSession) -> None:
        """A session that no server knows: each of its users borrows another."""
        with self._guard:
            if self._session is session and self._session is not None:
                self._session.client.close()
                self._session, self._users = None, 0

    def give_back(self, session: SparkSession) -> None:
        with self._guard:
            if session is not self._session:
                return  # forgotten, whoever else used it
            self._users -= 1
            if self._users == 0 and self._session is not None:
                self._session.stop()
                self._session = None


_made_here = _MadeHere()


def _active() -> SparkSession | None:
    """A session that somebody else made in this process and has not closed."""
    session_class = _import_pyspark().SparkSession
    try:
        found: SparkSession = session_class.active()
    except Exception:  # noqa: BLE001 - the class of the error differs between classic and Connect: there is none
        return None
    return None if found is _made_here.session or is_stopped(found) else found


def _make(options: SparkOptions) -> SparkSession:
    spark_sql = _import_pyspark()
    if options.remote is not None:
        return connected(options.remote.reveal(), settings_of(options))
    builder = spark_sql.SparkSession.builder.appName("penstock")
    for key, value in settings_of(options).items():
        builder = builder.config(key, value)
    prepare_java()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    with _own_signals():
        return _started(builder, options)


def _started(builder: Any, options: SparkOptions) -> SparkSession:
    try:
        session: SparkSession = builder.master(options.master).getOrCreate()
    except Exception as error:
        raise ConfigError(
            f"no Spark session could be started at {options.master!r}: {type(error).__name__}",
            fix="settings.spark must suit this machine and its Java; Spark's own log says more",
        ) from error
    session.sparkContext.setLogLevel("OFF")  # what goes wrong is told by the error that is raised
    return session


def _import_pyspark() -> Any:
    try:
        import pyspark
        from pyspark import sql
    except ImportError as error:
        raise PluginNotFoundError("engine: spark needs pyspark", fix=INSTALL) from error
    # said by each mapInArrow, which has no use for pandas
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    if version_of(pyspark.__version__) < OLDEST:
        raise ConfigError(f"pyspark {pyspark.__version__} is too old for the spark engine", fix="use 3.5 or later")
    return sql


def settings_of(options: SparkOptions) -> dict[str, str]:
    """What a session made here is told; `extra_config` wins over everything."""
    found = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.ui.showConsoleProgress": "false",
    }
    if options.remote is None:
        found |= {
            "spark.driver.memory": options.driver_memory or f"{_share_of_memory(0.2, 1)}g",
            "spark.executor.memory": options.executor_memory or f"{_share_of_memory(0.6, 2)}g",
        }
    return found | {key: _spelled(value) for key, value in (options.extra_config or {}).items()}


def _spelled(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _share_of_memory(share: float, least_gib: int) -> int:
    return max(least_gib, int(_memory_bytes() * share) // _GIB)


def _memory_bytes() -> int:
    """What this process may use: the control group's limit, else the machine's memory."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        path = Path(name)
        if path.is_file() and (text := path.read_text().strip()).isdigit():
            return min(machine, int(text))
    return machine


@contextmanager
def _own_signals() -> Iterator[None]:
    """Spark takes SIGINT over, which would end a run without its order; it is given back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def is_stopped(session: SparkSession) -> bool:
    if is_connect(session):
        return bool(session.is_stopped)
    return getattr(session.sparkContext, "_jsc", None) is None


def runs_here(session: SparkSession) -> bool:
    """Whether its tasks run on this machine, in processes that see its files."""
    if is_connect(session):
        return session.client.host in LOOPBACK and _is_local(str(session.conf.get("spark.master", "")))
    return _is_local(str(session.sparkContext.master))


def _is_local(master: str) -> bool:
    """`local-cluster`, by which Spark tests itself, is meant to be taken for a cluster."""
    return master == "local" or master.startswith("local[")
