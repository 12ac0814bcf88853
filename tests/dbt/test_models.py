"""The dbt project: what every model must have, dbt's own unit tests, and the figures of a small day."""

import json
import os
import re
import subprocess
import sys

import pytest

from batch_jobs.gold import DBT, connect, document

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def manifest(gold):
    return json.loads((gold / "dbt/target/manifest.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def connection(gold):
    with connect(gold / "gold.duckdb") as found:
        yield found


def test_dbts_unit_tests_pass(gold):
    env = os.environ | {
        "GROCERY_LAKE": str(gold / "lake"),
        "GROCERY_GOLD": str(gold / "gold.duckdb"),
        "DBT_TARGET_PATH": str(gold / "dbt/target-of-unit-tests"),
        "DBT_LOG_PATH": str(gold / "logs"),
    }
    run = subprocess.run(
        [
            *(sys.executable, "-c", "from dbt.cli.main import cli; cli()", "--no-use-colors"),
            *("test", "--select", "test_type:unit", "--project-dir", DBT, "--profiles-dir", DBT),
        ],
        env=env,
        cwd=gold,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    assert int(re.search(r"PASS=(\d+)", run.stdout)[1]) >= 29


def test_every_model_says_its_grain_first_and_tests_it(manifest):
    models = {n["unique_id"]: n for n in manifest["nodes"].values() if n["resource_type"] == "model"}
    tested = {n["attached_node"] for n in manifest["nodes"].values() if n["resource_type"] == "test"}
    assert len(models) >= 42
    assert [n["name"] for n in models.values() if not n["description"].startswith("One row per ")] == []
    assert [n["name"] for key, n in models.items() if key not in tested] == []


def test_every_data_test_has_a_severity_of_its_own(manifest):
    ours = [
        n
        for n in manifest["nodes"].values()
        if n["resource_type"] == "test" and not n["original_file_path"].endswith("_sources.yml")
    ]
    assert ours
    assert [n["name"] for n in ours if "severity" not in n["unrendered_config"]] == []


def test_marts_keep_a_contract_with_described_columns(manifest):
    marts = [n for n in manifest["nodes"].values() if n.get("path", "").startswith("marts/") and n["fqn"][1] == "marts"]
    marts = [n for n in marts if n["resource_type"] == "model"]
    assert len(marts) >= 21
    for mart in marts:
        assert mart["contract"]["enforced"], mart["name"]
        assert all(c["description"] for c in mart["columns"].values()), mart["name"]


def test_compliance_of_the_warm_freezer_and_the_silent_cooler(connection):
    rows = connection.sql(
        """
        SELECT asset_id, readings_received, readings_expected, minutes_above_limit, worst_temperature_c, alerts
        FROM rpt_cold_chain_compliance WHERE store_id = 'store-002' ORDER BY asset_id
        """
    ).fetchall()
    plain = [tuple(float(v) if i > 0 else v for i, v in enumerate(row)) for row in rows]
    assert plain == [
        ("store-002-cooler-01", 180, 1440, 0, 3, 0),
        ("store-002-cooler-02", 160, 1440, 0, 3, 0),
        ("store-002-freezer-01", 180, 1440, 90, -10, 1),
        ("store-002-freezer-02", 180, 1440, 0, -20, 0),
    ]


def test_a_gap_is_not_monitored_time(connection):
    monitored = "SELECT minutes_monitored FROM rpt_cold_chain_compliance WHERE asset_id = 'store-001-cooler-02'"
    # 160 readings of a minute each, and the last before the gap stands for a second one.
    assert connection.sql(monitored).fetchone()[0] == 161


def test_sales_of_a_store_are_sales_less_returns(connection):
    sold = "SELECT store_id, sum(net_amount)::DOUBLE, count(*) FROM fct_sale_line GROUP BY 1 ORDER BY 1"
    assert connection.sql(sold).fetchall() == [("store-001", 98.82, 20), ("store-002", 98.82, 20)]


def test_lanes_open_follow_lane_status(connection):
    lanes = "SELECT DISTINCT local_hour, lanes_open FROM fct_queue_minute WHERE store_id = 'store-001' ORDER BY 1"
    assert connection.sql(lanes).fetchall() == [(6, 1), (7, 2), (8, 2)]


def test_a_command_is_told_with_its_answer_and_a_rejected_one_is_no_alert(connection):
    told = "SELECT command_id, local_hour, answer, rejected_because FROM fct_alert_command WHERE store_id = 'store-001'"
    assert connection.sql(f"{told} ORDER BY 1").fetchall() == [
        ("c-store-001-0", 7, "carried out", None),
        ("c-store-001-1", 7, "rejected", "no open alert nonsense"),
        ("c-store-001-2", 7, "none yet", None),
    ]
    alerts = "SELECT alert_id, members FROM fct_alert ORDER BY 1"
    assert connection.sql(alerts).fetchall() == [("a-store-001", 1), ("a-store-002", 1)]


def test_an_alerts_steps_and_a_stores_receipts_are_all_there(connection):
    steps = "SELECT store_id, list(event ORDER BY sequence) FROM fct_alert_event GROUP BY 1 ORDER BY 1"
    assert connection.sql(steps).fetchall() == [
        ("store-001", ["raised", "escalated", "resolved"]),
        ("store-002", ["raised", "escalated"]),
    ]
    receipts = "SELECT count(*), sum(net_total)::DOUBLE, sum(undone_amount)::DOUBLE FROM fct_basket GROUP BY store_id"
    assert connection.sql(receipts).fetchall() == [(20, 98.82, 5.49)] * 2


def test_a_pickup_order_a_cancelled_one_and_a_checked_basket_are_told_with_what_the_fence_saw(connection):
    told = "SELECT channel, status, local_hour, was_ready_in_time, minutes_waited::DOUBLE, lines_picked, lines_short,"
    told += " total_paid::DOUBLE, was_flagged, missing_steps FROM fct_order WHERE store_id = 'store-001'"
    assert connection.sql(f"{told} ORDER BY order_id").fetchall() == [
        ("curbside", "handed_over", 6, True, 4, 1, 1, 5.49, None, None),
        ("curbside", "cancelled", 6, None, None, 0, 0, None, None, None),
        ("scan_and_go", "handed_over", 8, None, None, 0, 0, 5.49, True, None),
    ]


def test_energy_by_the_hour_with_a_meter_that_was_changed_and_an_hour_before_opening(connection):
    used = "SELECT local_hour, used::DOUBLE, used_out_of_hours::DOUBLE, resets, minutes_measured::DOUBLE"
    used += " FROM fct_utility_hour WHERE store_id = 'store-001' ORDER BY 1"
    # Of the five minutes in which the meter was changed nobody knows; the newest reading is of 08:55.
    assert connection.sql(used).fetchall() == [(6, 12, 12, 0, 60), (7, 11, 0, 1, 55), (8, 11, 0, 0, 55)]


def test_a_days_data_quality_is_told_from_what_the_runs_left(connection):
    told = "SELECT contract, business_date::TEXT, rows_in, quarantined, quarantined_percent::DOUBLE, expectations,"
    told += " expectations_warned, findings, events, volume_ratio::DOUBLE, newest_event_age_min::DOUBLE"
    assert connection.sql(f"{told} FROM rpt_data_quality").fetchall() == [
        ("sensor-readings", "2026-10-05", 1401, 1, 0.07, 2, 1, 2, 1600, 0.8, 21)
    ]
    found = "SELECT store_id, subject, local_hour, events FROM fct_quality_finding ORDER BY 1"
    assert connection.sql(found).fetchall() == [
        ("store-001", "store-001-freezer-02", 6, 180),
        ("store-002", "store-002-freezer-02", 14, 180),
    ]


def test_a_facing_that_was_empty_for_half_an_hour_and_who_came_in(connection):
    shelf = "SELECT local_hour, minutes_seen::INT, minutes_empty::INT, minutes_seen_open::INT, product_id"
    shelf += " FROM fct_shelf_hour WHERE store_id = 'store-001' ORDER BY 1"
    product = "02000001079195"
    assert connection.sql(shelf).fetchall() == [
        (6, 60, 0, 0, product),
        (7, 60, 30, 60, product),
        (8, 55, 0, 55, product),
    ]
    door = "SELECT DISTINCT entered, minutes_counted FROM fct_zone_traffic_hour WHERE zone_kind = 'entrance'"
    assert connection.sql(door).fetchall() == [(120, 60)]


def test_a_warm_freezers_degree_minutes(connection):
    warm = "SELECT degree_minutes_above_limit::DOUBLE FROM rpt_cold_chain_compliance WHERE asset_id LIKE '%freezer-01'"
    # 90 minutes at -10, 5 K above the limit.
    assert connection.sql(warm).fetchall() == [(450,), (450,)]


def test_queue_service_counts_a_lane_only_while_it_is_open(connection):
    service = "SELECT local_hour, lane_minutes, within_percent::DOUBLE FROM rpt_queue_service"
    service += " WHERE store_id = 'store-001' ORDER BY 1"
    # Counts run 0 to 4, three of five within two; the second lane opens after an hour.
    assert connection.sql(service).fetchall() == [(6, 60, 60), (7, 120, 60), (8, 120, 60)]


def test_a_scorecard_agrees_with_what_it_is_made_of(connection):
    card = "SELECT store_id, baskets, net_sales::DOUBLE, entered, queue_within_percent::DOUBLE, energy_kwh::DOUBLE,"
    card += " energy_kwh_per_m2::DOUBLE, energy_out_of_hours_percent::DOUBLE, cold_degree_minutes_above_limit::DOUBLE,"
    card += " alerts, on_shelf_percent::DOUBLE, pickup_orders, pickup_minutes_waited_avg::DOUBLE"
    assert connection.sql(f"{card} FROM rpt_store_scorecard ORDER BY 1").fetchall() == [
        # Of 35 intervals of 5 minutes the one with the new meter is unknown; 30 of 115 and of 175 minutes were empty.
        ("store-001", 19, 98.82, 360, 60, 34, 0.34, 35.29, 450, 1, 73.91, 2, 4),
        ("store-002", 19, 98.82, 360, 60, 34, 0.34, 0, 450, 1, 82.86, 2, 4),
    ]


def test_a_change_that_nobody_can_have_meant_is_named_and_the_one_that_came_last_counts(connection, gold):
    told = "SELECT finding, dimension, store_id, subject_id, event_id, standing_event_id FROM rpt_reference_quality"
    assert connection.sql(f"{told} ORDER BY 1").fetchall() == [
        ("price of an unknown product", "product", "store-002", "94011", "p-94011", None),
        ("two versions at one instant", "product", "chain", "4011", "p-4011", "p-4011-again"),
    ]
    names = "SELECT product_name FROM dim_product WHERE product_id = '4011'"
    assert connection.sql(names).fetchall() == [("Bananas, yellow",)]
    results = json.loads((gold / "dbt/target/run_results.json").read_text("utf-8"))["results"]
    warned = {one["unique_id"].split(".")[2]: one["failures"] for one in results if one["status"] == "warn"}
    about_products = {"no_two_versions_at_one_instant": 1, "no_price_of_an_unknown_product": 1}
    assert warned == about_products | {"rpt_cold_chain_all_expected_readings_came": 2}


def test_dbts_documentation_is_one_page_with_every_model_and_the_types_of_gold(gold, manifest, tmp_path):
    document(str(gold / "lake"), gold / "gold.duckdb", gold / "logs", tmp_path / "docs.html")
    page = (tmp_path / "docs.html").read_text("utf-8")
    models = [n["unique_id"] for n in manifest["nodes"].values() if n["resource_type"] == "model"]
    assert len(models) > 40 and [name for name in models if name not in page] == []
    assert "DECIMAL(18,3)" in page, "the catalog was asked"
    assert not (gold / "dbt/docs").exists()
