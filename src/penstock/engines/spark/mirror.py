"""Jars from a Maven repository that a user names: its URL may hold a password, which nothing shows."""

from __future__ import annotations

import base64
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from penstock.errors import ConfigError
from penstock.values import Jar

_SILENT_SECONDS = 60
_SCHEMES = ("https", "http", "file")


def download(jar: Jar, mirror: str, folder: Path) -> Path:
    """The file, in the folder; it is not yet compared with its checksum. Raises ConfigError."""
    request = _request(jar, mirror)
    target = folder / jar.file_name
    try:
        with urllib.request.urlopen(request, timeout=_SILENT_SECONDS) as reply, target.open("wb") as file:  # noqa: S310 - schemes are ours
            shutil.copyfileobj(reply, file)
    except urllib.error.HTTPError as error:
        error.close()
        raise _unfetched(jar, _of_status(error.code)) from None
    except (OSError, ValueError) as error:  # their texts may quote the URL
        raise _unfetched(jar, f"it cannot be reached, or broke off ({_name_of(error)})") from None
    return target


def _request(jar: Jar, mirror: str) -> urllib.request.Request:
    """The login goes to this host alone, wherever it redirects to."""
    try:
        parts = urlsplit(mirror)
        host = _host_of(parts)
    except ValueError:
        parts, host = SplitResult("", "", "", "", ""), ""
    if parts.scheme not in _SCHEMES or (not host and parts.scheme != "file"):
        raise ConfigError(
            "the Maven mirror is no URL that can be used",
            where="--mirror, or PENSTOCK_MAVEN_MIRROR",
            fix="write https://HOST/PATH, with USER:PASSWORD@ before the host where it wants a login",
        )
    group, artifact, version = jar.coordinates.split(":")
    path = "/".join((parts.path.rstrip("/"), *group.split("."), artifact, version, jar.file_name))
    request = urllib.request.Request(parts._replace(netloc=host, path=path, fragment="").geturl())  # noqa: S310
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    return request


def _host_of(parts: SplitResult) -> str:
    _ = parts.port  # raises ValueError where it is no number
    return parts.netloc.rpartition("@")[2]


def _of_status(status: int) -> str:
    if status in (401, 403):
        return f"it refuses the login (HTTP {status})"
    return "it is not there (HTTP 404)" if status == 404 else f"it answered with HTTP {status}"


def _name_of(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return type(reason if isinstance(reason, Exception) else error).__name__


def _unfetched(jar: Jar, why: str) -> ConfigError:
    return ConfigError(
        f"{jar.coordinates} could not be fetched from the mirror: {why}",
        where="--mirror, or PENSTOCK_MAVEN_MIRROR",
        fix="check the URL, its user and password, and the network",
    )
