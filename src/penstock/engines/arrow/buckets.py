"""Rows of equal keys brought together: in memory while they fit, else in files by the hash of their keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.engines.arrow.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY_BYTES = 64 << 20
_BUCKETS = 64


def cut_by_keys(
    batches: Iterable[pa.RecordBatch], keys: Sequence[str], workspace: Workspace
) -> Iterator[Iterable[pa.RecordBatch]]:
    """The rows in parts, all rows of a key in one of them; a part is to be read before the next is asked for.

    More than `MEMORY_BYTES` of rows are told apart by a hash of DuckDB's, for which equal values are equal: NULLs,
    NaNs and both zeros are each one key.
    """
    held: list[pa.RecordBatch] = []
    size_bytes, rest = 0, iter(batches)
    for batch in rest:
        held.append(batch)
        size_bytes += batch.nbytes
        if size_bytes > MEMORY_BYTES:
            break
    else:
        yield held
        return
    with workspace.folder() as folder:
        buckets = _Buckets(folder, keys, workspace)
        buckets.fill(held)
        held.clear()
        buckets.fill(rest)
        for path in buckets.paths():
            yield from _read(path)


def _read(path: Path) -> Iterator[Iterable[pa.RecordBatch]]:
    import pyarrow as pa

    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
        yield reader
    path.unlink()


class _Buckets:
    """A file for each bucket that has rows."""

    def __init__(self, folder: Path, keys: Sequence[str], workspace: Workspace) -> None:
        self._folder = folder
        self._keys = keys
        self._workspace = workspace
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}

    def fill(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Take all rows in. `paths` must follow."""
        with self._workspace.cursor() as cursor:
            for batch in batches:
                self._put(batch, self._numbers(cursor, batch))

    def paths(self) -> list[Path]:
        for writer in self._writers.values():
            writer.close()
        return [self._path(number) for number in self._writers]

    def _numbers(self, cursor: object, batch: pa.RecordBatch) -> pa.Array:
        import pyarrow as pa

        named = [f"k{number}" for number in range(len(self._keys))]
        keys = pa.Table.from_arrays([batch.column(key) for key in self._keys], names=named)
        hashed = cursor.from_arrow(keys).project(f"(hash({', '.join(named)}) % {_BUCKETS})::UTINYINT AS bucket")  # type: ignore[attr-defined]
        return hashed.to_arrow_table().column("bucket").combine_chunks()

    def _put(self, batch: pa.RecordBatch, numbers: pa.Array) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        order = pc.sort_indices(numbers, sort_keys=[("", "ascending")])
        rows, sorted_numbers = batch.take(order), numbers.take(order)
        start = 0
        for found in pc.value_counts(sorted_numbers).to_pylist():
            part = rows.slice(start, found["counts"])
            start += found["counts"]
            number = found["values"]
            if number not in self._writers:
                self._writers[number] = pa.ipc.new_stream(str(self._path(number)), batch.schema)
            self._writers[number].write_batch(part)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.arrow"
