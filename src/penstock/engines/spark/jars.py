"""The JDBC drivers of connectors: where they lie, how they are fetched by Ivy, and that they are the pinned ones."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from penstock.engines.spark.java import prepare_java
from penstock.engines.spark.mirror import download
from penstock.engines.spark.session import INSTALL
from penstock.errors import ConfigError, PluginNotFoundError
from penstock.records import dataclass
from penstock.values import Jar

FOLDER = "PENSTOCK_JARS"
MIRROR = "PENSTOCK_MAVEN_MIRROR"
_SECONDS = 600  # for one jar


def jars_folder() -> Path:
    """PENSTOCK_JARS, else a folder among this user's data."""
    named = os.environ.get(FOLDER)
    if named:
        return Path(named)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data, "penstock", "jars")


def is_pinned(path: Path, jar: Jar) -> bool:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256


def check_jar(path: Path, jar: Jar) -> None:
    """Raises ConfigError where the file is not the one that is pinned."""
    if not is_pinned(path, jar):
        raise ConfigError(
            f"the checksum of {path.name} is not that of {jar.coordinates}",
            where=str(path),
            fix="run `penstock install-jars` again; whoever goes on serving another file is not to be trusted",
        )


@dataclass(frozen=True, slots=True)
class Installer:
    """Fetches jars into a folder; each is there whole and checked, or not at all.

    `mirror` takes the place of Ivy's own repositories, and may hold a password: see mirror.
    """

    folder: Path
    mirror: str | None = None

    def install(self, jar: Jar) -> Literal["installed", "kept"]:
        """Raises ConfigError; a file that was there before is replaced only by the right one."""
        target = self.folder / jar.file_name
        if target.is_file() and is_pinned(target, jar):
            return "kept"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetching-", dir=self.folder) as name:
                fetched = self._fetch(jar, Path(name))
                check_jar(fetched, jar)
                fetched.replace(target)
        except OSError as error:
            raise ConfigError(
                f"{jar.file_name} cannot be written: {error.strerror}",
                where=str(self.folder),
                fix="name another folder",
            ) from error
        return "installed"

    def _fetch(self, jar: Jar, folder: Path) -> Path:
        if self.mirror is not None:
            return download(jar, self.mirror, folder)
        command = [str(prepare_java()), "-cp", str(_ivy()), "org.apache.ivy.Main", "-cache", str(folder / "cache")]
        command += ["-dependency", *jar.coordinates.split(":"), "-notransitive", "-types", "jar"]
        command += ["-retrieve", str(folder / "[artifact]-[revision].[ext]")]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603 - our own words
        except subprocess.TimeoutExpired:
            raise _unfetched(jar, f"nothing came for {_SECONDS} s") from None
        fetched = folder / jar.file_name
        if done.returncode != 0 or not fetched.is_file():
            raise _unfetched(jar, "it is not there, or the repository cannot be reached")
        return fetched


def _unfetched(jar: Jar, why: str) -> ConfigError:
    return ConfigError(
        f"{jar.coordinates} could not be fetched from Ivy's default repository: {why}",
        fix=f"check the network, or name a Maven repository by --mirror or {MIRROR}",
    )


def install_all(
    jars: Mapping[str, Sequence[Jar]], installer: Installer, tell: Callable[[str], None]
) -> list[Installed]:
    """What became of each; one that fails hides no other."""
    found = []
    for variant, its_own in jars.items():
        for jar in its_own:
            tell(f"{jar.coordinates} ({variant})")
            try:
                found.append(Installed(variant, jar.coordinates, jar.file_name, installer.install(jar)))
            except ConfigError as error:
                found.append(Installed(variant, jar.coordinates, jar.file_name, "failed", str(error)))
    return found


@dataclass(frozen=True, slots=True)
class Installed:
    """One jar after `install-jars`."""

    variant: str
    coordinates: str
    file: str
    state: Literal["installed", "kept", "failed"]
    error: str | None = None


def _ivy() -> Path:
    """The Ivy that pyspark brings: its own defaults say where jars come from."""
    spec = importlib.util.find_spec("pyspark")
    found = sorted(Path(spec.origin).parent.glob("jars/ivy-*.jar")) if spec is not None and spec.origin else []
    if not found:
        raise PluginNotFoundError("install-jars needs the Ivy of pyspark", fix=INSTALL)
    return found[0]
