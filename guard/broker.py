"""What the broker says: which stores are heard, where the jobs stand, which alerts are open."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from kafka import IsolationLevel, KafkaConsumer, KafkaProducer, OffsetSpec, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    NotCoordinatorError,
    TransactionalIdNotFoundError,
)

from alerting.language import COMMAND_RULE
from guard.book import REACH_MS, WATCHDOG
from guard.seen import INGESTION, TICKER, BrokerSeen, Heard, Part
from ingestion.ticker import TRANSACTIONS as TICKER_ID
from ingestion.topics import ALERT_TOPICS, PLATFORM_ALERTS
from streaming_jobs.progress import has_records
from streaming_jobs.submit import jobs

if TYPE_CHECKING:
    from kafka.consumer.fetcher import ConsumerRecord

READINGS, STORES = "sensor-readings", "stores"
TIMEOUT_MS = 5_000
READ_MAX = 2_000
"""Records of a partition of `sensor-readings` read in one look: all of them up to 1,600 a second on four partitions,
beyond that so many in a row, from anywhere among what came since the last look. Who reads all of a large chain's
readings is as big as the job it watches."""
READ_S = 3.0
FOLLOW_MAX = 20_000
"""Records of the alert topics read in one look, until the end is reached for the first time."""
LIVE_MS = 600_000
"""A record whose timestamp is further from now than this is replayed, and no sign of life."""
NOT_YET = (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError)
"""The broker answers, and is about to find out who of it keeps a group's or a transaction's state."""
NO_ALERTS = frozenset({COMMAND_RULE, WATCHDOG.name})
"""Rules of alert events that are no alerts."""


class NoTopic(LookupError):
    """The broker answers, but lacks a topic that every broker of this project has."""


Taken = Callable[[str, str], Mapping[int, int]]
"""(job, topic) -> offset by partition up to which the job's source has read, as far as Flink tells."""


class _Kind(msgspec.Struct):
    kind: str = ""


class _Store(msgspec.Struct):
    store_id: str
    status: str


class _Step(msgspec.Struct):
    """What counting open alerts needs of an alert event."""

    alert_id: str
    sequence: int
    rule: str
    status: str
    severity: str
    topic: str


_kind = msgspec.json.Decoder(_Kind).decode
_store = msgspec.json.Decoder(_Store).decode
_step = msgspec.json.Decoder(_Step).decode


class Broker:
    """Connections to one broker, for as long as it answers. Every method raises KafkaError, or TimeoutError, when it
    does not, NoTopic where it is new; then close this one and make another."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._open: list[Any] = []
        self._admin = KafkaAdminClient(
            bootstrap_servers=bootstrap, bootstrap_timeout_ms=TIMEOUT_MS, request_timeout_ms=TIMEOUT_MS
        )
        self._open.append(self._admin)
        try:
            self._producer: Any = None
            self._hearing, self._following, self._probing = (self._consumer() for _ in range(3))
            self._readings = self._parts(self._hearing, READINGS)
            self._hearing.assign(self._readings)
            self._heard_at: float | None = None
            self._heard_to: dict[TopicPartition, int] = {}
            self._since_s = 0.0
            self._home: dict[str, int] = {}
            self._wrote: dict[int, tuple[int, int, int]] = {}
            self._begin_to_follow()
            self._known: dict[tuple[str, str, int], tuple[int, int, bool | None]] = {}
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for client in self._open:
            with suppress(Exception):  # it is gone anyway, and there is nobody to tell
                client.close()

    # ---- stores, jobs

    def look(self, wanted: frozenset[str], taken: Taken) -> BrokerSeen:
        heard, share = self._hear()
        shares = {TICKER: share, INGESTION: share}
        ticked = self._ticked()
        if share < 1 and ticked is not None:
            shares[TICKER] = 1.0
            for store in self._active:
                if self._home.get(store) in ticked:
                    heard.setdefault(store, {})[TICKER] = Heard(ticked[self._home[store]])
        self._follow()
        return BrokerSeen(frozenset(self._active), heard, shares, self._places(wanted, taken))

    def _hear(self) -> tuple[dict[str, dict[str, Heard]], float]:
        """Who spoke since the last look, and in which share of what came; at the first look, in the newest records."""
        now, consumer = time.monotonic(), self._hearing
        first = self._heard_at is None
        self._since_s = LIVE_MS / 1000 if first else now - self._heard_at
        ends = self._ends(self._readings)
        starts = self._begins(self._readings) if first else {part: consumer.position(part) for part in self._readings}
        stops = {}
        for part, end in ends.items():
            spare = end - starts[part] - READ_MAX
            if spare > 0:
                # Anywhere, since ticks come all at once, every few seconds: at the end they might never be met.
                starts[part] += spare if first else random.randint(0, spare)
                consumer.seek(part, starts[part])
            elif first:
                consumer.seek(part, starts[part])
            stops[part] = min(end, starts[part] + READ_MAX)
        came, read = sum(ends.values()) - sum(self._heard_to.values() if not first else ends.values()), 0
        spoken: dict[str, dict[str, list[int]]] = {}
        while any(consumer.position(part) < stops[part] for part in stops) and time.monotonic() < now + READ_S:
            for batch in consumer.poll(timeout_ms=200).values():
                for record in batch:
                    self._spoke(record, spoken)
        for part, end in ends.items():
            read += consumer.position(part) - starts[part]
            if consumer.position(part) < end:
                consumer.seek(part, end)
        self._heard_at, self._heard_to = now, {part: consumer.position(part) for part in ends}
        wall_ms = time.time() * 1000
        found = {
            store: {
                kind: Heard(self._ago(wall_ms - newest), times, (newest - oldest) / 1000)
                for kind, (oldest, newest, times) in signs.items()
            }
            for store, signs in spoken.items()
        }
        return found, min(1.0, read / came) if came > 0 else 1.0

    def _ago(self, age_ms: float) -> float:
        """Seconds, at most since the last look: a timestamp tells when something came only as far as the guard saw."""
        return min(max(0.0, age_ms / 1000), self._since_s)

    def _ticked(self) -> dict[int, float] | None:
        """Partitions into which the ticker has written since the last look, and how many seconds ago; None where no
        ticker is known.

        The broker knows of each producer what it wrote last, so nothing need be read; and a ticker ticks every store.
        """
        try:
            ticker = self._admin.describe_transactions([TICKER_ID])[TICKER_ID].producer_id
        except (TransactionalIdNotFoundError, *NOT_YET):
            return None
        states = self._admin.describe_producers(self._readings)
        wall_ms, found = time.time() * 1000, {}
        for part in self._readings:
            for producer in states[part].active_producers:
                if producer.producer_id != ticker:
                    continue
                wrote = (ticker, producer.producer_epoch, producer.last_sequence)
                before = self._wrote.get(part.partition)
                self._wrote[part.partition] = wrote
                age_ms = wall_ms - producer.last_timestamp
                if before not in (None, wrote) and abs(age_ms) <= LIVE_MS:
                    found[part.partition] = self._ago(age_ms)
        return found

    def _spoke(self, record: ConsumerRecord, spoken: dict[str, dict[str, list[int]]]) -> None:
        if record.key is None or abs(time.time() * 1000 - record.timestamp) > LIVE_MS:
            return
        try:
            kind = TICKER if _kind(record.value or b"").kind == "tick" else INGESTION
        except (msgspec.DecodeError, ValueError):
            return  # the job counts and names what is no event
        store = record.key.decode(errors="replace")
        if store in self._active:
            self._home[store] = record.partition
        signs = spoken.setdefault(store, {})
        sign = signs.setdefault(kind, [record.timestamp, record.timestamp, 1])
        if record.timestamp >= sign[1] + 1000:
            sign[2] += 1
        sign[1] = max(sign[1], record.timestamp)

    def _places(self, wanted: frozenset[str], taken: Taken) -> dict[str, dict[tuple[str, int], Part]]:
        topics = {name: tuple(job.reads.values()) for name, job in jobs().items() if name in wanted}
        if not topics:
            return {}
        parts = {topic: self._parts(self._probing, topic) for topic in {one for own in topics.values() for one in own}}
        every = [part for own in parts.values() for part in own]
        ends, begins = self._ends(every), self._begins(every)
        asked = {name: [part for topic in own for part in parts[topic]] for name, own in topics.items()}
        try:
            committed = self._admin.list_group_offsets(asked)
        except NOT_YET:
            return {}  # the broker is about to find out who keeps the jobs' offsets
        found: dict[str, dict[tuple[str, int], Part]] = {}
        for name, own in asked.items():
            told: dict[str, Mapping[int, int]] = {}
            for part in own:
                position = max(committed[name][part].offset if part in committed[name] else 0, begins[part])
                if position < ends[part] and self._stands(name, part, position):
                    # An idle source commits late, and its offset stays before the marker that ends the partition.
                    if part.topic not in told:
                        told[part.topic] = taken(name, part.topic)
                    position = max(position, told[part.topic].get(part.partition, 0))
                records = max(0, ends[part] - position)
                if records and not self._more(name, part, position, ends[part]):
                    records = 0
                found.setdefault(name, {})[part.topic, part.partition] = Part(position, ends[part], records)
        return found

    def _stands(self, name: str, part: TopicPartition, position: int) -> bool:
        """Whether the job has not moved since the last look."""
        known = self._known.get((name, part.topic, part.partition))
        return known is None or position <= known[0]

    def _more(self, name: str, part: TopicPartition, position: int, end: int) -> bool:
        """Whether a record lies between. Looked up where the job stands still; what was found holds as long as it does,
        and a lack of records until the end moves."""
        key = (name, part.topic, part.partition)
        before, found = self._known.get(key), None
        if before is not None and before[0] == position and (before[2] or before[1] == end):
            found = before[2]
        if found is None and (before is None or position <= before[0]):
            found = has_records(self._probing, part, position, end, 2.0)
        self._known[key] = (position, end, found)
        return found is not False  # where it moves, whatever lies there is about to be read

    # ---- reference and alerts, followed

    def _begin_to_follow(self) -> None:
        """Stores are known at once; alerts, which may be many, look by look."""
        self._active: set[str] = set()
        self._steps: dict[str, _Step] = {}
        self._unread = True
        stores = self._parts(self._following, STORES)
        alerts = [part for topic in ALERT_TOPICS for part in self._parts(self._following, topic)]
        ends = self._ends(stores)
        for record in self._read(self._begins(stores), ends):
            self._take_store(record)
        self._following.assign([*stores, *alerts])
        self._following.seek_to_beginning(*alerts)
        for part in stores:
            self._following.seek(part, ends[part])

    def _follow(self) -> None:
        ends, read = self._ends(self._following.assignment()), 0
        deadline = time.monotonic() + READ_S
        while any(self._following.position(part) < end for part, end in ends.items()):
            if read > FOLLOW_MAX or time.monotonic() > deadline:
                return
            for part, batch in self._following.poll(timeout_ms=200).items():
                read += len(batch)
                for record in batch:
                    if part.topic == STORES:
                        self._take_store(record)
                    else:
                        self._take_step(record)
        self._unread = False

    def _take_store(self, record: ConsumerRecord) -> None:
        if record.value is None:
            return
        store = _store(record.value)
        (self._active.add if store.status == "active" else self._active.discard)(store.store_id)

    def _take_step(self, record: ConsumerRecord) -> None:
        try:
            step = _step(record.value or b"")
        except (msgspec.DecodeError, ValueError):
            return  # `grocery alerts list` names what is no alert event
        known = self._steps.get(step.alert_id)
        if step.rule in NO_ALERTS or (known is not None and step.sequence <= known.sequence):
            return
        if step.status == "resolved":
            self._steps.pop(step.alert_id, None)
        else:
            self._steps[step.alert_id] = step

    def open_alerts(self) -> Counter[tuple[str, str]] | None:
        """Open alerts by (topic, severity); None until all that was told has been read."""
        return None if self._unread else Counter((step.topic, step.severity) for step in self._steps.values())

    # ---- the guard's own alerts

    def told(self) -> list[dict[str, Any]]:
        """The events at the end of the guard's topic, REACH_MS back from the newest."""
        consumer = self._probing
        parts = self._parts(consumer, PLATFORM_ALERTS)
        ends, begins = self._ends(parts), self._begins(parts)
        filled = [part for part in parts if ends[part] > begins[part]]
        newest = [record.timestamp for record in self._read({part: ends[part] - 1 for part in filled}, ends)]
        if not newest:
            return []
        # The gate's answers stand here too, at the time of an arrival, which a file may put into the future.
        since = max(0, min(max(newest), round(time.time() * 1000)) - REACH_MS)
        found = consumer.offsets_for_times(dict.fromkeys(filled, since), TIMEOUT_MS)
        records = self._read({part: at.offset for part, at in found.items() if at is not None}, ends)
        return [msgspec.json.decode(record.value) for record in records]

    def _read(self, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> list[ConsumerRecord]:
        """From each start to the end."""
        consumer, found = self._probing, []
        consumer.assign(list(starts))
        for part, start in starts.items():
            consumer.seek(part, start)
        deadline = time.monotonic() + 4 * TIMEOUT_MS / 1000
        while any(consumer.position(part) < ends[part] for part in starts):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{', '.join({part.topic for part in starts})}: could not be read to the end")
            for batch in consumer.poll(timeout_ms=200).values():
                found += batch
        return found

    def write(self, event: Mapping[str, Any]) -> None:
        """Put one event on the guard's topic; returns once it is there.

        Not in a transaction: an event is readable at once, and a guard that is killed leaves none open.
        """
        if self._producer is None:
            self._producer = KafkaProducer(
                bootstrap_servers=self._bootstrap,
                acks="all",
                enable_idempotence=True,
                delivery_timeout_ms=TIMEOUT_MS,
                request_timeout_ms=TIMEOUT_MS // 2,
                max_block_ms=TIMEOUT_MS,
                bootstrap_timeout_ms=TIMEOUT_MS,
                linger_ms=0,
                allow_auto_create_topics=False,
                metrics_enabled=False,
            )
            self._open.append(self._producer)
        key = event["store_id"].encode()
        self._producer.send(PLATFORM_ALERTS, msgspec.json.encode(event), key=key).get(timeout=2 * TIMEOUT_MS / 1000)

    # ---- how

    def _consumer(self) -> Any:
        made = KafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            bootstrap_timeout_ms=TIMEOUT_MS,
            request_timeout_ms=TIMEOUT_MS,
            reconnect_backoff_max_ms=1_000,
            metrics_enabled=False,
        )
        self._open.append(made)
        return made

    def _parts(self, consumer: Any, topic: str) -> list[TopicPartition]:
        numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            raise NoTopic(f"topic {topic}: not on the broker at {self._bootstrap}; `grocery stack up` makes topics")
        return [TopicPartition(topic, number) for number in sorted(numbers)]

    def _ends(self, parts: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Where what is readable (read_committed) ends."""
        return self._offsets(parts, OffsetSpec.LATEST)

    def _begins(self, parts: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return self._offsets(parts, OffsetSpec.EARLIEST)

    def _offsets(self, parts: Collection[TopicPartition], which: OffsetSpec) -> dict[TopicPartition, int]:
        """By the admin client: a consumer's end_offsets leaves out partitions that it has not met before."""
        found = self._admin.list_partition_offsets(dict.fromkeys(parts, which), IsolationLevel.READ_COMMITTED)
        return {part: at.offset for part, at in found.items()}
