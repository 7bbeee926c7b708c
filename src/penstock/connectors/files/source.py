"""The read side of a folder of files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from penstock.connectors.files.cursors import (
    BadCursorError,
    CursorRule,
    cursor_rule,
    highest_value,
    pick_rows,
    step_back,
    to_cursor,
)
from penstock.connectors.files.listing import FileRef, Listing, list_names, list_stream
from penstock.connectors.files.options import FileExtra
from penstock.connectors.files.read import place_of_row, read_file
from penstock.connectors.files.read_parquet import Footer, read_footer
from penstock.connectors.files.schemas import Described, describe_files
from penstock.connectors.files.untyped import Aside, ReadPlan
from penstock.errors import ConfigError, ExtractionError, PenstockError
from penstock.failpoints import failpoint
from penstock.protocols import Chunks, ReadSession
from penstock.records import dataclass
from penstock.values import (
    Ability,
    Batch,
    Bounds,
    Cursor,
    Json,
    Position,
    ReadRequest,
    Split,
    SplitId,
    StreamName,
    StreamSpec,
    TableSchema,
)

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

_NAMED = 10  # names that an error lists
_SMALL_BYTES = 4 << 20  # files are packed together up to this
_GROUP_BYTES = 64 << 20  # uncompressed; a bigger Parquet file is cut by its row groups
_BYTES_PER_ROW = 100  # a guess, for progress bars
_NUMBER = "_penstock_number"


@dataclass(frozen=True, slots=True)
class FilesSource:
    """Streams are files, globs, folders, and the tables written here."""

    options: FileExtra
    identity: str
    abilities: frozenset[Ability] = frozenset({"shared_snapshot", "travelling_snapshot", "splits", "static_schema"})
    _known: dict[StreamName, tuple[Listing, dict[str, str], dict[str, str], Described]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def root(self) -> Path:
        return self.options.path

    def check(self) -> None:
        try:
            next(iter(self.root.iterdir()), None)
        except OSError as error:
            raise ExtractionError(
                f"the folder cannot be read: {error.strerror}",
                where=str(self.root),
                fix="correct extra.path, or the rights of the folder",
                fault="config",
            ) from error

    def streams(self, like: Sequence[str] | None = None) -> Iterable[StreamSpec]:
        self.check()
        if like is None:
            # A listing opens no file: it has to work where one of thousands is damaged.
            return [StreamSpec(name, None) for name in list_names(self.root)]
        found = (self._describe(StreamName(name)) for name in like)
        return [spec for spec in found if spec is not None]

    def _describe(self, name: StreamName) -> StreamSpec | None:
        """None for a name that nothing has. What cannot be described is told without columns: opening it says why."""
        try:
            listing = list_stream(self.root, name, self.options)
            if listing is None:
                return None
            schema = describe_files(self.root, listing, {}).schema
        except PenstockError:
            return StreamSpec(name, None)
        size = sum(ref.size for ref in listing.files)
        return StreamSpec(name, schema if schema.fields else None, rows_estimate=_known_rows(listing), size_bytes=size)

    def probe(self, requests: Sequence[ReadRequest]) -> Sequence[Bounds]:
        return [self._extent(request).bounds for request in requests]

    def open(self, requests: Sequence[ReadRequest]) -> ReadSession:
        return FilesSession(tuple(self._extent(request) for request in requests))

    def reader(self) -> FilesReader:
        return FilesReader(str(self.root))

    def _extent(self, request: ReadRequest) -> Extent:
        if request.query is not None:
            raise ConfigError(
                "custom_query is not possible at files",
                where=str(request.stream),
                fix="name the files as the table, and use transform_sql",
            )
        listing = list_stream(self.root, request.stream, self.options)
        if listing is None:
            raise self.absent(request.stream)
        return _measure(self.root, request, listing, self._describe_once(listing, request))

    def absent(self, stream: StreamName) -> ExtractionError:
        """Where was looked, and what is there."""
        there = list(itertools.islice(list_names(self.root), _NAMED + 1))
        more = ", ..." if len(there) > _NAMED else ""
        return ExtractionError(
            f"no file matches {stream!r}",
            where=str(self.root / stream),
            fix="name a file, a glob or a folder, beginning in extra.path; "
            + (f"there: {', '.join(there[:_NAMED])}{more}" if there else "it holds no file of a known format"),
            fault="config",
        )

    def _describe_once(self, listing: Listing, request: ReadRequest) -> Described:
        """Files that are listed as they were at the last look are not sampled again: a read probes, then opens."""
        types, expected = dict(request.types), dict(request.expected)
        known = self._known.get(request.stream)
        if known is not None and known[:3] == (listing, types, expected):
            return known[3]
        described = describe_files(self.root, listing, types, expected)
        self._known[request.stream] = (listing, types, expected, described)
        return described


@dataclass(frozen=True, slots=True)
class Extent:
    """One stream as it lies there now."""

    request: ReadRequest
    listing: Listing
    described: Described
    rule: CursorRule | None
    bounds: Bounds
    footers: Mapping[str, Footer]


def _measure(root: Path, request: ReadRequest, listing: Listing, described: Described) -> Extent:
    if not described.schema.fields:
        raise ExtractionError(
            f"{listing.name} has no columns: its files are empty",
            where=str(root),
            fix="add a header or rows, or name the columns under columns:",
        )
    rule = cursor_rule(request, described.schema)
    statistics = rule.columns if rule and len(rule.columns) == 1 else ()
    footers = {r.path: read_footer(root, r, statistics) for r in listing.files if r.format == "parquet"}
    upper = _upper(root, request, listing, described, rule, footers)
    rows = _exact_rows(request, listing, rule, footers)
    bounds = replace(_bounds(request, rule, upper, rows, listing), notes=_notes(request, described))
    return Extent(request, listing, described, rule, bounds, footers)


def _notes(request: ReadRequest, described: Described) -> tuple[str, ...]:
    then = "which go to quarantine" if request.set_aside else "which will stop the run"
    return tuple(
        f"{name}: read as {described.schema.field(name).type}, the type of the table's column; the files hold other "
        f"cells, {then}"
        for name in described.unlike
    )


def _upper(
    root: Path,
    request: ReadRequest,
    listing: Listing,
    described: Described,
    rule: CursorRule | None,
    footers: Mapping[str, Footer],
) -> Cursor | None:
    """The highest cursor in the listed files, where it is known or has to be known before they are read."""
    if rule is None or request.window is not None:
        return None
    known = _upper_by_statistics(listing, described.schema, rule, footers)
    if known is not None or request.cursor is None or not request.cursor.lookback or request.after is None:
        return known
    plan = ReadPlan(root, _only(described.schema, rule), described.inferred)
    found = (value for ref in listing.files for value in _each_batch(plan, ref, partial(_highest, rule)))
    highest = max((value for value in found if value is not None), default=None)
    return to_cursor(rule.type, highest) if highest is not None else None


def _highest(rule: CursorRule, found: pa.RecordBatch | Aside) -> Any:
    return None if isinstance(found, Aside) else highest_value(rule, found)


def _only(schema: TableSchema, rule: CursorRule) -> TableSchema:
    return replace(schema, fields=tuple(f for f in schema.fields if f.name in rule.columns))


def _upper_by_statistics(
    listing: Listing, schema: TableSchema, rule: CursorRule, footers: Mapping[str, Footer]
) -> Cursor | None:
    """Only for types whose statistics are exact, and only when every row group has them."""
    if len(footers) != len(listing.files) or len(rule.columns) != 1 or rule.type not in ("int", "date", "datetime"):
        return None
    name = rule.columns[0]
    kind = schema.field(name).type
    if kind != rule.kind or any(f.type != kind for footer in footers.values() for f in footer.fields if f.name == name):
        return None
    groups = [g for footer in footers.values() for g in footer.extremes.get(name, ())]
    if not groups or any(g is None for g in groups):
        return None
    return to_cursor(rule.type, max(g[1] for g in groups if g is not None))


def _exact_rows(
    request: ReadRequest, listing: Listing, rule: CursorRule | None, footers: Mapping[str, Footer]
) -> int | None:
    if rule is not None and (rule.is_bounded or rule.nulls == "skip"):
        return None
    known = [footers[ref.path].rows if ref.path in footers else ref.rows for ref in listing.files]
    if any(rows is None for rows in known):
        return None
    total = sum(rows for rows in known if rows is not None)
    return total if request.limit is None else min(total, request.limit)


def _bounds(
    request: ReadRequest, rule: CursorRule | None, upper: Cursor | None, rows: int | None, listing: Listing
) -> Bounds:
    estimate = rows if rows is not None else sum(_guess(ref) for ref in listing.files)
    if rule is None:
        return Bounds(rows=rows, rows_estimate=estimate)
    bounds = Bounds(lower=rule.lower, upper=upper, rows=rows, rows_estimate=estimate)
    if upper is None or request.cursor is None:
        return bounds
    before = request.after.cursor if request.after else None
    highest = upper if before is None or _is_above(upper, before) else before
    position = Position(highest, step_back(highest, request.cursor))
    idle = True if rule.lower is not None and _is_above(rule.lower, upper) else None
    return replace(bounds, position=position, idle=idle)


def _is_above(left: Cursor, right: Cursor) -> bool:
    return bool(cast("Any", left.value) > cast("Any", right.value))


def _known_rows(listing: Listing) -> int | None:
    known = [ref.rows for ref in listing.files]
    return None if any(rows is None for rows in known) else sum(rows or 0 for rows in known)


@dataclass(slots=True)
class FilesSession:
    """The listing is the snapshot: files are checked against it when they are read."""

    extents: tuple[Extent, ...]
    bounds: Mapping[StreamName, Bounds] = field(init=False)
    splits: Sequence[Split] = field(init=False)

    def __post_init__(self) -> None:
        self.bounds = {extent.request.stream: extent.bounds for extent in self.extents}
        self.splits = tuple(split for extent in self.extents for split in cut(extent))

    def acknowledge(self, upto: Mapping[StreamName, Cursor]) -> None:
        """Files stay where they are."""

    def __enter__(self) -> FilesSession:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing is held open."""


def cut(extent: Extent) -> Iterator[Split]:
    """A split per file; small files share one, big Parquet files are cut by row groups."""
    packs = [list(extent.listing.files)] if extent.request.limit is not None else list(_pack(extent))
    for number, refs in enumerate(packs or [[]]):
        estimates = [_estimate(ref, extent.footers.get(ref.path)) for ref in refs]
        yield Split(
            SplitId(f"{number:05d}"),
            extent.request.stream,
            extent.described.schema,
            {
                "files": [ref.to_json() for ref in refs],
                "inferred": list[Json](sorted(extent.described.inferred)),
                "rule": extent.rule.to_json() if extent.rule else None,
                "batch_rows": extent.request.batch_rows,
                "batch_bytes": extent.request.batch_bytes,
                "limit": extent.request.limit,
                "set_aside": extent.request.set_aside,
            },
            rows_estimate=sum(estimates),
        )


def _pack(extent: Extent) -> Iterator[list[FileRef]]:
    waiting: list[FileRef] = []
    size = 0
    for ref in (piece for listed in extent.listing.files for piece in _cut_file(extent, listed)):
        weight = _weigh(extent, ref)
        if waiting and size + weight > _SMALL_BYTES:
            yield waiting
            waiting, size = [], 0
        waiting.append(ref)
        size += weight
    if waiting:
        yield waiting


def _weigh(extent: Extent, ref: FileRef) -> int:
    if ref.row_groups is None:
        return ref.size
    return sum(extent.footers[ref.path].group_bytes[i] for i in ref.row_groups)


def _cut_file(extent: Extent, ref: FileRef) -> Iterator[FileRef]:
    """By row groups, those without a wanted row left out."""
    footer = extent.footers.get(ref.path)
    if footer is None:
        yield ref
        return
    wanted = [i for i in range(len(footer.group_rows)) if _may_hold(extent, footer, i)]
    if len(wanted) == len(footer.group_rows) and sum(footer.group_bytes) <= _GROUP_BYTES:
        yield ref
        return
    groups: list[int] = []
    size = 0
    for index in wanted:
        groups.append(index)
        size += footer.group_bytes[index]
        if size >= _GROUP_BYTES:
            yield replace(ref, row_groups=tuple(groups))
            groups, size = [], 0
    if groups:
        yield replace(ref, row_groups=tuple(groups))


def _may_hold(extent: Extent, footer: Footer, index: int) -> bool:
    """Whether a row group can hold a row of the read; only the lower bound of an exact type rules one out."""
    rule = extent.rule
    upper_known = extent.bounds.upper is not None
    if rule is None or rule.lower is None or not upper_known:
        return True
    extremes = footer.extremes.get(rule.columns[0], ())
    found = extremes[index] if index < len(extremes) else None
    return found is None or not _is_above(rule.lower, to_cursor(rule.type, found[1]))


def _estimate(ref: FileRef, footer: Footer | None) -> int:
    if footer is None:
        return ref.rows if ref.rows is not None else _guess(ref)
    groups = ref.row_groups if ref.row_groups is not None else range(len(footer.group_rows))
    return sum(footer.group_rows[i] for i in groups)


def _guess(ref: FileRef) -> int:
    return -(-ref.size // _BYTES_PER_ROW)


@dataclass(frozen=True, slots=True)
class FilesReader:
    """Opens any split of its folder, in any process."""

    root: str

    def read(self, split: Split) -> Iterator[Batch]:
        work = cast("Mapping[str, Any]", split.work)
        rule = CursorRule.from_json(work["rule"]) if work["rule"] else None
        plan = ReadPlan(
            Path(self.root),
            split.schema,
            frozenset(work["inferred"]),
            int(work["batch_rows"]),
            int(work["batch_bytes"]),
            set_aside=bool(work["set_aside"]),
            placing=rule.columns if rule else (),
        )
        left = work["limit"]
        for ref in (FileRef.from_json(f) for f in work["files"]):
            for picked in _each_batch(plan, ref, partial(_pick, rule, split.stream)):
                batch = picked if left is None else _first_rows(picked, left)
                if left is not None:
                    left -= batch.rows.num_rows
                if batch.rows.num_rows:
                    failpoint("source.batch_read")
                    yield batch
                if left == 0:
                    return

    def relay(self, split: Split) -> Chunks:
        raise ExtractionError(f"files are not relayed undecoded (split {split.id})", fault="internal")


def _pick(rule: CursorRule | None, stream: StreamName, found: pa.RecordBatch | Aside) -> Batch:
    """The wanted rows; which of those set aside are wanted, their placing columns say."""
    import pyarrow as pa

    if not isinstance(found, Aside):
        return pick_rows(rule, stream, found)
    if rule is None:
        return Batch(stream, found.rows, into="quarantine")
    numbers = pa.array(range(found.rows.num_rows), pa.int64())
    picked = pick_rows(rule, stream, found.placing.append_column(_NUMBER, numbers))
    return replace(picked, rows=found.rows.take(picked.rows.column(_NUMBER)), into="quarantine")


def _each_batch(plan: ReadPlan, ref: FileRef, act: Callable[[pa.RecordBatch | Aside], T]) -> Iterator[T]:
    """What `act` makes of each batch of a file. A row whose cursor it refuses is told by its place."""
    row = 0
    for found in read_file(plan, ref):
        rows = found.rows if isinstance(found, Aside) else found
        try:
            made = act(found)
        except BadCursorError as error:
            # beside rows set aside, nobody counted those between them
            place, where = (ref.path, ref.path) if plan.set_aside else place_of_row(plan.root, ref, row + error.index)
            raise ExtractionError(f"{place}: {error.what}", where=where, fix=error.fix) from error
        row += rows.num_rows
        yield made


def _first_rows(batch: Batch, rows: int) -> Batch:
    cursors = batch.cursors.slice(0, rows) if batch.cursors is not None else None
    return replace(batch, rows=batch.rows.slice(0, rows), cursors=cursors)
