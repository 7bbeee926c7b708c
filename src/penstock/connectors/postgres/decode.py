"""What the driver hands out as the stream's own columns: exact decimals, nothing out of range, no value changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penstock.errors import ExtractionError, SourceChangedError
from penstock.records import dataclass
from penstock.schema.types import decimal_of, list_item, to_arrow_schema, to_arrow_type
from penstock.values import Split

if TYPE_CHECKING:
    import pyarrow as pa

# what Arrow, Python and the other systems agree on: years 1 to 9999; infinity comes out of range too
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
_DAY_MICROS = 86_400_000_000
_RANGES = {
    "date": (_FIRST_DAY, _LAST_DAY),
    "timestamp": (_FIRST_DAY * _DAY_MICROS, (_LAST_DAY + 1) * _DAY_MICROS - 1),
    "timestamptz": (_FIRST_DAY * _DAY_MICROS, (_LAST_DAY + 1) * _DAY_MICROS - 1),
    "time": (0, _DAY_MICROS - 1),
}


@dataclass(frozen=True, slots=True)
class Step:
    """How one column is brought to its type."""

    name: str
    house: str
    target: pa.DataType
    cast: bool
    limits: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Decoder:
    """Batches of one split, from the driver's types to the schema's."""

    schema: pa.Schema
    steps: Sequence[Step]
    cursor: Step | None
    cursor_at: int | None
    where: str

    @classmethod
    def of(cls, split: Split, arriving: pa.Schema, where: str) -> Decoder:
        """Raises SourceChangedError where the result's columns are not those planned."""
        fields = split.schema.fields
        kind, column = split.work["cursor_type"], split.work["cursor_column"]
        hidden = kind is not None and column is None
        if len(arriving) != len(fields) + hidden:
            raise _changed(where, "other columns")
        steps = [_step(f.name, f.type, arriving.field(i).type, where) for i, f in enumerate(fields)]
        cursor, cursor_at = None, None
        if kind is not None:
            cursor_at = len(fields) if hidden else split.schema.names.index(str(column))
            came = arriving.field(cursor_at).type if hidden else steps[cursor_at].target
            cursor = _step("the cursor", str(kind), came, where)
        return cls(to_arrow_schema(split.schema), steps, cursor, cursor_at, where)

    def decode(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.Array | None]:
        """The rows, and their cursors where the stream has one. Raises ExtractionError for what has no exact form."""
        import pyarrow as pa

        columns = [self._convert(step, batch.column(i)) for i, step in enumerate(self.steps)]
        rows = pa.RecordBatch.from_arrays(columns, schema=self.schema)
        if self.cursor is None or self.cursor_at is None:
            return rows, None
        hidden = self.cursor_at >= len(columns)
        cursors = batch.column(self.cursor_at) if hidden else columns[self.cursor_at]
        return rows, self._convert(self.cursor, cursors)

    def _convert(self, step: Step, column: Any) -> Any:
        import pyarrow as pa

        if isinstance(column.type, pa.BaseExtensionType):
            column = column.storage
        if step.limits is not None:
            self._check_range(step, column, step.limits)
        if not step.cast:
            return column
        try:
            return column.cast(step.target)
        except pa.ArrowInvalid as error:
            raise self._no_exact_form(step) from error.__cause__

    def _check_range(self, step: Step, column: Any, limits: tuple[int, int]) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        flat = column.flatten() if pa.types.is_list(column.type) else column
        whole = pa.int32() if pa.types.is_date32(flat.type) else pa.int64()
        ends = pc.min_max(flat.view(whole))
        low, high = ends["min"].as_py(), ends["max"].as_py()
        if low is not None and (low < limits[0] or high > limits[1]):
            raise ExtractionError(
                f"the column {step.name!r} ({step.house}) holds infinity or a value outside the years 1 to 9999"
                if "time" not in step.house or "stamp" in step.house
                else f"the column {step.name!r} (time) holds 24:00:00",
                where=self.where,
                fix=_as_text(step.name),
            )

    def _no_exact_form(self, step: Step) -> ExtractionError:
        item = list_item(step.house)
        if decimal_of(item or step.house) is None:
            return ExtractionError(
                f"the column {step.name!r} holds values that are no {step.house}",
                where=self.where,
                fix=f"choose a wider type: `columns: {{{step.name}: string}}`",
            )
        return ExtractionError(
            f"the column {step.name!r} ({step.house}) holds NaN or a value with more digits",
            where=self.where,
            fix=f"`columns: {{{step.name}: {'list<numeric>' if item else 'numeric'}}}` carries it as it is",
        )


def _as_text(name: str) -> str:
    return f"read it as text: `columns: {{{name}: string}}`, or correct the rows at the source"


def _step(name: str, house: str, came: Any, where: str) -> Step:
    import pyarrow as pa

    target = to_arrow_type(house)
    if isinstance(came, pa.BaseExtensionType):
        came = came.storage_type
    same = came == target or (
        pa.types.is_list(came) and pa.types.is_list(target) and came.value_type == target.value_type
    )
    if not same and not _castable(came, target):
        raise _changed(where, f"the column {name!r} is {came}, planned as {house}")
    inner = house[5:-1] if house.startswith("list<") else house
    return Step(name, house, target, came != target, _RANGES.get(inner))


def _castable(came: Any, target: Any) -> bool:
    import pyarrow.types as pt

    if pt.is_list(came) and pt.is_list(target):
        return _castable(came.value_type, target.value_type)
    if pt.is_decimal(target):
        return bool(pt.is_string(came) or pt.is_decimal(came))
    return bool(pt.is_integer(came) and pt.is_integer(target)) or bool(pt.is_string(came) and pt.is_uint64(target))


def _changed(where: str, what: str) -> SourceChangedError:
    return SourceChangedError(
        f"the source changed shape: {what}", where=where, fix="run again: the load is planned anew", retryable=True
    )
