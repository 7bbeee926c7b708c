"""Mistakes and warnings of a project file, collected and then raised at once."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import TypeAlias

from penstock.errors import ConfigError, Mistake, PluginNotFoundError
from penstock.records import dataclass

FOUND = "{found}"  # in what a validator says: the value as the file spells it, at most a line of it
MOST_PROBLEMS = 100  # who has so many has one cause, and the rest would take long to find and to read
Path: TypeAlias = "tuple[str | int, ...]"


@dataclasses.dataclass(frozen=True, slots=True)  # made by the thousand
class Mark:
    """A place in the file; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake or warning. `path` is the YAML path, the environment's name first."""

    what: str
    place: str
    path: str
    fix: str | None = None
    plugin: bool = False

    def __str__(self) -> str:
        where = f"{self.place}, {self.path}" if self.path else self.place
        return "\n".join([self.what, f"  at: {where}", *([f"  fix: {self.fix}"] if self.fix else [])])


@dataclass(slots=True)
class Findings:
    """What is wrong with one file. Places are looked up in `marks`, by the longest part of a path that is known."""

    file: str
    marks: dict[Path, Mark] = field(default_factory=dict)
    key_marks: dict[Path, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def error(
        self, what: str, path: Path, *, fix: str | None = None, mark: Mark | None = None, plugin: bool = False
    ) -> None:
        """`mark` overrules the place that `path` leads to. Raises what there is at the hundredth."""
        self.problems.append(Problem(what, self._place(path, mark), format_path(path), fix, plugin))
        if len(self.problems) >= MOST_PROBLEMS:
            self.raise_if_any()

    def warn(self, what: str, path: Path, *, fix: str | None = None, mark: Mark | None = None) -> None:
        self.warnings.append(Problem(what, self._place(path, mark), format_path(path), fix))

    def report(self, what: str, path: Path, *, fix: str | None = None, lenient: bool, mark: Mark | None = None) -> None:
        """A warning where mkpipe would have said nothing and leniency was asked for, else an error."""
        if lenient:
            self.warn(what, path, fix=fix, mark=mark)
        else:
            self.error(what, path, fix=fix, mark=mark)

    def place_of(self, path: Path) -> str:
        return self._place(path, None)

    def key_mark(self, path: Path) -> Mark | None:
        return self.key_marks.get(path)

    def _place(self, path: Path, mark: Mark | None) -> str:
        found = mark or nearest(self.marks, path)
        return f"{self.file}:{found.line}:{found.column}" if found else self.file

    def raise_if_any(self) -> None:
        """Raises PluginNotFoundError where nothing but plugins is missing, else ConfigError, each with all of them."""
        found = _in_order(self.problems)
        if not found:
            return
        kind = PluginNotFoundError if all(p.plugin for p in found) else ConfigError
        least = "at least " if len(self.problems) >= MOST_PROBLEMS else ""
        error = kind("\n".join([f"{least}{len(found)} mistakes in {self.file}", *(str(p) for p in found)]))
        if len(found) == 1:
            only = found[0]
            where = f"{only.place}, {only.path}" if only.path else only.place
            error = kind(only.what, where=where, fix=only.fix)
        error.mistakes = tuple(Mistake(p.what, p.place, p.path, p.fix) for p in found)
        raise error


def nearest(marks: Mapping[Path, Mark], path: Path) -> Mark | None:
    """The mark of the longest leading part of `path` that has one."""
    for length in range(len(path), -1, -1):
        if path[:length] in marks:
            return marks[path[:length]]
    return None


def format_path(path: Path) -> str:
    """`prod.pipelines[0].tables[2].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """`did you mean 'upsert'?`, None where nothing is near."""
    lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return f"did you mean {lower[close[0]]!r}?" if close else None


def suggest(word: str, known: Sequence[str], *, title: str = "one of") -> str:
    """The nearest known word, and all of them."""
    choices = f"{title} {', '.join(known)}" if known else ""
    return " ".join(part for part in (did_you_mean(word, known), choices) if part)


def _in_order(problems: list[Problem]) -> list[Problem]:
    """Each once, by its place in the file."""

    def position(problem: Problem) -> tuple[int, int]:
        parts = problem.place.rsplit(":", 2)
        return (int(parts[1]), int(parts[2])) if len(parts) == 3 and parts[2].isdigit() else (0, 0)

    return sorted(dict.fromkeys(problems), key=position)
