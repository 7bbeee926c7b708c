"""Names that try to leave the folder, files that change under the reader, connections that cannot be."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.files.options import FileExtra, read_options
from penstock.connectors.files.places import to_segment
from penstock.errors import ConfigError, ExtractionError, PenstockError, SourceChangedError
from penstock.testing.suites.rows import as_table, make_rows
from penstock.values import Connection, ReadRequest, StreamName, TableName
from tests.connectors.files.lake import Lake

pytestmark = pytest.mark.feature("M11r")
CANARY = "id\n1\n"


@pytest.mark.parametrize(
    "name", ["../canary.csv", "/etc/passwd", "a/../../canary.csv", "..", "", "a\0b", "..\\canary.csv", "d/../../c*.csv"]
)
def test_a_stream_name_never_leaves_the_folder(lake: Lake, name: str) -> None:
    (lake.root.parent / "canary.csv").write_text(CANARY)
    with pytest.raises(ConfigError, match="does not stay in its folder"):
        lake.read(name)


@pytest.mark.parametrize("name", ["%2e%2e/canary.csv", "~/canary.csv", "$HOME", "x" * 300, "`id`"])
def test_a_name_is_only_a_name(lake: Lake, name: str) -> None:
    (lake.root.parent / "canary.csv").write_text(CANARY)
    with pytest.raises(PenstockError):
        lake.read(name)


@pytest.mark.parametrize("name", ["link.csv", "*.csv", "inner", "inner/*.csv"])
def test_a_link_out_of_the_folder_is_refused(lake: Lake, name: str) -> None:
    outside = lake.root.parent / "outside"
    outside.mkdir()
    (outside / "canary.csv").write_text(CANARY)
    (lake.root / "link.csv").symlink_to(outside / "canary.csv")
    (lake.root / "inner").mkdir()
    (lake.root / "inner" / "x.csv").symlink_to(outside / "canary.csv")
    with pytest.raises(ExtractionError, match="leads out of its folder"):
        lake.read(name)


def test_a_link_inside_the_folder_is_followed(lake: Lake) -> None:
    lake.put("real/x.csv", CANARY)
    (lake.root / "link.csv").symlink_to(lake.root / "real" / "x.csv")
    assert lake.read("link.csv") == [{"id": 1}]


@pytest.mark.parametrize("name", ["d", "d/*.csv", "**/*.csv", "d/two.csv"])
@pytest.mark.parametrize("leads_to", ["nothing.csv", "two.csv"])
def test_a_link_that_leads_nowhere_is_an_error_and_no_file_less(lake: Lake, name: str, leads_to: str) -> None:
    lake.put("d/one.csv", CANARY)
    (lake.root / "d" / "two.csv").symlink_to(leads_to)
    with pytest.raises(ExtractionError, match=r"two\.csv is a link that leads nowhere"):
        lake.read(name)


@pytest.mark.parametrize("name", ["d", "**/*.csv", "d/**/*.csv"])
@pytest.mark.parametrize("leads_to", [".", "../real"])
def test_a_link_to_a_folder_is_neither_left_out_in_silence_nor_followed_in_circles(
    lake: Lake, name: str, leads_to: str
) -> None:
    lake.put("d/one.csv", CANARY)
    lake.put("real/two.csv", CANARY)
    (lake.root / "d" / "linked").symlink_to(leads_to)
    with pytest.raises(ExtractionError, match="linked is a link to a folder"):
        lake.read(name)


def test_a_glob_that_names_a_linked_folder_goes_through_it(lake: Lake) -> None:
    lake.put("real/two.csv", CANARY)
    lake.put("d/one.csv", CANARY)
    (lake.root / "d" / "linked").symlink_to("../real")
    assert lake.read("d/*/*.csv") == [{"id": 1}]
    assert lake.read("d/linked/t*.csv") == [{"id": 1}]


def test_a_pattern_matches_what_pathlib_matches(lake: Lake) -> None:
    names = [
        "a.csv",
        "d/b.csv",
        "d/e/c.csv",
        "d/e/f/b1.csv",
        "x y/b2.csv",
        "D/b.csv",
        "d/[z]/b3.csv",
        "d/_private/b.csv",
    ]
    for name in names:
        lake.put(name, CANARY)
    for pattern in (
        "*.csv",
        "*/*.csv",
        "**/*.csv",
        "d/**/b*.csv",
        "**/b?.csv",
        "[dD]/b.csv",
        "d/[[]z]/*",
        "**/e/**/*.csv",
    ):
        known = {p for p in lake.root.glob(pattern) if p.is_file() and "_private" not in p.parts}
        assert len(lake.read(pattern)) == len(known), pattern


def test_a_pipe_is_not_waited_for(lake: Lake) -> None:
    os.mkfifo(lake.root / "x.csv")
    with pytest.raises(ExtractionError, match="not a file"):
        lake.read("x.csv")


def test_hidden_and_unfinished_files_are_passed_over(lake: Lake) -> None:
    lake.put("d/x.csv", CANARY)
    for name in ("d/_SUCCESS", "d/.x.csv.crc", "d/_temporary/x.csv", "d/.hidden/x.csv", "d/notes.md"):
        lake.put(name, "garbage")
    assert lake.read("d") == [{"id": 1}]
    assert lake.read("d/*.csv") == [{"id": 1}]


def test_globs_choose_files_in_a_fixed_order(lake: Lake) -> None:
    for month in ("2024-02", "2024-01", "2023-12"):
        lake.put(f"{month}/data.csv", f"m\n{month[-2:].lstrip('0')}\n")
    assert [row["m"] for row in lake.read("2024-??/data.csv")] == [1, 2]
    assert [row["m"] for row in lake.read("**/data.csv")] == [12, 1, 2]


def test_a_name_that_looks_like_a_glob_is_a_file_where_there_is_one(lake: Lake) -> None:
    lake.put("a[1].csv", "v\n7\n")
    lake.put("a1.csv", "v\n8\n")
    assert lake.read("a[1].csv") == [{"v": 7}]


def test_a_folder_of_hive_partitions_has_their_values_as_columns(lake: Lake) -> None:
    lake.put("d/day=2024-01-01/region=a%2Fb/x.csv", "v\n1\n")
    lake.put("d/day=2024-01-02/region=__HIVE_DEFAULT_PARTITION__/x.csv", "v\n2\n")
    assert lake.kinds("d") == {"v": "int64", "day": "date", "region": "string"}
    assert [(r["v"], str(r["day"]), r["region"]) for r in lake.read("d")] == [
        (1, "2024-01-01", "a/b"),
        (2, "2024-01-02", None),
    ]


@pytest.mark.parametrize("change", ["grow", "replace", "remove", "same size"])
def test_a_file_that_changed_since_it_was_listed_is_never_read_as_the_old_one(lake: Lake, change: str) -> None:
    path = lake.put("x.csv", CANARY)
    with lake.source.open([ReadRequest(StreamName("x.csv"))]) as session:
        os.utime(path, ns=(1, 1)) if change == "same size" else None
        if change == "grow":
            path.write_text(CANARY + "2\n")
        if change == "replace":
            lake.put("y.csv", "id\n9\n").replace(path)
            os.utime(path, ns=(2, 2))
        if change == "remove":
            path.unlink()
        with pytest.raises(SourceChangedError) as raised:
            list(lake.source.reader().read(session.splits[0]))
    assert raised.value.retryable


def test_a_source_that_has_looked_before_sees_what_was_written_since(lake: Lake) -> None:
    path, source = lake.put("x.csv", "a\n1\n"), lake.source
    request = ReadRequest(StreamName("x.csv"))
    for content, kinds in (("a\n1\n", {"a": "int64"}), ("a,b\nx,1\n", {"a": "string", "b": "int64"})):
        path.write_text(content)
        source.probe([request])
        schema = source.open([request]).splits[0].schema
        assert {f.name: f.type for f in schema.fields} == kinds
    typed = ReadRequest(StreamName("x.csv"), types={"b": "float64"})
    assert source.open([typed]).splits[0].schema.field("b").type == "float64"


def test_a_file_that_changes_while_it_is_read_fails_the_read(lake: Lake) -> None:
    path = lake.put("x.csv", "id\n" + "1234567\n" * 400_000)
    with lake.source.open([ReadRequest(StreamName("x.csv"))]) as session:
        batches = lake.source.reader().read(session.splits[0])
        next(batches)
        with path.open("a") as file:
            file.write("8\n")
        with pytest.raises(SourceChangedError):
            list(batches)


@given(st.text(max_size=300))
def test_any_name_is_one_path_segment_and_different_for_different_names(name: str) -> None:
    segment = to_segment(name)
    assert segment not in ("", ".", "..")
    assert not set(segment) & {"/", "\0", "*", "?", "="}
    assert not segment.startswith((".", "_penstock"))
    assert len(segment.encode()) <= 200
    assert (to_segment(name + "x") == segment) is False


@pytest.mark.parametrize(
    "name", ["../up", "/abs", "a/b", "..", ".", "_penstock", "x" * 400, "ü *?[", "a=b", " ", "CON\n", "a.b", "%2F"]
)
def test_a_hostile_target_is_a_folder_of_that_name(lake: Lake, name: str) -> None:
    lake.deliver(as_table(make_rows(0, 3)), target=name)
    assert [p.parent for p in lake.root.parent.iterdir() if p != lake.root] == []
    assert len(list(lake.root.iterdir())) == 1
    assert [row["id"] for row in lake.read(name)] == [0, 1, 2]
    assert name in {spec.name for spec in lake.source.streams()}


def test_hostile_column_names_come_back_from_every_format(lake: Lake) -> None:
    names = ['a"b', "a,b", "ü\n", " ", "x" * 300, "%s $1 ?", "..", "a=b"]
    for kind in ("parquet", "csv", "jsonl"):
        there = Lake(lake.root / kind, {"format": kind})
        there.deliver(pa.table({name: [i] for i, name in enumerate(names)}))
        assert there.read() == [{name: i for i, name in enumerate(names)}]


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({}, "path"),
        ({"path": "d", "storage": "s3"}, "M11r"),
        ({"path": "d", "storage": "gcs"}, "M11r"),
        ({"path": "d", "storage": "adls"}, "M11r"),
        ({"path": "d", "format": "orc"}, "format"),
        ({"path": "d", "compresion": "zstd"}, "compresion"),
        ({"path": "d", "format": "csv", "compression": "snappy"}, "snappy does not go with csv"),
        ({"path": "d", "delimiter": '"'}, "delimiter"),
        ({"path": "d", "delimiter": ";;"}, "delimiter"),
        ({"path": "d", "null_value": 'a"b'}, "null_value"),
        ({"path": "d", "delimiter": ";", "null_value": ";"}, "null_value"),
    ],
)
def test_options_that_cannot_be_are_named(extra: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=text) as raised:
        read_options(Connection("lake", "file", extra=extra))
    assert "connections.lake" in str(raised.value)
    assert raised.value.fix


def test_json_means_json_lines_and_every_option_is_described() -> None:
    assert read_options(Connection("l", "file", extra={"path": "d", "format": "json"})).format == "jsonl"
    assert all(field.description for field in FileExtra.model_fields.values())


def test_a_project_that_moves_with_its_files_keeps_its_identity(tmp_path: Path) -> None:
    here, there = Lake(tmp_path / "a" / "data"), Lake(tmp_path / "b" / "data")
    assert here.source.identity == there.source.identity == "file:data"
    assert pickle.loads(pickle.dumps(here.source.reader())) == here.source.reader()


def test_a_folder_that_is_not_there_is_said_so(lake: Lake) -> None:
    gone = Lake(lake.root / "nowhere")
    with pytest.raises(ExtractionError, match="cannot be read"):
        gone.source.check()
    assert gone.destination.describe([TableName(None, "t")]) == {TableName(None, "t"): None}


def test_a_damaged_file_fails_its_own_stream_and_no_other(lake: Lake) -> None:
    lake.put("good.csv", CANARY)
    lake.put("bad.parquet", "not parquet")
    found = {spec.name: spec.schema is not None for spec in lake.source.streams(["good.csv", "bad.parquet", "none"])}
    assert found == {"good.csv": True, "bad.parquet": False}
    assert lake.read("good.csv") == [{"id": 1}]
    with pytest.raises(ExtractionError, match="not a whole Parquet file"):
        lake.read("bad.parquet")


def test_a_query_is_refused(lake: Lake) -> None:
    with pytest.raises(ConfigError, match="custom_query"):
        lake.read("x.csv", query="SELECT 1")
