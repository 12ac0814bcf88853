"""How far a job has come."""

from __future__ import annotations

import uuid

import pytest

from ingestion.record import Record
from ingestion.sinks import KafkaSink
from streaming_jobs.progress import lag

pytestmark = pytest.mark.integration


def test_a_group_that_read_the_last_record_is_not_behind_though_a_transaction_marker_follows(broker: str):
    from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

    topic, group = "lane-status", f"test-{uuid.uuid4()}"
    with KafkaSink(broker) as sink:
        for number in range(3):
            sink.send(Record(topic, "store-001", f'{{"n":{number}}}'.encode(), 1_000))
    assert lag(broker, group, topic).records >= 3
    consumer = KafkaConsumer(bootstrap_servers=broker, group_id=group, enable_auto_commit=False)
    parts = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
    ends = consumer.end_offsets(parts)
    # What a job commits: one past the last record, which the marker of its transaction follows.
    consumer.commit({part: OffsetAndMetadata(max(0, ends[part] - 1), "", -1) for part in parts})
    consumer.close()
    assert lag(broker, group, topic).records == 0
