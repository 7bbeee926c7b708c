"""Penstock moves, governs and derives tables: one declarative project, nothing lost, nothing doubled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.errors import (
    BackendError,
    CommitUnknownError,
    ConfigError,
    ContractError,
    ExtractionError,
    FencedError,
    LoadError,
    PenstockError,
    PluginNotFoundError,
    RefusedError,
    SourceChangedError,
    TransformError,
)

if TYPE_CHECKING:
    from penstock.engines.scope import transform
    from penstock.pipeline.api import extract, load, plan, register_spark, run
    from penstock.pipeline.project import Project

__version__ = "0.1.0"

# Found on first use: importing penstock loads no engine, no driver and no parser.
_LAZY = {
    "Project": "penstock.pipeline.project",
    "extract": "penstock.pipeline.api",
    "load": "penstock.pipeline.api",
    "plan": "penstock.pipeline.api",
    "register_spark": "penstock.pipeline.api",
    "run": "penstock.pipeline.api",
    "transform": "penstock.engines.scope",
}

__all__ = [
    "BackendError",
    "CommitUnknownError",
    "ConfigError",
    "ContractError",
    "ExtractionError",
    "FencedError",
    "LoadError",
    "PenstockError",
    "PluginNotFoundError",
    "Project",
    "RefusedError",
    "SourceChangedError",
    "TransformError",
    "__version__",
    "extract",
    "load",
    "plan",
    "register_spark",
    "run",
    "transform",
]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'penstock' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
