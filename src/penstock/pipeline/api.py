"""The Python API: `penstock.run`, `extract`, `load` and `plan`, thin over Project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from penstock.pipeline.frames import Extracted, Frame
from penstock.pipeline.project import Project
from penstock.pipeline.results import ProjectPlan, RunOptions, RunResult, Selection
from penstock.values import Strategy

Config = Project | Path | str | None


def run(  # noqa: PLR0913 - the documented signature
    config: Config = None,
    *,
    pipeline: str | None = None,
    table: str | None = None,
    tags: Sequence[str] | None = None,
    environment: str | None = None,
    full_refresh: bool = False,
    threads: int | None = None,
    limit: int | None = None,
    engine: str | None = None,
    spark: object | None = None,
    raise_on_error: bool = True,
) -> RunResult:
    """Run the selected tables. Raises the first table's error, with `.result`, unless `raise_on_error` is False.

    `spark` is any SparkSession to run on; it is not ended here. Without one, `engine="spark"` takes the active session
    or makes one.
    Raises ConfigError for a mistake in the project or a selection that selects nothing.
    """
    options = RunOptions(full_refresh=full_refresh, threads=threads, limit=limit, engine=engine, spark=spark)
    result = _open(config, environment).run(_selection(pipeline, table, tags), options)
    return _checked(result, raise_on_error=raise_on_error)


def plan(  # noqa: PLR0913 - the documented signature
    config: Config = None,
    *,
    pipeline: str | None = None,
    table: str | None = None,
    tags: Sequence[str] | None = None,
    environment: str | None = None,
    full_refresh: bool = False,
    engine: str | None = None,
    spark: object | None = None,
) -> ProjectPlan:
    """What `run` with the same arguments would do; writes nothing."""
    options = RunOptions(full_refresh=full_refresh, engine=engine, spark=spark)
    return _open(config, environment).plan(_selection(pipeline, table, tags), options)


def extract(  # noqa: PLR0913 - the documented signature
    config: Config = None,
    *,
    table: str,
    pipeline: str | None = None,
    tags: Sequence[str] | None = None,
    environment: str | None = None,
    engine: str | None = None,
    spark: object | None = None,
) -> Extracted:
    """The rows that the next run of `table` would read, lazily; no transform, and no cursor moves.

    On Spark `.df` is a lazy frame of the session, to be computed before `.close()`.
    """
    options = RunOptions(engine=engine, spark=spark)
    return _open(config, environment).extract(table, _selection(pipeline, None, tags), options)


def register_spark(spark: object, config: Config = None, *, environment: str | None = None) -> None:
    """Make the project's connections readable by `spark.read.format("penstock")`, by name.

    Options are `connection`, and `table` or `query`. Secrets travel in the closure of the data source only.
    """
    _open(config, environment).register_spark(spark)


def load(  # noqa: PLR0913 - the documented signature
    config: Config = None,
    *,
    table: str,
    df: Frame,
    write_mode: Strategy | Literal["overwrite"] | None = None,
    load_id: str | None = None,
    pipeline: str | None = None,
    environment: str | None = None,
    raise_on_error: bool = True,
) -> RunResult:
    """Load any frame with an Arrow stream into `table`, by its own strategy unless `write_mode` is given.

    The same `load_id` is taken in once. `overwrite` is another word for replace.
    """
    strategy: Strategy | None = "replace" if write_mode == "overwrite" else write_mode
    project = _open(config, environment)
    selection = _selection(pipeline, None, None)
    result = project.load(table, df, write_mode=strategy, load_id=load_id, selection=selection)
    return _checked(result, raise_on_error=raise_on_error)


def _open(config: Config, environment: str | None) -> Project:
    return config if isinstance(config, Project) else Project.open(config, environment=environment)


def _selection(pipeline: str | None, table: str | None, tags: Sequence[str] | None) -> Selection:
    return Selection(pipeline, table, tuple(tags or ()))


def _checked(result: RunResult, *, raise_on_error: bool) -> RunResult:
    for error in result.errors.values():
        if raise_on_error:
            error.result = result
            raise error
    return result
