"""The guard's alerts as events: one alert a thing, whatever happens to the guard or the broker."""

from __future__ import annotations

from alerting.rules import parse_rules
from grocery.settings import PROJECT
from guard.book import BEAT_S, REMIND_S, WATCHDOG, Book
from guard.judge import RULES, Thing, Trouble
from ingestion.topics import PLATFORM_ALERTS
from schemas.contract import contract
from schemas.instants import to_rfc3339
from schemas.validate import validator

NOON = 1_795_608_000_000
DOWN = Thing("job_not_running", "chain", "cold_chain")
SILENT = Thing("store_unmonitored", "chain", "ticker")
WRONG = {DOWN: Trouble(41.0, "cold_chain has not run for 41 s: it is FAILED")}


class Topic:
    """What a book has told, and what a guard that begins anew finds there."""

    def __init__(self) -> None:
        self.events: list[dict] = []
        self.book = Book()

    def advance(self, troubles=None, fine=None, at_s: float = 0.0, deliver: bool = True) -> list[dict]:
        self.book.advance(troubles or {}, fine or {}, NOON + round(at_s * 1000))
        return self.deliver() if deliver else []

    def beat(self, at_s: float, deliver: bool = True) -> list[dict]:
        self.book.beat(NOON + round(at_s * 1000))
        return self.deliver() if deliver else []

    def deliver(self) -> list[dict]:
        fresh = []
        while self.book.pending:
            fresh.append(self.book.pending[0])
            self.book.delivered()
        self.events += fresh
        return fresh

    def anew(self, at_s: float = 0.0) -> None:
        """The guard is killed and begins again."""
        self.book = Book()
        self.book.adopt(self.events, NOON + round(at_s * 1000))


def steps(events: list[dict]) -> list[tuple[str, str, int]]:
    return [(event["rule"], event["event"], event["sequence"]) for event in events]


def test_a_trouble_is_raised_once_and_resolved_once_under_one_id():
    topic = Topic()
    (raised,) = topic.advance(WRONG)
    assert topic.advance(WRONG, at_s=5) == []
    (resolved,) = topic.advance(fine={DOWN: ""}, at_s=60)
    assert topic.advance(fine={DOWN: ""}, at_s=65) == []
    assert steps([raised, resolved]) == [(DOWN.rule, "raised", 1), (DOWN.rule, "resolved", 2)]
    assert raised["alert_id"] == resolved["alert_id"]
    assert raised["starts_at"] == resolved["starts_at"] == to_rfc3339(NOON - 41_000)
    assert resolved["ends_at"] == resolved["decided_at"] == to_rfc3339(NOON + 60_000)
    assert (raised["severity"], raised["topic"], raised["store_id"]) == ("critical", PLATFORM_ALERTS, "chain")


def test_the_same_trouble_again_is_another_alert():
    topic = Topic()
    topic.advance(WRONG)
    topic.advance(fine={DOWN: ""}, at_s=60)
    topic.advance(WRONG, at_s=600)
    assert len({event["alert_id"] for event in topic.events}) == 2


def test_what_is_not_known_now_changes_nothing():
    topic = Topic()
    topic.advance(WRONG)
    assert topic.advance({}, {}, at_s=5) == []
    assert topic.book.open.keys() == {DOWN}


def test_every_event_keeps_the_contract():
    topic, breaches = Topic(), validator(contract("alert"))
    troubles = {Thing(name, "chain", "broker"): Trouble(50.0, f"{name} is so") for name in RULES}
    troubles[SILENT] = Trouble(50.0, "2 stores are unmonitored", ("store-001", "store-002"))
    topic.advance(troubles)
    topic.advance({SILENT: Trouble(55.0, "1 store is unmonitored", ("store-001",))}, at_s=5)
    topic.beat(5)
    topic.beat(40)
    topic.advance(fine=dict.fromkeys(troubles, "it is over"), at_s=60)
    assert len(topic.events) == 2 * len(troubles) + 3
    for event in topic.events:
        assert breaches(event) == [], event


def test_an_alert_that_stands_for_stores_is_told_again_when_they_change():
    topic = Topic()
    topic.advance({SILENT: Trouble(40.0, "two", ("store-001", "store-002"))})
    assert topic.advance({SILENT: Trouble(45.0, "two", ("store-001", "store-002"))}, at_s=5) == []
    (updated,) = topic.advance({SILENT: Trouble(50.0, "three", ("store-001", "store-002", "store-003"))}, at_s=10)
    assert (updated["event"], updated["annotations"]["summary"]) == ("updated", "three")
    assert [member["asset_id"] for member in updated["members"]] == ["store-001", "store-002", "store-003"]


def test_a_guard_that_begins_anew_goes_on_with_its_open_alerts():
    topic = Topic()
    topic.advance(WRONG)
    topic.beat(0)
    topic.anew()
    assert topic.book.open.keys() == {DOWN}
    assert topic.advance(WRONG, at_s=5) == []
    assert topic.beat(5) == []
    (beat,) = topic.beat(BEAT_S)
    (resolved,) = topic.advance(fine={DOWN: ""}, at_s=60)
    assert steps([beat, resolved]) == [(WATCHDOG.name, "updated", 2), (DOWN.rule, "resolved", 2)]
    assert len({event["alert_id"] for event in topic.events}) == 2
    topic.anew()
    assert topic.book.open == {}


def test_what_was_found_before_the_topic_could_be_read_becomes_the_alert_that_is_open_there():
    topic = Topic()
    topic.advance(WRONG)
    topic.book = Book()
    topic.advance(WRONG, at_s=300, deliver=False)
    topic.book.adopt(topic.events, NOON + 300_000)
    assert topic.deliver() == []
    (resolved,) = topic.advance(fine={DOWN: ""}, at_s=360)
    assert (resolved["alert_id"], resolved["sequence"]) == (topic.events[0]["alert_id"], 2)


def test_nothing_is_lost_while_the_broker_is_away():
    topic = Topic()
    topic.advance(WRONG, deliver=False)
    topic.advance(fine={DOWN: ""}, at_s=60, deliver=False)
    topic.book.adopt(topic.events, NOON + 60_000)
    assert steps(topic.deliver()) == [(DOWN.rule, "raised", 1), (DOWN.rule, "resolved", 2)]


def test_a_delivery_that_came_through_though_nobody_heard_so_is_not_repeated():
    topic = Topic()
    topic.advance(WRONG, deliver=False)
    topic.events = list(topic.book.pending)
    topic.book.adopt(topic.events, NOON)
    assert topic.deliver() == []
    assert steps(topic.advance(fine={DOWN: ""}, at_s=60)) == [(DOWN.rule, "resolved", 2)]


def test_two_guards_at_once_end_with_one_alert():
    topic, other = Topic(), Topic()
    topic.advance(WRONG)
    other.advance(WRONG, at_s=2)
    topic.events += other.events
    topic.anew(at_s=60)
    (ended,) = topic.deliver()
    assert (ended["event"], ended["alert_id"]) == ("resolved", other.events[0]["alert_id"])
    assert ended["reason"] == f"told twice; alert {topic.events[0]['alert_id']} goes on"
    assert topic.book.open[DOWN].alert_id == topic.events[0]["alert_id"]


def test_the_watchdog_beats_every_30_s_as_one_alert_without_end():
    topic = Topic()
    for second in range(0, 3600, 5):
        topic.beat(second)
    assert steps(topic.events) == [
        (WATCHDOG.name, "raised" if number == 1 else "updated", number) for number in range(1, 121)
    ]
    assert {(event["alert_id"], event["status"], event["severity"]) for event in topic.events} == {
        (topic.events[0]["alert_id"], "firing", "info")
    }


def test_an_hour_without_the_broker_leaves_one_beat():
    topic = Topic()
    topic.beat(0)
    for second in range(30, 3600, 5):
        topic.beat(second, deliver=False)
    assert steps(topic.deliver()) == [(WATCHDOG.name, "updated", 2)]


def test_an_open_alert_is_told_again_every_day():
    topic = Topic()
    topic.advance(WRONG)
    assert topic.advance(WRONG, at_s=REMIND_S - 1) == []
    (again,) = topic.advance(WRONG, at_s=REMIND_S)
    assert (again["event"], again["reason"]) == ("updated", "told again, it still lasts")


def test_no_job_writes_to_the_guards_topic():
    """What a job that died had not committed would hide the guard's alerts from whoever reads committed records."""
    files = sorted((PROJECT / "chain" / "rules").glob("*.yaml"))
    topics = {parse_rules(file.read_text("utf-8"), str(file)).topic for file in files}
    assert topics
    assert PLATFORM_ALERTS not in topics
