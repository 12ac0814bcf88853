import json
import time
from threading import Event as Signal
from threading import Thread
from typing import Any

import pytest

from ingestion.arrival import Arrival, dumps
from ingestion.gate import READINGS
from ingestion.record import Record
from ingestion.reference import Reference, publish
from ingestion.relay import COMMANDS, already_relayed
from ingestion.sinks import KafkaSink
from ingestion.ticker import AnotherTicker, ReplayTicker, Ticker, facts, run_ticker, tick
from ingestion.topics import read_topic
from schemas.contract import contract
from schemas.instants import to_rfc3339
from schemas.validate import validator
from tests.ingestion.example import NOON, ListSink, arrival, asset, chain, command, reading, store

CHECK = validator(contract(READINGS))


def with_ticks(
    arrivals: list[Arrival], reference: Reference, every_s: float, settle_s: float = 0
) -> list[Arrival | Record]:
    return list(ReplayTicker(reference, every_s).among(arrivals, settle_s))


def body(record: Record) -> dict[str, Any]:
    """A tick's event, which keeps its contract."""
    event = json.loads(record.value)
    assert CHECK(event) == []
    return event


def times(items: list[Arrival | Record], store_id: str = "store-001") -> list[tuple[str, int]]:
    return [
        ("tick", item.timestamp_ms) if isinstance(item, Record) else ("arrival", item.arrived_ms)
        for item in items
        if isinstance(item, Arrival) or item.key == store_id
    ]


def test_ticks_stand_between_the_arrivals_on_the_arrivals_own_clock() -> None:
    arrivals = [arrival(reading(), at_ms=NOON + ms) for ms in (1_000, 9_999, 10_000, 31_000)]
    assert times(with_ticks(arrivals, Reference.of(chain()), 10)) == [
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
    found = times(with_ticks(arrivals, Reference.of(chain()), 10, settle_s=25))
    assert found[-2:] == [("tick", NOON + 10_000), ("tick", NOON + 20_000)]


def test_without_arrivals_nobody_knows_the_time_and_nothing_ticks() -> None:
    assert with_ticks([], Reference.of(chain()), 10, settle_s=100) == []


def test_every_tick_keeps_the_contract_and_is_the_same_every_time() -> None:
    arrivals = [arrival(reading(), at_ms=NOON + ms) for ms in (0, 60_000)]
    once, again = (with_ticks(arrivals, Reference.of(chain()), 5) for _ in range(2))
    assert once == again
    ticks = [item for item in once if isinstance(item, Record)]
    assert {item.topic for item in ticks} == {READINGS}
    for item in ticks:
        event = body(item)
        assert event["event_id"] == f"tick-{item.key}-{item.timestamp_ms}"
        assert event["event_time"] == to_rfc3339(item.timestamp_ms)


def test_a_stores_facts_come_first_and_then_only_on_change() -> None:
    before = Reference.of(chain())
    after = Reference.of([*chain(), ("assets", asset("s001-freezer-09"))])
    ticker = Ticker()
    told = [
        {item.key: body(item) for item in ticker.at(reference, NOON + number)}
        for number, reference in enumerate((before, before, after, after))
    ]
    first, second, third, fourth = told
    assert [device["device_id"] for device in first["store-001"]["roster"]] == [
        "s001-cooler-01-t",
        "s001-freezer-01-t",
        "s001-power-01-p",
    ]
    assert [one["asset_id"] for one in first["store-001"]["assets"]] == [
        "s001-camera-01",
        "s001-cooler-01",
        "s001-freezer-01",
        "s001-lane-01",
        "s001-power-01",
    ]
    assert first["store-001"]["store"]["time_zone"] == "America/Denver"
    assert all("store" not in tick and "roster" not in tick for tick in second.values())
    assert {"s001-freezer-09-t"} <= {device["device_id"] for device in third["store-001"]["roster"]}
    assert "assets" not in third["store-002"]
    assert fourth.keys() == second.keys()
    assert all("assets" not in tick for tick in fourth.values())


@pytest.mark.parametrize(
    "change",
    [
        ("stores", store(event_time="2026-01-01T00:00:00.000Z", opening_hours=[])),
        ("stores", store(event_time="2026-01-01T00:00:00.000Z", locale="es-US")),
        ("assets", asset("s001-lane-01", event_time="2026-01-01T00:00:00.000Z", asset_class="lane", area="south")),
        ("assets", asset(event_time="2026-01-01T00:00:00.000Z", setpoint=-22.5)),
    ],
)
def test_a_change_of_the_store_or_of_one_asset_tells_all_three_again(change: tuple[str, dict[str, Any]]) -> None:
    ticker = Ticker()
    list(ticker.at(Reference.of(chain()), NOON))
    (first, second) = (body(item) for item in ticker.at(Reference.of([*chain(), change]), NOON + 1))
    assert {"roster", "store", "assets"} <= first.keys()
    assert "store" not in second


def test_what_the_engine_does_not_need_is_not_told_again() -> None:
    ticker = Ticker()
    list(ticker.at(Reference.of(chain()), NOON))
    same = ("stores", store(event_time="2026-01-01T00:00:00.000Z", area_m2=900))
    assert all("store" not in body(item) for item in ticker.at(Reference.of([*chain(), same]), NOON + 1))


def test_a_retired_asset_leaves_roster_and_assets() -> None:
    retired = asset(status="retired", event_time="2026-01-01T00:00:00.000Z")
    told = facts(Reference.of([*chain(), ("assets", retired)]))["store-001"]
    assert [device["asset_id"] for device in told["roster"]] == ["s001-cooler-01", "s001-power-01"]
    assert "s001-freezer-01" not in [one["asset_id"] for one in told["assets"]]


def test_a_retired_store_gets_one_last_tick_that_expects_nothing() -> None:
    open_, closed = (
        Reference.of(chain()),
        Reference.of([*chain(), ("stores", store(status="retired", event_time="2026-01-01T00:00:00.000Z"))]),
    )
    ticker = Ticker()
    list(ticker.at(open_, NOON))
    last = {item.key: body(item) for item in ticker.at(closed, NOON + 1)}
    assert (last["store-001"]["roster"], last["store-001"]["assets"]) == ([], [])
    assert "roster" not in last["store-002"]
    assert [item.key for item in ticker.at(closed, NOON + 2)] == ["store-002"]


def test_a_store_of_a_thousand_assets_fits_into_one_record() -> None:
    many = [
        ("assets", asset(f"s001-freezer-{number:04}", name="A freezer with quite a long name " * 2))
        for number in range(1000)
    ]
    (record, _) = Ticker().at(Reference.of([*chain(), *many]), NOON)
    assert len(body(record)["assets"]) == 1005
    assert len(record.value) < 1024 * 1024


def test_commands_are_relayed_in_a_tick_of_their_own_with_the_whole_command() -> None:
    ticker, reference = Ticker(), Reference.of(chain())
    list(ticker.at(reference, NOON))
    plain = tick("store-001", NOON + 5)
    relayed = ticker.relay(reference, NOON + 5, "store-001", [command(1), command(2)])
    event = body(relayed)
    assert event["commands"] == [command(1), command(2)]
    assert (relayed.topic, relayed.key, relayed.timestamp_ms) == (READINGS, "store-001", NOON + 5)
    assert "store" not in event
    other = ticker.relay(reference, NOON + 5, "store-001", [command(3)])
    assert len({event["event_id"], body(other)["event_id"], body(plain)["event_id"]}) == 3
    assert ticker.relay(reference, NOON + 5, "store-001", [command(1), command(2)]) == relayed


def test_a_command_never_stands_before_its_stores_facts_nor_behind_a_later_tick() -> None:
    ticker, reference = Ticker(), Reference.of(chain())
    event = body(ticker.relay(reference, NOON, "store-001", [command()]))
    assert event["store"]["name"] == "High Street"
    list(ticker.at(reference, NOON + 10))
    assert ticker.relay(reference, NOON + 3, "store-001", [command(2)]).timestamp_ms == NOON + 10


def test_a_command_with_the_longest_id_gives_a_tick_that_keeps_its_contract() -> None:
    longest = command(event_id="c" * 96, store_id="s" * 32)
    assert body(Ticker().relay(Reference(), NOON, "s" * 32, [longest]))["commands"] == [longest]


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0.001"):
        with_ticks([], Reference(), 0)


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
        events = [body(item) for item in sink.records if item.key == "store-951"]
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


@pytest.mark.integration
def test_the_live_ticker_relays_each_command_once_whatever_happens_to_it(broker: str) -> None:
    place = {"store_id": "store-952", "asset_id": None}
    publish([("stores", store("store-952"))], broker)

    def give(number: int) -> None:
        with KafkaSink(broker) as sink:
            sink.send(Record(COMMANDS, "store-952", dumps(command(number, **place)), NOON))

    def relayed() -> list[list[str]]:
        ticks = [record for record in read_topic(broker, READINGS) if record.key == b"store-952"]
        stamps = [record.timestamp for record in ticks]
        assert stamps == sorted(stamps)
        events = [json.loads(record.value) for record in ticks]
        assert all(CHECK(event) == [] for event in events)
        return [[one["event_id"] for one in event["commands"]] for event in events if "commands" in event]

    with KafkaSink(broker) as sink:
        sink.send(already_relayed(Record(COMMANDS, "store-952", dumps(command(0, **place)), NOON)))
        sink.send(Record(COMMANDS, "store-952", b'{"event_id":"past-the-gate"}', NOON))
    give(1)
    with running(broker, every_s=1) as ticker:
        _wait_until(lambda: relayed() == [["command-1"]])
        give(2)
        _wait_until(lambda: relayed() == [["command-1"], ["command-2"]])
    assert ticker.error is None

    give(3)
    with pytest.raises(RuntimeError, match="killed"):
        run_ticker(broker, 0.5, sink=KilledOnTheWay(broker, transactional_id="grocery-ticker"))
    with running(broker, every_s=1) as first, running(broker, every_s=1) as second:
        give(4)
        _wait_until(lambda: relayed()[2:] in ([["command-3"], ["command-4"]], [["command-3", "command-4"]]))
        _wait_until(lambda: first.error or second.error)
    assert {type(first.error), type(second.error)} == {AnotherTicker, type(None)}
    publish([("stores", store("store-952", status="retired", event_time="2026-01-01T00:00:00.000Z"))], broker)


@pytest.mark.integration
def test_a_ticker_that_is_started_later_takes_over(broker: str) -> None:
    publish([("stores", store("store-953"))], broker)
    with running(broker, every_s=0.5) as first:
        _wait_until(lambda: first.ticks)
        with running(broker, every_s=0.5) as second:
            _wait_until(lambda: second.ticks and first.error)
            ticks = second.ticks
            _wait_until(lambda: second.ticks > ticks)
        assert second.error is None
    assert isinstance(first.error, AnotherTicker)
    publish([("stores", store("store-953", status="retired", event_time="2026-01-01T00:00:00.000Z"))], broker)


class KilledOnTheWay(KafkaSink):
    """Sends the ticks that relay commands, and is gone before it commits: its transaction stays open."""

    def consumed(self, offsets: Any, group: str) -> None:
        self._producer.flush()
        self._forget()
        raise RuntimeError("killed")


class running:  # noqa: N801 - reads as a word
    """A live ticker in a thread of its own. ticks: how many it has told of; error: what ended it."""

    def __init__(self, broker: str, every_s: float) -> None:
        self._stop, self.ticks, self.error = Signal(), 0, None
        self._thread = Thread(target=self._run, args=(broker, every_s), daemon=True)

    def _run(self, broker: str, every_s: float) -> None:
        try:
            run_ticker(broker, every_s, stop=self._stop, on_tick=self._count)
        except Exception as error:
            self.error = error

    def _count(self, _: int, ticks: int) -> None:
        self.ticks += ticks

    def __enter__(self) -> "running":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


def _wait_until(condition, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
