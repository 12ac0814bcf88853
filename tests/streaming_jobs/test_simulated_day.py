"""A simulated day of three stores, through the gate: faults at checkouts and shelves are caught, and nothing else."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Any

import pytest
from cryptography.fernet import Fernet

from grocery.scoring import fold, score
from grocery.settings import PROJECT
from grocery.simulator import FaultPlan, Label, simulate
from ingestion.dead_letters import Cipher
from ingestion.feed import feed
from ingestion.gate import Gate
from ingestion.pseudonym import Pseudonyms
from ingestion.record import Record
from ingestion.reference import Reference
from streaming_jobs import derive
from tests.streaming_jobs.logs import JOBS, derivation


class Kept:
    """A sink that keeps what these jobs read."""

    def __init__(self) -> None:
        self.offsets: Counter[str] = Counter()
        self.log: list[tuple[str, derive.Record]] = []

    def send(self, record: Record) -> None:
        self.offsets[record.topic] += 1
        if record.topic != derive.READINGS or derive.TICK.encode() in record.value:
            found = derive.Record(record.timestamp_ms, record.topic, self.offsets[record.topic], record.value.decode())
            self.log.append((record.key, found))

    def flush(self) -> None:
        pass


@pytest.fixture(scope="module")
def day() -> tuple[list[tuple[str, derive.Record]], list[Label]]:
    simulation = simulate(
        Reference.from_folder(PROJECT / "chain"),
        stores=3,
        days=1,
        seed=7,
        start=date(2026, 10, 5),
        faults=FaultPlan.load(),
    )
    gate = Gate(simulation.reference, Pseudonyms(b"0123456789abcdef" * 2), Cipher(Fernet.generate_key()))
    kept = Kept()
    feed(simulation.arrivals(), gate, kept, ticks_every_s=15, settle_s=60)
    return kept.log, simulation.labels()


def told(log: list[tuple[str, derive.Record]]) -> list[dict[str, Any]]:
    alerts = []
    for name in JOBS:
        job = derivation(name)
        found, _, notes = derive.run(
            job, [pair for pair in log if pair[1].topic in (derive.READINGS, *job.deriver.inputs)]
        )
        assert +notes == {}
        alerts += found
    return alerts


def test_faults_at_checkouts_and_shelves_are_caught_and_nothing_else_is_told(day):
    log, labels = day
    verdicts, outside = score(
        [label for label in labels if label.expect or label.fault != "bad-input"], fold(told(log))
    )
    mine = [v for v in verdicts if v.label.fault in ("queue-surge", "empty-shelf", "phantom-stock")]
    assert [v.missing for v in mine] == [()] * 3
    assert [sorted(v.label.expect) for v in mine] == [
        ["facing_empty"],
        ["phantom_inventory"],
        ["checkout_wait", "lanes_short"],
    ]
    assert outside == []
