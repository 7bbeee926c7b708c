"""Each commit, rename and acknowledgement of the product stands between two failpoints: a test can kill there."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "penstock"
DEPTH = 5  # how far callers are followed
COMMITS = frozenset({"commit", "acknowledge", "rename", "link_to", "hardlink_to"})
OS_CALLS = frozenset({"replace", "rename", "link"})


@dataclass(frozen=True)
class Site:
    """One call, inside of one function."""

    file: Path
    function: ast.FunctionDef | ast.AsyncFunctionDef
    call: ast.Call

    def __str__(self) -> str:
        return f"{self.file.relative_to(SOURCE)}:{self.call.lineno} in {self.function.name}"


@dataclass
class Code:
    """All functions of the product, and who calls whom by name."""

    functions: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]]
    callers: dict[str, list[Site]]
    sites: list[Site]

    @classmethod
    def read(cls) -> Code:
        code = cls(defaultdict(list), defaultdict(list), [])
        for file in sorted(SOURCE.rglob("*.py")):
            if "testing" in file.relative_to(SOURCE).parts:
                continue
            for function, call in calls_in(ast.parse(file.read_text(encoding="utf-8"))):
                site = Site(file, function, call)
                code.callers[name_of(call)].append(site)
                if is_commit(call):
                    code.sites.append(site)
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    code.functions[node.name].append(node)
        return code

    def passes_failpoint(self, call: ast.Call, depth: int = DEPTH) -> bool:
        """Whether the call is a failpoint, or leads to one."""
        name = name_of(call)
        if name == "failpoint":
            return True
        if depth == 0 or name not in self.functions:
            return False
        inner = (c for function in self.functions[name] for c in ast.walk(function) if isinstance(c, ast.Call))
        return any(self.passes_failpoint(c, depth - 1) for c in inner if name_of(c) != name)

    def is_fenced(self, site: Site, side: str, depth: int = DEPTH) -> bool:
        """Whether a failpoint comes before (or after) the site: in its function, else around every call of that."""
        for call in (c for c in ast.walk(site.function) if isinstance(c, ast.Call)):
            ahead = (call.lineno, call.col_offset) < (site.call.lineno, site.call.col_offset)
            if call is not site.call and ahead == (side == "before") and self.passes_failpoint(call):
                return True
        callers = [c for c in self.callers[site.function.name] if c.function is not site.function]
        return depth > 0 and bool(callers) and all(self.is_fenced(c, side, depth - 1) for c in callers)


def calls_in(tree: ast.AST) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, ast.Call]]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Call):
                    yield function, node


def name_of(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def is_commit(call: ast.Call) -> bool:
    """A commit, an acknowledgement, a rename: by method, by function of os, or as the statement COMMIT."""
    if any(isinstance(a, ast.Constant) and a.value == "COMMIT" for a in call.args):
        return True
    if not isinstance(call.func, ast.Attribute):
        return False
    if isinstance(call.func.value, ast.Name) and call.func.value.id == "os":
        return call.func.attr in OS_CALLS
    return call.func.attr in COMMITS


CODE = Code.read()


def test_there_are_places_to_look_at() -> None:
    assert len(CODE.sites) >= 5


@pytest.mark.parametrize("site", CODE.sites, ids=str)
def test_every_commit_stands_between_two_failpoints(site: Site) -> None:
    assert CODE.is_fenced(site, "before"), f"{site}: no failpoint before it"
    assert CODE.is_fenced(site, "after"), f"{site}: no failpoint after it"
