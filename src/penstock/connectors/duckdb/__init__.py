"""DuckDB: a source and a destination."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from penstock.connectors.duckdb.destination import open_destination
from penstock.connectors.duckdb.handles import configure
from penstock.connectors.duckdb.source import open_source
from penstock.plugins import Connector


class DuckdbExtra(BaseModel):
    """The path as mkpipe spells it for files."""

    model_config = ConfigDict(extra="forbid")

    db_path: str | None = Field(None, description="Path of the database file.", examples=["data/lake.duckdb"])


class DuckdbOptions(BaseModel):
    """A DuckDB database file."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    variant: Literal["duckdb"] = Field("duckdb", description="This connector.")
    database: str | None = Field(
        None, description="Path of the database file, beside the project file.", examples=["data/lake.duckdb"]
    )
    schema_name: str | None = Field(None, alias="schema", description="Schema of the tables.", examples=["main"])
    ledger_schema: str | None = Field(None, description="Schema of the ledger tables.", examples=["penstock"])
    max_connections: int = Field(8, ge=1, description="Connections at once.", examples=[4])
    extra: DuckdbExtra = Field(default_factory=DuckdbExtra, description="Keys as mkpipe spells them.")

    @model_validator(mode="after")
    def _has_path(self) -> DuckdbOptions:
        if not (self.database or self.extra.db_path):
            raise ValueError("give the path of the file as database")
        return self


CONNECTOR = Connector(
    "duckdb",
    "DuckDB",
    lambda: DuckdbOptions,
    open_source,
    open_destination,
    modules=("duckdb",),
    configure=configure,
    keeps_files=True,
)

__all__ = ["CONNECTOR", "DuckdbOptions", "configure"]
