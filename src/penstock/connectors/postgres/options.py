"""The keys of a PostgreSQL connection."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SslMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]


class PostgresTls(BaseModel):
    """How the link is secured, in libpq's words."""

    model_config = ConfigDict(extra="forbid")

    sslmode: SslMode | None = Field(
        None, description="TLS; verify-full unless the host is this machine.", examples=["verify-full"]
    )
    sslrootcert: str | None = Field(None, description="Certificate authority to trust.", examples=["ca.pem"])
    sslcert: str | None = Field(None, description="Client certificate.", examples=["client.pem"])
    sslkey: str | None = Field(None, description="Key of the client certificate.", examples=["client.key"])
    connect_timeout: float | None = Field(None, gt=0, description="Seconds to wait for a login.", examples=[30])


class PostgresOptions(PostgresTls):
    """A PostgreSQL database, 13 or later."""

    variant: Literal["postgres", "postgresql"] = Field("postgres", description="This connector.")
    host: str = Field("localhost", description="Host name, address or socket folder.", examples=["db.example.com"])
    port: int = Field(5432, ge=1, le=65_535, description="Port.", examples=[5432])
    database: str | None = Field(None, description="Database.", examples=["shop"])
    user: str | None = Field(None, description="User.", examples=["reader"])
    password: str | None = Field(
        None, description="Password, best as a reference.", examples=["${SHOP_PASSWORD}", "env:SHOP_PASSWORD"]
    )
    # `schema` is a method of pydantic models, so the field has another name inside
    schema_name: str | None = Field(
        None, alias="schema", description="Schema of tables named without one; public by default.", examples=["sales"]
    )
    ledger_schema: str | None = Field(
        None, description="Schema of the ledger tables, where it is not the tables' own.", examples=["penstock"]
    )
    max_connections: int = Field(8, ge=1, description="Connections at once.", examples=[8])
    extra: PostgresTls = Field(default_factory=PostgresTls, description="Keys as mkpipe nests them.")
