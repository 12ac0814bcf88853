"""Who sees what and when: the sender of the load, the reader of its alerts, and what the two say about a fault."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from grocery.stack import flink
from ingestion.record import Record
from ingestion.sinks import DeliveryFailed, KafkaSink
from streaming_jobs.progress import running
from tests.faults.load import ALERTS, BEGIN, MINUTE, SPEED, Load

PARTS = 5
"""Of a minute of the log: so many times a second the load is sent."""
NORMAL_S = 3.0
"""An alert that can be read so soon after it fell due came without a backlog; undisturbed it takes 0.5 to 2 s."""


class Seen(NamedTuple):
    """One committed alert event, as a reader of the topic met it. at, due: wall clock, epoch s. due: when the record
    that decided it should have been sent; it may have been sent late, where the broker was away."""

    at: float
    due: float
    partition: int
    offset: int
    key: str
    timestamp_ms: int
    value: bytes

    @property
    def late_s(self) -> float:
        return self.at - self.due


class Sender(threading.Thread):
    """Sends the load as time goes by: a minute of the log a second. What a broker that was away held up is sent as
    fast as it takes it, in order, as the gateways' spools would."""

    def __init__(self, bootstrap: str, load: Load) -> None:
        super().__init__(name="sender", daemon=True)
        self._kafka, self.load = bootstrap, load
        self._stop_it = threading.Event()
        self._extra: list[Record] = []
        self.began = time.time()
        self.sent = self.again = 0
        self.error: BaseException | None = None

    def due(self, timestamp_ms: int) -> float:
        """When the record of this timestamp is to be sent, epoch s."""
        return self.began + (timestamp_ms - BEGIN) / 1000 / SPEED

    def slip_in(self, records: list[Record]) -> None:
        """Send these, too, as soon as possible; their timestamps are made to fit."""
        self._extra += records

    def stop(self) -> None:
        self._stop_it.set()
        self.join()
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.error = error
            raise

    def _run(self) -> None:
        sink = KafkaSink(self._kafka, delivery_timeout_s=60)
        minute = 0
        while True:
            records = self.load.minute(minute)
            for part in range(PARTS):
                end = BEGIN + minute * MINUTE + (part + 1) * MINUTE // PARTS
                batch = [record for record in records if end - MINUTE // PARTS <= record.timestamp_ms < end]
                extra, self._extra = self._extra, []
                batch += [record._replace(timestamp_ms=end - 1) for record in extra]
                if self._stop_it.wait(max(0.0, self.due(end) - time.time())):
                    sink.close()
                    return
                while not self._send(sink, batch):
                    sink.close()
                    sink = KafkaSink(self._kafka, delivery_timeout_s=60)
                    self.again += 1
            minute += 1

    def _send(self, sink: KafkaSink, batch: list[Record]) -> bool:
        try:
            for record in batch:
                sink.send(record)
            sink.flush()
        except DeliveryFailed:
            return False
        self.sent += len(batch)
        return True


class Reader(threading.Thread):
    """Reads the alerts as they become readable (read_committed), as a consumer of the topic does."""

    def __init__(self, bootstrap: str, sender: Sender) -> None:
        super().__init__(name="reader", daemon=True)
        self._kafka, self._sender = bootstrap, sender
        self._stop_it = threading.Event()
        self.seen: list[Seen] = []
        self.error: BaseException | None = None

    def stop(self) -> None:
        self._stop_it.set()
        self.join()
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        from kafka import KafkaConsumer

        try:
            consumer = KafkaConsumer(
                ALERTS,
                bootstrap_servers=self._kafka,
                group_id=None,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                reconnect_backoff_max_ms=500,
                fetch_max_wait_ms=100,
            )
            while not self._stop_it.is_set():
                for part, records in consumer.poll(timeout_ms=200).items():
                    at = time.time()
                    for record in records:
                        due = self._sender.due(record.timestamp)
                        key = (record.key or b"").decode()
                        where = (part.partition, record.offset)
                        self.seen.append(Seen(at, due, *where, key, record.timestamp, record.value))
            consumer.close()
        except BaseException as error:
            self.error = error
            raise


class Checkpoints(threading.Thread):
    """Follows the job's checkpoints, under whatever id it runs."""

    def __init__(self, rest: str, job: str) -> None:
        super().__init__(name="checkpoints", daemon=True)
        self._rest, self._job = rest, job
        self._stop_it = threading.Event()
        self.newest = 0.0
        """When the newest complete checkpoint was begun, epoch s."""
        self.failed: dict[str, int] = {}
        """Checkpoints that failed, by id of the run."""

    def stop(self) -> None:
        self._stop_it.set()
        self.join()

    def run(self) -> None:
        while not self._stop_it.wait(0.25):
            job_id = running(self._rest, self._job)
            found = job_id and flink.get(self._rest, f"/jobs/{job_id}/checkpoints")
            if found:
                self.failed[job_id] = found["counts"]["failed"]
                complete = found["latest"]["completed"]
                if complete is not None:
                    self.newest = max(self.newest, complete["trigger_timestamp"] / 1000)


@dataclass
class Outcome:
    """What a fault did.

    recovery_s: from its end until a checkpoint that began later was complete and an alert that fell due later could be
    read without delay; None where that did not happen. gap_s: the longest time in which no new alert could be read,
    from the last one before the fault until it was recovered from. looked: until when that was watched. delay_s: the
    longest that an alert took from falling due to being readable.
    """

    fault: str
    began: float
    ended: float
    recovered: float | None = None
    looked: float = 0.0
    seen: list[Seen] = field(default_factory=list)

    @property
    def recovery_s(self) -> float | None:
        return None if self.recovered is None else max(0.0, self.recovered - self.ended)

    @property
    def gap_s(self) -> float:
        times = [*(item.at for item in self.seen), self.looked]
        return max((after - before for before, after in pairwise(times)), default=float("inf"))

    @property
    def delay_s(self) -> float:
        return max((item.late_s for item in self.seen if item.due >= self.began), default=float("inf"))


def recovered_at(seen: list[Seen], ended: float, newest_checkpoint: float) -> float | None:
    """When the job was seen to be well again after a fault that ended then; None while it is not."""
    if newest_checkpoint <= ended:
        return None
    for item in seen:
        if item.due > ended and item.late_s <= NORMAL_S:
            return item.at
    return None


def around(seen: list[Seen], began: float, until: float) -> list[Seen]:
    """What was seen from the last alert before a fault until then."""
    before = [number for number, item in enumerate(seen) if item.at < began][-1:]
    return [item for item in seen[before[0] if before else 0 :] if item.at <= until]
