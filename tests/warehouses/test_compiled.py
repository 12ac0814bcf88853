"""The SQL that goes to Redshift and to Athena: compiled by dbt's own adapters, and read by a parser of each dialect."""

import pytest
import sqlglot
from sqlglot import exp

from tests.warehouses.compiled import compiled
from tests.warehouses.redshift_sql import objections

pytestmark = pytest.mark.integration

# No one is there: a test that asked a warehouse would end here.
NOBODY = {"HOST": "127.0.0.1", "PORT": "1", "DATABASE": "dev", "USER": "nobody", "PASSWORD": "none"}
REDSHIFT = {f"GROCERY_REDSHIFT_{name}": value for name, value in NOBODY.items()}
ATHENA = {
    "GROCERY_ATHENA_REGION": "eu-central-1",
    "GROCERY_ATHENA_RESULTS": "s3://bucket/results/",
    "GROCERY_ATHENA_TABLES": "s3://bucket/gold/",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module", params=[False, True], ids=["first-run", "later-run"])
def redshift(request, work):
    return compiled(work, "redshift", REDSHIFT, built=request.param)


@pytest.fixture(scope="module", params=[False, True], ids=["first-run", "later-run"])
def athena(request, work):
    return compiled(work, "athena", ATHENA, built=request.param)


def test_redshift_has_nothing_against_any_model_question_or_test(redshift):
    assert len(redshift) > 300
    told = {name: found for name, sql in redshift.items() if (found := objections(sql))}
    assert told == {}


def test_nothing_of_the_stand_in_is_in_the_sql_of_redshift(redshift):
    together = "\n".join(redshift.values())
    assert "jsonb" not in together
    assert "convert_timezone('UTC'" in together
    assert "dateadd(" in together


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("select sum(a) filter (where b) from t", "FILTER"),
        ("select string_agg(a, ',') from t", "string_agg"),
        ("select n from generate_series(1, 9) as s(n)", "generate_series"),
        ("select a from t cross join lateral (select 1) as x", "LATERAL"),
        ("select array[1, 2]", "array"),
        ("select a from t where a is distinct from b", "IS DISTINCT FROM"),
        ("select from_utc + interval '1 hour' from t", "interval"),
        ("select to_utc - from_utc from t", "arithmetic on timestamps"),
        ("select at_utc - date_trunc('hour', at_utc) from t", "arithmetic on timestamps"),
        ("select at_utc at time zone zone from t", "AT TIME ZONE"),
        ("select max(a > 1) from t", "MIN or MAX of a boolean"),
        ("select sum(a) over (partition by b order by c) from t", "without a frame"),
        ("select lag(a, 1, 0) over (order by b) from t", "default of LAG"),
        ("select distinct on (a) a, b from t", "DISTINCT ON"),
        ("select count(distinct a, b) from t", "COUNT(DISTINCT)"),
        ("select a from (values (1), (2)) as t(a)", "VALUES"),
        ("select cast(a as jsonb) from t", "JSONB"),
        ("select a as tag from t", "reserved word"),
        ("select struct_extract(a, 'b') from t", "struct_extract"),
        ("select regexp_full_match(a, 'b') from t", "not looked up"),
        (
            "select a from t where not exists (select 1 from u where exists (select 1 from v where v.a = t.a))",
            "past the one around it",
        ),
        ("select a from t left join u on u.b = (select max(v.b) from v where v.a = u.a)", "ON of an outer join"),
        (
            "select a from t where a in (select rank() over (order by u.b) from u where u.c = t.c)",
            "with a window function",
        ),
    ],
)  # fmt: skip
def test_what_redshift_has_not_is_told(sql, what):
    assert any(what in one for one in objections(sql)), objections(sql)


def test_what_redshift_has_is_let_by():
    sql = "select a, sum(b) over (partition by c order by d rows unbounded preceding) as e from t qualify e > 1"
    assert objections(sql) == []


def test_athenas_sql_is_read_by_a_parser_of_its_dialect(athena):
    assert len(athena) > 300
    for name, sql in athena.items():
        [statement] = sqlglot.parse(sql, read="athena")
        assert isinstance(statement, exp.Query), name
        assert not {"convert_timezone", "dateadd", "struct_extract"} & {
            function.name.lower() for function in statement.find_all(exp.Anonymous)
        }, name
