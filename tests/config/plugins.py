"""Plugins as their authors write them: options, and secret providers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from penstock.config.secrets import SecretText
from penstock.plugins import Connector


class RiverExtra(BaseModel):
    model_config = ConfigDict(extra="forbid")

    mode: Literal["calm", "wild"] = Field("calm", description="How it flows.", examples=["wild"])
    token: SecretStr | None = Field(None, description="A secret of this variant.", examples=["${TOKEN}"])
    certificate: SecretText | None = Field(None, description="Another one.", examples=["file:river.pem"])
    depth: float = Field(1.0, gt=0, description="Metres.", examples=[2.5])
    ca: Path | None = Field(None, description="A file.", examples=["ca.pem"])


class RiverOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    variant: Literal["river"] = Field("river", description="This connector.")
    host: str = Field("localhost", description="Host.", examples=["a"])
    port: int = Field(7, description="Port.", examples=[7])
    database: str | None = Field(None, description="Database.", examples=["d"])
    user: str | None = Field(None, description="User.", examples=["u"])
    password: str | None = Field(None, description="Password.", examples=["${P}"])
    schema_name: str | None = Field(None, alias="schema", description="Schema.", examples=["s"])
    ledger_schema: str | None = Field(None, description="Ledger.", examples=["l"])
    max_connections: int = Field(8, description="Connections.", examples=[2])
    pin: str | None = Field(
        None, description="A secret by mark.", examples=["${PIN}"], json_schema_extra={"secret": True}
    )
    speed: Literal["slow", "fast"] = Field("slow", description="A key of this variant alone.", examples=["fast"])
    extra: RiverExtra = Field(default_factory=RiverExtra, description="More.")

    @field_validator("password", "pin")
    @classmethod
    def _never_sees_a_secret(cls, value: str | None) -> str | None:
        if value is not None and value != "********":
            raise ValueError("a plugin's model was shown a secret")
        return value


class TankExtra(BaseModel):
    model_config = ConfigDict(extra="forbid")

    path: Path = Field(description="Folder.", examples=["data"])
    format: Literal["parquet", "csv"] = Field("parquet", description="Format.", examples=["csv"])


class TankOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    variant: Literal["tank"] = Field("tank", description="This connector.")
    extra: TankExtra = Field(description="Where.")


RIVER = Connector("river", "River", lambda: RiverOptions)
DRY = Connector("dry", "Dry", lambda: TankOptions, extra="dry", modules=("no_such_driver",))
TANK = Connector("tank", "Tank", lambda: TankOptions)


def vault(rest: str) -> str:
    """A provider that keeps one secret at each path."""
    return f"secret of {rest}"


def leaky(rest: str) -> str:
    """A provider whose failure spells the secret out."""
    raise RuntimeError(f"could not decode canary-{rest}")
