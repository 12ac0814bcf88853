from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from batch_jobs import bronze, tables
from batch_jobs.broker import survey
from batch_jobs.bronze import bronze as load_all
from batch_jobs.errors import BrokerError
from batch_jobs.maintenance import maintain
from batch_jobs.run import Run
from batch_jobs.silver import silver
from ingestion.topics import topics_of
from schemas.contract import contract
from streaming_jobs import derive
from tests.alerting.logs import JOB_OF
from tests.batch_jobs.bronze_rows import versions
from tests.streaming_jobs.logs import case_records, derivation

CASES = Path(__file__).parents[1] / "cases"
AT = datetime(2026, 11, 1, tzinfo=UTC)
ARRIVED_MS = 1_791_201_600_000  # 2026-10-05T12:00:00Z


@pytest.fixture
def topic(broker: str, request: pytest.FixtureRequest):
    """A contract with a topic of its own, so that tests don't meet; and a way to write to it. param: its name."""
    from kafka import KafkaProducer, TopicPartition
    from kafka.admin import KafkaAdminClient

    name = f"test-{uuid.uuid4().hex[:8]}"
    original = contract(getattr(request, "param", "lane-status"))
    item = replace(original, schema=original.schema | {"x-topic": name})
    admin = KafkaAdminClient(bootstrap_servers=broker)
    producer = KafkaProducer(bootstrap_servers=broker, acks="all")

    class Topic:
        contract = item

        def make(self) -> None:
            admin.create_topics({name: {"num_partitions": 2, "replication_factor": 1}})
            admin.wait_for_topics([name])

        def delete(self) -> None:
            admin.delete_topics([name])

        def expire(self, before: int, partition: int = 0) -> None:
            admin.delete_records({TopicPartition(name, partition): before})

        def send(self, *payloads: bytes | None, partition: int = 0) -> None:
            sent = [producer.send(name, p, key=b"k", partition=partition, timestamp_ms=ARRIVED_MS) for p in payloads]
            for one in sent:
                one.get(timeout=30)

    made = Topic()
    made.make()
    yield made
    producer.close()
    made.delete()
    admin.close()


def load(spark, broker: str, lake: Path, item, name: str = "r1") -> bronze.Loaded:
    (done,) = load_all(spark, survey(broker, topics_of(item)), Run(name, AT, str(lake)), [item])
    return done


def rows(spark, lake: Path, item) -> list:
    found = tables.read(spark, tables.path_of(str(lake), "bronze", item.table))
    return found.orderBy("topic_id", "partition", "offset").collect()


def test_a_load_that_somebody_was_in_the_way_of_is_tried_again_and_counts_what_both_tries_wrote(monkeypatch):
    tries = []

    def load_in_the_way(_, __, ___, ____, result):
        tries.append(result)
        result.rows += 3
        if len(tries) == 1:
            raise RuntimeError("Query terminated with exception: [DELTA_CONCURRENT_APPEND] …")

    monkeypatch.setattr(bronze, "load", load_in_the_way)
    (done,) = load_all(None, None, Run("r1", AT, "lake"), [contract("stores")])
    assert (len(tries), done.rows) == (2, 6)


@pytest.mark.integration
def test_each_record_is_there_once_as_received_however_often_it_runs(spark, broker, topic, tmp_path):
    topic.send(b'{"a": 1}', b"\xff\xfe", None)
    topic.send("Käse".encode(), partition=1)
    assert load(spark, broker, tmp_path, topic.contract).rows == 4
    before = versions(spark, tmp_path)
    assert load(spark, broker, tmp_path, topic.contract, "r2").rows == 0
    assert versions(spark, tmp_path) == before

    topic.send(b"later", partition=1)
    assert load(spark, broker, tmp_path, topic.contract, "r3").rows == 1
    found = rows(spark, tmp_path, topic.contract)
    assert [(row.partition, row.offset, row.payload, row.run_id) for row in found] == [
        (0, 0, '{"a": 1}', "r1"),
        (0, 1, "base64://4=", "r1"),
        (0, 2, None, "r1"),
        (1, 0, "Käse", "r1"),
        (1, 1, "later", "r3"),
    ]
    first = found[0]
    assert (first.key, first.topic, first.arrived_date.isoformat()) == ("k", topic.contract.topic, "2026-10-05")
    assert first.cluster and first.topic_id


@pytest.mark.integration
def test_killed_between_the_write_and_the_checkpoint_nothing_is_there_twice(spark, broker, topic, tmp_path):
    topic.send(b"one", b"two")
    load(spark, broker, tmp_path, topic.contract)
    (commits,) = tmp_path.glob("bronze/*/_checkpoint/*/commits")
    for file in commits.iterdir():  # as a kill leaves it: the batch is planned and written, but not closed
        file.unlink()
    topic.send(b"three")
    assert load(spark, broker, tmp_path, topic.contract, "r2").rows == 1
    assert [row.payload for row in rows(spark, tmp_path, topic.contract)] == ["one", "two", "three"]


@pytest.mark.integration
def test_killed_before_the_write_the_planned_records_are_loaded(spark, broker, topic, tmp_path):
    topic.send(b"one")
    load(spark, broker, tmp_path, topic.contract)
    (checkpoint,) = tmp_path.glob("bronze/*/_checkpoint/*")
    planned = (checkpoint / "offsets" / "0").read_text().replace('"0":1', '"0":2')
    (checkpoint / "offsets" / "1").write_text(planned)
    topic.send(b"two", b"three")
    assert load(spark, broker, tmp_path, topic.contract, "r3").rows == 2
    assert [row.payload for row in rows(spark, tmp_path, topic.contract)] == ["one", "two", "three"]


@pytest.mark.integration
def test_a_lost_checkpoint_begins_at_what_the_table_holds(spark, broker, topic, tmp_path):
    topic.send(b"one", b"two")
    load(spark, broker, tmp_path, topic.contract)
    shutil.rmtree(next(tmp_path.glob("bronze/*/_checkpoint")))
    topic.send(b"three")
    load(spark, broker, tmp_path, topic.contract, "r2")
    assert [row.payload for row in rows(spark, tmp_path, topic.contract)] == ["one", "two", "three"]


@pytest.mark.integration
def test_what_expired_from_bronze_does_not_come_back_when_the_checkpoint_is_lost(spark, broker, topic, tmp_path):
    short = replace(topic.contract, schema=topic.contract.schema | {"x-retention": "P7D"})
    topic.send(b"old", b"older")
    topic.send(b"old", partition=1)
    load(spark, broker, tmp_path, short)
    done = {one.table: one.expired for one in maintain(spark, Run("m1", AT, str(tmp_path)), [short])}
    assert done[f"bronze.{short.table}"] == 3
    shutil.rmtree(next(tmp_path.glob("bronze/*/_checkpoint")))
    assert load(spark, broker, tmp_path, short, "r2").rows == 0
    topic.send(b"new")
    assert load(spark, broker, tmp_path, short, "r3").rows == 1
    assert [(row.partition, row.offset, row.payload) for row in rows(spark, tmp_path, short)] == [(0, 2, "new")]


@pytest.mark.integration
@pytest.mark.parametrize("is_all_gone", [False, True], ids=["some", "all"])
def test_what_the_broker_let_expire_unread_is_counted_once_and_the_rest_is_loaded(
    spark, broker, topic, tmp_path, is_all_gone
):
    topic.send(b"0", b"1")
    topic.send(b"a", partition=1)
    load(spark, broker, tmp_path, topic.contract)
    topic.send(b"2", b"3", b"4")
    topic.send(b"b", partition=1)
    topic.expire(5 if is_all_gone else 4)
    done = load(spark, broker, tmp_path, topic.contract, "r2")
    assert (done.rows, done.lost) == ((1, 3) if is_all_gone else (2, 2))
    assert f"offsets 2 to {4 if is_all_gone else 3} expired before bronze read them" in done.notes[0]
    again = load(spark, broker, tmp_path, topic.contract, "r3")
    assert (again.rows, again.lost, again.notes) == (0, 0, [])
    topic.send(b"5")
    assert load(spark, broker, tmp_path, topic.contract, "r4").rows == 1
    found = [(row.partition, row.payload) for row in rows(spark, tmp_path, topic.contract)]
    assert found == [(0, "0"), (0, "1"), *([] if is_all_gone else [(0, "4")]), (0, "5"), (1, "a"), (1, "b")]
    told = tables.read(spark, tables.offsets_layout(str(tmp_path)).path).collect()
    assert [(row.run_id, row.partition, row.lost) for row in told] == [("r2", 0, done.lost)]


@pytest.mark.integration
def test_a_recreated_topic_is_named_and_read_as_another_one(spark, broker, topic, tmp_path):
    topic.send(b"old")
    assert load(spark, broker, tmp_path, topic.contract).notes == []
    topic.delete()
    topic.make()
    topic.send(b"new")
    done = load(spark, broker, tmp_path, topic.contract, "r2")
    assert (done.rows, done.recreated) == (1, 1)
    assert f"topic {topic.contract.topic} was recreated" in done.notes[0]
    found = rows(spark, tmp_path, topic.contract)
    assert sorted((row.offset, row.payload) for row in found) == [(0, "new"), (0, "old")]
    assert len({row.topic_id for row in found}) == 2


@pytest.mark.integration
def test_what_a_transaction_aborted_never_arrives(spark, broker, topic, tmp_path):
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=broker, transactional_id=f"t-{uuid.uuid4().hex}")
    producer.init_transactions()
    for payload, keep in ((b"kept", True), (b"aborted", False)):
        producer.begin_transaction()
        producer.send(topic.contract.topic, payload, partition=0)
        producer.flush()
        producer.commit_transaction() if keep else producer.abort_transaction()
    producer.close()
    load(spark, broker, tmp_path, topic.contract)
    before = versions(spark, tmp_path)
    load(spark, broker, tmp_path, topic.contract, "r2")
    assert [row.payload for row in rows(spark, tmp_path, topic.contract)] == ["kept"]
    assert versions(spark, tmp_path) == before


@pytest.mark.integration
def test_alerts_come_from_all_their_topics(spark, broker, tmp_path):
    from kafka import KafkaProducer

    with KafkaProducer(bootstrap_servers=broker) as producer:
        for name in ("alerts.queue", "alerts.shelf"):
            producer.send(name, json.dumps({"from": name}).encode()).get(timeout=30)
    load(spark, broker, tmp_path, contract("alert"))
    assert {"alerts.queue", "alerts.shelf"} <= {row.topic for row in rows(spark, tmp_path, contract("alert"))}


def test_a_topic_that_went_backwards_is_named():
    with pytest.raises(BrokerError, match="stores, partition 0: bronze has read up to offset 9, the topic ends at 4"):
        bronze._check_reach({("stores", 0): 9}, {("stores", 0): 4})


def test_a_partition_that_is_gone_is_named():
    with pytest.raises(BrokerError, match="stores has no partition 3 any more"):
        bronze._check_reach({("stores", 3): 9}, {("stores", 0): 4})


def test_a_broker_that_is_away_is_named():
    with pytest.raises(BrokerError, match=r"broker 127.0.0.1:1: no answer within 1 s .*grocery stack status"):
        survey("127.0.0.1:1", ["stores"], timeout_s=1)


@pytest.mark.integration
@pytest.mark.parametrize("topic", ["derived-metrics"], indirect=True)
def test_what_the_jobs_derive_comes_to_silver_typed_and_whole(spark, broker, topic, tmp_path):
    metrics = []
    for name in ("queue_grows_until_a_lane_opens", "facing_runs_low_and_empty", "electricity_meter_replaced"):
        folder = CASES / name
        log = case_records(folder)
        store = json.loads(log[0].payload)["store_id"]
        _, found, _ = derive.run(derivation(JOB_OF[folder]), ((store, record) for record in log))
        metrics += [metric for _, metric in found]
    assert {metric["job"] for metric in metrics} == {"checkout_queue", "shelf", "utilities"}
    topic.send(*(msgspec.json.encode(metric) for metric in metrics))

    load(spark, broker, tmp_path, topic.contract)
    (done,) = silver(spark, Run("r1", AT, str(tmp_path)), [topic.contract])
    assert (done.rows, done.inserted, done.duplicate, done.quarantined) == (len(metrics), len(metrics), 0, 0)
    events = tables.read(spark, tables.path_of(str(tmp_path), "silver", topic.contract.table)).collect()
    fields = list(topic.contract.schema["properties"])
    told = {
        metric["event_id"]: {name: metric.get(name) for name in fields}
        | {"event_time": datetime.fromisoformat(metric["event_time"]).replace(tzinfo=None)}
        for metric in metrics
    }
    assert {event.event_id: {name: event[name] for name in fields} for event in events} == told
