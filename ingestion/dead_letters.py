"""Dead letters: what the gate refused, with its reasons and the original, encrypted. Listed, shown, and let in again.

A letter's event_id is made from the arrival, so the same arrival refused twice is one letter. A later record with the
same event_id and `replayed: true` says that it has been let in since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from ingestion.arrival import UNKNOWN, Arrival, dumps, to_ms
from ingestion.record import Record
from ingestion.topics import DEAD_LETTERS, read_topic
from schemas.instants import to_rfc3339
from schemas.validate import Reason

if TYPE_CHECKING:
    from ingestion.gate import Gate
    from ingestion.sinks import KafkaSink

Event = dict[str, Any]
# A larger original would not fit into one record (the broker takes 16 MB) once encrypted and encoded.
MAX_KEPT_BYTES = 4 * 1024 * 1024


class LetterNotReadable(RuntimeError):
    """The original cannot be had: another key, or it was too large to keep."""


class NoSuchLetter(LookupError):
    """No letter of that id on the topic."""


class Cipher:
    """key: a Fernet key. Raises ValueError for anything else."""

    def __init__(self, key: bytes) -> None:
        try:
            self._fernet = Fernet(key)
        except ValueError as error:
            raise ValueError(
                "dead-letter key: not a Fernet key (32 bytes in URL-safe base64); "
                '`python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"` makes one'
            ) from error
        self.key_id = hashlib.sha256(key).hexdigest()[:12]

    def encrypt(self, original: bytes, at_ms: int) -> str:
        return self._fernet.encrypt_at_time(original, max(at_ms, 0) // 1000).decode()

    def decrypt(self, token: str) -> bytes:
        """Raises LetterNotReadable."""
        try:
            return self._fernet.decrypt(token.encode())
        except InvalidToken as error:
            raise LetterNotReadable(f"key {self.key_id} does not open it; give the one that wrote it") from error


def letter(
    letter_id: str,
    arrival: Arrival,
    store_id: str,
    reasons: Sequence[Reason],
    cipher: Cipher,
    max_kept_bytes: int = MAX_KEPT_BYTES,
) -> Event:
    """The `dead-letters` event of a refused arrival."""
    listed = [
        {"code": _text(reason.code, 32), "path": _text(reason.path, 256), "message": _text(reason.message, 1000)}
        for reason in reasons
    ]
    event = {
        "event_id": letter_id,
        "event_time": to_rfc3339(arrival.arrived_ms),
        "store_id": store_id,
        "schema_version": 1,
        "contract": _text(arrival.contract, 64) or UNKNOWN,
        "source": _text(arrival.source, 512) or UNKNOWN,
        "reasons": listed,
        "payload_bytes": len(arrival.payload),
    }
    if len(arrival.payload) > max_kept_bytes:
        listed.append(
            {
                "code": "not_kept",
                "path": "",
                "message": f"the original's {len(arrival.payload)} bytes were not kept, at most {max_kept_bytes} are; "
                f"it is still at its source, {_text(arrival.source, 200)}",
            }
        )
        return event
    return event | {"payload": cipher.encrypt(arrival.payload, arrival.arrived_ms), "key_id": cipher.key_id}


def _text(value: str, limit: int) -> str:
    """At most so many characters, and nothing that UTF-8 cannot hold (a file's name, half an emoji)."""
    return value.encode("utf-8", "backslashreplace").decode()[:limit]


@dataclass(frozen=True, slots=True)
class Letter:
    """One letter as the topic tells it. event: the newest record that holds the original."""

    event: Event
    replayed: bool

    @property
    def id(self) -> str:
        return self.event["event_id"]

    @property
    def codes(self) -> tuple[str, ...]:
        """Kinds of breach, each once, in the order given."""
        return tuple(dict.fromkeys(reason["code"] for reason in self.event["reasons"]))

    def arrival(self, cipher: Cipher) -> Arrival:
        """What arrived, byte for byte, with the time at which it first did. Raises LetterNotReadable."""
        if "payload" not in self.event:
            raise LetterNotReadable(
                f"{self.id}: {self.event['payload_bytes']} bytes, too many to keep; read {self.event['source']} again"
            )
        if self.event["key_id"] != cipher.key_id:
            raise LetterNotReadable(
                f"{self.id}: encrypted with key {self.event['key_id']}, this one is {cipher.key_id}; "
                "give the other in GROCERY_DEAD_LETTER_KEY"
            )
        payload = cipher.decrypt(self.event["payload"])
        return Arrival(self.event["contract"], to_ms(self.event["event_time"]), payload, self.event["source"])


def fold(values: Iterable[bytes]) -> dict[str, Letter]:
    """letter id -> letter, from the topic's values in order."""
    letters: dict[str, Letter] = {}
    for value in values:
        event = msgspec.json.decode(value)
        known = letters.get(event["event_id"])
        if event.get("replayed"):
            letters[event["event_id"]] = Letter(known.event if known else event, True)
        else:
            letters[event["event_id"]] = Letter(event, bool(known and known.replayed))
    return letters


def read_letters(bootstrap: str) -> dict[str, Letter]:
    """Every letter now on the topic, oldest first."""
    return fold(record.value for record in read_topic(bootstrap, DEAD_LETTERS))


@dataclass(slots=True)
class Replayed:
    """What became of the letters asked for, by id. refused: id -> reasons; unreadable: id -> why."""

    accepted: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    refused: dict[str, list[Reason]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


def replay_letters(
    letters: Iterable[Letter],
    cipher: Cipher,
    gate: Gate,
    sink: KafkaSink,
    on_progress: Callable[[int], None] | None = None,
) -> Replayed:
    """Put originals through the gate again, byte for byte; mark those that pass as replayed.

    The event goes on with its first arrival time: letting it in late must not move the log's clock, nor make a wrong
    device clock look right. The event and its mark are one transaction, so a crash between them lets nothing in twice.
    A second run lets nothing in that was let in before; what is refused again stays as it is.
    """
    done = Replayed()
    for count, item in enumerate(letters, 1):
        if item.replayed:
            done.already.append(item.id)
            continue
        try:
            arrival = item.arrival(cipher)
        except LetterNotReadable as error:
            done.unreadable[item.id] = str(error)
            continue
        records = gate.admit(arrival)
        if records[0].topic == DEAD_LETTERS:
            again = msgspec.json.decode(records[0].value)["reasons"]
            done.refused[item.id] = [Reason(**reason) for reason in again]
        else:
            with sink.transaction():
                for record in records:
                    sink.send(record)
                sink.send(_mark(item, arrival.arrived_ms))
            done.accepted.append(item.id)
        if on_progress:
            on_progress(count)
    return done


def _mark(item: Letter, arrived_ms: int) -> Record:
    mark = {name: value for name, value in item.event.items() if name not in ("payload", "key_id")} | {"replayed": True}
    return Record(DEAD_LETTERS, item.id, dumps(mark), arrived_ms)
