"""SQLite as Spark's JDBC source reads it: cells travel as texts that say how they are stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from penstock.connectors.sqlite.files import database_path
from penstock.connectors.sqlite.source import batch_of
from penstock.errors import ConfigError
from penstock.records import dataclass
from penstock.values import Batch, Connection, Split, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

_BUSY_MILLISECONDS = 30_000
# A cell may be of any type, whatever its column declares, and JDBC has one type per column
_CELL = (
    "CAST(CASE typeof({0}) WHEN 'null' THEN NULL WHEN 'integer' THEN 'i' || {0}"
    " WHEN 'real' THEN 'r' || printf('%!.17g', {0}) WHEN 'blob' THEN 'b' || hex({0}) ELSE 't' || hex({0}) END AS TEXT)"
)
_CELLS: Mapping[str, Callable[[str], Any]] = {
    "i": int,
    "r": float,
    "b": bytes.fromhex,
    "t": lambda text: bytes.fromhex(text).decode("utf-8"),
}
# what may hold a `?` that is no parameter comes first
_PARAMETER = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|\?(\d+)""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SqliteJdbc:
    """Reads splits outside of the session's transaction: each sees the rows of its own moment."""

    connection: Connection

    @property
    def driver(self) -> str:
        return "org.sqlite.JDBC"

    def options(self, split: Split) -> Mapping[str, str]:
        path = database_path(self.connection)
        if "?" in path:
            raise ConfigError(
                "JDBC takes what follows a `?` in the path of a SQLite file for settings",
                where=f"connections.{self.connection.name}",
                fix="rename the file, or leave out io: jdbc",
            )
        names = [f"c{at}" for at in range(_width(split))]
        cells = ", ".join(f"{_CELL.format(name)} AS {name}" for name in names)
        rows = _with_values(str(split.work["sql"]), cast("list[Any]", split.work["params"]))
        return {
            "url": f"jdbc:sqlite:{path}",
            "driver": self.driver,
            "open_mode": "1",  # read only: a file that is gone is not made anew
            "busy_timeout": str(_BUSY_MILLISECONDS),
            "fetchsize": str(split.work["batch_rows"]),
            "customSchema": ", ".join(f"{name} STRING" for name in names),
            "query": f"WITH p({', '.join(names)}) AS ({rows}) SELECT {cells} FROM p",
        }

    def require_readable(self, schema: TableSchema) -> None:
        """Nothing that SQLite holds is refused."""

    def read(self, split: Split, batches: Iterator[pa.RecordBatch]) -> Iterator[Batch]:
        limit = max(int(str(split.work["batch_rows"])), 1)
        for arrived in batches:
            for start in range(0, arrived.num_rows, limit):
                part = arrived.slice(start, limit)
                columns = [[_cell(text) for text in column.to_pylist()] for column in part.columns]
                yield batch_of(list(zip(*columns, strict=True)), split)


def _width(split: Split) -> int:
    """The columns of the stream, and its cursor last."""
    return len(split.schema.fields) + (split.work["cursor"] is not None)


def _cell(text: str | None) -> Any:
    return None if text is None else _CELLS[text[0]](text[1:])


def _with_values(sql: str, values: Sequence[Any]) -> str:
    """The statement with its parameters as literals, since Spark's source binds none."""

    def literal(found: re.Match[str]) -> str:
        return found[0] if found[1] is None else _literal(values[int(found[1]) - 1])

    return _PARAMETER.sub(literal, sql)


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(value).replace("inf", "9e999")
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    return f"+CAST(X'{str(value).encode().hex()}' AS TEXT)"  # the plus: like a parameter it has no affinity


__all__ = ["SqliteJdbc"]
