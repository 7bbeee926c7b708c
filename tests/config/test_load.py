"""What a good project gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config import load_project
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
      variant: river
      host: localhost
      port: 5432
      database: source_db
      user: ${PG_USER}
      password: ${PG_PASSWORD}
      schema: public
    target_pg:
      variant: river
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
