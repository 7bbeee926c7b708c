"""The engines of a project: which one a command runs on, each made when first asked for."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import Any, Protocol

from penstock.config.problems import suggest
from penstock.config.settings import Settings, SparkConfig
from penstock.engines.arrow.engine import ArrowEngine, ForeignFrames
from penstock.errors import ConfigError
from penstock.pipeline.results import RunOptions
from penstock.protocols import Engine
from penstock.records import dataclass

ENGINES = ("arrow", "spark")


def engine_name(settings: Settings, options: RunOptions) -> str:
    """What a command asks for, else the settings."""
    return options.engine or ("spark" if options.spark is not None else settings.engine)


class ClosableEngine(Engine, Protocol):
    def close(self) -> None:
        """Give back memory, temporary files and sessions made for it; they open again when asked."""
        ...


@dataclass(slots=True)
class Engines:
    """Safe to use from many threads."""

    settings: Settings
    _made: dict[object, ClosableEngine] = field(default_factory=dict)
    _guard: threading.RLock = field(default_factory=threading.RLock)

    def of(self, options: RunOptions) -> ClosableEngine:
        """The engine that the options ask for, else the settings. Raises ConfigError for one that does not exist."""
        name = engine_name(self.settings, options)
        if name not in ENGINES:
            raise ConfigError(f"engine {name!r} is not known", fix=suggest(name, ENGINES, title="engines:"))
        if name == "arrow" and options.spark is not None:
            raise ConfigError("a Spark session is given, and engine arrow is asked for", fix="leave one of them out")
        if name == "arrow":
            return self._once(name, self._arrow_with_sail)
        return self._once((name, id(options.spark)), lambda: self._spark(options.spark))

    def apart(self, options: RunOptions) -> Any:
        """A Spark engine of its own for a frame that outlives the call; None where the options ask for another."""
        self.of(options)  # refuses what does not exist
        return self._spark(options.spark) if engine_name(self.settings, options) == "spark" else None

    @contextmanager
    def arrow_of(self, frame: Any) -> Iterator[Any]:
        """The frame itself; a Spark frame, which has no Arrow stream, as one, out of files that its tasks write."""
        if not type(frame).__module__.startswith("pyspark."):
            yield frame
            return
        engine: Any = self.of(RunOptions(spark=frame.sparkSession))
        try:
            with engine.arrow_of(frame) as rows:
                yield rows
        finally:
            engine.close()

    def _once(self, key: object, make: Callable[[], ClosableEngine]) -> ClosableEngine:
        with self._guard:
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]

    def _arrow_with_sail(self) -> ArrowEngine:
        from penstock.engines.spark.sail.frames import SailFrames

        return self._arrow(SailFrames(self.settings.memory // 2))

    def _arrow(self, foreign: ForeignFrames | None = None) -> ArrowEngine:
        staging = Path(self.settings.local_staging or tempfile.gettempdir())
        return ArrowEngine(self.settings.memory, self.settings.threads, staging, foreign)

    def _spark(self, session: Any) -> ClosableEngine:
        from penstock.engines.spark.engine import SparkEngine  # a run without Spark is spared it
        from penstock.engines.spark.jars import jars_folder
        from penstock.engines.spark.session import HeldSession, SparkOptions

        wished = self.settings.spark or SparkConfig()
        options = SparkOptions(
            master=wished.master,
            remote=wished.remote,
            driver_memory=wished.driver_memory,
            executor_memory=wished.executor_memory,
            extra_config=wished.extra_config,
        )
        return SparkEngine(
            HeldSession(options, session),
            self._arrow(),
            jars_folder=str(jars_folder()),
            staging_url=self.settings.shared_staging,
            secrets=wished.secrets,
        )
