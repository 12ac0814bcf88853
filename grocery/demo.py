"""The main job, end to end, on real parts: what `make demo` runs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from grocery.scoring import fold, score
from grocery.settings import Settings, settings
from schemas.instants import to_rfc3339

STEPS = 8
PIPED_WIDTH = 140
"""Columns where there is no terminal to ask."""
START = date(2026, 10, 5)
"""A Monday, so that every store is open."""
TICK_S = 15
SETTLE_S = 60
"""Ticks go on this long after the last arrival: what was due is decided, and no sensor has had the time to look
silent only because the simulation is over."""
FLINK_WAIT_S = 240


class StepFailed(Exception):
    """A step of the demo failed; log: where to look."""

    def __init__(self, step: str, why: str, log: Path) -> None:
        super().__init__(f"{step}: {why}")
        self.log = log


class Show:
    """What the demo prints: numbered steps with their time, and what happens inside them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.number = 0
        self.began = time.monotonic()

    @contextlib.contextmanager
    def step(self, title: str, log: Path) -> Iterator[None]:
        self.number += 1
        began = time.monotonic()
        self.console.print(f"[bold]{self.number}/{STEPS} {title}[/bold]")
        try:
            yield
        except StepFailed:
            raise
        except KeyboardInterrupt:
            raise
        except Exception as error:
            raise StepFailed(title, f"{type(error).__name__}: {error}", log) from error
        self.say(f"[dim]{time.monotonic() - began:.0f} s[/dim]")

    def say(self, text: str) -> None:
        self.console.print(f"    {text}", highlight=False, soft_wrap=True)


ASKED = ("alerts_time_to_raise", "cold_chain_out_of_range", "queues_and_open_lanes", "sales_while_too_warm")
"""Of the ready questions, those that the demo shows."""


def run(*, stores: int, days: int, seed: int, keep_stack: bool) -> int:
    """Run the demo; returns the exit code. Anything the last demo left is replaced."""
    os.environ["GROCERY_WORKSPACE"] = "demo"
    settings.cache_clear()
    where = settings()
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPED_WIDTH)
    show = Show(console)
    from grocery.stack import Stack

    stack = Stack(where.stack_home, where.logs)
    try:
        stack.down()
        shutil.rmtree(where.work, ignore_errors=True)
        where.logs.mkdir(parents=True)
        console.print(f"Workspace {where.work}, logs in {where.logs}\n", highlight=False)
        return _run(show, where, stack, stores, days, seed)
    except StepFailed as failed:
        console.print(f"\n[red]{escape(str(failed))}[/red]\nIts log: {failed.log}", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped.")
        return 130
    finally:
        if keep_stack:
            console.print("The stack goes on; stop it: grocery -w demo stack down")
        else:
            stack.down()


def _run(show: Show, where: Settings, stack: Any, stores: int, days: int, seed: int) -> int:
    with show.step("Start a Kafka broker and a Flink cluster", where.logs):
        stack.up(progress=lambda text: show.say(text), owner=None)
        show.say(f"Kafka {stack.kafka}, Flink {stack.flink_rest}")
    bootstrap = stack.kafka

    with show.step(f"Publish the chain: {stores} stores", where.logs / "broker.log"):
        simulation = _simulation(where, stores, days, seed)
        _publish(show, bootstrap, simulation)

    with show.step("Start the streaming jobs on Flink", where.logs / "jobmanager.log"):
        running = _submit(show, stack, where)

    with (
        show.step("Let a day in through the gate, and watch the alerts", where.logs / "taskmanager.log"),
        _Watch(show, bootstrap) as watch,
    ):
        _feed(show, bootstrap, simulation)
        _wait(show, stack, bootstrap, running)
        watch.drain()
        for job in running:
            stack.cancel(job)

    with show.step("Build the lakehouse: bronze, silver, quality gate, gold", where.logs / "batch.log"):
        _batch(where)

    with show.step("Injected against caught", where.logs / "taskmanager.log"):
        good = _score(show, simulation, bootstrap, where)

    with show.step("Four questions an analyst asks", where.logs / "dbt" / "dbt.log"):
        _questions(show, where)

    with show.step("The report page", where.logs):
        from grocery.report.page import write

        write(where.gold_path, where.report_path, days + 1)
        show.say(str(where.report_path))

    _end(show, where)
    return 0 if good else 1


def _simulation(where: Settings, stores: int, days: int, seed: int) -> Any:
    from grocery.simulator import FaultPlan, simulate
    from grocery.simulator.clones import of_size
    from ingestion.reference import Reference

    reference = Reference.from_folder(where.chain)
    faults = FaultPlan.load().within(of_size(reference, stores))
    return simulate(reference, stores=stores, days=days, seed=seed, start=START, faults=faults)


def _publish(show: Show, bootstrap: str, simulation: Any) -> None:
    from grocery.simulator.clones import events_of
    from ingestion.reference import publish

    events = events_of(simulation.reference)
    publish(events, bootstrap)
    reference = simulation.reference
    show.say(
        f"{len(reference.stores)} stores, {len(reference.assets)} assets with {len(reference.devices)} devices, "
        f"{len(reference.products)} products on the compacted topics"
    )


def _submit(show: Show, stack: Any, where: Settings) -> dict[str, str]:
    """Every job there is; Flink's id by name."""
    from streaming_jobs.submit import submit_all

    running = submit_all(stack, where.chain / "rules")
    for name, job_id in running.items():
        show.say(f"{name:<14} {stack.flink_rest}/#/job/running/{job_id}")
    return running


def _feed(show: Show, bootstrap: str, simulation: Any) -> None:
    from grocery.gateway import open_gate
    from ingestion.feed import FeedSummary, describe, feed
    from ingestion.reference import Reference
    from ingestion.sinks import KafkaSink

    began = told = time.monotonic()

    def progress(done: FeedSummary) -> None:
        nonlocal told
        if time.monotonic() - told >= 5 and done.last_ms:
            told = time.monotonic()
            show.say(f"[dim]{to_rfc3339(done.last_ms)[:16]} UTC in the stores; {done.records:,} records sent[/dim]")

    with KafkaSink(bootstrap) as sink:
        gate = open_gate(Reference.from_topics(bootstrap))
        done = feed(simulation.arrivals(), gate, sink, ticks_every_s=TICK_S, settle_s=SETTLE_S, on_progress=progress)
    show.say(describe(done, time.monotonic() - began))
    if done.by_reason:
        why = ", ".join(f"{reason} {number}" for reason, number in done.by_reason.most_common())
        show.say(f"refused, to be seen with `grocery -w demo ingest dead-letters list` while the stack runs: {why}")


def _wait(show: Show, stack: Any, bootstrap: str, running: dict[str, str]) -> None:
    from streaming_jobs.progress import wait_until_processed
    from streaming_jobs.submit import job_named

    for name, job_id in running.items():
        topics = tuple(job_named(name).reads.values())
        wait_until_processed(bootstrap, stack.flink_rest, job_id, name, topics, FLINK_WAIT_S)
    show.say("Flink has decided on every record, and its alerts are committed")


class _Watch:
    """Prints alerts as they become readable (read_committed)."""

    def __init__(self, show: Show, bootstrap: str) -> None:
        self._show, self._bootstrap = show, bootstrap
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._idle = threading.Event()

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def drain(self) -> None:
        """Return once all alerts that are readable now are printed."""
        self._idle.clear()
        self._idle.wait(timeout=15)

    def _run(self) -> None:
        from kafka import KafkaConsumer

        from ingestion.topics import ALERT_TOPICS

        consumer = KafkaConsumer(
            *ALERT_TOPICS,
            bootstrap_servers=self._bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        try:
            while not self._stop.is_set():
                batch = consumer.poll(timeout_ms=500)
                for record in (record for records in batch.values() for record in records):
                    self._print(json.loads(record.value))
                if not batch:
                    self._idle.set()
        finally:
            consumer.close()

    def _print(self, alert: dict[str, Any]) -> None:
        colour = "green" if alert["status"] == "resolved" else {"critical": "red"}.get(alert["severity"], "yellow")
        when = alert["decided_at"][11:19]
        text = next(iter(alert["annotations"].values()), "")
        what = f"{alert['event']:<9} {alert['severity']:<8}"
        self._show.say(f"[dim]{when}[/dim] [{colour}]{what}[/{colour}] {alert['rule']:<16} {escape(text)}")


def _batch(where: Settings) -> None:
    """`grocery batch run` in a process of its own: what it says goes on here, what Spark's JVM says to a log."""
    log = where.logs / "batch.log"
    command = [str(Path(sys.executable).with_name("grocery")), "-w", where.workspace]
    command += ["batch", "run", "--set-aside-exit", "0"]
    with log.open("wb") as errors:
        done = subprocess.run(command, stderr=errors, check=False)
    if done.returncode != 0:
        last = log.read_text("utf-8", "replace").strip().splitlines()[-5:]
        raise StepFailed("grocery batch run", f"ended with exit code {done.returncode}. " + " / ".join(last), log)


def _score(show: Show, simulation: Any, bootstrap: str, where: Settings) -> bool:
    from grocery.simulator.labels import write_labels
    from ingestion.reference import read_topic
    from ingestion.topics import ALERT_TOPICS

    labels = simulation.labels()
    write_labels(labels, where.work / "labels.ndjson")
    told = (record for topic in ALERT_TOPICS for record in read_topic(bootstrap, topic))
    alerts = fold(json.loads(record.value) for record in told)
    letters = sum(1 for record in read_topic(bootstrap, "dead-letters"))
    verdicts, outside = score([label for label in labels if label.fault != "bad-input"], alerts)
    table = Table("fault", "asset", "began (UTC)", "a rule must catch it", "caught by", "after")
    for verdict in verdicts:
        label = verdict.label
        caught = ", ".join(f"{rule} ({alert.severity})" for rule, alert in verdict.caught.items()) or "-"
        missing = f"[red]MISSED: {', '.join(verdict.missing)}[/red] " if verdict.missing else ""
        after = "-" if verdict.delay_ms is None else str(timedelta(seconds=round(verdict.delay_ms / 1000)))
        expected = ", ".join(label.expect) or "none: within its limits"
        table.add_row(label.fault, label.asset_id, label.start[11:16], expected, missing + caught, after)
    show.console.print(table)
    missed = sum(1 for verdict in verdicts if verdict.missing)
    wanted = sum(1 for verdict in verdicts if verdict.label.expect)
    injected = sum(1 for label in labels if label.fault == "bad-input")
    show.say(
        f"{wanted - missed} of {wanted} faults that a rule covers were caught; {len(outside)} alerts outside any fault"
    )
    show.say(f"{injected} broken messages were injected, {letters} dead letters were written")
    for alert in outside:
        show.say(f"[red]outside every fault:[/red] {alert.rule} on {alert.asset_id} from {to_rfc3339(alert.starts_ms)}")
    return not missed and not outside and letters == injected


def _questions(show: Show, where: Settings) -> None:
    from batch_jobs.gold import connect, questions
    from grocery.commands.query import Format
    from grocery.commands.query import show as show_rows

    known = {question.name: question for question in questions()}
    with connect(where.gold_path) as gold:
        for name in ASKED:
            show_rows(gold, known[name].sql, Format.table, known[name].text)
    show.say(f"{len(known) - len(ASKED)} more, and what to know about each answer: docs/analyst-guide.md")


def _end(show: Show, where: Settings) -> None:
    took = time.monotonic() - show.began
    show.console.print(
        f"""
[bold]Done in {timedelta(seconds=round(took))}.[/bold]

Open:
  {where.report_path}   temperatures, alert spans, queues
  {where.data_docs / "index.html"}   what the quality gate found
  {where.lake_path}   the lake: bronze, silver, quarantine, audit (Delta)
  {where.work / "labels.ndjson"}   what was injected

Try next (in .grocery/venv/bin, or `source .grocery/venv/bin/activate`):
  grocery -w demo query "SELECT * FROM rpt_cold_chain_compliance LIMIT 10"
  grocery stack up && grocery --help          a stack of your own that stays
  grocery replay FILE --mapping MAPPING.yaml  your own loggers' exports: docs/replay.md
""",
        highlight=False,
        soft_wrap=True,
    )
