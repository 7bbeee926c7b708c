"""The files below a folder, and those that a glob means; what cannot be looked into is an error, and not left out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import translate
from pathlib import Path

from penstock.errors import ExtractionError

_GLOB = re.compile(r"[*?\[]")
_ANY_DEPTH = "**"


def is_glob(name: str) -> bool:
    return _GLOB.search(name) is not None


def walk(folder: Path) -> Iterator[Path]:
    """Every file below the folder, hidden folders aside. Raises ExtractionError for a folder it cannot go into."""
    for entry in _entries(folder):
        path = Path(entry.path)
        if not _is_folder(entry):
            yield path
        elif not is_hidden(entry.name):
            _refuse_link(entry, folder)
            yield from walk(path)


def expand(folder: Path, pattern: str) -> Iterator[Path]:
    """The paths that match, each once. Raises ExtractionError for a folder it cannot go into."""
    yield from dict.fromkeys(_expand(folder, [part for part in pattern.split("/") if part not in ("", ".")]))


def _expand(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    first, rest = parts[0], parts[1:]
    if first == _ANY_DEPTH:
        for below in _folders(folder):
            yield from _expand(below, rest) if rest else (below,)
        return
    for path in _matching(folder, first):
        if not rest:
            yield path
        elif path.is_dir():
            yield from _expand(path, rest)


def _matching(folder: Path, part: str) -> Iterator[Path]:
    if not is_glob(part):
        yield from (path for path in [folder / part] if os.path.lexists(path))
        return
    matches = re.compile(translate(part)).match
    yield from (Path(e.path) for e in _entries(folder) if matches(e.name) and not is_hidden(e.name))


def _folders(folder: Path) -> Iterator[Path]:
    yield folder
    for entry in _entries(folder):
        if _is_folder(entry) and not is_hidden(entry.name):
            _refuse_link(entry, folder)
            yield from _folders(Path(entry.path))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []  # gone since it was seen
    except OSError as error:
        raise ExtractionError(
            f"the folder cannot be read: {error.strerror}",
            where=str(folder),
            fix="correct the rights of the folder, or name files that are elsewhere",
            fault="config",
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _refuse_link(entry: os.DirEntry[str], folder: Path) -> None:
    """Left out, its files would be missing; followed, a file could come twice or without end."""
    if entry.is_symlink():
        raise ExtractionError(
            f"{entry.name} is a link to a folder, which is not gone into",
            where=str(folder),
            fix="name its files by a glob that goes through it (folder/link/*.csv), or move the link away",
            fault="config",
        )


def refuse_dangling(path: Path) -> None:
    """Raises ExtractionError for a link that leads to nothing, or in a circle."""
    if path.is_symlink() and not path.exists():
        raise ExtractionError(
            f"{path.name} is a link that leads nowhere",
            where=str(path.parent),
            fix="bring back the file it leads to, or remove the link",
            fault="config",
        )


def is_hidden(name: str) -> bool:
    """Names that every reader of data folders passes over: `_SUCCESS`, `_penstock`, `.crc`."""
    return name.startswith((".", "_")) and "=" not in name


__all__ = ["expand", "is_glob", "is_hidden", "refuse_dangling", "walk"]
