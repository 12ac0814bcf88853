"""A contract with two versions: each record is judged by the one it names, and what has columns has those of both."""

import json
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from alerting.events import read_event
from grocery.cli import app
from schemas import BadContract, UnknownContract, all_contracts, contract
from schemas.contract import Contract
from schemas.dbt_sources import sources
from schemas.dictionary import dictionary
from schemas.expectations import suite
from schemas.flink import columns
from schemas.validate import validator
from schemas.versions import changes
from tests.fixtures.added import (
    FAILING,
    FAILING_2,
    NAME,
    PASSING,
    PASSING_2,
    TABLE,
    own_contracts,
    schema,
    schema_2,
    write,
    write_2,
)
from tests.ingestion.example import arrival, gate

HEAVY = PASSING | {"weight": 120}


def grocery(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["contracts", *arguments])


def test_the_newest_version_stands_for_all_and_an_older_one_can_be_asked_for(grown: Contract):
    assert [one.version for one in grown.versions] == [1, 2]
    assert all_contracts().count(grown) == 1
    assert [one.version for one in contract(NAME, 1).versions] == [1]
    with pytest.raises(UnknownContract, match="no version 3; there are 1, 2"):
        contract(NAME, 3)


def test_an_event_is_held_against_the_version_it_names(grown: Contract):
    check = validator(grown)
    for event, told in [
        (PASSING, []),
        (HEAVY, []),
        (PASSING_2, []),
        (FAILING["no-lane"], [("required", "/lane_id")]),
        (FAILING_2["over-hundred"], [("maximum", "/weight")]),
        (FAILING_2["no-scale"], [("required", "/scale")]),
        (PASSING | {"scale": "s-7"}, [("unknown_field", "/scale")]),
        (PASSING_2 | {"schema_version": 1.0}, [("type", "/schema_version")]),
    ]:
        assert [(reason.code, reason.path) for reason in check(event)] == told, event


def test_a_version_that_is_not_there_is_refused_with_those_that_are(grown: Contract):
    [reason] = validator(grown)(PASSING_2 | {"schema_version": 3})
    assert (reason.code, reason.path) == ("version", "/schema_version")
    assert "schema_version is 3, this reader knows versions 1 and 2; send one of those" in reason.message


def test_the_gate_lets_both_in_and_names_the_known_ones_for_any_other(grown: Contract):
    for event in (HEAVY, PASSING_2):
        (record,) = gate().admit(arrival(event, NAME))
        assert (record.topic, json.loads(record.value)) == (NAME, event)
    for event, code in (
        (FAILING_2["over-hundred"], "maximum"),
        (PASSING | {"scale": "s-7"}, "unknown_field"),
        (PASSING_2 | {"schema_version": 3}, "version"),
    ):
        (letter,) = gate().admit(arrival(event, NAME))
        [reason] = json.loads(letter.value)["reasons"]
        assert reason["code"] == code
    assert "knows versions 1 and 2" in reason["message"]


def test_the_gate_looks_assets_up_as_the_named_version_says(tmp_path, monkeypatch):
    """A lane by version 1; any asset by version 2."""
    fields = schema_2()["properties"]
    anywhere = {"properties": fields | {"lane_id": fields["lane_id"] | {"x-asset": "any"}}}
    write_2(write(tmp_path / "ours"), **anywhere)
    with own_contracts(tmp_path / "ours", monkeypatch):
        at_camera = {"lane_id": "s001-camera-01"}
        (accepted,) = gate().admit(arrival(PASSING_2 | at_camera, NAME))
        (refused,) = gate().admit(arrival(PASSING | at_camera, NAME))
    assert accepted.topic == NAME
    assert [reason["code"] for reason in json.loads(refused.value)["reasons"]] == ["asset_class"]


def test_the_suite_expects_of_each_row_what_its_version_says(grown: Contract):
    by_text = {one.text: one for one in suite(grown)}
    assert len(by_text) == len(suite(grown))
    assert by_text["lane_id: always there"].where == {}
    assert "schema_version: 1, 2" in by_text
    assert by_text["scale: always there where schema_version is 2"].where == {"schema_version": [2]}
    for version, most in ((1, 500), (2, 100)):
        [limit] = [one for one in by_text.values() if f"at most {most}" in one.text]
        assert limit.where == {"schema_version": [version]}
    assert by_text["weight: always there where verdict is too_heavy"].where == {"verdict": ["too_heavy"]}


def test_a_rule_of_the_newer_version_is_expected_of_its_rows_alone(tmp_path, monkeypatch):
    rule = {
        "if": {"properties": {"verdict": {"const": "fits"}}, "required": ["verdict"]},
        "then": {"required": ["parts"], "properties": {"weight": {"maximum": 50}}},
    }
    write_2(write(tmp_path / "ours"), allOf=[*schema()["allOf"], rule])
    with own_contracts(tmp_path / "ours", monkeypatch):
        [limit] = [one for one in suite(contract(NAME)) if "at most 50 " in one.text]
        page = dictionary(all_contracts())
    assert limit.where == {"verdict": ["fits"], "schema_version": [2]}
    assert limit.text == "weight: at most 50 where verdict is fits and schema_version is 2"
    assert "- in version 2: where `verdict` is fits: `parts` must be there" in page


def test_dbt_the_dictionary_and_flink_have_the_columns_of_both(grown: Contract):
    [silver] = YAML(typ="safe").load(sources(all_contracts()))["sources"]
    (table,) = (one for one in silver["tables"] if one["name"] == TABLE)
    tests = {column["name"]: column.get("data_tests") for column in table["columns"]}
    assert tests["lane_id"] == ["not_null"]
    assert tests["scale"] == [{"not_null": {"config": {"where": "schema_version in (2)"}}}]
    page = dictionary(all_contracts())
    assert f"| [{NAME}](#{NAME}) | 1, 2 |" in page
    assert "| `schema_version` | whole number | yes | Version of this contract. (one of 1, 2) |" in page
    assert "| `scale` | text | in version 2 | The scale. (like `^s-[0-9]+$`; not in version 1) |" in page
    assert "| `parts[].tare` | number |  | Its wrapping. (at least 0; unit kg; not in version 1) |" in page
    assert "at most 100; unit kg; in version 1: above 0; at most 500; unit kg) |" in page
    assert "`parts` ARRAY<ROW<`tare` DOUBLE, `product_id` STRING, `weight` DOUBLE>>" in columns(grown)


def test_the_command_line_shows_both_and_holds_each_ones_examples_against_it(grown: Contract):
    assert f"{NAME} v1, v2" in grocery("list").output
    assert json.loads(grocery("show", NAME, "--example").output) == PASSING_2
    assert json.loads(grocery("show", NAME, "--example", "--version", "1").output) == PASSING
    assert json.loads(grocery("show", NAME, "--json", "--version", "1").output) == schema()
    assert "7 examples of 1 contracts, 0 to correct" in grocery("check", "-c", NAME).output
    for path in grown.folder.glob("fail-*.json"):
        if json.loads(path.read_text())["schema_version"] == 2:
            path.unlink()
    wrong = grocery("check", "-c", NAME)
    assert wrong.exit_code == 1
    assert "no fail-*.json of version 2; write an event that breaks it" in wrong.output


FIELDS = schema_2()["properties"]
ITEM = FIELDS["parts"]["items"]


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: field for other, field in fields.items() if other != name}


def part(**fields: Any) -> dict[str, Any]:
    return FIELDS | {"parts": FIELDS["parts"] | {"items": ITEM | {"properties": ITEM["properties"] | fields}}}


REFUSED = {
    "weight: gone or renamed; rows of version 1 have it": {
        "properties": without(FIELDS, "weight") | {"mass": FIELDS["weight"]},
        "dependencies": {},
        "allOf": [],
    },
    "weight: string, in version 1 number": {
        "properties": FIELDS | {"weight": {"type": "string", "description": "As printed.", "maxLength": 9}}
    },
    "weight: integer, in version 1 number": {
        "properties": FIELDS | {"weight": {"type": "integer", "description": "In kilograms.", "x-unit": "kg"}}
    },
    "weight: x-unit is g, in version 1 kg": {"properties": FIELDS | {"weight": FIELDS["weight"] | {"x-unit": "g"}}},
    "customer_id: x-pii is None, in version 1 pseudonymous": {
        "properties": FIELDS | {"customer_id": without(FIELDS["customer_id"], "x-pii")}
    },
    r"customer_id: pattern is \^car_": {
        "properties": FIELDS | {"customer_id": FIELDS["customer_id"] | {"pattern": "^car_[0-9a-f]{32}$"}}
    },
    r"parts\[\].weight: boolean, in version 1 number": {
        "properties": part(weight={"type": "boolean", "description": "Was it weighed?"})
    },
    "topic: not in version 1, of whose rows silver's own column topic says": {
        "properties": FIELDS | {"topic": FIELDS["lane_id"]}
    },
    "x-key is lane_id, of version 1 store_id": {"x-key": "lane_id"},
    "x-topic is carts, of version 1 cart-weights": {"x-topic": "carts"},
}


@pytest.mark.parametrize(("told", "wrong"), REFUSED.items(), ids=list(REFUSED))
def test_a_version_that_cannot_lie_beside_the_one_before_is_refused_by_name(tmp_path, monkeypatch, told, wrong):
    made = write(tmp_path / "ours")
    write_2(made, **wrong)
    with own_contracts(tmp_path / "ours", monkeypatch):
        with pytest.raises(BadContract, match=told) as refused:
            all_contracts()
        assert str(made / "v2.json") in str(refused.value)
        result = grocery("check")
    assert result.exit_code == 2
    assert str(made / "v2.json") in result.output


def test_anything_else_may_be_stricter_or_looser():
    looser = schema_2() | {"required": schema()["required"][:-1], "x-retention": "P9D", "allOf": []}
    assert list(changes(NAME, (1, schema()), looser)) == []
    assert list(changes(NAME, (2, schema_2()), looser | {"x-max-lateness": "P1D"})) == []


def test_a_metric_that_has_another_unit_than_before_is_refused():
    before = contract("sensor-readings").schema
    newer = json.loads(json.dumps(before))
    for rule in newer["allOf"]:
        if rule["if"]["properties"].get("metric") == {"const": "temperature"} and "unit" in rule["then"]["properties"]:
            rule["then"]["properties"]["unit"]["const"] = "[degF]"
    [told] = changes("sensor-readings", (1, before), newer)
    assert '[degF] where metric is "temperature", in version 1 Cel' in told


def test_the_engine_reads_either_version():
    folder = contract("sensor-readings").folder
    reading = json.loads((folder / "pass-freezer.json").read_text())
    newer = reading | {"schema_version": 2, "battery": 0.4}
    assert read_event(json.dumps(newer)) == read_event(json.dumps(reading))
