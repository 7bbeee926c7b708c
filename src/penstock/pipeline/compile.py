"""From the typed project to steps: one per selected table, every default settled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Literal

from penstock.config import ProjectConfig
from penstock.config.models import PipelineConfig, TableConfig
from penstock.config.paths import within
from penstock.errors import ConfigError, Mistake, PenstockError
from penstock.pipeline.engines import engine_name
from penstock.pipeline.results import RunOptions, Selection
from penstock.plugins import connector
from penstock.protocols import Engine, Transform
from penstock.records import dataclass
from penstock.steps.replicate_step import Adding, Reading, ReplicateStep, Writing, sample_step
from penstock.values import (
    Cursor,
    CursorSpec,
    CursorType,
    ReplaceMode,
    RowIo,
    SplitWish,
    Strategy,
    StreamName,
    TableName,
    Window,
)

JDBC_PARTITIONS = 10
_COLUMN = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)?", re.UNICODE)


@dataclass(frozen=True, slots=True)
class Selected:
    """A table of the project that the selection names."""

    pipeline: PipelineConfig
    table: TableConfig
    where: str
    path: tuple[str | int, ...]


def select_tables(project: ProjectConfig, selection: Selection) -> list[Selected]:
    """Raises ConfigError when nothing is selected: an unknown name must not look like success."""
    chosen = [s for s in _tables(project) if _is_selected(s, selection)]
    if not chosen:
        raise ConfigError(
            f"nothing to run: no table matches {_say(selection)}",
            where=str(project.path),
            fix=_known(project, selection),
        )
    return chosen


def _tables(project: ProjectConfig) -> Iterator[Selected]:
    for i, pipeline in enumerate(project.pipelines):
        for j, table in enumerate(pipeline.tables):
            path = ("pipelines", i, "tables", j)
            yield Selected(pipeline, table, project.location(path), path)


def _is_selected(item: Selected, selection: Selection) -> bool:
    if selection.pipeline is not None and item.pipeline.name != selection.pipeline:
        return False
    if selection.table is not None and selection.table not in (item.table.name, item.table.target_name):
        return False
    return not selection.tags or bool(set(selection.tags) & set(item.table.tags))


def _say(selection: Selection) -> str:
    parts = [
        f"{name} {value!r}"
        for name, value in (("pipeline", selection.pipeline), ("table", selection.table))
        if value is not None
    ]
    if selection.tags:
        parts.append(f"tags {', '.join(selection.tags)}")
    return " and ".join(parts) or "an empty project"


def _known(project: ProjectConfig, selection: Selection) -> str:
    if selection.pipeline is not None and selection.pipeline not in {p.name for p in project.pipelines}:
        return f"pipelines: {', '.join(p.name for p in project.pipelines)}"
    there = [s for s in _tables(project) if selection.pipeline in (None, s.pipeline.name)]
    inside = f" of pipeline {selection.pipeline!r}" if selection.pipeline is not None else ""
    if selection.tags:
        tags = sorted({t for s in there for t in s.table.tags})
        return f"tags{inside}: {', '.join(tags) or 'none'}"
    return f"tables{inside}: {', '.join(s.table.target_name for s in there) or 'none'}"


def compile_steps(
    project: ProjectConfig, selection: Selection, options: RunOptions, engine: Callable[[], Engine]
) -> list[ReplicateStep]:
    """The steps to run, in the project's order. Raises ConfigError for what cannot be run, of all tables at once.

    A table whose transform cannot be used and that may be passed over is a step with that error.
    """
    steps = [_compile(project, item, options, engine) for item in select_tables(project, selection)]
    _raise_broken(project, steps)
    if options.limit is not None:
        return [sample_step(step, options.limit) for step in steps]
    return steps


def _raise_broken(project: ProjectConfig, steps: list[ReplicateStep]) -> None:
    broken = [(step, step.error) for step in steps if step.error is not None]
    if all(step.pass_on_error for step, _ in broken):
        return
    if len(broken) == 1:
        raise broken[0][1]
    error = ConfigError(
        "\n".join([f"{len(broken)} transforms in {project.path} cannot be used", *(str(e) for _, e in broken)])
    )
    error.mistakes = tuple(Mistake(e.what, e.where or step.where, "", e.fix) for step, e in broken)
    raise error


def _compile(
    project: ProjectConfig, item: Selected, options: RunOptions, engine: Callable[[], Engine]
) -> ReplicateStep:
    pipeline, table = item.pipeline, item.table
    owner = f"{project.project or project.environment}/{pipeline.name}"
    source = project.connections[pipeline.source]
    transform, error = _transform(project, item, engine)
    return ReplicateStep(
        pipeline=pipeline.name,
        owner=owner,
        source=pipeline.source,
        source_variant="postgres" if source.variant == "postgresql" else source.variant,
        destination=pipeline.destination,
        reading=_reading(project, item, on_spark=engine_name(project.settings, options) == "spark"),
        writing=_writing(project, item),
        adding=_adding(project, table),
        transform=transform,
        error=error,
        pass_on_error=table.pass_on_error or pipeline.pass_on_error,
        full_refresh=options.full_refresh,
        where=item.where,
    )


def _reading(project: ProjectConfig, item: Selected, *, on_spark: bool) -> Reading:
    table = item.table
    cursor = _cursor(table)
    return Reading(
        stream=StreamName(table.name),
        method=table.replication_method,
        cursor=cursor,
        window=_window(table, item.where),
        query=_query(project, table, item.where),
        splits=_splits(table, through_jdbc=on_spark and _read_io(table) == "jdbc"),
        types=dict(table.columns),
        batch_rows=table.fetchsize,
        io=_read_io(table),
        chain_rows=table.load_rows,
        accept_source_change=table.accept_source_change,
        timezone=project.settings.timezone,
        horizon_warn_seconds=project.settings.horizon_warn,
    )


def _read_io(table: TableConfig) -> RowIo:
    return "native" if table.spark is None else table.spark.read or table.spark.io


def _write_io(table: TableConfig, variant: str) -> RowIo:
    """What is written is wanted; `io` alone is for the ends that have it."""
    wished = table.spark
    if wished is None:
        return "native"
    has_jdbc = wished.io == "jdbc" and connector(variant).open_jdbc_destination is not None
    return wished.write or ("jdbc" if has_jdbc else "native")


def _splits(table: TableConfig, *, through_jdbc: bool) -> SplitWish:
    """Parts that see different moments are never cut by where rows lie: an updated row lies elsewhere."""
    wish = SplitWish(
        count=table.partitions_count,
        column=table.partitions_column,
        type=table.partitions_column_type,
        lower=_text(table.partitions_lower_bound),
        upper=_text(table.partitions_upper_bound),
        bounds_filtered=table.partitions_bounds_filtered,
    )
    if not through_jdbc:
        return wish
    is_cut = table.replication_method == "incremental" or table.partitions_column is not None
    return replace(wish, count=(wish.count or JDBC_PARTITIONS) if is_cut else 1, by_cursor=True)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _cursor(table: TableConfig) -> CursorSpec | None:
    wished = table.iterate_column
    if wished is None:
        return None
    columns = tuple(wished) if isinstance(wished, list) else (wished,) if _COLUMN.fullmatch(wished) else ()
    return CursorSpec(
        columns=columns,
        expression=None if columns else str(wished),
        type=table.iterate_column_type,
        nulls=table.null_cursors,
        lookback=table.lookback,
    )


def _window(table: TableConfig, where: str) -> Window | None:
    lower, upper = table.filter_lower_bound, table.filter_upper_bound
    if lower is None and upper is None:
        return None
    kind = table.iterate_column_type or "datetime"
    return Window(_bound(lower, kind, where), _bound(upper, kind, where))


def _bound(value: object, kind: CursorType, where: str) -> Cursor | None:
    if value is None:
        return None
    text = value.isoformat() if isinstance(value, date) else str(value)
    try:
        return Cursor(kind, _parse_bound(text, kind))
    except (ValueError, InvalidOperation) as error:
        raise ConfigError(
            f"filter bound {text!r} is not of type {kind}", where=where, fix="see iterate_column_type"
        ) from error


def _parse_bound(text: str, kind: CursorType) -> int | Decimal | date | datetime | str:
    if kind == "int":
        return int(text)
    if kind == "decimal":
        return Decimal(text)
    if kind == "date":
        return date.fromisoformat(text)
    return datetime.fromisoformat(text) if kind == "datetime" else text


def _query(project: ProjectConfig, table: TableConfig, where: str) -> str | None:
    if table.custom_query_file is None:
        return table.custom_query
    path = within(project.base_dir, str(table.custom_query_file), what="custom_query_file", where=where)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"custom_query_file {str(table.custom_query_file)!r} cannot be read: {error.strerror}",
            where=where,
            fix=f"paths are relative to the project file, in {project.base_dir}",
        ) from error


def _writing(project: ProjectConfig, item: Selected) -> Writing:
    table, settings = item.table, project.settings
    destination = project.connections[item.pipeline.destination]
    schema, name = _target_name(table.target_name, destination.schema_)
    return Writing(
        target=TableName(schema, name),
        strategy=strategy_of(table),
        key=tuple(table.write_key or ()),
        replace_mode=_replace_mode(project, table),
        evolution=table.schema_evolution,
        on_existing=table.on_existing,
        shared=table.shared,
        allow_empty=table.allow_empty,
        writers=table.write_partitions,
        batch_rows=table.batchsize,
        io=_write_io(table, destination.variant),
        boundary_limit=table.boundary_limit,
        partition_by=tuple(table.partition_by),
        latest_view=table.latest_view,
        on_bad_value=table.on_bad_value,
        lock_wait_seconds=settings.lock_wait,
    )


def _target_name(target: str, schema: str | None) -> tuple[str | None, str]:
    """`schema.table` names its own schema where the destination has schemas."""
    if schema is not None and "." in target:
        own, _, name = target.partition(".")
        return own, name
    return schema, target


def strategy_of(table: TableConfig) -> Strategy:
    """The written strategy, or: full replaces, incremental appends."""
    if table.write_strategy is not None:
        return table.write_strategy
    return "append" if table.replication_method == "incremental" else "replace"


def _replace_mode(project: ProjectConfig, table: TableConfig) -> ReplaceMode:
    if table.replace_mode != "auto":
        return table.replace_mode
    if_exists: Literal["replace", "append"] = table.if_exists or project.settings.if_exists
    return "in_place" if if_exists == "append" else "auto"


def _adding(project: ProjectConfig, table: TableConfig) -> Adding:
    settings = project.settings
    return Adding(
        dedup_columns=tuple(table.dedup_columns or ()),
        id_column=settings.ingestion_id_column,
        ingested_at_column=settings.ingested_at_column,
        case=table.column_name_case or settings.column_name_case,
    )


def _transform(
    project: ProjectConfig, item: Selected, engine: Callable[[], Engine]
) -> tuple[Transform | None, PenstockError | None]:
    table = item.table
    try:
        if table.transform is not None:
            frame = project.settings.transform_frame
            return engine().load_transform(table.transform, str(project.base_dir), default_frame=frame), None
        return engine().sql_transform(table.transform_sql) if table.transform_sql is not None else None, None
    except PenstockError as error:
        key = "transform" if table.transform is not None else "transform_sql"
        place = project.location((*item.path, key))
        error.locate(f"{place}, {error.where}" if error.where else place)
        return None, error
