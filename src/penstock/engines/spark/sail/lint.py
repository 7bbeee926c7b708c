"""What a PySpark transform may not do on Sail, found in its text before anything is read."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from penstock.engines.arrow.reference import UserFunction
from penstock.errors import ConfigError
from penstock.records import dataclass

# A frame has them as attributes or methods; whatever object has one in a transform, it is a frame's or its session's.
_ATTRIBUTES: Final = frozenset(
    {
        "_jdf", "_jvm", "_metadata", "_sc", "approxQuantile", "bround", "checkpoint", "foreach", "foreachPartition",
        "input_file_name", "insertInto", "localCheckpoint", "mergeInto", "observe", "rdd", "readStream", "rint",
        "saveAsTable", "sparkContext", "timestamp_seconds", "withWatermark", "writeStream", "writeTo",
    }
)  # fmt: skip
# Sail has bround, rint and timestamp_seconds, with other values than Spark's.
_NAMES: Final = frozenset(
    {
        "DeltaTable", "SparkContext", "StreamingContext", "bround", "input_file_name", "rint", "timestamp_seconds",
    }
)  # fmt: skip
_IN_TEXT: Final = re.compile(
    r"\b(bround|input_file_name|rint|timestamp_seconds)\s*\(|(?<![\w.])(_metadata)\s*(?:\.|$)", re.IGNORECASE
)
_CHANGING_SQL: Final = re.compile(
    r"\s*(alter|analyze|convert|delete|drop|insert|load|merge|optimize|refresh|restore|truncate|update|vacuum"
    r"|create(?!\s+(?:or\s+replace\s+)?(?:global\s+)?temp))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Finding:
    construct: str
    line: int


def require_clean(user: UserFunction) -> None:
    """Raises ConfigError where the function, or one of its file that it calls, asks for what Sail lacks."""
    code = inspect.unwrap(user.function).__code__
    path = Path(code.co_filename)  # of another file where the user's imports it
    if not path.is_file():
        return
    found = lint(path.read_bytes(), code.co_firstlineno)
    if not found:
        return
    told = ", ".join(f"{finding.construct} (line {finding.line})" for finding in found)
    raise ConfigError(
        f"transform {user.reference!r} uses {told}: without a JVM, PySpark transforms are computed by Sail, which "
        "makes frames of frames, and lacks this or does it unlike Spark",
        where=f"{path}:{found[0].line}",
        fix="use engine: spark, or leave it out of the transform",
    )


def lint(text: bytes, line: int) -> list[Finding]:
    """What is found in the function that starts at the line and in those of the same text that it calls."""
    tree = ast.parse(text)
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    lambdas = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda) and node.lineno == line]
    waiting: list[ast.AST] = [*(node for node in functions.values() if line in _first_lines(node)), *lambdas]
    seen: set[ast.AST] = set()
    found: set[tuple[int, str]] = set()
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        found.update((finding.line, finding.construct) for finding in _findings(function))
        used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
        waiting += [functions[name] for name in used & functions.keys()]
    return [Finding(construct, number) for number, construct in sorted(found)]


def _first_lines(function: ast.FunctionDef) -> set[int]:
    """A decorated function's code starts at its first decorator."""
    return {function.lineno, *(decorator.lineno for decorator in function.decorator_list)}


def _findings(function: ast.AST) -> Iterator[Finding]:
    called = {id(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute):
            if node.attr in _ATTRIBUTES or node.attr in _NAMES:
                yield Finding(f".{node.attr}", _line_of(node))
            elif node.attr == "write" and id(node) not in called:  # `file.write(...)` is no frame's
                yield Finding(".write", _line_of(node))
        elif isinstance(node, ast.Name) and node.id in _NAMES:
            yield Finding(node.id, node.lineno)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for match in _IN_TEXT.finditer(node.value):
                yield Finding(match[1] or match[2], node.lineno)
        elif isinstance(node, ast.Call):
            yield from _changing_sql(node)


def _changing_sql(call: ast.Call) -> Iterator[Finding]:
    if not isinstance(call.func, ast.Attribute) or call.func.attr != "sql" or not call.args:
        return
    text: ast.expr = call.args[0]
    if isinstance(text, ast.JoinedStr) and text.values:
        text = text.values[0]
    if isinstance(text, ast.Constant) and isinstance(text.value, str) and (match := _CHANGING_SQL.match(text.value)):
        yield Finding(f"sql({match[1].upper()} ...)", call.lineno)


def _line_of(node: ast.Attribute) -> int:
    """Where the attribute's own name stands: a chain of calls may run over many lines."""
    return node.end_lineno or node.lineno
