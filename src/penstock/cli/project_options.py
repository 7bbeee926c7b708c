"""What commands on a project share: opening it, its warnings, its logs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from penstock.cli.mistakes import explain_unexpected
from penstock.cli.options import (
    AsJson,
    Call,
    ConfigFile,
    Debug,
    Environment,
    Legacy,
    Verbose,
    merge_options,
)
from penstock.errors import PenstockError
from penstock.pipeline.project import Project
from penstock.records import dataclass
from penstock.telemetry.events import Bus
from penstock.telemetry.logs import log_file, logging_to


@dataclass(frozen=True, slots=True)
class ProjectCall(Call):
    """What every command on a project is told."""

    config: Path | None = None
    environment: str | None = None
    legacy: bool = False

    @contextmanager
    def project(self, bus: Bus | None = None, *, warn: bool = True) -> Iterator[Project]:
        """The opened project, with its logs under way. Its warnings are shown first."""
        project = Project.open(self.config, environment=self.environment, legacy=self.legacy)
        for warning in project.config.warnings if warn else ():
            typer.secho(f"warning: {warning}", fg="yellow", err=True)
        log_dir = _log_dir(project)
        with logging_to(log_dir=log_dir, verbose=sys.stderr if self.verbose else None, bus=bus) as logger:
            try:
                # A transform that prints must not break the one object a program reads.
                with redirect_stdout(sys.stderr) if self.as_json else nullcontext():
                    yield project
            except PenstockError as error:
                if logger.handlers:  # without one, logging itself would print it a second time
                    logger.error("%s: %s", type(error).__name__, error)
                raise
            except (typer.Exit, typer.Abort):
                raise
            except Exception as error:
                if log_dir is None:
                    raise
                logger.exception("the command ended unexpectedly")
                raise explain_unexpected(error, log_file(log_dir, datetime.now(UTC))) from error


def _log_dir(project: Project) -> Path | None:
    folder = project.config.settings.log_dir
    return Path(project.config.base_dir, folder) if folder else None


def project_command(function: Callable[..., int]) -> Callable[..., int]:
    """A command on a project: adds the options those have, and hands them over as a ProjectCall."""

    def call(
        *,
        config: ConfigFile = None,
        environment: Environment = None,
        legacy: Legacy = False,
        as_json: AsJson = False,
        verbose: Verbose = False,
        debug: Debug = False,
        **own: Any,
    ) -> int:
        asked = ProjectCall(as_json, verbose, debug, config=config, environment=environment, legacy=legacy)
        return function(asked, **own)

    return merge_options(call, function)
