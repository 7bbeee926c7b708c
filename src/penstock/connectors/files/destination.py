"""The write side of a folder of files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path

from penstock.connectors.files.adopt import describe_foreign
from penstock.connectors.files.ledger import FilesLedger
from penstock.connectors.files.load import FilesLoad, begin_load
from penstock.connectors.files.manifest import read_manifest
from penstock.connectors.files.options import FileExtra
from penstock.connectors.files.pieces import Job, PieceWriter
from penstock.connectors.files.places import target_folder
from penstock.errors import LoadError
from penstock.records import dataclass
from penstock.values import Limits, LoadPlan, Operation, TableName, TableSchema, WriteTicket

_OPERATIONS: frozenset[Operation] = frozenset(
    {
        "transaction",
        "create",
        "append",
        "delete_all",
        "swap",
        "stage",
        "add_column",
        "widen_column",
        "remote_pieces",
        "folders",
    }
)


def _limits() -> Limits:
    """Each writer holds a row group: more writers than cores cost memory and gain nothing."""
    return Limits(identifier_bytes=1 << 16, columns=10_000, writers=min(8, os.cpu_count() or 1))


@dataclass(frozen=True, slots=True)
class FilesDestination:
    """Tables are folders; their manifests say which files belong to them and hold the ledger."""

    options: FileExtra
    identity: str
    limits: Limits = field(default_factory=_limits)

    @property
    def operations(self) -> frozenset[Operation]:
        return _OPERATIONS if self.options.format == "csv" else _OPERATIONS | {"nested"}

    def check(self) -> None:
        path = self.options.path
        while not path.exists():
            path = path.parent
        if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
            raise LoadError(
                "the folder cannot be written to",
                where=str(path),
                fix="correct extra.path, or the rights of the folder",
                fault="config",
            )

    def describe(self, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema | None]:
        return {table: self._describe(target_folder(self.options.path, table)) for table in tables}

    def _describe(self, folder: Path) -> TableSchema | None:
        manifest = read_manifest(folder)
        return manifest.schema if manifest is not None else describe_foreign(folder, self.options)

    def ledger(self) -> FilesLedger:
        return FilesLedger(self.options)

    def begin(self, plan: LoadPlan) -> FilesLoad:
        try:
            return begin_load(target_folder(self.options.path, plan.target), plan, self.options)
        except OSError as error:
            raise LoadError(
                f"the folder of {plan.target} cannot be written: {error.strerror or error}",
                where=str(self.options.path),
                fix="make room, or correct the rights of the folder",
                fault="transient",
            ) from error

    def writer(self, ticket: WriteTicket) -> PieceWriter:
        return PieceWriter(Job.from_json(ticket.work))
