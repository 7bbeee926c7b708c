"""What splits wrote: one file each, so that a writer in any process can leave one and the first attempt wins."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import LoadError
from penstock.failpoints import failpoint
from penstock.protocols import Chunks
from penstock.records import dataclass
from penstock.schema.types import from_arrow_schema
from penstock.testing.memory.store import Row
from penstock.values import Batch, Into, Piece, SplitId, WriteTicket

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class PieceWriter:
    """Writes the pieces of one load into `folder`; opens in any process."""

    folder: str

    @classmethod
    def from_ticket(cls, ticket: WriteTicket) -> PieceWriter:
        return cls(str(ticket.work["folder"]))

    def write(self, split_id: SplitId, attempt: int, batches: Iterator[Batch], *, into: Into = "target") -> Piece:
        """Safe to repeat: whichever attempt of a split is published first is the one that counts."""
        folder = Path(self.folder)
        if not folder.is_dir():
            raise LoadError(f"the load that split {split_id} belongs to is over", fix="start the load again")
        draft = folder / f"{into}-{split_id}-{attempt}.draft"
        write_draft(draft, batches)
        failpoint("load.piece_written")
        final = folder / f"{into}-{split_id}.arrow"
        with contextlib.suppress(FileExistsError):
            os.link(draft, final)
        failpoint("load.piece_committed")
        draft.unlink()
        return piece_of(final, split_id, attempt, into)

    def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
        raise LoadError(f"memory takes no undecoded bytes ({chunks.encoding}, split {split_id}, attempt {attempt})")


def write_draft(path: Path, batches: Iterator[Batch]) -> None:
    import pyarrow as pa

    seen = []
    for batch in batches:
        seen.append(batch.rows)
        failpoint("load.batch_written")
    table = one_table(seen)
    named = {**(table.schema.metadata or {}), b"attempt": path.stem.rpartition("-")[2]}
    with path.open("wb") as file, pa.ipc.new_file(file, table.schema.with_metadata(named)) as writer:
        writer.write_table(table.replace_schema_metadata(named))


def one_table(batches: list[pa.RecordBatch]) -> pa.Table:
    """The batches as one table; columns of which the batches disagree become text."""
    import pyarrow as pa

    tables = [pa.Table.from_batches([batch]) for batch in batches]
    try:
        return pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
    except pa.ArrowTypeError:
        rows = [row for table in tables for row in table.to_pylist()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: list[object]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values)
    except pa.ArrowInvalid:
        return pa.array([v if v is None or isinstance(v, str) else json.dumps(v) for v in values])


def piece_of(path: Path, split_id: SplitId, attempt: int, into: Into) -> Piece:
    table = read_piece(path)
    kept = int((table.schema.metadata or {}).get(b"attempt", str(attempt).encode()))
    return Piece(
        split=split_id,
        attempt=kept,
        rows=table.num_rows,
        size_bytes=path.stat().st_size,
        into=into,
        work={"file": str(path)},
        schema=from_arrow_schema(table.schema),
    )


def read_piece(path: Path) -> pa.Table:
    import pyarrow as pa

    with pa.ipc.open_file(path) as reader:
        return reader.read_all()


def rows_of(piece: Piece) -> list[Row]:
    table = read_piece(Path(str(piece.work["file"])))
    rows: list[Row] = table.to_pylist()
    return rows
