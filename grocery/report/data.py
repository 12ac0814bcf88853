"""What the report page shows, read from gold. Times are the store's own wall clock, temperatures its display unit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb

POINTS = 1500  # a curve is thinned to about this many points: more than a page is wide
QUEUE_STEP_MINUTES = 5
TOO_LONG_MINUTES = 240  # food held without cold for four hours is discarded (FDA Food Code 3-501.19)
SEVERITIES = ("ok", "info", "warning", "critical")

Row = dict[str, Any]


@dataclass(slots=True)
class Case:
    """One freezer or cooler. limit: in the display unit. x: local times; y: temperatures, None breaks the line where
    nothing was monitored. spans: alert spans as start, end (local), severity, rule. days: its compliance rows."""

    asset_id: str
    name: str
    asset_class: str
    limit: float | None
    x: list[datetime] = field(default_factory=list)
    y: list[float | None] = field(default_factory=list)
    spans: list[Row] = field(default_factory=list)
    days: list[Row] = field(default_factory=list)

    def total(self, column: str) -> float:
        return float(sum(day[column] or 0 for day in self.days))

    @property
    def minutes_above(self) -> float:
        """Minutes above the limit, apart from defrosts."""
        return self.total("minutes_above_limit") - self.total("minutes_above_limit_in_defrost")

    @property
    def worst(self) -> float | None:
        return max((day["worst"] for day in self.days if day["worst"] is not None), default=None)

    @property
    def severity(self) -> str:
        """Worst severity of its alerts; `ok` where there were none."""
        return worst_severity(span["severity"] for span in self.spans)


@dataclass(slots=True)
class StorePage:
    """One store's part of the page. dates: the business dates shown, oldest first. queue: x (local times), people,
    lanes, None where no camera looked. sales: net amount and receipts."""

    store_id: str
    name: str
    time_zone: str
    unit: str
    currency: str
    dates: list[date]
    cases: list[Case] = field(default_factory=list)
    alerts: list[Row] = field(default_factory=list)
    queue: dict[str, list] = field(default_factory=lambda: {"x": [], "people": [], "lanes": []})
    busiest: Row | None = None
    sales: Row | None = None

    def total(self, column: str) -> float:
        return sum(case.total(column) for case in self.cases)

    @property
    def longest_above(self) -> Case | None:
        """The case with most minutes above its limit; None where all stayed below."""
        above = [case for case in self.cases if case.minutes_above > 0]
        return max(above, key=lambda case: case.minutes_above, default=None)

    @property
    def percent_received(self) -> float | None:
        """Readings received, of those expected up to now; None where none were expected."""
        expected = self.total("readings_expected_so_far")
        return min(100.0, 100 * self.total("readings_received") / expected) if expected else None


def worst_severity(severities: Iterable[str]) -> str:
    return max(severities, key=SEVERITIES.index, default="ok")


def collect(gold: duckdb.DuckDBPyConnection, days: int) -> list[StorePage]:
    """One part for each store that has data, over its newest `days` business dates."""
    gold.execute(_MACROS)
    gold.execute(
        """
        CREATE OR REPLACE TEMP TABLE shown AS
        SELECT day.store_id, day.business_date, day.covered_to_utc, store.time_zone,
            store.display_unit = '[degF]' AS fahrenheit
        FROM main_intermediate.int_store_day AS day
        JOIN dim_store AS store ON store.store_id = day.store_id AND store.is_current
        QUALIFY row_number() OVER (PARTITION BY day.store_id ORDER BY day.business_date DESC) <= ?
        """,
        [days],
    )
    pages = {row["store_id"]: StorePage(**row) for row in _rows(gold, _STORES)}
    cases = _cases(gold, pages)
    _add_curves(gold, cases)
    _add_alerts(gold, pages, cases)
    _add_queues(gold, pages)
    for row in _rows(gold, _SALES):
        pages[row["store_id"]].sales = row
    for page in pages.values():
        page.cases.sort(key=lambda c: (-SEVERITIES.index(c.severity), c.asset_class, c.name))
    return list(pages.values())


_STORES = """
    SELECT store_id, store_name AS name, store.time_zone, display_unit AS unit, currency,
        list(business_date ORDER BY business_date) AS dates
    FROM shown JOIN dim_store AS store USING (store_id)
    WHERE is_current
    GROUP BY ALL
    ORDER BY store_id
"""

_CASE_DAYS = """
    SELECT rpt.*, temperature(limit_c, fahrenheit) AS "limit", temperature(worst_temperature_c, fahrenheit) AS worst
    FROM rpt_cold_chain_compliance AS rpt JOIN shown USING (store_id, business_date)
    WHERE readings_expected_so_far > 0 OR readings_received > 0
    ORDER BY asset_id, business_date
"""

_CURVES = f"""
    WITH minutes AS (
        SELECT asset_id, max(temperature(temperature_c, fahrenheit)) AS y,
            date_trunc('minute', local(event_time_utc, shown.time_zone)) AS x,
            max(local(stands_until_utc, shown.time_zone)) AS until
        FROM main_intermediate.int_cold_chain_reading AS reading JOIN shown USING (store_id, business_date)
        GROUP BY ALL
    ),
    step AS (
        SELECT asset_id, greatest(1, date_diff('minute', min(x), max(x)) // {POINTS}) AS minutes
        FROM minutes
        GROUP BY asset_id
    )
    SELECT asset_id, time_bucket(to_minutes(step.minutes), x) AS x, max(y) AS y, max(until) AS until
    FROM minutes JOIN step USING (asset_id)
    GROUP BY asset_id, 2
    ORDER BY asset_id, 2
"""

_ALERTS = """
    WITH span AS (
        SELECT store_id, time_zone, fahrenheit, min(business_date) AS since, max(covered_to_utc) AS newest_utc
        FROM shown
        GROUP BY ALL
    )
    SELECT alert.store_id, alert.asset_id, asset_name, rule, worst_severity AS severity, limit_kind, limit_unit,
        local(starts_at_utc, time_zone) AS starts, local(escalated_at_utc, time_zone) AS escalated,
        local(ended_at_utc, time_zone) AS ends,
        local(coalesce(ended_at_utc, greatest(newest_utc, starts_at_utc)), time_zone) AS seen_until,
        minutes_to_raise, minutes_open, what_was_done,
        CASE limit_unit WHEN 'Cel' THEN temperature(worst_value, fahrenheit) ELSE worst_value END AS worst
    FROM fct_alert AS alert
    JOIN span USING (store_id)
    LEFT JOIN dim_asset AS asset ON asset.asset_id = alert.asset_id AND asset.is_current
    WHERE CAST(seen_until AS DATE) >= since
    ORDER BY store_id, starts, alert.asset_id
"""

_QUEUES = f"""
    WITH by_minute AS (
        SELECT store_id, local(minute_utc, time_zone) AS x, sum(people_avg) AS people, max(lanes_open) AS lanes
        FROM fct_queue_minute JOIN shown USING (store_id, business_date)
        GROUP BY ALL
    )
    SELECT store_id, time_bucket(to_minutes({QUEUE_STEP_MINUTES}), x) AS x, avg(people) AS people,
        arg_max(lanes, x) AS lanes
    FROM by_minute
    GROUP BY ALL
    ORDER BY ALL
"""

_SALES = """
    SELECT store_id, sum(net_amount) AS amount, count(DISTINCT transaction_id) AS receipts
    FROM fct_sale_line JOIN shown USING (store_id, business_date)
    GROUP BY ALL
"""

_MACROS = """
    CREATE OR REPLACE TEMP MACRO local(instant, zone) AS (instant AT TIME ZONE 'UTC') AT TIME ZONE zone;
    CREATE OR REPLACE TEMP MACRO temperature(celsius, fahrenheit) AS
        round(CASE WHEN fahrenheit THEN celsius * 1.8 + 32 ELSE celsius END, 1)::DOUBLE;
"""


def _rows(gold: duckdb.DuckDBPyConnection, sql: str) -> list[Row]:
    result = gold.execute(sql)
    names = [column[0] for column in result.description or ()]
    rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    return [{k: float(v) if isinstance(v, Decimal) else v for k, v in row.items()} for row in rows]


def _cases(gold: duckdb.DuckDBPyConnection, pages: dict[str, StorePage]) -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for row in _rows(gold, _CASE_DAYS):
        asset_id = row["asset_id"]
        if asset_id not in cases:
            name = row["asset_name"] or asset_id
            cases[asset_id] = Case(asset_id, name, row["asset_class"], row["limit"])
            pages[row["store_id"]].cases.append(cases[asset_id])
        cases[asset_id].days.append(row)
    return cases


def _add_curves(gold: duckdb.DuckDBPyConnection, cases: dict[str, Case]) -> None:
    until: dict[str, datetime] = {}
    for row in _rows(gold, _CURVES):
        case = cases[row["asset_id"]]
        if case.x and row["x"] > until[case.asset_id]:
            case.x.append(until[case.asset_id])
            case.y.append(None)
        case.x.append(row["x"])
        case.y.append(row["y"])
        until[case.asset_id] = row["until"]


def _add_alerts(gold: duckdb.DuckDBPyConnection, pages: dict[str, StorePage], cases: dict[str, Case]) -> None:
    for alert in _rows(gold, _ALERTS):
        pages[alert["store_id"]].alerts.append(alert)
        if case := cases.get(alert["asset_id"]):
            start, turned, end = alert["starts"], alert["escalated"], alert["seen_until"]
            span = {"start": start, "end": end, "severity": alert["severity"], "rule": alert["rule"]}
            if turned and start < turned < end:
                case.spans.append(span | {"end": turned, "severity": "warning"})
                span["start"] = turned
            case.spans.append(span)


def _add_queues(gold: duckdb.DuckDBPyConnection, pages: dict[str, StorePage]) -> None:
    step = timedelta(minutes=QUEUE_STEP_MINUTES)
    for row in _rows(gold, _QUEUES):
        page = pages[row["store_id"]]
        x, people, lanes = page.queue["x"], page.queue["people"], page.queue["lanes"]
        if x and row["x"] > x[-1] + 3 * step:  # closed, or no camera: the lines break
            x.append(x[-1] + step)
            people.append(None)
            lanes.append(None)
        x.append(row["x"])
        people.append(round(row["people"], 2))
        lanes.append(row["lanes"])
        if page.busiest is None or row["people"] > page.busiest["people"]:
            page.busiest = row
