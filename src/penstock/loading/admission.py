"""Whether a table may be loaded, and as which load: decided from the ledger head alone, before anything is read."""

from __future__ import annotations

from typing import Literal

from penstock.errors import RefusedError
from penstock.records import dataclass
from penstock.values import START, LedgerHead, Position, TableName


@dataclass(frozen=True, slots=True)
class Claim:
    """Who wants to load what into which table. `has_rows` is None where the table does not exist."""

    target: TableName
    stream: str
    owner: str
    has_rows: bool | None
    shared: bool = False
    on_existing: Literal["refuse", "append"] = "refuse"
    refresh: bool = False
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """The load that may happen next, and where it resumes."""

    generation: int
    sequence: int
    after: Position


def admit(claim: Claim, head: LedgerHead | None) -> Admission:
    """Raises RefusedError, with the ways out, for a target of somebody else's or with rows that no ledger knows."""
    if head is None:
        _refuse_unknown_rows(claim)
        return Admission(1, 1, START)
    if head.owner != claim.owner and not claim.shared:
        raise RefusedError(
            f"table {claim.target} belongs to {head.owner!r}, this is {claim.owner!r}",
            where=str(claim.target),
            fix=f"{_under_a_new_name(claim.owner, head.owner)}; if both load it, write shared: true in both;"
            " else choose another target_name",
        )
    if claim.refresh:
        return Admission(head.generation + 1, head.sequence + 1, START)
    if head.stream != claim.stream and not claim.shared and not claim.replaces:
        raise RefusedError(
            f"table {claim.target} was filled from {head.stream}, this run reads {claim.stream}",
            where=str(claim.target),
            fix="use another target_name, or load it anew with --full-refresh",
        )
    return Admission(head.generation, head.sequence + 1, head.position)


def _under_a_new_name(owner: str, before: str) -> str:
    """How what was renamed gets its tables back; an owner is the project's id, or the environment, and the pipeline."""
    (project, _, pipeline), (project_before, _, pipeline_before) = owner.rpartition("/"), before.rpartition("/")
    if pipeline == pipeline_before:
        return (
            f"if {project_before!r} is called {project!r} now, write project: {project_before} at the top of the file"
        )
    renamed = f"if pipeline {pipeline_before!r} is called {pipeline!r} now"
    if project != project_before:
        renamed = f"if {before!r} is called {owner!r} now"
    return f"{renamed}, write shared: true on the table until its next load is in"


def _refuse_unknown_rows(claim: Claim) -> None:
    if not claim.has_rows or claim.refresh or claim.on_existing == "append":
        return
    raise RefusedError(
        f"table {claim.target} has rows, and no ledger says where they come from",
        where=str(claim.target),
        fix="--full-refresh replaces them, on_existing: append adds to them, another target_name leaves them alone",
    )
