import json
from collections import Counter
from collections.abc import Iterator

import pytest
from kafka.errors import InvalidProducerEpochError, ProducerFencedError

from grocery.stack import Stack
from ingestion.arrival import Arrival
from ingestion.feed import feed
from ingestion.gate import READINGS
from ingestion.record import Record
from ingestion.sinks import DeliveryFailed, KafkaSink
from ingestion.topics import read_topic
from tests.ingestion.example import NOON, gate, readings


def test_a_failed_delivery_names_what_was_not_delivered() -> None:
    failed = [(Record(READINGS, "store-001", b'{"event_id":"r-7"}', NOON), "timed out")] * 3
    told = str(DeliveryFailed(failed, "Kafka at somewhere:9092"))
    for part in ("3 records", "somewhere:9092", READINGS, "store-001", "r-7", "timed out"):
        assert part in told


@pytest.mark.integration
def test_records_arrive_with_key_and_arrival_time_in_order(broker: str) -> None:
    arrivals = readings(500, prefix="order-")
    with KafkaSink(broker) as sink:
        feed(arrivals, gate(), sink)
    found = [record for record in read_topic(broker, READINGS) if b'"order-' in record.value]
    assert len(found) == 500
    for store_id in ("store-001", "store-002"):
        of_store = [record for record in found if record.key == store_id.encode()]
        assert len({record.partition for record in of_store}) == 1
        assert [record.timestamp for record in of_store] == [
            item.arrived_ms for item in arrivals if store_id.encode() in item.payload
        ]
        assert all(json.loads(record.value)["store_id"] == store_id for record in of_store)


@pytest.mark.integration
def test_a_broker_killed_on_the_way_loses_nothing_and_doubles_nothing(broker: str, _stack: Stack) -> None:
    count = 30_000
    killed: list[int] = []

    def with_accidents() -> Iterator[Arrival]:
        for number, item in enumerate(readings(count, prefix="kill-")):
            if number == 12_000:
                killed.append(_stack.kill("broker"))
            yield item

    with KafkaSink(broker) as sink:
        done = feed(with_accidents(), gate(), sink)
    assert done.accepted == count
    assert len(killed) == 1
    found = [record for record in read_topic(broker, READINGS) if b'"kill-' in record.value]
    ids = Counter(json.loads(record.value)["event_id"] for record in found)
    assert len(ids) == count
    assert [key for key, times in ids.items() if times > 1] == []
    for store_id in (b"store-001", b"store-002"):
        stamps = [record.timestamp for record in found if record.key == store_id]
        assert stamps == sorted(stamps)


@pytest.mark.integration
def test_a_connection_lost_when_a_transaction_begins_holds_nothing_up(broker: str, monkeypatch) -> None:
    from kafka.errors import KafkaConnectionError
    from kafka.net.compat import KafkaNetClient

    lost: list[str] = []
    ready = KafkaNetClient.await_ready

    def lose_once(client: KafkaNetClient, node: object, **options: object) -> bool:
        if lost == ["next"]:
            lost.append("once")
            raise KafkaConnectionError("lost")
        return ready(client, node, **options)

    monkeypatch.setattr(KafkaNetClient, "await_ready", lose_once)
    with KafkaSink(broker, delivery_timeout_s=20) as sink:
        lost.append("next")
        sink.send(Record("dead-letters", "lost", b"{}", NOON))
        sink.flush()
    assert lost == ["next", "once"]


@pytest.mark.integration
def test_what_the_broker_does_not_take_in_time_is_named(broker: str) -> None:
    sink = KafkaSink(broker, delivery_timeout_s=2)
    with pytest.raises(DeliveryFailed, match="lost-1"):
        sink.send(Record("no-such-topic", "store-001", b'{"event_id":"lost-1"}', NOON))
    sink.close()


@pytest.mark.integration
def test_a_transaction_that_fails_leaves_nothing_to_read(broker: str) -> None:
    with KafkaSink(broker) as sink:
        with pytest.raises(RuntimeError, match="crash"), sink.transaction():
            sink.send(Record(READINGS, "store-001", b'{"event_id":"half-1"}', NOON))
            raise RuntimeError("crash")
        with sink.transaction():
            sink.send(Record(READINGS, "store-001", b'{"event_id":"half-2"}', NOON))
    found = [record.value for record in read_topic(broker, READINGS) if b'"half-' in record.value]
    assert found == [b'{"event_id":"half-2"}']


@pytest.mark.integration
def test_a_sink_whose_place_was_taken_says_so_in_whichever_call_it_learns_of_it(broker: str) -> None:
    def taken() -> KafkaSink:
        sink = KafkaSink(broker, transactional_id="taken")
        sink.send(Record("dead-letters", "taken", b"{}", NOON))
        sink.flush()
        KafkaSink(broker, transactional_id="taken").close()
        return sink

    first = taken()
    with pytest.raises(DeliveryFailed) as told, first.transaction():  # which does not flush of itself
        while True:
            first.send(Record("dead-letters", "taken", b"{}", NOON))
    assert isinstance(told.value.__cause__, ProducerFencedError | InvalidProducerEpochError)
    first.close()

    first = taken()
    with pytest.raises(DeliveryFailed) as told:
        first.send(Record("dead-letters", "taken", b"{}", NOON))
        first.flush()
    assert isinstance(told.value.__cause__, ProducerFencedError | InvalidProducerEpochError)
    first.close()
