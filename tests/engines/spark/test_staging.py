"""Folders that tasks share: of this machine, behind `file://`, and in an object store."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs

from penstock.engines.spark.staging import folder_at, inside, new_name, open_to_read, open_to_write, size_of
from penstock.errors import ConfigError, LoadError
from tests.engines.spark.conftest import free_port
from tests.environments import make_environment

pytestmark = pytest.mark.feature("M9")

ROWS = pa.record_batch({"id": [1, 2, 3]})


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a bucket of a server that speaks S3."""
    port = free_port()
    python = make_environment(tmp_path_factory.mktemp("moto"), "moto[server]")
    server = subprocess.Popen([python.with_name("moto_server"), "-H", "127.0.0.1", "-p", str(port)])
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}
    before = {name: os.environ.get(name) for name in keys}
    os.environ.update(keys)
    options = f"?endpoint_override=127.0.0.1%3A{port}&scheme=http&allow_bucket_creation=true&region=us-east-1"
    try:
        make_bucket(f"s3://penstock{options}")
        yield f"s3://penstock/staging{options}"
    finally:
        server.kill()
        server.wait()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def make_bucket(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        system, path = fs.FileSystem.from_uri(url)
        try:
            system.create_dir(path)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        else:
            return


def pass_through(url: str) -> None:
    with folder_at(url) as folder:
        place = inside(folder, new_name(7))
        with open_to_write(place) as file, pa.ipc.new_stream(file, ROWS.schema) as sink:
            sink.write_batch(ROWS)
        assert size_of(place) > 0
        with open_to_read(place) as file, pa.ipc.open_stream(file) as reader:
            assert reader.read_all().to_pylist() == ROWS.to_pylist()
    system, base = fs.FileSystem.from_uri(url)
    assert system.get_file_info(fs.FileSelector(base, allow_not_found=True)) == []


def test_rows_pass_through_a_mounted_folder_and_leave_nothing(tmp_path: Path) -> None:
    pass_through(tmp_path.as_uri())


@pytest.mark.faults
def test_rows_pass_through_an_object_store_and_leave_nothing(bucket: str) -> None:
    pass_through(bucket)


def test_folders_of_killed_runs_go_after_a_week_and_those_of_others_stay(tmp_path: Path) -> None:
    names = ["penstock-staging-20200101T000000-0123456789ab", "penstock-staging-mine", "20200101T000000-other"]
    for name in names:
        (tmp_path / name).mkdir()
    with folder_at(tmp_path.as_uri()):
        assert not (tmp_path / names[0]).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["20200101T000000-other", "penstock-staging-mine"]


def test_a_folder_that_refuses_is_told_by_its_address(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(LoadError, match=r"settings\.staging cannot be used at file:///"),
        folder_at((tmp_path / "file" / "below").as_uri()),
    ):
        pass


def test_an_address_that_nothing_opens_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="no address that Arrow opens"), folder_at("gopher://host/folder"):
        pass
