"""Errors of a user's code, told by file and line and without a row value."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final

from penstock.errors import TransformError

# these speak of code, names and types; the text of others may quote a row
_SPEAK_OF_CODE: Final = frozenset(
    {
        "AttributeError",
        "ImportError",
        "ModuleNotFoundError",
        "NameError",
        "SyntaxError",
        "UnboundLocalError",
        "WrongFrameError",
        "BinderException",
        "CatalogException",
        "ParserException",
        "ColumnNotFoundError",
        "SchemaFieldNotFoundError",
    }
)
_CORRECT: Final = "correct the transform; `penstock preview` shows the rows it gets"
_LOOK_AT_DEBUG: Final = "the error's own text is left out, as it may quote rows: `--debug` shows it"
_EXTRAS: Final = ("polars", "pandas")
_LOOK_ELSEWHERE: Final = f"{_LOOK_AT_DEBUG}, and so does `penstock test` on a fixture"


def user_error(error: BaseException, path: Path | None, what: str, *, fallback: str | None = None) -> TransformError:
    """A TransformError at the last line of the user's folder that the error passed; raise it `from error`."""
    if _is_out_of_memory(error):
        return TransformError(
            f"{what} needs more memory than it has, spilling to disk included",
            where=fallback,
            fix="raise settings.memory, or have the transform gather less",
        )
    where = (user_line(error, path) if path is not None else None) or fallback
    if "not suitable for replacement scan" in str(error):
        return TransformError(
            f"{what} read a relation by duckdb.sql(), which is another database",
            where=where,
            fix="use the relation's own methods: df.query('t', 'SELECT ... FROM t'), df.filter(...), df.project(...)",
        )
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        return TransformError(
            f"{what} needs {error.name}, which is not installed",
            where=where,
            fix=f"pip install 'penstock[{error.name}]'",
        )
    if type(error).__name__ == "PySparkRuntimeError" and "No active" in str(error):
        return TransformError(
            f"{what} asks for a Spark session, and there is none while the file is loaded",
            where=where,
            fix="do it inside the function; give F.udf a type such as StringType() instead of its name",
        )
    kind = "SystemExit (sys.exit)" if isinstance(error, SystemExit) else type(error).__name__
    told = type(error).__name__ in _SPEAK_OF_CODE
    text = f": {_first_line(error)}" if told else ""
    return TransformError(
        f"{what} raised {kind}{text}",
        where=where or (str(path) if path else None),
        fix=_CORRECT if told else _LOOK_ELSEWHERE if path is not None else _LOOK_AT_DEBUG,
    )


def _is_out_of_memory(error: BaseException) -> bool:
    """DuckDB's, which comes as an OSError where a result is already being read."""
    return "OutOfMemory" in type(error).__name__ or (isinstance(error, OSError) and "Out of Memory Error" in str(error))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else ""


def user_line(error: BaseException, path: Path) -> str | None:
    """The last line of the user's folder that the error passed."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(path.parent)]
    return f"{frames[-1].filename}:{frames[-1].lineno}, in {frames[-1].name}" if frames else None
