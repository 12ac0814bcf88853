"""Renders the report page: Jinja template, data as JSON, plotly.js inline."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grocery.report.data import TOO_LONG_MINUTES, StorePage, collect

if TYPE_CHECKING:
    import duckdb

UNITS = {"Cel": "°C", "[degF]": "°F", "s": "s", "min": "min"}


def render(gold: duckdb.DuckDBPyConnection, days: int) -> str:
    """The whole page as text. days: newest business dates of each store that it shows."""
    from jinja2 import Environment, PackageLoader
    from plotly.offline import get_plotlyjs

    env = Environment(
        loader=PackageLoader("grocery.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    env.filters |= {"clock": _clock, "minutes": _minutes, "words": _words, "unit": _unit, "day": _day}
    pages = collect(gold, days)
    template = env.get_template("page.html.j2")
    return template.render(pages=pages, charts=_json(_charts(pages)), plotly=get_plotlyjs(), too_long=TOO_LONG_MINUTES)


def write(gold_path: Path, out: Path, days: int = 2) -> int:
    """Render gold into the file `out`; returns its size in bytes. Raises batch_jobs.gold.NoGold."""
    from batch_jobs.gold import connect

    with connect(gold_path) as gold:
        page = render(gold, days)
    return out.write_bytes(page.encode())


def _charts(pages: list[StorePage]) -> list[dict[str, Any]]:
    """What the page's script draws: one entry a chart, `at` naming its element."""
    charts: list[dict[str, Any]] = []
    for page in pages:
        for case in page.cases:
            chart = {"kind": "case", "at": f"case-{case.asset_id}", "unit": _unit(page.unit), "limit": case.limit}
            charts.append(chart | {"x": case.x, "y": case.y, "spans": case.spans})
        if page.queue["x"]:
            charts.append({"kind": "queue", "at": f"queue-{page.store_id}"} | page.queue)
    return charts


def _json(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it can close the element."""
    text = json.dumps(
        value, default=lambda v: v.isoformat(" ") if isinstance(v, date) else str(v), separators=(",", ":")
    )
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _clock(moment: datetime | None) -> str:
    """Mon 5 Oct, 14:20"""
    return f"{moment:%a} {moment.day} {moment:%b}, {moment:%H:%M}" if moment else ""


def _day(moment: date) -> str:
    """Mon 5 Oct 2026"""
    return f"{moment:%a} {moment.day} {moment:%b %Y}"


def _minutes(minutes: float | None) -> str:
    """45 min, 2 h 05"""
    if minutes is None:
        return ""
    whole = round(minutes)
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60:02d}"


def _words(name: str) -> str:
    """freezer_too_warm as people say it: Freezer too warm."""
    return name.replace("_", " ").replace("-", " ").capitalize()


def _unit(code: str | None) -> str:
    """A UCUM code as people write it."""
    return UNITS.get(code or "", code or "")
