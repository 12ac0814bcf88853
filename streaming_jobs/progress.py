"""How far a job has come: has it decided on everything that is on its topic now, and is that readable?"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed


class NotProcessed(TimeoutError):
    """The job did not get there in time; the message says how far it was."""


@dataclass(frozen=True, slots=True)
class Lag:
    """records: offsets between what the job has committed and the end of its topic (transaction markers count)."""

    records: int
    committed: int


def lag(bootstrap: str, group: str, topic: str) -> Lag:
    """How far the job's consumer group is behind. A job commits its offsets with each checkpoint."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    try:
        parts = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        ends = consumer.end_offsets(parts)
        committed = {part: consumer.committed(part) or 0 for part in parts}
    finally:
        consumer.close()
    return Lag(sum(max(0, ends[part] - committed[part]) for part in parts), sum(committed.values()))


def completed_checkpoints(rest: str, job_id: str) -> int:
    """Checkpoints this run of the job has completed. Raises OSError while the job manager does not answer."""
    with urllib.request.urlopen(f"{rest}/jobs/{job_id}/checkpoints", timeout=5) as answer:
        return json.load(answer)["counts"]["completed"]


def wait_until_processed(
    bootstrap: str,
    rest: str,
    job_id: str,
    group: str,
    topic: str,
    timeout_s: float = 300,
    on_progress: Callable[[Lag], None] | None = None,
) -> None:
    """Return once every record that is on the topic now was decided on and its alerts are committed.

    The source's offsets are at the end with one checkpoint; what it had read may then still wait in the half-second
    batch, whose alerts are committed with a later one: so two more checkpoints have to complete. Raises NotProcessed.
    """
    seen = Lag(0, 0)

    def behind() -> int:
        nonlocal seen
        seen = lag(bootstrap, group, topic)
        if on_progress:
            on_progress(seen)
        return seen.records

    def checkpoints() -> int:
        try:
            return completed_checkpoints(rest, job_id)
        except (OSError, ValueError, KeyError):
            return -1

    wait = {"stop": stop_after_delay(timeout_s), "wait": wait_fixed(0.5)}
    try:
        Retrying(retry=retry_if_result(lambda records: records > 0), **wait)(behind)
        # the one under way may have been triggered before the batch was closed
        enough = max(0, checkpoints()) + 3
        Retrying(retry=retry_if_result(lambda done: done < enough), **wait)(checkpoints)
    except RetryError as late:
        raise NotProcessed(
            f"{group}: {seen.records} records of {topic} are not decided on after {timeout_s:.0f} s; "
            f"look at {rest}/#/job/{job_id}"
        ) from late
