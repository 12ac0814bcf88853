"""Row checks in Spark say what the validator says."""

import json
import re

import pytest

from schemas import all_contracts, contract
from schemas.validate import validator
from tests.fixtures.added import PASSING, PASSING_2
from tests.schemas.breaches import breaches

pytestmark = pytest.mark.integration


def unnumbered(reasons):
    """`code:path` of the validator's reasons, entries of arrays without their number, as Spark tells them."""
    return {
        f"{reason.code}:" + "/".join("*" if step.isdigit() else step for step in reason.path.split("/"))
        for reason in reasons
    }


def spark_says(spark, item, payloads):
    """Reasons of each payload."""
    from schemas.spark import parse, reasons

    rows = list(enumerate(payloads))
    frame = parse(spark.createDataFrame(rows, "number int, payload string"), item)
    said = {row.number: row.reasons for row in frame.select("number", reasons(item).alias("reasons")).collect()}
    return [said[number] for number, _ in rows]


@pytest.mark.parametrize("item", all_contracts(), ids=lambda item: item.name)
def test_spark_and_the_validator_agree_on_every_example_and_on_each_with_one_thing_broken(spark, item):
    examples = [json.loads(path.read_text()) for path, _ in item.examples()]
    passing = [json.loads(path.read_text()) for path, passes in item.examples() if passes]
    compact = examples + [breach.event for event in passing for breach in breaches(item, event)]
    # Only compact JSON may take the short way: a part of it once more with blanks, and the examples with escapes.
    spaced = examples + compact[len(examples) :: 5]
    events = [*compact, *spaced, *examples]
    texts = [
        *(json.dumps(event, separators=(",", ":"), ensure_ascii=False) for event in compact),
        *(json.dumps(event, indent=1, separators=(" ,", " :")) for event in spaced),
        *(re.sub(r"(?<=\w)a(?=\w*\")", r"\\u0061", json.dumps(event)) for event in examples),
    ]
    assert_agreed(spark, item, events, texts)


def assert_agreed(spark, item, events, texts):
    """Spark says of each text what the validator says of its event."""
    check = validator(item)
    differ = []
    for event, text, said in zip(events, texts, spark_says(spark, item, texts), strict=True):
        wanted = unnumbered(check(event))
        if set(said) != wanted:
            differ.append((text[:400], sorted(said), sorted(wanted)))
    assert not differ, differ[:5]


def test_spark_and_the_validator_agree_on_the_version_that_judges_an_event(spark, grown):
    named = [1, 2, 3, "1", 1.0, 2.0, True, None]
    events = [event | {"schema_version": version} for event in (PASSING, PASSING_2) for version in named]
    events += [breach.event for event in (PASSING, PASSING_2) for breach in breaches(grown.of(event), event)]
    texts = [json.dumps(event, separators=(",", ":")) for event in events]
    assert_agreed(spark, grown, events, texts)


def test_what_is_no_json_object_is_called_that(spark):
    texts = ["", " ", "{broken", "[1]", "5", "null", '"text"', "[{}]", '{"value": NaN}', "{'kind': 'tick'}", None]
    assert spark_says(spark, contract("sensor-readings"), texts) == [["json:"]] * len(texts)


def test_what_follows_the_object_is_not_overlooked(spark):
    item = contract("sensor-readings")
    tick = json.dumps(json.loads((item.folder / "pass-tick.json").read_text()))
    texts = [tick, tick + "\n", tick + " 5", tick + tick, f"{tick},{tick}", tick + "}", tick + ",{}"]
    assert spark_says(spark, item, texts) == [[], [], *[["json:"]] * 5]


def test_two_breaches_that_even_out_are_both_found(spark):
    """One text too few and one too many: a row is not clean because the sums agree."""
    item = contract("sensor-readings")
    tick = json.loads((item.folder / "pass-tick.json").read_text())
    even = json.dumps(tick | {"store_id": 5}, separators=(",", ":"))[:-1]
    texts = [even + ',"surplus":1}', even + ',"surplus" :1}', even + ',"surplus"\t:1}', even + ',"sequence":null}']
    surplus = {"type:/store_id", "unknown_field:/surplus"}
    assert [set(said) for said in spark_says(spark, item, texts)] == [
        *[surplus] * 3,
        {"type:/store_id", "type:/sequence"},
    ]


def test_a_text_full_of_escapes_does_not_stop_the_job(spark):
    item = contract("sensor-readings")
    tick = json.loads((item.folder / "pass-tick.json").read_text())
    [said] = spark_says(spark, item, [json.dumps(tick | {"raw_value": '"\\' * 100_000})])
    assert said == ["length:/raw_value"]


def test_typed_columns_are_the_contracts(spark):
    from schemas.spark import parse, struct_type

    for item in all_contracts():
        frame = parse(spark.createDataFrame([("{}",)], "payload string"), item)
        got = {field.name: field.dataType.simpleString() for field in frame.select("event.*").schema}
        assert got == {field.name: field.dataType.simpleString() for field in struct_type(item)}


def test_a_payload_is_parsed_once_for_its_typed_columns(spark):
    from schemas.spark import parse

    frame = parse(spark.createDataFrame([("{}",)], "payload string"), contract("stores"))
    plan = frame._jdf.queryExecution().optimizedPlan().toString()
    assert plan.count("from_json(") == 1


def test_an_instant_is_read_to_the_millisecond_in_utc(spark):
    from schemas.spark import parse

    item = contract("stores")
    payload = (item.folder / "pass-store.json").read_text()
    frame = parse(spark.createDataFrame([(payload,)], "payload string"), item)
    row = frame.selectExpr("unix_millis(event.event_time) AS ms", "event.holidays[0].date AS day").first()
    store = json.loads(payload)
    from ingestion.arrival import to_ms

    assert row.ms == to_ms(store["event_time"])
    assert row.day.isoformat() == store["holidays"][0]["date"]
