import pytest

from schemas.contract import all_contracts, contract
from schemas.expectations import CRITICAL, WARNING, suite


def texts(name: str) -> list[str]:
    return [one.text for one in suite(contract(name))]


@pytest.mark.parametrize("item", all_contracts(), ids=lambda item: item.name)
def test_every_contract_gives_a_suite_whose_expectations_can_be_told_apart(item):
    found = [one.text for one in suite(item)]
    assert len(found) == len(set(found))
    required = [one.name for one in item.fields if one.required and one.schema["type"] not in ("array", "object")]
    assert {f"{name}: always there" for name in required} <= set(found)


def test_limits_that_hold_under_a_condition_only_are_checked_under_it():
    limit = next(one for one in suite(contract("sensor-readings")) if "at most 70" in one.text)
    assert limit.where == {"metric": ["temperature"]}
    assert limit.arguments == {"column": "value", "min_value": -90, "max_value": 70}
    assert "original_transaction_id: always there where kind is return or void" in texts("pos-transactions")


def test_a_batch_without_rows_is_a_warning_and_a_broken_row_is_critical():
    by_text = {one.text: one.severity for one in suite(contract("stores"))}
    assert by_text["something new arrived"] == WARNING
    assert by_text["event_id: always there"] == CRITICAL


def test_instants_are_typed_so_their_pattern_is_not_checked():
    assert not [text for text in texts("stores") if text.startswith("event_time: like")]
