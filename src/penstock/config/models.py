"""The project as typed values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from penstock.config.connections import ConnectionConfig
from penstock.config.kinds import ConfigModel
from penstock.config.problems import Mark, nearest
from penstock.config.problems import Path as YamlPath
from penstock.config.settings import BackendConfig, Settings, SparkConfig
from penstock.config.tables import TableConfig
from penstock.records import dataclass

RESERVED = ("version", "default_environment", "project")


class PipelineConfig(ConfigModel):
    """Tables that go from one connection to another."""

    name: str = Field(min_length=1, description="Unique name of the pipeline.", examples=["shop_to_dwh"])
    source: str = Field(min_length=1, description="The connection to read from.", examples=["source_pg"])
    destination: str = Field(min_length=1, description="The connection to write to.", examples=["target_pg"])
    pass_on_error: bool = Field(
        default=False,
        description="Whether the other tables go on when one fails; the run still fails.",
        examples=[True],
    )
    tables: list[TableConfig] = Field([], description="What it moves.")


class EnvironmentConfig(ConfigModel):
    """One environment: everything a run needs."""

    settings: Settings = Field(default_factory=Settings, description="What holds for every table.")
    connections: dict[str, ConnectionConfig] = Field({}, description="Systems by name.")
    pipelines: list[PipelineConfig] = Field([], description="What moves where.")


class Waiting(NamedTuple):
    """A key that is understood and has no effect before its feature is here."""

    path: str
    location: str
    feature: str


@dataclass(frozen=True)
class ProjectConfig:
    """One environment of a project file, checked."""

    path: Path
    base_dir: Path
    environment: str
    project: str | None
    settings: Settings
    connections: Mapping[str, ConnectionConfig]
    pipelines: list[PipelineConfig]
    warnings: tuple[str, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    _file: str = ""
    _marks: Mapping[YamlPath, Mark] = field(default_factory=dict, repr=False)

    @property
    def used_connections(self) -> Mapping[str, ConnectionConfig]:
        """Those that a pipeline names; the others may lack variables."""
        names = {name for p in self.pipelines for name in (p.source, p.destination)}
        return {name: c for name, c in self.connections.items() if name in names}

    def location(self, yaml_path: YamlPath) -> str:
        """`file:line:column` of a path inside the environment, or of the nearest thing above that is written."""
        mark = nearest(self._marks, (self.environment, *yaml_path))
        return f"{self._file}:{mark.line}:{mark.column}" if mark else self._file


__all__ = [
    "BackendConfig",
    "ConnectionConfig",
    "EnvironmentConfig",
    "PipelineConfig",
    "ProjectConfig",
    "RESERVED",
    "Settings",
    "SparkConfig",
    "TableConfig",
    "Waiting",
]
