"""Where tasks and this process leave rows for each other: a folder of this machine, or a URL that all of them reach.

A URL is whatever Arrow's file systems open: `s3://`, `gs://`, `abfss://`, and `file:///...` for a folder that is on
every machine.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.config.paths import is_url
from penstock.errors import ConfigError, LoadError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import fs

_PREFIX = "penstock-staging-"
_STAMP = "%Y%m%dT%H%M%S"
_FORGOTTEN = timedelta(days=7)  # no load that is under way is older, and none that was killed comes back


def inside(folder: str, name: str) -> str:
    """The place of a file in a folder; options of a URL stay at its end."""
    place, mark, options = folder.partition("?")
    return f"{place.rstrip('/')}/{name}{mark}{options}"


def local_folder(folder: str | None) -> str | None:
    """The folder, where it is one of this machine."""
    return None if folder is None or is_url(folder) else folder


def new_name(attempt: int) -> str:
    """Of a file that no other attempt on any machine writes."""
    return f"{attempt}-{uuid.uuid4().hex}.arrow"


def open_to_write(place: str) -> pa.NativeFile:
    """Raises LoadError where the folder is gone, as it is once the load is over, or refuses."""
    import pyarrow as pa

    if not is_url(place):
        return pa.OSFile(place, "wb")
    system, path = _opened(place)
    with _told(place):
        return system.open_output_stream(path)


def open_to_read(place: str) -> pa.NativeFile:
    import pyarrow as pa

    if not is_url(place):
        return pa.memory_map(place)
    system, path = _opened(place)
    with _told(place):
        return system.open_input_file(path)


def size_of(place: str) -> int:
    if not is_url(place):
        return Path(place).stat().st_size
    system, path = _opened(place)
    with _told(place):
        return int(system.get_file_info(path).size)


@contextmanager
def folder_at(url: str) -> Iterator[str]:
    """A folder of its own below the URL, gone afterwards. Those of runs that were killed go after a week."""
    system, base = _opened(url)
    name = f"{_PREFIX}{datetime.now(UTC).strftime(_STAMP)}-{uuid.uuid4().hex[:12]}"
    made = f"{base.rstrip('/')}/{name}"
    with _told(url):
        system.create_dir(made)
        _sweep(system, base)
    try:
        yield inside(url, name)
    finally:
        with suppress(OSError):  # an error of the load itself stays the one raised; the folder goes after a week
            system.delete_dir(made)


def _sweep(system: fs.FileSystem, base: str) -> None:
    from pyarrow import fs

    for found in system.get_file_info(fs.FileSelector(base)):
        stamp = found.base_name.removeprefix(_PREFIX).partition("-")[0]
        if found.type != fs.FileType.Directory or not found.base_name.startswith(_PREFIX):
            continue
        with suppress(ValueError, FileNotFoundError):  # another's folder, or another run sweeps too
            if datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC) < datetime.now(UTC) - _FORGOTTEN:
                system.delete_dir(found.path)


def _opened(url: str) -> tuple[fs.FileSystem, str]:
    from pyarrow import fs

    try:
        system, path = fs.FileSystem.from_uri(url)
    except (ValueError, OSError, NotImplementedError) as error:
        raise ConfigError(
            f"settings.staging is no address that Arrow opens: {type(error).__name__}",
            where="settings.staging",
            fix="write a folder, or a URL: s3://BUCKET/FOLDER, gs://, abfss://, file:///FOLDER",
        ) from None
    return system, path


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Errors of the file system, whose texts may be pages of XML, under its address."""
    try:
        yield
    except OSError as error:
        raise LoadError(
            f"settings.staging cannot be used at {url.partition('?')[0]}: {type(error).__name__}",
            where="settings.staging",
            fix="its folder must exist and be writable from this machine and from the executors",
            fault="transient",
        ) from error
