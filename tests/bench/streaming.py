"""`make bench-streaming`: the cold-chain job against Flink's floor, Quix Streams and Bytewax, on the same log.

Every contender reads the same topic (4 partitions, lz4), written beforehand, from the same broker, with as many
processes as there are cores, and is alone on the machine but for the broker. The log goes on beyond what must be done,
so that nobody runs dry while it is measured. Afterwards the alert steps of the part that everybody has done are
compared: the same rules, devices, beginnings, decisions and ends.

- thread, process: the job as `grocery stream submit` submits it, shipped rules, exactly once, checkpoints each second;
  Python inside the task managers, of which there are as many as cores, or beside the only one, as on Managed Service
  for Apache Flink
- floor_raw, floor_parsed: Flink alone, see floor_job.py
- quix, bytewax: the same rules written by hand, see rules.py, quix_peer.py, bytewax_peer.py

steady: readings/s once warm. whole: readings/s from the start command until everything that must be done is done. CPU:
processor microseconds a reading once warm. memory: peak resident memory. The last two are the contender's own
processes, without the broker. latency: from a reading sent to its alert readable by a reader of committed records, at
2,000 readings/s, see latency.py.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from grocery.settings import PROJECT, settings
from grocery.setup import uv_environment
from grocery.stack import Stack
from streaming_jobs.runtime import arguments
from streaming_jobs.submit import job_named
from tests.bench import rules
from tests.bench.load import PARTITIONS, Scenario
from tests.bench.measure import Watch, reached, steady

JOB, READINGS, ALERTS = "cold_chain", "sensor-readings", "alerts.cold-chain"
RULES = PROJECT / "chain" / "rules" / "cold_chain.yaml"
SCENARIOS = (
    Scenario("5k_10s", 5_000, 10, 10, 3_000_000),
    Scenario("5k_5min", 5_000, 300, 15, 3_000_000),
    # 30 rounds last 300 s: no device can be silent for five minutes in them. So there are some more.
    Scenario("100k_10s", 100_000, 10, 10, 3_600_000),
    Scenario("100k_5min", 100_000, 300, 15, 3_000_000),
)
QUICK = Scenario("quick", 5_000, 10, 10, 600_000)
PEERS = ("quix", "bytewax")
CONTENDERS = ("thread", "process", "floor_raw", "floor_gathered", "floor_parsed", "quix", "bytewax")
FLOOR_IN = ("5k_10s", "quick")
LONGER = 6
"""The log goes on for so many times what must be done."""
WARM_S, STEADY_S, LEAST_STEADY_S = 45, 62, 60
"""A JVM still compiles half a minute after its start."""
BOUND_S = 600
LATENCY_WARM_S, LATENCY_S, LATENCY_RATE = 60, 60, 2000
PROMISED = {
    "thread_to_best_peer": 1.0,
    "process_to_best_peer": 0.5,
    "thread_100k_to_5k": 0.5,
    "process_100k_to_5k": 0.5,
}
"""At least; each is the worse one of the two cadences."""
PROMISED_P95_S = 1.6


@dataclass(frozen=True, slots=True)
class Log:
    """What is on the topic, by partition: records before the scenario's end, records, readings."""

    before: list[int]
    records: list[int]
    readings: list[int]

    @property
    def share(self) -> float:
        """Of the records, how many are readings; the rest are ticks."""
        return sum(self.readings) / sum(self.records)


@dataclass(frozen=True, slots=True)
class Result:
    """One contender in one scenario. Rates in readings/s, cpu_us a reading, memory in bytes; alerts: steps told before
    the scenario's end."""

    steady: float
    steady_s: float
    whole: float
    cpu_us: float
    memory: int
    alerts: set[tuple[str, ...]] | None


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-streaming")
    parser.add_argument("--quick", action="store_true", help="one small scenario, for whoever works on the bench")
    parser.add_argument("--scenario", action="append", choices=[item.name for item in SCENARIOS])
    parser.add_argument("--only", action="append", choices=(*CONTENDERS, "latency"))
    parser.add_argument("--seconds", type=float, default=STEADY_S, help="of steady state, where the run lasts so long")
    given = parser.parse_args()
    scenarios = [item for item in SCENARIOS if not given.scenario or item.name in given.scenario]
    if given.quick:
        scenarios = [QUICK]
    console = Console(width=120)
    make_environment()
    results: dict[str, dict[str, Result]] = {}
    short: list[str] = []
    for scenario in scenarios:
        chosen = [name for name in CONTENDERS if not given.only or name in given.only]
        chosen = [name for name in chosen if not name.startswith("floor") or scenario.name in FLOOR_IN]
        if not chosen:
            continue
        log = prepare(scenario)
        for name in chosen:
            result = results.setdefault(scenario.name, {})[name] = run(scenario, log, name, given.seconds)
            console.print(
                f"{scenario.name} {name}: {result.steady:,.0f}/s over {result.steady_s:.0f} s", highlight=False
            )
        show(console, scenario.name, results[scenario.name])
        if not compare(console, scenario.name, results[scenario.name]):
            short.append(f"same alerts in {scenario.name}")
    took = {}
    if not given.only or "latency" in given.only:
        took = {mode: latency(mode) for mode in ("thread", "process")}
    return tell(console, results, took, short, whole=not (given.quick or given.scenario or given.only))


def show(console: Console, scenario: str, by_name: dict[str, Result]) -> None:
    """One scenario's table."""
    best = best_peer(by_name)
    table = Table(title=scenario, box=None, pad_edge=False)
    for column in ("", "steady /s", "over s", "whole /s", "CPU us", "memory MB", "alert steps", "of best peer"):
        table.add_column(column, justify="left" if not column else "right")
    for name, result in by_name.items():
        table.add_row(
            name,
            f"{result.steady:,.0f}",
            f"{result.steady_s:.0f}",
            f"{result.whole:,.0f}",
            f"{result.cpu_us:.1f}",
            f"{result.memory / 1e6:,.0f}",
            "" if result.alerts is None else f"{len(result.alerts):,}",
            f"{result.steady / best:.2f}" if best else "",
        )
    console.print(table)


def tell(
    console: Console, results: dict[str, dict[str, Result]], took: dict[str, list[float]], short: list[str], whole: bool
) -> int:
    """Print the latencies and the figures; 1 where one is short of what was promised.

    short: what is known to be. whole: everything was measured, so that a promise without a figure, and a rate over
    less than LEAST_STEADY_S, is short; Flink's floor reads the whole log in less."""
    figures = {
        f"{name}_{scenario}_{word}": round(value, 1)
        for scenario, by_name in results.items()
        for name, result in by_name.items()
        for word, value in (
            ("steady_per_s", result.steady),
            ("whole_per_s", result.whole),
            ("cpu_us", result.cpu_us),
            ("memory_mb", result.memory / 1e6),
        )
    }
    for mode, seconds in took.items():
        for share in (50, 95, 99):
            figures[f"{mode}_p{share}_s"] = round(percentile(seconds, share), 2)
        console.print(
            f"{mode}: reading sent to alert readable, {len(seconds)} at {LATENCY_RATE}/s: "
            + ", ".join(f"p{share} {percentile(seconds, share):.2f} s" for share in (50, 95, 99)),
            highlight=False,
        )
    figures |= ratios(results)
    short += [name for name, least in PROMISED.items() if figures.get(name, 0 if whole else least) < least]
    if whole:
        short += [
            f"{name} in {scenario}, steady for {result.steady_s:.0f} s only"
            for scenario, by_name in results.items()
            for name, result in by_name.items()
            if result.steady_s < LEAST_STEADY_S and not name.startswith("floor")
        ]
    short += [f"{mode}_p95_s" for mode in took if figures[f"{mode}_p95_s"] > PROMISED_P95_S]
    for name in short:
        console.print(f"short of what was promised: {name} {figures.get(name, '')}", highlight=False)
    print(json.dumps(figures | {"short": short}))
    return 1 if short else 0


def best_peer(by_name: dict[str, Result]) -> float | None:
    return max((by_name[name].steady for name in PEERS if name in by_name), default=None)


def ratios(results: dict[str, dict[str, Result]]) -> dict[str, float]:
    """Those of PROMISED, as far as they were measured."""
    found: dict[str, float] = {}

    def note(name: str, value: float) -> None:
        found[name] = min(round(value, 2), found.get(name, math.inf))

    for mode in ("thread", "process"):
        for scenario, by_name in results.items():
            best = best_peer(by_name)
            if mode not in by_name:
                continue
            if best and not scenario.startswith("100k"):
                note(f"{mode}_to_best_peer", by_name[mode].steady / best)
            small = results.get(scenario.replace("100k", "5k"), {})
            if scenario.startswith("100k") and mode in small:
                note(f"{mode}_100k_to_5k", by_name[mode].steady / small[mode].steady)
    return found


def percentile(values: list[float], share: int) -> float:
    """Nearest rank, of sorted values."""
    return values[min(len(values) - 1, -(-len(values) * share // 100) - 1)]


def compare(console: Console, scenario: str, by_name: dict[str, Result]) -> bool:
    """Whether all told the same, and anything at all; prints what differs."""
    told = {name: result.alerts for name, result in by_name.items() if result.alerts is not None}
    first = next(iter(told), None)
    same = first is None or bool(told[first])
    for name, alerts in told.items():
        if alerts != told[first]:
            same = False
            more, less = sorted(alerts - told[first]), sorted(told[first] - alerts)
            console.print(f"{scenario}: {len(more)} alert steps only by {name}, {len(less)} only by {first}")
            for item in (*more[:3], *less[:3]):
                console.print(f"  {item}", highlight=False)
    if first is not None:
        kinds = Counter(f"{item[0]} {item[3]}" for item in told[first])
        listed = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
        console.print(f"{scenario}, alert steps: {listed}", highlight=False, style="dim")
    return same


# ---- latency


def latency(mode: str) -> list[float]:
    """Seconds from reading to readable alert, sorted. Raises SystemExit where an alert did not come."""
    where = settings().home / "bench" / "latency"
    stack = Stack(where / "stack", where / "logs")
    stack.wipe()
    stack.up(task_managers=task_managers(mode), owner=os.getpid())
    try:
        submit(stack, mode)
        sent = [str(item) for item in (LATENCY_WARM_S, LATENCY_S, LATENCY_RATE)]
        command = [peers_python(), "-m", "tests.bench.latency", stack.kafka, READINGS, ALERTS, *sent]
        done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        if found["missing"]:
            raise SystemExit(f"latency {mode}: {found['missing']} alerts did not come")
        return found["seconds"]
    finally:
        stack.wipe()


# ---- the log


def folder(scenario: Scenario) -> Path:
    return settings().home / "bench" / scenario.name


def stack_of(scenario: Scenario) -> Stack:
    return Stack(folder(scenario) / "stack", folder(scenario) / "logs")


def prepare(scenario: Scenario) -> Log:
    """The scenario's log on its broker; written once and kept."""
    stack, note = stack_of(scenario), folder(scenario) / "log.json"
    wanted = {"scenario": asdict(scenario), "longer": LONGER, "load": (Path(__file__).parent / "load.py").read_text()}
    if note.exists():
        known = json.loads(note.read_text())
        if known["wanted"] == wanted:
            return Log(**known["log"])
    stack.wipe()
    note.unlink(missing_ok=True)
    stack.up(flink=False, owner=os.getpid())
    began = time.monotonic()
    until_ms = scenario.end_ms + (LONGER - 1) * scenario.span_ms
    command = ["-m", "tests.bench.write_log", stack.kafka, READINGS, json.dumps(asdict(scenario)), str(until_ms)]
    done = subprocess.run([peers_python(), *command], cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    stack.down()
    log = Log(**json.loads(done.stdout.splitlines()[-1]))
    note.write_text(json.dumps({"wanted": wanted, "log": asdict(log)}))
    rate = sum(log.records) / (time.monotonic() - began)
    print(f"{scenario.name}: {sum(log.records):,} records written, {rate:,.0f}/s, {log.share:.0%} of them readings")
    return log


def peers_python() -> str:
    return str(settings().home / "bench-venv" / "bin" / "python")


def make_environment() -> None:
    """The peers' own environment, as pinned; made again when the pins change."""
    pins = Path(__file__).parent / "requirements.txt"
    venv = settings().home / "bench-venv"
    made_from = venv / "made-from.txt"
    if made_from.exists() and made_from.read_text() == pins.read_text():
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
    uv = [str(settings().venv / "bin" / "uv"), "pip", "install", "--quiet", "--python", peers_python()]
    subprocess.run([*uv, "-r", str(pins)], env=os.environ | uv_environment(Path(sys.executable)), check=True)
    made_from.write_text(pins.read_text())


# ---- a run


def run(scenario: Scenario, log: Log, name: str, steady_s: float) -> Result:
    stack = stack_of(scenario)
    ours = name in ("thread", "process") or name.startswith("floor")
    stack.up(flink=ours, task_managers=task_managers(name), owner=os.getpid())
    try:
        ends = end_offsets(stack.kafka, ALERTS)
        contender = {"thread": ours_in, "process": ours_in, "quix": quix, "bytewax": bytewax}.get(name, floor)
        began = time.monotonic()
        with (
            contender(stack, scenario, name) as (pids, progress, topic, steps_more),
            Watch(began, progress, pids) as watch,
        ):
            whole_s = follow(watch, log, steady_s, steps_more, f"{scenario.name} {name}; its logs: {stack.logs}")
        part_dry = min(log.records) * PARTITIONS
        rate = steady(watch.samples, WARM_S if whole_s > 3 * WARM_S else whole_s / 4, part_dry)
        if rate is None:
            raise SystemExit(f"{scenario.name} {name}: too short to measure")
        alerts = None if topic is None else told(stack.kafka, topic, ends if topic == ALERTS else {}, scenario.end_ms)
        return Result(
            steady=rate.rate * log.share,
            steady_s=rate.seconds,
            whole=sum(log.before) * log.share / whole_s,
            cpu_us=rate.cpu_us / log.share,
            memory=max(sample.rss for sample in watch.samples),
            alerts=alerts,
        )
    finally:
        stack.down()


def follow(watch: Watch, log: Log, steady_s: float, steps_more: int, who: str) -> float:
    """Wait until what must be done is done and there were `steady_s` seconds of steady state, or the log is at its end.
    Returns how long what must be done took. Raises SystemExit where that takes too long, or a process has ended, and
    whatever ended the watch."""
    first = None
    while True:
        time.sleep(0.25)
        now = watch.elapsed_s
        if first is None and watch.newest and sum(watch.newest) > 0:
            first = now
        if now > BOUND_S:
            raise SystemExit(f"{who}: not done after {BOUND_S} s: {watch.newest} of {log.before}")
        if watch.error is not None:
            raise watch.error
        if watch.ended is not None:
            raise SystemExit(f"{who}: process {watch.ended} has ended")
        if len(watch.newest) == PARTITIONS:
            done = all(there >= wanted for there, wanted in zip(watch.newest, log.before, strict=True))
        else:
            # Known in all only: go on until a part that is behind must be done too.
            done = sum(watch.newest) >= min(1.1 * sum(log.before), sum(log.records))
        if not done:
            continue
        end = sum(watch.newest) >= sum(log.records)
        if not end and now < first + WARM_S + steady_s:
            continue
        whole_s = reached(watch.samples, sum(log.before), steps_more)
        time.sleep(5)  # what was read is decided, and its alerts are committed
        return whole_s if whole_s is not None else now


@contextmanager
def ours_in(stack: Stack, scenario: Scenario, mode: str) -> Iterator[tuple]:
    forget_group(stack.kafka, JOB)
    submit(stack, mode)
    try:
        yield flink_pids(stack), committed(stack.kafka, JOB), ALERTS, 2
    finally:
        stack.forget(JOB)


def submit(stack: Stack, mode: str) -> None:
    given = arguments(stack.kafka, RULES.read_text("utf-8"), str(RULES), {"python.execution-mode": mode})
    stack.submit(JOB, job_named(JOB).folder / "job.py", given)


@contextmanager
def floor(stack: Stack, scenario: Scenario, name: str) -> Iterator[tuple]:
    forget_group(stack.kafka, name)
    how = name.removeprefix("floor_")
    stack.submit(name, Path(__file__).parent / "floor_job.py", [stack.kafka, READINGS, how])
    try:
        yield flink_pids(stack), committed(stack.kafka, name), None, 0
    finally:
        stack.forget(name)


@contextmanager
def quix(stack: Stack, scenario: Scenario, name: str) -> Iterator[tuple]:
    topic, group = "bench-quix", "quix"
    fresh_topic(stack.kafka, topic)
    forget_group(stack.kafka, group)
    forget_topics(stack.kafka, "changelog__")
    commands = []
    for number in range(cores()):
        state = scratch(scenario, f"quix-{number}")
        commands.append([peers_python(), "-m", "tests.bench.quix_peer", stack.kafka, READINGS, topic, str(state)])
    with processes(scenario, name, commands) as pids:
        yield lambda: pids, committed(stack.kafka, group), topic, 0


@contextmanager
def bytewax(stack: Stack, scenario: Scenario, name: str) -> Iterator[tuple]:
    topic = "bench-bytewax"
    fresh_topic(stack.kafka, topic)
    state, done = scratch(scenario, "bytewax-recovery"), scratch(scenario, "bytewax-done")
    subprocess.run([peers_python(), "-m", "bytewax.recovery", str(state), str(cores())], check=True)
    ports = free_ports(cores())
    flow = f"tests.bench.bytewax_peer:flow({stack.kafka!r},{READINGS!r},{topic!r},{str(done)!r})"
    addresses = ";".join(f"127.0.0.1:{port}" for port in ports)
    # Each second a snapshot, as our checkpoints are; none is kept longer than it is needed.
    base = [peers_python(), "-m", "bytewax.run", flow, "-r", str(state), "-s", "1", "-b", "0", "-a", addresses]
    commands = [[*base, "-i", str(number)] for number in range(cores())]

    def progress() -> list[int]:
        texts = [file.read_text() for file in done.glob("done-*")]
        return [sum(int(text) for text in texts if text)]

    with processes(scenario, name, commands) as pids:
        yield lambda: pids, progress, topic, 0


@contextmanager
def processes(scenario: Scenario, name: str, commands: list[list[str]]) -> Iterator[list[int]]:
    """Start them, each with a log; interrupt them at the end. Raises SystemExit where one ends before."""
    logs = folder(scenario) / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    started = []
    for number, command in enumerate(commands):
        with (logs / f"{name}-{number}.log").open("wb") as log:
            started.append(
                subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
            )
    try:
        yield [process.pid for process in started]
        ended = [process.args for process in started if process.poll() is not None]
        if ended:
            raise SystemExit(f"{name} ended early, see {logs}/{name}-*.log")
    finally:
        for process in started:
            process.send_signal(signal.SIGINT)
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def flink_pids(stack: Stack):
    pids = [stack.pid(name) for name in ("jobmanager", *stack.task_managers)]
    return lambda: pids


def task_managers(name: str) -> int:
    return cores() if name == "thread" else 1


def cores() -> int:
    return len(os.sched_getaffinity(0))


def scratch(scenario: Scenario, name: str) -> Path:
    where = folder(scenario) / "scratch" / name
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    return where


def free_ports(count: int) -> list[int]:
    import socket

    holders = [socket.socket() for _ in range(count)]
    for holder in holders:
        holder.bind(("127.0.0.1", 0))
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


# ---- Kafka


@contextmanager
def admin(bootstrap: str) -> Iterator[Any]:
    from kafka.admin import KafkaAdminClient

    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        yield client
    finally:
        client.close()


def committed(bootstrap: str, group: str):
    """The group's committed offsets by partition, asked again at each call."""
    from kafka.admin import KafkaAdminClient
    from kafka.errors import CoordinatorLoadInProgressError, CoordinatorNotAvailableError

    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    found = [0] * PARTITIONS

    def ask() -> list[int]:
        try:
            offsets = client.list_group_offsets([group])[group]
        except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError):
            return list(found)  # a broker's first group: its topic is being made
        for part, offset in offsets.items():
            if part.topic == READINGS and offset.offset > 0:
                found[part.partition] = offset.offset
        return list(found)

    return ask


def forget_group(bootstrap: str, group: str) -> None:

    with admin(bootstrap) as client:
        if any(found["group_id"] == group for found in client.list_groups()):
            client.delete_groups([group])


def forget_topics(bootstrap: str, prefix: str) -> None:
    with admin(bootstrap) as client:
        names = [name for name in client.list_topics() if name.startswith(prefix)]
        if names:
            client.delete_topics(names)


def fresh_topic(bootstrap: str, name: str) -> None:
    with admin(bootstrap) as client:
        if name in client.list_topics():
            client.delete_topics([name])
            time.sleep(2)
        client.create_topics({name: {"num_partitions": PARTITIONS, "replication_factor": -1}})
        client.wait_for_topics([name])


def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None)
    try:
        parts = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        return {part.partition: offset for part, offset in consumer.end_offsets(parts).items()}
    finally:
        consumer.close()


def told(bootstrap: str, topic: str, begin: dict[int, int], end_ms: int) -> set[tuple[str, ...]]:
    """The alert steps that were decided before the log's time `end_ms`."""
    from ingestion.topics import read_topic
    from schemas.instants import to_rfc3339

    end = to_rfc3339(end_ms)
    return {
        rules.named(event)
        for record in read_topic(bootstrap, topic)
        if record.offset >= begin.get(record.partition, 0)
        for event in [json.loads(record.value)]
        if event["decided_at"] < end and event["event"] in rules.COMPARED
    }


if __name__ == "__main__":
    sys.exit(main())
