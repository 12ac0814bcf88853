"""Against moto's server, which keeps what Glue's catalog is told and reads no table by it."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import awswrangler as wr
import boto3
import pytest
from typer.testing import CliRunner

from batch_jobs import s3
from batch_jobs.tables import layouts
from glue import catalog
from glue.catalog import CatalogError, register
from grocery.cli import app
from grocery.settings import settings
from schemas.contract import Contract, all_contracts, contract

LAKE = "s3a://grocery-lake/main"


@pytest.fixture
def session(aws) -> boto3.Session:
    return boto3.Session()


def write(session: boto3.Session, lake: str, contracts: Iterable[Contract], but: Collection[str] = ()) -> None:
    """The tables' logs as a run of Spark leaves them, as far as the catalog looks. but: `layer/table`, left out."""
    client = session.client("s3")
    with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
        place = {"LocationConstraint": "eu-central-1"}
        client.create_bucket(Bucket=s3.bucket_and_key(lake)[0], CreateBucketConfiguration=place)
    for layout in layouts(lake, contracts):
        bucket, key = s3.bucket_and_key(layout.path)
        if not key.endswith(tuple(but)):
            client.put_object(Bucket=bucket, Key=f"{key}/_delta_log/{0:020d}.json")


def put(session: boto3.Session, *contracts: Contract, lake: str = LAKE, prefix: str = "g") -> list[catalog.Registered]:
    """Register what a lake with all these tables has."""
    if s3.is_on_s3(lake) and s3.bucket_and_key(lake)[0]:
        write(session, lake, contracts or (contract("lane-status"),))
    return register(session, lake, prefix, contracts or (contract("lane-status"),))


def changed(item: Contract, **properties: Any) -> Contract:
    """The contract with some fields' schemas added, or put in the old ones' place; None takes one out."""
    schema = copy.deepcopy(item.schema)
    schema["properties"] |= properties
    schema["properties"] = {name: one for name, one in schema["properties"].items() if one is not None}
    return replace(item, schema=schema)


def column(session: boto3.Session, database: str, table: str, name: str) -> dict[str, Any]:
    rows = wr.catalog.table(database, table, boto3_session=session).set_index("Column Name")
    return rows.loc[name].to_dict()


def versions(session: boto3.Session) -> dict[str, int]:
    found = {}
    for layer in ("bronze", "silver", "quarantine", "audit"):
        for one in wr.catalog.get_tables(database=f"g_{layer}", boto3_session=session):
            number = wr.catalog.get_table_number_of_versions(f"g_{layer}", one["Name"], boto3_session=session)
            found[f"{layer}.{one['Name']}"] = number
    return found


def test_every_contract_has_its_tables_with_types_and_comments(session):
    put(session, *all_contracts())
    databases = wr.catalog.databases(boto3_session=session).set_index("Database")
    assert set(databases.index) == {"g_bronze", "g_silver", "g_quarantine", "g_audit"}
    assert databases.loc["g_silver", "Description"].startswith("Events, typed")
    for item in all_contracts():
        for layer in ("bronze", "silver", "quarantine"):
            place = wr.catalog.get_table_location(f"g_{layer}", item.table, boto3_session=session)
            assert place == f"s3://grocery-lake/main/{layer}/{item.table}"
        rows = wr.catalog.table("g_silver", item.table, boto3_session=session).set_index("Column Name")
        for one in item.fields:
            said = rows.loc[one.name, "Comment"]
            assert said == one.description or one.description.startswith(said.removesuffix("…")) and len(said) > 200
    audit = set(wr.catalog.tables(database="g_audit", boto3_session=session)["Table"])
    assert audit == {"dispositions", "quality", "findings", "volumes", "files", "erasures", "expiries", "offsets"}


def test_a_table_that_was_never_written_is_not_registered_until_it_is(session):
    item = contract("lane-status")
    unwritten = ("quarantine/lane_status", "audit/findings", "audit/erasures")
    write(session, LAKE, [item], but=unwritten)
    done = {one.database: one for one in register(session, LAKE, "g", [item])}
    assert done["g_quarantine"].unwritten == ["lane_status"]
    assert done["g_audit"].unwritten == ["findings", "erasures"]
    assert set(wr.catalog.tables(database="g_audit", boto3_session=session)["Table"]) == {
        *("dispositions", "quality", "volumes", "files", "expiries", "offsets")
    }
    done = {one.database: one for one in put(session, item)}  # a run has written them
    assert done["g_audit"].created == ["findings", "erasures"]
    assert not done["g_audit"].unwritten and done["g_audit"].unchanged == 6


def test_a_table_that_was_registered_and_is_not_there_leaves_the_catalog(session):
    put(session)
    bucket = boto3.resource("s3").Bucket("grocery-lake")
    bucket.objects.filter(Prefix="main/audit/findings/").delete()
    done = {one.database: one for one in register(session, LAKE, "g", [contract("lane-status")])}
    assert done["g_audit"].dropped == ["findings"]
    assert not wr.catalog.does_table_exist("g_audit", "findings", boto3_session=session)


def test_a_lake_whose_bucket_is_not_there_is_named(session):
    with pytest.raises(s3.S3Error, match="s3://nobody/lake/bronze: .*NoSuchBucket"):
        register(session, "s3a://nobody/lake", "g", [contract("lane-status")])


def test_no_column_is_without_a_comment_and_none_is_longer_than_glue_takes():
    for layout in layouts("s3://grocery-lake", all_contracts()):
        table = catalog.definition(layout)
        for each in table["StorageDescriptor"]["Columns"] + table["PartitionKeys"]:
            assert 0 < len(each["Comment"].encode()) <= 255, (layout.path, each["Name"])


def test_types_are_the_lakes_own(session):
    put(session, *map(contract, ("sensor-readings", "dead-letters", "stores")))
    assert column(session, "g_silver", "sensor_readings", "event_time")["Type"] == "timestamp"
    assert column(session, "g_silver", "sensor_readings", "value")["Type"] == "double"
    assert column(session, "g_silver", "dead_letters", "reasons")["Type"].startswith("array<struct<code:string,")
    assert column(session, "g_bronze", "sensor_readings", "offset")["Type"] == "bigint"
    assert column(session, "g_bronze", "sensor_readings", "partition")["Type"] == "int"
    assert column(session, "g_quarantine", "stores", "reasons")["Type"] == "array<string>"


def test_it_is_a_native_delta_table_partitioned_by_date(session):
    put(session)
    assert column(session, "g_silver", "lane_status", "event_date") == {
        "Type": "date",
        "Partition": True,
        "Comment": "Date of event_time (UTC)",
    }
    assert not column(session, "g_silver", "lane_status", "event_time")["Partition"]
    says = wr.catalog.get_table_parameters("g_silver", "lane_status", boto3_session=session)
    assert says["table_type"] == "DELTA"
    assert says["spark.sql.sources.provider"] == "delta"
    (one,) = (each for each in wr.catalog.get_tables(database="g_silver", boto3_session=session))
    # Spark takes a table's place from here.
    assert one["StorageDescriptor"]["SerdeInfo"]["Parameters"]["path"] == "s3://grocery-lake/main/silver/lane_status"


def test_a_second_run_changes_nothing(session):
    some = [contract(name) for name in ("derived-metrics", "orders")]
    put(session, *some)
    before = versions(session)
    again = put(session, *some)
    assert versions(session) == before == dict.fromkeys(before, 1)
    assert sum(one.unchanged for one in again) == len(before)
    assert not any(one.created or one.changed for one in again)


def test_a_contract_that_has_grown_adds_its_columns(session):
    item = contract("lane-status")
    put(session)
    grown = changed(item, mood={"type": "string", "description": "How shoppers look."})
    silver = next(one for one in put(session, grown) if one.database == "g_silver")
    assert silver.changed == {"lane_status": "new: mood"}
    assert column(session, "g_silver", "lane_status", "mood")["Comment"] == "How shoppers look."
    assert versions(session)["silver.lane_status"] == 2
    assert versions(session)["bronze.lane_status"] == 1


def test_a_field_within_an_objects_field_is_growth_as_well(session):
    item = contract("dead-letters")
    put(session, item)
    reasons = copy.deepcopy(item.schema["properties"]["reasons"])
    reasons["items"]["properties"]["hint"] = {"type": "string", "description": "What to do."}
    put(session, changed(item, reasons=reasons))
    assert "hint:string" in column(session, "g_silver", "dead_letters", "reasons")["Type"]


def test_a_column_that_left_the_contract_stays_as_it_stays_in_the_lake(session):
    item = contract("lane-status")
    put(session, changed(item, mood={"type": "string", "description": "How shoppers look."}))
    put(session, item)
    assert column(session, "g_silver", "lane_status", "mood")["Type"] == "string"
    assert versions(session)["silver.lane_status"] == 1


def test_what_others_note_on_a_table_stays(session):
    put(session)
    wr.catalog.upsert_table_parameters({"steward": "ops"}, "g_silver", "lane_status", boto3_session=session)
    put(session, changed(contract("lane-status"), mood={"type": "string", "description": "How shoppers look."}))
    says = wr.catalog.get_table_parameters("g_silver", "lane_status", boto3_session=session)
    assert says["steward"] == "ops"


def test_somebody_elses_table_is_refused_by_name_and_nothing_is_changed(session):
    wr.catalog.create_database("g_silver", boto3_session=session)
    session.client("glue").create_table(
        DatabaseName="g_silver",
        TableInput={"Name": "lane_status", "StorageDescriptor": {"Columns": [], "Location": "s3://theirs/x"}},
    )
    with pytest.raises(CatalogError, match=r"g_silver.lane_status is not ours \(managed_by is not set\).*Nothing was"):
        put(session, contract("alert"), contract("lane-status"))
    assert list(wr.catalog.databases(boto3_session=session)["Database"]) == ["g_silver"]
    assert len(list(wr.catalog.get_tables(database="g_silver", boto3_session=session))) == 1


def test_a_table_does_not_silently_move_to_another_lake(session):
    put(session)
    with pytest.raises(CatalogError, match="g_bronze.lane_status lies in s3://grocery-lake/main/bronze/lane_status,"):
        put(session, lake="s3://other-lake")
    put(session, lake="s3://other-lake", prefix="h")


def test_a_column_of_another_type_is_refused_with_both_types(session):
    put(session)
    other = changed(contract("lane-status"), terminals={"type": "string", "description": "x"})
    with pytest.raises(CatalogError, match="g_silver.lane_status has terminals as bigint, now string"):
        put(session, other)


@pytest.mark.parametrize("lake", ["/data/lake", "s3a://", "hdfs://name/lake"])
def test_a_lake_that_is_not_on_s3_is_refused(session, lake):
    with pytest.raises(CatalogError, match=f"lake {lake}: not on S3.*GROCERY_LAKE"):
        put(session, lake=lake)


@pytest.fixture
def grocery(aws, monkeypatch):
    monkeypatch.setenv("GROCERY_LAKE", LAKE)
    monkeypatch.setenv("GROCERY_GLUE_PREFIX", "shop")
    settings.cache_clear()
    yield lambda *words: CliRunner().invoke(app, list(words))
    settings.cache_clear()


def test_the_command_registers_where_the_settings_say(grocery, session):
    write(session, LAKE, all_contracts(), but=["audit/erasures"])
    result = grocery("glue", "register")
    assert result.exit_code == 0, result.output
    assert "shop_silver" in result.output
    assert wr.catalog.does_table_exist("shop_silver", "sensor_readings", boto3_session=session)
    assert "shop_audit, not written yet: erasures" in result.output
    rows = [line for line in grocery("glue", "register").output.splitlines() if "│ shop_" in line]
    assert [[cell.strip() for cell in row.split("│")[2:4]] for row in rows] == [["0", "0"]] * 4


def test_what_aws_refuses_is_one_line(grocery, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    result = grocery("glue", "register")
    assert result.exit_code == 1
    assert "error AWS: Could not connect to the endpoint URL" in result.output
