"""Row checks in Spark say what the validator says."""

import json

import pytest

from schemas import all_contracts
from schemas.validate import validator

pytestmark = pytest.mark.integration


def codes(reasons):
    """Codes with their paths, entries of arrays unnumbered."""
    found = set()
    for code, path in reasons:
        steps = ["*" if step.isdigit() else step for step in path.split("/")]
        found.add((code, "/".join(steps)))
    return found


def cut(value):
    """Every event that has one field less, or one of the wrong type, at any depth."""
    if isinstance(value, dict):
        for name in value:
            yield {key: inner for key, inner in value.items() if key != name}
            yield value | {name: None}
            yield value | {name: {"wrong": []}} if isinstance(value[name], int | float | bool | list) else value
            for inner in cut(value[name]):
                yield value | {name: inner}
    elif isinstance(value, list) and value:
        for inner in cut(value[0]):
            yield [inner, *value[1:]]


@pytest.mark.parametrize("item", all_contracts(), ids=lambda item: item.name)
def test_spark_and_the_validator_agree_on_every_example_and_on_each_with_something_broken(spark, item):
    from schemas.spark import parse, reasons

    events = [json.loads(path.read_text()) for path, _ in item.examples()]
    events += [broken for path, passes in item.examples() if passes for broken in cut(json.loads(path.read_text()))]
    rows = [(number, json.dumps(event)) for number, event in enumerate(events)]
    frame = parse(spark.createDataFrame(rows, "number int, payload string"), item)
    said = {row.number: row.reasons for row in frame.select("number", reasons(item).alias("reasons")).collect()}
    check = validator(item)
    for number, event in enumerate(events):
        wanted = codes((reason.code, reason.path) for reason in check(event))
        got = codes(reason.split(":", 1) for reason in said[number])
        assert {path for _, path in got} == {path for _, path in wanted}, event


def test_what_is_no_json_object_is_called_that(spark):
    from schemas.spark import parse, reasons

    item = next(item for item in all_contracts() if item.name == "sensor-readings")
    rows = [("{broken",), ("[1]",), ('{"value": NaN}',), ("",)]
    frame = parse(spark.createDataFrame(rows, "payload string"), item)
    assert [row.r for row in frame.select(reasons(item).alias("r")).collect()] == [["json:"]] * 4
