"""How far a job has come: has it decided on everything that is on its topic now, and is that readable?"""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from streaming_jobs.runtime import COUNTED, DERIVED_COUNTED, ENGINE, WAITING
from streaming_jobs.submit import job_named


class NotProcessed(TimeoutError):
    """The job did not get there in time; the message says how far it was."""


@dataclass(frozen=True, slots=True)
class Lag:
    """records: offsets between what the job has committed and the end of its topic; 0 where only transaction markers
    and aborted records lie between. committed: how far it has come, all partitions together."""

    records: int
    committed: int


def lag(bootstrap: str, group: str, topic: str, taken: dict[int, int] | None = None) -> Lag:
    """How far the job is behind what is readable (read_committed), by the offsets that its checkpoints commit.

    taken: offset by partition up to which its source has read, where that is known. An idle source commits late, up to
    half a minute after its start.
    """
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_poll_records=1,
    )
    try:
        parts = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        begins, ends = consumer.beginning_offsets(parts), consumer.end_offsets(parts)
        known = taken or {}
        committed = {
            part: max(consumer.committed(part) or 0, begins[part], known.get(part.partition, 0)) for part in parts
        }
        left = 0
        for part in parts:
            if ends[part] > committed[part] and has_records(consumer, part, committed[part], ends[part]):
                left += ends[part] - committed[part]
    finally:
        consumer.close()
    return Lag(left, sum(committed.values()))


def has_records(consumer: Any, part: Any, start: int, end: int, patience_s: float = 10) -> bool:
    """Whether any committed record lies there; true, too, where the broker does not answer in time: ask again later.

    A job's offset stays behind the last record, the end lies after the marker that committed it. The consumer reads
    committed records only, and is assigned anew.
    """
    consumer.assign([part])
    consumer.seek(part, start)
    end_of_patience = time.monotonic() + patience_s
    while time.monotonic() < end_of_patience:
        if consumer.position(part) >= end:
            return False
        for record in consumer.poll(timeout_ms=500).get(part, ()):
            return record.offset < end
    return True


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job, as Flink lists it. up: it is RUNNING and so are all its tasks. started_ms: epoch ms."""

    job_id: str
    name: str
    state: str
    up: bool
    started_ms: int


def runs(rest: str) -> list[Run] | None:
    """Every run that the job manager knows, ended ones too; None while it does not answer."""
    found = _get(f"{rest}/jobs/overview")
    if found is None:
        return None
    return [
        Run(
            item["jid"],
            item["name"],
            item["state"],
            item["state"] == "RUNNING" and 0 < item["tasks"]["total"] == item["tasks"]["running"],
            item["start-time"],
        )
        for item in found["jobs"]
    ]


def running(rest: str, job: str) -> str | None:
    """Flink's id of the running job of that name; None while there is none, or the job manager does not answer."""
    return next((run.job_id for run in runs(rest) or () if run.name == job and run.state == "RUNNING"), None)


def restarts(rest: str, job_id: str) -> int | None:
    """How often this run was restarted; None while Flink has no figures: it gathers them when they are asked for."""
    found = _get(f"{rest}/jobs/{job_id}/metrics?get=numRestarts") or []
    return next((int(item["value"]) for item in found if item["id"] == "numRestarts"), None)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """How many of a run's checkpoints were completed, and how many failed."""

    completed: int
    failed: int


def checkpoints(rest: str, job_id: str) -> Checkpoints | None:
    """None while the job manager does not answer, or does not know this run."""
    found = _get(f"{rest}/jobs/{job_id}/checkpoints")
    return None if found is None else Checkpoints(found["counts"]["completed"], found["counts"]["failed"])


def checkpoint_interval_s(rest: str, job_id: str) -> float:
    """Seconds from one checkpoint of this run to the next; 0 while the job manager does not answer, or know it."""
    found = _get(f"{rest}/jobs/{job_id}/checkpoints/config")
    return 0.0 if found is None else found["interval"] / 1000


def completed_checkpoints(rest: str, job_id: str) -> int:
    """Checkpoints this run of the job has completed; -1 while the job manager does not answer or know it."""
    found = checkpoints(rest, job_id)
    return -1 if found is None else found.completed


def wait_until_processed(
    bootstrap: str,
    rest: str,
    job_id: str,
    job: str,
    topic: str | Sequence[str],
    timeout_s: float = 300,
    on_progress: Callable[[Lag], None] | None = None,
) -> None:
    """Return once every record that is on the topic, or topics, now was decided on and its alerts are committed. Of a
    job that derives: every record that the ticks are far enough past.

    job_id: of the run; where the job was resumed under another id meanwhile, that is followed. job: its name.
    Raises NotProcessed.
    """
    seen, run = Lag(0, 0), job_id
    topics = (topic,) if isinstance(topic, str) else tuple(topic)

    def checkpoints() -> int:
        nonlocal run
        done = completed_checkpoints(rest, run)
        if done < 0 or running(rest, job) not in (run, None):
            run = running(rest, job) or run
            done = completed_checkpoints(rest, run)
        return done

    def behind() -> int:
        nonlocal seen
        found = [lag(bootstrap, job, name, taken(rest, run, name)) for name in topics]
        seen = Lag(sum(item.records for item in found), sum(item.committed for item in found))
        if on_progress:
            on_progress(seen)
        return seen.records

    def more_checkpoints(wanted: int) -> None:
        """Wait for so many more, counting anew when the job goes on under another id."""
        start = (run, checkpoints())

        def missing() -> int:
            nonlocal start
            done = checkpoints()
            if start[0] != run or start[1] < 0:
                start = (run, done)
            return wanted - (done - start[1])

        until(missing)

    def until(missing: Callable[[], int]) -> None:
        Retrying(retry=retry_if_result(lambda left: left > 0), stop=stop_after_delay(timeout_s), wait=wait_fixed(0.5))(
            missing
        )

    try:
        # A run that began anew finds the offsets that the one before it committed: wait for its own.
        until(lambda: 2 - checkpoints())
        until(behind)
        # What the source had read may still wait in a batch, whose alerts are committed with a later checkpoint; the
        # one under way may have been triggered before the batch was closed.
        more_checkpoints(3)
        if job_named(job).deriver:
            fresh_at = time.monotonic() + _figures_s(rest) + 1
            held_back = False

            def waiting() -> int:
                nonlocal held_back
                left = counted(rest, run).get(WAITING, 1)
                held_back |= left > 0
                # Flink tells what it gathered before, and gathers anew because it was asked.
                return left or int(time.monotonic() < fresh_at)

            until(waiting)
            if held_back:
                more_checkpoints(3)
    except RetryError as late:
        raise NotProcessed(
            f"{job}: {seen.records} records of {', '.join(topics)} are not decided on after {timeout_s:.0f} s; "
            f"look at {rest}/#/job/{run}"
        ) from late


def counted(rest: str, job_id: str) -> dict[str, int]:
    """What the engine could not use, and what waits before it, since the job's last start, by name; empty while Flink
    has no figures."""
    names = (*COUNTED, *DERIVED_COUNTED, WAITING)
    found: dict[str, int] = {}
    for metric, value in _figures(rest, job_id, ENGINE, lambda metric: metric.rpartition(".")[2] in names, "sum"):
        name = metric.rpartition(".")[2]
        found[name] = found.get(name, 0) + value
    return found


def _figures_s(rest: str) -> float:
    """Seconds for which Flink's job manager tells the same figures; 10, its default, while it does not answer."""
    from pandas import Timedelta

    for item in _get(f"{rest}/jobmanager/config") or ():
        if item["key"] == "metrics.fetcher.update-interval":
            # Flink reads a number as milliseconds, and units as pandas does.
            value = item["value"]
            return Timedelta(f"{value} ms" if value.isdigit() else value).total_seconds()
    return 10.0


def taken(rest: str, job_id: str, topic: str) -> dict[int, int]:
    """Offset by partition up to which this run's source has read; without partitions it has read nothing of."""
    head, tail = f".topic.{topic}.partition.", ".currentOffset"
    found = {}
    for metric, value in _figures(
        rest, job_id, "Source", lambda metric: head in metric and metric.endswith(tail), "max"
    ):
        if value >= 0:
            found[int(metric.removesuffix(tail).rpartition(".")[2])] = value + 1
    return found


def _figures(
    rest: str, job_id: str, operator: str, wanted: Callable[[str], bool], over_subtasks: str
) -> Iterator[tuple[str, int]]:
    """(metric, value) of the operators so named, subtasks put together by `sum` or `max`. Flink gathers figures when
    they are asked for, so the first answer may be empty."""
    job = _get(f"{rest}/jobs/{job_id}") or {"vertices": []}
    for vertex in job["vertices"]:
        if operator not in vertex["name"]:
            continue
        base = f"{rest}/jobs/{job_id}/vertices/{vertex['id']}/subtasks/metrics"
        names = [item["id"] for item in _get(base) or [] if wanted(item["id"])]
        if names:
            asked = urllib.parse.urlencode({"get": ",".join(names), "agg": over_subtasks})
            for item in _get(f"{base}?{asked}") or []:
                yield item["id"], int(item[over_subtasks])


def _get(url: str) -> Any:
    """One answer of Flink's REST API; None while it does not answer, or does not know what is asked for."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None
