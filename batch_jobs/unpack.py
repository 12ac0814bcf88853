"""What lies in one landed file: its records with the lines they stand on, or why it cannot be taken.

Pure, and all that a Spark worker loads of the way in by files. A file is taken whole or not at all: what is said here
of a file is said before its first record goes anywhere.

NDJSON, gzipped or plain, is told by its bytes and not by its name (Firehose gives plain files no suffix). Objects that
stand on one line without anything between, as Firehose writes them unless it is told to add a delimiter, are taken
apart.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BYTES = 256 * 1024**2
"""Of a file, packed and unpacked: it is held in memory. Firehose's buffer ends at 128 MiB, and may grow in a jam."""
MAX_RECORD_BYTES = 10 * 1024**2
"""Of a record: the largest that Kinesis takes."""
ROWS_AT_ONCE = 10_000
"""In one Arrow batch on its way to Spark."""

_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"PAR1": "Parquet",
    b"PK\x03\x04": "a zip archive",
    b"ORC": "ORC",
    b"Obj\x01": "Avro",
    b"\x28\xb5\x2f\xfd": "packed with Zstandard",
    b"\xff\x06\x00\x00sNaPpY": "packed with Snappy",
    b"BZh": "packed with bzip2",
}
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_JOINT = rb"\}[ \t\r]*\{"
_AGAIN = "have it delivered again"


class Unreadable(Exception):
    """The file cannot be taken. code: one word for queries; the message says what is wrong and what to do."""

    def __init__(self, code: str, what: str, to_do: str) -> None:
        super().__init__(f"{code}: {what}; {to_do}")


def records(content: bytes) -> pa.RecordBatch:
    """A file's records: `line` (from 1, as editors count), `place` (on the line, from 0) and `value` (bytes).

    Empty lines are no records, and count as lines. A value need not be JSON: what it is, is for silver to say. Raises
    Unreadable.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    text = unpacked(content).removeprefix(b"\xef\xbb\xbf")
    if b"\r\n" in text:
        text = text.replace(b"\r\n", b"\n")
    if not text or text.isspace():
        raise Unreadable("empty", "no record in it", "if there was something to send, " + _AGAIN + "; else delete it")
    lines = pc.split_pattern(pa.array([text], pa.binary()), b"\n").values
    if not pc.any(pc.starts_with(lines, b"{")).as_py():
        raise Unreadable("not_ndjson", "no line begins with {", "write one JSON object a line")
    numbers = pa.array(range(1, len(lines) + 1), pa.int64())
    filled = pc.greater(pc.binary_length(lines), 0)
    lines, numbers = lines.filter(filled), numbers.filter(filled)
    joined = pc.match_substring_regex(lines, _JOINT.decode())
    places = pa.repeat(pa.scalar(0, pa.int32()), len(lines))
    if pc.any(joined).as_py():
        lines, numbers, places = _taken_apart(lines, numbers, joined)
    longest = pc.max(pc.binary_length(lines)).as_py()
    if longest > MAX_RECORD_BYTES:
        line = numbers[pc.index(pc.binary_length(lines), longest).as_py()].as_py()
        raise Unreadable(
            "record_too_large",
            f"line {line}: a record of {longest / 1024**2:,.1f} MB, at most {MAX_RECORD_BYTES / 1024**2:.0f} MB is one",
            "take it out, or send smaller ones",
        )
    return pa.RecordBatch.from_arrays([numbers, places, lines], ["line", "place", "value"])


def unpacked(content: bytes) -> bytes:
    """The file's text. Raises Unreadable where it is packed or encoded otherwise than agreed."""
    if not content:
        raise Unreadable("empty", "0 bytes", "if there was something to send, " + _AGAIN + "; else delete it")
    if content.startswith(_GZIP):
        content = _gunzip(content)
        if content.startswith(_GZIP):
            raise Unreadable("not_ndjson", "gzip within gzip", "pack it once")
    check_size(len(content), "unpacked")
    for mark, name in _OTHERS.items():
        if content.startswith(mark):
            raise Unreadable("not_ndjson", f"it is {name}", "let the sender write NDJSON, gzipped or plain")
    if content.startswith(_WIDE) or b"\0" in content[:4]:
        raise Unreadable("not_utf8", "it is UTF-16 or UTF-32", "write UTF-8: iconv -f UTF-16 -t UTF-8")
    return content


def check_size(size: int, how: str) -> None:
    """Raises Unreadable."""
    if size > MAX_BYTES:
        raise Unreadable(
            "file_too_large",
            f"{size / 1024**2:,.0f} MB {how}, at most {MAX_BYTES / 1024**2:.0f} MB is read",
            "split it at line ends: split -C 100m",
        )


def _gunzip(content: bytes) -> bytes:
    """All members of a gzip. Reads to the end, where length and checksum stand."""
    found = []
    size = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            while part := file.read(4 * 1024**2):
                size += len(part)
                if size > MAX_BYTES:
                    check_size(size, "and more unpacked")
                found.append(part)
    except EOFError as error:
        raise Unreadable(
            "truncated",
            "the gzip ends in the middle",
            f"{_AGAIN}, or save its whole lines under another name: zcat FILE | head -n -1 > FILE.ndjson",
        ) from error
    except (OSError, zlib.error) as error:
        raise Unreadable("damaged", f"not whole as gzip ({error})", _AGAIN) from error
    return b"".join(found)


def _taken_apart(lines: pa.Array, numbers: pa.Array, joined: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    import pyarrow as pa

    values, at, places = [], [], []
    for line, number, several in zip(lines.to_pylist(), numbers.to_pylist(), joined.to_pylist(), strict=True):
        for place, value in enumerate(apart(line) if several else (line,)):
            values.append(value)
            at.append(number)
            places.append(place)
    return pa.array(values, pa.binary()), pa.array(at, pa.int64()), pa.array(places, pa.int32())


def apart(line: bytes) -> Iterator[bytes]:
    """The objects of one line. What is no JSON ends where the next object seems to begin; only blanks between objects
    are left out."""
    joints = [(match.start() + 1, match.end() - 1) for match in re.finditer(_JOINT, line)]
    begins = [0, *(begin for _, begin in joints)]
    ends = [*(end for end, _ in joints), len(line)]
    at = 0
    while at < len(begins):
        upto = at
        if _ends_in_text(line[begins[at] : ends[at]]):  # the joint is two braces within a text, or a quote is missing
            for further in range(at + 1, min(at + 8, len(begins))):
                if _is_json(line[begins[at] : ends[further]]):
                    upto = further
                    break
        yield line[begins[at] : ends[upto]]
        at = upto + 1


def _ends_in_text(piece: bytes) -> bool:
    if b"\\" in piece:
        piece = re.sub(rb"\\.", b"", piece)
    return piece.count(b'"') % 2 == 1


def _is_json(piece: bytes) -> bool:
    try:
        json.loads(piece)
    except (ValueError, RecursionError):
        return False
    return True


# For DataFrame.mapInArrow. One row is one file: Spark is told to hand them over one at a time.


def rows_of(files: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Files (`length`, `content`, and what is known of them) to their records; a file that cannot be taken has none."""
    import pyarrow as pa

    for _, content, known in _whole(files):
        try:
            found = records(content)
        except Unreadable:
            continue
        for start in range(0, found.num_rows, ROWS_AT_ONCE):
            part = found.slice(start, ROWS_AT_ONCE)
            columns = {one: pa.repeat(value, part.num_rows) for one, value in known.items()}
            yield pa.RecordBatch.from_pydict(columns | {one: part[one] for one in part.schema.names})


def reasons_of(files: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Files to `object_key` and `reason`: why each cannot be taken, null where it can."""
    import pyarrow as pa

    for name, content, _ in _whole(files):
        reason = None
        try:
            records(content)
        except Unreadable as error:
            reason = str(error)
        yield pa.RecordBatch.from_pydict(
            {"object_key": pa.array([name], pa.string()), "reason": pa.array([reason], pa.string())}
        )


def _whole(files: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, bytes, dict[str, pa.Scalar]]]:
    """(key, content, the other columns). A file whose bytes are not as many as when it was listed is left out."""
    for batch in files:
        others = [name for name in batch.schema.names if name not in ("object_key", "length", "content")]
        for row in range(batch.num_rows):
            content = batch["content"][row].as_py()
            if len(content) == batch["length"][row].as_py():
                yield batch["object_key"][row].as_py(), content, {name: batch[name][row] for name in others}
