"""Building gold: what stops it, and what it leaves alone."""

from itertools import chain

import pytest

from batch_jobs.gold import GoldError, MissingSilver, NoGold, build, connect
from tests.fixtures.gold import example_events
from tests.fixtures.silver import write_silver

TABLES = (
    "dim_store",
    "dim_asset",
    "dim_product",
    "fct_sensor_hour",
    "fct_alert",
    "fct_alert_command",
    "fct_detection_outcome",
    "fct_sale_line",
    "fct_queue_minute",
    "fct_alert_event",
    "fct_basket",
    "fct_order",
    "fct_shelf_hour",
    "fct_utility_hour",
    "fct_zone_traffic_hour",
    "rpt_alert_quality",
    "rpt_cold_chain_compliance",
    "rpt_curbside_service",
    "rpt_energy",
    "rpt_on_shelf_availability",
    "rpt_queue_service",
    "rpt_store_scorecard",
)


def test_missing_silver_tables_are_named_with_the_next_step(tmp_path):
    write_silver(tmp_path / "lake", ())
    (tmp_path / "lake/silver/products/_delta_log").rename(tmp_path / "moved")
    with pytest.raises(MissingSilver, match=r"no table products; run `grocery batch silver` first"):
        build(str(tmp_path / "lake"), tmp_path / "gold.duckdb", tmp_path / "logs")


def test_a_lake_on_s3_is_not_for_the_local_gold(tmp_path):
    with pytest.raises(GoldError, match="s3a://bucket/lake"):
        build("s3a://bucket/lake", tmp_path / "gold.duckdb", tmp_path / "logs")


def test_no_gold_says_how_to_make_one(tmp_path):
    with pytest.raises(NoGold, match="grocery batch run"):
        connect(tmp_path / "gold.duckdb")


@pytest.mark.integration
def test_contracts_without_data_give_empty_tables(tmp_path):
    write_silver(tmp_path / "lake", ())
    seen = []
    result = build(str(tmp_path / "lake"), tmp_path / "gold.duckdb", tmp_path / "logs", lambda *step: seen.append(step))
    assert result.replaced and not result.warnings
    assert result.models >= 42 and result.tests >= 50
    assert sorted(step[0] for step in seen) == list(range(1, result.models + result.tests + 1))
    with connect(tmp_path / "gold.duckdb") as gold:
        assert {gold.table(name).shape[0] for name in TABLES} == {0}


@pytest.mark.integration
def test_running_twice_changes_nothing(gold, tmp_path):
    result = build(str(gold / "lake"), tmp_path / "gold.duckdb", tmp_path / "logs")
    assert result.replaced
    with connect(tmp_path / "gold.duckdb") as second:
        second.execute(f"ATTACH '{gold / 'gold.duckdb'}' AS first (READ_ONLY)")
        for name in TABLES:
            assert second.table(name).shape[0] > 0
            assert second.sql(f"FROM main.{name} EXCEPT ALL FROM first.main.{name}").fetchall() == []


@pytest.mark.integration
def test_a_failed_test_stops_gold_and_keeps_the_old_one(tmp_path):
    twice = [(name, event) for name, event in example_events() if name == "alert"][:1]
    write_silver(tmp_path / "lake", chain(example_events(), twice))
    (tmp_path / "gold.duckdb").write_text("the old one")
    result = build(str(tmp_path / "lake"), tmp_path / "gold.duckdb", tmp_path / "logs")
    assert not result.replaced
    assert [f.name for f in result.failures] == ["unique_combination_stg_alert_events_alert_id__sequence"]
    assert "Got 1 result" in result.failures[0].message
    assert result.log.exists()
    assert (tmp_path / "gold.duckdb").read_text() == "the old one"
