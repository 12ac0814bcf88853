"""What the dbt project and the rest must say alike."""

from ruamel.yaml import YAML

from batch_jobs.gold import DBT
from batch_jobs.quality import BESIDE
from batch_jobs.sought import ERASED
from schemas.contract import all_contracts
from streaming_jobs.checkout_queue.queues import PER_LANE, STANDARD
from streaming_jobs.utilities.meters import GAP_MS, KINDS


def variables():
    return YAML(typ="safe").load(DBT / "dbt_project.yml")["vars"]


def test_gold_and_the_stream_tell_a_new_meter_from_a_misread_one_by_the_same_limits():
    counters = {name: {"noise": kind.noise, "most_per_hour": kind.most} for name, kind in KINDS.items() if kind.counter}
    assert variables()["meter_counts"] == counters
    assert variables()["meter_gap_minutes"] * 60_000 == GAP_MS


def test_one_plus_one_is_the_same_in_the_report_and_in_the_alerts():
    assert variables()["queue_people_per_lane"] == PER_LANE
    assert variables()["queue_target_percent"] == 100 * STANDARD


def test_what_the_gate_judges_of_no_contract_is_no_contract_in_the_report():
    assert tuple(variables()["quality_beside"]) == BESIDE


def test_a_person_who_was_erased_is_nobody_in_every_staging_model():
    macro = (DBT / "macros/persons.sql").read_text("utf-8")
    assert f"'{{{{ kind }}}}_{ERASED}'" in macro
    persons = {(one.name, one.pseudonym[1]) for item in all_contracts() for one in item.fields if one.pseudonym}
    for path in sorted((DBT / "models/staging").glob("stg_*.sql")):
        lines = [line.strip().rstrip(",") for line in path.read_text("utf-8").splitlines()]
        for name, kind in persons:
            found = [line for line in lines if name in line.split()]
            assert found in ([], [f"{{{{ pseudonym('{name}', '{kind}') }}}} as {name}"]), path
