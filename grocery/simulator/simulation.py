"""All stores together, in arrival order."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time

from grocery.simulator.clones import of_size
from grocery.simulator.faults import FaultPlan
from grocery.simulator.labels import Label
from grocery.simulator.store import Message, StoreRun
from ingestion.arrival import Arrival
from ingestion.reference import Reference


@dataclass(slots=True)
class Simulation:
    """A simulation to run. reference: the stores, assets and products it is about: publish it, and tick for it.

    Running it again gives the same bytes. Nothing is computed before `arrivals` is read.
    """

    reference: Reference
    seed: int
    start_s: float
    horizon_s: float
    plan: FaultPlan
    apps: bool = False
    _labels: list[Label] | None = field(default=None, repr=False)

    def arrivals(self) -> Iterator[Arrival]:
        """Everything that reaches the gate, in arrival order; a day of each store is in memory at a time."""
        runs = [
            StoreRun(
                self.reference,
                store_id,
                self.seed,
                self.start_s,
                self.horizon_s,
                self.plan.of(
                    store,
                    [a for a in self.reference.assets.values() if a["store_id"] == store_id],
                    self.horizon_s,
                ),
                apps=self.apps,
            )
            for store_id, store in sorted(self.reference.stores.items())
        ]
        merged = heapq.merge(*(_messages(run) for run in runs), key=lambda message: message[0])
        for number, (arrived_ms, contract, payload) in enumerate(merged, 1):
            yield Arrival(contract, arrived_ms, payload, f"simulator seed {self.seed}:{number}")
        labels = [label for run in runs for label in run.labels]
        self._labels = sorted(labels, key=lambda label: (label.start, label.asset_id, label.fault))

    def labels(self) -> list[Label]:
        """What was made to fail, by start. Runs the simulation where `arrivals` has not been read to its end."""
        if self._labels is None:
            for _ in self.arrivals():
                pass
        return list(self._labels or ())


def _messages(run: StoreRun) -> Iterator[Message]:
    for day in run.days():
        yield from day


def simulate(
    reference: Reference, *, stores: int, days: int, seed: int, start: date, faults: FaultPlan, apps: bool = False
) -> Simulation:
    """A chain of `stores` stores (clones where the reference has fewer) for `days` days from `start`, midnight UTC.

    apps: with scan-and-go sessions and pickup orders, and their receipts; all other shoppers stay what they are.

    The same arguments give the same bytes. Raises ValueError; PlanError where a fault names what there is not.
    """
    if days < 1:
        raise ValueError(f"--days {days}: must be at least 1")
    if seed < 0:
        raise ValueError(f"--seed {seed}: must be 0 or more")
    chain = of_size(reference, stores)
    faults.check(chain)
    begin = datetime.combine(start, time(), UTC).timestamp()
    horizon = days * 86400.0
    for store_id, store in chain.stores.items():
        faults.of(store, [a for a in chain.assets.values() if a["store_id"] == store_id], horizon)
    return Simulation(chain, seed, begin, horizon, faults, apps)
