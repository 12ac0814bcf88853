"""A contract that lies in a folder of its own flows from bronze to silver and quarantine by the same code."""

from __future__ import annotations

import pytest

from batch_jobs import quality, silver, tables
from schemas.contract import all_contracts
from tests.batch_jobs.bronze_rows import a_run, receive
from tests.fixtures.added import FAILING, PASSING

pytestmark = pytest.mark.integration


def test_its_events_become_rows_of_silver_and_the_rest_is_quarantined_with_reasons(spark, tmp_path, added):
    lake = tmp_path / "lake"
    light = PASSING | {"event_id": "cart-17-2", "verdict": "fits"}
    receive(spark, lake, [PASSING, PASSING, light, *FAILING.values(), "{broken"], item=added)
    (done,) = silver.silver(spark, a_run(lake), [item for item in all_contracts() if item == added])
    assert (done.rows, done.inserted, done.duplicate, done.quarantined) == (7, 2, 1, 4)

    rows = tables.read(spark, tables.path_of(str(lake), "silver", added.table)).orderBy("event_id").collect()
    assert [(row.event_id, row.verdict, row.weight) for row in rows] == [
        ("cart-17-1", "too_heavy", 4.25),
        ("cart-17-2", "fits", 4.25),
    ]
    assert [(part.product_id, part.weight) for part in rows[0].parts] == [("4011", 0.845)]
    assert rows[0].event_time.isoformat() == "2026-10-05T11:59:59"
    aside = tables.read(spark, tables.path_of(str(lake), "quarantine", added.table)).orderBy("offset").collect()
    assert [row.reasons for row in aside] == [
        ["required:/lane_id"],
        ["required:/weight"],
        ["minimum:/parts/*/weight"],
        ["json:"],
    ]

    verdict = quality.quality(spark, a_run(lake, "q1"), [added], tmp_path / "docs")
    assert verdict.failures == []
    assert (verdict.checked[0].contract, verdict.checked[0].rows) == (added.name, 2)
