"""The columns of a stream of files: from Parquet footers, from the heads of CSV and JSON files, united by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.connectors.files.fit import fit_column
from penstock.connectors.files.infer import guess_kind, settle
from penstock.connectors.files.listing import FileRef, Listing
from penstock.connectors.files.read_csv import csv_names, read_csv
from penstock.connectors.files.read_jsonl import Number, parse_lines, read_blocks, to_column
from penstock.connectors.files.read_parquet import read_footer
from penstock.errors import ConfigError, ExtractionError
from penstock.records import dataclass
from penstock.schema.evolution import common_type, widened_type
from penstock.schema.texts import BadCellError
from penstock.schema.types import is_type
from penstock.values import Field, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

_SAMPLE_ROWS = 20_000
_LEAST_ROWS = 100  # of each file, however many files there are


@dataclass(frozen=True, slots=True)
class Described:
    """`inferred` names the columns whose types nobody named; samples of those in `unlike` met other cells."""

    schema: TableSchema
    inferred: frozenset[str] = frozenset()
    unlike: tuple[str, ...] = ()


def describe_files(
    root: Path, listing: Listing, types: Mapping[str, str], expected: Mapping[str, str] | None = None
) -> Described:
    """What is `expected` of a column stands for a guess, where the guess would not widen it.

    Raises ExtractionError where files disagree on a column in a way no type can hold.
    """
    expected = expected or {}
    if listing.schema is not None:
        return Described(_override(listing.schema, types))
    typed: dict[str, Field] = {}
    guesses: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for ref in listing.files:
        rows = max(_LEAST_ROWS, _SAMPLE_ROWS // len(listing.files))
        for name in _add_file(_Sampling(root, types, expected, rows), ref, typed, guesses):
            counts[name] = counts.get(name, 0) + 1
    mixture = "json" if any(ref.format == "jsonl" for ref in listing.files) else "string"
    guessed = {name: _settle(kinds, mixture, expected.get(name)) for name, kinds in guesses.items()}
    fields = [_settle_field(listing, name, typed.get(name), guessed.get(name), types) for name in counts]
    if not fields:
        fields = [Field(name, kind) for name, kind in types.items()]
    everywhere = [f if counts.get(f.name) == len(listing.files) else replace(f, nullable=True) for f in fields]
    # Text that the target holds as text takes every cell as it is written.
    inferred = frozenset(n for n in guessed if n not in types and (n not in expected or guessed[n] != "string"))
    unlike = tuple(n for n in inferred if guessed[n] == expected.get(n) and set(guesses[n]) - {"null"})
    return Described(_override(TableSchema(tuple(everywhere), system="file"), types), inferred, unlike)


def _settle(kinds: Sequence[str], mixture: str, expected: str | None) -> str:
    """Cells that are what is expected had no other guess than `null`."""
    if expected is None:
        return settle(kinds, mixture)
    if not set(kinds) - {"null"}:
        return expected
    return widened_type(settle(kinds, mixture), expected) or expected


def _override(schema: TableSchema, types: Mapping[str, str]) -> TableSchema:
    wrong = {name: kind for name, kind in types.items() if not is_type(kind)}
    if wrong:
        text = ", ".join(f"{name}: {kind}" for name, kind in wrong.items())
        raise ConfigError(f"not a type: {text}", where="columns", fix="for example int64, decimal(12,2), timestamptz")
    return replace(schema, fields=tuple(replace(f, type=types.get(f.name, f.type)) for f in schema.fields))


@dataclass(frozen=True, slots=True)
class _Sampling:
    """How one file is looked at: so many of its rows, in the light of what is known of its columns."""

    root: Path
    types: Mapping[str, str]
    expected: Mapping[str, str]
    rows: int


def _add_file(how: _Sampling, ref: FileRef, typed: dict[str, Field], guesses: dict[str, list[str]]) -> list[str]:
    """The file's columns; what it says of their types goes into `typed` and `guesses`."""
    if ref.format == "parquet":
        fields = [replace(f, type=how.types.get(f.name, f.type)) for f in read_footer(how.root, ref).fields]
        for item in fields:
            typed[item.name] = _unite(ref, typed[item.name], item) if item.name in typed else item
        names = [f.name for f in fields]
    else:
        sampled = _sample_csv(how, ref) if ref.format == "csv" else _sample_jsonl(how, ref)
        for name, kinds in sampled.items():
            guesses.setdefault(name, []).extend(kinds)
        names = list(sampled)
    for name, text in ref.partition.items():
        if name not in names:
            guesses.setdefault(name, []).append(_guess_column(_texts([text]), how.expected.get(name)))
            names.append(name)
    return names


def _unite(ref: FileRef, known: Field, found: Field) -> Field:
    kind = common_type(known.type, found.type)
    if kind is None:
        raise ExtractionError(
            f"{ref.path}: column {found.name!r} is {found.type} here and {known.type} in the files before it",
            where=ref.path,
            fix=f"name one type for all files: columns: {{{found.name}: string}}",
        )
    return replace(known, type=kind, nullable=known.nullable or found.nullable)


def _settle_field(
    listing: Listing, name: str, typed: Field | None, guessed: str | None, types: Mapping[str, str]
) -> Field:
    if name in types or (typed is None and guessed is not None):
        return Field(name, types.get(name, guessed or "string"))
    if typed is None:
        raise AssertionError("a column without a type")
    if guessed is None:
        return typed
    kind = common_type(typed.type, guessed)
    if kind is None:
        raise ExtractionError(
            f"{listing.name}: column {name!r} is {typed.type} in some files and {guessed} in others",
            where=str(listing.name),
            fix=f"name one type for all files: columns: {{{name}: string}}",
        )
    return replace(typed, type=kind, nullable=True)


def _sample_csv(how: _Sampling, ref: FileRef) -> dict[str, list[str]]:
    names = csv_names(how.root, ref)
    kinds: dict[str, list[str]] = {name: [] for name in names}
    left = how.rows
    if not names:
        return kinds
    for batch in read_csv(how.root, ref, names, first_rows=how.rows):
        share = batch.slice(0, left)
        for name in names:
            kinds[name].append(_guess_column(share.column(name), how.expected.get(name)))
        left -= share.num_rows
        if left <= 0:
            break
    return kinds


def _sample_jsonl(how: _Sampling, ref: FileRef) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    left = how.rows
    for block in read_blocks(how.root, ref, block_bytes=1 << 18):
        share = parse_lines(ref, block).rows[:left]
        for name in dict.fromkeys(key for row in share for key in row):
            values = [row.get(name) for row in share]
            kinds.setdefault(name, []).append(_guess_values(values, how.expected.get(name), own=ref.own))
        left -= len(share)
        if left <= 0:
            break
    return kinds


def _guess_column(texts: pa.Array, expected: str | None) -> str:
    """`null`, which is no opinion, where every cell is what is expected."""
    if expected is None:
        return guess_kind(texts)
    try:
        fit_column(texts, expected, strict=True)
    except BadCellError:
        return guess_kind(texts)
    return "null"


def _guess_values(values: list[Any], expected: str | None, *, own: bool) -> str:
    if expected is None:
        return _guess_json(values)
    try:
        to_column(values, expected, strict=expected != "string", own=own)
    except BadCellError:
        return _guess_json(values)
    return "null"


def _guess_json(values: Sequence[Any]) -> str:
    """Numbers by their spelling, text is text; shapes and mixtures are JSON."""
    present = [v for v in values if v is not None]
    if not present:
        return "null"
    if all(type(v) is Number for v in present):
        return _guess_texts(present)
    if all(type(v) is str for v in present):
        return "string"
    return "bool" if all(type(v) is bool for v in present) else "json"


def _guess_texts(texts: Sequence[str | None]) -> str:
    return guess_kind(_texts(texts))


def _texts(texts: Sequence[str | None]) -> pa.Array:
    import pyarrow as pa

    return pa.array(texts, pa.string())
