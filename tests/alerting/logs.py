"""Logs as the alerting tests write them: a freezer and its readings, minute by minute, from a fixed morning on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML

from alerting.engine import Changes, Engine, run
from alerting.events import Event, Expected, Logged
from alerting.journal import Book, read
from alerting.rules import RuleSet, parse_rules
from alerting.state import Store
from ingestion.arrival import read_arrivals
from schemas.instants import to_ms, to_rfc3339

EIGHT = to_ms("2026-10-05T08:00:00.000Z")
MINUTE = 60_000
STORE = "store-001"
FREEZER = "s001-freezer-01-t"
RULES = Path(__file__).with_name("basic.yaml")
SHIPPED = Path(__file__).parents[2] / "chain" / "rules" / "cold_chain.yaml"
FOLDERS = sorted(folder for folder in (Path(__file__).parents[1] / "cases").iterdir() if folder.is_dir())
JOB_OF = {folder: YAML(typ="safe").load(folder / "expect.yaml").get("job", "cold_chain") for folder in FOLDERS}
CASES = [folder for folder in FOLDERS if JOB_OF[folder] == "cold_chain"]


@cache
def rules_of(path: Path = RULES) -> RuleSet:
    return parse_rules(path.read_text("utf-8"), str(path))


def engine(rules: str | None = None) -> Engine:
    return Engine(rules_of() if rules is None else parse_rules(rules, "rules.yaml"))


class Written:
    """What is written of one store, batch by batch."""

    def __init__(self) -> None:
        self.parts: dict[str, str] = {}
        self.lines: list[str] = []
        self._book = Book()

    def take(self, state: Store, changes: Changes) -> None:
        changes.anything |= not self.parts
        writing = self._book.write(state, changes)
        for name in writing.gone:
            del self.parts[name]
        self.parts |= writing.parts
        self.lines = [] if writing.anew else self.lines
        self.lines += [] if writing.line is None else [writing.line]

    def read(self, by: Engine) -> Store:
        return read(by, self.parts, self.lines)


def at(minute: float) -> int:
    """Epoch ms, so many minutes after eight."""
    return EIGHT + round(minute * MINUTE)


def reading(
    minute: float, value: float | None, *, device: str = FREEZER, arrived: float | None = None, **more: Any
) -> Logged:
    event = {
        "event_id": f"{device}-{round(minute * MINUTE)}",
        "event_time": to_rfc3339(at(minute)),
        "store_id": STORE,
        "kind": "reading",
        "device_id": device,
        "asset_id": device[:-2],
        "asset_class": "cooler" if "cooler" in device else "freezer",
        "metric": {"t": "temperature", "d": "defrost", "o": "door_open"}[device[-1]],
        "value": value,
    }
    return Logged(at(minute if arrived is None else arrived), msgspec.convert(event | more, Event))


def curve(values: Iterable[float], *, start: float = 0, step: float = 5, device: str = FREEZER) -> list[Logged]:
    return [reading(start + number * step, value, device=device) for number, value in enumerate(values)]


def tick(minute: float, roster: dict[str, int] | None = None) -> Logged:
    """roster: interval in seconds by device."""
    event = Event(f"tick-{STORE}-{at(minute)}", to_rfc3339(at(minute)), STORE, "tick")
    if roster is not None:
        event.roster = [
            Expected(device, device[:-2], "freezer", "defrost" if device[-1] == "d" else "temperature", interval)
            for device, interval in roster.items()
        ]
    return Logged(at(minute), event)


def in_order(*parts: list[Logged]) -> list[Logged]:
    return sorted((event for part in parts for event in part), key=lambda logged: logged.arrived_ms)


def decide(log: Iterable[Logged], rules: str | None = None) -> list[dict[str, Any]]:
    """The alert events of one store's log."""
    return run(engine(rules), ((STORE, logged) for logged in log))


def steps(alerts: Iterable[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(alert["event"], alert["rule"], alert["severity"]) for alert in alerts]


def case_log(folder: Path) -> list[Logged]:
    """A golden case's log."""
    decode = msgspec.json.Decoder(Event).decode
    return [Logged(item.arrived_ms, decode(item.payload)) for item in read_arrivals(folder / "readings.ndjson")]
