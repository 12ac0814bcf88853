"""Whether the alerts of a disturbed run are those of an undisturbed one. Bytes are compared, not meanings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from alerting.engine import Engine, run
from alerting.events import Logged, read_event
from schemas.instants import to_ms


class Told(NamedTuple):
    """One alert event as a record: what counts of it."""

    key: str
    timestamp_ms: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Findings:
    """How a run differs from what it should have told.

    lost: steps of alerts that were never told. twice: that were told more than once. other: that were told and should
    not have been, or with other words, time or key. disordered: stores whose events came in another order.
    """

    alerts: int
    lost: int
    twice: int
    other: int
    disordered: int

    @property
    def clean(self) -> bool:
        return not (self.lost or self.twice or self.other or self.disordered)


class _Step(msgspec.Struct):
    alert_id: str
    sequence: int


_step = msgspec.json.Decoder(_Step).decode


def compare(told: Iterable[Told], wanted: Iterable[Told]) -> Findings:
    """told, wanted: each store's events in their order; the stores may be mixed in any way."""
    told, wanted = list(told), list(wanted)
    times = Counter(_name(item) for item in told)
    expected = {_name(item): item for item in wanted}
    twice = sum(count - 1 for count in times.values())
    lost = len(expected.keys() - times.keys())
    other = sum(1 for item in told if expected.get(_name(item)) != item)
    disordered = 0
    if not (lost or twice or other):
        ours, theirs = _by_store(told), _by_store(wanted)
        disordered = sum(1 for store, items in theirs.items() if ours[store] != items)
    return Findings(len(told), lost, twice, other, disordered)


def _name(item: Told) -> tuple[str, int]:
    step = _step(item.value)
    return step.alert_id, step.sequence


def _by_store(items: list[Told]) -> dict[str, list[Told]]:
    found = defaultdict(list)
    for item in items:
        found[item.key].append(item)
    return found


def engine_alone(engine: Engine, bootstrap: str, topic: str) -> list[Told]:
    """What the engine decides over all that is on the topic, without Flink."""

    def log() -> Iterator[tuple[str, Logged]]:
        for record in records(bootstrap, topic):
            try:
                event = read_event(record.value or b"")
            except (ValueError, RecursionError):
                continue
            yield (record.key or b"").decode(), Logged(record.timestamp, event)

    return [
        Told(alert["store_id"], to_ms(alert["decided_at"]), msgspec.json.encode(alert)) for alert in run(engine, log())
    ]


def alerts_on(bootstrap: str, topic: str, after: dict[int, int] | None = None) -> list[Told]:
    """The committed alert events on a topic, from its beginning, or after these offsets by partition."""
    return [
        Told((record.key or b"").decode(), record.timestamp, record.value)
        for record in records(bootstrap, topic, after)
    ]


def ends(bootstrap: str, topic: str) -> dict[int, int]:
    """Offset of the end of each partition."""
    consumer, parts = _consumer(bootstrap, topic)
    try:
        return {part.partition: offset for part, offset in consumer.end_offsets(parts).items()}
    finally:
        consumer.close()


def records(bootstrap: str, topic: str, after: dict[int, int] | None = None) -> Iterator:
    """Every committed record now on the topic, partition by partition: a million of them do not fit into memory well.

    Raises TimeoutError where the broker gives nothing for a minute.
    """
    consumer, parts = _consumer(bootstrap, topic)
    try:
        until = consumer.end_offsets(parts)
        for part in parts:
            consumer.assign([part])
            consumer.seek(part, (after or {}).get(part.partition, 0))
            empty = 0
            while consumer.position(part) < until[part]:
                got = consumer.poll(timeout_ms=500).get(part, [])
                empty = 0 if got else empty + 1
                if empty > 120:
                    raise TimeoutError(f"{topic}: nothing comes after offset {consumer.position(part)} of {part}")
                yield from (record for record in got if record.offset < until[part])
    finally:
        consumer.close()


def _consumer(bootstrap: str, topic: str):  # noqa: ANN202
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_poll_records=5000,
    )
    return consumer, [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
