"""The desk: where alert events are read, and where commands are handed in and answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import msgspec

from ingestion.record import Record
from ingestion.reference import Reference
from ingestion.relay import COMMANDS, GROUP
from ingestion.sinks import KafkaSink
from ingestion.topics import ALERT_TOPICS, read_topic

Event = dict[str, Any]
Complain = Callable[[str], None]
"""Is told of each record on an alert topic that is no alert event, by its coordinates."""


class Follower(Protocol):
    """Alert events as they become readable."""

    def poll(self, timeout_s: float) -> list[Event]:
        """Those that are there, or come within so long."""
        ...

    def close(self) -> None: ...


class Desk(Protocol):
    """What the commands need. `KafkaDesk` is the one; tests bring another."""

    def told(self) -> Iterable[Event]:
        """Every alert event so far. An alert's events come in their order, and may come twice."""
        ...

    def given(self) -> dict[str, Event]:
        """Every command so far, by its event_id."""
        ...

    def reference(self) -> Reference:
        """Stores and assets as published. Raises LookupError where none are."""
        ...

    def follow(self, topics: Iterable[str], beginning: bool = False) -> Follower:
        """What comes from now on; with beginning, what is there already first."""
        ...

    def hand_in(self, records: Iterable[Record]) -> None:
        """Put commands that the gate let in on their topic, all or none. Raises DeliveryFailed."""
        ...

    def relayed(self, command_id: str) -> bool:
        """Whether the ticker has copied the command into its store's log."""
        ...


class KafkaDesk:
    """bootstrap: the broker; complain: is told of what is no alert event and is left out."""

    def __init__(self, bootstrap: str, complain: Complain) -> None:
        self.bootstrap = bootstrap
        self._complain = complain

    def told(self) -> Iterator[Event]:
        for topic in ALERT_TOPICS:
            yield from decoded(read_topic(self.bootstrap, topic), self._complain)

    def given(self) -> dict[str, Event]:
        found: dict[str, Event] = {}
        for record in read_topic(self.bootstrap, COMMANDS):
            command = _object(record.value)
            if command is not None and "event_id" in command:
                found[command["event_id"]] = command
        return found

    def reference(self) -> Reference:
        return Reference.from_topics(self.bootstrap)

    def follow(self, topics: Iterable[str], beginning: bool = False) -> KafkaFollower:
        return KafkaFollower(self.bootstrap, topics, beginning, self._complain)

    def hand_in(self, records: Iterable[Record]) -> None:
        with KafkaSink(self.bootstrap) as sink, sink.transaction():
            for record in records:
                sink.send(record)

    def relayed(self, command_id: str) -> bool:
        from kafka import KafkaConsumer, TopicPartition

        for record in read_topic(self.bootstrap, COMMANDS):
            command = _object(record.value)
            if command is not None and command.get("event_id") == command_id:
                consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, group_id=GROUP, enable_auto_commit=False)
                try:
                    return (consumer.committed(TopicPartition(COMMANDS, record.partition)) or 0) > record.offset
                finally:
                    consumer.close()
        return False


class KafkaFollower:
    """Reads alert topics on, committed records only. Commits nothing, joins no group."""

    def __init__(self, bootstrap: str, topics: Iterable[str], beginning: bool, complain: Complain) -> None:
        from kafka import KafkaConsumer, TopicPartition

        self._complain = complain
        self._consumer = consumer = KafkaConsumer(
            bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, isolation_level="read_committed"
        )
        parts = [
            TopicPartition(topic, number)
            for topic in topics
            for number in sorted(consumer.partitions_for_topic(topic) or ())
        ]
        if not parts:
            consumer.close()
            raise LookupError(f"no alert topic on the broker at {bootstrap}; `grocery stack up` makes the topics")
        consumer.assign(parts)
        if beginning:
            consumer.seek_to_beginning(*parts)
        else:
            consumer.seek_to_end(*parts)
            for part in parts:
                consumer.position(part)  # seeks are lazy: without this, what comes before the first poll would be lost

    def poll(self, timeout_s: float) -> list[Event]:
        batches = self._consumer.poll(timeout_ms=round(timeout_s * 1000)).values()
        return list(decoded((record for batch in batches for record in batch), self._complain))

    def close(self) -> None:
        self._consumer.close()


def decoded(records: Iterable[Any], complain: Complain) -> Iterator[Event]:
    """Alert events; a record that is none is named and left out."""
    for record in records:
        event = _object(record.value)
        if event is None or "alert_id" not in event or "sequence" not in event:
            complain(f"{record.topic} partition {record.partition} offset {record.offset}: no alert event, left out")
        else:
            yield event


def _object(value: bytes | None) -> Event | None:
    try:
        found = msgspec.json.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) else None


def open_desk() -> Desk:
    """The desk of this workspace's broker. Raises NoBroker."""
    from rich.console import Console

    from grocery.gateway import bootstrap

    errors = Console(stderr=True)
    return KafkaDesk(bootstrap(), lambda text: errors.print(text, markup=False, highlight=False, soft_wrap=True))
