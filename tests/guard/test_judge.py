"""Every rule of the guard, at its limits, with looks five seconds apart."""

from __future__ import annotations

from dataclasses import replace
from math import exp
from random import Random

import pytest

from guard.judge import (
    BROKER_SILENT,
    CHAIN,
    CHECKPOINTS,
    CIRCLES,
    FLINK_SILENT,
    LAGS,
    NOT_RUNNING,
    RULES,
    UNMONITORED,
    Judge,
    Limits,
    Thing,
    Verdict,
)
from guard.seen import INGESTION, TICKER, BrokerSeen, Heard, JobSeen, Look, Part

LOOK_S = 5
JOB = "cold_chain"
UP = JobSeen("run-1", "RUNNING", True, 0, 100, 0, 1.0)
STORES = ("store-001", "store-002", "store-003")
NOW = Heard(0.0)
ALL = {store: {TICKER: NOW, INGESTION: NOW} for store in STORES}
TICKS = {store: {TICKER: NOW} for store in STORES}


def about(rule, asset_id: str, store_id: str = CHAIN) -> Thing:
    return Thing(rule.name, store_id, asset_id)


class Watch:
    """A judge that looks every five seconds, and knows which alerts are open as the book would."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.judge, self.at, self.open = Judge(limits), 0.0, set()
        self.last: Verdict | None = None

    def look(self, jobs=None, broker: BrokerSeen | None = None, wanted=(JOB,), after_s: float = LOOK_S) -> Verdict:
        self.at += after_s
        self.last = self.judge.look(Look(self.at, frozenset(wanted), broker, jobs), tuple(self.open))
        assert not self.last.troubles.keys() & self.last.fine.keys()
        self.open = (self.open | self.last.troubles.keys()) - self.last.fine.keys()
        return self.last

    def until(self, thing: Thing, **seen) -> float:
        """Looks at the same until the thing is in trouble; returns how many seconds that took."""
        began = self.at
        while thing not in self.look(**seen).troubles:
            assert self.at - began < 1000, f"{thing} was never told"
        return self.at - began

    def job(self, seen: JobSeen | None = UP, times: int = 1, **changes) -> Verdict:
        """A running job completes a checkpoint between two looks."""
        for _ in range(times):
            if seen is not None and seen.up and "completed" not in changes:
                seen = replace(seen, completed=100 + int(self.at))
            self.look({} if seen is None else {JOB: replace(seen, **changes)}, BrokerSeen())
        return self.last

    def stores(self, heard=ALL, times: int = 1, active=STORES, shares=()) -> Verdict:
        for _ in range(times):
            self.look({}, BrokerSeen(frozenset(active), heard, dict(shares)), wanted=())
        return self.last


# ---- the broker, Flink


@pytest.mark.parametrize(("rule", "asset"), [(BROKER_SILENT, "broker"), (FLINK_SILENT, "flink")])
def test_what_stops_answering_is_told_after_20_s_and_over_at_its_first_answer(rule, asset):
    watch = Watch()
    watch.job()
    silent = {"jobs": {JOB: UP}} if asset == "broker" else {"broker": BrokerSeen()}
    assert watch.until(about(rule, asset), **silent) == 25
    assert f"the {asset} has not answered for 25 s" in watch.last.troubles[about(rule, asset)].summary
    assert watch.job().fine[about(rule, asset)] == ""
    assert about(rule, asset) not in watch.open


def test_what_has_not_answered_yet_since_the_guard_began_gets_90_s():
    watch = Watch()
    assert watch.until(about(BROKER_SILENT, "broker"), jobs={}) == 95 + LOOK_S


def test_flink_is_not_missed_where_no_job_is_wanted_and_its_alert_ends():
    watch = Watch()
    watch.job()
    watch.until(about(FLINK_SILENT, "flink"), broker=BrokerSeen())
    assert watch.look(None, BrokerSeen(), wanted=()).fine[about(FLINK_SILENT, "flink")] == "no job is wanted"
    for _ in range(100):
        watch.look(None, BrokerSeen(), wanted=())
    assert not watch.open


# ---- a job does not run


def test_a_job_that_stops_is_told_after_40_s_and_over_once_all_its_tasks_run():
    watch = Watch()
    watch.job()
    assert watch.until(about(NOT_RUNNING, JOB), jobs={JOB: replace(UP, state="RESTARTING", up=False)}) == 45
    assert "it is RESTARTING" in watch.last.troubles[about(NOT_RUNNING, JOB)].summary
    watch.job(UP, up=False)
    assert "its tasks do not run" in watch.last.troubles[about(NOT_RUNNING, JOB)].summary
    watch.job(None)
    assert "Flink does not know it" in watch.last.troubles[about(NOT_RUNNING, JOB)].summary
    watch.job()
    assert about(NOT_RUNNING, JOB) not in watch.open


def test_a_restart_of_half_a_minute_is_no_alert():
    watch = Watch()
    watch.job()
    for _ in range(10):
        watch.job(UP, times=8, up=False)
        watch.job()
    assert about(NOT_RUNNING, JOB) not in watch.open


def test_a_stack_that_starts_gets_90_s_and_a_job_that_is_wanted_later_40():
    watch = Watch()
    assert watch.until(about(NOT_RUNNING, JOB), jobs={}) == 95 + LOOK_S
    watch = Watch()
    for _ in range(20):
        watch.look({}, BrokerSeen(), wanted=())
    assert watch.until(about(NOT_RUNNING, JOB), jobs={}) == 45 + LOOK_S


def test_a_job_that_is_not_wanted_any_more_ends_its_alerts():
    watch = Watch()
    watch.job()
    watch.until(about(NOT_RUNNING, JOB), jobs={})
    watch.until(about(NOT_RUNNING, JOB), jobs={})
    assert watch.look({}, wanted=()).fine[about(NOT_RUNNING, JOB)] == "the job is not wanted any more"


def test_while_flink_does_not_answer_nothing_is_said_of_its_jobs():
    watch = Watch()
    watch.job()
    watch.until(about(NOT_RUNNING, JOB), jobs={})
    for _ in range(100):
        verdict = watch.look(None, BrokerSeen())
        assert about(NOT_RUNNING, JOB) not in verdict.troubles.keys() | verdict.fine.keys()
    assert about(NOT_RUNNING, JOB) in watch.open


def test_the_time_in_which_flink_did_not_answer_is_not_the_jobs():
    watch = Watch()
    watch.job()
    for _ in range(100):
        watch.look(None, BrokerSeen())
    assert about(NOT_RUNNING, JOB) not in watch.job(None).troubles
    assert watch.until(about(NOT_RUNNING, JOB), jobs={}) == 45


# ---- checkpoints


def test_a_running_job_without_a_checkpoint_for_30_s_is_told_and_over_with_the_next_one():
    watch = Watch()
    watch.job(times=3)
    stuck = {JOB: replace(UP, completed=110)}
    assert watch.until(about(CHECKPOINTS, JOB), jobs=stuck) == 35
    assert about(CHECKPOINTS, JOB) in watch.job(times=2).fine


def test_checkpoints_that_come_rarely_are_missed_after_three_of_their_intervals():
    watch = Watch()
    watch.job(times=2, interval_s=60.0)
    stuck = {JOB: replace(UP, completed=105, interval_s=60.0)}
    assert watch.until(about(CHECKPOINTS, JOB), jobs=stuck) == 185


def test_three_failed_checkpoints_within_a_minute_are_told_and_over_when_they_are_a_minute_old():
    watch = Watch()
    watch.job(times=3)
    assert about(CHECKPOINTS, JOB) not in watch.job(UP, failed=2).troubles
    assert "3 checkpoints of cold_chain failed" in watch.job(UP, failed=3).troubles[about(CHECKPOINTS, JOB)].summary
    watch.job(UP, times=11, failed=3)
    assert about(CHECKPOINTS, JOB) in watch.open
    watch.job(UP, times=3, failed=3)
    assert about(CHECKPOINTS, JOB) not in watch.open


def test_failures_from_before_the_guard_began_are_no_news():
    watch = Watch()
    watch.job(UP, failed=500, restarts=500)
    assert not watch.job(UP, times=5, failed=500, restarts=500).troubles


def test_a_job_that_came_back_has_30_s_for_its_first_checkpoint():
    watch = Watch()
    watch.job(times=3)
    watch.job(UP, times=7, up=False, state="RESTARTING")
    stuck = {JOB: replace(UP, completed=110, restarts=1)}
    watch.look(stuck, BrokerSeen())
    assert watch.until(about(CHECKPOINTS, JOB), jobs=stuck) == 35


def test_an_alert_from_before_the_guards_restart_ends_with_a_checkpoint_only():
    watch = Watch()
    watch.open = {about(CHECKPOINTS, JOB)}
    stuck = {JOB: UP}
    for _ in range(3):
        assert about(CHECKPOINTS, JOB) not in watch.look(stuck, BrokerSeen()).fine
    watch.job(times=2)
    assert not watch.open


# ---- restarts in circles


def test_the_third_restart_within_five_minutes_is_told_and_over_after_two_calm_minutes():
    watch = Watch()
    watch.job(UP, times=2)
    for restarts in (1, 2):
        assert about(CIRCLES, JOB) not in watch.job(UP, times=20, restarts=restarts).troubles
    assert "was restarted 3 times within 3 min" in watch.job(UP, restarts=3).troubles[about(CIRCLES, JOB)].summary
    watch.job(UP, times=24, restarts=3)
    assert about(CIRCLES, JOB) in watch.open
    watch.job(UP, times=1, restarts=3)
    assert about(CIRCLES, JOB) not in watch.open
    assert watch.job(UP, times=30, restarts=3).jobs[JOB].restarts == 3
    assert about(CIRCLES, JOB) not in watch.open


def test_restarts_an_hour_apart_are_no_circle():
    watch = Watch()
    for restarts in range(10):
        assert about(CIRCLES, JOB) not in watch.job(UP, times=61, restarts=restarts).troubles


def test_a_job_that_is_submitted_again_and_again_goes_in_circles_too():
    watch = Watch()
    for number in range(3):
        assert about(CIRCLES, JOB) not in watch.job(UP, times=3, run=f"run-{number}").troubles
    assert about(CIRCLES, JOB) in watch.job(UP, run="run-3").troubles
    assert watch.last.jobs[JOB].restarts == 3


def test_a_job_that_keeps_falling_stays_in_its_circle():
    watch = Watch()
    for restarts in range(100):
        watch.job(UP, times=4, restarts=restarts, up=restarts % 2 == 0)
        assert (about(CIRCLES, JOB) in watch.open) == (restarts >= 3)


# ---- lag


def reads(watch: Watch, position: int, end: int, records: int | None = None) -> Verdict:
    part = Part(position, end, end - position if records is None else records)
    watch.at_end = end
    seen = replace(UP, completed=100 + int(watch.at))
    return watch.look({JOB: seen}, BrokerSeen(places={JOB: {("sensor-readings", 0): part}}))


def test_a_job_that_stands_while_records_come_is_told_once_it_is_more_than_30_s_behind():
    watch = Watch()
    reads(watch, 1000, 1000)
    end, began = 1000, watch.at
    while about(LAGS, JOB) not in watch.last.troubles:
        end += 500
        reads(watch, 1000, end)
        assert watch.at - began < 100
    assert watch.last.jobs[JOB].behind_s == 35
    assert "4,000 records, 35 s, behind" in watch.last.troubles[about(LAGS, JOB)].summary
    reads(watch, end - 400, end)
    reads(watch, end, end)
    assert about(LAGS, JOB) not in watch.open


def test_a_job_that_stands_while_nothing_more_comes_is_behind_all_the_same():
    watch = Watch()
    reads(watch, 1000, 1000)
    for _ in range(8):
        reads(watch, 1000, 5000)
    assert about(LAGS, JOB) in watch.open


def test_a_job_that_works_off_a_backlog_does_not_lag_though_it_is_far_behind():
    watch = Watch()
    position = 0
    while position < 1_000_000:
        assert about(LAGS, JOB) not in reads(watch, position, 1_000_000).troubles
        position += 10_000
    assert watch.last.jobs[JOB].behind_s > 400


def test_a_transaction_marker_that_is_never_read_is_no_lag():
    watch = Watch()
    for _ in range(100):
        reads(watch, 1000, 1001, records=0)
    assert watch.last.jobs[JOB].behind_s == 0
    assert watch.last.jobs[JOB].behind_records == 0
    assert not watch.open


def test_a_replayed_year_within_a_minute_is_not_behind_by_a_year():
    watch = Watch()
    for number in range(12):
        reads(watch, number * 100_000, (number + 1) * 100_000)
    assert watch.last.jobs[JOB].behind_s <= LOOK_S
    assert not watch.open


def test_lag_is_not_judged_while_the_job_does_not_run():
    watch = Watch()
    reads(watch, 1000, 1000)
    for _ in range(100):
        places = {JOB: {("sensor-readings", 0): Part(1000, 5000, 4000)}}
        watch.look({JOB: replace(UP, up=False)}, BrokerSeen(places=places))
    assert watch.open == {about(NOT_RUNNING, JOB)}


# ---- stores


def only(*silent: str, kinds=(TICKER, INGESTION)) -> dict:
    return {
        store: {kind: NOW for kind in (TICKER, INGESTION) if store not in silent or kind not in kinds}
        for store in STORES
    }


def test_a_store_whose_readings_stop_is_told_after_45_s_and_over_when_they_come_back():
    watch = Watch()
    watch.stores(times=10)
    heard = only("store-002", kinds=(INGESTION,))
    thing = about(UNMONITORED, INGESTION, "store-002")
    for _ in range(9):
        assert thing not in watch.stores(heard).troubles
    assert watch.stores(heard).troubles.keys() == {thing}
    assert watch.last.troubles[thing].summary == "store-002 is unmonitored: no reading for 50 s"
    watch.stores()
    assert not watch.open


def test_a_ticker_that_stops_is_one_alert_that_names_its_stores_and_comes_sooner():
    watch = Watch()
    watch.stores(times=10)
    silent = only(*STORES, kinds=(TICKER,))
    thing = about(UNMONITORED, TICKER)
    for _ in range(7):
        assert not watch.stores(silent).troubles
    assert watch.stores(silent).troubles.keys() == {thing}
    assert watch.last.troubles[thing].members == STORES
    assert "3 stores are unmonitored: no tick for 40 s" in watch.last.troubles[thing].summary
    watch.stores(silent, times=100)
    assert watch.open == {thing}
    watch.stores()
    assert not watch.open


def test_everything_that_stops_at_once_is_two_alerts_however_many_stores_there_are():
    watch = Watch()
    watch.stores(times=10)
    watch.stores({}, times=100)
    assert watch.open == {about(UNMONITORED, TICKER), about(UNMONITORED, INGESTION)}


def test_a_single_store_is_told_by_its_own_name():
    watch = Watch()
    active = ("store-001",)
    watch.stores(TICKS, times=5, active=active)
    watch.stores({}, times=20, active=active)
    assert watch.open == {about(UNMONITORED, TICKER, "store-001")}


def test_a_store_that_stays_away_when_the_others_are_back_is_told_by_its_own_name():
    watch = Watch()
    watch.stores(times=10)
    watch.stores({}, times=20)
    watch.stores(only("store-003"), times=2)
    assert watch.open == {about(UNMONITORED, kind, "store-003") for kind in (TICKER, INGESTION)}


def test_where_nothing_has_ever_been_heard_nothing_is_missed():
    watch = Watch()
    watch.stores({}, times=200)
    watch.stores({store: {INGESTION: NOW} for store in STORES}, times=2)
    watch.stores({}, times=200)
    assert not watch.open


def test_a_store_that_the_running_ticker_leaves_out_is_told():
    watch = Watch()
    watch.stores(only("store-003"), times=4)
    assert not watch.open
    watch.stores(only("store-003"), times=10)
    assert watch.open == {about(UNMONITORED, TICKER, "store-003")}
    assert "no tick for this store" in watch.last.troubles[about(UNMONITORED, TICKER, "store-003")].summary
    watch.stores()
    assert not watch.open


def test_a_store_opened_while_the_ticker_runs_has_45_s_to_be_heard():
    watch = Watch()
    watch.stores(times=100)
    watch.stores(times=10, active=(*STORES, "store-004"))
    assert not watch.open
    watch.stores(times=1, active=(*STORES, "store-004"))
    assert watch.open == {about(UNMONITORED, TICKER, "store-004")}


def test_a_retired_store_ends_its_alert_and_is_forgotten():
    watch = Watch()
    watch.stores(times=10)
    watch.stores(only("store-002"), times=20)
    assert len(watch.open) == 2
    verdict = watch.stores(only("store-002"), active=("store-001", "store-003"))
    assert verdict.fine[about(UNMONITORED, TICKER, "store-002")] == "the store is not active any more"
    assert verdict.ages.keys() == {"store-001", "store-003"}
    assert not watch.open


def test_a_store_that_nobody_published_is_not_judged():
    watch = Watch()
    watch.stores(ALL | {"case-7": {INGESTION: NOW}}, times=10)
    watch.stores(times=20)
    assert not watch.open
    assert "case-7" not in watch.last.ages


def test_the_time_in_which_the_broker_did_not_answer_is_no_stores_silence():
    watch = Watch()
    watch.stores(times=10)
    for _ in range(100):
        watch.look({}, None, wanted=())
    assert watch.stores({}, times=6).troubles == {}
    watch.stores(times=5)
    assert not watch.open


def test_a_sign_that_comes_rarely_is_missed_after_three_of_its_usual_gaps():
    watch = Watch()
    for _ in range(6):
        watch.stores()
        watch.stores(TICKS, times=11)
    watch.stores()
    heard = only(*STORES, kinds=(INGESTION,))
    assert not watch.stores(heard, times=27).troubles, "readings came once a minute, three minutes are not over"
    watch.stores(heard, times=10)
    assert watch.open == {about(UNMONITORED, INGESTION)}


class Sampled:
    """Two stores whose readings come by chance, `rate` a second, and are read in part. The first one never stops."""

    def __init__(self, rate: float) -> None:
        self.watch, self._chance, self._rate = Watch(), Random(4), rate

    def looks(self, times: int, share: float, gone: bool = False) -> None:
        for _ in range(times):
            heard = {"store-001": {TICKER: NOW, INGESTION: NOW}, "store-002": {TICKER: NOW}}
            if not gone and self._chance.random() < 1 - exp(-self._rate * share * LOOK_S):
                heard["store-002"][INGESTION] = NOW
            self.watch.stores(heard, active=STORES[:2], shares={INGESTION: share})

    def told_after(self, share: float) -> float:
        began = self.watch.at
        while not self.watch.open:
            self.looks(1, share, gone=True)
        assert self.watch.open == {about(UNMONITORED, INGESTION, "store-002")}
        return self.watch.at - began


@pytest.mark.parametrize(("rate", "share", "told_after_s"), [(50, 0.02, 50), (1, 0.2, 110), (0.5, 0.05, 830)])
def test_where_records_were_left_out_a_store_is_missed_when_chance_does_not_explain_it(rate, share, told_after_s):
    sampled = Sampled(rate)
    sampled.looks(5000, share)
    assert not sampled.watch.open
    assert sampled.told_after(share) == pytest.approx(told_after_s, rel=0.5)


def test_a_flood_of_replayed_records_makes_no_living_store_silent():
    """Suddenly a hundredth is read of what comes."""
    sampled = Sampled(rate=2)
    sampled.looks(500, 1)
    for _ in range(3):
        sampled.looks(2000, 0.01)
        sampled.looks(500, 1)
    assert not sampled.watch.open
    sampled.looks(50, 0.01)
    sampled.looks(1, 1)
    assert sampled.told_after(1) <= 50


def test_a_silent_store_is_not_well_again_because_less_is_read():
    watch = Watch()
    watch.stores(times=10)
    watch.stores(only("store-002", kinds=(INGESTION,)), times=12)
    assert watch.open == {about(UNMONITORED, INGESTION, "store-002")}
    watch.stores(only("store-002", kinds=(INGESTION,)), times=50, shares={INGESTION: 0.01})
    assert watch.open == {about(UNMONITORED, INGESTION, "store-002")}
    watch = Watch()
    watch.stores(times=10)
    watch.stores(TICKS, times=12)
    assert watch.open == {about(UNMONITORED, INGESTION)}
    watch.stores(TICKS, times=50, shares={INGESTION: 0.01})
    assert watch.open == {about(UNMONITORED, INGESTION)}
    watch.stores(times=1)
    assert not watch.open


def test_a_store_heard_often_enough_in_the_newest_records_is_judged_at_once():
    """The guard starts anew just when the ticker stops."""
    watch = Watch()
    before = {store: {TICKER: Heard(4.0, times=20, span_s=95.0)} for store in STORES}
    watch.stores(before)
    assert not watch.stores({}, times=6).troubles
    assert watch.stores({}, times=1).troubles.keys() == {about(UNMONITORED, TICKER)}


def test_an_alert_from_before_the_guards_restart_stays_until_the_store_is_heard():
    watch = Watch()
    thing = about(UNMONITORED, INGESTION, "store-002")
    watch.open = {thing}
    watch.stores(TICKS, times=50)
    assert watch.open == {thing}
    watch.stores()
    assert not watch.open


def test_an_outage_does_not_make_the_guard_patient():
    watch = Watch()
    watch.stores(times=10)
    watch.stores({}, times=1000)
    watch.stores(times=10)
    silent = only(*STORES, kinds=(TICKER,))
    assert watch.stores(silent, times=9).troubles.keys() == {about(UNMONITORED, TICKER)}


# ---- all of it


def test_each_trouble_is_told_within_a_minute():
    """The longest of all limits, one look later, and what a look may take."""
    limits = Limits()
    slowest = max(limits.silent_s, limits.down_s, limits.checkpoint_s, limits.lag_s, limits.unheard_s)
    assert slowest + 2 * LOOK_S <= 60


def test_each_rule_has_a_paragraph_in_the_guide():
    from grocery.setup import PROJECT

    guide = (PROJECT / "docs" / "operations.md").read_text("utf-8")
    for name in RULES:
        assert f"### {name}\n" in guide
