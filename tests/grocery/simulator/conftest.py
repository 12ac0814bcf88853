"""One simulated day of the example chain, shared: with the shipped faults, seed 7."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from grocery.settings import PROJECT
from grocery.simulator import FaultPlan, Label, simulate
from ingestion.arrival import Arrival
from ingestion.reference import Reference

START = date(2026, 10, 5)


@dataclass(frozen=True)
class Day:
    """events: contract -> events of good JSON, in arrival order, each delivery once."""

    reference: Reference
    arrivals: list[Arrival]
    labels: list[Label]
    events: dict[str, list[dict[str, Any]]]

    def label(self, fault: str, asset_id: str | None = None) -> Label:
        return next(x for x in self.labels if x.fault == fault and asset_id in (None, x.asset_id))


@pytest.fixture(scope="session")
def chain() -> Reference:
    return Reference.from_folder(PROJECT / "chain")


@pytest.fixture(scope="session")
def day(chain) -> Day:
    simulation = simulate(chain, stores=3, days=1, seed=7, start=START, faults=FaultPlan.load())
    arrivals = list(simulation.arrivals())
    events: dict[str, list[dict[str, Any]]] = {}
    seen: set[bytes] = set()
    for arrival in arrivals:
        if arrival.payload not in seen and arrival.payload[-1:] == b"}":
            seen.add(arrival.payload)
            events.setdefault(arrival.contract, []).append(json.loads(arrival.payload))
    return Day(simulation.reference, arrivals, simulation.labels(), events)
