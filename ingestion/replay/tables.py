"""Exports as tables: CSV and Parquet, read in chunks, every row with its place in the file.

One physical line is one row: a quote that is not closed spoils its own line and no other. A chunk holds each needed
column as codes into its distinct texts, since a logger repeats itself: what is parsed is parsed once per chunk.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ingestion.replay.mapping import Csv, Mapping, MappingError, choices

_NTH = re.compile(r"(.+)#([1-9][0-9]*)")
_SHOWN = 200


class Broken(NamedTuple):
    """A row whose fields cannot be told apart, so that none of them can be trusted."""

    line: int
    text: str
    code: str
    reason: str
    next_step: str


class Column(NamedTuple):
    """codes: one per row, an index into texts, -1 where the file itself says null; native: numbers came typed, so their
    texts have a decimal point whatever the mapping says."""

    codes: np.ndarray
    texts: list[str]
    native: bool

    def text(self, code: int) -> str:
        return "" if code < 0 else self.texts[code]


@dataclass(slots=True)
class Chunk:
    """lines: of the whole rows, as the file counts them from 1; columns: by position; broken: rows apart."""

    lines: np.ndarray
    columns: dict[int, Column]
    broken: list[Broken] = field(default_factory=list)


class CsvTable:
    """A text file. `counts` says what its lines were: `rows`, `header`, `repeated header`, `skipped`, `blank`,
    `comment`; they add up to `lines`.

    Raises MappingError where the file cannot be read as the mapping says.
    """

    def __init__(self, file: Path, style: Csv) -> None:
        self.file, self.style = file, style
        self.counts: Counter[str] = Counter()
        self.total_bytes = file.stat().st_size
        encoding = style.encoding
        with file.open("rb") as raw:
            start = raw.read(4096)
        utf8 = encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig")
        if utf8:
            encoding = "utf-8-sig"
        elif start.startswith(b"\xef\xbb\xbf"):
            raise MappingError(
                f"{file}:1: the file begins with UTF-8's byte order mark, but csv.encoding is {encoding}; set utf-8"
            )
        if b"\0" in start and not encoding.lower().startswith(("utf-16", "utf_16", "utf-32", "utf_32")):
            hint = "set csv.encoding: utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "export it as CSV text"
            raise MappingError(f"{file}:1: the file has zero bytes, so it is no text in {encoding}; {hint}")
        self._raw = file.open("rb")
        self._text = io.TextIOWrapper(self._raw, encoding=encoding, errors="strict", newline=None)
        self._next_line = 1
        self._header: tuple[str, ...] = ()  # the header line, with and without its end
        self.names = self._read_header()
        self._width = len(self.names)

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._raw.tell()

    def close(self) -> None:
        self._text.close()

    def where(self, column: int) -> str:
        return self.names[column]

    def _lines(self, most: int) -> list[str]:
        try:
            lines = list(islice(self._text, most))
        except UnicodeError as error:
            raise MappingError(self._undecodable(error)) from None
        self.counts["lines"] += len(lines)
        return lines

    def _undecodable(self, error: UnicodeError) -> str:
        name = self._text.encoding.removesuffix("-sig")
        with self.file.open("rb") as raw:
            for number, line in enumerate(raw, 1):
                try:
                    line.decode(name)
                except UnicodeDecodeError as found:
                    byte = line[found.start]
                    return (
                        f"{self.file}:{number}: byte 0x{byte:02x} at position {found.start + 1} is not {name}; "
                        "set csv.encoding, e.g. cp1252 or latin-1"
                    )
                except UnicodeError:
                    break
        return f"{self.file}: the file is not {name} ({error}); set csv.encoding"

    def _read_header(self) -> list[str]:
        skipped = self._lines(self.style.skip_lines)
        self.counts["skipped"] += len(skipped)
        self._next_line += len(skipped)
        if self.style.names is not None:
            return list(self.style.names)
        while lines := self._lines(1):
            line = lines[0]
            self._next_line += 1
            if kind := self._no_row(line):
                self.counts[kind] += 1
                continue
            self.counts["header"] += 1
            bare = line.rstrip("\n")
            self._header = (bare, f"{bare}\n")
            fields = self._fields(line)
            if isinstance(fields, Broken):
                raise MappingError(f"{self.file}:{self._next_line - 1}: the header cannot be read: {fields.reason}")
            names = [name.strip() for name in fields]
            while names and not names[-1]:
                names.pop()
            if names:
                return names
        raise MappingError(f"{self.file}: no header line after {self.counts['lines']} lines; is the file empty?")

    def _no_row(self, line: str) -> str | None:
        """Why a line is no row, if it is none."""
        if not line or line.isspace():
            return "blank"
        if self.style.comment and line.startswith(self.style.comment):
            return "comment"
        if line in self._header:
            return "repeated header"
        return None

    def _reader(self, lines: Sequence[str]) -> Iterator[list[str]]:
        quote: dict[str, Any] = {"quotechar": self.style.quote} if self.style.quote else {"quoting": csv.QUOTE_NONE}
        return csv.reader(lines, delimiter=self.style.delimiter, strict=True, **quote)

    def _fields(self, line: str) -> list[str] | Broken:
        try:
            return next(self._reader((line,)))
        except csv.Error as error:
            return Broken(
                0,
                line.rstrip("\n")[:_SHOWN],
                "quote",
                f"the line's quotes do not pair up ({error})",
                "correct the line; if the file does not quote at all, set csv.quote: none",
            )

    def chunks(self, needed: Sequence[int], size: int) -> Iterator[Chunk]:
        while lines := self._lines(size):
            first = self._next_line
            self._next_line += len(lines)
            numbers, kept = [], []
            for number, line in enumerate(lines, first):
                if kind := self._no_row(line):
                    self.counts[kind] += 1
                else:
                    numbers.append(number)
                    kept.append(line)
            self.counts["rows"] += len(kept)
            yield self._chunk(numbers, kept, needed)

    def _chunk(self, numbers: list[int], lines: list[str], needed: Sequence[int]) -> Chunk:
        try:
            rows: list[Any] = list(self._reader(lines))
        except csv.Error:
            rows = []
        if len(rows) != len(lines):  # some line's quote is not closed: line by line, so that it spoils only itself
            rows = [self._fields(line) for line in lines]
        good, places, broken = [], [], []
        width = self._width
        for number, line, row in zip(numbers, lines, rows, strict=True):
            if isinstance(row, Broken):
                broken.append(row._replace(line=number))
            elif len(row) == width or (len(row) > width and not any(row[width:])):
                good.append(row)
                places.append(number)
            else:
                reason = f"{len(row)} field{'s' * (len(row) != 1)} where the header has {width}"
                step = "correct the line, or drop it if it is no row of values"
                broken.append(Broken(number, line.rstrip("\n")[:_SHOWN], "fields", reason, step))
        columns = {}
        for i in needed:
            codes, texts = pd.factorize(np.array([row[i] for row in good], dtype=object))
            columns[i] = Column(codes, list(texts), False)
        return Chunk(np.array(places, dtype=np.int64), columns, broken)


class ParquetTable:
    """A Parquet file; a row's line is its number, from 1. Raises MappingError."""

    def __init__(self, file: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.file = file
        try:
            self._parquet = pq.ParquetFile(file)
        except (pa.ArrowInvalid, OSError) as error:
            raise MappingError(f"{file}: this is not a Parquet file that can be read ({error})") from None
        self.names: list[str] = list(self._parquet.schema_arrow.names)
        self.counts: Counter[str] = Counter()
        self.total_bytes = file.stat().st_size
        self._share = 0.0

    @property
    def position(self) -> int:
        return round(self.total_bytes * self._share)

    def close(self) -> None:
        self._parquet.close()

    def chunks(self, needed: Sequence[int], size: int) -> Iterator[Chunk]:
        import pyarrow as pa

        for i in needed:
            kind = self._parquet.schema_arrow.field(i).type
            if pa.types.is_nested(kind):
                raise MappingError(
                    f"{self.file}: column {self.names[i]!r} holds {kind}; only single values can be mapped"
                )
        rows = max(1, self._parquet.metadata.num_rows)
        names = [self.names[i] for i in needed]
        for batch in self._parquet.iter_batches(size, columns=names):
            first = self.counts["rows"] + 1
            self.counts["rows"] += batch.num_rows
            self.counts["lines"] += batch.num_rows
            self._share = self.counts["rows"] / rows
            columns = {i: self._column(batch.column(name)) for i, name in zip(needed, names, strict=True)}
            yield Chunk(np.arange(first, first + batch.num_rows, dtype=np.int64), columns)

    @staticmethod
    def _column(array: Any) -> Column:
        import pyarrow as pa

        if not pa.types.is_dictionary(array.type):
            array = array.dictionary_encode()
        kind = array.type.value_type
        texts = array.dictionary.cast(pa.string()).to_pylist()
        codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        if None in texts:  # a dictionary may hold null as one of its values
            null = np.array([text is None for text in texts])
            codes = np.where((codes >= 0) & null[codes], -1, codes)
            texts = [text or "" for text in texts]
        return Column(codes, texts, not (pa.types.is_string(kind) or pa.types.is_large_string(kind)))


Table = CsvTable | ParquetTable


def open_table(file: Path, mapping: Mapping) -> Table:
    """The file as a table, Parquet by its ending, else text. Raises MappingError."""
    if not file.is_file():
        raise MappingError(f"{file}: there is no such file")
    ending = file.suffix.lower()
    if ending in (".parquet", ".pq"):
        return ParquetTable(file)
    if ending in (".xlsx", ".xls", ".ods", ".zip", ".gz", ".zst"):
        raise MappingError(f"{file}: {ending} is neither CSV nor Parquet; export or unpack it first")
    return CsvTable(file, mapping.csv)


def positions(table: Table, mapping: Mapping) -> dict[str, int]:
    """Where each column of the mapping stands in the file.

    A name that stands there more than once must be written `NAME#1`, `NAME#2`, … Raises MappingError, for all at once.
    """
    found: dict[str, int] = {}
    problems: dict[str, str] = {}
    for name, place in mapping.columns():
        at = [i for i, there in enumerate(table.names) if there == name]
        if not at and (match := _NTH.fullmatch(name)):
            same = [i for i, there in enumerate(table.names) if there == match[1]]
            at = same[int(match[2]) - 1 : int(match[2])]
        if len(at) == 1:
            found[name] = at[0]
        elif name not in problems:
            problems[name] = f"{mapping.origin.at(place)}: column {name!r} {_not_one(table, name, at)}"
    if problems:
        raise MappingError("\n".join(problems.values()))
    return found


def _not_one(table: Table, name: str, at: list[int]) -> str:
    if at:
        where = " and ".join(str(i + 1) for i in at)
        ways = " or ".join(f"{name}#{n}" for n in range(1, len(at) + 1))
        return f"stands {len(at)} times in {table.file} (columns {where}); write {ways}"
    names = [there for there in table.names if there]
    hint = ""
    if isinstance(table, CsvTable) and len(names) == 1:
        hint = f"; the header reads as one column with csv.delimiter {table.style.delimiter!r}: is that right?"
    return f"is not in {table.file}; there are {choices(name, [repr(there) for there in names], 12)}{hint}"
