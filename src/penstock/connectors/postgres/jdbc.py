"""PostgreSQL as Spark's JDBC source reads it: what the driver is told, and its columns as those of the stream."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote as url_quote

from penstock.connectors.postgres.connect import address_of
from penstock.connectors.postgres.decode import Decoder
from penstock.connectors.postgres.reader import login_settings
from penstock.connectors.postgres.settings import session_settings
from penstock.errors import ConfigError, ExtractionError
from penstock.records import dataclass
from penstock.schema.types import list_item, to_arrow_type
from penstock.values import Batch, Connection, Field, Split, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

# Spark would carry moments through the JVM's calendar, which moves days before 1582: they travel as text
DRIVER = "org.postgresql.Driver"
_BY_TEXT = ("date", "timestamp", "timestamptz")
_SPACE_OR_BACKSLASH = re.compile(r"([\s\\])")
_TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey")


@dataclass(frozen=True, slots=True)
class PostgresJdbc:
    """Reads splits without the session's snapshot: each sees the rows of its own moment."""

    connection: Connection

    @property
    def driver(self) -> str:
        return DRIVER

    def options(self, split: Split) -> Mapping[str, str]:
        """Everything but the address is a property of the driver; values of cursors are settings of its session."""
        settings = {**session_settings(self.connection), **_settings_of(split)}
        return {
            **login_properties(self.connection, application="penstock reader", settings=settings),
            # the driver sets the time zone to its JVM's after everything else
            "sessionInitStatement": "SET TIME ZONE 'UTC'",
            "fetchsize": str(split.work["batch_rows"]),
            "query": _query(split),
        }

    def require_readable(self, schema: TableSchema) -> None:
        refuse_columns([f for f in schema.fields if f.type == "interval" or list_item(f.type)])

    def read(self, split: Split, batches: Iterator[pa.RecordBatch]) -> Iterator[Batch]:
        """The rows of Spark's columns as the stream's own."""
        where = f"{address_of(self.connection)}, {split.stream}"
        limit = max(int(str(split.work["batch_rows"])), 1)
        decoder = None
        for arrived in batches:
            batch = _typed(arrived, split, where)
            decoder = decoder or Decoder.of(split, batch.schema, where)
            for start in range(0, batch.num_rows, limit):
                rows, cursors = decoder.decode(batch.slice(start, limit))
                yield Batch(split.stream, rows, cursors)


def login_properties(connection: Connection, *, application: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Where and as whom the driver logs in; the password is a property beside the URL, never a part of it."""
    login = login_settings(connection)
    host, port, database = str(login["host"]), login["port"], url_quote(str(login["dbname"]), safe="")
    if host.startswith("/"):
        raise ConfigError(
            "JDBC cannot use a socket folder",
            where=f"connections.{connection.name}",
            fix="give host as a name or address, or leave out io: jdbc",
        )
    tls = {name: str(login[name]) for name in _TLS if login.get(name) is not None}
    password = {"password": str(login["password"])} if login["password"] is not None else {}
    return {
        "url": f"jdbc:postgresql://{f'[{host}]' if ':' in host else host}:{port}/{database}",
        "driver": DRIVER,
        "user": str(login["user"]),
        "ApplicationName": application,
        "connectTimeout": str(int(float(str(login["connect_timeout"])))),
        "logServerErrorDetail": "false",  # else its errors, which executors log, quote the rows of a statement
        "options": _startup(settings),
        **tls,
        **password,
    }


def refuse_columns(fields: Sequence[Field]) -> None:
    """Raises ConfigError where there are any: JDBC has no form for them."""
    if fields:
        raise ConfigError(
            f"JDBC cannot carry the columns {', '.join(f.name for f in fields)}",
            fix=f"read them as text, `columns: {{{fields[0].name}: string}}`, or leave out io: jdbc",
        )


def _settings_of(split: Split) -> dict[str, str]:
    settings = split.work["settings"]
    assert isinstance(settings, dict)
    return {name: str(value) for name, value in settings.items()}


def _startup(settings: Mapping[str, str]) -> str:
    """As the startup packet's `options` spell them: they hold before the first statement."""
    escaped = {name: _SPACE_OR_BACKSLASH.sub(r"\\\1", value) for name, value in settings.items()}
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())


def _houses(split: Split) -> list[str]:
    """The house type of each column of the result, a hidden cursor last."""
    kinds = [field.type for field in split.schema.fields]
    hidden = split.work["cursor_type"] is not None and split.work["cursor_column"] is None
    return [*kinds, str(split.work["cursor_type"])] if hidden else kinds


def _query(split: Split) -> str:
    kinds = _houses(split)
    names = [f"c{number}" for number in range(len(kinds))]
    hidden_from = len(split.schema.fields)
    items = [
        _item(name, kind, hidden=at >= hidden_from) for at, (name, kind) in enumerate(zip(names, kinds, strict=True))
    ]
    return f"SELECT {', '.join(items)} FROM ({split.work['sql']}) AS p({', '.join(names)})"


def _item(name: str, kind: str, *, hidden: bool) -> str:
    if kind in _BY_TEXT or kind == "uint64":
        return f"{name}::text AS {name}"
    if kind == "time":
        return f"(extract(epoch FROM {name}) * 1000000)::int8 AS {name}"
    return f"{name}::int8 AS {name}" if hidden and kind == "int64" else name


def _typed(batch: pa.RecordBatch, split: Split, where: str) -> pa.RecordBatch:
    import pyarrow as pa

    kinds = _houses(split)
    names = [*split.schema.names, "the cursor"]
    columns = [_moment(batch.column(at), kind, names[at], where) for at, kind in enumerate(kinds)]
    return pa.RecordBatch.from_arrays(columns, names=[f"c{at}" for at in range(len(columns))])


def _moment(column: pa.Array, kind: str, name: str, where: str) -> pa.Array:
    import pyarrow as pa

    if kind == "time":
        return column.view(pa.time64("us"))
    if kind not in _BY_TEXT:
        return column
    try:
        return column.cast(to_arrow_type(kind))
    except pa.ArrowInvalid:
        raise ExtractionError(
            f"the column {name!r} ({kind}) holds infinity or a value outside the years 1 to 9999",
            where=where,
            fix=f"read it as text: `columns: {{{name}: string}}`, or correct the rows at the source",
        ) from None
