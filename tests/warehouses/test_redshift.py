"""dbt-redshift really run, on the stand-in of tests/fixtures/redshift.py: `make test-redshift`.

It proves that the project builds and passes its tests through Redshift's adapter and driver, and that its rows are
those of DuckDB. It does not prove Redshift's own functions and types, which are PostgreSQL's here or are played by
dbt/standins/postgres; tests/warehouses/test_compiled.py reads the SQL that goes to Redshift instead.
"""

import json
from collections import Counter

import pytest

from batch_jobs.gold import connect
from tests.fixtures.redshift import load_silver
from tests.warehouses.compiled import dbt

pytestmark = pytest.mark.redshift


@pytest.fixture(scope="module")
def built(gold, redshift_standin, tmp_path_factory):
    """(what dbt did, each mart's columns by its name) of a build from the silver that `gold` was built from."""
    load_silver(redshift_standin, gold / "lake")
    work = tmp_path_factory.mktemp("redshift")
    env = redshift_standin.env | {"GROCERY_DBT_STANDIN": "postgres"}
    run = dbt(work, "redshift", env, "build", "--exclude-resource-type", "unit_test", "exposure")
    assert (work / "redshift/run_results.json").exists(), run.stdout[-4000:]
    results = json.loads((work / "redshift/run_results.json").read_text("utf-8"))["results"]
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
    wrong = {one["unique_id"]: one["message"] for one in results if one["status"] not in ("success", "pass", "warn")}
    assert wrong == {}
    assert Counter(one["status"] for one in results)["success"] >= 42


def test_every_marts_rows_are_those_of_the_local_target(built, redshift, local):
    _, marts = built
    assert len(marts) >= 21
    differences = []
    for mart, columns in sorted(marts.items()):
        query = f"SELECT {', '.join(columns)} FROM"
        ours = Counter(local.sql(f"{query} {mart}").fetchall())
        with redshift.cursor() as cursor:
            cursor.execute(f"{query} gold.{mart}")
            theirs = Counter(cursor.fetchall())
        assert ours, f"{mart} is empty, which compares nothing"
        differences += [f"{mart}, only local: {dict(zip(columns, row, strict=True))}" for row in (ours - theirs)]
        differences += [f"{mart}, only redshift: {dict(zip(columns, row, strict=True))}" for row in (theirs - ours)]
    assert not differences, f"{len(differences)} rows differ\n" + "\n".join(differences[:20])


def test_a_text_of_a_mart_may_be_longer_than_256_bytes(redshift, built):
    length = """SELECT DISTINCT character_maximum_length FROM information_schema.columns
                WHERE table_schema = 'gold' AND data_type = 'character varying'"""
    with redshift.cursor() as cursor:
        cursor.execute(length)
        assert cursor.fetchall() == [(65535,)]
