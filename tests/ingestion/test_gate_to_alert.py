"""From what a device sends to the alert: raw messages through the gate into the engine, by the shipped rules."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from alerting.engine import Engine, run
from alerting.events import Event, Expected, Logged
from ingestion.arrival import dumps
from ingestion.gate import READINGS
from schemas.instants import to_rfc3339
from tests.alerting.logs import SHIPPED, rules_of
from tests.ingestion.example import NOON, arrival, gate, reading

MINUTE = 60_000
DEVICE = Expected("s001-freezer-01-t", "s001-freezer-01", "freezer", "temperature", 60)


def tick(minute: float) -> Logged:
    at_ms = NOON + round(minute * MINUTE)
    event = Event(f"tick-{at_ms}", to_rfc3339(at_ms), "store-001", "tick")
    event.roster = [DEVICE] if not minute else None
    return Logged(at_ms, event)


def alerts_of(payloads: list[bytes]) -> list[tuple[str, str]]:
    """What the job cold_chain tells of a device that sends these, one a minute."""
    the_gate, log = gate(), []
    for minute, payload in enumerate(payloads):
        at_ms = NOON + minute * MINUTE + 400
        log.append(tick(minute))
        for record in the_gate.admit(arrival(payload, at_ms=at_ms)):
            if record.topic == READINGS:
                log.append(Logged(record.timestamp_ms, msgspec.json.decode(record.value, type=Event)))
    told = run(Engine(rules_of(SHIPPED)), (("store-001", logged) for logged in log))
    return [(alert["event"], alert["rule"]) for alert in told]


def sent(minute: int, **changes: Any) -> bytes:
    return dumps(reading(minute, event_time=to_rfc3339(NOON + minute * MINUTE), **changes))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda minute: sent(minute, value=85),
        lambda minute: sent(minute).replace(b"-18.5", b"NaN"),
        lambda minute: sent(minute, unit="kW"),
        lambda minute: sent(minute, value=-127),
    ],
    ids=["85", "NaN", "kW", "-127"],
)
def test_a_device_that_sends_nothing_usable_is_told_as_that_and_not_as_silent(wrong):
    bad = [wrong(minute) for minute in range(1, 13)]
    assert alerts_of([sent(0), *bad]) == [("raised", "bad_data")]
    assert alerts_of([sent(0), *bad, sent(13)]) == [("raised", "bad_data"), ("resolved", "bad_data")]
