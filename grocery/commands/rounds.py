"""What `grocery batch run --every` does: one round after the other, in one Spark session, until it is told to end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event

import typer

from grocery.commands.batch import PATIENCE, AtWork, Way, alone, everything_once, told_errors

LETS_IN_S = 3.0
"""Pause after a round at least: whoever waits for the lake looks every 0.2 s, on S3 every second."""
FINE, ASIDE, FAILED = "all in gold", "something is set aside", "failed"


class Stopped(Exception):
    """It was told to end, and a step has ended."""


@dataclass(slots=True)
class Rounds:
    """How many ended; of these, how many failed or set something aside."""

    ended: int = 0
    failed: int = 0
    aside: int = 0

    def __str__(self) -> str:
        return f"{self.ended} rounds, {self.failed} failed, {self.aside} set something aside"

    def exit_code(self, aside_exit: int) -> int:
        return 1 if self.failed else aside_exit if self.aside else 0


def every_so_often(every: str, ways: list[Way], accept: bool, aside_exit: int) -> None:
    """Rounds until SIGTERM or SIGINT, which ends after the step that is at work. Raises typer.Exit."""
    from rich.console import Console

    from batch_jobs.run import new_run
    from grocery.alerts.times import named_duration
    from grocery.gateway import clear_errors
    from grocery.settings import settings

    with clear_errors():
        every_s = named_duration("--every", every) / 1000
        if accept:
            raise ValueError("--accept lets pass what somebody has looked at; it does not go with --every")
    console, lake, stop = Console(), settings().lake_path, Event()
    at_work = AtWork(console, new_run(lake), goes_on=True)
    at_work.short = False  # it runs for long, so that compiling hot code thoroughly pays

    def say(words: str) -> None:
        console.print(words, highlight=False, soft_wrap=True)

    def after_step() -> None:
        if stop.is_set():
            raise Stopped

    def pause(seconds: float) -> None:
        stop.wait(seconds)
        after_step()

    def one_round() -> str:
        at_work.begin(new_run(lake))
        try:
            at_work.drop_dead_spark()
            with told_errors():
                assert at_work.spark
                _listen(stop, say)  # again: a new session has taken SIGINT for itself
                after_step()
                with alone(console, lake, PATIENCE, pause):
                    everything_once(at_work, ways, accept, after_step, keep=True)
                at_work.show_aside()
        except typer.Exit:  # a failure that was told
            at_work.failed = True
        except Stopped:
            raise
        except Exception:  # noqa: BLE001 whatever it is, the next round may do without
            Console(stderr=True).print_exception()
            at_work.failed = True
        return FAILED if at_work.failed else ASIDE if at_work.is_aside else FINE

    try:
        found = repeat(one_round, every_s, stop, say)
    finally:
        at_work.end_spark()
    say(f"ended: {found}")
    raise typer.Exit(found.exit_code(aside_exit))


def repeat(one_round: Callable[[], str], every_s: float, stop: Event, say: Callable[[str], None]) -> Rounds:
    """Begin a round every so often until told to stop; where one takes longer, the next begins as soon as others who
    wait for the lake have had time to take it.

    one_round: says how it ended; raises Stopped where it did not.
    """
    found = Rounds()
    while not stop.is_set():
        began = time.monotonic()
        say(f"round {found.ended + 1}, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        try:
            outcome = one_round()
        except Stopped:
            break
        found.ended += 1
        found.failed += outcome == FAILED
        found.aside += outcome == ASIDE
        took = time.monotonic() - began
        rest = max(LETS_IN_S, every_s - took)
        following = datetime.now(UTC) + timedelta(seconds=rest)
        say(f"round {found.ended}: {outcome}, {took:.0f} s; the next one at {following:%H:%M:%S}")
        stop.wait(rest)
    return found


def _listen(stop: Event, say: Callable[[str], None]) -> None:
    """The first signal lets the step at work end, the second one does not."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}

    def end(*_: object) -> None:
        stop.set()
        for number, handler in usual.items():
            signal.signal(number, handler)
        say("ending after this step; once more to end at once")

    if not stop.is_set():
        for number in usual:
            signal.signal(number, end)
