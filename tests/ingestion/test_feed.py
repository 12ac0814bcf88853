import json
import time
from pathlib import Path

import pytest

from ingestion.feed import feed
from ingestion.gate import READINGS
from ingestion.relay import COMMANDS, already_relayed
from ingestion.sinks import FileSink
from ingestion.topics import DEAD_LETTERS
from tests.ingestion.example import NOON, ListSink, arrival, chain, command, gate, reading, readings


def test_every_arrival_is_accepted_or_refused_and_the_sums_say_so() -> None:
    sink = ListSink()
    arrivals = [*readings(100), arrival(b"{", at_ms=NOON + 100_000), arrival(reading(unit="kW"), at_ms=NOON + 100_000)]
    done = feed(arrivals, gate(), sink, ticks_every_s=10)
    assert (done.arrivals, done.accepted, done.refused, done.markers) == (102, 100, 2, 1)
    assert done.by_reason == {"json": 1, "unit": 1}
    assert done.ticks == 2 * 11
    assert done.by_topic == {READINGS: 100 + 1 + 22, DEAD_LETTERS: 2}
    assert done.records == len(sink.records) == sink.flushed
    assert (done.first_ms, done.last_ms, done.disordered) == (NOON, NOON + 100_000, 0)


def test_ticks_can_be_limited_to_what_the_replayed_devices_can_tell() -> None:
    sink, the_gate = ListSink(), gate()
    only = the_gate.reference.narrowed({"s002-freezer-01-t"})
    feed(readings(20, ("store-002",)), the_gate, sink, ticks_every_s=10, ticks_for=only)
    ticks = [json.loads(record.value) for record in sink.records if b'"tick"' in record.value]
    assert {tick["store_id"] for tick in ticks} == {"store-002"}
    assert [device["device_id"] for device in ticks[0]["roster"]] == ["s002-freezer-01-t"]


def test_a_command_among_the_arrivals_is_kept_and_relayed_at_its_arrival() -> None:
    sink = ListSink()
    given = arrival(command(), COMMANDS, NOON + 4_000)
    done = feed([*readings(4), given, *readings(20)[5:]], gate(), sink, ticks_every_s=10)
    at = [record.topic for record in sink.records].index(COMMANDS)
    kept, told = sink.records[at : at + 2]
    assert json.loads(kept.value) == command()
    assert kept == already_relayed(gate().admit(given)[0])
    assert (told.topic, told.key, told.timestamp_ms) == (READINGS, "store-001", NOON + 4_000)
    assert json.loads(told.value)["commands"] == [command()]
    assert (done.accepted, done.ticks) == (20, 2 * 2 + 1)


def test_a_command_that_the_gate_refuses_is_answered_and_not_relayed() -> None:
    sink = ListSink()
    wrong = [command(store_id="store-009"), command(until=None), command(asset_id="s001-freezer-99")]
    arrivals = [arrival(one, COMMANDS) for one in wrong]
    done = feed(arrivals, gate(), sink, ticks_every_s=10)
    assert done.by_topic == {READINGS: 2, DEAD_LETTERS: 3, "alerts.cold-chain": 3}
    assert done.by_reason == {"unknown_store": 1, "required": 1, "unknown_asset": 1}
    assert not any(b"commands" in record.value for record in sink.records if record.topic == READINGS)


def test_without_ticks_of_its_own_a_feed_leaves_commands_to_the_live_ticker() -> None:
    sink = ListSink()
    feed([arrival(command(), COMMANDS)], gate(), sink)
    (record,) = sink.records
    assert (record.topic, record.headers) == (COMMANDS, ())


def test_a_second_feed_through_the_same_gate_counts_its_own() -> None:
    the_gate = gate()
    feed([arrival(b"{")], the_gate, ListSink())
    done = feed([arrival(b"{"), arrival(reading())], the_gate, ListSink())
    assert (done.accepted, done.refused, done.by_reason) == (1, 1, {"json": 1})


def test_arrivals_out_of_order_are_counted() -> None:
    done = feed([arrival(reading(), at_ms=NOON + ms) for ms in (0, 5_000, 4_000, 6_000)], gate(), ListSink())
    assert done.disordered == 1


def test_a_speed_makes_an_hour_take_its_share() -> None:
    began = time.monotonic()
    feed([arrival(reading(), at_ms=NOON + ms) for ms in (0, 3_600_000)], gate(), ListSink(), speed=18_000)
    assert 0.2 <= time.monotonic() - began < 2


def test_a_speed_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="speed 0"):
        feed([], gate(), ListSink(), speed=0)


def test_progress_is_told_at_the_end_at_least() -> None:
    told: list[int] = []
    feed(readings(10), gate(), ListSink(), on_progress=lambda done: told.append(done.arrivals))
    assert told[-1] == 10


def test_a_file_of_records_holds_what_would_go_on_the_topics(tmp_path: Path) -> None:
    out = tmp_path / "records.ndjson"
    with FileSink(out) as sink:
        feed([arrival(reading()), arrival(b"{")], gate(), sink)
    first, second = (json.loads(line) for line in out.read_text().splitlines())
    assert first == {"topic": READINGS, "key": "store-001", "timestamp_ms": NOON, "value": reading()}
    assert second["topic"] == DEAD_LETTERS


def test_narrowing_keeps_only_what_was_asked_for() -> None:
    narrowed = gate().reference.narrowed({"s001-cooler-01-t"})
    assert set(narrowed.stores) == {"store-001"}
    assert set(narrowed.assets) == {"s001-cooler-01"}
    assert set(narrowed.devices) == {"s001-cooler-01-t"}
    assert len(chain()) == 8
