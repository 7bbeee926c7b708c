"""What a good project gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config import load_project
from penstock.errors import ConfigError
from tests.config.conftest import Load

QUICK_START = """\
version: 2
default_environment: prod
prod:
  settings:
    timezone: UTC
    log_dir: /path/to/logs
    backend:
      variant: sqlite
  connections:
    source_pg:
      variant: postgres
      host: localhost
      port: 5432
      database: source_db
      user: ${PG_USER}
      password: ${PG_PASSWORD}
      schema: public
    target_pg:
      variant: postgres
      host: localhost
      port: 5432
      database: dwh_db
      user: ${PG_USER}
      password: ${PG_PASSWORD}
      schema: staging
  pipelines:
    - name: my_pipeline
      source: source_pg
      destination: target_pg
      tables:
        - name: public.users
          target_name: stg_users
          tags: [api, user-domain]
          replication_method: incremental
          iterate_column: updated_at
          iterate_column_type: datetime
          write_strategy: upsert
          write_key: [id]
        - name: public.orders
          target_name: stg_orders
          tags: [api, order-domain]
          replication_method: full
"""


@pytest.mark.feature("M1")
def test_the_quick_start_project_loads_as_it_stands(load: Load, tmp_path: Path) -> None:
    project = load(QUICK_START, environ={"PG_USER": "reader", "PG_PASSWORD": "hunter2"})
    users, orders = project.pipelines[0].tables
    source = project.connections["source_pg"].to_connection()
    assert project.environment == "prod"
    assert project.base_dir == tmp_path
    assert (source.host, source.port, source.user, source.schema) == ("localhost", 5432, "reader", "public")
    assert source.password is not None
    assert source.password.reveal() == "hunter2"
    assert (users.iterate_column, users.write_strategy, users.write_key) == ("updated_at", "upsert", ["id"])
    assert (orders.replication_method, orders.write_strategy, orders.tags) == ("full", None, ["api", "order-domain"])
    assert project.settings.backend.to_options(tmp_path) == {"database": str(tmp_path / ".penstock/state.db")}
    assert project.warnings == ()
    assert project.waiting == ()
    assert project.location(("pipelines", 0, "tables", 1, "name")) == "penstock.yaml:39:17"


@pytest.mark.feature("M1")
def test_penstock_yaml_is_taken_before_mkpipe_project_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mkpipe_project.yaml").write_text("prod:\n")
    assert load_project().path == tmp_path / "mkpipe_project.yaml"
    (tmp_path / "penstock.yaml").write_text("prod:\n")
    assert load_project().path == tmp_path / "penstock.yaml"


EVERYTHING = """\
version: 2
default_environment: prod
project: shop
x-note: anything
x-ca: &ca {depth: 2, ca: ca.pem}
x-table: &table
  fetchsize: 5_000
  pass_on_error: on
  tags: [nightly]
prod:
  settings:
    timezone: Europe/Istanbul
    log_dir: ./logs
    staging: /data/staging
    ingested_at_column: _loaded
    ingestion_id_column: row_id
    column_name_case: lower
    if_exists: append
    engine: spark
    memory: 1.5GB
    threads: 3
    retries: 0
    lock_wait: 500ms
    horizon_warn: 1h
    transform_frame: pyspark
    backend:
      variant: sqlite
      host: localhost
      port: 5432
      database: state.db
      user: mkpipe
      password: ${BACKEND_PASSWORD}
    spark:
      master: "local[*]"
      remote: "sc://cluster:15002/;token=${PASSWORD:-not so secret}"
      driver_memory: "4g"
      executor_memory: "4g"
      comet: true
      extra_config:
        spark.sql.shuffle.partitions: "200"
        spark.dynamicAllocation.enabled: "true"
  connections:
    x-river: &river {variant: river, port: "${PORT:-7001}", max_connections: 4}
    a: {<<: *river, ledger_schema: meta, schema: sales, mongo_uri: "${NOT_SET}", speed: fast, extra: *ca}
    b: {variant: tank, extra: {path: data, format: csv, region: eu-west-1}}
    my_mongodb:
      variant: mongodb
      mongo_uri: ${MONGO_URI}
      database: mydb
      collection: orders
    my_s3:
      variant: file-on-s3
      bucket_name: lake
      s3_prefix: raw
      aws_access_key: ${AWS_ACCESS_KEY}
      extra: {storage: s3, path: "s3a://my-bucket/data", aws_secret_key: "${AWS_SECRET_KEY}"}
  pipelines:
    - name: p
      source: a
      destination: b
      pass_on_error: yes
      x-owner: sales team
      tables:
        - <<: *table
          name: public.users
          target_name: users
          replication_method: incremental
          iterate_column: [created_at, updated_at]
          iterate_column_type: datetime
          custom_query: "(SELECT * FROM users {query_filter}) q"
          filter_lower_bound: 2024-01-01
          filter_upper_bound: 2024-02-01 12:30:00
          partitions_column: abs(id) % 10 as bucket
          partitions_column_type: int
          partitions_count: 10
          partitions_lower_bound: 1
          partitions_upper_bound: 1.50
          partitions_bounds_filtered: true
          batchsize: 10000
          write_partitions: 4
          dedup_columns: [id, updated_at]
          write_strategy: merge
          write_key: [id]
          if_exists: replace
          column_name_case: upper
          transform: transforms/clean.py::transform
          lookback: 2h
          load_rows: 1000
          replace_mode: in_place
          allow_empty: true
          on_existing: append
          shared: true
          schema_evolution: freeze
          boundary_limit: 5
          partition_by: [country]
          columns: {price: "decimal(12,2)", tags: list<string>}
          null_cursors: skip
          accept_source_change: true
          latest_view: true
        - name: docs
          target_name: docs
          transform_sql: SELECT * FROM input
          custom_query_file:
          partitioner: Sample
          partitioner_options: {partition.size: 64}
          iceberg_partition_by: ["day(at)"]
          iceberg_sort_by: [id]
          iceberg_properties: {a: b}
          iceberg_schema_evolution: strict
          delta_partition_by: [day]
          delta_z_order_by: [id]
          delta_properties: {delta.appendOnly: "true"}
          delta_schema_evolution: replace
"""


@pytest.mark.feature("M1")
def test_every_documented_key_is_read(load: Load, tmp_path: Path) -> None:
    project = load(EVERYTHING)
    settings, (users, docs) = project.settings, project.pipelines[0].tables
    assert project.project == "shop"
    assert (settings.memory, settings.threads, settings.lock_wait, settings.horizon_warn) == (1536 << 20, 3, 0.5, 3600)
    assert (settings.log_dir, settings.staging) == (str(tmp_path / "logs"), "/data/staging")
    assert settings.backend.to_options(tmp_path) == {"database": str(tmp_path / "state.db")}
    assert settings.spark is not None
    assert settings.spark.extra_config["spark.sql.shuffle.partitions"] == "200"
    assert settings.spark.remote is not None
    assert settings.spark.remote.reveal() == "sc://cluster:15002/;token=not so secret"
    assert "so secret" not in repr(settings) + settings.model_dump_json()
    assert project.pipelines[0].pass_on_error is True
    assert users.pass_on_error is True
    assert (users.fetchsize, users.batchsize, users.tags) == (5000, 10000, ["nightly"])
    assert users.iterate_column == ["created_at", "updated_at"]
    assert (users.filter_lower_bound, users.filter_upper_bound) == ("2024-01-01", "2024-02-01 12:30:00")
    assert (users.partitions_lower_bound, users.partitions_upper_bound) == ("1", "1.50")
    assert users.lookback == 7200.0
    assert users.latest_view == "users_latest"
    assert users.columns == {"price": "decimal(12,2)", "tags": "list<string>"}
    assert docs.transform_sql == "SELECT * FROM input"
    assert docs.custom_query_file is None
    assert docs.delta_schema_evolution == "replace"


@pytest.mark.feature("M1")
def test_keys_without_effect_are_listed_with_their_place_and_feature(load: Load) -> None:
    project = load(EVERYTHING)
    table = "prod.pipelines[0].tables[1]"
    assert [(w.path, w.feature) for w in project.waiting] == [
        ("prod.settings.spark.comet", "M9"),
        (f"{table}.partitioner", "M11i"),
        (f"{table}.partitioner_options", "M11i"),
        (f"{table}.iceberg_partition_by", "M11s"),
        (f"{table}.iceberg_sort_by", "M11s"),
        (f"{table}.iceberg_properties", "M11s"),
        (f"{table}.iceberg_schema_evolution", "M11s"),
        (f"{table}.delta_partition_by", "M11t"),
        (f"{table}.delta_z_order_by", "M11t"),
        (f"{table}.delta_properties", "M11t"),
        (f"{table}.delta_schema_evolution", "M11t"),
        ("prod.connections.my_mongodb.variant", "M11i"),
        ("prod.connections.my_s3.extra.storage", "M11r"),
    ]
    assert project.waiting[0].location == "penstock.yaml:38:14"


@pytest.mark.feature("M1")
def test_a_key_of_another_variant_is_a_located_warning(load: Load) -> None:
    warnings = load(EVERYTHING).warnings
    assert [w.splitlines()[:2] for w in warnings] == [
        ["host has no effect with the sqlite backend", "  at: penstock.yaml:28:7, prod.settings.backend.host"],
        ["port has no effect with the sqlite backend", "  at: penstock.yaml:29:7, prod.settings.backend.port"],
        ["user has no effect with the sqlite backend", "  at: penstock.yaml:31:7, prod.settings.backend.user"],
        ["password has no effect with the sqlite backend", "  at: penstock.yaml:32:7, prod.settings.backend.password"],
        [
            "mongo_uri has no effect on a river connection; it belongs to a connector that comes with M11i",
            "  at: penstock.yaml:44:57, prod.connections.a.mongo_uri",
        ],
        [
            "extra.region has no effect on a tank connection; it belongs to file on S3, which comes with M11r",
            "  at: penstock.yaml:45:57, prod.connections.b.extra.region",
        ],
        [
            "no connector for the variant 'file-on-s3' is installed",
            "  at: penstock.yaml:52:16, prod.connections.my_s3.variant",
        ],
    ]


@pytest.mark.feature("M1")
def test_a_connection_becomes_what_connectors_take(load: Load, tmp_path: Path) -> None:
    connections = load(EVERYTHING, environ={"PORT": "7002"}).connections
    river = connections["a"].to_connection()
    assert (river.name, river.variant, river.port, river.max_connections) == ("a", "river", 7002, 4)
    assert (river.schema, river.ledger_schema, river.base_dir) == ("sales", "meta", str(tmp_path))
    assert river.extra == {"speed": "fast", "depth": 2, "ca": str(tmp_path / "ca.pem")}
    assert connections["b"].to_connection().extra == {"path": str(tmp_path / "data"), "format": "csv"}


@pytest.mark.feature("M1")
def test_a_connection_that_no_pipeline_names_needs_neither_plugin_nor_variables(load: Load) -> None:
    project = load(EVERYTHING)
    unused = project.connections["my_mongodb"]
    assert unused.unset_variables == ("MONGO_URI",)
    assert list(project.used_connections) == ["a", "b"]
    with pytest.raises(ConfigError, match="the environment variable MONGO_URI is not set"):
        unused.to_connection()


@pytest.mark.feature("M1")
def test_an_unused_connection_to_what_is_not_here_yet_only_waits(load: Load) -> None:
    project = load("""\
        prod:
          connections:
            a: {variant: sqlite, database: a.db}
            my_s3:
              variant: file
              extra:
                storage: s3
                format: parquet
                path: s3a://my-bucket/data
                aws_access_key: ${AWS_ACCESS_KEY}
                aws_secret_key: ${AWS_SECRET_KEY}
                region: eu-west-1
            ice: {variant: file, extra: {format: iceberg, path: lake, catalog: nessie}}
            misspelt: {variant: postgrse}
        """)
    assert [tuple(w) for w in project.waiting] == [
        ("prod.connections.my_s3.extra.storage", "penstock.yaml:7:18", "M11r"),
        ("prod.connections.ice.extra.format", "penstock.yaml:13:42", "M11s"),
    ]
    (warning,) = project.warnings
    assert "no connector for the variant 'postgrse' is installed" in warning
    assert "did you mean 'postgres'?" in warning


@pytest.mark.feature("M1")
def test_a_used_connection_to_what_is_not_here_yet_names_the_feature(load: Load) -> None:
    for extra, what in (("storage: s3", "storage s3 comes with"), ("format: iceberg", "format iceberg is not")):
        with pytest.raises(ConfigError, match=what) as caught:
            load(f"""\
                prod:
                  connections:
                    lake: {{variant: file, extra: {{path: lake, {extra}}}}}
                  pipelines:
                    - {{name: p, source: lake, destination: lake, tables: []}}
                """)
        assert "feature M11r" in str(caught.value) or "it comes with M11s" in str(caught.value)


@pytest.mark.feature("M1")
def test_environments_are_chosen_by_name(load: Load) -> None:
    text = "default_environment: one\none: {settings: {threads: 1}}\ntwo: {settings: {threads: 2}}\n"
    assert load(text).settings.threads == 1
    assert load(text, environment="two").settings.threads == 2
    with pytest.raises(ConfigError, match="no environment 'three'") as caught:
        load(text, environment="three")
    assert "environments: one, two" in str(caught.value)


@pytest.mark.feature("M1")
def test_an_environment_that_is_not_loaded_may_lack_its_variables(load: Load) -> None:
    assert load("prod: {}\nstaging: {settings: {log_dir: '${NOT_SET}'}}\n").environment == "prod"


@pytest.mark.feature("M1")
def test_a_file_is_given_by_path_or_folder_and_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no project file: neither"):
        load_project()
    with pytest.raises(ConfigError, match=r"no project file other\.yaml"):
        load_project(Path("other.yaml"))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "penstock.yaml").write_text("prod: {}\n")
    project = load_project(Path("sub"))
    assert project.base_dir == tmp_path / "sub"
    assert project.location(()) == "sub/penstock.yaml:1:7"


@pytest.mark.feature("M1")
def test_a_file_in_another_encoding_is_refused_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.yaml").write_bytes("prod: {}\nx-a: Zürich\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8") as caught:
        load_project()
    assert caught.value.where == "penstock.yaml:2:1"


@pytest.mark.feature("M1")
def test_legacy_makes_warnings_of_what_mkpipe_let_pass(load: Load) -> None:
    text = """\
        version: 1
        prod:
          settings: {memry: 5}
          connections: {a: {variant: river, port: 0123}}
          pipelines:
            - name: p
              source: a
              destination: a
              tables:
                - {name: yes, target_name: t, foo: 1, target_name: u}
        """
    project = load(text, legacy=True)
    table = project.pipelines[0].tables[0]
    assert (table.name, table.target_name, project.connections["a"].port) == ("yes", "u", 83)
    assert [w.splitlines()[0] for w in project.warnings] == [
        "the key 'target_name' is written twice",
        "version 1 is not known",
        "unknown key 'memry'",
        "'yes' is a boolean to some YAML readers and a word to others",
        "unknown key 'foo'",
        "'0123' is octal to some YAML readers and decimal to others",
    ]
    with pytest.raises(ConfigError, match="6 mistakes"):
        load(text)


@pytest.mark.feature("M1")
def test_legacy_stays_safe(load: Load) -> None:
    text = "prod: {connections: {a: {variant: river}}, pipelines: [{name: p, source: a, destination: b, tables: []}]}\n"
    with pytest.raises(ConfigError, match="no connection 'b'"):
        load(text, legacy=True)
    with pytest.raises(ConfigError, match="YAML tags are not allowed"):
        load("prod: !!python/name:os.system\n", legacy=True)


@pytest.mark.feature("M5")
@pytest.mark.parametrize("strategy", ["append", "replace", None])
def test_write_key_beside_a_strategy_without_keys_is_a_warning(load: Load, strategy: str | None) -> None:
    written = f"write_strategy: {strategy}, " if strategy else ""
    project = load(
        "prod: {connections: {a: {variant: river}}, pipelines: [{name: p, source: a, destination: a, tables: "
        f"[{{name: t, target_name: u, {written}write_key: [id]}}]}}]}}\n"
    )
    assert project.warnings[0].startswith(
        f"write_key has no effect with {strategy or 'replace'}\n  at: penstock.yaml:1:"
    )


LOOKBACKS = [
    ("datetime", "1h", 3600.0),
    ("datetime", "30m", 1800.0),
    ("date", "2d", 2.0),
    ("date", "25h", 2.0),
    ("date", "3", 3.0),
    ("int", "5000", 5000.0),
    ("string", "all", "all"),
]


@pytest.mark.feature("M3")
@pytest.mark.parametrize(("kind", "written", "read"), LOOKBACKS)
def test_a_lookback_is_read_in_the_units_of_its_cursor(load: Load, kind: str, written: str, read: object) -> None:
    table = f"{{name: t, target_name: u, iterate_column: c, iterate_column_type: {kind}, lookback: {written}}}"
    project = load(
        "prod: {connections: {a: {variant: river}}, pipelines: "
        f"[{{name: p, source: a, destination: a, tables: [{table}]}}]}}\n"
    )
    assert project.pipelines[0].tables[0].lookback == read


@pytest.mark.feature("M1")
def test_unwritten_values_have_the_documented_defaults(load: Load) -> None:
    project = load(
        "prod: {connections: {a: {variant: river}}, pipelines: "
        "[{name: p, source: a, destination: a, tables: [{name: t, target_name: u}]}]}\n"
    )
    settings, table = project.settings, project.pipelines[0].tables[0]
    assert (settings.engine, settings.memory, settings.retries, settings.lock_wait) == ("arrow", 96 << 20, 3, 60.0)
    assert 1 <= settings.threads <= 8
    assert (settings.horizon_warn, settings.timezone, settings.backend.variant) == (900.0, "UTC", "sqlite")
    assert (settings.ingested_at_column, settings.ingestion_id_column) == ("_ingested_at", "mkpipe_id")
    assert (table.load_rows, table.boundary_limit, table.replace_mode) == (10_000_000, 100_000, "auto")
    assert (table.fetchsize, table.batchsize, table.partitions_count) == (100_000, 10_000, None)
    assert (table.on_existing, table.schema_evolution, table.write_strategy) == ("refuse", "evolve", None)
    assert project.connections["a"].max_connections == 8
    assert project.project is None


@pytest.mark.feature("M1")
def test_the_connectors_of_this_release_take_their_keys(load: Load, tmp_path: Path) -> None:
    project = load(
        """\
        prod:
          connections:
            pg: {variant: postgres, host: db, sslmode: verify-full, sslrootcert: ca.pem, extra: {connect_timeout: "5"}}
            lite: {variant: sqlite, database: data/shop.db}
            old_lite: {variant: sqlite, extra: {db_path: data/shop.db}}
            duck: {variant: duckdb, database: dwh.duckdb, schema: main}
            lake: {variant: file, extra: {storage: local, path: lake, format: parquet}}
          pipelines:
            - {name: a, source: pg, destination: duck}
            - {name: b, source: lite, destination: lake}
            - {name: c, source: old_lite, destination: lake}
        """
    )
    found = {name: connection.to_connection() for name, connection in project.connections.items()}
    ca = str(tmp_path / "ca.pem")
    assert found["pg"].extra == {"sslmode": "verify-full", "sslrootcert": ca, "connect_timeout": "5"}
    assert found["lite"].database == str(tmp_path / "data/shop.db")
    assert found["old_lite"].extra == {"db_path": str(tmp_path / "data/shop.db")}
    assert found["duck"].database == str(tmp_path / "dwh.duckdb")
    assert found["lake"].extra["path"] == str(tmp_path / "lake")
    assert project.warnings == ()
