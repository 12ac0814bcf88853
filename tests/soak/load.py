"""What is sent during the soak: three topics, each by a process of its own, every record a function of its number, so
that how often what must be where is known to the record.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from grocery.settings import PROJECT

FRESH, LATE, AGAIN, BROKEN = ("fresh", "late", "again", "broken")
LATE_BY = timedelta(days=2)
BACK = 10
"""A resend repeats the record so many before it."""
TRUNCATED = 40
"""Bytes that are left of a broken record."""
STORES = 20


@dataclass(frozen=True, slots=True)
class Topic:
    """name: topic and contract. example: file of an event that keeps it. rate: records a second."""

    name: str
    example: str
    rate: int

    def template(self) -> dict[str, Any]:
        return json.loads((PROJECT / "schemas" / self.name / self.example).read_text("utf-8"))


TOPICS = (
    Topic("sensor-readings", "pass-freezer.json", 3_000),
    Topic("pos-transactions", "pass-sale.json", 300),
    Topic("orders", "pass-ready.json", 300),
)


def kind_of(number: int) -> str:
    """In 1,000 records: 5 resends, 2 broken, 20 two days late."""
    if number >= BACK and number % 200 == 117:
        return AGAIN
    if number % 500 == 33:
        return BROKEN
    return LATE if number % 50 == 7 else FRESH


def expected(records: int) -> Counter[str]:
    """How many of the first so many are of each kind."""
    return Counter(map(kind_of, range(records)))


def records(topic: Topic, begin: datetime, pace: Iterator[int]) -> Iterator[tuple[bytes, bytes]]:
    """(key, payload) of record 0, 1, 2 …, whenever `pace` gives its number."""
    template = topic.template()
    for number in pace:
        kind = kind_of(number)
        source = number - BACK if kind == AGAIN else number
        at = begin + timedelta(seconds=source / topic.rate)
        if (kind_of(source) if kind == AGAIN else kind) == LATE:
            at -= LATE_BY
        store = f"store-{source % STORES:03}"
        event = template | {
            "event_id": f"{topic.name}-{source}",
            "event_time": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z",
            "store_id": store,
        }
        payload = json.dumps(event, separators=(",", ":")).encode()
        yield store.encode(), payload[:TRUNCATED] if kind == BROKEN else payload


class Senders:
    """All topics at their rates, until `stop`; then `sent` says how many records of each are on the broker."""

    def __init__(self, bootstrap: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._end = context.Event()
        self._sent = {topic.name: context.Value("q", 0) for topic in TOPICS}
        self._processes = [
            context.Process(target=_send, args=(bootstrap, topic, self._end, self._sent[topic.name]), daemon=True)
            for topic in TOPICS
        ]

    def start(self) -> None:
        for process in self._processes:
            process.start()

    def stop(self) -> None:
        """Raises RuntimeError where a process did not deliver everything."""
        self._end.set()
        for process in self._processes:
            process.join()
            if process.exitcode:
                raise RuntimeError("a sender failed; what it says stands above")

    @property
    def sent(self) -> dict[str, int]:
        return {name: count.value for name, count in self._sent.items()}


def _send(bootstrap: str, topic: Topic, end: Any, sent: Any) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=50, batch_size=128 * 1024
    )
    began = time.monotonic()
    futures = []

    def pace() -> Iterator[int]:
        number = 0
        while not end.is_set():
            due = int((time.monotonic() - began) * topic.rate)
            yield from range(number, due)
            number = max(number, due)
            sent.value = number
            end.wait(0.05)

    for key, payload in records(topic, datetime.now(UTC), pace()):
        futures.append(producer.send(topic.name, payload, key))
        if len(futures) >= 5_000:
            for future in futures:
                future.get(timeout=120)
            futures.clear()
    for future in futures:
        future.get(timeout=120)
    producer.close()
