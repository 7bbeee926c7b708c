"""SQLite, by the standard library's driver: a source and a destination."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from penstock.connectors.sqlite.destination import open_destination
from penstock.connectors.sqlite.jdbc import SqliteJdbc
from penstock.connectors.sqlite.source import open_source
from penstock.plugins import Connector
from penstock.values import Jar


class SqliteExtra(BaseModel):
    """mkpipe's spelling of the path."""

    model_config = ConfigDict(extra="forbid")

    db_path: str | None = Field(None, description="Path of the database file.", examples=["data/shop.db"])


class SqliteOptions(BaseModel):
    """A SQLite database file."""

    model_config = ConfigDict(extra="forbid")

    variant: Literal["sqlite"] = Field("sqlite", description="This connector.")
    database: str | None = Field(
        None, description="Path of the database file, beside the project file.", examples=["data/shop.db"]
    )
    max_connections: int = Field(8, ge=1, description="Connections at once.", examples=[4])
    extra: SqliteExtra = Field(default_factory=SqliteExtra, description="Keys as mkpipe spells them.")

    @model_validator(mode="after")
    def _has_path(self) -> SqliteOptions:
        if not (self.database or self.extra.db_path):
            raise ValueError("give the path of the file as database")
        return self


CONNECTOR = Connector(
    "sqlite",
    "SQLite",
    lambda: SqliteOptions,
    open_source,
    open_destination,
    keeps_files=True,
    open_jdbc=SqliteJdbc,
    jars=(Jar("org.xerial:sqlite-jdbc:3.54.1.0", "f8dce420a6016278497f4f0560f65602b9db858de141b541cf91a4644ebe4639"),),
)
