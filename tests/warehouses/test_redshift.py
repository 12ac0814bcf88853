"""dbt-redshift really run, on the stand-in of tests/fixtures/redshift.py: `make test-redshift`.

It proves that the project builds and passes its tests through Redshift's adapter and driver, and that its rows are
those of DuckDB. It does not prove Redshift's own functions and types, which are PostgreSQL's here or are played by
dbt/standins/postgres; tests/warehouses/test_compiled.py reads the SQL that goes to Redshift instead.
"""

from collections import Counter

import pytest

from batch_jobs.gold import build as build_locally
from batch_jobs.gold import connect, import_delta
from batch_jobs.redshift import load_of
from tests.batch_jobs.test_redshift import receipt, without_column
from tests.dbt.test_incremental import LOADED, portions
from tests.fixtures.gold import example_audit
from tests.fixtures.redshift import copy, load_silver
from tests.fixtures.silver import append_silver, write_audit, write_silver
from tests.warehouses.builds import assert_same, build, differences, marts, query, wrong
from tests.warehouses.questions import asked, comparable

pytestmark = pytest.mark.redshift


def run(standin, work, **env):
    """What dbt did with each model and test."""
    return build(work, "redshift", standin.env | {"GROCERY_DBT_STANDIN": "postgres"} | env)


def rows(connection, schema, mart, columns):
    with connection.cursor() as cursor:
        cursor.execute(query(f"{schema}.{mart}", columns))
        return cursor.fetchall()


@pytest.fixture(scope="module")
def built(gold, redshift_standin, tmp_path_factory):
    """(what dbt did, each mart's columns by its name) of a build from the silver that `gold` was built from."""
    load_silver(redshift_standin, gold / "lake")
    work = tmp_path_factory.mktemp("redshift")
    return run(redshift_standin, work), marts(work, "redshift")


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
    _, columns_of = built
    assert len(columns_of) >= 21
    found = []
    for mart, columns in sorted(columns_of.items()):
        assert local.sql(f"SELECT count(*) FROM {mart}").fetchone()[0], f"{mart} is empty, which compares nothing"
        found += differences(local, mart, columns, "redshift", rows(redshift, "gold", mart, columns))
    assert_same(found)


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
        assert wrong(run(redshift_standin, work, GROCERY_REDSHIFT_SCHEMA="grown")) == {}
    result = build_locally(str(work / "lake"), work / "gold.duckdb", work / "logs", None, True)
    assert result.replaced, (result.failures, result.log)
    _, columns_of = built
    found = []
    with connect(work / "gold.duckdb") as gold:
        for mart, columns in sorted(columns_of.items()):
            theirs = rows(redshift, "grown", mart, columns)
            found += differences(gold, mart, columns, "redshift", theirs)
    assert_same(found)


def test_a_table_that_gained_a_column_is_loaded_whole_again_and_has_null_where_a_file_lacks_it(
    redshift_standin, tmp_path
):
    import_delta()
    without_column(tmp_path, "pos_transactions", "currency")
    with redshift_standin.connect() as connection, connection.cursor() as cursor:
        before = load_of(tmp_path, "pos_transactions").parts[0].columns
        names = ", ".join(f'"{name}" text' for name in before)
        cursor.execute(f"create schema gained; create table gained.pos_transactions ({names})")
        append_silver(tmp_path, [receipt()], "2026-10-06T00:00:00Z")
        load = load_of(tmp_path, "pos_transactions")
        for statement in load.gain("gained", before):
            cursor.execute(statement)
        copy(cursor, load, "gained", tmp_path)
        cursor.execute("select event_id, currency, channel, total from gained.pos_transactions")
        found = sorted(cursor.fetchall(), key=lambda row: row[1] is not None)
    connection.close()
    _, event = receipt()
    told = (event["event_id"], event["currency"], event["channel"], str(event["total"]))
    assert found == [(told[0], None, *told[2:]), told]
