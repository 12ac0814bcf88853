"""`grocery batch run --every`: rounds until it is told to end."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from threading import Event, Thread

import pytest
from typer.testing import CliRunner

from batch_jobs import landing
from batch_jobs.errors import BrokerError
from batch_jobs.landing import LOADED, WAITING, Fate, Landed, Taken
from batch_jobs.run import lease
from grocery.cli import app
from grocery.commands import batch, rounds
from grocery.commands.rounds import ASIDE, FAILED, FINE, Stopped, repeat
from grocery.settings import settings
from tests.batch_jobs.bronze_rows import NOON


@pytest.fixture
def lake(tmp_path, monkeypatch):
    monkeypatch.setenv("GROCERY_LAKE", str(tmp_path / "lake"))
    settings.cache_clear()
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(batch.AtWork, "spark", "a session")
    monkeypatch.setattr(batch.AtWork, "end_spark", lambda _: None)
    yield tmp_path / "lake"
    for number, handler in kept.items():
        signal.signal(number, handler)
    settings.cache_clear()


class Steps:
    """Stands in for the steps of a round. what: one callable a round; the last one's step is told to end."""

    def __init__(self, monkeypatch, what):
        self.what, self.rounds, self.begun = what, 0, []
        for name in ("bronze", "silver", "quality", "gold"):
            monkeypatch.setattr(batch.AtWork, name, self._step(name))

    def _step(self, name):
        def work(at_work, *_, **__):
            self.begun.append(f"{at_work.run.id} {name}")
            if name == "bronze":
                self.rounds += 1
            self.what[self.rounds - 1](at_work, name)

        return work

    def names(self) -> list[str]:
        return [one.partition(" ")[2] for one in self.begun]


def fine(*_):
    pass


def broker_away(_, name):
    if name == "bronze":
        raise BrokerError("127.0.0.1:1: no broker answers")


def bug(_, name):
    if name == "silver":
        raise KeyError("what nobody thought of")


def sets_aside(at_work, name):
    if name == "silver":
        at_work.records += 2


def finds(at_work, name):
    if name == "gold":
        at_work.findings += 1


def ended_by(number, step):
    return lambda _, name: os.kill(os.getpid(), number) if name == step else None


@pytest.fixture(autouse=True)
def without_a_pause(monkeypatch):
    monkeypatch.setattr(rounds, "LETS_IN_S", 0.0)


def run_every(*words: str):
    return CliRunner().invoke(app, ["batch", "run", "--every", "1ms", *words])


def test_a_failed_round_is_told_and_counted_and_the_next_one_goes_on(lake, monkeypatch):
    steps = Steps(monkeypatch, [broker_away, bug, sets_aside, fine, ended_by(signal.SIGTERM, "gold")])
    result = run_every()
    assert "error 127.0.0.1:1: no broker answers" in result.output
    assert "what nobody thought of" in result.output
    assert "round 3: something is set aside" in result.output
    assert "ended: 5 rounds, 2 failed, 1 set something aside" in result.output
    assert result.exit_code == 1
    all_of_it = ["bronze", "silver", "quality", "gold"]
    assert steps.names() == ["bronze", "bronze", "silver", *all_of_it * 3]
    assert len({one.partition(" ")[0] for one in steps.begun}) == 5, "each round is a run of its own"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_after_the_step_at_work(lake, monkeypatch, number):
    steps = Steps(monkeypatch, [fine, ended_by(number, "silver")])
    result = run_every()
    assert steps.names() == ["bronze", "silver", "quality", "gold", "bronze", "silver"]
    assert "ending after this step" in result.output
    assert "ended: 1 rounds, 0 failed, 0 set something aside" in result.output
    assert result.exit_code == 0


@pytest.mark.parametrize("what", [sets_aside, finds])
def test_the_exit_code_says_that_a_round_set_something_aside(lake, monkeypatch, what):
    for words, exit_code in (((), 3), (("--set-aside-exit", "0"), 0)):
        Steps(monkeypatch, [what, ended_by(signal.SIGTERM, "bronze")])
        assert run_every(*words).exit_code == exit_code


@pytest.mark.parametrize(("sizes", "told"), [((9, 9, None), FINE), ((9, 12, 15), ASIDE)])
def test_a_young_file_is_no_news_to_rounds_and_one_that_goes_on_being_written_is(lake, monkeypatch, sizes, told):
    """sizes: of the file that waits, in each round; None: it has been loaded."""

    def taken(size):
        file = Landed("stores/a.ndjson", "file:/in/stores/a.ndjson", size or 9, NOON, None)
        return [Taken("stores", [Fate(file, WAITING if size else LOADED, reason="young: …")])]

    left = list(sizes)
    Steps(monkeypatch, [*[fine] * len(sizes), ended_by(signal.SIGTERM, "silver")])
    monkeypatch.setenv("GROCERY_LANDING", "in")
    settings.cache_clear()
    monkeypatch.setattr(landing, "land", lambda *_, **__: taken(left.pop(0) if left else None))
    result = run_every()
    assert f"round 1: {FINE}" in result.output, result.output
    assert all(f"round {number}: {told}" in result.output for number in (2, 3)), result.output
    assert result.exit_code == (0 if told == FINE else 3)


def test_the_lake_is_free_between_two_rounds(lake, monkeypatch):
    Steps(monkeypatch, [fine])
    free = []

    def look(one_round, every_s, stop, say):
        one_round()
        with lease(str(lake)):
            free.append(every_s)
        return rounds.Rounds()

    monkeypatch.setattr(rounds, "repeat", look)
    assert run_every().exit_code == 0
    assert free == [0.001]


def test_who_waits_for_the_lake_gets_it_though_each_round_takes_longer_than_its_time(lake, monkeypatch):
    monkeypatch.undo()  # the pause that is shipped
    lake.mkdir()
    begun, waits, stop = Event(), Event(), Event()

    def one_round():
        with lease(str(lake)):
            begun.set()
            assert waits.wait(60)
            stop.wait(0.5)
            return FINE

    going = Thread(target=repeat, args=(one_round, 0.001, stop, lambda _: None))
    going.start()
    try:
        assert begun.wait(60)
        with lease(str(lake), timedelta(seconds=20), lambda _: waits.set()):
            stop.set()
    finally:
        stop.set()
        going.join()


def test_who_waits_for_another_run_can_be_told_to_end(lake, monkeypatch):
    steps = Steps(monkeypatch, [fine])
    asked = []

    def wait(self, seconds):
        asked.append(seconds)
        self.set()

    with lease_of_another(lake):
        monkeypatch.setattr(Event, "wait", wait)
        result = run_every()
    assert result.exit_code == 0, result.output
    assert "waiting until it has ended" in result.output
    assert (len(asked), steps.begun) == (1, [])


def lease_of_another(lake):
    """flock is per open file, so ours here stands for another process'."""
    lake.mkdir()
    return lease(str(lake))


def test_rounds_begin_at_their_time_and_soon_where_one_took_longer(monkeypatch):
    clock, begun, outcomes = [0.0], [], iter([FINE, FAILED, ASIDE])
    stop = Event()

    def one_round():
        begun.append(clock[0])
        clock[0] += (10, 75, 5)[len(begun) - 1]
        return next(outcomes)

    def wait(seconds):
        clock[0] += seconds
        if len(begun) == 3:
            stop.set()

    monkeypatch.setattr(rounds, "LETS_IN_S", 3.0)
    monkeypatch.setattr(rounds.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(stop, "wait", wait)
    found = repeat(one_round, 60, stop, lambda _: None)
    assert begun == [0, 60, 138]
    assert (found.ended, found.failed, found.aside) == (3, 1, 1)


def test_a_round_that_was_told_to_end_is_not_counted():
    stop = Event()

    def one_round():
        raise Stopped

    assert repeat(one_round, 60, stop, lambda _: None).ended == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--every", "5"), "--every 5: a duration is written like 90s, 30m"),
        (("--every", "5m", "--accept"), "it does not go with --every"),
    ],
)
def test_a_duration_without_a_unit_and_a_standing_accept_are_refused(lake, words, why):
    result = CliRunner().invoke(app, ["batch", "run", *words])
    assert result.exit_code == 1
    assert why in result.output
