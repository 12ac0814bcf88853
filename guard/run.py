"""The guard: look, judge, tell, again and again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event as Signal
from typing import TypeVar

from kafka.errors import KafkaError

from guard import cluster
from guard.book import Book
from guard.broker import Broker, NoTopic
from guard.judge import Judge, Limits, Thing, Verdict
from guard.metrics import Metrics, Snapshot
from guard.seen import BrokerSeen, JobSeen, Look
from streaming_jobs import progress

Answer = TypeVar("Answer")

LONGEST_S = 20.0
"""A look that took longer, or a machine that slept, ages nothing by more than this: the guard did not see that time."""


def say(what: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {what}", flush=True)


@dataclass
class Guard:
    """Watches one broker and one Flink cluster. One guard a platform: a second one would tell everything twice until
    one of them is started again.

    bootstrap, rest: where both are. wanted: asked at every look which jobs shall run.
    """

    bootstrap: str
    rest: str
    wanted: Callable[[], frozenset[str]]
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics = field(default_factory=Metrics)
    say: Callable[[str], None] = say

    def __post_init__(self) -> None:
        self._judge, self._book = Judge(self.limits), Book()
        self._broker: Broker | None = None
        self._settled = False
        self._at, self._looked_at = 0.0, time.monotonic()
        self._looks = 0
        self._wrong: set[Thing] = set()
        self._broker_said = ""

    def run(self, stop: Signal) -> None:
        """Look every limits.look_s until `stop` is set."""
        try:
            while not stop.is_set():
                began = time.monotonic()
                self.look()
                stop.wait(max(0.0, self.limits.look_s - (time.monotonic() - began)))
        finally:
            self.close()

    def close(self) -> None:
        if self._broker is not None:
            self._broker.close()
            self._broker = None

    def look(self) -> Verdict:
        """One look, and what there is to tell of it. What cannot be told now is told with a later one."""
        now = time.monotonic()
        self._at += min(now - self._looked_at, LONGEST_S)
        self._looked_at = now
        wanted = self.wanted()
        jobs = cluster.look(self.rest, wanted)
        seen = self._look_at_broker(wanted, jobs)
        now_ms = round(time.time() * 1000)
        verdict = self._judge.look(Look(self._at, wanted, seen, jobs), tuple(self._book.open))
        self._log(verdict)
        self._book.advance(verdict.troubles, verdict.fine, now_ms)
        self._book.beat(now_ms)
        if seen is not None:
            self._deliver(now_ms)
        self._looks += 1
        self.metrics.snapshot = Snapshot(
            verdict,
            tuple(sorted(self._wrong)),
            {name: job.unused for name, job in (jobs or {}).items()},
            None if self._broker is None else self._broker.open_alerts(),
            len(self._book.pending),
            self._looks,
            now_ms / 1000,
        )
        return verdict

    def _look_at_broker(self, wanted: frozenset[str], jobs: dict[str, JobSeen] | None) -> BrokerSeen | None:
        def taken(name: str, topic: str) -> dict[int, int]:
            job = (jobs or {}).get(name)
            return progress.taken(self.rest, job.run, topic) if job is not None else {}

        return self._asked(lambda broker: broker.look(wanted, taken))

    def _deliver(self, now_ms: int) -> None:
        """Write what is pending, in its order. After a failure nobody knows what came through: look first."""

        def write(broker: Broker) -> None:
            if not self._settled:
                self._book.adopt(broker.told(), now_ms)
                self._settled = True
            while self._book.pending:
                event = self._book.pending[0]
                broker.write(event)
                self._book.delivered()

        if self._book.pending or not self._settled:
            self._asked(write)

    def _asked(self, ask: Callable[[Broker], Answer]) -> Answer | None:
        """What the broker answers; None, a line in the log, and a new connection next time, where it does not."""
        try:
            if self._broker is None:
                self._broker = Broker(self.bootstrap)
            answer = ask(self._broker)
        except (KafkaError, TimeoutError, OSError, NoTopic) as error:
            self.close()
            self._settled = False
            said = f"the broker at {self.bootstrap} did not answer: {type(error).__name__}: {error}"
            if said != self._broker_said:
                self.say(said)
            self._broker_said = said
            return None
        self._broker_said = ""
        return answer

    def _log(self, verdict: Verdict) -> None:
        for thing in sorted(verdict.troubles.keys() - self._wrong):
            self.say(f"{thing.rule}: {verdict.troubles[thing].summary}")
        for thing in sorted(self._wrong & verdict.fine.keys()):
            self.say(f"{thing.rule}: {thing.asset_id} in {thing.store_id} is well again {verdict.fine[thing]}".rstrip())
        self._wrong = (self._wrong | verdict.troubles.keys()) - verdict.fine.keys()


def watch(
    bootstrap: str, rest: str, wanted: Callable[[], frozenset[str]], port: int, stop: Signal, address: str = "127.0.0.1"
) -> None:
    """Run a guard, with its /metrics at `port`, until `stop` is set. Raises OSError where the port is taken."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # the guard says itself, once, that the broker is away
    guard = Guard(bootstrap, rest, wanted)
    with guard.metrics.served(port, address) as served_at:
        say(f"watching the broker at {bootstrap} and Flink at {rest}; metrics at http://{address}:{served_at}/metrics")
        guard.run(stop)
