import pytest

from ingestion.topics import TopicMismatch, days, ensure_topics, topic_names, topic_settings, topics_of
from schemas.contract import all_contracts, contract


def test_every_contract_has_its_topics() -> None:
    assert {name for item in all_contracts() for name in topics_of(item)} == set(topic_names())
    assert "alerts.cold-chain" in topics_of(contract("alert"))


def test_events_are_kept_for_ever_reference_is_compacted_and_letters_are_dropped_in_time() -> None:
    assert topic_settings(contract("sensor-readings"))["retention.ms"] == "-1"
    assert topic_settings(contract("assets"))["cleanup.policy"] == "compact"
    letters = topic_settings(contract("dead-letters"))
    assert letters["retention.ms"] == str(7 * 24 * 3600 * 1000)
    assert letters["message.timestamp.type"] == "LogAppendTime"


def test_a_retention_that_is_not_whole_days_is_refused() -> None:
    with pytest.raises(ValueError, match="PT5H"):
        days("PT5H")


@pytest.mark.integration
def test_topics_are_made_once_and_a_second_call_makes_none(broker: str) -> None:
    from kafka.admin import KafkaAdminClient

    ensure_topics(broker)
    assert ensure_topics(broker) == []
    admin = KafkaAdminClient(bootstrap_servers=broker)
    try:
        sizes = {item["name"]: len(item["partitions"]) for item in admin.describe_topics(list(topic_names()))}
    finally:
        admin.close()
    assert set(sizes) == set(topic_names())
    assert (sizes["sensor-readings"], sizes["assets"], sizes["dead-letters"]) == (4, 1, 1)


@pytest.mark.integration
def test_a_topic_with_too_few_partitions_is_named(broker: str) -> None:
    ensure_topics(broker)
    with pytest.raises(TopicMismatch, match="has 4 partitions, 8 are needed"):
        ensure_topics(broker, partitions=8)
