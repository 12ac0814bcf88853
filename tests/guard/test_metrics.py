"""/metrics as Prometheus reads it."""

from __future__ import annotations

import re
import socket
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from grocery.settings import PROJECT
from guard.judge import JobFigures, Thing, Verdict
from guard.metrics import Metrics, Snapshot
from guard.seen import INGESTION, TICKER

SNAPSHOT = Snapshot(
    verdict=Verdict(
        broker=True,
        flink=True,
        jobs={
            "cold_chain": JobFigures(True, 2, 500, 1, 0.5, 12, 3.0),
            "shelf": JobFigures(None, 0, 0, 0, None, None, None),
        },
        ages={"store-001": {TICKER: 4.0, INGESTION: 1.0}},
    ),
    troubles=(Thing("store_unmonitored", "store-002", "ticker"),),
    unused={"cold_chain": {"duplicate": 7, "too_late": 0}},
    open_alerts={("alerts.cold-chain", "critical"): 3},
    pending=1,
    looks=9,
    looked_at=1_795_608_000.0,
)


def scraped(port: int) -> dict[tuple[str, tuple], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        families = list(text_string_to_metric_families(page.read().decode()))
    assert all(family.documentation for family in families)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_scrape_tells_the_newest_look_and_leaves_out_what_is_not_known():
    metrics = Metrics()
    with metrics.served(0) as port:
        assert scraped(port) == {}
        metrics.snapshot = SNAPSHOT
        found = scraped(port)
        job = (("job", "cold_chain"),)
        for name, value in {
            "grocery_job_up": 1,
            "grocery_job_lag_records": 12,
            "grocery_job_lag_seconds": 3,
            "grocery_job_last_checkpoint_age_seconds": 0.5,
            "grocery_job_restarts_total": 2,
        }.items():
            assert found[name, job] == value
        assert found["grocery_job_checkpoints_total", (*job, ("result", "failed"))] == 1
        assert found["grocery_engine_unused_events_total", (*job, ("reason", "duplicate"))] == 7
        age = ("grocery_store_last_record_age_seconds", (("feed", "ticker"), ("store_id", "store-001")))
        assert found[age] == 4
        assert found["grocery_alerts_open", (("severity", "critical"), ("topic", "alerts.cold-chain"))] == 3
        trouble = (("asset_id", "ticker"), ("rule", "store_unmonitored"), ("store_id", "store-002"))
        assert found["grocery_guard_trouble", trouble] == 1
        assert ("grocery_job_up", (("job", "shelf"),)) not in found
        assert found["grocery_job_restarts_total", (("job", "shelf"),)] == 0


def test_the_guide_lists_every_metric_and_no_other():
    guide = (PROJECT / "docs" / "operations.md").read_text("utf-8")
    metrics = Metrics(SNAPSHOT)
    with metrics.served(0) as port:
        told = {name for name, _ in scraped(port)}
    assert set(re.findall(r"`(grocery_\w+)`", guide)) == told


def test_a_port_that_is_taken_is_refused():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        with pytest.raises(OSError), Metrics().served(held.getsockname()[1]):
            pass
