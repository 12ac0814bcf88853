"""A contract that lies in a folder of its own flows from bronze to silver and quarantine by the same code."""

from __future__ import annotations

import json

import pytest

from batch_jobs import bronze, erasure, landing, quality, quarantine, silver, tables
from batch_jobs.backfill import Span, backfill
from batch_jobs.broker import survey
from batch_jobs.gold import import_delta
from batch_jobs.redshift import load_of
from batch_jobs.sought import ERASED, Sought
from ingestion.topics import topics_of
from schemas.contract import all_contracts, contract
from tests.batch_jobs.bronze_rows import NOON, a_run, receive, versions
from tests.batch_jobs.test_backfill import from_nothing, silver_of
from tests.fixtures.added import FAILING, FAILING_2, NAME, PASSING, PASSING_2, own_contracts, schema_2, write, write_2
from tests.fixtures.landing import land

pytestmark = pytest.mark.integration


def test_its_events_become_rows_of_silver_and_the_rest_is_quarantined_with_reasons(spark, tmp_path, added):
    lake = tmp_path / "lake"
    light = PASSING | {"event_id": "cart-17-2", "verdict": "fits"}
    receive(spark, lake, [PASSING, PASSING, light, *FAILING.values(), "{broken"], item=added)
    (done,) = silver.silver(spark, a_run(lake), [item for item in all_contracts() if item == added])
    assert (done.rows, done.inserted, done.duplicate, done.quarantined) == (7, 2, 1, 4)

    rows = tables.read(spark, tables.path_of(str(lake), "silver", added.table)).orderBy("event_id").collect()
    assert [(row.event_id, row.verdict, row.weight) for row in rows] == [
        ("cart-17-1", "too_heavy", 4.25),
        ("cart-17-2", "fits", 4.25),
    ]
    assert [(part.product_id, part.weight) for part in rows[0].parts] == [("4011", 0.845)]
    assert rows[0].event_time.isoformat() == "2026-10-05T11:59:59"
    aside = tables.read(spark, tables.path_of(str(lake), "quarantine", added.table)).orderBy("offset").collect()
    assert [row.reasons for row in aside] == [
        ["required:/lane_id"],
        ["required:/weight"],
        ["minimum:/parts/*/weight"],
        ["json:"],
    ]

    verdict = quality.quality(spark, a_run(lake, "q1"), [added], tmp_path / "docs")
    assert verdict.failures == []
    assert (verdict.checked[0].contract, verdict.checked[0].rows) == (added.name, 2)


def test_its_events_come_over_kafka_and_as_files_and_stand_once(spark, broker, tmp_path, added):
    from kafka import KafkaProducer
    from kafka.admin import KafkaAdminClient

    lake, (topic,) = tmp_path / "lake", topics_of(added)
    one, two, three = (PASSING | {"event_id": f"cart-17-{number}"} for number in (1, 2, 3))
    admin, producer = KafkaAdminClient(bootstrap_servers=broker), KafkaProducer(bootstrap_servers=broker, acks="all")
    try:
        admin.create_topics({topic: {"num_partitions": 2, "replication_factor": 1}})
        admin.wait_for_topics([topic])
        for payload in (one, two, FAILING["no-lane"]):
            producer.send(topic, json.dumps(payload).encode()).get(timeout=30)
        (loaded,) = bronze.bronze(spark, survey(broker, (topic,)), a_run(lake), [added])
    finally:
        producer.close()
        admin.delete_topics([topic])
        admin.close()
    land(tmp_path / "in", [two, three, FAILING["too-heavy-without-weight"]], topic=topic)
    (taken,) = landing.land(spark, a_run(lake, "r2"), str(tmp_path / "in"), [added])
    assert (loaded.rows, taken.rows, taken.open) == (3, 3, [])
    (done,) = silver.silver(spark, a_run(lake, "r2"), [added])
    assert (done.inserted, done.duplicate, done.quarantined) == (3, 1, 2)
    came = tables.read(spark, tables.path_of(str(lake), "silver", added.table)).select("event_id").orderBy("event_id")
    assert [row.event_id for row in came.collect()] == ["cart-17-1", "cart-17-2", "cart-17-3"]


def test_a_second_version_joins_the_table_of_the_first_and_each_record_is_judged_by_its_own(
    spark, tmp_path, added, monkeypatch
):
    """What one version forbids is an event of the other: 120 kg passes by the first alone, a scale by the second."""
    lake = tmp_path / "lake"
    receive(spark, lake, [PASSING], item=added)
    silver.silver(spark, a_run(lake, "r1"), [added])

    write_2(write(tmp_path / "grown"))
    heavy = PASSING | {"event_id": "cart-17-3", "weight": 120}
    aside = {
        "maximum:/weight": FAILING_2["over-hundred"],
        "required:/scale": FAILING_2["no-scale"],
        "unknown_field:/scale": heavy | {"scale": "s-7"},
        "unknown_field:/parts/*/tare": heavy | {"parts": PASSING_2["parts"]},
        "version:/schema_version": PASSING_2 | {"schema_version": 3},
        "type:/schema_version": PASSING | {"schema_version": "1"},
    }
    with own_contracts(tmp_path / "grown", monkeypatch):
        both = contract(NAME)
        receive(spark, lake, [PASSING_2, heavy, *aside.values()], item=both, first_offset=1)
        (done,) = silver.silver(spark, a_run(lake, "r2"), [both])
        assert (done.inserted, done.duplicate, done.quarantined) == (2, 0, 6)
        path = tables.path_of(str(lake), "silver", both.table)
        rows = tables.read(spark, path).orderBy("schema_version", "weight").collect()
        assert [(row.event_id, row.weight, row.scale, [part.tare for part in row.parts]) for row in rows] == [
            ("cart-17-1", 4.25, None, [None]),
            ("cart-17-3", 120, None, [None]),
            ("cart-17-9", 4.25, "s-7", [0.015]),
        ]
        assert [part.product_id for row in rows for part in row.parts] == ["4011"] * 3
        kept = tables.read(spark, tables.path_of(str(lake), "quarantine", both.table)).orderBy("offset")
        for why, row in zip(aside, kept.collect(), strict=True):
            assert why in row.reasons

        before = versions(spark, lake)
        silver.silver(spark, a_run(lake, "r3"), [both])
        assert versions(spark, lake) == before
        assert tables.snapshot(spark, path).reader_version == 1
        verdict = quality.quality(spark, a_run(lake, "q1"), [both], tmp_path / "docs")
        assert (verdict.failures, verdict.checked[0].rows) == ([], 3)


@pytest.mark.system
def test_two_versions_in_one_table_are_backfilled_replayed_erased_and_loaded_like_one(
    spark, tmp_path, added, monkeypatch
):
    lake = tmp_path / "lake"
    light = PASSING | {"event_id": "cart-17-2", "customer_id": "cust_" + "2" * 32}
    receive(spark, lake, [PASSING, light], item=added)
    silver.silver(spark, a_run(lake, "r1"), [added])
    write_2(write(tmp_path / "grown"))
    heavy = [PASSING_2 | {"event_id": f"cart-18-{number}", "weight": 120} for number in (1, 2)]
    with own_contracts(tmp_path / "grown", monkeypatch):
        both = contract(NAME)
        receive(spark, lake, [PASSING_2, *heavy], item=both, first_offset=2)
        silver.silver(spark, a_run(lake, "r2"), [both])
        path = tables.path_of(str(lake), "silver", both.table)
        before = silver_of(spark, lake, both)
        assert [(row["event_id"], row["schema_version"]) for row in before] == [
            ("cart-17-1", 1),
            ("cart-17-2", 1),
            ("cart-17-9", 2),
        ]
        import_delta()
        old, new = sorted(load_of(lake, both.table).parts, key=lambda part: len(part.columns))
        assert set(new.columns) - set(old.columns) == {"scale"}, "Redshift's COPY is told of both kinds of files"

        spark.sql(f"DELETE FROM delta.`{path}` WHERE event_id IN ('cart-17-2', 'cart-17-9')")
        spark.sql(f"UPDATE delta.`{path}` SET scale = 's-1' WHERE event_id = 'cart-17-1'")
        span = Span(NOON.date(), NOON.date())
        (done,) = backfill(spark, a_run(lake, "b1"), [both], span)
        assert (done.added, done.replaced, done.quarantined) == (2, 1, 2)
        assert silver_of(spark, lake, both) == before

    write_2(write(tmp_path / "mended"), properties=_with_limit(200))
    with own_contracts(tmp_path / "mended", monkeypatch):
        both = contract(NAME)
        (done,) = quarantine.replay(spark, a_run(lake, "q1"), [both])
        assert (done.rows, done.replayed) == (2, 2)
        after = silver_of(spark, lake, both)
        assert [(row["weight"], row["scale"]) for row in after] == [(4.25, None)] * 2 + [(4.25, "s-7")] + [
            (120, "s-7")
        ] * 2
        other = from_nothing(spark, lake, tmp_path / "other", both)
        assert silver_of(spark, other, both) == after

        done = erasure.erase(spark, a_run(lake, "e1"), [both], Sought((PASSING["customer_id"],)), "DSR 17")
        assert done.complete
        erased = [row | {"customer_id": f"cust_{ERASED}"} if row["event_id"] != "cart-17-2" else row for row in after]
        assert silver_of(spark, lake, both) == erased
        assert tables.snapshot(spark, path).reader_version == 1


def _with_limit(kilograms: int) -> dict:
    """Properties of version 2 with another limit."""
    old = schema_2()["properties"]
    return old | {"weight": old["weight"] | {"maximum": kilograms}}
