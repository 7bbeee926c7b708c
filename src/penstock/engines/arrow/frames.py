"""The frames a transform may ask for: how each is made from Arrow batches, and given back as them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from penstock.engines.arrow.workspace import Workspace
from penstock.records import dataclass

if TYPE_CHECKING:
    import pyarrow as pa

_READ_ROWS: Final = 50_000
Call = Callable[[Any], Any]  # the user's function, of the frame alone


@dataclass(frozen=True, slots=True)
class Offer:
    """Rows on their way into a frame. `together`: they are the whole table, otherwise a batch of any size."""

    batches: Iterable[pa.RecordBatch]
    schema: pa.Schema
    together: bool
    workspace: Workspace

    def table(self) -> pa.Table:
        import pyarrow as pa

        return pa.Table.from_batches(self.batches, self.schema)


class WrongFrameError(TypeError):
    """The function returned something else than the frame it asked for."""


@dataclass(frozen=True, slots=True)
class FrameKind:
    """One kind of frame. `is_bounded`: the whole table goes through it in constant memory."""

    annotation: str
    run: Callable[[Offer, Call], Iterator[pa.RecordBatch]]
    is_bounded: bool


def _run_relation(offer: Offer, call: Call) -> Iterator[pa.RecordBatch]:
    import duckdb
    import pyarrow as pa

    with contextlib.ExitStack() as stack:
        cursor = stack.enter_context(offer.workspace.cursor())
        if not offer.together:
            frame = cursor.from_arrow(offer.table())
        elif is_storable(offer.schema):
            path = stack.enter_context(offer.workspace.file(".parquet"))
            _write_parquet(offer, path)
            frame = cursor.read_parquet(str(path))
        else:
            cursor.register("incoming", pa.RecordBatchReader.from_batches(offer.schema, offer.batches))
            cursor.execute("create temp table input as select * from incoming")
            cursor.unregister("incoming")
            frame = cursor.table("input")
        result = _checked(call(frame), duckdb.DuckDBPyRelation)
        reader = result.to_arrow_reader(_READ_ROWS)
        yield _empty(reader.schema)
        yield from reader


def _run_polars(offer: Offer, call: Call) -> Iterator[pa.RecordBatch]:
    import polars as pl

    result = call(pl.from_arrow(offer.table()))
    if isinstance(result, pl.LazyFrame):
        result = result.collect()
    yield from _batches(_checked(result, pl.DataFrame).to_arrow(compat_level=pl.CompatLevel.oldest()))


def _run_polars_lazy(offer: Offer, call: Call) -> Iterator[pa.RecordBatch]:
    import polars as pl

    with contextlib.ExitStack() as stack:
        if offer.together:
            path = stack.enter_context(offer.workspace.file(".arrow"))
            _write_ipc(offer, str(path))
            frame = pl.scan_ipc(path)
        else:
            frame = pl.from_arrow(offer.table()).lazy()
        result = call(frame)
        result = result.lazy() if isinstance(result, pl.DataFrame) else _checked(result, pl.LazyFrame)
        if not offer.together:
            yield from _batches(result.collect().to_arrow(compat_level=pl.CompatLevel.oldest()))
            return
        for part in result.collect_batches(chunk_size=_READ_ROWS, engine="streaming"):
            yield from part.to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches()


def _run_pandas(offer: Offer, call: Call) -> Iterator[pa.RecordBatch]:
    import pandas as pd
    import pyarrow as pa

    frame = offer.table().to_pandas(types_mapper=_pandas_dtype)
    yield from _batches(pa.Table.from_pandas(_checked(call(frame), pd.DataFrame), preserve_index=False))


def _pandas_dtype(kind: pa.DataType) -> Any:
    """Integers and booleans as pandas' own nullable types, which can do all arithmetic; the rest as Arrow's.

    Floats too: pandas' nullable ones turn NaN into NULL.
    """
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return pd.BooleanDtype()
    if pa.types.is_integer(kind):
        return pd.api.types.pandas_dtype(str(kind).replace("int", "Int").replace("uI", "UI"))
    return pd.ArrowDtype(kind)


def _run_table(offer: Offer, call: Call) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    yield from _batches(_checked(call(offer.table()), pa.Table))


def _run_batch(offer: Offer, call: Call) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    batches = offer.table().combine_chunks().to_batches()
    yield _checked(call(batches[0] if batches else _empty(offer.schema)), pa.RecordBatch)


def _batches(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """An empty batch first, so that the columns show even where there are no rows."""
    yield _empty(table.schema)
    yield from table.to_batches()


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_pylist([], schema=schema)


def _checked(result: Any, wanted: type) -> Any:
    if not isinstance(result, wanted):
        raise WrongFrameError(f"returned {type(result).__name__}, not {wanted.__name__}")
    return result


def is_storable(schema: pa.Schema) -> bool:
    """Whether Parquet keeps every column as it is.

    DuckDB reads a staged file in less memory than a table of its own: measured on a sort of 1.6M rows under 48 MB,
    which it could not do from a temporary table.
    """
    return all(_keeps_type(field.type) for field in schema)


def _keeps_type(kind: pa.DataType) -> bool:
    import pyarrow.types as pt

    if pt.is_nested(kind):
        return all(_keeps_type(kind.field(number).type) for number in range(kind.num_fields))
    lost = (pt.is_interval, pt.is_duration, pt.is_decimal256, pt.is_float16, pt.is_dictionary, pt.is_null, pt.is_time)
    nanoseconds = pt.is_timestamp(kind) and kind.unit == "ns"
    return not nanoseconds and not any(is_kind(kind) for is_kind in lost)


def _write_parquet(offer: Offer, path: Path) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(
        path, offer.schema, compression="snappy", use_dictionary=False, write_statistics=False
    ) as writer:
        for batch in offer.batches:
            writer.write_batch(batch)


def _write_ipc(offer: Offer, path: str) -> None:
    import pyarrow as pa

    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, offer.schema) as writer:
        for batch in offer.batches:
            writer.write_batch(batch)


FRAMES: Final[Mapping[str, FrameKind]] = {
    "duckdb.DuckDBPyRelation": FrameKind("duckdb.DuckDBPyRelation", _run_relation, is_bounded=True),
    "polars.DataFrame": FrameKind("polars.DataFrame", _run_polars, is_bounded=False),
    "polars.LazyFrame": FrameKind("polars.LazyFrame", _run_polars_lazy, is_bounded=True),
    "pandas.DataFrame": FrameKind("pandas.DataFrame", _run_pandas, is_bounded=False),
    "pyarrow.Table": FrameKind("pyarrow.Table", _run_table, is_bounded=False),
    "pyarrow.RecordBatch": FrameKind("pyarrow.RecordBatch", _run_batch, is_bounded=False),
}
# what `settings.transform_frame` may say of functions without an annotation
FRAME_NAMES: Final[Mapping[str, str]] = {
    "duckdb": "duckdb.DuckDBPyRelation",
    "polars": "polars.DataFrame",
    "polars_lazy": "polars.LazyFrame",
    "pandas": "pandas.DataFrame",
    "pyarrow": "pyarrow.Table",
    "arrow": "pyarrow.Table",
    "pyspark": "pyspark.DataFrame",  # the spark engine's
}
