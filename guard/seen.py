"""What one look at the pipeline saw. Pure: values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

TICKER, INGESTION = "ticker", "ingestion"
"""Whose signs a store gives: ticks, and everything else on `sensor-readings`."""


@dataclass(frozen=True, slots=True)
class JobSeen:
    """A job as Flink has it.

    run: Flink's id, a new one with every submission. state: Flink's word. up: RUNNING, and so are all its tasks.
    restarts, completed, failed: restarts and checkpoints of this run; None while Flink has no figures.
    interval_s: between two checkpoints. unused: events the engine could not use since this run's last start, by reason.
    """

    run: str
    state: str
    up: bool
    restarts: int | None = None
    completed: int | None = None
    failed: int | None = None
    interval_s: float = 0.0
    unused: Mapping[str, int] = field(default_factory=dict)


class Heard(NamedTuple):
    """A store's signs of one kind in the records just read.

    newest_s: how long ago the newest of them came. times: how often they came, taking those within a second for one.
    span_s: from the first to the newest.
    """

    newest_s: float
    times: int = 1
    span_s: float = 0.0


class Part(NamedTuple):
    """A job's place in one partition. position: the offset it reads next. end: where the partition ends.

    records: between the two; 0 where only transaction markers and aborted records lie there.
    """

    position: int
    end: int
    records: int


@dataclass(frozen=True, slots=True)
class BrokerSeen:
    """active: stores by the topic `stores`. heard: store -> TICKER or INGESTION -> Heard, since the last look. shares:
    TICKER or INGESTION -> the share of what came since then in which it was looked for; 1 where it is not named.
    places: job -> (topic, partition) -> Part."""

    active: frozenset[str] = frozenset()
    heard: Mapping[str, Mapping[str, Heard]] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    places: Mapping[str, Mapping[tuple[str, int], Part]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Look:
    """at: seconds on the guard's clock. wanted: jobs that shall run. broker, jobs: None where the broker, or Flink, did
    not answer; jobs has those that Flink knows, by name."""

    at: float
    wanted: frozenset[str]
    broker: BrokerSeen | None
    jobs: Mapping[str, JobSeen] | None
