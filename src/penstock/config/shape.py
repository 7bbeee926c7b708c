"""Turns nodes into the plain values models validate: keys known, variables filled in, secrets wrapped, places kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path as FilePath
from typing import Any

from penstock.config.document import MAX_NODES, Node
from penstock.config.expectations import ANYTHING, Expected
from penstock.config.problems import Findings, Mark, Path, did_you_mean
from penstock.config.scalars import Trap, read_scalar
from penstock.config.secrets import read_secret
from penstock.config.variables import Environment, UnsetVariableError, has_variables
from penstock.errors import ConfigError
from penstock.records import dataclass

MOST_LISTED = 14


class Nothing:
    """A value that is not there: null, or one that has already been complained about."""


NOTHING = Nothing()


@dataclass(slots=True)
class Shaper:
    """Shapes one environment. `unset` collects variables that are not set, where that is not a mistake yet."""

    findings: Findings
    environment: Environment
    base_dir: FilePath
    lenient: bool = False
    failed: set[Path] = field(default_factory=set)
    sources: dict[Path, str] = field(default_factory=dict)
    unset: list[str] | None = None
    _visited: int = 0

    def mapping(self, node: Node | None, fields: Mapping[str, Expected], path: Path) -> dict[str, Any]:
        """The mapping's known keys; unknown ones are mistakes, `x-` ones nobody's business."""
        if node is None:
            return {}
        self._mark(node, path)
        if node.is_null:
            return {}
        if node.kind != "mapping":
            self.fail(f"expected a mapping, found {_kind(node)}", path, fix=_mapping_hint(node))
            return {}
        shaped: dict[str, Any] = {}
        for key, value in node.pairs:
            name = key.text
            if name.startswith("x-"):
                continue
            here = (*path, name)
            self.findings.key_marks[here] = key.mark
            if name not in fields:
                self.unknown_key(name, fields, here, key.mark)
                continue
            found = self.value(value, fields[name], here)
            if not isinstance(found, Nothing):
                shaped[name] = found
        return shaped

    def value(self, node: Node, expected: Expected, path: Path) -> Any:
        """The shaped value, NOTHING for null and for what is already reported."""
        self._mark(node, path)
        if node.is_null:
            return NOTHING
        if node.kind == "sequence":
            inner = expected.item or ANYTHING
            return [self._item(item, inner, (*path, i)) for i, item in enumerate(node.items)]
        if node.kind == "mapping":
            return self._nested(node, expected, path)
        return self._scalar(node, expected, path)

    def _item(self, node: Node, expected: Expected, path: Path) -> Any:
        """An item keeps its place in the list, so that later ones are found by their number."""
        if node.is_null:
            self._mark(node, path)
            self.fail("an empty item in a list", path, fix="remove the dash, or write the item behind it")
            return None
        found = self.value(node, expected, path)
        return None if isinstance(found, Nothing) else found

    def _nested(self, node: Node, expected: Expected, path: Path) -> dict[str, Any]:
        if expected.fields is not None:
            return self.mapping(node, expected.fields, path)
        inner = expected.value or ANYTHING
        shaped: dict[str, Any] = {}
        for key, value in node.pairs:
            here = (*path, key.text)
            self.findings.key_marks[here] = key.mark
            found = self.value(value, inner, here)
            if not isinstance(found, Nothing):
                shaped[key.text] = found
        return shaped

    def _scalar(self, node: Node, expected: Expected, path: Path) -> Any:
        if has_variables(node.text) or (expected.secret and not node.plain):
            return self._filled(node, expected, path)
        found = read_scalar(node, expected)
        if isinstance(found, Trap):
            if not self.lenient or found.lenient is None:
                return self.fail(found.what, path, fix=found.fix)
            self.findings.warn(found.what, path, fix=found.fix)
            found = found.lenient
        if expected.secret and isinstance(found, str):
            return self._filled(node, expected, path)
        self.sources[path] = node.text
        return found

    def _filled(self, node: Node, expected: Expected, path: Path) -> Any:
        try:
            if expected.secret:
                return self._secret(node, path)
            self.sources[path] = node.text
            return self.environment.substitute(node.text)
        except UnsetVariableError as error:
            return self._report_unset(error.name, path)
        except ValueError as error:
            return self.fail(str(error), path)

    def _secret(self, node: Node, path: Path) -> Any:
        secret = read_secret(node.text, self.environment, self.base_dir, self.findings.place_of(path))
        if has_variables(node.text):
            self.environment.substitute(node.text)  # only to learn now whether its variables are set
        return secret

    def _report_unset(self, name: str, path: Path) -> Nothing:
        if self.unset is not None:
            self.unset.append(name)
            return NOTHING
        return self.fail(
            f"the environment variable {name} is not set",
            path,
            fix=f"set it, put it into .env beside the project file, or write ${{{name}:-default}}",
        )

    def fail(self, what: str, path: Path, *, fix: str | None = None, mark: Mark | None = None) -> Nothing:
        self.failed.add(path)
        self.findings.error(what, path, fix=fix, mark=mark)
        return NOTHING

    def unknown_key(self, name: str, fields: Mapping[str, Any], path: Path, mark: Mark) -> None:
        known = sorted(fields)
        listed = f"known keys: {', '.join(known)}" if len(known) <= MOST_LISTED else "`penstock schema` lists all keys"
        fix = did_you_mean(name, known) or listed
        self.findings.report(f"unknown key {name!r}", path, fix=fix, lenient=self.lenient, mark=mark)

    def _mark(self, node: Node, path: Path) -> None:
        self.findings.marks[path] = node.mark
        self._visited += 1
        if self._visited > MAX_NODES:
            raise ConfigError(
                f"aliases make this file larger than {MAX_NODES} values", where=self.findings.place_of(path)
            )


def _kind(node: Node) -> str:
    return {"scalar": "one value", "sequence": "a list", "mapping": "a mapping"}[node.kind]


def _mapping_hint(node: Node) -> str:
    return (
        "remove the dash: the keys go directly below" if node.kind == "sequence" else "write `key: value` lines below"
    )
