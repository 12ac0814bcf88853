"""`grocery query` on a small gold."""

import csv
import json

import pytest
from typer.testing import CliRunner

from grocery.cli import app
from grocery.settings import settings


@pytest.fixture
def grocery(request, monkeypatch, tmp_path):
    """Runs the command line on the small gold; without the fixture `gold`, on an empty home."""
    home = request.getfixturevalue("gold").parent if "integration" in request.keywords else tmp_path
    monkeypatch.setenv("GROCERY_HOME", str(home))
    settings.cache_clear()
    yield lambda *words: CliRunner().invoke(app, words)
    settings.cache_clear()


def test_without_gold_it_says_how_to_make_one(grocery):
    outcome = grocery("query", "SELECT 1")
    assert outcome.exit_code == 1
    assert "run `grocery batch run`" in outcome.stderr


def test_an_unknown_question_names_those_there_are(grocery):
    outcome = grocery("query", "--question", "weather")
    assert outcome.exit_code == 2
    assert "cold_chain_out_of_range" in outcome.stderr


@pytest.mark.integration
def test_without_a_query_it_lists_tables_and_questions(grocery):
    outcome = grocery("query")
    assert outcome.exit_code == 0
    assert "fct_queue_minute" in outcome.stdout
    assert "One row per alert" in outcome.stdout
    assert "sales_while_too_warm" in outcome.stdout


@pytest.mark.integration
def test_csv_and_json_hold_the_rows(grocery):
    sql = "SELECT store_id, worst_severity, worst_value, ended_at_utc FROM fct_alert ORDER BY store_id"
    rows = json.loads(grocery("query", "--format", "json", sql).stdout)
    assert rows[0] == {
        "store_id": "store-001",
        "worst_severity": "critical",
        "worst_value": -10.0,
        "ended_at_utc": "2026-10-05 14:30:00",
    }
    assert rows[1]["ended_at_utc"] is None
    read = list(csv.DictReader(grocery("query", "--format", "csv", sql).stdout.splitlines()))
    assert [row["store_id"] for row in read] == ["store-001", "store-002"]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT nothing FROM fct_alert", "nothing"),
        ("SELECT 1; SELECT 2", "one query at a time"),
        ("DROP TABLE fct_alert", "read-only"),
        ("/* nothing */", "one query at a time"),
    ],
)
def test_a_query_that_cannot_run_is_told_without_a_traceback(sql, said, grocery):
    outcome = grocery("query", sql)
    assert outcome.exit_code == 1
    assert said in outcome.stderr
    assert "Traceback" not in outcome.output


@pytest.mark.integration
def test_a_question_is_asked_by_name(grocery):
    outcome = grocery("query", "--question", "cold_chain_out_of_range")
    assert outcome.exit_code == 0
    assert "freezer-01" in outcome.stdout
