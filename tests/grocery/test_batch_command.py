from __future__ import annotations

import io
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from batch_jobs import backfill, bronze, gold, landing, quality, silver
from batch_jobs.backfill import Backfilled, Span
from batch_jobs.broker import Broker
from batch_jobs.errors import BatchError, BrokerError, CountsDontAddUp, LakeError, NotHeld
from batch_jobs.gold import GoldResult
from batch_jobs.landing import LOADED, SET_ASIDE, WAITING, Fate, Landed, Taken
from batch_jobs.quality import Checked, Finding, Verdict
from batch_jobs.silver import Curated
from grocery.cli import app
from grocery.commands import batch
from grocery.settings import settings


@pytest.fixture
def grocery(tmp_path, monkeypatch):
    """Runs `grocery …` on a lake of its own."""
    monkeypatch.setenv("GROCERY_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("GROCERY_KAFKA", "127.0.0.1:1")
    settings.cache_clear()
    yield lambda *words: CliRunner().invoke(app, list(words))
    settings.cache_clear()


def printed(show, *values) -> str:
    console = Console(file=io.StringIO(), width=200)
    show(console, *values)
    return console.file.getvalue()


def test_a_contract_that_is_not_there_is_named_with_those_that_are(grocery):
    result = grocery("batch", "silver", "-c", "reading")
    assert result.exit_code == 1
    assert "reading: no such contract; there are alert, alert-commands, assets" in result.output


def test_contracts_are_chosen_by_name_or_topic_each_once():
    names = ["sensor-readings", "alerts.queue", "alert", "sensor-readings"]
    assert [item.name for item in batch.chosen(names)] == ["sensor-readings", "alert"]
    assert len(batch.chosen(None)) > 10


def test_a_lake_that_cannot_be_written_ends_with_one_line(grocery, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GROCERY_LAKE", str(tmp_path / "file" / "lake"))
    settings.cache_clear()
    result = grocery("batch", "run")
    assert result.exit_code == 1
    assert "cannot be written (Not a directory)" in result.output
    assert "Traceback" not in result.output


def test_the_dispositions_are_shown_with_sums_and_the_reasons_under_them():
    rows = [
        Curated("lane-status", rows=10, inserted=10),
        Curated("stores"),
        Curated("sensor-readings", 8, 4, 1, 3, {"json:": 2, "type:/value": 1}),
    ]
    text = printed(batch.show_curated, rows, 2.0)
    assert [cell.strip() for cell in text.split("│ all")[1].split("│")[1:5]] == ["18", "14", "1", "3"]
    assert "quarantine sensor-readings: json: (2), type:/value (1)" in text
    assert "stores" not in text


def test_nothing_new_is_said():
    assert "nothing new in bronze" in printed(batch.show_curated, [Curated("stores")], 1.0)
    assert "nothing new in silver" in printed(batch.show_verdict, Verdict(), 1.0)


@pytest.mark.parametrize(("severity", "exit_code"), [("critical", 1), ("warning", 0)])
def test_a_critical_finding_stops_gold_and_a_warning_does_not(grocery, monkeypatch, severity, exit_code):
    built = []
    finding = Finding("stores", "name: always there", severity, 2, "")
    monkeypatch.setattr(batch.AtWork, "spark", None)
    monkeypatch.setattr("batch_jobs.broker.survey", lambda *_: Broker("127.0.0.1:1", "c", {}, {}, {}))
    monkeypatch.setattr(bronze, "bronze", lambda *_: [])
    monkeypatch.setattr(silver, "silver", lambda *_: [])
    verdict = Verdict([Checked("stores", 5, 20, [finding])], docs=Path("docs/index.html"))
    monkeypatch.setattr(quality, "quality", lambda *_, **__: verdict)
    monkeypatch.setattr(gold, "build", lambda *_: built.append(1) or GoldResult(models=3))
    result = grocery("batch", "run")
    assert result.exit_code == exit_code, result.output
    assert bool(built) == (exit_code == 0)
    assert "stores: name: always there (2 rows)" in result.output
    assert ("grocery batch quality --accept" in result.output) == (exit_code == 1)


def test_a_failed_dbt_test_fails_the_command(grocery, monkeypatch):
    monkeypatch.setattr(batch.AtWork, "spark", None)
    monkeypatch.setattr(quality, "open_failures", lambda *_: [])
    failed = GoldResult(failures=[gold.Failure("unique_fct_alert", "fail", "3 rows")])
    monkeypatch.setattr(gold, "build", lambda *_: failed)
    result = grocery("batch", "gold")
    assert result.exit_code == 1
    assert "unique_fct_alert: 3 rows" in result.output


def test_docs_without_gold_say_how_to_make_some(grocery, monkeypatch, tmp_path):
    monkeypatch.setenv("GROCERY_HOME", str(tmp_path))
    settings.cache_clear()
    result = grocery("batch", "docs")
    assert result.exit_code == 1
    assert "no gold yet; run `grocery batch run`" in result.output


def test_gold_is_refused_while_the_gate_has_open_findings(grocery, monkeypatch):
    monkeypatch.setattr(batch.AtWork, "spark", None)
    monkeypatch.setattr(quality, "open_failures", lambda *_: ["stores: name: always there"])
    monkeypatch.setattr(gold, "build", lambda *_: pytest.fail("built"))
    result = grocery("batch", "gold")
    assert result.exit_code == 1
    assert "stores: name: always there" in result.output


def a_fate(name: str, state: str, **more) -> Fate:
    at = datetime(2026, 10, 5, tzinfo=UTC)
    return Fate(Landed(f"stores/{name}", f"file:/in/stores/{name}", 9, at, "etag"), state, **more)


CUT = a_fate("b.gz", SET_ASIDE, reason="truncated: the gzip ends in the middle; have it delivered again")


def test_what_became_of_the_files_adds_up_and_those_not_loaded_are_named():
    fates = [
        a_fate("a.gz", LOADED, rows=1200),
        a_fate("0.gz", LOADED, known=True),
        CUT,
        a_fate("[c].gz", SET_ASIDE, reason="empty: 0 bytes", known=True),
        a_fate("d.gz", SET_ASIDE, reason="empty: 0 bytes", known=True, accepted=True),
        a_fate("e.gz", WAITING, reason="young: written to just now"),
    ]
    text = printed(batch.show_taken, [Taken("stores", fates)], 1.0)
    assert "1,200 new records; of 6 files 1 loaded, 1 set aside, 1 waiting, 3 known from before" in text
    assert "set aside stores/b.gz truncated: the gzip ends in the middle; have it delivered again" in text
    assert "set aside before stores/[c].gz empty: 0 bytes" in text
    assert "waiting stores/e.gz young" in text
    assert "d.gz" not in text
    assert "grocery batch files --accept" in text


def test_files_without_a_landing_says_what_to_set(grocery):
    result = grocery("batch", "files")
    assert result.exit_code == 1
    assert "GROCERY_LANDING is not set" in result.output


YOUNG = a_fate("a.gz", WAITING, reason="young: …")


@pytest.mark.parametrize(
    ("fates", "exit_code", "told"),
    [
        ([CUT], 3, "set aside: 1 files (`grocery batch files`)\n"),
        ([YOUNG], 3, "set aside: 1 files that may still be written (the next run takes them)\n"),
        ([CUT, YOUNG], 3, "set aside: 1 files (`grocery batch files`), 1 files that may still be written"),
        ([a_fate("0.gz", LOADED, rows=7)], 0, "7 new records"),
    ],
)
def test_a_run_goes_on_to_gold_past_files_that_are_not_loaded_and_its_exit_code_says_so(
    grocery, monkeypatch, fates, exit_code, told
):
    built = []
    monkeypatch.setattr(batch.AtWork, "spark", None)
    monkeypatch.setattr(landing, "land", lambda *_, **__: [Taken("stores", fates)])
    monkeypatch.setattr(silver, "silver", lambda *_: [])
    monkeypatch.setattr(quality, "quality", lambda *_, **__: Verdict())
    monkeypatch.setattr(gold, "build", lambda *_: built.append(1) or GoldResult(models=3))
    monkeypatch.setenv("GROCERY_LANDING", "in")
    settings.cache_clear()
    result = grocery("batch", "run", "--by", "files")  # the broker is away, and not asked
    assert result.exit_code == exit_code, result.output
    assert built == [1]
    assert told in result.output
    assert grocery("batch", "files").exit_code == exit_code
    assert grocery("batch", "files", "--set-aside-exit", "0").exit_code == 0


@pytest.fixture
def steps(monkeypatch):
    """Stands in for Spark and dbt: which steps were begun. Change `outcomes` to have one give or raise something."""
    begun = []
    outcomes = {"bronze": [], "silver": [], "quality": Verdict(), "gold": GoldResult(models=3)}

    def step(name):
        def work(*_, **__):
            begun.append(name)
            if isinstance(outcomes[name], Exception):
                raise outcomes[name]
            return outcomes[name]

        return work

    monkeypatch.setattr(batch.AtWork, "spark", "a session")
    monkeypatch.setattr("batch_jobs.broker.survey", lambda *_: Broker("127.0.0.1:1", "c", {}, {}, {}))
    monkeypatch.setattr(bronze, "bronze", step("bronze"))
    monkeypatch.setattr(silver, "silver", step("silver"))
    monkeypatch.setattr(quality, "quality", step("quality"))
    monkeypatch.setattr(gold, "build", step("gold"))
    return SimpleNamespace(begun=begun, outcomes=outcomes)


ALL = ["bronze", "silver", "quality", "gold"]


def of_one(error: BatchError, results: list) -> BatchError:
    """As in_parallel raises it where one contract failed."""
    error.failures, error.results = [error], results
    return error


def test_a_run_that_set_records_aside_ends_in_gold_and_its_exit_code_says_so(grocery, steps):
    steps.outcomes["silver"] = [
        Curated("stores", 5, 3, 0, 2, {"json:": 2}),
        Curated("orders", 2, 1, 0, 1, {"type:": 1}),
    ]
    result = grocery("batch", "run")
    assert (result.exit_code, steps.begun) == (3, ALL)
    assert "set aside: 3 records in quarantine (`grocery quarantine list`)" in result.output
    assert grocery("batch", "silver", "-c", "stores").exit_code == 3
    assert grocery("batch", "run", "--set-aside-exit", "0").exit_code == 0
    assert grocery("batch", "run", "--set-aside-exit", "99").exit_code == 99


@pytest.mark.parametrize(("what", "codes"), [("lost", (1, 1)), ("recreated", (3, 0))])
def test_what_bronze_could_not_read_any_more_is_told_in_the_exit_code_and_the_rest_is_in_gold(
    grocery, steps, what, codes
):
    steps.outcomes["bronze"] = [bronze.Loaded("stores", 7, notes=["offsets 2 to 3 expired"], **{what: 2})]
    result = grocery("batch", "run")
    assert (result.exit_code, steps.begun) == (codes[0], ALL)
    assert "stores offsets 2 to 3 expired" in result.output
    assert ("2 topics were made anew" in result.output) == (what == "recreated")
    for words in (("run",), ("bronze",)):
        assert grocery("batch", *words, "--set-aside-exit", "0").exit_code == codes[1]


def test_what_one_contract_fails_at_keeps_the_others_from_nothing_and_is_named(grocery, steps):
    busy = LakeError("bronze orders: someone else wrote the same table at the same time; run again")
    steps.outcomes["bronze"] = of_one(busy, [bronze.Loaded("stores", 7)])
    steps.outcomes["silver"] = [Curated("stores", 5, 3, 0, 2)]
    result = grocery("batch", "run")
    assert (result.exit_code, steps.begun) == (1, ALL)
    assert "bronze: 7 new records" in result.output
    assert "error bronze orders: someone else wrote the same table" in result.output
    assert "set aside: 2 records" in result.output


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("silver", of_one(CountsDontAddUp("silver stores: 5 bronze rows, but 4"), [])),
        ("bronze", BrokerError("127.0.0.1:1: no broker answers")),  # not one contract's
    ],
)
def test_nothing_is_built_where_counts_do_not_add_up_or_the_whole_step_failed(grocery, steps, step, error):
    steps.outcomes[step] = error
    result = grocery("batch", "run")
    assert (result.exit_code, steps.begun) == (1, ALL[: ALL.index(step) + 1])
    assert f"error {error}" in result.output


DAYS = ("--from", "2026-10-05", "--to", "2026-10-07")


@pytest.fixture
def mended(monkeypatch):
    """Stands in for the lake: (what was asked of the backfill, what was done after it)."""
    asked, after = [], []
    monkeypatch.setattr(batch.AtWork, "spark", None)

    def note(_, __, contracts, span, *, dry_run, on_step, on_done):
        asked.append(([item.name for item in contracts], span, dry_run))
        on_step(contracts[0], backfill.STEPS[1])
        return [Backfilled("sensor-readings", 9, 7, 1, 1, added=2, removed=1, reasons={"json:": 1})]

    monkeypatch.setattr(backfill, "backfill", note)
    monkeypatch.setattr(quality, "quality", lambda *_, **__: after.append("gate") or Verdict())
    monkeypatch.setattr(quality, "open_failures", lambda *_: [])
    monkeypatch.setattr(gold, "build", lambda *_: after.append("gold") or GoldResult(models=3))
    return asked, after


def test_a_backfill_is_followed_by_the_gate_and_gold_and_a_dry_run_by_nothing(grocery, mended):
    asked, after = mended
    result = grocery("batch", "backfill", "--topic", "sensor-readings", *DAYS, "--dry-run")
    assert (result.exit_code, after) == (0, []), result.output
    assert "Nothing was written" in result.output
    result = grocery("batch", "backfill", "--topic", "sensor-readings", *DAYS)
    assert (result.exit_code, after) == (0, ["gate", "gold"]), result.output
    assert asked[1] == (["sensor-readings"], Span(date(2026, 10, 5), date(2026, 10, 7)), False)
    assert "sensor-readings: 2 of 5, judge" in result.output
    assert "Rows left silver" in result.output


def test_days_that_bronze_does_not_hold_end_a_backfill_before_gold(grocery, mended, monkeypatch):
    def refuse(*_, **__):
        raise NotHeld("backfill sensor-readings from 2026-10-05 to 2026-10-07: bronze begins with 2026-10-06")

    monkeypatch.setattr(backfill, "backfill", refuse)
    result = grocery("batch", "backfill", "--topic", "sensor-readings", *DAYS)
    assert (result.exit_code, mended[1]) == (1, [])
    assert "error backfill sensor-readings" in result.output
    assert "Traceback" not in result.output


def test_what_one_topic_fails_at_after_the_check_keeps_the_other_from_nothing(grocery, mended, monkeypatch):
    busy = LakeError("backfill stores: No space left on device; free some space and run again")

    def fail(*_, **__):
        raise of_one(busy, [Backfilled("sensor-readings", 9, 9, added=2)])

    monkeypatch.setattr(backfill, "backfill", fail)
    words = ("batch", "backfill", "-t", "sensor-readings", "-t", "stores", *DAYS)
    result = grocery(*words)
    assert (result.exit_code, mended[1]) == (1, ["gate", "gold"]), result.output
    assert "error backfill stores: No space left on device" in result.output
    assert grocery(*words, "--dry-run").exit_code == 1
    assert mended[1] == ["gate", "gold"]


def test_days_in_the_wrong_order_and_a_topic_that_is_not_there_are_named(grocery, mended):
    result = grocery("batch", "backfill", "--topic", "stores", "--from", "2026-10-07", "--to", "2026-10-05")
    assert result.exit_code == 1
    assert "--from 2026-10-07 is after --to 2026-10-05" in result.output
    result = grocery("batch", "backfill", "--topic", "shelves", *DAYS)
    assert "shelves: no such contract" in result.output
    assert mended == ([], [])
