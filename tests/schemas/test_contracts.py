"""The contracts, held against their examples, and what is derived from them."""

import copy
import json

import pytest
from typer.testing import CliRunner

from grocery.cli import app
from grocery.commands.contracts import derived
from schemas import UnknownContract, all_contracts, contract
from schemas.flink import columns, create_table
from schemas.validate import validator

EXAMPLES = [
    pytest.param(item, path, passes, id=f"{item.name}/{path.stem}")
    for item in all_contracts()
    for path, passes in item.examples()
]


@pytest.mark.parametrize(("item", "path", "passes"), EXAMPLES)
def test_an_example_keeps_or_breaks_its_contract_as_its_name_says(item, path, passes):
    found = validator(item)(json.loads(path.read_text()))
    assert bool(found) != passes, found


@pytest.mark.parametrize("item", all_contracts(), ids=lambda item: item.name)
def test_every_contract_has_examples_of_both_kinds(item):
    verdicts = {passes for _, passes in item.examples()}
    assert verdicts == {True, False}


@pytest.mark.parametrize("item", all_contracts(), ids=lambda item: item.name)
def test_every_required_field_is_missed_when_it_is_missing(item):
    example = json.loads(next(path for path, passes in item.examples() if passes).read_text())
    check = validator(item)
    for field in item.fields:
        if field.required:
            broken = {name: value for name, value in example.items() if name != field.name}
            assert ("required", f"/{field.name}") in {(reason.code, reason.path) for reason in check(broken)}


@pytest.mark.parametrize("item", all_contracts(), ids=lambda item: item.name)
def test_every_field_says_what_it_is_and_has_limits(item):
    for field in item.fields:
        assert field.description
        if field.schema["type"] == "string":
            limited = {"pattern", "enum", "maxLength", "x-encrypted"} & field.schema.keys()
            assert limited, f"{item.name}.{field.name}: any text of any length would pass"


def test_a_reason_names_the_field_its_value_and_the_limit():
    reading = json.loads((contract("sensor-readings").folder / "fail-too-hot.json").read_text())
    [reason] = validator(contract("sensor-readings"))(reading)
    assert (reason.code, reason.path) == ("maximum", "/value")
    assert "85" in reason.message
    assert "70" in reason.message


def test_a_unit_that_does_not_fit_its_metric_is_called_that():
    reading = json.loads((contract("sensor-readings").folder / "fail-wrong-unit.json").read_text())
    assert [reason.code for reason in validator(contract("sensor-readings"))(reading)] == ["unit"]


def test_a_personal_value_is_never_repeated_in_a_reason():
    sale = json.loads((contract("pos-transactions").folder / "fail-plain-customer.json").read_text())
    reasons = validator(contract("pos-transactions"))(sale)
    assert reasons
    assert not any("Jane" in reason.message for reason in reasons)


def test_all_breaches_of_an_event_are_named_not_only_the_first():
    reading = json.loads((contract("sensor-readings").folder / "pass-freezer.json").read_text())
    broken = copy.deepcopy(reading) | {"unit": "kW", "store_id": "X", "surplus": 1}
    codes = [reason.code for reason in validator(contract("sensor-readings"))(broken)]
    assert sorted(codes) == ["pattern", "unit", "unknown_field"]


def test_a_topic_names_its_contract_and_a_wrong_name_lists_those_there_are():
    assert contract("alerts.cold-chain").name == "alert"
    with pytest.raises(UnknownContract, match="sensor-readings"):
        contract("sensor-reading")


def test_flink_columns_have_the_contracts_types():
    ddl = create_table(contract("pos-transactions"), "sales", {"connector": "kafka", "topic": "it's"})
    assert "`event_time` TIMESTAMP_LTZ(3)" in ddl
    assert "`total` BIGINT" in ddl
    assert "`lines` ARRAY<ROW<`line_no` BIGINT" in ddl
    assert "'topic' = 'it''s'" in ddl
    assert "`labels` MAP<STRING, STRING>" in columns(contract("alert"))


def test_derived_files_are_current():
    stale = [path.name for path, text in derived().items() if not path.exists() or path.read_text("utf-8") != text]
    assert not stale, "run: make generate"


def test_check_names_file_line_and_breach(tmp_path):
    good = json.dumps(json.loads((contract("lane-status").folder / "pass-open.json").read_text()))
    file = tmp_path / "lanes.ndjson"
    file.write_text(
        good + "\n" + good.replace('"open"', '"ajar"') + "\n{broken\n" + good.replace("1,", "NaN,", 1) + "\n"
    )
    result = CliRunner().invoke(app, ["contracts", "check", str(file), "--contract", "lane-status"])
    assert result.exit_code == 1
    assert "lanes.ndjson:2: enum" in result.output
    assert "lanes.ndjson:3: json" in result.output
    assert "4 events checked, 3 break" in result.output


def test_check_asks_for_the_contract_where_the_file_names_none():
    file = contract("lane-status").folder / "pass-open.json"
    result = CliRunner().invoke(app, ["contracts", "check", str(file)])
    assert result.exit_code == 2
    assert "--contract" in result.output
