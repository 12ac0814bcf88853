import json
import time
from threading import Event as Signal
from threading import Thread

import pytest

from ingestion.arrival import Arrival
from ingestion.gate import READINGS
from ingestion.record import Record
from ingestion.reference import Reference, publish
from ingestion.ticker import Ticker, roster, run_ticker, tick, with_ticks
from schemas.contract import contract
from schemas.instants import to_rfc3339
from schemas.validate import validator
from tests.ingestion.example import NOON, ListSink, arrival, asset, chain, reading, store


def times(items: list[Arrival | Record], store_id: str = "store-001") -> list[tuple[str, int]]:
    return [
        ("tick", item.timestamp_ms) if isinstance(item, Record) else ("arrival", item.arrived_ms)
        for item in items
        if isinstance(item, Arrival) or item.key == store_id
    ]


def test_ticks_stand_between_the_arrivals_on_the_arrivals_own_clock() -> None:
    arrivals = [arrival(reading(), at_ms=NOON + ms) for ms in (1_000, 9_999, 10_000, 31_000)]
    assert times(list(with_ticks(arrivals, Reference.of(chain()), 10))) == [
        ("tick", NOON),
        ("arrival", NOON + 1_000),
        ("arrival", NOON + 9_999),
        ("tick", NOON + 10_000),
        ("arrival", NOON + 10_000),
        ("tick", NOON + 20_000),
        ("tick", NOON + 30_000),
        ("arrival", NOON + 31_000),
    ]


def test_after_the_last_arrival_ticks_go_on_for_as_long_as_asked() -> None:
    arrivals = [arrival(reading(), at_ms=NOON + 1_000)]
    found = times(list(with_ticks(arrivals, Reference.of(chain()), 10, settle_s=25)))
    assert found[-2:] == [("tick", NOON + 10_000), ("tick", NOON + 20_000)]


def test_without_arrivals_nobody_knows_the_time_and_nothing_ticks() -> None:
    assert list(with_ticks([], Reference.of(chain()), 10, settle_s=100)) == []


def test_every_tick_keeps_the_contract_and_is_the_same_every_time() -> None:
    arrivals = [arrival(reading(), at_ms=NOON + ms) for ms in (0, 60_000)]
    once, again = (list(with_ticks(arrivals, Reference.of(chain()), 5)) for _ in range(2))
    assert once == again
    check = validator(contract(READINGS))
    ticks = [item for item in once if isinstance(item, Record)]
    assert {item.topic for item in ticks} == {READINGS}
    for item in ticks:
        event = json.loads(item.value)
        assert check(event) == []
        assert event["event_id"] == f"tick-{item.key}-{item.timestamp_ms}"
        assert event["event_time"] == to_rfc3339(item.timestamp_ms)


def test_the_roster_comes_first_and_then_only_on_change() -> None:
    before = Reference.of(chain())
    after = Reference.of([*chain(), ("assets", asset("s001-freezer-09"))])
    ticker = Ticker()
    rosters = [
        {item.key: json.loads(item.value).get("roster") for item in ticker.at(reference, NOON + number)}
        for number, reference in enumerate((before, before, after, after))
    ]
    assert [device["device_id"] for device in rosters[0]["store-001"]] == [
        "s001-cooler-01-t",
        "s001-freezer-01-t",
        "s001-power-01-p",
    ]
    assert rosters[1] == {"store-001": None, "store-002": None}
    assert "s001-freezer-09-t" in [device["device_id"] for device in rosters[2]["store-001"]]
    assert rosters[2]["store-002"] is None
    assert rosters[3] == rosters[1]


def test_a_retired_asset_leaves_the_roster() -> None:
    retired = asset(status="retired", event_time="2026-01-01T00:00:00.000Z")
    devices = roster(Reference.of([*chain(), ("assets", retired)]), "store-001")
    assert [device["asset_id"] for device in devices] == ["s001-cooler-01", "s001-power-01"]


def test_a_retired_store_gets_one_last_tick_that_expects_nothing() -> None:
    open_, closed = (
        Reference.of(chain()),
        Reference.of([*chain(), ("stores", store(status="retired", event_time="2026-01-01T00:00:00.000Z"))]),
    )
    ticker = Ticker()
    list(ticker.at(open_, NOON))
    last = {item.key: json.loads(item.value).get("roster") for item in ticker.at(closed, NOON + 1)}
    assert last == {"store-001": [], "store-002": None}
    assert [item.key for item in ticker.at(closed, NOON + 2)] == ["store-002"]


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0.001"):
        list(with_ticks([], Reference(), 0))


def test_a_tick_without_roster_says_nothing_about_devices() -> None:
    assert "roster" not in json.loads(tick("store-001", NOON).value)


@pytest.mark.integration
def test_the_live_ticker_notices_a_new_asset(broker: str) -> None:
    """Stores of this test's own: the broker is shared."""
    mine = [("stores", store("store-951")), ("assets", asset("s951-freezer-01", store_id="store-951"))]
    publish(mine, broker)
    sink, stop = ListSink(), Signal()
    ticker = Thread(target=run_ticker, args=(broker, 0.2), kwargs={"stop": stop, "sink": sink}, daemon=True)
    ticker.start()

    def rosters() -> list[list[str]]:
        events = [json.loads(item.value) for item in sink.records if item.key == "store-951"]
        return [[device["device_id"] for device in event["roster"]] for event in events if "roster" in event]

    try:
        _wait_until(lambda: len(rosters()) == 1)
        publish([*mine, ("assets", asset("s951-freezer-02", store_id="store-951"))], broker)
        _wait_until(lambda: len(rosters()) == 2)
    finally:
        stop.set()
        ticker.join(20)
    assert not ticker.is_alive()
    assert rosters() == [["s951-freezer-01-t"], ["s951-freezer-01-t", "s951-freezer-02-t"]]
    moments = [item.timestamp_ms for item in sink.records if item.key == "store-951"]
    assert moments == sorted(set(moments))
    assert all(moment % 200 == 0 for moment in moments)
    assert sink.flushed == len(sink.records)
    publish([("stores", store("store-951", status="retired", event_time="2026-01-01T00:00:00.000Z"))], broker)


def _wait_until(condition, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
