from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from batch_jobs import quality, silver, tables
from batch_jobs.run import Run
from tests.batch_jobs.bronze_rows import NOON, READINGS, a_run, reading, receive, versions

pytestmark = pytest.mark.integration


def check(spark, lake: Path, name: str, *, accept: bool = False) -> quality.Verdict:
    run = a_run(lake, name)
    soon = NOON + timedelta(minutes=30)
    return quality.quality(spark, Run(run.id, soon, run.lake), [READINGS], lake.parent / "docs", accept=accept)


def tamper(spark, lake: Path) -> None:
    """A row that no row check let through: a reading without its store, 200 °C hot."""
    path = tables.path_of(str(lake), "silver", READINGS.table)
    row = tables.read(spark, path).limit(1)
    row = row.selectExpr(
        "* except (store_id, value, event_id)", "'x' event_id", "200d value", "cast(null as string) store_id"
    )
    row.write.format("delta").mode("append").save(path)


@pytest.fixture
def lake(spark, tmp_path) -> Path:
    """Silver with two readings."""
    found = tmp_path / "lake"
    receive(spark, found, [reading(1), reading(2)])
    silver.silver(spark, a_run(found), [READINGS])
    return found


def test_good_events_pass_and_a_second_run_has_nothing_to_check(spark, lake):
    verdict = check(spark, lake, "q1")
    assert verdict.passed
    assert verdict.checked[0].rows == 2
    assert verdict.failures == verdict.warnings == []
    assert "sensor-readings" in verdict.docs.read_text()
    before = versions(spark, lake)
    assert check(spark, lake, "q2").checked == []
    assert versions(spark, lake) == before


@pytest.mark.system
def test_a_critical_failure_stays_open_until_it_is_accepted(spark, lake):
    tamper(spark, lake)
    verdict = check(spark, lake, "q1")
    assert not verdict.passed
    found = {(one.expectation, one.unexpected) for one in verdict.failures}
    assert found == {("store_id: always there", 1), ("value: at least -90, at most 70 where metric is temperature", 1)}
    assert len(quality.open_failures(spark, str(lake))) == 2
    pages = [page.read_text() for page in verdict.docs.parent.rglob("validations/**/*.html")]
    assert any("value where metric is temperature" in page and ">200.0<" in page for page in pages), "a sample is shown"

    again = check(spark, lake, "q2")
    assert not again.passed, "running once more is no way around the gate"

    accepted = check(spark, lake, "q3", accept=True)
    assert accepted.passed and len(accepted.failures) == 2
    assert quality.open_failures(spark, str(lake)) == []
    assert check(spark, lake, "q4").checked == []


def test_many_quarantined_records_are_a_warning_and_let_gold_go_on(spark, lake):
    receive(spark, lake, [reading(3), "{broken"], first_offset=2)
    silver.silver(spark, a_run(lake, "r2"), [READINGS])
    verdict = check(spark, lake, "q1")
    assert verdict.passed
    (warning,) = verdict.warnings
    assert "at most 1% of a contract's records are quarantined, found sensor-readings 50.0%" in str(warning)
    assert quality.open_failures(spark, str(lake)) == []


@pytest.mark.system
def test_records_without_a_new_event_are_a_warning(spark, lake):
    check(spark, lake, "q1")
    receive(spark, lake, [reading(1)], first_offset=2)
    silver.silver(spark, a_run(lake, "r2"), [READINGS])
    verdict = check(spark, lake, "q2")
    assert verdict.passed
    assert [one.expectation for one in verdict.warnings] == ["something new arrived"]
