"""What is sent to Athena and Redshift. moto's Athena runs no SQL: it keeps what it was asked, and answers as told.

So these tests prove the requests and how answers become tables, and not that a warehouse runs the SQL.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import boto3
import pytest
import redshift_connector

from batch_jobs.gold import DBT
from grocery.analysts import BadRequest, mart, marts, unload_training_set
from grocery.settings import settings


@pytest.fixture
def athena(aws, monkeypatch):
    """Answers that moto gives, one a query; the client that knows what was asked."""
    import json
    import urllib.request

    monkeypatch.setenv("GROCERY_GLUE_PREFIX", "fresh")
    settings.cache_clear()
    boto3.client("glue").create_database(DatabaseInput={"Name": "fresh_gold"})
    region = {"CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}
    boto3.client("s3").create_bucket(Bucket="results", **region)
    client = boto3.client("athena")

    def answer(columns: dict[str, str], *rows: tuple[str, ...]) -> None:
        told = [{"Name": name, "Type": kind, "Precision": 18, "Scale": 2} for name, kind in columns.items()]
        data = [{"Data": [{"VarCharValue": v} for v in row]} for row in (tuple(columns), *rows)]
        result = {"rows": data, "column_info": told}
        body = json.dumps({"account_id": "123456789012", "region": "eu-central-1", "results": [result]}).encode()
        urllib.request.urlopen(
            urllib.request.Request(
                f"{aws}/moto-api/static/athena/query-results", body, {"Content-Type": "application/json"}
            )
        ).close()

    yield client, answer
    settings.cache_clear()


def asked(client) -> list[tuple[str, str]]:
    """(database, SQL) of each query."""
    ids = client.list_query_executions()["QueryExecutionIds"]
    found = [client.get_query_execution(QueryExecutionId=one)["QueryExecution"] for one in ids]
    return [(one["QueryExecutionContext"]["Database"], " ".join(one["Query"].split())) for one in found]


class Redshift(redshift_connector.Connection):
    """A connection that notes what it is told and gives no rows; redshift_connector's needs a cluster."""

    description = [("alert_id",)]

    def __init__(self):
        self.told = []

    def cursor(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def execute(self, sql, params=None):
        self.told.append((" ".join(sql.split()), params))

    def fetchall(self):
        return []


def test_the_marts_are_dbts():
    assert {"fct_alert", "fct_detection_outcome", "dim_store"} <= set(marts())
    assert all((DBT / "models/marts" / f"{name}.sql").exists() for name in marts())


def test_a_mart_comes_as_a_table_with_exact_figures(athena):
    client, answer = athena
    answer({"alert_id": "varchar", "minutes_open": "decimal"}, ("a1", "12.50"), ("a2", ""))
    table = mart("fct_alert", columns=["alert_id", "minutes_open"], since=date(2026, 10, 1), store_id="o'hare")
    assert list(table["alert_id"]) == ["a1", "a2"]
    assert table["minutes_open"][0] == Decimal("12.50")
    [(database, sql)] = asked(client)
    assert database == "fresh_gold"
    assert sql == (
        "SELECT alert_id, minutes_open FROM fct_alert WHERE store_id = 'o''hare' AND business_date >= DATE '2026-10-01'"
    )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: mart("fct_alerts"), "did you mean fct_alert"),
        (lambda: mart("fct_alert; DROP TABLE x"), "no such mart"),
        (lambda: mart("fct_alert", columns=["count(*)"]), r"count\(\*\): no name of a column"),
        (lambda: mart("fct_alert", ended_at_utc=None), "nothing equals null"),
        (lambda: unload_training_set("fct_alert", "/tmp/set"), "no place on S3"),
        (lambda: unload_training_set("fct_alert", "s3://results/it's"), "no place on S3"),
        (lambda: unload_training_set("DELETE FROM fct_alert", "s3://results/set"), "neither a mart nor a SELECT"),
        (lambda: unload_training_set("fct_alert", "s3://results/set", redshift=Redshift()), "iam_role"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(athena, call, said):
    with pytest.raises(BadRequest, match=said):
        call()
    assert asked(athena[0]) == []


def test_redshift_gets_values_as_parameters():
    connection = Redshift()
    mart("fct_alert", until=date(2026, 11, 1), limit=5, redshift=connection, rule="it's")
    assert connection.told == [
        ("SELECT * FROM gold.fct_alert WHERE rule = %s AND business_date < %s LIMIT 5", ["it's", date(2026, 11, 1)])
    ]


def test_a_training_set_is_unloaded_by_athena_into_an_empty_prefix(athena):
    client, _ = athena
    assert unload_training_set("SELECT * FROM fct_alert;", "s3://results/sets/one") == []
    [(database, sql)] = asked(client)
    assert database == "fresh_gold"
    assert sql.startswith("UNLOAD (SELECT * FROM fct_alert) TO 's3://results/sets/one/' WITH (")
    assert "format='PARQUET'" in sql
    boto3.client("s3").put_object(Bucket="results", Key="sets/two/part-0.parquet", Body=b"old")
    boto3.client("s3").put_object(Bucket="results", Key="sets/twofold", Body=b"another")
    with pytest.raises(BadRequest, match="s3://results/sets/two/ holds 1 objects"):
        unload_training_set("fct_alert", "s3://results/sets/two")


def test_a_training_set_is_unloaded_by_redshift_with_its_role(athena):
    connection = Redshift()
    unload_training_set("fct_alert", "s3://results/sets/three", redshift=connection, iam_role="arn:aws:iam::1:role/r")
    [(sql, _)] = connection.told
    assert sql.startswith("UNLOAD ('SELECT * FROM gold.fct_alert') TO 's3://results/sets/three/'")
    assert "arn:aws:iam::1:role/r" in sql and "PARQUET" in sql
