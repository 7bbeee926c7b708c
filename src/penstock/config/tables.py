"""The keys of one table of a pipeline."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from penstock.config.kinds import Bound, ConfigModel, Lookback
from penstock.config.problems import FOUND, suggest
from penstock.config.units import has_unit, parse_duration, seconds_to_days
from penstock.schema.types import SIMPLE, is_type
from penstock.values import CursorType, NullCursors, ReplaceMode, RowIo, Strategy

IfExists = Literal["replace", "append"]
ColumnNameCase = Literal["as_is", "lower", "upper"]
LakeEvolution = Literal["merge", "replace", "strict"]


def _check_type(spelling: str) -> str:
    if not is_type(spelling):
        known = [*sorted(SIMPLE - {"null"}), "decimal(12,2)", "list<string>", "struct<a: int64>"]
        raise ValueError(f"unknown type {FOUND}; {suggest(spelling[:100], known)}")
    return spelling


TypeName = Annotated[str, AfterValidator(_check_type)]


class SparkTable(ConfigModel):
    """What the Spark engine alone heeds."""

    io: RowIo = Field(
        "native",
        description="`jdbc` reads through Spark's JDBC source, and writes through it where the destination has a JDBC "
        "driver. Each partition sees the rows of its own moment. An incremental read is cut into partitions_count "
        "parts (10 unwritten) of partitions_column, else of iterate_column; a full one only by a written "
        "partitions_column.",
        examples=["jdbc"],
    )
    read: RowIo | None = Field(None, description="How rows are read, where not as `io` says.", examples=["native"])
    write: RowIo | None = Field(
        None,
        description="How rows are written, where not as `io` says. `jdbc` fills a private table beside the target, and "
        "the run's process commits from there.",
        examples=["jdbc"],
    )


class TableConfig(ConfigModel):
    """One table that a pipeline moves."""

    name: str = Field(
        min_length=1, description="The table, view or file pattern at the source.", examples=["public.users"]
    )
    target_name: str = Field(min_length=1, description="The table at the destination.", examples=["stg_users"])
    tags: list[str] = Field(
        [],
        description="Words to select tables by: `--tags a,b` takes every table with one of them.",
        examples=[["api"]],
    )
    replication_method: Literal["full", "incremental"] = Field(
        "full",
        description="`full` reads everything at each run, `incremental` what changed since the last one.",
        examples=["incremental"],
    )
    iterate_column: str | list[str] | None = Field(
        None,
        description="What shows that a row is new: a column, an SQL expression, or a list of columns of which the "
        "greatest counts. Required for incremental.",
        examples=["updated_at", ["created_at", "updated_at"], "coalesce(updated_at, created_at)"],
    )
    iterate_column_type: CursorType | None = Field(
        None, description="Type of `iterate_column`; unwritten, the column's own.", examples=["datetime", "int"]
    )
    lookback: Lookback | None = Field(
        None,
        description="How far below the last cursor rows are looked at again: a duration for time cursors (a date "
        "cursor counts whole days), a number in the cursor's units, or `all`. Unwritten: for PostgreSQL tables 1h for "
        "date and time, 1000000 for int and decimal, all for strings and expressions; elsewhere none.",
        examples=["1h", "2d", 5000, "all"],
    )
    null_cursors: NullCursors | None = Field(
        None,
        description="Rows whose cursor is NULL: `include` them, `fail`, or `skip` them. Unwritten: include for "
        "PostgreSQL tables, fail elsewhere.",
        examples=["skip"],
    )
    filter_lower_bound: Bound | None = Field(
        None,
        description="Static window: only rows with a cursor at or above this. Never moves the cursor.",
        examples=["2024-01-01"],
    )
    filter_upper_bound: Bound | None = Field(
        None, description="Static window: only rows with a cursor below this.", examples=["2024-02-01"]
    )
    custom_query: str | None = Field(
        None,
        description="A query in place of the table; `{query_filter}` is where the incremental filter goes.",
        examples=["(SELECT id, name, updated_at FROM users {query_filter}) q"],
    )
    custom_query_file: str | None = Field(
        None, description="A file with such a query, beside the project file.", examples=["sql/users.sql"]
    )
    partitions_column: str | None = Field(
        None,
        description="Column, or `expression as alias`, that cuts the read into splits. Unwritten: the source's choice.",
        examples=["id", "abs(id) % 1000 as bucket"],
    )
    partitions_column_type: Literal["int", "datetime"] | None = Field(
        None,
        description="Type of `partitions_column`. Unwritten: int when partitions_column is given, else the type of "
        "`iterate_column`.",
        examples=["datetime"],
    )
    partitions_count: int | None = Field(
        None, ge=1, description="Splits read at once. Unwritten: chosen automatically.", examples=[10]
    )
    partitions_lower_bound: Bound | None = Field(
        None, description="Where the first split begins; with both bounds none are looked up.", examples=[1]
    )
    partitions_upper_bound: Bound | None = Field(
        None, description="Where the last split ends; rows beyond are still read.", examples=[1000000]
    )
    partitions_bounds_filtered: bool = Field(
        default=False,
        description="Whether the incremental filter also applies when split bounds are looked up.",
        examples=[True],
    )
    fetchsize: int = Field(
        100_000, ge=1, description="Upper limit of rows per batch; the byte budget wins.", examples=[20000]
    )
    batchsize: int = Field(
        10_000,
        ge=1,
        description="Rows per statement where a destination has no bulk path, and through JDBC.",
        examples=[5000],
    )
    write_partitions: int | None = Field(
        None, ge=1, description="Writers of one load. Unwritten: chosen by the engine.", examples=[4]
    )
    dedup_columns: list[str] | None = Field(
        None,
        description="Columns hashed (xxhash64) into the column `settings.ingestion_id_column`.",
        examples=[["id", "updated_at"]],
    )
    write_strategy: Strategy | None = Field(
        None,
        description="How rows reach the table. Unwritten: replace for full, append for incremental.",
        examples=["upsert"],
    )
    write_key: list[str] | None = Field(
        None,
        min_length=1,
        description="Columns that identify a row; required for upsert and merge, and what delete_insert deletes by.",
        examples=[["id"]],
    )
    if_exists: IfExists | None = Field(
        None,
        description="An existing table is replaced (replace_mode auto) or emptied and filled (`append`: in_place). "
        "Unwritten: as in settings.",
        examples=["append"],
    )
    replace_mode: ReplaceMode = Field(
        "auto",
        description="`swap` loads a new table and renames it, `in_place` empties and fills the old one in one "
        "transaction, `auto` swaps unless something hangs on the table.",
        examples=["swap"],
    )
    allow_empty: bool = Field(
        default=False, description="Whether a read of zero rows may empty the table on replace.", examples=[True]
    )
    on_existing: Literal["refuse", "append"] = Field(
        "refuse", description="What to do with a target that has rows and no ledger.", examples=["append"]
    )
    shared: bool = Field(
        default=False,
        description="Whether several pipelines may write to this table, from one cursor. It then belongs to the last.",
        examples=[True],
    )
    schema_evolution: Literal["evolve", "freeze", "ignore"] = Field(
        "evolve",
        description="New columns at the source: `evolve` adds and widens, `freeze` fails, `ignore` leaves them out. No "
        "column becomes text but by `columns: {NAME: string}`.",
        examples=["freeze"],
    )
    columns: dict[str, TypeName] = Field(
        {},
        description="Types of columns, where the source's own should not be taken.",
        examples=[{"price": "decimal(12,2)"}],
    )
    column_name_case: ColumnNameCase | None = Field(
        None, description="Case of column names at the destination. Unwritten: as in settings.", examples=["lower"]
    )
    partition_by: list[str] = Field(
        [], description="Columns that make the folders of a file destination.", examples=[["country"]]
    )
    latest_view: str | None = Field(
        None,
        description="A view of the newest row per id of `dedup_columns`: its name, or true for `<target_name>_latest`.",
        examples=[True, "users_latest"],
        json_schema_extra={"anyOf": [{"type": "string"}, {"type": "boolean"}]},
    )
    on_bad_value: Literal["fail", "quarantine"] = Field(
        default="fail",
        description="A value its column cannot hold exactly ends the load, or its row goes to `<target>__quarantine`: "
        "cells of files, and what a transform or a narrower column of the target makes unfit. Whatever it says, a load "
        "ends at a value that a database cannot read as its type under `columns:`, at a cursor that is none, and where "
        "the destination is files.",
        examples=["quarantine"],
    )
    load_rows: int = Field(
        10_000_000, ge=1, description="Rows per load of the chain that a first incremental load is.", examples=[1000000]
    )
    boundary_limit: int = Field(
        100_000,
        ge=0,
        description="Rows that may share the last cursor before a key or a finer cursor is asked for.",
        examples=[500000],
    )
    accept_source_change: bool = Field(
        default=False, description="Go on although the source is another server than at the last run.", examples=[True]
    )
    spark: SparkTable | None = Field(
        None, description="How the Spark engine reads and writes the table.", examples=[{"io": "jdbc"}]
    )
    transform: str | None = Field(
        None,
        description="A Python function on frames, `path.py::function`, beside the project file.",
        examples=["transforms/clean_users.py::transform"],
        pattern=r"^.+\.py::[^\W\d]\w*$",
    )
    transform_sql: str | None = Field(
        None,
        description="A SELECT over the table `input`, in DuckDB's SQL.",
        examples=["SELECT * FROM input WHERE status <> 'deleted'"],
    )
    pass_on_error: bool = Field(
        default=False,
        description="Whether the other tables go on when this one fails; the run still fails.",
        examples=[True],
    )
    partitioner: str | None = Field(
        None, description="MongoDB's partitioner.", examples=["com.mongodb.spark.sql.connector.read.partitioner.X"]
    )
    partitioner_options: dict[str, str | int | float | bool] = Field(
        {}, description="Its options.", examples=[{"partition.size": 64}]
    )
    iceberg_partition_by: list[str] | None = Field(
        None, description="Partition transforms of an Iceberg table.", examples=[["day(created_at)", "bucket(16, id)"]]
    )
    iceberg_sort_by: list[str] | None = Field(None, description="Sort order of an Iceberg table.", examples=[["id"]])
    iceberg_properties: dict[str, str | int | float | bool] = Field(
        {}, description="Properties of an Iceberg table.", examples=[{"write.format.default": "parquet"}]
    )
    iceberg_schema_evolution: LakeEvolution = Field(
        "merge", description="How an Iceberg table takes new columns.", examples=["strict"]
    )
    delta_partition_by: list[str] | None = Field(
        None, description="Partition columns of a Delta table.", examples=[["country"]]
    )
    delta_z_order_by: list[str] | None = Field(
        None, description="Columns a Delta table is z-ordered by.", examples=[["id"]]
    )
    delta_properties: dict[str, str | int | float | bool] = Field(
        {}, description="Properties of a Delta table.", examples=[{"delta.appendOnly": "true"}]
    )
    delta_schema_evolution: LakeEvolution = Field(
        "merge", description="How a Delta table takes new columns.", examples=["strict"]
    )

    @model_validator(mode="before")
    @classmethod
    def _settle(cls, data: Any) -> Any:
        """`latest_view: true` becomes a name; a look-back with a unit on a date cursor becomes days."""
        if not isinstance(data, dict):
            return data
        settled = dict(data)
        if isinstance(settled.get("latest_view"), bool):
            settled["latest_view"] = f"{settled.get('target_name')}_latest" if settled["latest_view"] else None
        lookback = settled.get("lookback")
        if settled.get("iterate_column_type") == "date" and has_unit(lookback):
            settled["lookback"] = seconds_to_days(parse_duration(str(lookback)))
        return settled
