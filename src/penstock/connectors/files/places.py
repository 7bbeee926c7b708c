"""Where things lie: names as path segments, paths that never leave their folder, writes that survive a crash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from penstock.errors import ConfigError, ExtractionError, LoadError
from penstock.values import TableName

PRIVATE = "_penstock"
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_SEGMENT_BYTES = 200  # of the 255 a file system allows: prefixes and extensions need the rest
_NAME_BYTES = 255
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-. ")


def to_segment(name: str, *, limit: int = _SEGMENT_BYTES) -> str:
    """Any name as one path segment: percent-encoded, different for different names, never hidden, never ours.

    A name too long for the file system is cut and ends in a hash of the whole.
    """
    encoded = "".join(c if _is_plain(c) else _percent(c) for c in name)
    if encoded.startswith((".", PRIVATE)):
        encoded = _percent(encoded[0]) + encoded[1:]
    if encoded.endswith((" ", ".")):
        encoded = encoded[:-1] + _percent(encoded[-1])
    if not encoded:
        return "%"
    if len(encoded.encode()) <= limit:
        return encoded
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return encoded.encode()[: limit - 18].decode("utf-8", "ignore") + "%~" + digest


def _is_plain(char: str) -> bool:
    return char in _SAFE or (ord(char) > 0x9F and char.isprintable())


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def partition_segment(column: str, value: str | None) -> str:
    """`column=value` as Hive lays folders out."""
    text = NULL_PARTITION if value is None else _escape(value)
    return f"{_escape(column)}={text}"


def _escape(text: str) -> str:
    """Percent-encoding that every Hive reader undoes: the letters, digits and marks no file system minds stay."""
    escaped = "".join(c if c in _SAFE and c != " " else _percent(c) for c in text)
    if len(escaped.encode()) > _SEGMENT_BYTES:
        raise ConfigError(
            "a partition value is too long for a folder name",
            fix=f"partition by a column whose values stay under {_SEGMENT_BYTES} encoded bytes",
        )
    return escaped


def target_folder(root: Path, table: TableName) -> Path:
    """The folder of a target: one path segment for its name, another above it for its schema."""
    folder = root / to_segment(table.schema) if table.schema else root
    return folder / to_segment(table.name)


def lock_path(folder: Path) -> Path:
    return folder / PRIVATE / "lock"


def managed_folders(root: Path) -> Iterator[Path]:
    """Every target's folder below `root`, by name."""
    try:
        pattern = f"{PRIVATE}/manifest.json"
        found = [*root.glob(f"*/{pattern}"), *root.glob(f"*/*/{pattern}")]
    except OSError as error:
        raise LoadError(f"the folder cannot be listed: {error.strerror}", where=str(root), fault="transient") from error
    yield from sorted(path.parent.parent for path in found)


def check_name(name: str, root: Path) -> None:
    """Raises ConfigError for a stream name that would leave the folder."""
    if not stays_inside(name):
        raise ConfigError(
            f"stream {name!r} does not stay in its folder",
            where=str(root),
            fix="name a file, a glob or a folder relative to extra.path, without '..'",
        )


def stays_inside(name: str) -> bool:
    """Whether a name can be a path below its folder, links aside."""
    parts = name.replace("\\", "/").split("/")
    outward = not name or "\0" in name or Path(name).is_absolute() or ".." in parts
    return not outward and all(len(p.encode("utf-8", "surrogatepass")) <= _NAME_BYTES for p in parts)


def check_inside(path: Path, root: Path) -> None:
    """Raises ExtractionError when a link leads out of the folder."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise ExtractionError(
            f"{path.relative_to(root)} leads out of its folder",
            where=str(root),
            fix="links inside extra.path may not point outside it; copy the file in, or widen extra.path",
            fault="config",
        )


def write_atomically(path: Path, content: bytes) -> None:
    """The file holds all of `content` or is untouched, whatever dies when. Leaves `<name>.tmp` behind when it dies."""
    temporary = stage_file(path, content)
    temporary.replace(path)
    sync_folder(path.parent)


def stage_file(path: Path, content: bytes) -> Path:
    """Write `content` beside `path`, durably, without touching `path`."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
