"""Files that lay in a target's folder before its first load: they become parts of the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from penstock.connectors.files.listing import FileRef, Listing, list_folder
from penstock.connectors.files.manifest import Manifest, Part
from penstock.connectors.files.options import FileExtra
from penstock.connectors.files.read_csv import csv_names, read_csv
from penstock.connectors.files.read_jsonl import parse_lines, read_blocks
from penstock.connectors.files.read_parquet import read_footer
from penstock.connectors.files.schemas import describe_files
from penstock.values import StreamName, TableSchema


def describe_foreign(folder: Path, options: FileExtra) -> TableSchema | None:
    """The columns of the data files in a folder nobody keeps a manifest of; None where there are none."""
    listing = _list(folder, options)
    return describe_files(folder, listing, {}).schema if listing.files else None


def adopt_files(manifest: Manifest, folder: Path, options: FileExtra) -> Manifest:
    """The manifest with the folder's data files as its parts, counted."""
    listing = _list(folder, options)
    if not listing.files:
        return manifest
    described = describe_files(folder, listing, {})
    parts = tuple(_to_part(folder, ref) for ref in listing.files)
    columns = tuple(dict.fromkeys(name for ref in listing.files for name in ref.partition))
    return replace(manifest, schema=described.schema, parts=parts, partition_by=columns)


def _list(folder: Path, options: FileExtra) -> Listing:
    return Listing(StreamName(folder.name), list_folder(folder, options) if folder.is_dir() else ())


def _to_part(folder: Path, ref: FileRef) -> Part:
    return Part(
        path=ref.path,
        rows=_count_rows(folder, ref),
        size_bytes=ref.size,
        load_id="",
        format=ref.format,
        partition=ref.partition,
        columns=() if ref.header or ref.format != "csv" else csv_names(folder, ref),
        delimiter=ref.delimiter,
        null_value=ref.null_value,
        own=False,
    )


def _count_rows(folder: Path, ref: FileRef) -> int:
    if ref.format == "parquet":
        return read_footer(folder, ref).rows
    if ref.format == "jsonl":
        return sum(len(parse_lines(ref, block).rows) for block in read_blocks(folder, ref))
    names = csv_names(folder, ref)
    return sum(batch.num_rows for batch in read_csv(folder, ref, names[:1])) if names else 0
