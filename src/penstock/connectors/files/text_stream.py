"""Bytes of a CSV or JSON file as UTF-8, decompressed, watched for signs that the file was cut off."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from penstock.connectors.files.listing import FileRef, open_checked
from penstock.errors import ExtractionError
from penstock.records import dataclass

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1 << 20
_UTF8 = ("utf-8", "utf8", "utf-8-sig", "ascii", "us-ascii")
_QUOTE = ord('"')


@dataclass(slots=True)
class TextStream:
    """A read-only file for Arrow: `read(n)` gives the file's text as UTF-8 without byte order mark."""

    root: Path
    ref: FileRef
    file: BinaryIO = field(init=False)
    quotes: QuoteWatch | None = None
    closed: bool = False
    _bytes: BinaryIO | pa.NativeFile = field(init=False)
    _decoder: codecs.IncrementalDecoder | None = None
    _last: bytes = b""
    _rest: bytes = b""
    _started: bool = False

    def __post_init__(self) -> None:
        import pyarrow as pa

        self.file = open_checked(self.root, self.ref)
        # read as it is where nothing has to be decompressed: Arrow would copy each block once more
        self._bytes = self.file
        if self.ref.codec:
            self._bytes = pa.CompressedInputStream(pa.PythonFile(self.file, "r"), self.ref.codec)
        if self.ref.encoding.lower() not in _UTF8:
            self._decoder = codecs.getincrementaldecoder(self.ref.encoding)()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, b"" at the end. Raises ExtractionError where the file turns out to be cut off."""
        if self._rest:
            taken, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
            return taken
        block = self._next_block(_BLOCK if size < 0 else size)
        if size >= 0 and len(block) > size:
            block, self._rest = block[:size], block[size:]
        return block if size >= 0 or not block else block + self.read(-1)

    def _next_block(self, size: int) -> bytes:
        while True:
            raw = self._pull(size)
            text = self._decode(raw)
            if not self._started and text:
                self._started = True
                text = text.removeprefix(codecs.BOM_UTF8)
            if text or not raw:
                break
        if self.quotes is not None:
            self.quotes.see(text)
        if text:
            self._last = text[-1:]
        else:
            self._check_end()
        return text

    def _pull(self, size: int) -> bytes:
        try:
            return bytes(self._bytes.read(max(1, size)))
        except OSError as error:
            raise ExtractionError(
                f"{self.ref.path} is not a whole {self.ref.codec or 'file'}: {_first_line(error)}",
                where=str(self.root),
                fix="write the file again; nothing of it was loaded",
            ) from error

    def _decode(self, raw: bytes) -> bytes:
        if self._decoder is None:
            return raw
        try:
            return self._decoder.decode(raw, final=not raw).encode()
        except UnicodeError as error:
            raise ExtractionError(
                f"{self.ref.path} is not {self.ref.encoding} text", where=str(self.root), fix="set extra.encoding"
            ) from error

    def _check_end(self) -> None:
        if self.quotes is not None:
            self.quotes.check_end(self.root, self.ref)
        if self.ref.needs_final_newline and self._last not in (b"", b"\n", b"\r"):
            raise ExtractionError(
                f"{self.ref.path} does not end in a line end: it may be cut off",
                where=str(self.root),
                fix="end its last line, or set extra.final_newline: optional",
            )

    def close(self) -> None:
        self.closed = True
        self._bytes.close()
        self.file.close()

    def lines(self) -> Iterator[str]:
        """Lines with their ends as they are: LF, CR LF or a lone CR."""
        with io.TextIOWrapper(io.BufferedReader(_Raw(self), _BLOCK), "utf-8", errors="replace", newline="") as text:
            yield from text


class _Raw(io.RawIOBase):
    """What io's readers ask for, over a TextStream."""

    def __init__(self, stream: TextStream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        block = self._stream.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]


@dataclass(slots=True)
class QuoteWatch:
    """Whether a CSV ends inside quotes: Arrow takes such a cell as whole.

    An odd number of quotes says so, as long as each opening one stands at the start of a cell. Where one does not, the
    file is read again cell by cell.
    """

    delimiter: str
    _count: int = 0
    _before: int = ord("\n")
    _stray: bool = False

    def see(self, block: bytes) -> None:
        import numpy as np

        if not block:
            return
        marks = np.frombuffer(block, dtype=np.uint8)
        places = np.flatnonzero(marks == _QUOTE) if _QUOTE in block else marks[:0]
        if len(places) and not self._stray:
            opening = places[self._count % 2 :: 2]
            before = np.where(opening > 0, marks[opening - 1], self._before)
            starts = np.isin(before, [ord(self.delimiter), ord("\n"), ord("\r"), _QUOTE])
            self._stray = not bool(starts.all())
        self._count += len(places)
        self._before = block[-1]

    def check_end(self, root: Path, ref: FileRef) -> None:
        """Raises ExtractionError for a file cut off inside quotes."""
        is_cut = _ends_in_quotes(root, ref) if self._stray else bool(self._count % 2)
        if is_cut:
            raise ExtractionError(
                f"{ref.path} ends inside a quoted cell: it was cut off, or a quote is missing",
                where=str(root),
                fix="write the file again; nothing of it was loaded",
            )


def _ends_in_quotes(root: Path, ref: FileRef) -> bool:
    stream = TextStream(root, ref)
    in_quotes = False
    try:
        for line in stream.lines():
            in_quotes, _ = scan_line(line, ref.delimiter, in_quotes=in_quotes)
    finally:
        stream.close()
    return in_quotes


def scan_line(line: str, delimiter: str, *, in_quotes: bool) -> tuple[bool, int]:
    """(whether the line ends inside quotes, how many cells begin after its first), as Arrow's parser sees it."""
    position, cells = 0, 0
    while True:
        if in_quotes or line.startswith('"', position):
            position = position if in_quotes else position + 1
            end = _closing_quote(line, position)
            if end < 0:
                return True, cells
            in_quotes, position = False, end + 1
        position = line.find(delimiter, position)
        if position < 0:
            return False, cells
        position += 1
        cells += 1


def _closing_quote(line: str, position: int) -> int:
    while True:
        position = line.find('"', position)
        if position < 0 or not line.startswith('"', position + 1):
            return position
        position += 2


@dataclass(frozen=True, slots=True)
class Record:
    """Where a record of a CSV begins, and how many cells it has."""

    line: int
    cells: int


def scan_records(root: Path, ref: FileRef) -> Iterator[Record]:
    """All records, header included, with their lines: slow, for naming the place of an error."""
    stream = TextStream(root, ref)
    start, cells, in_quotes = 1, 1, False
    try:
        for number, line in enumerate(stream.lines(), start=1):
            if not in_quotes:
                start, cells = number, 1
            in_quotes, more = scan_line(line, ref.delimiter, in_quotes=in_quotes)
            cells += more
            if not in_quotes and (line.strip("\r\n") or start != number):
                yield Record(start, cells)
    finally:
        stream.close()
