"""`penstock install-jars`: pinned drivers, whole and checked, or not at all."""

from __future__ import annotations

import json
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


def test_a_connector_without_driver_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install-jars", "duckdb"]) == 2
    assert "duckdb: no JDBC driver is known" in capsys.readouterr().err


def test_no_java_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert main(["install-jars", "--to", str(tmp_path / "to")]) == 1
    assert "set JAVA_HOME" in capsys.readouterr().out
