"""Fixture rows kept beside transforms, and whether the transforms still make of them what they should.

`<file stem>.<function>.yaml` beside `<file stem>.py`:

    cases:
      - name: prices are doubled
        types: {price: "decimal(10,2)"}       # optional, per input column; the others are read off the values
        context: {target: orders}             # optional: table, target, pipeline, run_id of a `(df, ctx)` function
        input:
          - {id: 1, price: "1.50"}
        expected:
          - {id: 1, price: "3.00"}

Rows are compared in any order, unless the case says `ordered: true`; a column left out of a row is NULL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from penstock.engines.arrow.transform import load_function
from penstock.engines.arrow.types import fit_column
from penstock.engines.arrow.workspace import Workspace
from penstock.engines.scope import TransformContext
from penstock.errors import ConfigError, PenstockError
from penstock.protocols import Frame, Scope
from penstock.records import dataclass
from penstock.schema.types import is_type, to_arrow_schema
from penstock.values import Field, RunId, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

_MEMORY_BYTES = 96 << 20
_KEYS = ("name", "types", "context", "input", "expected", "ordered")
_CONTEXT = {"table": "fixture", "target": "fixture", "pipeline": "fixture", "run_id": "fixture"}


@dataclass(frozen=True, slots=True)
class FixtureCheck:
    """One case. `file` is the fixture's, relative to the project's folder; `message` may quote fixture rows."""

    file: str
    function: str
    case: str
    ok: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    rows: pa.RecordBatch
    expected: Sequence[Mapping[str, object]]
    context: TransformContext
    ordered: bool


def fixture_path(reference: str, base_dir: str) -> Path:
    """Where the fixture of `path.py::function` is kept, whether it exists or not."""
    file, _, function = reference.rpartition("::")
    path = Path(base_dir) / file
    return path.with_name(f"{path.stem}.{function}.yaml")


class FixedTransform(Protocol):
    """What a fixture asks of an engine's transform."""

    def with_context(self, context: TransformContext) -> FixedTransform: ...
    def declared_for(self, schema: pa.Schema) -> TableSchema: ...
    def apply(self, *inputs: Frame) -> Frame: ...

    @property
    def scope(self) -> Scope: ...
    @property
    def keys(self) -> tuple[str, ...]: ...


def check_fixtures(
    reference: str,
    base_dir: str,
    *,
    default_frame: str | None = None,
    load: Callable[..., Any] | None = None,
) -> Iterator[FixtureCheck]:
    """Run the transform on each case of its fixture, if it has one. Raises ConfigError for a bad fixture.

    `load` is the `load_transform` of another engine.
    """
    path = fixture_path(reference, base_dir)
    if not path.is_file():
        return
    function = reference.rpartition("::")[2]
    label = str(path.relative_to(base_dir)) if path.is_relative_to(base_dir) else str(path)
    with closing(Workspace(_MEMORY_BYTES, 1, None)) as workspace:
        cases = _read_cases(path)
        load = load or partial(load_function, workspace=workspace)
        transform: FixedTransform = load(reference, base_dir, default_frame=default_frame)
        for case in cases:
            message = _difference(transform.with_context(case.context), case)
            yield FixtureCheck(label, function, case.name, not message, message)


def _difference(transform: FixedTransform, case: _Case) -> str:
    """Empty when the rows are those expected."""
    try:
        made = transform.apply(case.rows)
        expected = _expected_table(case.expected, transform, made.schema.names, case.rows.schema)
    except PenstockError as error:
        cause = f"\n  cause: {error.__cause__}" if error.__cause__ is not None else ""
        return f"{error}{cause}"
    got, wanted = [repr(row) for row in made.to_pylist()], [repr(row) for row in expected.to_pylist()]
    missing, extra = Counter(wanted) - Counter(got), Counter(got) - Counter(wanted)
    lines = [f"missing: {row}" for row in missing.elements()] + [f"not expected: {row}" for row in extra.elements()]
    if not lines and case.ordered and got != wanted:
        lines = ["the rows are those expected, in another order"]
    return "\n".join(lines) or _broken_scope(transform, case.rows, Counter(got))


def _broken_scope(transform: FixedTransform, rows: pa.RecordBatch, whole: Counter[str]) -> str:
    """Empty when the rows, cut as the declared scope allows, give what they give together."""
    parts = _parts(transform, rows)
    if len(parts) < 2:
        return ""
    try:
        made = Counter(repr(row) for part in parts for row in transform.apply(part).to_pylist())
    except PenstockError as error:
        return f"the rows cut as scope {transform.scope!r} allows: {error}"
    if made == whole:
        return ""
    told = "one by one" if transform.scope == "rows" else "one key at a time"
    return (
        f"the transform's scope is {transform.scope!r}, and given its rows {told} it makes others than of all together"
        '\n  fix: declare what it must see: @penstock.transform(scope="table"), or scope="keys" with keys=[...]'
    )


def _parts(transform: FixedTransform, rows: pa.RecordBatch) -> list[pa.RecordBatch]:
    import pyarrow as pa

    if transform.scope == "rows":
        return [rows.slice(number, 1) for number in range(rows.num_rows)]
    if transform.scope == "table":
        return []
    apart: dict[str, list[int]] = {}
    for number, row in enumerate(rows.select(list(transform.keys)).to_pylist()):
        apart.setdefault(repr(row), []).append(number)
    return [rows.take(pa.array(numbers)) for numbers in apart.values()]


def _expected_table(
    rows: Sequence[Mapping[str, object]], transform: FixedTransform, names: Sequence[str], incoming: pa.Schema
) -> pa.Table:
    import pyarrow as pa

    unknown = sorted({key for row in rows for key in row} - set(names))
    if unknown:
        raise ConfigError(f"expected columns the transform does not return: {', '.join(unknown)}")
    declared = transform.declared_for(incoming)
    arrays = [_column(field, [row.get(field.name) for row in rows]) for field in declared.fields]
    return pa.Table.from_arrays(arrays, schema=to_arrow_schema(declared))


def _column(field: Field, values: list[object]) -> pa.Array:
    """YAML values as a column of the type: numbers and dates may be written as text."""
    import pyarrow as pa

    try:
        return pa.array(values, to_arrow_schema(TableSchema((field,))).field(0).type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError):
        texts = [None if value is None else _text(value) for value in values]
        return fit_column(pa.array(texts, pa.string()), field)


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def _read_cases(path: Path) -> list[_Case]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="safe").load(path)
    except YAMLError as error:
        raise ConfigError("the fixture is no YAML", where=str(path), fix=str(error).splitlines()[0]) from error
    cases = document.get("cases") if isinstance(document, dict) else None
    if not isinstance(cases, list) or not cases:
        raise ConfigError(
            "the fixture has no cases", where=str(path), fix="write `cases:`, a list of name, input, expected"
        )
    return [_read_case(case, f"{path}, case {number}") for number, case in enumerate(cases, 1)]


def _read_case(case: Any, where: str) -> _Case:
    if not isinstance(case, dict) or not _are_rows(case.get("input")) or not _are_rows(case.get("expected")):
        raise ConfigError(
            "a case needs `input` and `expected`, lists of rows", where=where, fix="write rows as mappings"
        )
    unknown = sorted(set(case) - set(_KEYS))
    context = case.get("context") or {}
    types = case.get("types") or {}
    wrong = [str(kind) for kind in types.values() if not is_type(str(kind))]
    if unknown or wrong or set(context) - set(_CONTEXT):
        raise ConfigError(
            f"not known in a case: {', '.join([*unknown, *wrong, *sorted(set(context) - set(_CONTEXT))])}",
            where=where,
            fix=f"keys: {', '.join(_KEYS)}; context: {', '.join(_CONTEXT)}; types as in `columns:`",
        )
    told = {**_CONTEXT, **{key: str(value) for key, value in context.items()}}
    return _Case(
        str(case.get("name", where.rpartition(", ")[2])),
        _input_rows(case["input"], types, where),
        case["expected"],
        TransformContext(
            told["table"], told["target"], told["pipeline"], RunId(told["run_id"]), datetime(2000, 1, 1, tzinfo=UTC)
        ),
        bool(case.get("ordered", False)),
    )


def _are_rows(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(row, dict) for row in value)


def _input_rows(rows: Sequence[Mapping[str, object]], types: Mapping[str, object], where: str) -> pa.RecordBatch:
    import pyarrow as pa

    names = list(dict.fromkeys([*(key for row in rows for key in row), *types]))
    arrays, fields = [], []
    for name in names:
        values = [row.get(name) for row in rows]
        if name in types:
            field = Field(name, str(types[name]))
            arrays.append(_column(field, values))
            fields.append(to_arrow_schema(TableSchema((field,))).field(0))
            continue
        try:
            arrays.append(pa.array(values))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ConfigError(
                f"column {name!r} mixes types", where=where, fix=f"give it one: types: {{{name}: ...}}"
            ) from error
        fields.append(pa.field(name, arrays[-1].type))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
