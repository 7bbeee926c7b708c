"""Fails when a Python file is longer than 500 lines or does not open with a sentence saying what it is for."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

HARD_LIMIT = 500
SOFT_LIMIT = 300
FOLDERS = ("src", "tests", "benchmarks", "examples", ".ci")


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    files = sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py"))
    complaints = [complaint for path in files for complaint in complaints_about(path, root)]
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


def complaints_about(path: Path, root: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(root)
    lines = text.count("\n")
    found = []
    if lines > HARD_LIMIT:
        found.append(f"{name}: {lines} lines, at most {HARD_LIMIT} (wished: {SOFT_LIMIT}); split it")
    if text.strip() and not ast.get_docstring(ast.parse(text)):
        found.append(f"{name}: opens without a sentence saying what the file is for")
    return found


if __name__ == "__main__":
    sys.exit(main())
