"""What an erasure looks for, and the reading of every byte for it.

A folder is read twice over: its files' bytes as they lie there, and what those bytes hold: every text of a Parquet
file, the inside of gzip, a payload kept as base64, the original of a dead letter. No Spark here, and no table: a file
that Delta has forgotten is read like any other.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from batch_jobs import s3
from ingestion.dead_letters import Cipher, LetterNotReadable
from ingestion.pseudonym import CAR, Pseudonyms, spelled
from schemas.contract import all_contracts

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileSystem

ERASED = "e" * 32
"""In place of a pseudonym's digits: of the same form, so the contract holds, and no hash (dbt/macros/persons.sql)."""
WORD = "erased"
"""In place of a plain value, and of what cannot be changed in part: an encrypted original, a text that is no UTF-8."""
SHORTEST = 6
"""Signs of a plain value from which on it can be told from other numbers; of a shorter one only the hash is sought."""
TOKEN = re.compile(r"gAAAA[A-Za-z0-9_-]{60,}={0,2}")
"""A Fernet token, as dead letters keep originals."""
BASE64 = "base64:"
CHUNK = 8 * 1024**2
OVERLAP = 4096
"""Bytes kept of the chunk before: longer than whatever is sought."""
_BETWEEN = r"[\W_]{0,2}"
# What may end a value in a text that is no JSON: with blanks and dashes inside values, and without.
_SPLITS = (re.compile(r"[\s\",;:<>{}\[\]|=']+"), re.compile(r"[\r\n\t\",;:<>{}\[\]|=']+"))


@dataclass(frozen=True)
class Sought:
    """One or more persons' values. pseudonyms: their hashes; plain: (value, kind), where it was given.

    keys: the gate's, to hash what stands in a dead letter; None where only hashes were given and no key is at hand.
    ciphers: what opens dead letters.
    """

    pseudonyms: tuple[str, ...]
    plain: tuple[tuple[str, str], ...] = ()
    keys: Pseudonyms | None = None
    ciphers: tuple[Cipher, ...] = ()
    _opened: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def replacements(self) -> dict[str, str]:
        """hash -> what stands in its place."""
        return {one: f"{one.rpartition('_')[0]}_{ERASED}" for one in self.pseudonyms}

    @cached_property
    def shapes(self) -> tuple[str, ...]:
        """The plain values as regular expressions that Python, RE2 and Java read alike: however a plate is written."""
        values = [(spelled(value, kind), kind) for value, kind in self.plain]
        return tuple(
            (_BETWEEN if kind == CAR else "").join(map(re.escape, value))
            for value, kind in values
            if len(value) >= SHORTEST
        )

    @cached_property
    def _plain_text(self) -> re.Pattern[str] | None:
        return re.compile(_alone(self.shapes)) if self.shapes else None

    @cached_property
    def _bytes(self) -> re.Pattern[bytes]:
        either = [re.escape(one) for one in self.pseudonyms] + ([_alone(self.shapes)] if self.shapes else [])
        return re.compile("|".join(either).encode())

    @cached_property
    def re2(self) -> str:
        """For Arrow, which cannot look behind."""
        either = [re.escape(one) for one in self.pseudonyms]
        if self.shapes:
            either.append(rf"(?i:(^|[^0-9A-Za-z])({'|'.join(self.shapes)})($|[^0-9A-Za-z]))")
        return "|".join(either)

    @cached_property
    def java(self) -> str | None:
        """The plain values alone, for Spark's rlike."""
        return _alone(self.shapes) if self.shapes else None

    def in_bytes(self, data: bytes) -> bool:
        return self._bytes.search(data) is not None

    def in_text(self, text: str) -> bool:
        """In it as it stands, in what it holds as base64, or in a dead letter's original in it."""
        if any(one in text for one in self.pseudonyms) or (self._plain_text and self._plain_text.search(text)):
            return True
        if text.startswith(BASE64):
            return self.in_bytes(_decoded(text))
        return any(self.in_token(one) for one in TOKEN.findall(text))

    def in_token(self, token: str) -> bool:
        """Whether a dead letter's original is about them; False as well where no key opens it (`opens` tells)."""
        if token not in self._opened:
            original = self._open(token)
            self._opened[token] = original is not None and self.in_original(original)
        return self._opened[token]

    def opens(self, token: str) -> bool:
        return self._open(token) is not None

    def in_original(self, original: bytes) -> bool:
        """In what a device or till sent: the plain value under any name, in any spelling that the gate would hash."""
        if self.in_bytes(original):
            return True
        if self.keys is None:
            return False
        wanted = set(self.pseudonyms)
        kinds = {one.rpartition("_")[0] for one in wanted}
        return any(
            self.keys.of(spelled(value, kind), kind) in wanted for value in set(_values(original)) for kind in kinds
        )

    def cleaned(self, text: str | None, *, plain: bool) -> str | None:
        """The text without them. plain: the plain values too; a text in which they may be another thing keeps them."""
        if text is None:
            return None
        if text.startswith(BASE64):
            data = _decoded(text)
            found = self.in_bytes(data) if plain else any(one.encode() in data for one in self.pseudonyms)
            return WORD if found else text
        for one, instead in self.replacements.items():
            text = text.replace(one, instead)
        if plain and self._plain_text:
            text = self._plain_text.sub(WORD, text)
        return TOKEN.sub(lambda token: WORD if self.in_token(token[0]) else token[0], text)

    def _open(self, token: str) -> bytes | None:
        for cipher in self.ciphers:
            try:
                return cipher.decrypt(token)
            except LetterNotReadable:
                continue
        return None


def of_hashes(values: Iterable[str], keys: Pseudonyms | None = None, ciphers: tuple[Cipher, ...] = ()) -> Sought:
    """Persons of whom only the hashes are given. Raises ValueError where one is none, or there are none."""
    values = tuple(dict.fromkeys(values))
    fields = [one for item in all_contracts() for one in item.fields]
    kinds = "|".join(sorted({one.pseudonym[1] for one in fields if one.pseudonym}))
    wrong = sum(re.fullmatch(rf"({kinds})_[0-9a-f]{{32}}", value) is None for value in values)
    if wrong or not values:
        raise ValueError(f"{wrong} of {len(values)} lines are no pseudonym ({kinds}, _ and 32 hex digits)")
    return Sought(values, keys=keys, ciphers=ciphers)


@dataclass(slots=True)
class Scan:
    """What was read. hits: files that hold what is sought; unread: files that could not be decoded."""

    files: int = 0
    bytes: int = 0
    hits: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def file_system(folder: str) -> tuple[FileSystem, str]:
    """Arrow's, with the folder's path on it. S3 takes AWS' own settings."""
    from pyarrow.fs import FileSystem, LocalFileSystem

    if "://" not in folder:
        return LocalFileSystem(), path_on(folder)
    if s3.is_on_s3(folder):
        return s3.arrow(), path_on(folder)
    return FileSystem.from_uri(folder)[0], path_on(folder)


def path_on(folder: str) -> str:
    """The folder as its file system calls it; no slash at the end."""
    from pathlib import Path

    return folder.partition("://")[2].rstrip("/") if "://" in folder else str(Path(folder).resolve())


def scan(folder: str, sought: Sought, on_file: Callable[[int], None] | None = None) -> Scan:
    """Read every file under the folder (or the one file), hidden ones too. A folder that is not there holds nothing."""
    from pyarrow.fs import FileSelector, FileType

    system, path = file_system(folder)
    about = system.get_file_info(path)
    found = [about] if about.type == FileType.File else system.get_file_info(FileSelector(path, True, recursive=True))
    result = Scan()
    for one in sorted(found, key=lambda one: one.path):
        if one.type != FileType.File:
            continue
        result.files += 1
        result.bytes += one.size or 0
        hit, head = _scan_bytes(system, one.path, sought)
        if not hit:
            try:
                hit = _scan_inside(system, one.path, head, sought)
            except Exception:  # noqa: BLE001 a file cut short, or no Parquet though it begins like it: Arrow raises many
                result.unread.append(one.path)
        if hit:
            result.hits.append(one.path)
        if on_file:
            on_file(result.files)
    return result


def _scan_bytes(system: FileSystem, path: str, sought: Sought) -> tuple[bool, bytes]:
    """(whether it is in the bytes as they lie there, the file's first bytes)"""
    with system.open_input_file(path) as file:
        return _in_chunks(iter(lambda: file.read(CHUNK), b""), sought)


def _in_chunks(chunks: Iterable[bytes], sought: Sought) -> tuple[bool, bytes]:
    head, before = b"", b""
    for chunk in chunks:
        head = head or chunk[:4]
        piece = before + chunk
        if sought.in_bytes(piece):
            return True, head
        before = piece[-OVERLAP:]
    return False, head


def _scan_inside(system: FileSystem, path: str, head: bytes, sought: Sought) -> bool:
    if head == b"PAR1":
        import pyarrow.parquet as pq

        with system.open_input_file(path) as file:
            return any(
                _in_texts(texts, sought)
                for batch in pq.ParquetFile(file).iter_batches(4096)
                for column in batch.columns
                for texts in _texts(column)
            )
    if head[:2] == b"\x1f\x8b":
        with system.open_input_file(path) as file, gzip.open(file) as inside:
            return _in_chunks(iter(lambda: inside.read(CHUNK), b""), sought)[0]
    if head[:1] == b"{" and sought.ciphers and path.endswith(".json"):  # a log with statistics, or a letter
        with system.open_input_file(path) as file:
            return any(sought.in_token(one) for one in TOKEN.findall(file.read().decode("utf-8", "replace")))
    return False


def _texts(column: pa.Array) -> Iterator[pa.Array]:
    """Every text inside a column, however deep; numbers and instants hold no hash."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary, kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        yield column
    elif pa.types.is_map(kind):
        yield from _texts(column.keys)
        yield from _texts(column.items)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _texts(column.flatten())
    elif pa.types.is_struct(kind):
        for inner in column.flatten():
            yield from _texts(inner)


def _in_texts(texts: pa.Array, sought: Sought) -> bool:
    import pyarrow.compute as pc

    if pc.any(pc.match_substring_regex(texts, sought.re2)).as_py():
        return True
    odd = pc.starts_with(texts, BASE64)
    if sought.ciphers:
        odd = pc.or_(odd, pc.match_substring(texts, "gAAAA"))
    rest = texts.filter(pc.fill_null(odd, False)).to_pylist()
    return any(sought.in_text(one if isinstance(one, str) else one.decode("utf-8", "replace")) for one in rest)


def _alone(shapes: Iterable[str]) -> str:
    return rf"(?i:(?<![0-9A-Za-z])(?:{'|'.join(shapes)})(?![0-9A-Za-z]))"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text[len(BASE64) :])
    except ValueError:
        return b""


def _values(original: bytes) -> Iterator[str]:
    """Whatever could be a value: of JSON its texts and numbers, of any other text what stands between separators."""
    text = original.decode("utf-8", "replace")
    try:
        yield from _leaves(json.loads(text))
    except (ValueError, RecursionError):
        for split in _SPLITS:
            yield from split.split(text)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, str | int) and not isinstance(value, bool):
        yield str(value)
