"""Which files a stream name means: a file, a glob, a folder, or a table written here (by its manifest)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

from penstock.connectors.files.manifest import Manifest, Part, read_manifest
from penstock.connectors.files.options import FileExtra
from penstock.connectors.files.places import (
    NULL_PARTITION,
    PRIVATE,
    check_inside,
    check_name,
    managed_folders,
    stays_inside,
    to_segment,
)
from penstock.connectors.files.walk import expand, is_glob, is_hidden, refuse_dangling, walk
from penstock.errors import ExtractionError, SourceChangedError
from penstock.records import dataclass
from penstock.values import Json, StreamName, TableSchema

_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
_CODECS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2", ".lz4": "lz4"}


@dataclass(frozen=True, slots=True)
class FileRef:
    """One file as it was listed; JSON-able. Reading it checks that it is still the same."""

    path: str
    size: int
    mtime_ns: int
    format: str
    codec: str | None = None
    partition: Mapping[str, str | None] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    header: bool = True
    delimiter: str = ","
    null_value: str = ""
    encoding: str = "utf-8"
    needs_final_newline: bool = True
    own: bool = False
    rows: int | None = None
    row_groups: tuple[int, ...] | None = None

    def to_json(self) -> dict[str, Json]:
        groups = list[Json](self.row_groups) if self.row_groups is not None else None
        return {**asdict(self), "columns": list[Json](self.columns), "row_groups": groups}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FileRef:
        groups = data["row_groups"]
        fixed = {"columns": tuple(data["columns"]), "row_groups": tuple(groups) if groups is not None else None}
        return cls(**{**data, **fixed})


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one stream in a fixed order. `schema` is known beforehand for a table written here."""

    name: StreamName
    files: tuple[FileRef, ...]
    schema: TableSchema | None = None


def list_stream(root: Path, name: StreamName, options: FileExtra) -> Listing | None:
    """None where nothing of that name is there. Raises ConfigError for a name that would leave the folder."""
    managed = _managed_folder(root, name)
    if managed is not None:
        manifest = read_manifest(managed)
        if manifest is not None and manifest.schema is not None:
            return _list_manifest(root, managed, name, manifest, manifest.schema)
    check_name(name, root)
    found = sorted(_match(root, name), key=str)
    try:
        files = tuple(_refer(root, path, options) for path in found)
    except FileNotFoundError as error:
        raise SourceChangedError(
            "a file was removed while the files were listed", where=str(error.filename), fix="run again", retryable=True
        ) from error
    return Listing(name, files) if files else None


def list_folder(folder: Path, options: FileExtra) -> tuple[FileRef, ...]:
    """The data files below a folder, paths relative to it."""
    return tuple(_refer(folder, path, options) for path in sorted(_data_files(folder), key=str))


def list_names(root: Path) -> Iterator[StreamName]:
    """Tables written here, folders of data files, and single files at the top."""
    managed = set(managed_folders(root))
    for folder in sorted(managed):
        manifest = read_manifest(folder)
        if manifest is not None:
            yield StreamName(manifest.head.target)
    for path in sorted(root.iterdir()):
        if path in managed or is_hidden(path.name):
            continue
        if path.is_file() and format_of(path) is not None:
            yield StreamName(path.name)
        if path.is_dir() and _has_data(path):
            yield StreamName(path.name)


def _has_data(folder: Path) -> bool:
    try:
        return next(_data_files(folder), None) is not None
    except ExtractionError:
        return True  # reading it says what is wrong with it


def _managed_folder(root: Path, name: str) -> Path | None:
    """The folder of the table of that name, or of that folder, where it has a manifest."""
    schema, dot, table = name.partition(".")
    candidates = [root / to_segment(name)]
    if dot:
        candidates.append(root / to_segment(schema) / to_segment(table))
    if stays_inside(name):
        candidates.append(root / name)
    return next((c for c in candidates if (c / PRIVATE / "manifest.json").is_file()), None)


def _list_manifest(root: Path, folder: Path, name: StreamName, manifest: Manifest, schema: TableSchema) -> Listing:
    try:
        files = tuple(_refer_part(root, folder, part) for part in manifest.parts)
    except FileNotFoundError as error:
        raise SourceChangedError(
            f"{name} was replaced while its files were listed",
            where=str(folder),
            fix="run again",
            retryable=True,
        ) from error
    return Listing(name, files, schema)


def _refer_part(root: Path, folder: Path, part: Part) -> FileRef:
    path = folder / part.path
    found = path.stat()
    return FileRef(
        path=str(path.relative_to(root)),
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        format=part.format,
        codec=_CODECS.get(path.suffix) if part.format != "parquet" else None,
        partition=part.partition,
        columns=part.columns,
        header=not part.columns,
        delimiter=part.delimiter,
        null_value=part.null_value,
        needs_final_newline=False,
        own=part.own,
        rows=part.rows,
    )


def _match(root: Path, name: str) -> Iterator[Path]:
    literal = root / name
    if literal.is_dir():
        yield from _data_files(literal)
    elif literal.exists():
        yield literal
    elif literal.is_symlink():
        refuse_dangling(literal)
    elif is_glob(name):
        for path in expand(root, name):
            if _is_data(path, root):
                yield path


def _data_files(folder: Path) -> Iterator[Path]:
    for path in walk(folder):
        if format_of(path) is not None and _is_data(path, folder):
            yield path


def _is_data(path: Path, folder: Path) -> bool:
    if any(is_hidden(part) for part in path.relative_to(folder).parts):
        return False
    refuse_dangling(path)
    return path.is_file()


def format_of(path: Path) -> str | None:
    """The format that a file's name tells, compression aside."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in _CODECS:
        suffixes.pop()
    return _FORMATS.get(suffixes[-1]) if suffixes else None


def _refer(root: Path, path: Path, options: FileExtra) -> FileRef:
    check_inside(path, root)
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ExtractionError(
            f"{path.relative_to(root)} is not a file", where=str(root), fix="name ordinary files", fault="config"
        )
    known = format_of(path) or options.format
    codec = _CODECS.get(path.suffix.lower()) if known != "parquet" else None
    tabbed = path.name.lower().removesuffix(path.suffix if codec else "").endswith(".tsv") and options.delimiter == ","
    return FileRef(
        path=str(path.relative_to(root)),
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        format=known,
        codec=codec,
        partition=_partition_of(path.relative_to(root)),
        header=options.header,
        delimiter="\t" if tabbed else options.delimiter,
        null_value=options.null_value,
        encoding=options.encoding,
        needs_final_newline=options.final_newline == "required" and codec is None,
    )


def _partition_of(path: Path) -> dict[str, str | None]:
    values: dict[str, str | None] = {}
    for segment in path.parts[:-1]:
        column, sign, text = segment.partition("=")
        if sign and column:
            values[unquote(column)] = None if text == NULL_PARTITION else unquote(text)
    return values


def open_checked(root: Path, ref: FileRef) -> BinaryIO:
    """The file, proved to be the one that was listed. Raises SourceChangedError."""
    path = root / ref.path
    try:
        check_inside(path, root)
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)
    except FileNotFoundError as error:
        raise _changed(ref, "is gone") from error
    except OSError as error:
        raise ExtractionError(
            f"{ref.path} cannot be opened: {error.strerror}", where=str(root), fix="check the rights of the file"
        ) from error
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode) or (found.st_size, found.st_mtime_ns) != (ref.size, ref.mtime_ns):
        file.close()
        raise _changed(ref, "has changed since it was listed")
    return cast("BinaryIO", file)


def check_unchanged(root: Path, ref: FileRef, file: BinaryIO) -> None:
    """Raises SourceChangedError when the file was written to or replaced while it was read."""
    was = os.fstat(file.fileno())
    try:
        now = (root / ref.path).stat()
    except FileNotFoundError as error:
        if ref.own and was.st_size == ref.size:
            return  # a newer load of the table removed it: what was read is whole
        raise _changed(ref, "was removed while it was read") from error
    same = (was.st_ino, was.st_size, was.st_mtime_ns) == (now.st_ino, now.st_size, now.st_mtime_ns)
    if not same or (was.st_size, was.st_mtime_ns) != (ref.size, ref.mtime_ns):
        raise _changed(ref, "was changed while it was read")


def _changed(ref: FileRef, what: str) -> SourceChangedError:
    return SourceChangedError(
        f"{ref.path} {what}",
        where=ref.path,
        fix="let files be finished before they are named so that the stream finds them (write, then rename)",
        retryable=True,
    )
