"""dbt-redshift really run, on the stand-in of tests/fixtures/redshift.py: `make test-redshift`.

It proves that the project builds and passes its tests through Redshift's adapter and driver, and that its rows are
those of DuckDB. It does not prove Redshift's own functions and types, which are PostgreSQL's here or are played by
dbt/standins/postgres; tests/warehouses/test_compiled.py reads the SQL that goes to Redshift instead.
"""

import json
from collections import Counter

import pytest

from batch_jobs.gold import build as build_locally
from batch_jobs.gold import connect
from tests.dbt.test_incremental import LOADED, portions
from tests.fixtures.gold import example_audit
from tests.fixtures.redshift import load_silver
from tests.fixtures.silver import append_silver, write_audit, write_silver
from tests.warehouses.compiled import dbt
from tests.warehouses.questions import asked, comparable

pytestmark = pytest.mark.redshift


def build(standin, work, **env):
    """What dbt did with each model and test."""
    outcome = work / "redshift/run_results.json"
    outcome.unlink(missing_ok=True)
    env = standin.env | {"GROCERY_DBT_STANDIN": "postgres"} | env
    run = dbt(work, "redshift", env, "build", "--exclude-resource-type", "unit_test", "exposure")
    assert outcome.exists(), run.stdout[-4000:]
    return json.loads(outcome.read_text("utf-8"))["results"]


def wrong(results):
    return {one["unique_id"]: one["message"] for one in results if one["status"] not in ("success", "pass", "warn")}


def differences(ours, theirs, schema, mart, columns):
    """ours: a connection to DuckDB; theirs: one to the stand-in."""
    query = f"SELECT {', '.join(columns)} FROM"
    here = Counter(ours.sql(f"{query} {mart}").fetchall())
    with theirs.cursor() as cursor:
        cursor.execute(f"{query} {schema}.{mart}")
        there = Counter(cursor.fetchall())
    for which, rows in (("local", here - there), ("redshift", there - here)):
        yield from (f"{mart}, only {which}: {dict(zip(columns, row, strict=True))}" for row in rows)


@pytest.fixture(scope="module")
def built(gold, redshift_standin, tmp_path_factory):
    """(what dbt did, each mart's columns by its name) of a build from the silver that `gold` was built from."""
    load_silver(redshift_standin, gold / "lake")
    work = tmp_path_factory.mktemp("redshift")
    results = build(redshift_standin, work)
    nodes = json.loads((work / "redshift/manifest.json").read_text("utf-8"))["nodes"].values()
    models = [node for node in nodes if node["resource_type"] == "model"]
    return results, {node["name"]: list(node["columns"]) for node in models if node["path"].startswith("marts/")}


@pytest.fixture(scope="module")
def redshift(redshift_standin, built):
    connection = redshift_standin.connect()
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def local(gold):
    with connect(gold / "gold.duckdb") as found:
        yield found


def test_every_model_is_built_and_every_test_of_it_passes(built):
    results, _ = built
    assert wrong(results) == {}
    assert Counter(one["status"] for one in results)["success"] >= 42


def test_every_marts_rows_are_those_of_the_local_target(built, redshift, local):
    _, marts = built
    assert len(marts) >= 21
    found = []
    for mart, columns in sorted(marts.items()):
        assert local.sql(f"SELECT count(*) FROM {mart}").fetchone()[0], f"{mart} is empty, which compares nothing"
        found += differences(local, redshift, "gold", mart, columns)
    assert not found, f"{len(found)} rows differ\n" + "\n".join(found[:20])


@pytest.mark.parametrize("question", asked(), ids=lambda q: q.name)
def test_a_question_has_the_answer_of_the_local_target(question, built, redshift, local):
    ours = comparable(local.sql(question.sql).fetchall())
    assert ours
    with redshift.cursor() as cursor:
        cursor.execute("SET search_path TO gold")
        cursor.execute(question.sql)
        assert comparable(cursor.fetchall()) == ours


def test_a_text_of_a_mart_may_be_longer_than_256_bytes(redshift, built):
    length = """SELECT DISTINCT character_maximum_length FROM information_schema.columns
                WHERE table_schema = 'gold' AND data_type = 'character varying'"""
    with redshift.cursor() as cursor:
        cursor.execute(length)
        assert cursor.fetchall() == [(65535,)]


def test_portions_in_any_order_make_the_marts_that_all_of_it_makes_at_once(
    built, redshift_standin, redshift, tmp_path_factory
):
    work = tmp_path_factory.mktemp("grown")
    write_silver(work / "lake", ())
    write_audit(work / "lake", example_audit())
    redshift.rollback()
    for portion, loaded_at in zip(portions(), LOADED, strict=True):
        append_silver(work / "lake", portion, loaded_at)
        load_silver(redshift_standin, work / "lake")
        assert wrong(build(redshift_standin, work, GROCERY_REDSHIFT_SCHEMA="grown")) == {}
    result = build_locally(str(work / "lake"), work / "gold.duckdb", work / "logs", None, True)
    assert result.replaced, (result.failures, result.log)
    _, marts = built
    found = []
    with connect(work / "gold.duckdb") as gold:
        for mart, columns in sorted(marts.items()):
            found += differences(gold, redshift, "grown", mart, columns)
    assert not found, f"{len(found)} rows differ\n" + "\n".join(found[:20])
