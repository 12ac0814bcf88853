from __future__ import annotations

import gzip
import io
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_jobs import unpack
from batch_jobs.unpack import Unreadable, records


def found(content: bytes) -> list[tuple[int, int, bytes]]:
    """(line, place on it, value)."""
    return [(row["line"], row["place"], row["value"]) for row in records(content).to_pylist()]


def test_each_record_has_the_line_that_an_editor_shows():
    assert found(b'{"a":1}\n\n{"b":2}\r\nbroken\n\n{"c":3}') == [
        (1, 0, b'{"a":1}'),
        (3, 0, b'{"b":2}'),
        (4, 0, b"broken"),
        (6, 0, b'{"c":3}'),
    ]


def test_gzip_is_told_by_its_bytes_and_may_have_several_members():
    assert found(gzip.compress(b'{"a":1}\n') + gzip.compress(b'{"b":2}\n')) == [(1, 0, b'{"a":1}'), (2, 0, b'{"b":2}')]


def test_a_byte_order_mark_of_utf_8_is_no_part_of_the_first_record():
    assert found('{"a":1}'.encode("utf-8-sig")) == [(1, 0, b'{"a":1}')]


def test_objects_without_a_delimiter_between_are_taken_apart():
    assert found(b'{"a":{"b":1}}{"c":[{},{}]} {"d":4}\n{"e":5}') == [
        (1, 0, b'{"a":{"b":1}}'),
        (1, 1, b'{"c":[{},{}]}'),
        (1, 2, b'{"d":4}'),
        (2, 0, b'{"e":5}'),
    ]


def test_braces_within_a_text_part_nothing():
    one, other = rb'{"note":"a}{b","said":"\"}{\""}', b'{"note":"} {"}'
    assert [value for *_, value in found(one + other)] == [one, other]
    assert [value for *_, value in found(one)] == [one]


@pytest.mark.parametrize("broken", [b'{"a":1', b'{"a:1}', b'{"a":\xff}', b'{"a":1}}', b"{" * 5000 + b"}"])
def test_a_broken_object_among_others_takes_none_of_them_with_it(broken):
    values = [value for *_, value in found(b'{"x":1}' + broken + b'{"y":2}{"z":3}')]
    assert b"".join(values) == b'{"x":1}' + broken + b'{"y":2}{"z":3}'
    assert values[0] == b'{"x":1}'
    assert values[-1] == b'{"z":3}'


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), out)
    return out.getvalue()


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(zipfile.ZipInfo("a.ndjson"), '{"a":1}')
    return out.getvalue()


WHOLE = gzip.compress(b'{"a":1}\n{"b":2}\n' * 100, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty: 0 bytes; "),
        (gzip.compress(b"", mtime=0), "empty: no record in it; "),
        (b"\n \n", "empty: no record in it; "),
        (WHOLE[:-9], "truncated: the gzip ends in the middle; have it delivered again, or save its whole lines"),
        (WHOLE[:-1], "truncated: "),
        (WHOLE[:12], "truncated: "),
        (WHOLE[:-8] + bytes(8), "damaged: not whole as gzip"),
        (WHOLE[:20] + b"\0\0\0\0" + WHOLE[24:], "damaged: not whole as gzip"),
        (WHOLE + b"more", "damaged: not whole as gzip"),
        (parquet(), "not_ndjson: it is Parquet; let the sender write NDJSON"),
        (gzip.compress(parquet(), mtime=0), "not_ndjson: it is Parquet; "),
        (zipped(), "not_ndjson: it is a zip archive; "),
        (gzip.compress(WHOLE, mtime=0), "not_ndjson: gzip within gzip; pack it once"),
        ('{"a":1}'.encode("utf-16"), "not_utf8: it is UTF-16 or UTF-32; write UTF-8: iconv"),
        ('{"a":1}'.encode("utf-16-be"), "not_utf8: "),
        (b'[\n{"a":1},\n{"b":2}\n]'.replace(b"\n{", b"\n  {"), "not_ndjson: no line begins with {"),
        (b"id,value\n1,2\n", "not_ndjson: no line begins with {; write one JSON object a line"),
    ],
)
def test_what_cannot_be_taken_is_named_with_what_to_do(content, message):
    with pytest.raises(Unreadable) as raised:
        records(content)
    assert str(raised.value).startswith(message)


def test_a_record_longer_than_any_stream_takes_is_named_by_its_line(monkeypatch):
    with pytest.raises(Unreadable, match=r"record_too_large: line 3: a record of 50.0 MB, at most 10 MB is one"):
        records(b'{"a":1}\n\n{"a":"' + b"x" * 50 * 1024**2 + b'"}\n{"b":2}')


def test_a_small_file_that_unpacks_to_more_than_memory_holds_is_left(monkeypatch):
    monkeypatch.setattr(unpack, "MAX_BYTES", 10 * 1024**2)
    with pytest.raises(Unreadable, match=r"file_too_large: .* MB and more unpacked, at most 10 MB is read; split it"):
        records(gzip.compress(b'{"a":1}\n' * 4 * 1024**2, 1))
