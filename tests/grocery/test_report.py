"""The report page: complete, offline, and safe against what names contain."""

import json
import re
from datetime import datetime

import pytest

from batch_jobs.gold import connect
from grocery.report.data import collect
from grocery.report.page import _json, render


def test_nothing_in_the_data_can_close_the_script_element():
    assert "</script>" not in _json({"name": "</script><script>alert(1)</script>"})


@pytest.fixture(scope="module")
def page(gold):
    with connect(gold / "gold.duckdb") as connection:
        return render(connection, days=2)


@pytest.fixture(scope="module")
def stores(gold):
    with connect(gold / "gold.duckdb") as connection:
        return {page.store_id: page for page in collect(connection, days=2)}


@pytest.mark.integration
def test_the_page_needs_nothing_from_outside(page):
    html = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", html)
    assert "<link" not in html
    assert "Plotly" in page


@pytest.mark.integration
def test_names_are_escaped(page):
    assert "store-001 &lt;b&gt;&amp;" in page
    assert "store-001 <b>&" not in page


@pytest.mark.integration
def test_there_is_a_chart_for_each_case_and_each_stores_queue(page):
    charts = json.loads(re.search(r"const charts = (\[.*\]);\n", page)[1])
    assert [c["kind"] for c in charts].count("case") == 8
    assert [c["kind"] for c in charts].count("queue") == 2
    for chart in charts:
        assert f'id="{chart["at"]}"' in page


@pytest.mark.integration
def test_times_are_local_and_temperatures_in_the_stores_unit(stores):
    denver, berlin = (stores[s].cases[0] for s in ("store-001", "store-002"))
    assert (denver.x[0], denver.limit, denver.y[0], denver.worst) == (datetime(2026, 10, 5, 6), 5.0, -4.0, 14.0)  # noqa: DTZ001
    assert (berlin.x[0], berlin.limit, berlin.y[0], berlin.worst) == (datetime(2026, 10, 5, 14), -15.0, -20.0, -10.0)  # noqa: DTZ001


@pytest.mark.integration
def test_an_escalated_alert_is_shaded_first_as_warning_then_as_critical(stores):
    case = stores["store-001"].cases[0]
    spans = [(s["severity"], s["start"].strftime("%H:%M"), s["end"].strftime("%H:%M")) for s in case.spans]
    assert spans == [("warning", "07:00", "07:40"), ("critical", "07:40", "08:30")]


@pytest.mark.integration
def test_an_open_alert_is_shaded_to_the_end_of_the_data(stores):
    case = stores["store-002"].cases[0]
    assert case.spans[-1]["end"] == case.x[-1]


@pytest.mark.integration
def test_the_line_breaks_where_nothing_was_heard(stores):
    silent = next(c for c in stores["store-001"].cases if c.asset_id == "store-001-cooler-02")
    assert silent.y.count(None) == 1
    assert len(silent.y) == 161


@pytest.mark.integration
def test_the_queue_breaks_where_no_camera_looked(stores):
    assert stores["store-001"].queue["people"].count(None) == 0
    queue = stores["store-002"].queue
    gap = queue["people"].index(None)
    assert (queue["x"][gap].strftime("%H:%M"), queue["lanes"][gap], queue["x"][gap + 1].strftime("%H:%M")) == (
        "15:00",
        None,
        "16:00",
    )
