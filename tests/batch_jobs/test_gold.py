"""Building gold: what stops it, and what it leaves alone."""

from datetime import date
from itertools import chain

import boto3
import duckdb
import pytest

from batch_jobs import gold as gold_module
from batch_jobs.gold import GoldError, MissingSilver, NoGold, build, connect
from schemas.contract import all_contracts
from tests.fixtures.gold import example_events
from tests.fixtures.silver import write_audit, write_silver

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
    "fct_quality_finding",
    "fct_quality_result",
    "fct_shelf_hour",
    "fct_utility_hour",
    "fct_zone_traffic_hour",
    "rpt_alert_quality",
    "rpt_cold_chain_compliance",
    "rpt_curbside_service",
    "rpt_data_quality",
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


def test_a_lake_on_s3_without_silver_is_named(tmp_path, aws):
    boto3.client("s3").create_bucket(Bucket="shop", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    with pytest.raises(MissingSilver, match=r"s3a://shop/lake/silver: no table .*products"):
        build("s3a://shop/lake", tmp_path / "gold.duckdb", tmp_path / "logs")


@pytest.mark.system
@pytest.mark.integration
def test_gold_is_built_over_a_lake_on_s3_and_goes_on_from_there(tmp_path, aws, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-key")
    lake, client = tmp_path / "lake", boto3.client("s3")
    write_silver(lake, ())
    client.create_bucket(Bucket="shop", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    for file in lake.rglob("*"):
        if file.is_file():
            client.upload_file(str(file), "shop", f"lake/{file.relative_to(lake)}")
    result = build("s3a://shop/lake", tmp_path / "gold.duckdb", tmp_path / "logs")
    assert not result.failures and result.replaced
    with connect(tmp_path / "gold.duckdb", "s3a://shop/lake") as gold:
        assert set(TABLES) <= {name for (name,) in gold.sql("SELECT table_name FROM duckdb_tables()").fetchall()}
        gold.sql("SELECT * FROM main_staging.stg_stores").fetchall()
    again = build("s3a://shop/lake", tmp_path / "gold.duckdb", tmp_path / "logs")
    assert not again.failures and not again.from_nothing
    logs = [file.read_text() for file in (tmp_path / "logs" / "dbt").iterdir()]
    assert any("stg_stores" in log for log in logs) and not any("very-secret-key" in log for log in logs)


def test_no_gold_says_how_to_make_one(tmp_path):
    with pytest.raises(NoGold, match="grocery batch run"):
        connect(tmp_path / "gold.duckdb")


@pytest.mark.integration
def test_contracts_without_data_give_empty_tables(tmp_path):
    write_silver(tmp_path / "lake", ())
    seen = []
    result = build(str(tmp_path / "lake"), tmp_path / "gold.duckdb", tmp_path / "logs", lambda *step: seen.append(step))
    assert result.replaced and not result.warnings
    assert result.models >= 59 and result.tests >= 50
    assert sorted(step[0] for step in seen) == list(range(1, result.models + result.tests + 1))
    with connect(tmp_path / "gold.duckdb") as gold:
        assert {gold.table(name).shape[0] for name in TABLES} == {0}


@pytest.mark.integration
def test_building_from_nothing_twice_makes_the_same(gold, tmp_path):
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


@pytest.fixture
def old_gold(tmp_path):
    """A gold as small as can be: one batch of `orders` with a row of each of two days was read, and both are there."""
    path = tmp_path / "gold.duckdb"
    with duckdb.connect(str(path)) as gold:
        gold.execute("CREATE SCHEMA main_intermediate; CREATE SCHEMA main_staging")
        gold.execute("CREATE TABLE main_staging.stg_orders (loaded_at INT, event_date DATE)")
        gold.execute("INSERT INTO main_staging.stg_orders VALUES (1, '2026-10-01'), (1, '2026-10-02')")
        gold.execute(
            "CREATE TABLE main_intermediate.int_silver_read AS "
            "SELECT 'stg_orders' AS source, *, 1 AS row_count FROM main_staging.stg_orders"
        )
    gold_module._sign(path, "these models", "lake")
    return path


def why(gold, models="these models", **first_kept):
    return gold_module._why_from_nothing(gold, "", models, first_kept)


def test_a_run_goes_on_from_a_gold_of_the_same_models_and_all_it_has_read(old_gold):
    assert why(old_gold) == ""


def test_other_models_mean_a_gold_from_nothing(old_gold):
    assert why(old_gold, "other models") == "the models, DuckDB or the lake are others"


def test_rows_that_are_gone_from_silver_mean_a_gold_from_nothing_but_not_those_of_days_that_expired(old_gold):
    with duckdb.connect(str(old_gold)) as gold:
        gold.execute("DELETE FROM main_staging.stg_orders WHERE event_date = '2026-10-01'")
    assert why(old_gold) == "rows are gone from silver's orders"
    assert why(old_gold, orders=date(2026, 10, 2)) == ""
    assert why(old_gold, alert=date(2026, 10, 2)) == why(old_gold, orders=date(2026, 10, 1)) == why(old_gold)


def test_every_contract_of_gold_has_the_staging_model_that_the_expiry_goes_by():
    macro = (gold_module.DBT / "macros/expired.sql").read_text("utf-8")
    models = {path.stem for path in (gold_module.DBT / "models/staging").glob("stg_*.sql")}
    for item in all_contracts():
        if gold_module._staging(item.name) in models:
            assert f"'{gold_module._staging(item.name)}': '{item.table}'" in macro


def test_a_gold_that_an_older_release_built_is_not_gone_on_from(tmp_path):
    duckdb.connect(str(tmp_path / "gold.duckdb")).close()
    assert "cannot be read" in why(tmp_path / "gold.duckdb")


def test_an_unreadable_gold_that_alone_has_the_facts_of_expired_days_is_not_replaced(tmp_path):
    write_silver(tmp_path / "lake", ())
    write_audit(tmp_path / "lake", [("expiries", {"contract": "orders", "kept_from": "2026-10-01T00:00:00Z"})])
    (tmp_path / "gold.duckdb").write_text("broken")
    with pytest.raises(
        GoldError, match="only it has the facts of days that expired from silver: orders before 2026-10-01"
    ):
        build(str(tmp_path / "lake"), tmp_path / "gold.duckdb", tmp_path / "logs")
    assert (tmp_path / "gold.duckdb").read_text() == "broken"


def test_a_gold_of_another_lake_does_not_give_its_expired_days(old_gold, tmp_path):
    days = {"orders": date(2026, 10, 2)}
    gold_module._check_bringable(old_gold, "lake", days)
    with pytest.raises(GoldError, match=r"is of the lake .*, from whose silver days have expired \(orders before 2026"):
        gold_module._check_bringable(old_gold, str(tmp_path), days)


def test_a_changed_model_and_another_lake_change_the_fingerprint(tmp_path, monkeypatch):
    (tmp_path / "dbt/models").mkdir(parents=True)
    model = tmp_path / "dbt/models/fct.sql"
    monkeypatch.setattr(gold_module, "DBT", tmp_path / "dbt")
    found = set()
    for text, lake in (("select 1", "lake"), ("select 2", "lake"), ("select 1", "other-lake")):
        model.write_text(text)
        found.add(gold_module._fingerprint(str(tmp_path / lake)))
    assert len(found) == 3
    assert gold_module._fingerprint(str(tmp_path / "other-lake")) in found
