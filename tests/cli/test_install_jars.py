"""`penstock install-jars`: pinned drivers, whole and checked, or not at all."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from penstock.cli import main
from penstock.connectors.postgres import CONNECTOR
from penstock.engines.spark.jars import Installer, check_jar
from penstock.errors import ConfigError

pytestmark = pytest.mark.feature("M9")

(JAR,) = CONNECTOR.jars
POM = (
    "<project><modelVersion>4.0.0</modelVersion><groupId>{}</groupId><artifactId>{}</artifactId>"
    "<version>{}</version></project>"
)


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real driver, from where Ivy finds it by itself."""
    folder = tmp_path_factory.mktemp("jars")
    assert main(["install-jars", "--to", str(folder)]) == 0
    return folder / JAR.file_name


def mirror_of(folder: Path, content: bytes) -> str:
    """A Maven repository in a folder, which holds the one driver."""
    group, artifact, version = JAR.coordinates.split(":")
    place = folder.joinpath(*group.split("."), artifact, version)
    place.mkdir(parents=True)
    (place / JAR.file_name).write_bytes(content)
    (place / f"{artifact}-{version}.pom").write_text(POM.format(group, artifact, version))
    return folder.as_uri()


@pytest.mark.claims("--to", "--mirror")
@pytest.mark.faults  # asks a Maven repository
def test_the_pinned_driver_is_fetched_from_a_mirror(
    fetched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = mirror_of(tmp_path / "mirror", fetched.read_bytes())
    to = tmp_path / "a folder" / "that is not there"
    for state in ("installed", "kept"):
        assert main(["install-jars", "postgresql", "--to", str(to), "--mirror", mirror, "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["folder"] == str(to)
        assert [(jar["coordinates"], jar["state"]) for jar in answer["jars"]] == [(JAR.coordinates, state)]
    assert [path.name for path in to.iterdir()] == [JAR.file_name]
    assert (to / JAR.file_name).read_bytes() == fetched.read_bytes()


@pytest.mark.faults
def test_a_broken_jar_is_replaced_by_the_right_one(fetched: Path, tmp_path: Path) -> None:
    broken = tmp_path / "to" / JAR.file_name
    broken.parent.mkdir()
    broken.write_bytes(fetched.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"the checksum of postgresql-.*jar is not that of org.postgresql"):
        check_jar(broken, JAR)
    mirror = mirror_of(tmp_path / "mirror", fetched.read_bytes())
    assert Installer(broken.parent, mirror).install(JAR) == "installed"
    check_jar(broken, JAR)


@pytest.mark.faults
def test_another_file_than_the_pinned_one_is_an_error_and_leaves_nothing(
    fetched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PENSTOCK_MAVEN_MIRROR", mirror_of(tmp_path / "mirror", fetched.read_bytes() + b"more"))
    assert main(["install-jars", "--to", str(tmp_path / "to")]) == 1
    told = capsys.readouterr().out
    assert f"{JAR.file_name}: failed" in told
    assert f"the checksum of {JAR.file_name} is not that of {JAR.coordinates}" in told
    assert list((tmp_path / "to").iterdir()) == []


def test_a_mirror_without_it_is_an_error_that_does_not_show_the_mirror(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = "http://user:hidden-word@127.0.0.1:9/maven"
    assert main(["install-jars", "--to", str(tmp_path / "to"), "--mirror", mirror]) == 1
    told = "".join(capsys.readouterr())
    assert "could not be fetched from the mirror" in told
    assert "hidden-word" not in told
    assert list((tmp_path / "to").iterdir()) == []


class Repository(SimpleHTTPRequestHandler):
    """A repository in the server's folder that wants a login; below /elsewhere it redirects to one that wants none."""

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Authorization")))  # type: ignore[attr-defined]
        if self.path.startswith("/elsewhere/"):
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/open{self.path[10:]}")  # type: ignore[attr-defined]
            self.end_headers()
        elif self.path.startswith("/open/"):
            self.path = self.path.removeprefix("/open")
            super().do_GET()
        elif self.headers.get("Authorization") != "Basic " + b64encode(b"me:p@ss/hidden-word").decode():
            self.send_error(401)
        elif self.path.startswith("/short/"):
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"only this")
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nothing is told."""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """Holds a file that is not the pinned one, and is fetched all the same."""
    mirror_of(tmp_path / "served" / "maven", b"another file")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Repository, directory=str(tmp_path / "served")))
    server.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://me:p%40ss%2Fhidden-word@127.0.0.1:PORT/maven", "the checksum of postgresql-"),
        ("http://me:p%40ss%2Fhidden-word@127.0.0.1:PORT/maven/", "the checksum of postgresql-"),
        ("http://me:p%40ss%2Fhidden-word@127.0.0.1:PORT/elsewhere/maven", "the checksum of postgresql-"),
        ("http://me:hidden-word@127.0.0.1:PORT/maven", "it refuses the login (HTTP 401)"),
        ("http://me:p%40ss%2Fhidden-word@127.0.0.1:PORT/nothing", "it is not there (HTTP 404)"),
        ("http://me:p%40ss%2Fhidden-word@127.0.0.1:PORT/short", "the checksum of postgresql-"),
        ("ftp://me:hidden-word@127.0.0.1/maven", "the Maven mirror is no URL that can be used"),
        ("hidden-word", "the Maven mirror is no URL that can be used"),
        ("http://me:hidden-word@127.0.0.1:x/maven", "the Maven mirror is no URL that can be used"),
    ],
)
def test_a_mirror_is_asked_with_its_login_which_nothing_shows(
    address: str, told: str, tmp_path: Path, repository: ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = address.replace("PORT", str(repository.server_port))
    assert main(["install-jars", "postgres", "--to", str(tmp_path / "to"), "--mirror", mirror]) == 1
    said = "".join(capsys.readouterr())
    assert told in said
    assert "hidden-word" not in said
    assert list((tmp_path / "to").iterdir()) == []
    asked = repository.seen  # type: ignore[attr-defined]
    assert [login for path, login in asked if path.startswith("/open/")] == [None] * ("elsewhere" in mirror)


def test_a_connector_without_driver_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install-jars", "duckdb"]) == 2
    assert "duckdb: no JDBC driver is known" in capsys.readouterr().err


def test_no_java_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert main(["install-jars", "--to", str(tmp_path / "to")]) == 1
    assert "set JAVA_HOME" in capsys.readouterr().out
