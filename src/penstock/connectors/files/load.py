"""One load into one target: pieces become parts by renaming, and the new manifest, renamed into place, commits them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from penstock.connectors.files.adopt import adopt_files
from penstock.connectors.files.lock import TargetLock, take_lock
from penstock.connectors.files.manifest import MANIFEST, Manifest, Part, manifest_path, read_manifest, to_bytes
from penstock.connectors.files.options import FileExtra
from penstock.connectors.files.pieces import Job, PieceWriter, WrittenFile, check_partitions, final_path
from penstock.connectors.files.places import PRIVATE, lock_path, stage_file, sync_folder
from penstock.connectors.files.sinks import Style
from penstock.errors import CommitUnknownError, ConfigError, FencedError, LoadError
from penstock.failpoints import failpoint
from penstock.protocols import Chunks
from penstock.records import dataclass
from penstock.values import (
    START,
    Account,
    AddColumns,
    Batch,
    CommitReceipt,
    CreateTable,
    DeleteAll,
    Insert,
    Into,
    LedgerHead,
    LedgerRow,
    LoadPlan,
    Piece,
    SplitId,
    Swap,
    TableSchema,
    WidenColumns,
    WriteTicket,
    utc_now,
)

_OUR_PART = re.compile(r"part-[0-9a-f]{12}-.+\.(parquet|csv|jsonl)(\.gz|\.zst)?")


def begin_load(folder: Path, plan: LoadPlan, options: FileExtra) -> FilesLoad:
    """Take the lock, raise the epoch, clear what older epochs left."""
    _check_steps(plan, str(folder))
    (folder / PRIVATE).mkdir(parents=True, exist_ok=True)
    failpoint("load.target_created")
    lock = take_lock(lock_path(folder), holder=plan.holder or plan.run_id, wait_seconds=plan.lock_wait_seconds)
    try:
        failpoint("begin.locked")
        manifest = _raise_epoch(folder, plan, options)
        _clear_litter(folder, manifest)
        job = make_job(folder, plan, options, manifest)
        job.workspace.mkdir(parents=True)
        failpoint("load.stage_created")
        return FilesLoad(folder, plan, job, lock)
    except BaseException:
        lock.release()
        raise


def _check_steps(plan: LoadPlan, where: str) -> None:
    able = (CreateTable, AddColumns, WidenColumns, DeleteAll, Insert, Swap)
    unable = [step.verb for step in plan.steps if not isinstance(step, able)]
    if unable:
        raise ConfigError(f"files cannot {', '.join(unable)}", where=where, fix="use write_strategy append or replace")


def _raise_epoch(folder: Path, plan: LoadPlan, options: FileExtra) -> Manifest:
    manifest = read_manifest(folder)
    if manifest is None:
        manifest = _first_manifest(folder, plan, options)
    head = manifest.head
    if plan.sequence != head.sequence + 1 or plan.generation not in (head.generation, head.generation + 1):
        raise FencedError(
            f"{plan.target} has moved on to load {head.generation}.{head.sequence} since load "
            f"{plan.generation}.{plan.sequence} was planned",
            where=str(manifest_path(folder)),
            fix="run again: it plans from where the table stands now",
            retryable=True,
        )
    _check_layout(manifest, plan, str(folder))
    raised = replace(head, epoch=head.epoch + 1, holder=plan.holder, changed_at=utc_now())
    renewed = replace(manifest, head=raised)
    staged = stage_file(manifest_path(folder), to_bytes(renewed))
    failpoint("begin.epoch_written")
    staged.replace(manifest_path(folder))
    failpoint("begin.epoch_committed")
    sync_folder(folder / PRIVATE)
    sync_folder(folder.parent)
    return renewed


def _first_manifest(folder: Path, plan: LoadPlan, options: FileExtra) -> Manifest:
    """Files that lie here already belong to the table from now on: load/ was told of them and let this load begin."""
    head = LedgerHead(
        target=str(plan.target),
        stream=plan.stream,
        owner=plan.owner,
        generation=1,
        epoch=0,
        sequence=0,
        position=START,
        state="done",
        load_id=None,
        holder=plan.holder,
    )
    return adopt_files(Manifest(head), folder, options)


def _check_layout(manifest: Manifest, plan: LoadPlan, where: str) -> None:
    check_partitions(plan.schema, plan.partition_by, where)
    if manifest.schema is None or _creates(plan) or manifest.partition_by == plan.partition_by:
        return
    raise ConfigError(
        f"{plan.target} is laid out by {', '.join(manifest.partition_by) or 'no column'}, "
        f"not by {', '.join(plan.partition_by) or 'none'}",
        where=where,
        fix="set partition_by to what the table has, or run once with --full-refresh",
    )


def _creates(plan: LoadPlan) -> bool:
    return any(isinstance(step, CreateTable) for step in plan.steps)


def make_job(folder: Path, plan: LoadPlan, options: FileExtra, manifest: Manifest) -> Job:
    style = Style(
        format=options.format,
        compression=options.written_compression,
        delimiter=options.delimiter,
        header=options.header,
        null_value=options.null_value,
        max_file_bytes=options.max_file_bytes,
    )
    schema = plan.schema.without(plan.order_column) if plan.order_column else plan.schema
    return Job(str(folder), plan.load_id, manifest.head.epoch, schema, style, plan.partition_by)


def _clear_litter(folder: Path, manifest: Manifest) -> None:
    """Remove what no manifest names: workspaces of older epochs, and parts renamed by a load that died then."""
    if (folder / PRIVATE / "tmp").exists():
        shutil.rmtree(folder / PRIVATE / "tmp")
    half_written = manifest_path(folder).with_name(f"{MANIFEST}.tmp")
    if half_written.is_file():
        half_written.unlink()
    known = {part.path for part in manifest.parts}
    for path in _our_parts(folder):
        if str(path.relative_to(folder)) not in known:
            path.unlink(missing_ok=True)
            _remove_empty(path.parent, folder)


def _our_parts(folder: Path) -> Iterator[Path]:
    for path in list(folder.rglob("part-*")):
        inside = path.relative_to(folder).parts
        if inside[0] != PRIVATE and _OUR_PART.fullmatch(path.name) and path.is_file():
            yield path


def _remove_empty(path: Path, folder: Path) -> None:
    while path != folder and path.is_dir() and not any(path.iterdir()):
        path.rmdir()
        path = path.parent


@dataclass(slots=True)
class FilesLoad:
    """Holds the target's lock until it commits or is aborted."""

    folder: Path
    plan: LoadPlan
    job: Job
    _lock: TargetLock

    @property
    def ticket(self) -> WriteTicket | None:
        if self.plan.route == "direct":
            return None
        return WriteTicket(self.plan.load_id, self.job.to_json())

    def write(self, split_id: SplitId, attempt: int, batches: Iterator[Batch], *, into: Into = "target") -> Piece:
        return PieceWriter(self.job).write(split_id, attempt, batches, into=into)

    def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
        return PieceWriter(self.job).relay(split_id, attempt, chunks)

    def commit(self, pieces: Sequence[Piece], account: Account) -> CommitReceipt:
        failpoint("commit.started")
        before = read_manifest(self.folder)
        known = before.find(self.plan.load_id) if before else None
        if known is not None and known.epoch == self.job.epoch:
            return _receipt(known, repeated=True)
        if before is None or before.head.epoch != self.job.epoch or not self._lock.is_held:
            raise self._overtaken(before)
        try:
            row = self._publish(before, pieces, account)
        except OSError as error:
            raise LoadError(
                f"the load cannot be committed: {error.strerror or error}",
                where=str(self.folder),
                fix="make room or give the right to write there, then run again: nothing of this load is visible",
                fault="transient",
            ) from error
        return _receipt(row, repeated=False)

    def abort(self) -> None:
        failpoint("abort.started")
        try:
            manifest = read_manifest(self.folder) if self._lock.is_held else None
            if manifest is not None and manifest.head.epoch == self.job.epoch:
                _clear_litter(self.folder, manifest)
        finally:
            self._lock.release()

    def _overtaken(self, before: Manifest | None) -> FencedError:
        epoch = before.head.epoch if before else 0
        return FencedError(
            f"{self.plan.target}: this load began in epoch {self.job.epoch} and the table is in epoch {epoch}",
            where=str(manifest_path(self.folder)),
            fix="run again; nothing of this load is visible",
            retryable=True,
        )

    def _publish(self, before: Manifest, pieces: Sequence[Piece], account: Account) -> LedgerRow:
        written = sum(piece.rows for piece in pieces)
        if account.expected is not None and written != account.expected:
            raise LoadError(
                f"{written} rows are in the files, {account.expected} were handed over",
                where=str(self.folder),
                fault="internal",
            )
        row = self._ledger_row(account, written)
        after = self._next_manifest(before, self._parts(pieces), account, row)
        failpoint("commit.schema_changed")
        self._rename_parts(pieces)
        failpoint("commit.applied")
        # Before the manifest: once the load is in, no later run may come to clear what a crash left here.
        shutil.rmtree(self.job.workspace.parent)
        self._replace_manifest(after)
        self._clean(before, after)
        return row

    def _parts(self, pieces: Sequence[Piece]) -> list[Part]:
        style = self.job.style
        return [
            Part(
                path=final_path(self.job, piece.split, file),
                rows=file.rows,
                size_bytes=file.size_bytes,
                load_id=self.plan.load_id,
                format=style.format,
                partition=file.partition,
                columns=() if style.header else self.job.stored.names,
                delimiter=style.delimiter,
                null_value=style.null_value,
            )
            for piece in pieces
            for file in _files_of(piece)
        ]

    def _rename_parts(self, pieces: Sequence[Piece]) -> None:
        folders = {self.folder}
        for piece in pieces:
            for file in _files_of(piece):
                final = self.folder / final_path(self.job, piece.split, file)
                final.parent.mkdir(parents=True, exist_ok=True)
                (self.job.workspace / file.path).replace(final)
                failpoint("files.part_renamed")
                folders.update(p for p in final.parents if p.is_relative_to(self.folder))
        for folder in folders:
            sync_folder(folder)

    def _replace_manifest(self, after: Manifest) -> None:
        path = manifest_path(self.folder)
        staged = stage_file(path, to_bytes(after))
        failpoint("files.manifest_written")
        failpoint("commit.ledger_written")
        staged.replace(path)
        failpoint("files.manifest_renamed")
        try:
            sync_folder(path.parent)
        except OSError as error:
            raise CommitUnknownError(
                f"the manifest is in place, and the disk would not confirm it: {error.strerror}",
                where=str(path),
                fix="check the disk; the next run reads the manifest and knows",
            ) from error
        failpoint("commit.committed")

    def _clean(self, before: Manifest, after: Manifest) -> None:
        kept = {part.path for part in after.parts}
        for part in before.parts:
            if part.path not in kept:
                path = self.folder / part.path
                path.unlink(missing_ok=True)
                _remove_empty(path.parent, self.folder)
        self._lock.release()
        failpoint("commit.cleaned")

    def _ledger_row(self, account: Account, written: int) -> LedgerRow:
        plan = self.plan
        return LedgerRow(
            load_id=plan.load_id,
            target=str(plan.target),
            generation=plan.generation,
            sequence=plan.sequence,
            epoch=self.job.epoch,
            run_id=plan.run_id,
            strategy=plan.strategy,
            route=plan.route,
            position=account.position,
            rows_read=account.read,
            rows_deduplicated=account.deduplicated_in,
            rows_written=written,
            rows_quarantined=account.quarantined,
            digest=account.digest,
            committed_at=utc_now(),
        )

    def _next_manifest(self, before: Manifest, added: list[Part], account: Account, row: LedgerRow) -> Manifest:
        plan = self.plan
        empties = _creates(plan) or any(isinstance(step, DeleteAll) for step in plan.steps)
        head = replace(
            before.head,
            stream=plan.stream,
            owner=plan.owner,
            generation=plan.generation,
            sequence=plan.sequence,
            position=account.position,
            state="open" if account.unfinished else "done",
            load_id=plan.load_id,
            holder=plan.holder,
            changed_at=row.committed_at,
        )
        return Manifest(
            head=head,
            schema=next_schema(before.schema, self.job.schema, plan),
            partition_by=plan.partition_by,
            parts=(*(() if empties else before.parts), *added),
            history=(*before.history, row),
            boundary=before.boundary if account.boundary is None else account.boundary,
        )


def next_schema(before: TableSchema | None, written: TableSchema, plan: LoadPlan) -> TableSchema:
    """The table's columns once the plan's steps are done. Older parts lack new columns, and are read as NULL there."""
    if before is None or _creates(plan):
        return written
    fields = {f.name: f for f in before.fields}
    for step in plan.steps:
        if isinstance(step, AddColumns):
            fields.update({f.name: replace(f, nullable=True) for f in step.fields if f.name not in fields})
        if isinstance(step, WidenColumns):
            fields.update({f.name: replace(fields[f.name], type=f.type, native=f.native) for f in step.fields})
    return replace(before, fields=tuple(fields.values()))


def _files_of(piece: Piece) -> list[WrittenFile]:
    files = cast("Sequence[Mapping[str, Any]]", piece.work.get("files", []))
    return [WrittenFile(**file) for file in files]


def _receipt(row: LedgerRow, *, repeated: bool) -> CommitReceipt:
    return CommitReceipt(
        load_id=row.load_id,
        generation=row.generation,
        sequence=row.sequence,
        written=row.rows_written,
        deduplicated_out=0,
        position=row.position,
        committed_at=row.committed_at,
        repeated=repeated,
    )
