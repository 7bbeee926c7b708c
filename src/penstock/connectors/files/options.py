"""The keys of a file connection, and the values the rest of the folder uses."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from penstock.config.waiting import EXTRA_VALUES
from penstock.errors import ConfigError
from penstock.values import Connection, Secret

FileFormat = Literal["parquet", "csv", "jsonl"]
Compression = Literal["none", "snappy", "zstd", "gzip"]
_DEFAULT_COMPRESSION: dict[str, Compression] = {"parquet": "zstd", "csv": "none", "jsonl": "none"}
_COMPRESSIONS: dict[str, tuple[Compression, ...]] = {
    "parquet": ("zstd", "snappy", "gzip", "none"),
    "csv": ("none", "gzip", "zstd"),
    "jsonl": ("none", "gzip", "zstd"),
}


class FileExtra(BaseModel):
    """`extra:` of a connection with variant file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Field(
        description="Folder that holds the files; nothing outside it is read or written.", examples=["data"]
    )
    storage: Literal["local"] = Field("local", description="Where the folder is. s3, gcs and adls come with M11r.")
    format: FileFormat = Field(
        "parquet",
        description="Format written, and read where a file's name does not tell. `json` means jsonl.",
        examples=["parquet", "csv", "jsonl"],
    )
    compression: Compression | None = Field(
        None,
        description="Compression written: parquet zstd (default), snappy, gzip, none; csv and jsonl none, gzip, zstd.",
    )
    delimiter: str = Field(",", min_length=1, max_length=1, description="CSV: the character between cells.")
    header: bool = Field(default=True, description="CSV: the first line names the columns; else they are f0, f1, ...")
    null_value: str = Field("", description="CSV: the unquoted text of NULL; a quoted cell is never NULL.")
    encoding: str = Field("utf-8", description="CSV: the encoding of files read; files are written in UTF-8.")
    final_newline: Literal["required", "optional"] = Field(
        "required",
        description="CSV, uncompressed: whether a last line without its line end is refused as possibly cut off.",
    )
    max_file_bytes: int = Field(
        512_000_000, ge=1, description="A data file that has grown to this size is followed by another."
    )

    @field_validator("format", mode="before")
    @classmethod
    def _json_is_jsonl(cls, value: object) -> object:
        return "jsonl" if value == "json" else value

    @field_validator("storage", mode="before")
    @classmethod
    def _only_local(cls, value: object) -> object:
        feature = EXTRA_VALUES.get(("storage", str(value)))
        if feature is not None:
            raise ValueError(f"storage {value} comes with feature {feature}; only local is here yet")
        return value

    @field_validator("delimiter")
    @classmethod
    def _plain_delimiter(cls, value: str) -> str:
        if value in '"\r\n' or len(value.encode()) != 1:
            raise ValueError("the delimiter is one ASCII character, neither a quote nor a line end")
        return value

    @field_validator("null_value")
    @classmethod
    def _plain_null(cls, value: str) -> str:
        if any(c in value for c in '"\r\n'):
            raise ValueError("null_value holds neither quotes nor line ends: it is an unquoted cell")
        return value

    @model_validator(mode="after")
    def _check_pairs(self) -> FileExtra:
        if self.compression is not None and self.compression not in _COMPRESSIONS[self.format]:
            choices = ", ".join(_COMPRESSIONS[self.format])
            raise ValueError(f"compression {self.compression} does not go with {self.format}; one of: {choices}")
        if self.delimiter in self.null_value:
            raise ValueError("null_value holds the delimiter")
        return self

    @property
    def written_compression(self) -> Compression:
        return self.compression or _DEFAULT_COMPRESSION[self.format]


class FileOptions(BaseModel):
    """A connection with variant file."""

    model_config = ConfigDict(extra="forbid")

    variant: Literal["file"] = Field(description="Local files.")
    extra: FileExtra = Field(description="Where the files are and how they are written.")


def read_options(connection: Connection) -> FileExtra:
    """Raises ConfigError, naming the key, for options that cannot be."""
    plain = {k: v.reveal() if isinstance(v, Secret) else v for k, v in connection.extra.items() if v is not None}
    try:
        found = FileExtra.model_validate(plain)
    except ValidationError as error:
        problems = [
            (".".join(str(p) for p in e["loc"]), e["msg"].removeprefix("Value error, ")) for e in error.errors()
        ]
        text = "; ".join(f"{place}: {message}" if place else message for place, message in problems)
        raise ConfigError(text, where=f"connections.{connection.name}.extra", fix=_way_out(problems)) from error
    return found.model_copy(update={"path": Path(connection.base_dir) / found.path})


def _way_out(problems: list[tuple[str, str]]) -> str:
    if any(place == "path" for place, _ in problems):
        return "set extra.path to the folder of the files"
    return f"keys: {', '.join(FileExtra.model_fields)}"
