"""A new contract needs a schema file, its examples and nothing else: everything here is derived from such a folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from grocery.cli import app
from grocery.commands.contracts import derived
from grocery.settings import PROJECT
from ingestion.topics import topic_names, topic_settings
from schemas import BadContract, UnknownContract, all_contracts, contract
from schemas.dbt_sources import sources
from schemas.dictionary import dictionary
from schemas.expectations import suite
from schemas.flink import columns
from schemas.grammar import EVENT_DATE, LINEAGE, faults
from schemas.validate import validator
from tests.fixtures.added import FAILING, NAME, PASSING, TABLE, own_contracts, schema, write
from tests.ingestion.example import PSEUDONYMS, arrival, gate


def test_it_is_one_of_all_contracts_and_its_topic_is_made_as_every_events(added):
    assert added in all_contracts()
    assert NAME in topic_names()
    assert topic_settings(added) == topic_settings(contract("inventory"))
    assert contract(added.topic) == added


def test_its_validator_holds_events_against_it(added):
    check = validator(added)
    assert check(PASSING) == []
    told = {why: [(reason.code, reason.path) for reason in check(event)] for why, event in FAILING.items()}
    assert told == {
        "no-lane": [("required", "/lane_id")],
        "too-heavy-without-weight": [("required", "/weight")],
        "part-that-weighs-nothing": [("minimum", "/parts/0/weight")],
    }


def test_flink_and_spark_have_its_columns(added):
    from schemas.spark import struct_type

    assert "`parts` ARRAY<ROW<`product_id` STRING, `weight` DOUBLE>>" in columns(added)
    kinds = {field.name: field.dataType.simpleString() for field in struct_type(added)}
    assert kinds["event_time"] == "timestamp"
    assert kinds["parts"] == "array<struct<product_id:string,weight:double>>"


def test_the_quality_gate_has_a_suite_for_it(added):
    assert "weight: always there where verdict is too_heavy" in {one.text for one in suite(added)}


def test_dbt_and_the_dictionary_tell_of_it(added):
    [silver] = YAML(typ="safe").load(sources(all_contracts()))["sources"]
    (table,) = (one for one in silver["tables"] if one["name"] == TABLE)
    assert [column["name"] for column in table["columns"]] == [field.name for field in added.fields]
    assert f"\n## {NAME}\n" in dictionary(all_contracts())
    assert sum(NAME in text or TABLE in text for text in derived().values()) == 2


def test_it_comes_in_through_the_gate_which_hashes_and_looks_up_as_the_contract_says(added):
    plain = {name: value for name, value in PASSING.items() if name != "customer_id"} | {"loyalty_number": "4711"}
    (record,) = gate().admit(arrival(plain, NAME))
    assert (record.topic, record.key) == (NAME, "store-001")
    assert json.loads(record.value)["customer_id"] == PSEUDONYMS.of("4711")
    for wrong, code in (
        ({"lane_id": "s001-camera-01"}, "asset_class"),
        ({"lane_id": "s001-lane-77"}, "unknown_asset"),
        ({"customer_id": "4711"}, "pattern"),
        ({"event_time": "2027-10-05T12:00:00.000Z"}, "clock"),
    ):
        (refused,) = gate().admit(arrival(PASSING | wrong, NAME))
        assert [reason["code"] for reason in json.loads(refused.value)["reasons"]] == [code]


def test_the_command_line_lists_shows_and_checks_it(added):
    def grocery(*arguments):
        return CliRunner().invoke(app, ["contracts", *arguments])

    assert f"{NAME} v1" in grocery("list").output
    shown = grocery("show", NAME)
    assert shown.exit_code == 0, shown.exception
    assert "where verdict is too_heavy: weight must be there" in shown.output
    assert "4 examples of 1 contracts, 0 to correct" in grocery("check", "-c", NAME).output
    (added.folder / "pass-heavier.json").write_text(json.dumps(PASSING | {"weight": 1000}))
    (added.folder / "fail-no-lane.json").write_text(json.dumps(PASSING))
    wrong = grocery("check", "-c", NAME)
    assert wrong.exit_code == 1
    assert "pass-heavier.json: maximum: weight is 1000, it must be at most 500" in wrong.output
    assert "fail-no-lane.json: keeps the contract, though by its name it must not" in wrong.output


def test_what_is_started_from_the_command_line_finds_it_from_any_folder(tmp_path, monkeypatch):
    write(tmp_path / "ours")
    monkeypatch.chdir(tmp_path)
    with own_contracts(Path("ours"), monkeypatch):
        assert CliRunner().invoke(app, ["contracts", "show", NAME, "--flink"]).exit_code == 0
        monkeypatch.chdir("/")
        code = f"from schemas import contract; print(contract({NAME!r}).table)"
        started = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True
        )
    assert started.stdout == f"{TABLE}\n", started.stderr


def test_without_the_setting_nobody_knows_it(tmp_path):
    write(tmp_path)
    assert NAME not in topic_names()
    with pytest.raises(UnknownContract):
        contract(NAME)


def test_a_folder_can_be_asked_for_its_contracts_alone(tmp_path):
    write(tmp_path)
    assert [item.name for item in all_contracts(tmp_path)] == [NAME]
    assert contract(NAME, folder=tmp_path).version == 1


FIELDS = schema()["properties"]
WHERE_FITS = {"properties": {"verdict": {"const": "fits"}}, "required": ["verdict"]}
IN_THE_WAY = {
    "one of the project's contracts; give yours another name": {"name": "inventory"},
    "x-topic inventory belongs to inventory; give yours one of its own": {"x-topic": "inventory"},
    "alerts. and [*] are for the jobs' own": {"x-topic": "alerts.carts"},
    "x-kind reference: made by the project's own parts only": {"x-kind": "reference"},
    "cart-weights: x-retention must be given": {"x-retention": "PT5H"},
    "a contract's name is small letters": {"name": "Cart_Weights"},
    "cart-weights.verdict: oneOf is not known": {"properties": FIELDS | {"verdict": FIELDS["verdict"] | {"oneOf": []}}},
    "direct personal data would be kept in plain": {
        "properties": FIELDS | {"verdict": FIELDS["verdict"] | {"x-pii": "direct"}}
    },
    "no JSON Schema: ": {"properties": FIELDS | {"lane_id": FIELDS["lane_id"] | {"pattern": "("}}},
    "cart-weights.offset: silver has a column offset of its own beside the contract's; rename it": {
        "properties": FIELDS | {"offset": FIELDS["lane_id"]}
    },
    "is not built like a JSON Schema": {"properties": FIELDS | {"lane_id": ["string"]}},
}


@pytest.mark.parametrize(("told", "changes"), IN_THE_WAY.items(), ids=list(IN_THE_WAY))
def test_a_contract_that_is_wrong_or_in_anothers_way_is_refused_by_name(tmp_path, monkeypatch, told, changes):
    folder = write(tmp_path / "ours", **changes)
    with own_contracts(tmp_path / "ours", monkeypatch):
        with pytest.raises(BadContract, match=told) as refused:
            all_contracts()
        assert str(folder / "v1.json") in str(refused.value)
        for command in ("list", "check"):
            result = CliRunner().invoke(app, ["contracts", command])
            assert result.exit_code == 2
            assert str(folder / "v1.json") in result.output


def test_a_folder_without_a_contract_is_told(tmp_path, monkeypatch):
    with own_contracts(tmp_path / "nowhere", monkeypatch), pytest.raises(BadContract, match="nowhere: no contract"):
        all_contracts()


@pytest.mark.parametrize("field", [*LINEAGE, EVENT_DATE, "Run_ID", "two words", "_change_type", "Weight"])
def test_a_field_with_which_silver_could_not_be_made_is_refused(field):
    told = list(faults(NAME, 1, schema(properties=FIELDS | {field: FIELDS["lane_id"]})))
    # Silver leaves `topic` to the contract.
    assert [fault.partition(":")[0] for fault in told] == ([] if field == "topic" else [f"{NAME}.{field}"])
    assert all("rename" in fault for fault in told)


def test_what_no_derivation_knows_is_named_where_it_stands():
    def broken(field, **more):
        return schema(properties=FIELDS | {field: FIELDS[field] | more})

    told = {
        "verdict: format must be date-time or date": broken("verdict", format="uri"),
        "x-key names nothing, which must be required": schema(**{"x-key": "lane_id,nothing"}),
        "colour is named in a rule, but is no field": schema(dependencies={"colour": ["weight"]}),
        "an if must require what it tests": schema(
            allOf=[{"if": {"properties": {"verdict": {"const": "fits"}}}, "then": {}}]
        ),
        "anyOf of properties; required alone is known": schema(
            allOf=[{"if": WHERE_FITS, "then": {"anyOf": [{"properties": {"weight": {"minimum": 1}}}]}}]
        ),
        "paint is named in a rule, but is no field": schema(
            allOf=[{"if": WHERE_FITS, "then": {"anyOf": [{"required": ["weight"]}, {"required": ["paint"]}]}}]
        ),
        "its const must be 1": broken("schema_version", const=2),
        "x-pseudonym-of loyalty_number, which is a field too": schema(
            properties=FIELDS | {"loyalty_number": FIELDS["lane_id"]}
        ),
        "needs a pattern like": broken("customer_id", pattern="^[a-z]+$"),
        "event_id: every event has it": schema(required=["store_id", "event_time", "schema_version"]),
    }
    for text, doc in told.items():
        assert any(text in fault for fault in faults(NAME, 1, doc)), (text, list(faults(NAME, 1, doc)))
    assert list(faults(NAME, 1, schema())) == []
