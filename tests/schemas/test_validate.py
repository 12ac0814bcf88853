"""The validator refuses every single breach that a contract can see."""

import json

import pytest

from schemas import all_contracts, contract
from schemas.validate import validator
from tests.schemas.breaches import breaches

READINGS = contract("sensor-readings")


def example(item, name):
    return json.loads((item.folder / f"{name}.json").read_text())


PASSING = [
    pytest.param(item, path, id=f"{item.name}/{path.stem}")
    for item in all_contracts()
    for path, passes in item.examples()
    if passes
]


@pytest.mark.parametrize(("item", "path"), PASSING)
def test_whatever_is_broken_in_an_event_is_named_where_it_is(item, path):
    check = validator(item)
    missed = []
    for breach in breaches(item, json.loads(path.read_text())):
        found = [(reason.code, reason.path) for reason in check(breach.event)]
        if (breach.code, breach.path) not in found:
            missed.append((str(breach), found))
    assert not missed


def used(value, at=""):
    """Every field that an event has, at any depth."""
    if isinstance(value, list):
        return {name for one in value for name in used(one, at)}
    if not isinstance(value, dict):
        return set()
    return {f"{at}/{name}" for name in value} | {
        name for key, inner in value.items() for name in used(inner, f"{at}/{key}")
    }


def declared(schema, at=""):
    for name, field in schema["properties"].items():
        yield f"{at}/{name}"
        inner = field.get("items", field)
        if "properties" in inner:
            yield from declared(inner, f"{at}/{name}")


@pytest.mark.parametrize("item", all_contracts(), ids=lambda item: item.name)
def test_examples_use_every_field_so_that_every_limit_is_tried(item):
    there = {name for path, passes in item.examples() if passes for name in used(json.loads(path.read_text()))}
    assert set(declared(item.schema)) - there == set()


def test_a_limit_that_holds_only_for_some_says_for_which():
    [reason] = validator(READINGS)(example(READINGS, "fail-wrong-unit"))
    assert (reason.code, reason.path) == ("unit", "/unit")
    assert 'unit is "kW", it must be Cel where metric is temperature' in reason.message
    [reason] = validator(READINGS)(example(READINGS, "fail-no-device"))
    assert "device_id is missing where kind is reading" in reason.message


def test_nan_is_told_as_what_it_is():
    [reason] = validator(READINGS)(example(READINGS, "pass-freezer") | {"value": float("nan")})
    assert reason.code == "type"
    assert "value is NaN" in reason.message


def test_a_long_value_is_cut_in_the_message():
    [reason] = validator(READINGS)(example(READINGS, "pass-freezer") | {"asset_id": "x" * 5000})
    assert reason.code == "pattern"
    assert len(reason.message) < 250


def test_a_wrong_time_is_told_by_an_example_not_by_a_regular_expression():
    [reason] = validator(READINGS)(example(READINGS, "fail-local-time"))
    assert "2026-10-05T06:30:00.000Z (UTC, milliseconds)" in reason.message
    assert "[0-9]" not in reason.message


def test_a_name_with_a_slash_is_escaped_in_the_path():
    [reason] = validator(READINGS)(example(READINGS, "pass-freezer") | {"a/b~c": 1})
    assert reason.path == "/a~1b~0c"
