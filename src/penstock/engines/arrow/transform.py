"""Transforms of this engine: user functions and SQL, as streams of batches that keep what they declared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from penstock.engines.arrow.buckets import cut_by_keys
from penstock.engines.arrow.frames import FRAMES, FrameKind, Offer
from penstock.engines.arrow.reference import UserFunction, importable, load_user_function
from penstock.engines.arrow.sqlscope import require_select, scope_of_sql
from penstock.engines.arrow.types import arrow_schema_of, fit_rows
from penstock.engines.arrow.usererror import user_error
from penstock.engines.arrow.workspace import Workspace
from penstock.engines.scope import PLANNING, TransformContext, keys_of, require_keys, scope_of
from penstock.errors import ContractError, PenstockError, TransformError
from penstock.protocols import Frame, Scope
from penstock.records import dataclass
from penstock.schema.types import SIGNED, UNSIGNED, from_arrow_schema, from_arrow_type, to_arrow_schema, to_arrow_type
from penstock.values import Field, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

SQL_TABLE = "input"
INTEGERS = frozenset((*SIGNED, *UNSIGNED))
_FAMILIES = ("decimal", "float", "list", "struct")


def load_function(
    reference: str, base_dir: str, workspace: Workspace, *, default_frame: str | None = None
) -> ArrowTransform:
    """`path.py::function` as a transform. Raises ConfigError or TransformError with file:line."""
    return function_transform(load_user_function(reference, base_dir, default_frame), workspace)


def function_transform(user: UserFunction, workspace: Workspace) -> ArrowTransform:
    """The same of a function that is loaded already."""
    label = f"transform {user.reference!r}"
    return ArrowTransform(scope_of(user.function), user.frame, workspace, label, user=user, keys=keys_of(user.function))


def parse_sql(sql: str, workspace: Workspace) -> ArrowTransform:
    """A SELECT over the table `input` as a transform. Raises ConfigError for anything else."""
    require_select(sql)

    def run(offer: Offer, _: ArrowTransform) -> Iterator[pa.RecordBatch]:
        relation = FRAMES["duckdb.DuckDBPyRelation"]
        yield from relation.run(offer, lambda frame: frame.query(SQL_TABLE, sql))

    return ArrowTransform(
        scope_of_sql(sql), FRAMES["duckdb.DuckDBPyRelation"], workspace, "transform_sql", run_otherwise=run
    )


@dataclass(frozen=True, slots=True)
class ArrowTransform:
    """One transform, pure: the same rows give the same rows, cut as `scope` allows."""

    scope: Scope
    frame: FrameKind
    workspace: Workspace
    label: str
    user: UserFunction | None = None
    run_otherwise: Callable[[Offer, ArrowTransform], Iterator[pa.RecordBatch]] | None = None  # than by calling `user`
    context: TransformContext = PLANNING
    keys: tuple[str, ...] = ()
    _outputs: dict[tuple[object, ...], TableSchema] = field(default_factory=dict, compare=False, repr=False)

    @property
    def is_bounded(self) -> bool:
        """Whether memory stays flat however large the table is."""
        return self.scope != "table" or self.frame.is_bounded

    def with_context(self, context: TransformContext) -> ArrowTransform:
        """The same transform, told where it runs; functions of `(df, ctx)` need it."""
        return replace(self, context=context)

    def output_schema(self, *inputs: TableSchema) -> TableSchema:
        """The columns the transform makes of rows like these, found on an empty frame."""
        return self.declared_for(to_arrow_schema(inputs[0]))

    def apply(self, *inputs: Frame) -> Frame:
        """A table from anything that has an Arrow stream."""
        import pyarrow as pa

        table = pa.table(inputs[0])
        declared = arrow_schema_of(self.declared_for(table.schema))
        return pa.Table.from_batches(self.stream(table.to_batches(), table.schema), declared)

    def stream(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows made of these, in the declared columns and types; together as `scope` says."""
        declared = self.declared_for(schema)
        if self.scope == "rows":
            for batch in batches:
                yield from self._run(Offer([batch], schema, together=False, workspace=self.workspace), declared)
            return
        parts = cut_by_keys(batches, self.keys, self.workspace) if self.scope == "keys" else [batches]
        for part in parts:
            yield from self._run(Offer(part, schema, together=True, workspace=self.workspace), declared)

    def _run(self, offer: Offer, declared: TableSchema) -> Iterator[pa.RecordBatch]:
        for rows in self._results(offer):
            if rows.num_rows:
                yield self._conform(rows, declared)

    def _results(self, offer: Offer) -> Iterator[pa.RecordBatch]:
        """What the user's code makes of the rows; errors of the rows' own source pass as they are."""
        otherwise = self.run_otherwise
        results = otherwise(offer, self) if otherwise is not None else self.frame.run(offer, self._call)
        while True:
            with self._blaming_user():
                rows = next(results, None)
            if rows is None:
                return
            yield rows

    def _call(self, frame: Any) -> Any:
        user = self.user
        assert user is not None
        arguments = (frame, self.context) if user.takes_context else (frame,)
        with importable(user.path.parent):
            return user.function(*arguments)

    @contextmanager
    def _blaming_user(self) -> Iterator[None]:
        path = self.user.path if self.user is not None else None
        try:
            yield
        except PenstockError:
            raise
        except (Exception, SystemExit) as error:
            raise user_error(error, path, self.name, fallback=self.where) from error

    def declared_for(self, schema: pa.Schema) -> TableSchema:
        """`output_schema` of an Arrow schema."""
        key = tuple((f.name, str(f.type), f.metadata and tuple(sorted(f.metadata.items()))) for f in schema)
        if key not in self._outputs:
            self._outputs[key] = self._try_out(schema)
        return self._outputs[key]

    def _try_out(self, schema: pa.Schema) -> TableSchema:
        import pyarrow as pa

        require_keys(self.keys, schema.names, what=self.name, where=self.where)

        empty = pa.RecordBatch.from_pylist([], schema=schema)
        results = self._results(Offer([empty], schema, together=False, workspace=self.workspace))
        made = [*results][0].schema  # noqa: RUF015 - to the end: what is opened for the frame is closed there
        incoming = {f.name: f for f in from_arrow_schema(schema).fields}
        fields = tuple(self._declared_field(f, incoming.get(f.name)) for f in self._columns_of(made))
        return TableSchema(fields)

    def _columns_of(self, made: pa.Schema) -> Sequence[Field]:
        doubled = sorted({name for name in made.names if made.names.count(name) > 1})
        if doubled or not made.names:
            found = f"columns twice: {', '.join(doubled)}" if doubled else "no columns"
            raise TransformError(f"{self.name} returned {found}", where=self.where, fix="name each column once")
        try:
            return from_arrow_schema(made.remove_metadata()).fields
        except ValueError as error:
            raise TransformError(f"{self.name} returned {error}", where=self.where, fix="cast it") from error

    def _declared_field(self, made: Field, incoming: Field | None) -> Field:
        """A column passed on keeps its logical type (uuid, json, ...), but promises nothing about NULLs or lengths."""
        if made.type == "null":
            raise TransformError(
                f"{self.name}: column {made.name!r} has no type on an empty frame",
                where=self.where,
                fix="give it a type where it is made (cast, astype)",
            )
        if incoming is not None and to_arrow_type(incoming.type) == to_arrow_type(made.type):
            return Field(made.name, incoming.type)
        return Field(made.name, made.type)

    def _conform(self, rows: pa.RecordBatch, declared: TableSchema) -> pa.RecordBatch:
        names = rows.schema.names
        missing, extra = set(declared.names) - set(names), set(names) - set(declared.names)
        unlike = [
            f.name for f in declared.fields if f.name in names and not _is_like(rows.schema.field(f.name).type, f)
        ]
        if missing or extra or unlike or len(names) != len(declared.names):
            found = [
                f"{word} {', '.join(sorted(which))}"
                for word, which in (("missing", missing), ("extra", extra), ("of another type", unlike))
                if which
            ]
            raise TransformError(
                f"{self.name} returned other columns than on an empty frame: {'; '.join(found)}",
                where=self.where,
                fix="return the same columns and types whatever the rows",
            )
        try:
            return fit_rows(rows, declared).rows
        except ContractError as error:
            raise TransformError(f"{self.name}: {error.what}", where=self.where, fix="cast it") from error

    @property
    def name(self) -> str:
        return f"{self.label} of table {self.context.target!r}" if self.context.target else self.label

    @property
    def where(self) -> str | None:
        return self.user.where if self.user is not None else None


def _is_like(kind: pa.DataType, declared: Field) -> bool:
    """Whether a batch's column may be cast, exactly, to what the empty frame had: only width and encoding differ."""
    import pyarrow as pa

    target = to_arrow_type(declared.type)
    if kind == target or pa.types.is_null(kind):
        return True
    try:
        spelling = from_arrow_type(kind)
    except ValueError:
        return False
    if spelling in INTEGERS:
        return declared.type in INTEGERS
    return spelling == from_arrow_type(target) or any(
        spelling.startswith(family) and from_arrow_type(target).startswith(family) for family in _FAMILIES
    )
