"""The ledger of a folder of files: the heads and history rows inside the targets' manifests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from penstock.connectors.files.adopt import adopt_files
from penstock.connectors.files.lock import take_lock
from penstock.connectors.files.manifest import Manifest, manifest_path, read_manifest, to_bytes
from penstock.connectors.files.options import FileExtra
from penstock.connectors.files.places import PRIVATE, lock_path, managed_folders, target_folder, write_atomically
from penstock.errors import FencedError
from penstock.records import dataclass
from penstock.values import Boundary, LedgerHead, LedgerRow, LoadId, TableName, utc_now

_LOCK_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class FilesLedger:
    """Reads are of whole manifests: a manifest is never seen half written."""

    options: FileExtra

    @property
    def root(self) -> Path:
        return self.options.path

    def heads(self, tables: Sequence[TableName]) -> Mapping[TableName, LedgerHead]:
        found = {table: read_manifest(target_folder(self.root, table)) for table in tables}
        return {table: manifest.head for table, manifest in found.items() if manifest is not None}

    def find(self, load: LoadId) -> LedgerRow | None:
        rows = (manifest.find(load) for manifest in self._manifests())
        return next((row for row in rows if row is not None), None)

    def history(self, table: TableName, limit: int) -> Sequence[LedgerRow]:
        """The newest 200 loads are kept."""
        manifest = read_manifest(target_folder(self.root, table))
        return tuple(reversed(manifest.history))[:limit] if manifest else ()

    def boundary(self, table: TableName) -> Boundary:
        manifest = read_manifest(target_folder(self.root, table))
        return manifest.boundary if manifest else Boundary()

    def set_head(self, table: TableName, head: LedgerHead, *, expected_epoch: int) -> None:
        folder = target_folder(self.root, table)
        (folder / PRIVATE).mkdir(parents=True, exist_ok=True)
        lock = take_lock(lock_path(folder), holder=head.holder, wait_seconds=_LOCK_WAIT_SECONDS)
        try:
            manifest = read_manifest(folder)
            stored = manifest.head.epoch if manifest else 0
            if stored != expected_epoch:
                raise FencedError(
                    f"{table} is at epoch {stored}, not {expected_epoch}: another run has been there",
                    where=str(manifest_path(folder)),
                    fix="look at `penstock status`, then repeat",
                    retryable=True,
                )
            changed = replace(head, changed_at=head.changed_at or utc_now())
            renewed = manifest or adopt_files(Manifest(changed), folder, self.options)
            renewed = replace(renewed, head=changed)
            write_atomically(manifest_path(folder), to_bytes(renewed))
        finally:
            lock.release()

    def _manifests(self) -> Iterator[Manifest]:
        for folder in managed_folders(self.root):
            manifest = read_manifest(folder)
            if manifest is not None:
                yield manifest
