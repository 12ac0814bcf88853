"""What a label may expect."""

import pytest

from alerting.language import Rule
from alerting.rules import parse_rules
from grocery.settings import PROJECT
from grocery.simulator.labels import (
    SILENT,
    SILENT_METRICS,
    STUCK,
    STUCK_FOR,
    TOO_WARM,
    Label,
    longest_gap,
    read_labels,
    silent_after,
    too_warm,
    write_labels,
)
from grocery.simulator.shop_labels import (
    EMPTY,
    EMPTY_FOR,
    PHANTOM,
    PHANTOM_ABOVE,
    PHANTOM_FOR,
    PHANTOM_GAPS,
    SHORT,
    SHORT_ABOVE,
    SHORT_FOR,
    WAIT,
    WAIT_FOR,
    WAIT_S,
    longest,
    stopped_selling,
)
from streaming_jobs.checkout_queue.queues import PER_LANE, STANDARD
from streaming_jobs.shelf.shelves import ENOUGH_GAPS

MINUTE = 60_000
FREEZER = TOO_WARM["freezer"]


def minutes(*spans: tuple[int, float]) -> list[tuple[int, float]]:
    """(how many minutes, at which temperature) one after the other, a reading a minute."""
    values = [value for count, value in spans for _ in range(count)]
    return [(at * MINUTE, value) for at, value in enumerate(values)]


def test_too_warm_for_long_enough_is_told_once_from_its_first_breach():
    assert too_warm(minutes((10, -20.0), (60, -14.0), (10, -20.0)), [], FREEZER) == [10 * MINUTE]


def test_one_reading_back_begins_the_wait_anew():
    assert too_warm(minutes((29, -14.0), (1, -16.0), (29, -14.0)), [], FREEZER) == []


def test_a_defrost_hides_a_warning_until_an_hour_after_its_end():
    defrost = [(0, True), (30 * MINUTE, False)]
    assert too_warm(minutes((89, -14.0)), defrost, FREEZER) == []
    assert too_warm(minutes((95, -14.0)), defrost, FREEZER) == [0]


def test_the_critical_level_breaks_through_a_defrost():
    assert too_warm(minutes((40, -10.0)), [(0, True), (20 * MINUTE, False)], FREEZER) == [0]


def test_a_defrost_that_lasts_too_long_hides_nothing():
    assert too_warm(minutes((70, -14.0)), [(0, True)], FREEZER) == [0]


def test_a_margin_asks_for_more_than_the_rule():
    near = minutes((32, -14.9))
    assert too_warm(near, [], FREEZER) == [0]
    assert too_warm(near, [], FREEZER, margin_c=0.3) == []
    assert too_warm(near, [], FREEZER, margin_ms=5 * MINUTE) == []


def test_a_gap_counts_where_it_overlaps_the_fault():
    arrivals = [0, 60_000, 600_000, 660_000, 1_400_000]
    assert longest_gap(arrivals, 100_000, 500_000) == 540_000
    assert longest_gap(arrivals, 601_000, 650_000) == 60_000


def test_the_longest_run_is_measured_from_its_first_to_its_last_sample():
    assert longest([(0, True), (10, False), (20, True), (30, True), (50, True), (60, False)]) == 30
    assert longest([(0, False)]) == longest([]) == 0


def test_a_product_has_stopped_selling_by_its_own_usual_gap():
    sold = list(range(0, 300, 10))
    assert stopped_selling(sold, 290 + 60) == 6.0
    assert stopped_selling(sold[:10], 1000) == 0.0


def shipped(job: str) -> dict[str, Rule]:
    path = PROJECT / "chain" / "rules" / f"{job}.yaml"
    return {rule.alert: rule for rule in parse_rules(path.read_text("utf-8"), str(path)).rules}


def test_limits_of_queues_and_shelves_are_those_of_the_shipped_rules():
    rules = shipped("checkout_queue") | shipped("shelf")
    assert (rules[WAIT].raise_above, rules[WAIT].for_ms) == (WAIT_S, WAIT_FOR)
    assert (rules[SHORT].raise_above, rules[SHORT].for_ms) == (0.5, SHORT_FOR)
    assert rules[EMPTY].for_ms == EMPTY_FOR
    assert (rules[PHANTOM].raise_above, rules[PHANTOM].for_ms) == (PHANTOM_ABOVE, PHANTOM_FOR)
    assert (PER_LANE / STANDARD, ENOUGH_GAPS) == (SHORT_ABOVE, PHANTOM_GAPS)


def test_limits_are_those_of_the_shipped_rules():
    rules = shipped("cold_chain")
    assert set(rules) >= {limits.rule for limits in TOO_WARM.values()} | {SILENT, STUCK}
    assert rules[STUCK].stuck_for_ms == STUCK_FOR
    for asset_class, limits in TOO_WARM.items():
        rule = rules[limits.rule]
        assert list(rule.select.asset_class) == [asset_class]
        levels = [(rule.raise_above, rule.for_ms, True)]
        levels += [(rule.raise_above if s.above is None else s.above, s.for_ms, False) for s in rule.escalate]
        assert tuple(levels) == limits.levels
        assert [(m.state, m.longest_ms, m.after_ms) for m in rule.mask] == [
            ("defrost", limits.mask_at_most, limits.mask_after)
        ]
    assert set(rules[SILENT].select.metric) >= set(SILENT_METRICS)
    for interval_s in (10, 60, 300, 900):
        assert rules[SILENT].absent_for.after_ms(interval_s) == silent_after(interval_s)


@pytest.mark.parametrize("what", [None, "wrong-unit"])
def test_labels_are_read_as_they_were_written(tmp_path, what):
    label = Label("slow-leak", "store-001", "a", ("a", "b"), "1", "2", "3", 0.5, ("freezer_too_warm",), what)
    assert write_labels([label], tmp_path / "labels.ndjson") == 1
    assert read_labels(tmp_path / "labels.ndjson") == [label]
