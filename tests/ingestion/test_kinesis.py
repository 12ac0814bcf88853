"""Against moto's server: a real HTTP endpoint that speaks Kinesis."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from ingestion.feed import feed
from ingestion.gate import READINGS
from ingestion.kinesis import MAX_KEPT_BYTES, KinesisSink
from ingestion.record import Record
from ingestion.sinks import DeliveryFailed
from ingestion.topics import DEAD_LETTERS
from tests.ingestion.example import CIPHER, NOON, ListSink, arrival, gate, readings


@pytest.fixture
def client(moto_endpoint: str) -> Iterator[Any]:
    client = boto3.client(
        "kinesis",
        endpoint_url=moto_endpoint,
        region_name="eu-central-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    for topic in (READINGS, DEAD_LETTERS):
        client.create_stream(StreamName=f"grocery-{topic}", ShardCount=3)
        client.get_waiter("stream_exists").wait(StreamName=f"grocery-{topic}", WaiterConfig={"Delay": 1})
    yield client
    for topic in (READINGS, DEAD_LETTERS):
        client.delete_stream(StreamName=f"grocery-{topic}")


def stored(client: Any, topic: str) -> list[tuple[str, bytes]]:
    """(partition key, data) by shard, in the shards' order."""
    stream, found = f"grocery-{topic}", []
    for shard in client.describe_stream(StreamName=stream)["StreamDescription"]["Shards"]:
        place = client.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while True:
            answer = client.get_records(ShardIterator=place, Limit=1000)
            if not answer["Records"]:
                break
            found += [(record["PartitionKey"], record["Data"]) for record in answer["Records"]]
            place = answer["NextShardIterator"]
    return found


class Throttled:
    """Passes requests on, but has Kinesis refuse some of their records, as a full shard does."""

    def __init__(self, client: Any, refuse: Any) -> None:
        self._client, self._refuse, self.requests = client, refuse, 0
        self.largest = 0

    def put_records(self, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803  boto3's names
        self.requests += 1
        keys = [record["PartitionKey"] for record in Records]
        assert len(keys) == len(set(keys)), "two records of one key in a request can be swapped by a partial failure"
        self.largest = max(self.largest, len(keys))
        refused = {number for number in range(len(Records)) if self._refuse(self.requests, number)}
        passed = [record for number, record in enumerate(Records) if number not in refused]
        answers = iter(self._client.put_records(StreamName=StreamName, Records=passed)["Records"] if passed else ())
        error = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "too fast"}
        return {
            "FailedRecordCount": len(refused),
            "Records": [error if number in refused else next(answers) for number in range(len(Records))],
        }

    def close(self) -> None:
        self._client.close()


def sent(count: int) -> tuple[list[Record], list[Any]]:
    """What a feed of readings and one broken arrival sends on, and the arrivals."""
    arrivals = [*readings(count), arrival(b'{"broken"', at_ms=NOON + count * 1000)]
    sink = ListSink()
    feed(arrivals, gate(), sink)
    return sink.records, arrivals


def test_what_the_gate_lets_in_is_in_the_streams_each_store_in_order(client: Any) -> None:
    expected, arrivals = sent(300)
    with KinesisSink(client, "grocery-") as sink:
        feed(arrivals, gate(max_kept_bytes=MAX_KEPT_BYTES), sink)
    found = stored(client, READINGS)
    for store_id in ("store-001", "store-002"):
        assert [data for key, data in found if key == store_id] == [
            record.value for record in expected if record.topic == READINGS and record.key == store_id
        ]
    ((_, letter),) = stored(client, DEAD_LETTERS)
    assert CIPHER.decrypt(json.loads(letter)["payload"]) == b'{"broken"'


def test_records_refused_in_part_are_sent_again_and_each_store_stays_in_order(client: Any) -> None:
    expected, arrivals = sent(200)
    pauses: list[float] = []
    # Every second request loses its first record, every seventh all of them.
    throttled = Throttled(client, lambda request, number: request % 7 == 0 or (request % 2 == 0 and number == 0))
    with KinesisSink(throttled, "grocery-", max_waiting=50, sleep=pauses.append) as sink:
        feed(arrivals, gate(), sink)
    assert sink.retried > 50
    assert throttled.largest == 2
    assert all(0 < pause <= 5 for pause in pauses)
    found = stored(client, READINGS)
    assert len(found) == 200
    for store_id in ("store-001", "store-002"):
        assert [data for key, data in found if key == store_id] == [
            record.value for record in expected if record.topic == READINGS and record.key == store_id
        ]


def test_a_stream_that_refuses_for_good_is_named_with_what_was_not_taken(client: Any) -> None:
    sink = KinesisSink(Throttled(client, lambda *_: True), "grocery-", give_up_s=3, sleep=lambda _: None)
    for record in sent(10)[0]:
        sink.send(record)
    with pytest.raises(DeliveryFailed, match="10 records.*grocery-sensor-readings.*ProvisionedThroughput"):
        sink.flush()


def test_a_stream_that_does_not_exist_is_named(client: Any) -> None:
    sink = KinesisSink(client, "other-")
    sink.send(Record(READINGS, "store-001", b"{}", NOON))
    with pytest.raises(DeliveryFailed, match="other-sensor-readings.*ResourceNotFoundException"):
        sink.flush()


def test_a_record_too_large_for_kinesis_is_named_at_once() -> None:
    sink = KinesisSink(object())
    with pytest.raises(DeliveryFailed, match="2000009 bytes, Kinesis takes 1048576"):
        sink.send(Record(READINGS, "store-001", b"x" * 2_000_000, NOON))


def test_the_largest_original_that_is_kept_still_fits_into_a_record() -> None:
    (record,) = gate(max_kept_bytes=MAX_KEPT_BYTES).admit(arrival(b"\xff" * MAX_KEPT_BYTES))
    assert "payload" in json.loads(record.value)
    KinesisSink(object()).send(record)
