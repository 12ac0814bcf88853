"""The contracts, held against their examples, and what is derived from them."""

import copy
import json

import jsonschema_rs
import pytest
from ruamel.yaml import YAML

from grocery.commands.contracts import derived
from grocery.settings import PROJECT
from ingestion.topics import JOB_ALERTS
from schemas import UnknownContract, all_contracts, contract
from schemas.contract import FOLDER
from schemas.dbt_sources import sources
from schemas.dictionary import dictionary, marts
from schemas.flink import columns, create_table
from schemas.grammar import faults
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


@pytest.mark.parametrize("name", ["scan-events", "orders", "geofence-events"])
def test_what_must_fail_fails_for_one_reason(name):
    check = validator(contract(name))
    failing = [path for path, passes in contract(name).examples() if not passes]
    several = {path.stem: found for path in failing if len(found := check(json.loads(path.read_text()))) != 1}
    assert not several


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


def test_the_dictionary_has_every_field_and_every_rule():
    page = dictionary(all_contracts())
    for item in all_contracts():
        assert f"\n## {item.name}\n" in page
    assert "| `lines[].gtin` | text |  | GTIN-8" in page
    assert "- where `kind` is return or void: `original_transaction_id` must be there" in page
    assert "- where `holidays[].closed` is false: `holidays[].opens` and `holidays[].closes` must be there" in page
    assert "- `price` only together with `currency`" in page
    assert r"like `^([0-9]{8}\|[0-9]{12,14})$`" in page


def test_the_dictionary_has_every_table_that_analysts_query_with_its_grain_key_and_types():
    page = derived()[PROJECT / "docs" / "data-dictionary.md"]
    for model in (PROJECT / "dbt/models/marts").glob("*.sql"):
        assert f"\n## {model.stem}\n\nOne row per " in page
    told = "One row per store and local hour for which pickup orders were promised"
    assert f"| [rpt_curbside_service](#rpt_curbside_service) | {told} | `store_id`, `hour_start_utc` |" in page
    assert "| `total_paid` | decimal(18, 3) | What was paid in all, in `currency`. |" in page


def test_a_mart_is_told_in_one_line_a_column_whatever_its_description_holds():
    unique = {"unique_combination": {"arguments": {"columns": ["day"]}}}
    column = {"name": "day", "data_type": "date", "description": "One | or\n another."}
    model = {"name": "m", "description": "One row per day: and no more.\n", "data_tests": [{"x": {}}, unique]}
    page = marts([model | {"columns": [column, {"name": "bare"}]}])
    assert "| [m](#m) | One row per day | `day` |" in page
    assert "| `day` | date | One \\| or another. |\n| `bare` |  |  |" in page


def test_sources_have_every_table_with_its_columns_and_what_must_be_there():
    [silver] = YAML(typ="safe").load(sources(all_contracts()))["sources"]
    assert silver["name"] == "silver"
    tables = {table["name"]: table for table in silver["tables"]}
    assert set(tables) == {item.table for item in all_contracts()}
    columns = {column["name"]: column for column in tables["sensor_readings"]["columns"]}
    assert "not_null" in columns["event_id"]["data_tests"]
    assert "data_tests" not in columns["value"]
    assert columns["value"]["description"] == "The measured value, in `unit`."


def test_a_tick_copies_stores_assets_and_commands_in_the_shape_of_their_own_contracts():
    tick = contract("sensor-readings").schema["properties"]
    commands = contract("alert-commands").schema
    for shape, origin in (
        (tick["store"], contract("stores")),
        (tick["assets"]["items"], contract("assets")),
        (tick["commands"]["items"], contract("alert-commands")),
    ):
        theirs = origin.schema["properties"]
        assert shape["properties"] == {name: theirs[name] for name in shape["properties"]}, origin.name
    relayed = tick["commands"]["items"]
    assert relayed["properties"].keys() == commands["properties"].keys()
    assert [relayed[word] for word in RULES] == [commands[word] for word in RULES]


def test_lists_that_several_contracts_share_are_the_same_in_all():
    def values(name, field):
        return contract(name).schema["properties"][field]["enum"]

    classes, readings = values("assets", "asset_class"), contract("sensor-readings").schema["properties"]
    device = contract("assets").schema["properties"]["devices"]["items"]["properties"]
    expected = readings["roster"]["items"]["properties"]
    assert values("sensor-readings", "asset_class") == expected["asset_class"]["enum"] == classes
    assert values("alert-commands", "asset_class") == values("derived-metrics", "asset_class") == [*classes, "store"]
    assert values("sensor-readings", "metric") == expected["metric"]["enum"] == device["metric"]["enum"]
    assert values("derived-metrics", "zone_kind") == values("cv-detections", "zone_kind")
    assert not set(values("derived-metrics", "metric")) & set(values("sensor-readings", "metric"))
    assert tuple(values("alert-commands", "topic")) == JOB_ALERTS


@pytest.mark.parametrize("name", ["sensor-readings", "derived-metrics"])
def test_every_metric_has_a_unit_and_limits(name):
    item = contract(name)
    bound = {
        part["if"]["properties"]["metric"]["const"]: part["then"]["properties"]
        for part in item.schema["allOf"]
        if "metric" in part["if"]["properties"]
    }
    assert list(bound) == item.schema["properties"]["metric"]["enum"]
    for limits in bound.values():
        assert limits["unit"]["const"] in item.schema["properties"]["unit"]["enum"]
        assert limits["value"].keys() == {"minimum", "maximum"}


RULES = ("required", "additionalProperties", "allOf", "dependencies")


@pytest.mark.parametrize("item", all_contracts(), ids=lambda item: item.name)
def test_contracts_keep_to_the_part_of_json_schema_that_every_derivation_covers(item):
    assert list(faults(item.name, item.version, item.schema)) == []
    jsonschema_rs.Draft7Validator(item.schema)
    if item.folder.parent == FOLDER:
        assert item.schema["$id"] == f"urn:smart-grocery:{item.name}:{item.version}"
