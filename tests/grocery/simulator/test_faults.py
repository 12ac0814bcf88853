"""Fault plans: what is said about a wrong one, and what a right one becomes."""

from pathlib import Path

import pytest

from grocery.settings import PROJECT
from grocery.simulator.faults import KINDS, FaultPlan, PlanError, seconds
from ingestion.reference import Reference


@pytest.fixture(scope="module")
def chain() -> Reference:
    return Reference.from_folder(PROJECT / "chain")


def faults_of(plan: FaultPlan, chain: Reference, store: str = "store-001", days: float = 1):
    assets = [a for a in chain.assets.values() if a["store_id"] == store]
    return plan.of(chain.stores[store], assets, days * 86400)


def plan_of(folder: Path, text: str) -> FaultPlan:
    path = folder / "plan.yaml"
    path.write_text(text, "utf-8")
    return FaultPlan.load(path)


@pytest.mark.parametrize(
    ("text", "expected"), [("45s", 45), ("10m", 600), ("1h 30m", 5400), ("1d", 86400), ("1.5h", 5400), ("2h30m", 9000)]
)
def test_durations_are_read(text, expected):
    assert seconds(text, "after", "plan.yaml:1") == expected


def test_the_shipped_plan_has_every_kind_of_fault_for_the_example_chain(chain):
    plan = FaultPlan.load()
    plan.check(chain)
    found = {f.fault for store in chain.stores for f in faults_of(plan, chain, store)}
    assert found == set(KINDS)


def test_a_cadence_brings_a_fault_again(chain, tmp_path):
    plan = plan_of(
        tmp_path, "faults:\n- {fault: iced-coil, store: each, asset: cooler-01, after: 2h, lasts: 1h, every: 1d}\n"
    )
    assert [f.start for f in faults_of(plan, chain, days=3)] == [7200, 7200 + 86400, 7200 + 2 * 86400]


def test_a_network_outage_covers_the_assets_of_its_area(chain, tmp_path):
    plan = plan_of(
        tmp_path, "faults:\n- {fault: network-outage, store: store-001, area: Frozen aisle, after: 1h, lasts: 9m}\n"
    )
    assert faults_of(plan, chain)[0].covers == tuple(f"s001-freezer-0{n}" for n in range(1, 6))


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{fault: door_ajar, store: each}", "plan.yaml:2: fault: door_ajar is not known; there are compressor-failure"),
        ("{fault: slow-leak, store: each, asset: freezer-01, after: 1h}", "plan.yaml:2: slow-leak needs `lasts`"),
        ("{fault: slow-leak, store: each, after: 1h, lasts: 1h}", "plan.yaml:2: slow-leak needs `asset`"),
        (
            "{fault: door-ajar, store: each, asset: freezer-01, after: 1h, lasts: 1h, magnitude: 2}",
            "plan.yaml:2: magnitude: 2 for door-ajar; it must be from 0.01 to 1 (how far the case stands open",
        ),
        (
            "{fault: slow-leak, store: each, asset: freezer-01, after: soon, lasts: 1h}",
            "plan.yaml:2: after: soon is no duration; write it like 1h 30m or 45s",
        ),
        (
            "{fault: slow-leak, store: each, asset: freezer-01, after: 1h, lasts: 2h, every: 1h}",
            "plan.yaml:2: every: 1h must be longer than lasts (2h)",
        ),
        ("{fault: bad-input, store: each, asset: freezer-01, after: 1h}", "plan.yaml:2: what: bad-input needs it"),
        ("{fault: slow-leak, size: 3}", "plan.yaml:2: size: no such field"),
    ],
)
def test_a_wrong_entry_is_named_with_its_line_value_and_limit(tmp_path, entry, told):
    with pytest.raises(PlanError) as error:
        plan_of(tmp_path, f"faults:\n- {entry}\n")
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("asset: freezer-77", "store-001 has no asset freezer-77; write it without the store's prefix"),
        ("asset: lane-01", "s001-lane-01 is a lane; door-ajar befalls freezer or cooler"),
        ("asset: cooler-01", "s001-cooler-01 has no door sensor"),
    ],
)
def test_an_asset_that_cannot_have_the_fault_is_named(chain, tmp_path, entry, told):
    plan = plan_of(tmp_path, f"faults:\n- {{fault: door-ajar, store: store-001, {entry}, after: 1h, lasts: 1h}}\n")
    with pytest.raises(PlanError, match="plan.yaml:2") as error:
        faults_of(plan, chain)
    assert told in str(error.value)


def test_two_faults_on_one_asset_at_one_time_are_refused(chain, tmp_path):
    plan = plan_of(
        tmp_path,
        "faults:\n"
        "- {fault: slow-leak, store: store-001, asset: freezer-01, after: 1h, lasts: 3h}\n"
        "- {fault: stuck-sensor, store: store-001, asset: freezer-01, after: 2h, lasts: 1h}\n",
    )
    with pytest.raises(PlanError, match="s001-freezer-01: stuck-sensor begins 2 h after the start, while slow-leak"):
        faults_of(plan, chain)


def test_a_store_that_is_not_simulated_is_named(chain, tmp_path):
    plan = plan_of(
        tmp_path, "faults:\n- {fault: slow-leak, store: store-009, asset: freezer-01, after: 1h, lasts: 3h}\n"
    )
    with pytest.raises(PlanError, match="store store-009 is not simulated; these are: store-001"):
        plan.check(chain)
    assert plan.within(chain).entries == ()
