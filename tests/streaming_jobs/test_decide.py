"""The operator without Flink: what it keeps, and that any checkpoint of it is enough to go on."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec
import pytest

from alerting.events import SEPARATOR, Logged
from alerting.journal import WORTH, read
from alerting.state import dumps
from streaming_jobs.decide import Decide
from tests.alerting.logs import CASES, FREEZER, RULES, STORE, case_log, curve, decide, engine, in_order, rules_of, tick


class Lines:
    """A list of texts, as Flink keeps it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def get(self) -> list[str]:
        return self.lines

    def add(self, line: str) -> None:
        self.lines.append(line)

    def clear(self) -> None:
        self.lines = []


class Kept:
    """Flink's state of one store, in memory: a map `parts`, a list `journal` and a value `store`; counts what is
    written."""

    def __init__(self, text: str | None = None) -> None:
        self.parts, self.journal, self.text = {}, Lines(), text
        self.written: Counter[str] = Counter()

    def state(self) -> str:
        """What an operator would go on with."""
        return dumps(read(engine(), self.parts, self.journal.lines))

    def get_list_state(self, _: Any) -> Lines:
        return self.journal

    def get_map_state(self, _: Any) -> Kept:
        return self

    def get_state(self, _: Any) -> Kept:
        return self

    def get_metrics_group(self) -> Kept:
        return self

    def counter(self, name: str) -> Kept:
        return self

    def inc(self, count: int) -> None:
        pass

    def get_current_key(self) -> str:
        return STORE

    def items(self):
        return self.parts.items()

    def put(self, name: str, part: str) -> None:
        self.parts[name] = part
        self.written[name] += 1

    def remove(self, name: str) -> None:
        del self.parts[name]

    def value(self) -> str | None:
        return self.text

    def clear(self) -> None:
        self.text = None


def operator(kept: Kept) -> Decide:
    made = Decide(rules_of(RULES))
    made.open(kept)
    return made


def batch(log: list[Logged]) -> str:
    return SEPARATOR.join(
        f"[{number},{arrived},{msgspec.json.encode(event).decode()}]" for number, (arrived, event) in enumerate(log)
    )


def told(made: Decide, kept: Kept, log: list[Logged]) -> list[bytes]:
    return [row[1].encode() for row in made.process_element(batch(log).encode(), kept)]


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_new_operator_on_what_another_kept_goes_on_as_if_nothing_had_been_between(folder):
    log = case_log(folder)
    kept, alerts = Kept(), []
    for start in range(0, len(log), 7):
        alerts += told(operator(kept), kept, log[start : start + 7])
    assert alerts == [msgspec.json.encode(alert) for alert in decide(log)]


def test_an_operator_reads_its_state_once_and_keeps_the_same():
    log = in_order(curve([-20, -14] * 40, step=1), [tick(minute, {FREEZER: 60}) for minute in range(0, 80, 5)])
    kept = Kept()
    one = operator(kept)
    for start in range(0, len(log), 7):
        told(one, kept, log[start : start + 7])
    expected, _ = engine().advance(engine().start(STORE), log)
    assert kept.state() == dumps(expected)


def test_calm_readings_go_to_a_journal_until_a_part_is_worth_writing():
    other = "s001-freezer-02-t"
    kept = Kept()
    one = operator(kept)
    told(one, kept, [tick(0, {FREEZER: 60, other: 60}), *curve([-20] * 2, start=0.1, step=1)])
    kept.written.clear()
    for number in range(WORTH - 1):
        told(one, kept, curve([-20], start=2 + number / 10))
    assert not kept.written
    assert len(kept.journal.lines) == WORTH - 1
    told(one, kept, curve([-20], start=4))
    assert kept.written == {"clock": 1, f"d:{FREEZER}": 1}
    assert not kept.journal.lines


def test_many_calm_readings_at_once_write_their_devices_and_no_journal():
    kept = Kept()
    one = operator(kept)
    told(one, kept, [tick(0, {FREEZER: 60}), *curve([-20], start=0.1)])
    kept.written.clear()
    told(one, kept, curve([-20] * WORTH, start=1, step=1))
    assert kept.written == {"clock": 1, f"d:{FREEZER}": 1}
    assert not kept.journal.lines


def test_ticks_alone_do_not_let_the_journal_grow():
    kept = Kept()
    one = operator(kept)
    told(one, kept, [tick(0, {FREEZER: 60}), *curve([-20], start=0.1)])
    for number in range(5 * WORTH):
        told(one, kept, curve([-20], start=1 + number / 20)[: number % WORTH == 1] + [tick(1.01 + number / 20)])
        assert len(kept.journal.lines) < WORTH
    assert kept.written[f"d:{FREEZER}"]


def test_state_of_release_0_1_0_is_taken_over_and_written_in_parts():
    log = curve([-20, -14, -14], step=1)
    before, _ = engine().advance(engine().start(STORE), log)
    kept = Kept(text=dumps(before))
    alerts = told(operator(kept), kept, curve([-14] * 31, start=3, step=1))
    assert [json.loads(alert)["event"] for alert in alerts] == ["raised"]
    assert kept.text is None
    expected, _ = engine().advance(before, curve([-14] * 31, start=3, step=1))
    assert kept.state() == dumps(expected)


def test_a_device_that_leaves_the_roster_leaves_the_state():
    other = "s001-freezer-02-t"
    kept = Kept()
    one = operator(kept)
    told(one, kept, [tick(0, {FREEZER: 60, other: 60})])
    assert f"d:{other}" in kept.parts
    told(one, kept, [tick(1, {FREEZER: 60})])
    assert f"d:{other}" not in kept.parts
    # Also where another operator has written it.
    told(one, kept, [tick(2, {FREEZER: 60, other: 60})])
    told(operator(kept), kept, [tick(3, {FREEZER: 60})])
    assert f"d:{other}" not in kept.parts


def test_what_is_no_event_is_counted_and_the_rest_decided():
    kept = Kept()
    one = operator(kept)
    counted: list[tuple[str, int]] = []
    one._counters = {name: _Counter(name, counted) for name in one._counters}
    list(one.process_element(SEPARATOR.join(["[1,1,{]", batch(curve([-20])), "👍"]).encode(), kept))
    assert counted == [("unreadable", 2)]
    assert f"d:{FREEZER}" in kept.parts


class _Counter:
    def __init__(self, name: str, counted: list[tuple[str, int]]) -> None:
        self._name, self._counted = name, counted

    def inc(self, count: int) -> None:
        self._counted.append((self._name, count))
