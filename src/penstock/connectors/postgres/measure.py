"""Asks the snapshot for the extents of many requests in one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from penstock.connectors.postgres import extents
from penstock.connectors.postgres.extents import Answers, Extent
from penstock.connectors.postgres.filters import Arguments
from penstock.connectors.postgres.horizon import ACTIVITY, FACTS, Facts

if TYPE_CHECKING:
    from penstock.connectors.postgres.connect import Session

PARAMETERS = 20_000  # the protocol takes 65,535; a request needs ten at most


def ask_facts(session: Session, activity: tuple[object, ...]) -> Facts:
    """Server and snapshot; under REPEATABLE READ the snapshot is the session's."""
    return Facts.from_rows(activity, session.query(FACTS)[0])


def ask_activity(session: Session) -> tuple[object, ...]:
    """Who is under way, before the snapshot is taken."""
    return session.query(ACTIVITY)[0]


def measure(session: Session, planned: Sequence[Extent], facts: Facts) -> Mapping[int, Answers]:
    """The answers of each extent, by its place."""
    answers: dict[int, Answers] = {}
    questions: list[str] = []
    binder = Arguments()
    for number, extent in enumerate(planned):
        known = extents.known_idle(extent, facts)
        if known is not None:
            answers[number] = known
            continue
        questions.append(extents.question(extent, number, binder))
        if len(binder.values) > PARAMETERS:
            answers.update(_ask(session, questions, binder))
            questions, binder = [], Arguments()
    answers.update(_ask(session, questions, binder))
    return answers


def _ask(session: Session, questions: Sequence[str], binder: Arguments) -> dict[int, Answers]:
    if not questions:
        return {}
    rows = session.query("\nUNION ALL\n".join(f"({q})" for q in questions), *binder.values)
    return {row[0]: Answers(*row[1:]) for row in rows}
