"""The topics there must be, derived from the contracts.

Event topics keep their records for ever here: a record's timestamp is its arrival time, and a replayed year arrived
long ago, so retention by time would delete it at once. Dead letters are the exception: they hold originals, so the
broker stamps them with its own clock and drops them after the contract's retention.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from schemas.contract import Contract, all_contracts

if TYPE_CHECKING:
    from kafka.consumer.fetcher import ConsumerRecord

JOB_ALERTS = (
    "alerts.cold-chain",
    "alerts.queue",
    "alerts.shelf",
    "alerts.utility",
    "alerts.curbside",
    "alerts.scan-and-go",
)
"""Each is written by one job, which takes the commands for it."""
JOBLESS_ALERTS = ("alerts.curbside", "alerts.scan-and-go")
"""Those of them whose job there is not yet: nobody would take a command for them, so the gate refuses it."""
PLATFORM_ALERTS = "alerts.platform"
"""The guard's, and the gate's for a command that names no topic. No job writes there: what a job that died had not yet
committed hides whatever comes after it."""
ALERT_TOPICS = (*JOB_ALERTS, PLATFORM_ALERTS)
DEAD_LETTERS = "dead-letters"
_WEEK_MS = 7 * 24 * 3600 * 1000


class TopicMismatch(RuntimeError):
    """A topic exists with another shape than the contracts ask for."""


def topics_of(item: Contract) -> tuple[str, ...]:
    """The topics that carry this contract's events."""
    return ALERT_TOPICS if item.topic.endswith("*") else (item.topic,)


def topic_names() -> tuple[str, ...]:
    """Every topic of the system, sorted."""
    return tuple(sorted(name for item in all_contracts() for name in topics_of(item)))


def topic_settings(item: Contract) -> dict[str, str]:
    """Kafka's topic configuration for a contract."""
    if item.kind == "reference":
        # A week's lag lets the lakehouse see every version of a key before only the newest is kept.
        return {"cleanup.policy": "compact", "retention.ms": "-1", "min.compaction.lag.ms": str(_WEEK_MS)}
    if item.kind == "dead-letter":
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(days(item.retention) * 24 * 3600 * 1000),
            "message.timestamp.type": "LogAppendTime",
        }
    return {"cleanup.policy": "delete", "retention.ms": "-1"}


def days(duration: str) -> int:
    """Days of an ISO 8601 duration as contracts write retention, e.g. `P7D`. Raises ValueError."""
    match = re.fullmatch(r"P(\d+)D", duration)
    if not match:
        raise ValueError(f"x-retention {duration}: write whole days, e.g. P7D")
    return int(match[1])


def ensure_topics(bootstrap: str, partitions: int = 4, timeout_s: float = 60) -> list[str]:
    """Create the topics that are missing; returns their names. A second call creates nothing.

    Event topics get `partitions`, reference topics and dead letters one (they are small, and one partition keeps their
    order whole). Returns once every topic has a leader, so that producers can start at once.

    Raises TopicMismatch where a topic exists with fewer partitions than asked for: adding some would move a store's
    key to another partition and break its order.
    """
    from kafka.admin import KafkaAdminClient
    from kafka.errors import TopicAlreadyExistsError

    wanted = {
        name: {
            "num_partitions": partitions if item.kind in ("event", "derived") else 1,
            "replication_factor": -1,
            "configs": topic_settings(item),
        }
        for item in all_contracts()
        for name in topics_of(item)
    }
    admin = KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=round(timeout_s * 1000))
    try:
        there = set(admin.list_topics())
        missing = [name for name in wanted if name not in there]
        if missing:
            try:
                admin.create_topics({name: wanted[name] for name in missing}, timeout_ms=round(timeout_s * 1000))
            except TopicAlreadyExistsError:  # somebody else creates them too
                rest = [name for name in missing if name not in set(admin.list_topics())]
                if rest:
                    admin.create_topics({name: wanted[name] for name in rest}, timeout_ms=round(timeout_s * 1000))
        admin.wait_for_topics(list(wanted), timeout_ms=round(timeout_s * 1000))
        for topic in admin.describe_topics(list(wanted)):
            has, needs = len(topic["partitions"]), wanted[topic["name"]]["num_partitions"]
            if has < needs:
                raise TopicMismatch(
                    f"topic {topic['name']} has {has} partitions, {needs} are needed; delete it, or ask for {has}"
                )
        return missing
    finally:
        admin.close()


def read_topic(bootstrap: str, topic: str, timeout_s: float = 60) -> list[ConsumerRecord]:
    """Every committed record now on the topic, by partition and offset. Commits nothing, joins no group.

    Raises TimeoutError where nothing more comes for `timeout_s` before the end is reached, LookupError where there is
    no such topic.
    """
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    try:
        numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            raise LookupError(f"topic {topic}: not on the broker at {bootstrap}; `grocery stack up` makes the topics")
        parts = [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        ends = consumer.end_offsets(parts)
        found: dict[int, list[ConsumerRecord]] = {part.partition: [] for part in parts}
        deadline = time.monotonic() + timeout_s
        # A position moves over transaction markers and compacted gaps; counting records would wait for ever.
        while any(consumer.position(part) < ends[part] for part in parts):
            if time.monotonic() > deadline:
                where = {part.partition: f"{consumer.position(part)} of {ends[part]}" for part in parts}
                raise TimeoutError(f"topic {topic}: nothing for {timeout_s:.0f} s, came to {where}; is the broker up?")
            for part, batch in consumer.poll(timeout_ms=500).items():
                deadline = time.monotonic() + timeout_s
                found[part.partition] += (record for record in batch if record.offset < ends[part])
        return [record for number in sorted(found) for record in found[number]]
    finally:
        consumer.close()
