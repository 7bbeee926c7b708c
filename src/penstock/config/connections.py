"""The keys of one connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from pydantic import Field, PrivateAttr, field_serializer

from penstock.config.kinds import ConfigModel
from penstock.config.paths import FILE_DATABASES, PATH_KEYS, beside
from penstock.config.secrets import SecretText, shown_reference
from penstock.errors import ConfigError
from penstock.values import Connection, Secret

ExtraValue: TypeAlias = "str | int | float | bool | Secret | None"


class ConnectionConfig(ConfigModel):
    """One system to read from or write to. Which keys a variant takes is told by [connectors](connectors.md)."""

    variant: str = Field(min_length=1, description="The connector.", examples=["postgres", "sqlite", "duckdb", "file"])
    host: str | None = Field(None, description="Host of the server.", examples=["localhost"])
    port: int | None = Field(None, ge=1, le=65535, description="Port of the server.", examples=[5432])
    database: str | None = Field(
        None, description="Name of the database; for sqlite and duckdb the file.", examples=["shop", "data/shop.db"]
    )
    user: str | None = Field(None, description="User name.", examples=["${PG_USER}"])
    password: SecretText | None = Field(
        None,
        description="Password: a variable, `env:NAME`, `file:/path`, a provider's reference.",
        examples=["${PG_PASSWORD}"],
    )
    schema_: str | None = Field(
        None, alias="schema", description="Schema of tables that name none; made when missing.", examples=["public"]
    )
    ledger_schema: str | None = Field(
        None, description="Schema of the ledger's tables. Unwritten: `schema`.", examples=["penstock"]
    )
    max_connections: int = Field(8, ge=1, description="Connections to this system at once.", examples=[4])
    warehouse: str | None = Field(None, description="Snowflake: the warehouse.", examples=["LOAD"])
    private_key_file: str | None = Field(None, description="Path of a private key.", examples=["keys/rsa.p8"])
    private_key_file_pwd: SecretText | None = Field(None, description="Its passphrase.", examples=["${KEY_PWD}"])
    mongo_uri: SecretText | None = Field(None, description="MongoDB: the whole URI.", examples=["${MONGO_URI}"])
    collection: str | None = Field(None, description="MongoDB: the collection.", examples=["orders"])
    bucket_name: str | None = Field(None, description="S3, GCS: the bucket.", examples=["lake"])
    s3_prefix: str | None = Field(None, description="S3: the key prefix.", examples=["raw/"])
    aws_access_key: SecretText | None = Field(None, description="AWS access key.", examples=["${AWS_ACCESS_KEY}"])
    aws_secret_key: SecretText | None = Field(None, description="AWS secret key.", examples=["${AWS_SECRET_KEY}"])
    region: str | None = Field(None, description="Cloud region.", examples=["eu-west-1"])
    credentials_file: str | None = Field(None, description="Path of a service account.", examples=["gcs.json"])
    api_key: SecretText | None = Field(None, description="API key.", examples=["${API_KEY}"])
    oauth_token: SecretText | None = Field(None, description="OAuth token.", examples=["${OAUTH_TOKEN}"])
    client_id: str | None = Field(None, description="OAuth client id.", examples=["penstock"])
    client_secret: SecretText | None = Field(None, description="OAuth client secret.", examples=["${CLIENT_SECRET}"])
    extra: dict[str, Any] = Field(
        {}, description="The connector's further options.", examples=[{"path": "data", "format": "parquet"}]
    )

    _name: str = PrivateAttr("")
    _base_dir: Path = PrivateAttr(Path())
    _place: str = PrivateAttr("")
    _options: dict[str, Any] = PrivateAttr(default_factory=dict)
    _paths: frozenset[str] = PrivateAttr(frozenset())
    _unset: tuple[str, ...] = PrivateAttr(())

    @property
    def name(self) -> str:
        return self._name

    @property
    def unset_variables(self) -> tuple[str, ...]:
        """Variables that were not set when the project was loaded; only a connection that no pipeline names has any."""
        return self._unset

    def placed(self, name: str, base_dir: Path, place: str, **more: Any) -> ConnectionConfig:
        """The same, knowing its name and folder; `more`: `options` (keys of this variant alone), `paths`, `unset`."""
        copy = self.model_copy()
        copy._name, copy._base_dir, copy._place = name, base_dir, place
        copy._options = dict(more.get("options", {}))
        copy._paths = frozenset(more.get("paths", ()))
        copy._unset = tuple(more.get("unset", ()))
        return copy

    def to_connection(self) -> Connection:
        """What connectors take, with absolute paths. Raises ConfigError where a variable it needs is not set."""
        if self._unset:
            raise ConfigError(
                f"the environment variable {self._unset[0]} is not set",
                where=f"{self._place}, connections.{self._name}",
                fix="set it, or put it into .env",
            )
        extra = {key: self._located(key, value) for key, value in {**self._options, **self.extra}.items()}
        return Connection(
            name=self._name,
            variant=self.variant,
            host=self.host,
            port=self.port,
            database=self._database(),
            user=self.user,
            password=self.password,
            schema=self.schema_,
            ledger_schema=self.ledger_schema,
            max_connections=self.max_connections,
            base_dir=str(self._base_dir),
            extra=extra,
        )

    def _database(self) -> str | None:
        is_file = self.variant in FILE_DATABASES or "database" in self._paths
        return beside(self._base_dir, self.database) if self.database and is_file else self.database

    def _located(self, key: str, value: ExtraValue) -> ExtraValue:
        is_path = isinstance(value, str) and (key in PATH_KEYS or key in self._paths)
        return beside(self._base_dir, str(value)) if is_path else value

    @field_serializer("extra", when_used="json")
    def _without_secrets(self, extra: dict[str, Any]) -> dict[str, Any]:
        return {key: shown_reference(v) if isinstance(v, Secret) else v for key, v in extra.items()}
