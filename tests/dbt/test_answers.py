"""What the analysts' questions (docs/analyst-guide.md) answer on the small day of tests/fixtures/gold.py: each figure
can be told from what happened there."""

from datetime import date

import duckdb
import pytest

from batch_jobs.gold import connect, questions
from tests.warehouses.questions import comparable

pytestmark = pytest.mark.integration

DAY = date(2026, 10, 5)
ICE = "Vanilla ice cream"
ANSWERS = {
    # Both were raised half an hour after the first breach; one was over an hour later, the other is open.
    "alerts_time_to_raise": [("freezer_too_warm", "critical", 2, 30, 90, 90, 1)],
    # One shopper each, picked at random, and nothing was found.
    "baskets_that_were_checked": [
        ("store-001", "random", 1, 100, 1, 0, None),
        ("store-002", "random", 1, 100, 1, 0, None),
    ],
    "cold_chain_out_of_range": [
        ("store-001", "freezer-01", DAY, 90, -10, -15, 1, "freezer_too_warm: over by itself, nothing recorded"),
        ("store-002", "store-002-freezer-01", DAY, 90, -10, -15, 1, "freezer_too_warm: still open, nothing recorded"),
    ],
    # 35 times 1 kW.h less the one in which the meter was changed, on 100 m2; 12 of it before the first store opened,
    # which is closed for one of the three hours that its meter tells of.
    "energy_while_closed": [("store-001", 1, 34, 0.34, 35.3, 33.3, 1), ("store-002", 1, 34, 0.34, 0, 0, 1)],
    # Half an hour empty, of 115 and 175 minutes seen while open. Lost: sold / minutes on the shelf * 30 * 0.40; that is
    # 90 of 120 minutes and 150 of 180 (8.345), as the last five of the third hour, not seen, were like its others.
    "gaps_that_cost_most": [
        ("store-001", ICE, 30, 73.9, "USD", 65.88, 8.78),
        ("store-002", ICE, 30, 82.9, "EUR", 104.31, 8.35),
    ],
    # Of two orders one was cancelled; the other was ready before its window, its car seen 4 minutes before it was
    # handed over, and one of its two lines was short.
    "pickup_on_time": [("store-001", 7, 2, 1, 100, 4, 4, 0, 50, 0), ("store-002", 15, 2, 1, 100, 4, 4, 0, 50, 0)],
    # Two queues with 0 to 4 people in turn: above two in two of five minutes. One camera was blind from 15 to 16, and
    # one lane shut in the first hour.
    "queues_and_open_lanes": [
        ("store-001", 7, 120, 48, 40, 4, 2),
        ("store-001", 8, 120, 48, 40, 4, 2),
        ("store-002", 16, 120, 48, 40, 4, 2),
        ("store-001", 6, 60, 24, 40, 4, 1),
        ("store-002", 14, 60, 24, 40, 4, 1),
    ],
    "rules_that_cry_wolf": [("freezer_too_warm", 2, 0, 0, 0, None)],
    # 19 sales of 5.49, one every 9 minutes from 0 to 162; what was brought back had been sold. The freezer was warm
    # from 60 on: until 150 in the first store (63 to 144), and to the end in the other one (63 to 162).
    "sales_while_too_warm": [
        ("store-002", "frozen", "EUR", 104.31, 65.88, 12),
        ("store-001", "frozen", "USD", 104.31, 54.90, 10),
    ],
    # Two come in a minute.
    "visitors_who_buy": [
        ("store-001", 6, 1, 120, 7, 5.8, 5.49, "USD"),
        ("store-001", 7, 1, 120, 7, 5.8, 5.49, "USD"),
        ("store-001", 8, 1, 120, 5, 4.2, 5.49, "USD"),
        ("store-002", 14, 1, 120, 7, 5.8, 5.49, "EUR"),
        ("store-002", 15, 1, 120, 7, 5.8, 5.49, "EUR"),
        ("store-002", 16, 1, 120, 5, 4.2, 5.49, "EUR"),
    ],
}


@pytest.mark.parametrize("question", questions(), ids=lambda q: q.name)
def test_an_analysts_question_has_the_answer_that_the_day_gives(question, gold):
    assert question.text.endswith("?")
    with connect(gold / "gold.duckdb") as connection:
        found = connection.sql(question.sql).fetchall()
    assert comparable(found) == comparable(ANSWERS[question.name])


def test_baskets_of_an_hour_in_which_nobody_was_seen_to_come_in_are_told_too():
    [question] = [one for one in questions() if one.name == "visitors_who_buy"]
    with duckdb.connect() as connection:
        connection.sql(
            """
            CREATE TABLE fct_zone_traffic_hour AS
            SELECT 's' AS store_id, DATE '2026-10-05' AS business_date, 8 AS local_hour, 'person' AS seen,
                'entrance' AS zone_kind, 4 AS entered
            """
        )
        connection.sql(
            """
            CREATE TABLE fct_basket AS
            SELECT 's' AS store_id, DATE '2026-10-05' + day AS business_date, hour AS local_hour, 'EUR' AS currency,
                'sale' AS kind, false AS was_voided, 'lane' AS channel, 10 AS net_amount
            FROM (VALUES (0, 8), (0, 8), (0, 9), (1, 8)) AS sold(day, hour)
            """
        )
        found = connection.sql(question.sql).fetchall()
    # The day after counts no visitors at 8, so its basket is in no rate.
    assert comparable(found) == comparable([("s", 8, 2, 4, 3, 50, 10, "EUR"), ("s", 9, 1, None, 1, None, 10, "EUR")])


def test_what_was_sold_while_a_door_stood_open_or_a_defrost_lasted_was_not_sold_too_warm():
    [question] = [one for one in questions() if one.name == "sales_while_too_warm"]
    alerts = [
        # Metric, kind of limit, and the hour that it lasted for; a line was sold in each.
        ("temperature", "above", 1),
        ("temperature", "cumulative", 2),
        ("temperature", "rate", 3),
        ("door_open", "above", 4),
        ("defrost", "above", 5),
    ]
    with duckdb.connect() as connection:
        connection.sql(
            """
            CREATE TABLE fct_sale_line AS
            SELECT
                's' AS store_id, kind || hour AS transaction_id, 1 AS line_no, 'EUR' AS currency, kind,
                TIMESTAMP '2026-10-05' + hour * INTERVAL 1 HOUR AS event_time_utc, 'chilled' AS storage,
                hour = 7 AS is_voided, 10 AS net_amount
            FROM range(1, 8) AS hours(hour), unnest(['sale', 'return']) AS kinds(kind)
            """
        )
        connection.sql(
            """
            CREATE TABLE fct_alert (
                store_id TEXT, asset_class TEXT, metric TEXT, limit_kind TEXT,
                starts_at_utc TIMESTAMP, ended_at_utc TIMESTAMP
            )
            """
        )
        for metric, kind, hour in alerts:
            span = (f"2026-10-05 0{hour}:00:00", f"2026-10-05 0{hour + 1}:00:00")
            connection.execute("INSERT INTO fct_alert VALUES ('s', 'cooler', ?, ?, ?, ?)", [metric, kind, *span])
        assert connection.sql(question.sql).fetchall() == [("s", "chilled", "EUR", 60, 20, 2)]
