"""`grocery alerts` as a person meets it: what is shown, what is answered, and what is refused."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from grocery.cli import app
from grocery.commands import alerts, attend
from grocery.settings import PROJECT, settings
from ingestion.reference import Reference
from schemas.contract import contract
from schemas.instants import to_ms
from schemas.validate import validator
from tests.grocery.alerts.counter import COLD, FREEZER, NOW, QUEUE, STORE, MemoryDesk

HOUR = 3_600_000


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[MemoryDesk]:
    """The desk that the commands use. The chain has the cold-chain rules and one about queues."""
    rules = tmp_path / "chain" / "rules"
    rules.mkdir(parents=True)
    (rules / "cold_chain.yaml").write_text(COLD, "utf-8")
    (rules / "queue.yaml").write_text(QUEUE, "utf-8")
    here = MemoryDesk()
    monkeypatch.setattr("grocery.alerts.desk.open_desk", lambda: here)
    monkeypatch.setattr("grocery.commands.attend.clock_ms", lambda: NOW)
    monkeypatch.setattr("grocery.alerts.orders.POLL_S", 0.01)
    monkeypatch.setenv("GROCERY_HOME", str(tmp_path))
    monkeypatch.setenv("GROCERY_CHAIN", str(tmp_path / "chain"))
    monkeypatch.setenv("GROCERY_ACTOR", "shift-lead")
    monkeypatch.setenv("COLUMNS", "200")
    settings.cache_clear()
    yield here
    monkeypatch.undo()
    settings.cache_clear()


def grocery(*words: str) -> Result:
    done = CliRunner().invoke(app, ["alerts", *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def refused(*words: str) -> str:
    """What a command that fails says, on one line."""
    done = grocery(*words)
    assert done.exit_code == 1, done.stdout
    return " ".join(done.stderr.split())


def obeyed(*words: str) -> str:
    done = grocery(*words)
    assert done.exit_code == 0, done.stderr
    return " ".join(done.stdout.split())


# ---- answering


def test_who_acknowledges_reads_that_the_job_has_obeyed(desk: MemoryDesk):
    alert = desk.warm_freezer()
    said = obeyed("ack", alert[:6], "--for", "2h", "--comment", "technician is on the way")
    assert re.search(r"acknowledged warning store-001 s001-freezer-01 freezer_too_warm until .*Z by shift-lead", said)
    (command,) = desk.commands.values()
    assert to_ms(command["until"]) - to_ms(command["event_time"]) == 2 * HOUR
    assert desk.events[-1]["comment"] == "technician is on the way"


def test_a_command_keeps_its_contract(desk: MemoryDesk):
    alert = desk.warm_freezer()
    obeyed("ack", alert, "--for", "2h", "-m", "seen")
    obeyed("unack", alert)
    obeyed("silence", "-s", STORE, "--asset", FREEZER, "--for", "1h", "-m", "being emptied")
    obeyed("maintenance", "-s", STORE, "--from", "23:30", "--for", "1h", "-m", "cleaning")
    obeyed("cancel", next(name for name, item in desk.commands.items() if item["command"] == "silence"))
    breaches = validator(contract("alert-commands"))
    assert [breaches(command) for command in desk.commands.values()] == [[]] * len(desk.commands)
    assert {item["command"] for item in desk.commands.values()} == {
        "acknowledge",
        "unacknowledge",
        "silence",
        "maintenance",
        "cancel",
    }


def test_an_acknowledgement_can_be_taken_back_and_only_once(desk: MemoryDesk):
    alert = desk.warm_freezer()
    obeyed("ack", alert, "--for", "2h", "-m", "seen")
    assert "ack_expired" in obeyed("unack", alert, "--as", "store-manager")
    done = grocery("unack", alert)
    assert done.exit_code == 1
    assert f"alert {alert} is not acknowledged" in done.stdout
    assert "rejected" in done.stdout


def test_a_silence_concerns_only_the_jobs_whose_rules_could_fit(desk: MemoryDesk):
    desk.warm_freezer()
    obeyed("silence", "-s", STORE, "--asset", FREEZER, "--for", "4h", "-m", "being emptied")
    assert [command["topic"] for command in desk.commands.values()] == ["alerts.cold-chain"]
    assert desk.events[-1]["status"] == "silenced"
    obeyed("silence", "-s", STORE, "--rule", "wait_too_long", "--for", "4h", "-m", "only one till today")
    assert [command["topic"] for command in desk.commands.values()][1:] == ["alerts.queue"]


def test_a_whole_stores_silence_goes_to_every_job_and_is_one_to_cancel(desk: MemoryDesk):
    obeyed("silence", "-s", STORE, "--for", "4h", "-m", "moving house")
    first, second = desk.commands
    assert (first.partition(".")[2], second.partition(".")[2]) == ("cold-chain", "queue")
    shown = obeyed("silences")
    assert "the whole store" in shown
    assert "2 in force" in shown
    said = obeyed("cancel", first.partition(".")[0], "-m", "not today")
    assert said.count("unsilenced") == 2
    assert obeyed("silences") == "0 in force"


def test_a_silence_that_no_rule_could_fit_is_refused_at_once(desk: MemoryDesk):
    said = refused("silence", "-s", STORE, "--rule", "freezer_too_worm", "--for", "4h", "-m", "x")
    assert "can be about rule freezer_too_worm" in said
    assert desk.commands == {}


def test_what_the_job_refuses_is_told_with_its_reason(desk: MemoryDesk):
    done = grocery("silence", "-s", STORE, "--area", "Attic", "--topic", "queue", "--for", "1h", "-m", "x")
    assert done.exit_code == 1
    assert "area (Attic) is no area of store-001; there are frozen" in done.stdout


def test_what_the_gate_refuses_is_told_at_once_and_not_sent(desk: MemoryDesk):
    topic = ("--topic", "cold-chain")
    said = refused("silence", "-s", STORE, "--asset", "s002-freezer-01", *topic, "--for", "1h", "-m", "x")
    assert "the gate refuses this, nothing was sent: asset_id: s002-freezer-01 stands in store-002" in said
    assert desk.commands == {}


def test_maintenance_that_comes_again_is_counted_in_the_stores_own_time(desk: MemoryDesk):
    monday = "2027-01-04 06:00"
    words = ("--rrule", "FREQ=WEEKLY;BYDAY=MO", "--lasts", "2h", "--from", monday, "--until", "2027-03-31 23:59")
    obeyed("maintenance", "-s", STORE, "--asset-class", "freezer", *words, "-m", "weekly cleaning")
    (command,) = desk.commands.values()
    assert (command["from"], command["lasts_s"]) == ("2027-01-04T13:00:00.000Z", 7200)  # Denver is at UTC-7 then
    assert command["until"] == "2027-04-01T05:59:00.000Z"  # and at UTC-6 by then
    shown = obeyed("silences")
    assert "class freezer; FREQ=WEEKLY;BYDAY=MO for 2 h, next Mon 01-04 06:00 America/Denver" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rrule", "FREQ=WEEKLY"), "--rrule and --lasts go together"),
        (("--rrule", "FREQ=WEEKLY", "--lasts", "1h"), "--rrule needs --from"),
        ((), "say how long, either --for 2h or --until 14:30"),
        (("--for", "2h", "--until", "14:30"), "say how long, either --for 2h or --until 14:30"),
        (("--for", "soon"), "--for soon: a duration is written like 90s, 30m, 4h or 1h30m"),
        (("--until", "2020-01-01T00:00:00Z"), "is over; it must lie after"),
        (("--until", "tomorrow"), "--until tomorrow: no time; write 2026-10-05T14:30:00Z, 2026-10-05 14:30 or 14:30"),
    ],
)
def test_a_time_that_cannot_be_meant_is_named(desk: MemoryDesk, words: tuple[str, ...], said: str):
    assert said in refused("maintenance", "-s", STORE, "-m", "x", *words)


def test_without_saying_who_nothing_is_given(desk: MemoryDesk, monkeypatch):
    alert = desk.warm_freezer()
    monkeypatch.delenv("GROCERY_ACTOR")
    settings.cache_clear()
    assert "--as ROLE, or GROCERY_ACTOR" in refused("ack", alert, "--for", "2h", "-m", "seen")
    obeyed("ack", alert, "--for", "2h", "-m", "seen", "--as", "w-10442")
    assert desk.events[-1]["actor"] == "w-10442"


@pytest.mark.parametrize(("ticking", "hint"), [(False, "grocery ingest ticker"), (True, "grocery stream status")])
def test_no_answer_says_what_does_not_run(desk: MemoryDesk, ticking: bool, hint: str):
    alert = desk.warm_freezer()
    desk.answering, desk.ticking = False, ticking
    said = refused("ack", alert, "--for", "2h", "-m", "seen", "--wait", "0.05")
    assert "no answer on alerts.cold-chain within 0.05 s" in said
    assert hint in said


def test_who_does_not_wait_is_told_where_the_answer_will_be(desk: MemoryDesk):
    alert = desk.warm_freezer()
    desk.answering = False
    assert "given; `grocery alerts watch` shows the answer" in obeyed(
        "ack", alert, "--for", "2h", "-m", "seen", "--no-wait"
    )


# ---- closing


def test_closing_tells_cause_action_and_goods(desk: MemoryDesk):
    alert = desk.over()
    assert f"grocery alerts close {alert[:8]}" in refused("ack", alert, "--for", "1h", "-m", "x")
    told = ("--cause", "door left open", "--action", "closed it", "--goods", "discarded")
    assert "cause door left open, action closed it, goods discarded" in obeyed("close", alert, *told)
    assert "is closed already" in refused("close", alert, *told)
    assert desk.events[-1]["resolution"]["goods"] == "discarded"


def test_closing_says_what_is_still_asked_for(desk: MemoryDesk):
    done = grocery("close", desk.over(), "--cause", "door left open")
    assert done.exit_code == 1
    assert "closing freezer_too_warm asks for action, goods in resolution" in done.stdout


def test_goods_that_were_eaten_are_refused_at_the_gate(desk: MemoryDesk):
    assert "goods" in refused("close", desk.over(), "--cause", "a", "--action", "b", "--goods", "eaten")
    assert desk.commands == {}


def test_what_is_not_over_cannot_be_closed(desk: MemoryDesk):
    assert "is not over; acknowledge or silence it" in refused("close", desk.warm_freezer(), "--cause", "x")


# ---- naming an alert


def test_an_id_that_names_none_or_several_says_so(desk: MemoryDesk):
    desk.warm_freezer()
    assert "zz: none of 1 alerts begins so; see `grocery alerts list --all`" in refused("show", "zz")
    twin = desk.events[-1]
    desk.events.append(twin | {"alert_id": twin["alert_id"][:10] + "x" * 22, "asset_id": "s001-freezer-02"})
    said = refused("ack", twin["alert_id"][:10], "--for", "2h", "-m", "seen")
    assert f"{twin['alert_id'][:10]}: 2 alerts begin so; give more of the id" in said
    assert f"{twin['alert_id'][:11]} warning freezer_too_warm on s001-freezer-01, firing" in said
    obeyed("ack", twin["alert_id"][:11], "--for", "2h", "-m", "seen")


def test_a_silence_is_no_alert(desk: MemoryDesk):
    obeyed("silence", "-s", STORE, "--asset", FREEZER, "--for", "4h", "-m", "being emptied")
    (named,) = desk.commands
    assert "names a command, not an alert" in refused("show", named)
    assert "0 open, 0 over" in obeyed("list", "--all")


def test_an_alert_about_the_platform_takes_no_commands(desk: MemoryDesk):
    alert = desk.warm_freezer()
    desk.events[:] = [event | {"store_id": "chain"} for event in desk.events]
    assert "is about the platform and takes no commands" in refused("ack", alert, "--for", "2h", "-m", "seen")
    desk.events[:] = [event | {"store_id": STORE, "topic": "alerts.platform"} for event in desk.events]
    assert "is about the platform and takes no commands" in refused("ack", alert, "--for", "2h", "-m", "seen")
    said = refused("silence", "-s", STORE, "--topic", "platform", "--for", "2h", "-m", "seen")
    assert "--topic platform: no such alert topic" in said


# ---- seeing


def listed(*words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in grocery("list", "--json", *words).stdout.splitlines()]


def test_the_list_has_what_is_open_worst_first_and_what_waits_to_be_closed(desk: MemoryDesk):
    waiting = desk.over()
    desk.temperatures([3, *[9] * 8], start=100, asset="s001-cooler-01")
    desk.temperatures([-14] * 8, start=100)
    found = listed()
    assert [(alert["severity"], alert["status"], alert["rule"]) for alert in found] == [
        ("critical", "firing", "cooler_too_warm"),
        ("warning", "firing", "freezer_too_warm"),
        ("critical", "resolved", "freezer_too_warm"),
    ]
    shown = obeyed("list")
    assert "over, to be closed" in shown
    assert "2 open, 1 over and to be closed, 0 over" in shown
    assert waiting[:8] in shown


@pytest.mark.parametrize(
    ("words", "rules"),
    [
        (("--severity", "critical"), {"cooler_too_warm"}),
        (("--severity", "warning"), {"freezer_too_warm"}),
        (("--rule", "cooler_too_warm"), {"cooler_too_warm"}),
        (("--status", "acknowledged"), {"freezer_too_warm"}),
        (("--status", "firing", "--status", "acknowledged"), {"cooler_too_warm", "freezer_too_warm"}),
        (("--topic", "cold-chain"), {"cooler_too_warm", "freezer_too_warm"}),
        (("--topic", "alerts.queue"), set()),
        (("--store", "store-002"), set()),
    ],
)
def test_the_list_can_be_narrowed(desk: MemoryDesk, words: tuple[str, ...], rules: set[str]):
    alert = desk.warm_freezer()
    desk.temperatures([3, *[9] * 8], start=60, asset="s001-cooler-01")
    obeyed("ack", alert, "--for", "2h", "-m", "seen")
    assert {alert["rule"] for alert in listed(*words)} == rules


def test_the_list_says_until_when_and_by_whom(desk: MemoryDesk):
    obeyed("ack", desk.warm_freezer(), "--for", "2h", "-m", "seen")
    assert re.search(r"acknowledged until \d\d-\d\d \d\d:\d\dZ by shift-lead", obeyed("list"))


def test_the_watchdog_is_no_news(desk: MemoryDesk):
    desk.warm_freezer()
    desk.events.append(desk.events[-1] | {"alert_id": "w" * 32, "rule": "watchdog", "store_id": "chain"})
    assert len(listed()) == 1
    assert len(listed("--all")) == 2
    assert "watchdog" not in obeyed("watch", "-b", "-n", "1")
    assert "watchdog" in obeyed("watch", "-b", "-n", "2", "--all")


def test_watching_shows_answers_too(desk: MemoryDesk):
    obeyed("silence", "-s", STORE, "--asset", FREEZER, "--for", "4h", "-m", "being emptied")
    said = obeyed("watch", "-b", "-n", "1", "--severity", "critical")
    assert re.search(
        r"silenced info store-001 s001-freezer-01 alert-command until .* by shift-lead \(being emptied\)", said
    )


def test_an_alerts_story_has_its_life_and_what_can_be_done(desk: MemoryDesk):
    alert = desk.warm_freezer()
    obeyed("ack", alert, "--for", "2h", "-m", "technician called")
    shown = obeyed("show", alert[:5])
    for part in (
        f"id {alert}",
        "where s001-freezer-01 (s001-freezer-01-t, temperature), store-001",
        "limit above -15 °C",
        "worst -14 °C",
        "action Close the doors.",
        "runbook https://runbooks.example/freezer",
        "labels team=refrigeration",
        "told on alerts.cold-chain, rule version",
        "acknowledged warning acknowledged until",
        "(technician called)",
        f"grocery alerts unack {alert[:8]} # nobody sees to it any more",
        "grocery alerts silence --store store-001 --asset s001-freezer-01 --rule freezer_too_warm --for 4h",
    ):
        assert part in shown, f"{part} is not in {shown}"
    assert [json.loads(line)["event"] for line in grocery("show", alert, "--json").stdout.splitlines()] == [
        "raised",
        "acknowledged",
    ]


def test_what_a_story_proposes_is_obeyed_as_it_stands(desk: MemoryDesk):
    """Every command that `show` proposes, typed as it is printed."""
    alert = desk.warm_freezer()
    tried = []
    for _ in range(4):
        proposals = [
            shlex.split(line.partition("  # ")[0])[2:]
            for line in grocery("show", alert).stdout.split("What can be done")[1].splitlines()
            if line.strip().startswith("grocery alerts")
        ]
        fresh = next((words for words in proposals if words[0] not in tried), None)
        if fresh is None:
            break
        tried.append(fresh[0])
        obeyed(*fresh)
    assert tried == ["ack", "unack", "silence", "cancel"]


def test_a_member_points_to_the_alert_that_it_is_part_of(desk: MemoryDesk):
    alert = desk.warm_freezer()
    desk.events.append(desk.events[-1] | {"sequence": 2, "event": "masked", "status": "masked", "part_of": "feed" * 8})
    shown = obeyed("show", alert)
    assert "masked as part of feedfeed" in shown
    assert "grocery alerts show feedfeed" in shown


@cache
def shipped_chain() -> Reference:
    return Reference.from_folder(PROJECT / "chain")


def examples() -> list[str]:
    """Every `grocery alerts …` that docs/alerts.md and the commands' help show, one line each."""
    guide = (PROJECT / "docs" / "alerts.md").read_text("utf-8").replace("\\\n", "")
    typed = [line for fence in guide.split("```\n")[1::2] for line in fence.splitlines()]
    for command in (attend.acknowledge, attend.unacknowledge, attend.silence, attend.maintenance, attend.cancel):
        typed += [" ".join(part.split()) for part in (command.__doc__ or "").split("\n\n")]
    return [line.partition("  # ")[0].strip() for line in typed if line.strip().startswith("grocery alerts ")]


@pytest.mark.parametrize("typed", examples())
def test_what_the_guide_and_the_help_show_works_as_it_stands(desk: MemoryDesk, typed: str, monkeypatch):
    """In the shipped chain. Ids stand for the alert or silence that is there."""
    monkeypatch.setenv("GROCERY_CHAIN", str(PROJECT / "chain"))
    settings.cache_clear()
    rules = sorted((PROJECT / "chain" / "rules").glob("*.yaml"))
    here = MemoryDesk(shipped_chain(), [path.read_text("utf-8") for path in rules])
    monkeypatch.setattr("grocery.alerts.desk.open_desk", lambda: here)
    words = shlex.split(typed)[2:]
    alert = here.over() if words[0] == "close" else here.warm_freezer()
    if words[0] == "unack":
        obeyed("ack", alert, "--for", "2h", "-m", "seen")
    if words[0] == "cancel":
        obeyed("silence", "-s", STORE, "--for", "2h", "-m", "quiet")
    if words[0] == "watch":
        words += ["--from-beginning", "--count", "1"]
        here.events += [event | {"alert_id": "c" * 32, "severity": "critical"} for event in here.events]
    silence = next(iter(here.commands), "").partition(".")[0]
    obeyed(*(word.replace("3f2a9c81", alert).replace("1f0c22d93a4e", silence) for word in words))


def test_the_guide_shows_every_command():
    shown = {shlex.split(line)[2] for line in examples()}
    assert shown == {command.name or command.callback.__name__ for command in alerts.app.registered_commands}


def test_a_clock_time_is_the_next_one_in_the_stores_time(desk: MemoryDesk):
    alert = desk.warm_freezer()
    obeyed("ack", alert, "--until", "06:00", "-m", "in the morning")
    (command,) = desk.commands.values()
    assert command["until"] == "2026-10-06T12:00:00.000Z"
