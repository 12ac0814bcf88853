"""Logs of several topics, as the tests of deriving jobs write them, from a fixed morning on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from alerting.rules import parse_rules
from grocery.settings import PROJECT
from ingestion.arrival import read_arrivals
from schemas.instants import to_ms, to_rfc3339
from streaming_jobs import derive
from streaming_jobs.derive import READINGS, Derivation, Record
from streaming_jobs.submit import job_named
from tests.alerting.logs import FOLDERS, JOB_OF

EIGHT = to_ms("2026-10-05T08:00:00.000Z")
STORE = "store-001"
JOBS = ("checkout_queue", "shelf")
"""The jobs that derive from several topics."""
DERIVED_CASES = [folder for folder in FOLDERS if JOB_OF[folder] in JOBS]


def derivation(job: str) -> Derivation[Any]:
    """The job with its shipped rules."""
    known = job_named(job)
    path = PROJECT / "chain" / "rules" / known.rules
    assert known.deriver is not None
    return Derivation(job, derive.load(known.deriver), parse_rules(path.read_text("utf-8"), str(path)))


def at(minutes: float) -> int:
    """Epoch ms, so many minutes after eight."""
    return EIGHT + round(minutes * 60_000)


def record(topic: str, minutes: float, *, said: float | None = None, **fields: Any) -> Record:
    """One event; it arrives at `minutes`; said: the minute its device says, the same unless given."""
    event = {
        "event_id": f"{topic}-{at(minutes)}-{'-'.join(str(value) for value in fields.values())}"[:96],
        "event_time": to_rfc3339(at(minutes if said is None else said)),
        "store_id": STORE,
        "schema_version": 1,
    }
    return Record(at(minutes), topic, 0, msgspec.json.encode(event | fields).decode())


def ticks(until: float, assets: Iterable[dict[str, Any]] = ()) -> list[Record]:
    """One every ten seconds; the first tells the assets."""
    every = range(int(until * 6) + 1)
    first = {"assets": list(assets), "roster": []} if assets else {}
    return [record(READINGS, step / 6, kind="tick", **(first if step == 0 else {})) for step in every]


def in_order(*parts: Iterable[Record]) -> list[Record]:
    """By arrival, with offsets by topic."""
    offsets: Counter[str] = Counter()
    found = []
    for item in sorted((item for part in parts for item in part), key=lambda item: item.arrived_ms):
        offsets[item.topic] += 1
        found.append(item._replace(offset=offsets[item.topic]))
    return found


def told(job: str, records: list[Record]) -> tuple[list[dict[str, Any]], dict[tuple[str, str], list[float]]]:
    """(alert events, values by (asset, metric)) of a log."""
    alerts, metrics, notes = derive.run(derivation(job), ((STORE, item) for item in records))
    assert not notes["unreadable"]
    found: dict[tuple[str, str], list[float]] = {}
    for _, metric in metrics:
        found.setdefault((metric["asset_id"], metric["metric"]), []).append(metric["value"])
    return alerts, found


def case_records(folder: Path) -> list[Record]:
    """A golden case's log; each topic is one partition."""
    offsets: Counter[str] = Counter()
    found = []
    for item in read_arrivals(folder / "readings.ndjson"):
        offsets[item.contract] += 1
        found.append(Record(item.arrived_ms, item.contract, offsets[item.contract], item.payload.decode()))
    return found
