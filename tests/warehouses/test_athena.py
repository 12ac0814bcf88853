"""dbt-athena really run, on the stand-in of tests/fixtures/athena.py: `make test-athena`.

It proves that the project builds, goes on and passes its tests through Athena's adapter and driver, in the dialect of
Trino, from which Athena is made, with gold as Iceberg tables and rows that are those of DuckDB. It does not prove
Athena's own version of Trino, its DDL, or its rights and limits; docs/warehouses.md has the whole list.
"""

import signal
from collections import Counter

import pytest

from batch_jobs.gold import build as build_locally
from batch_jobs.gold import connect
from tests.dbt.test_incremental import LOADED, portions
from tests.fixtures.athena import Lake
from tests.fixtures.gold import event_at, example_audit
from tests.fixtures.silver import append_silver, write_audit, write_silver
from tests.warehouses.builds import EVERYTHING, assert_same, build, differences, marts, query, wrong
from tests.warehouses.compiled import dbt
from tests.warehouses.questions import asked, comparable

pytestmark = [pytest.mark.athena, pytest.mark.timeout(3600)]

# dbt-athena tries what failed five times more, minutes apart: here it does so at once.
AT_ONCE = "import tenacity.nap, types; tenacity.nap.time = types.SimpleNamespace(sleep=lambda seconds: None)\n"
# Whoever runs dbt is killed as soon as a table has been written.
KILLED = """
import os, signal
from dbt.adapters.athena.connections import AthenaCursor
execute = AthenaCursor.execute
def execute_and_die(self, operation, *arguments, **options):
    found = execute(self, operation, *arguments, **options)
    if "merge into" in operation and '"{table}"' in operation:
        os.kill(os.getpid(), signal.SIGKILL)
    return found
AthenaCursor.execute = execute_and_die
"""


def run(lake, work, *command):
    """What dbt did with each model and test."""
    return build(work, "athena", lake.env, *command, before=AT_ONCE)


def rows(lake, name, columns):
    """Of a table that DuckDB has by this name."""
    schema = f"{lake.gold}_intermediate" if name.startswith("main_intermediate") else lake.gold
    return lake.rows(query(f"{schema}.{name.rpartition('.')[2]}", columns))


@pytest.fixture(scope="module")
def small(gold, athena_standin):
    lake = Lake(athena_standin, "small")
    lake.upload(gold / "lake")
    return lake


@pytest.fixture(scope="module")
def built(small, tmp_path_factory):
    """(what dbt did, each mart's columns by its name) of a build from the silver that `gold` was built from."""
    work = tmp_path_factory.mktemp("athena")
    return run(small, work), marts(work, "athena")


@pytest.fixture(scope="module")
def local(gold):
    with connect(gold / "gold.duckdb") as found:
        yield found


def test_every_model_is_built_and_every_test_of_it_passes(built):
    results, _ = built
    assert wrong(results) == {}
    assert Counter(one["status"] for one in results)["success"] >= 42


def test_every_marts_rows_are_those_of_the_local_target(built, small, local):
    _, columns_of = built
    assert len(columns_of) >= 21
    found = []
    for mart, columns in sorted(columns_of.items()):
        assert local.sql(f"SELECT count(*) FROM {mart}").fetchone()[0], f"{mart} is empty, which compares nothing"
        found += differences(local, mart, columns, "athena", rows(small, mart, columns))
    assert_same(found)


def test_marts_are_iceberg_tables_with_comments_in_glue(built, small):
    pages = small.standin.client("glue").get_paginator("get_tables").paginate(DatabaseName=small.gold)
    found = {table["Name"]: table for page in pages for table in page["TableList"]}
    _, columns_of = built
    assert set(columns_of) == set(found)
    assert {table["Parameters"]["table_type"] for table in found.values()} == {"ICEBERG"}
    assert all(column["Comment"] for table in found.values() for column in table["StorageDescriptor"]["Columns"])


@pytest.mark.parametrize("question", asked(), ids=lambda q: q.name)
def test_a_question_has_the_answer_of_the_local_target(question, built, small, local):
    ours = comparable(local.sql(question.sql).fetchall())
    assert ours
    assert comparable(small.rows(question.sql)) == ours


def reading_of_another_freezer(minute):
    """The newest reading of a device stands for less time than one that another has followed, be it hours later."""
    fields = {"kind": "reading", "asset_id": "store-002-freezer-77", "asset_class": "freezer", "metric": "temperature"}
    fields |= {"device_id": "store-002-freezer-77-t", "unit": "Cel", "value": -20}
    return "sensor-readings", event_at(f"another-{minute}", minute, "store-002", **fields)


@pytest.fixture(scope="module")
def grown(athena_standin, tmp_path_factory):
    """(work folder with lake/, that lake on the stand-in) after four portions of events in any order, late ones among
    them; the third and fourth were first read by runs that were killed half-way."""
    work = tmp_path_factory.mktemp("grown")
    lake = Lake(athena_standin, "grown")
    write_silver(work / "lake", ())
    write_audit(work / "lake", example_audit())
    dies_after = (None, None, "int_cold_chain_reading", "fct_sensor_hour")
    more = {0: [reading_of_another_freezer(5)], 2: [reading_of_another_freezer(600)]}
    for number, (portion, loaded_at) in enumerate(zip(portions(), LOADED, strict=True)):
        append_silver(work / "lake", portion + more.get(number, []), loaded_at)
        lake.upload(work / "lake")
        if table := dies_after[number]:
            killed = dbt(work, "athena", lake.env, "run", before=AT_ONCE + KILLED.format(table=table))
            assert killed.returncode == -signal.SIGKILL, killed.stdout[-4000:]
        # Tests once: they take three times as long as the models.
        assert wrong(run(lake, work, *(EVERYTHING if number == 1 else ("run",)))) == {}
    return work, lake


def test_portions_in_any_order_and_runs_that_were_killed_make_the_gold_that_all_of_it_makes_at_once(grown):
    work, lake = grown
    result = build_locally(str(work / "lake"), work / "gold.duckdb", work / "logs", None, True)
    assert result.replaced, (result.failures, result.log)
    found = []
    with connect(work / "gold.duckdb") as gold:
        tables = gold.sql(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE NOT "
            "regexp_matches(table_name, '^(int_touched_.*|int_silver_.*|int_changed_version|made_by)$')"
        ).fetchall()
        assert len(tables) > 33
        for (name,) in tables:
            columns = gold.table(name).columns
            found += differences(gold, name, columns, "athena", rows(lake, name, columns))
    assert_same(found)
