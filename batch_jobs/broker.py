"""What the broker says about its topics: their ids, and where they begin and end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from batch_jobs.errors import BrokerError

Part = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True, slots=True)
class Broker:
    """cluster: its id. ids: topic -> id; a topic that is not there is not in it.

    begins, ends: first offset there, and the one after the last that a reader of committed records may see.
    """

    bootstrap: str
    cluster: str
    ids: dict[str, str]
    begins: dict[Part, int]
    ends: dict[Part, int]


def survey(bootstrap: str, topics: Iterable[str], timeout_s: float = 20) -> Broker:
    """Ask the broker. Raises BrokerError where it does not answer within timeout_s."""
    from kafka import IsolationLevel, TopicPartition
    from kafka.admin import KafkaAdminClient, OffsetSpec
    from kafka.errors import KafkaError

    try:
        admin = KafkaAdminClient(
            bootstrap_servers=bootstrap,
            bootstrap_timeout_ms=round(timeout_s * 1000),
            request_timeout_ms=round(timeout_s * 1000),
        )
    except (KafkaError, OSError, ValueError) as error:
        raise _away(bootstrap, timeout_s, error) from error
    try:
        there = sorted(set(admin.list_topics()) & set(topics))
        described = admin.describe_topics(there) if there else []
        parts = [TopicPartition(t["name"], p["partition_index"]) for t in described for p in t["partitions"]]
        first = admin.list_partition_offsets(dict.fromkeys(parts, OffsetSpec.EARLIEST)) if parts else {}
        last = (
            admin.list_partition_offsets(dict.fromkeys(parts, OffsetSpec.LATEST), IsolationLevel.READ_COMMITTED)
            if parts
            else {}
        )
        return Broker(
            bootstrap,
            admin.describe_cluster()["cluster_id"],
            {t["name"]: str(t["topic_id"]) for t in described},
            {(part.topic, part.partition): found.offset for part, found in first.items()},
            {(part.topic, part.partition): found.offset for part, found in last.items()},
        )
    except KafkaError as error:
        raise _away(bootstrap, timeout_s, error) from error
    finally:
        admin.close()


def _away(bootstrap: str, timeout_s: float, error: BaseException) -> BrokerError:
    return BrokerError(
        f"broker {bootstrap}: no answer within {timeout_s:.0f} s ({type(error).__name__}); "
        "`grocery stack status` tells whether the local one runs, GROCERY_KAFKA names another"
    )
