"""`make faults`: the cold-chain job under load while everything around it fails, one thing after the other.

On a stack of its own, in a temporary folder and on free ports. Held at the end: the alerts, read with read_committed
from the beginning, are byte for byte, in each store's order, those of the engine alone over the same topic and those of
an undisturbed run of the job over it; none is lost and none there twice by (alert_id, sequence).

Prints what happens, a table, and as its last line one JSON object of figures; exits 1 when one is short of its promise.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from alerting.engine import Engine
from alerting.rules import parse_rules
from grocery.settings import PROJECT, settings
from grocery.stack import StackError
from ingestion.record import Record
from streaming_jobs.progress import counted, running, wait_until_processed
from streaming_jobs.submit import submit
from tests.faults import verify
from tests.faults.load import ALERTS, POISON, SPEED, TOPIC, Load
from tests.faults.proxy import Mode, Network
from tests.faults.stack import FaultyStack, FlinksView
from tests.faults.witness import NORMAL_S, Checkpoints, Outcome, Reader, Sender, around, recovered_at

JOB = "cold_chain"
RULES = PROJECT / "chain" / "rules" / "cold_chain.yaml"
PROMISED_S = 60.0
"""A killed process: recovery, and the time without new alerts."""
GIVE_UP_S = 240.0
KILLED = ("taskmanager", "jobmanager", "broker", "keeper", "supervisord")
AT_RANDOM = {"taskmanager": 6, "jobmanager": 5, "broker": 5, "supervisord": 2, "keeper": 1}
"""Victims of the random rounds, with their weights."""
AGAIN = 0.3
"""Share of the random rounds in which a second process is killed while the first is still being recovered from."""


class NotInflicted(RuntimeError):
    """A fault did not do what it was meant to do; nothing is shown by it."""


class Trial:
    """One run: a stack, a load, and what became of it under each fault."""

    def __init__(self, stack: FaultyStack, network: Network, load: Load, say: Callable[[str], None]) -> None:
        self.stack, self.network, self.say = stack, network, say
        self.sender = Sender(stack.address, load)
        self.reader = Reader(stack.address, self.sender)
        self.checkpoints = Checkpoints(stack.rest, JOB)
        self.outcomes: list[Outcome] = []
        self.open_after_stop: list[float] = []

    def start(self) -> None:
        submit(FlinksView(self.stack), JOB, RULES)
        for thread in (self.sender, self.reader, self.checkpoints):
            thread.start()
        # What was sent while the job started is worked off first.
        self._wait(lambda: self.reader.seen and self.reader.seen[-1].late_s < NORMAL_S, "the first alerts", 120)

    def undisturbed(self, seconds: float) -> None:
        began = time.time()
        time.sleep(seconds)
        outcome = Outcome("nothing", began, time.time(), time.time(), time.time())
        outcome.seen = around(self.reader.seen, began, outcome.looked)
        self.outcomes.append(outcome)
        self.say(f"undisturbed: an alert at least every {outcome.gap_s:.1f} s, readable within {outcome.delay_s:.1f} s")

    def inflict(self, fault: str, do: Callable[[], float | None]) -> None:
        """Do it, and wait until the job is well again. do: may return when the fault ended, if not just now."""
        began = time.time()
        ended = do() or time.time()
        outcome = Outcome(fault, began, ended)
        give_up = time.monotonic() + GIVE_UP_S
        while outcome.recovered is None and time.monotonic() < give_up:
            time.sleep(0.1)
            self._check_threads()
            start = len(self.reader.seen) - 5000
            outcome.recovered = recovered_at(self.reader.seen[max(0, start) :], ended, self.checkpoints.newest)
        outcome.looked = outcome.recovered or time.time()
        outcome.seen = around(self.reader.seen, began, outcome.looked)
        self.outcomes.append(outcome)
        told = "not recovered" if outcome.recovery_s is None else f"well again after {outcome.recovery_s:.1f} s"
        self.say(f"{fault}: {told}, {outcome.gap_s:.1f} s without a new alert")

    def kill(self, victim: str) -> None:
        """kill -9, as soon as it runs."""
        self._wait(lambda: self._pid(victim), f"{victim} to run, so that it can be killed")
        self.stack.kill(victim)

    def kill_twice(self, first: str, after_s: float, second: str) -> float:
        self.kill(first)
        time.sleep(after_s)
        self.kill(second)
        return time.time()

    def kill_between_the_two_phases(self) -> None:
        """The task manager dies when a checkpoint is complete and its alerts, written, are not committed yet."""
        self._hold_commits()
        self.kill("taskmanager")
        # What was held back is dropped with the connections, so that it never arrives.
        self.network.turn(Mode.REFUSE)
        self.network.turn(Mode.PASS)

    def stop_for(self, seconds: float) -> float:
        """The job is cancelled with alerts written and not committed, and started again later."""
        self._hold_commits()
        self.network.turn(Mode.REFUSE)
        self.stack.cancel(JOB)
        self.network.turn(Mode.PASS)
        self.say(f"the job is stopped for {seconds:.0f} s, with alerts that are written and not committed")
        time.sleep(seconds)
        self.open_after_stop = self._open_transactions()
        if not self.open_after_stop:
            raise NotInflicted("no transaction of the job was open after the stop")
        submit(FlinksView(self.stack), JOB, RULES)
        return time.time()

    def fill_the_disk(self, seconds: float) -> None:
        failed = sum(self.checkpoints.failed.values())
        with self.stack.full_disk():
            time.sleep(seconds)
            if sum(self.checkpoints.failed.values()) == failed:
                raise NotInflicted("no checkpoint failed while the disk was full")

    def cut_the_network(self, mode: Mode, seconds: float) -> None:
        self.network.turn(mode)
        time.sleep(seconds)
        self.network.turn(Mode.PASS)

    def poison(self, stores: int) -> None:
        keys = [self.sender.load.store(number) for number in range(stores)] + [""]
        records = [Record(TOPIC, key, payload, 0) for key in keys for payload in POISON]
        self.sender.slip_in(records)

        def left_out() -> bool:
            job_id = running(self.stack.rest, JOB)
            return bool(job_id) and counted(self.stack.rest, job_id).get("unreadable", 0) >= len(records)

        self._wait(left_out, f"{len(records)} poison records to be counted", 60)

    def at_random(self, rounds: int, chance: random.Random) -> None:
        for number in range(1, rounds + 1):
            time.sleep(chance.uniform(0, 8))
            victim = chance.choices(list(AT_RANDOM), list(AT_RANDOM.values()))[0]
            second = chance.choice(("taskmanager", "jobmanager", "broker"))
            after_s = chance.uniform(0.2, 8)
            twice = chance.random() < AGAIN and victim not in (second, "keeper", "supervisord")
            self.say(f"round {number} of {rounds}: {victim}" + (f", {after_s:.1f} s later {second}" if twice else ""))
            if twice:
                self.inflict("two at once", lambda v=victim, a=after_s, s=second: self.kill_twice(v, a, s))
            else:
                self.inflict(victim, lambda v=victim: self.kill(v))

    def finish(self) -> None:
        """Stop the load and wait until every alert of it can be read."""
        self.sender.stop()
        self._processed()
        self.checkpoints.stop()
        time.sleep(2)
        self.reader.stop()

    def run_undisturbed(self) -> list[verify.Told]:
        """The alerts of the job over the same topic, from its beginning, with nobody disturbing it."""
        before = verify.ends(self.stack.address, ALERTS)
        self.stack.forget(JOB)
        submit(FlinksView(self.stack), JOB, RULES)
        self._processed()
        return verify.alerts_on(self.stack.address, ALERTS, before)

    def _processed(self) -> None:
        stack = self.stack
        self._wait(lambda: running(stack.rest, JOB), "the job to run")
        wait_until_processed(stack.address, stack.rest, running(stack.rest, JOB), JOB, TOPIC, 300)

    def _hold_commits(self) -> None:
        self.network.turn(Mode.HOLD)
        self._wait(lambda: self.network.held(), "a commit to hold back", 60)

    def _open_transactions(self) -> list[float]:
        """Time-outs, in s, of the job's transactions that are open on the broker."""
        from kafka.admin import KafkaAdminClient

        admin = KafkaAdminClient(bootstrap_servers=self.stack.address)
        try:
            found = [item.transactional_id for items in admin.list_transactions().values() for item in items]
            about = admin.describe_transactions([name for name in found if name.startswith(JOB)])
            return [item.transaction_timeout_ms / 1000 for item in about.values() if item.state == "Ongoing"]
        finally:
            admin.close()

    def _pid(self, victim: str) -> int:
        try:
            return self.stack.pid(victim)
        except StackError:
            return 0

    def _wait(self, done: Callable[[], object], what: str, timeout_s: float = GIVE_UP_S) -> None:
        end = time.monotonic() + timeout_s
        while not done():
            self._check_threads()
            if time.monotonic() > end:
                raise NotInflicted(f"waited {timeout_s:.0f} s for {what}")
            time.sleep(0.1)

    def _check_threads(self) -> None:
        for thread in (self.sender, self.reader):
            if thread.error is not None:
                raise thread.error


def figures(outcomes: list[Outcome]) -> dict[str, float | None]:
    """Figures by name: for all kills of one process, and for each fault."""
    single = [item for item in outcomes if item.fault in KILLED]
    groups = {"kill": single} | {item.fault.replace(" ", "_").replace("-", "_"): [] for item in outcomes}
    for item in outcomes:
        groups[item.fault.replace(" ", "_").replace("-", "_")].append(item)
    found: dict[str, float | None] = {}
    for name, items in groups.items():
        for what, values in _spread(items).items():
            if (name, what) != ("nothing", "recovery_s"):
                found |= {f"{name}_{what}_{part}": value for part, value in values.items()}
    return found


def _spread(items: list[Outcome]) -> dict[str, dict[str, float | None]]:
    recovery = [item.recovery_s for item in items]
    gaps = [item.gap_s for item in items]
    told: dict[str, dict[str, float | None]] = {"recovery_s": {"p50": None, "max": None}}
    if items and None not in recovery:
        told["recovery_s"] = {"p50": round(statistics.median(recovery), 2), "max": round(max(recovery), 2)}
    if items:
        told["gap_s"] = {"p50": round(statistics.median(gaps), 2), "max": round(max(gaps), 2)}
    return told


def table(outcomes: list[Outcome]) -> Table:
    shown = Table(title="What each fault did")
    for column in ("fault", "times", "recovery p50", "max", "no new alert p50", "max"):
        shown.add_column(column, justify="left" if column == "fault" else "right")
    for fault in dict.fromkeys(item.fault for item in outcomes):
        items = [item for item in outcomes if item.fault == fault]
        spread = _spread(items)
        cells = [_seconds(value) for what in ("recovery_s", "gap_s") for value in spread[what].values()]
        if fault == "nothing":
            cells[:2] = ["-", "-"]
        shown.add_row(fault, str(len(items)), *cells)
    return shown


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def shortfalls(outcomes: list[Outcome], found: dict[str, verify.Findings], vanished: int) -> list[str]:
    """What is short of its promise, for people."""
    short = [f"{item.fault}: not recovered within {GIVE_UP_S:.0f} s" for item in outcomes if item.recovered is None]
    for item in outcomes:
        if item.fault in KILLED and item.recovered is not None and max(item.recovery_s, item.gap_s) > PROMISED_S:
            short.append(f"{item.fault} killed: recovery {item.recovery_s:.1f} s, no new alert for {item.gap_s:.1f} s")
    for against, findings in found.items():
        if not findings.clean or not findings.alerts:
            short.append(f"not the alerts of {against}: {asdict(findings)}")
    if vanished:
        short.append(f"{vanished} alert events that a reader had read were gone afterwards")
    return short


def vanished(trial: Trial, told: list[verify.Told]) -> int:
    """Events that the reader met while it all happened, and that are not on the topic any more, or doubled."""
    live = [verify.Told(item.key, item.timestamp_ms, item.value) for item in trial.reader.seen]
    return len(set(live) - set(told)) + abs(len(live) - len(told))


def main(
    rounds: Annotated[int, typer.Option(help="Kills at random moments.")] = 20,
    seed: Annotated[int | None, typer.Option(help="Of the load and of the random moments; by default another.")] = None,
    stop_min: Annotated[float, typer.Option(help="How long the job is stopped with uncommitted alerts, min.")] = 0.5,
    stores: Annotated[int, typer.Option(help="31 readings a second each.")] = 50,
) -> None:
    """Let everything fail around the cold-chain job, and hold its alerts against an undisturbed run."""
    console = Console()
    seed = random.randrange(10**6) if seed is None else seed
    chance, began = random.Random(seed), time.monotonic()

    def say(what: str) -> None:
        console.print(f"{time.monotonic() - began:7.1f} s  {what}", highlight=False, soft_wrap=True)

    say(f"seed {seed}; the same again: --seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=settings().home))
    stack = FaultyStack.in_folder(folder)
    try:
        with Network(stack.network_port, stack.behind_port) as network:
            stack.up(owner=os.getpid(), progress=say)
            told = _try(Trial(stack, network, Load(seed, stores), say), chance, rounds, stop_min, console)
    except BaseException:
        say(f"logs: {stack.logs}")
        stack.wipe()
        raise
    stack.wipe()
    if told["short"]:
        say(f"logs: {stack.logs}")
    else:
        shutil.rmtree(folder)
    print(json.dumps(told), flush=True)
    sys.exit(1 if told["short"] else 0)


def _try(trial: Trial, chance: random.Random, rounds: int, stop_min: float, console: Console) -> dict[str, Any]:
    say = trial.say
    trial.start()
    say(f"the job runs under load; a second here is {SPEED} s of the log")
    trial.undisturbed(20)
    for victim in KILLED:
        trial.inflict(victim, lambda v=victim: trial.kill(v))
    trial.inflict("killed before the commit", trial.kill_between_the_two_phases)
    trial.inflict("disk full", lambda: trial.fill_the_disk(25))
    trial.inflict("network lost", lambda: trial.cut_the_network(Mode.STALL, 30))
    trial.inflict("network refused", lambda: trial.cut_the_network(Mode.REFUSE, 20))
    trial.inflict("poison", lambda: trial.poison(5))
    trial.at_random(rounds, chance)
    trial.inflict("stopped", lambda: trial.stop_for(stop_min * 60))
    trial.finish()
    say(f"{trial.sender.sent} records sent; the engine alone decides over the same topic")
    told = verify.alerts_on(trial.stack.address, ALERTS)
    rules = Engine(parse_rules(RULES.read_text("utf-8"), str(RULES)))
    found = {"the engine alone": verify.compare(told, verify.engine_alone(rules, trial.stack.address, TOPIC))}
    say(f"held against the engine alone: {asdict(found['the engine alone'])}")
    found["an undisturbed run"] = verify.compare(told, trial.run_undisturbed())
    say(f"held against an undisturbed run of the job: {asdict(found['an undisturbed run'])}")
    gone = vanished(trial, told)
    short = shortfalls(trial.outcomes, found, gone)
    console.print(table(trial.outcomes))
    for what in short:
        console.print(f"short: {what}", highlight=False, soft_wrap=True)
    worst = {what: max(getattr(item, what) for item in found.values()) for what in ("lost", "twice", "other")}
    return {
        "seed": trial.sender.load.seed,
        "records": trial.sender.sent,
        "alert_events": len(told),
        **worst,
        "disordered": max(item.disordered for item in found.values()),
        "vanished": gone,
        "stopped_s": stop_min * 60,
        "transactions_open_after_stop": len(trial.open_after_stop),
        "transaction_timeout_s": min(trial.open_after_stop),
        **figures(trial.outcomes),
        "short": len(short),
    }


if __name__ == "__main__":
    typer.run(main)
