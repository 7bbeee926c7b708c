"""The project file: YAML to typed values that know their place."""

from penstock.config.load import find_file, load_project
from penstock.config.models import (
    BackendConfig,
    ConnectionConfig,
    PipelineConfig,
    ProjectConfig,
    Settings,
    TableConfig,
    Waiting,
)
from penstock.config.reference import reference_markdown, variant_markdown
from penstock.config.schema import project_schema

__all__ = [
    "BackendConfig",
    "ConnectionConfig",
    "PipelineConfig",
    "ProjectConfig",
    "Settings",
    "TableConfig",
    "Waiting",
    "find_file",
    "load_project",
    "project_schema",
    "reference_markdown",
    "variant_markdown",
]
