"""`grocery alerts ack | unack | silence | maintenance | cancel | close`: what people answer to alerts.

Each becomes an `alert-commands` event, goes through the gate to Kafka, and is answered by the job on the alert topic.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alerting.fold import Life
    from grocery.alerts.desk import Desk
    from ingestion.reference import Reference

WAIT_S = 30.0
"""The ticker relays within half a second, the job decides and commits within about two."""

Alert = Annotated[str, typer.Argument(metavar="ALERT", help="Its id, or a beginning of it that fits no other.")]
_Actor = Annotated[
    str | None,
    typer.Option(
        "--as", help="Who you are: a role or work number, not a name. Default: GROCERY_ACTOR.", metavar="ROLE"
    ),
]
_Comment = Annotated[str, typer.Option("--comment", "-m", help="Why, for those who read it later.")]
_For = Annotated[str | None, typer.Option("--for", help="For so long from now: 90m, 2h, 1h30m, 2d.", metavar="TIME")]
_Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        help="Until then: 14:30 (the next one), '2026-10-05 14:30', both in the store's time, or RFC 3339.",
        metavar="TIME",
    ),
]
_Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for the job's answer.")]
_NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait for the answer.")]
_InStore = Annotated[str, typer.Option("--store", "-s", help="The store, e.g. store-001.")]
_OfRule = Annotated[str | None, typer.Option("--rule", help="Only alerts of this rule.")]
_OfAsset = Annotated[str | None, typer.Option("--asset", help="Only this asset; the store's own id is one too.")]
_OfClass = Annotated[str | None, typer.Option("--asset-class", help="Only assets of this class, e.g. freezer.")]
_OfArea = Annotated[str | None, typer.Option("--area", help="Only assets in this area, e.g. 'Frozen aisle'.")]
_OfDevice = Annotated[str | None, typer.Option("--device", help="Only this device.")]
_OnTopic = Annotated[
    str | None,
    typer.Option("--topic", help="Only alerts of this topic, e.g. cold-chain. Default: those of the fitting rules."),
]


def acknowledge(
    alert: Alert,
    comment: _Comment,
    for_: _For = None,
    until: _Until = None,
    actor: _Actor = None,
    wait: _Wait = WAIT_S,
    no_wait: _NoWait = False,
) -> None:
    """Say that you see to an open alert, for a time; then it fires again by itself.

    An alert that gets worse fires again at once: who acknowledged a warning has not seen that it is critical now.
    Times count by your clock, which a live log follows. Exit code 0 when the job has obeyed, 1 when it has not.

    Examples:

      grocery alerts ack 3f2a9c81 --for 2h --comment "technician is on the way" --as shift-lead

      grocery alerts ack 3f2a9c81 --until 06:00 --comment "goods are moved, repair in the morning"
    """
    from grocery.alerts import find, times

    with _errors():
        by = _person(actor, 0 if no_wait else wait)
        life = find.open_alert(by.desk, alert)
        ends = times.end(for_, until, by.zone(life.now["store_id"]), by.now_ms, by.now_ms)
        by.give_about(life, "acknowledge", until=ends, comment=comment)


def unacknowledge(
    alert: Alert,
    comment: Annotated[str | None, typer.Option("--comment", "-m", help="Why.")] = None,
    actor: _Actor = None,
    wait: _Wait = WAIT_S,
    no_wait: _NoWait = False,
) -> None:
    """Take an acknowledgement back: nobody sees to the alert any more, and it fires again.

    Example:

      grocery alerts unack 3f2a9c81 --comment "technician did not come"
    """
    from grocery.alerts import find

    with _errors():
        by = _person(actor, 0 if no_wait else wait)
        by.give_about(find.open_alert(by.desk, alert), "unacknowledge", comment=comment)


def close(
    alert: Alert,
    cause: Annotated[str | None, typer.Option("--cause", help="What had failed.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="What was done.")] = None,
    goods: Annotated[
        str | None, typer.Option("--goods", help="What became of the goods: kept, moved, discarded.")
    ] = None,
    comment: Annotated[str | None, typer.Option("--comment", "-m", help="Anything else.")] = None,
    actor: _Actor = None,
    wait: _Wait = WAIT_S,
    no_wait: _NoWait = False,
) -> None:
    """Close an alert that is over: what had failed, what was done, what became of the goods.

    Which of them must be told, the alert's rule says (`closing`); what is missing is asked for where there is a
    terminal. `grocery alerts list` shows the alerts that wait to be closed.

    Example:

      grocery alerts close 3f2a9c81 --cause "door left open" --action "closed, staff told" --goods discarded
    """
    from grocery.alerts import find

    with _errors():
        by = _person(actor, 0 if no_wait else wait)
        _, life = find.find(by.desk, alert)
        find.must_be_a_stores(life)
        if life.is_closed:
            raise ValueError(f"{find.title(life)} is closed already, since {life.now['decided_at']}")
        if life.is_open:
            raise ValueError(f"{find.title(life)} is not over; acknowledge or silence it, and close it when it is")
        told = {"cause": cause, "action": action, "goods": goods}
        if life.waits_for_closing:
            told = {name: value or _ask(name) for name, value in told.items()}
        resolution = {name: value for name, value in told.items() if value}
        by.give_about(life, "close", resolution=resolution, comment=comment)


def silence(
    store: _InStore,
    comment: _Comment,
    rule: _OfRule = None,
    asset: _OfAsset = None,
    asset_class: _OfClass = None,
    area: _OfArea = None,
    device: _OfDevice = None,
    topic: _OnTopic = None,
    for_: _For = None,
    until: _Until = None,
    actor: _Actor = None,
    wait: _Wait = WAIT_S,
    no_wait: _NoWait = False,
) -> None:
    """Keep alerts quiet for a time: those of a store that fit every word given; without any, all of the store's.

    Critical ones too. They are still decided and kept, and fire when the silence is over and they still hold. A
    silence concerns the topics whose rules could fit, and each job answers for its own.

    Examples:

      grocery alerts silence --store store-001 --asset s001-freezer-02 --for 4h --comment "being emptied"

      grocery alerts silence --store store-001 --area "Frozen aisle" --rule door_left_open --until 22:00 -m "restocking"
    """
    from grocery.alerts import times

    with _errors():
        by = _person(actor, 0 if no_wait else wait)
        ends = times.end(for_, until, by.zone(store), by.now_ms, by.now_ms)
        words = _selector(rule, asset, asset_class, area, device)
        topics = _topics(by.reference, store, words, topic)
        by.give("silence", store, topics, until=ends, comment=comment, **words)


def maintenance(
    store: _InStore,
    comment: _Comment,
    rule: _OfRule = None,
    asset: _OfAsset = None,
    asset_class: _OfClass = None,
    area: _OfArea = None,
    device: _OfDevice = None,
    topic: _OnTopic = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="When it begins, written like --until. Default: now.", metavar="TIME"),
    ] = None,
    for_: Annotated[
        str | None, typer.Option("--for", help="For so long from its beginning: 90m, 2h.", metavar="TIME")
    ] = None,
    until: _Until = None,
    rrule: Annotated[
        str | None,
        typer.Option(
            "--rrule", help="It comes again: an RFC 5545 rule, in the store's time, e.g. FREQ=WEEKLY;BYDAY=MO."
        ),
    ] = None,
    lasts: Annotated[
        str | None, typer.Option("--lasts", help="With --rrule: how long each window lasts.", metavar="TIME")
    ] = None,
    actor: _Actor = None,
    wait: _Wait = WAIT_S,
    no_wait: _NoWait = False,
) -> None:
    """Announce work on some assets: their alerts are silenced meanwhile, once or in windows that come again.

    With --rrule the windows begin at the time of day of --from unless the rule names another (BYHOUR), clock changes
    included, and --until is the end of it all.

    Examples:

      grocery alerts maintenance --store store-001 --asset s001-rack-01 --from 22:00 --for 3h -m "compressor exchange"

      grocery alerts maintenance --store store-001 --asset-class freezer --from "2026-10-05 06:00" --lasts 2h
      --rrule "FREQ=WEEKLY;BYDAY=MO" --until "2026-12-31 23:59" -m "weekly cleaning"
    """
    from grocery.alerts import times
    from schemas.instants import to_rfc3339

    with _errors():
        if bool(rrule) != bool(lasts):
            raise ValueError("--rrule and --lasts go together: when it comes again, and how long each window lasts")
        if rrule and not (from_ and until):
            raise ValueError("--rrule needs --from, from which it is counted, and --until, the end of it all")
        by = _person(actor, 0 if no_wait else wait)
        zone = by.zone(store)
        begins = times.named_instant("--from", from_, zone, by.now_ms) if from_ else by.now_ms
        ends = times.end(for_, until, zone, begins, max(begins, by.now_ms))
        words: dict[str, Any] = _selector(rule, asset, asset_class, area, device)
        topics = _topics(by.reference, store, words, topic)
        if from_:
            words["from_"] = to_rfc3339(begins)
        if rrule and lasts:
            words |= {"rrule": rrule.removeprefix("RRULE:"), "lasts_s": times.named_duration("--lasts", lasts) // 1000}
        by.give("maintenance", store, topics, until=ends, comment=comment, **words)


def cancel(
    silences: Annotated[
        list[str],
        typer.Argument(metavar="SILENCE...", help="Ids, as `grocery alerts silences` shows them, or beginnings."),
    ],
    comment: Annotated[str | None, typer.Option("--comment", "-m", help="Why.")] = None,
    actor: _Actor = None,
    wait: _Wait = WAIT_S,
    no_wait: _NoWait = False,
) -> None:
    """End silences and maintenance windows before their time.

    A silence that was asked of several jobs at once is one: the part of its id before the dot ends all of it.

    Example:

      grocery alerts cancel 1f0c22d93a4e
    """
    from grocery.alerts import find
    from grocery.alerts.orders import make

    with _errors():
        by = _person(actor, 0 if no_wait else wait)
        chosen = {life.alert_id: life.now for named in silences for life in find.silences_named(by.desk, named)}
        commands = []
        for now in chosen.values():
            words = {"cancels": now["command_id"], "comment": comment}
            commands += make("cancel", now["store_id"], [now["topic"]], by.who, by.now_ms, **words)
        by.hand_in(commands)


# ---- what is meant


def _topics(reference: Reference, store: str, words: dict[str, str], topic: str | None) -> list[str]:
    """The topics that a silence concerns. Raises LookupError where no rule could fit it."""
    from alerting.rules import RuleError, parse_rules
    from grocery.alerts import find
    from grocery.alerts.orders import topics_about
    from grocery.settings import settings
    from ingestion.topics import JOB_ALERTS

    if topic:
        return [find.topic_named(topic, JOB_ALERTS)]
    folder = settings().chain / "rules"
    try:
        rule_sets = [parse_rules(file.read_text("utf-8"), str(file)) for file in sorted(folder.glob("*.yaml"))]
    except RuleError as error:
        raise ValueError(
            f"{error}\nthe rules say which jobs a silence concerns; correct them, or say --topic"
        ) from None
    found = topics_about(rule_sets, reference, store, words)
    if not found:
        said = ", ".join(f"{name} {value}" for name, value in words.items())
        raise LookupError(
            f"no rule in {folder} can be about {said or store}; see `grocery rules check`, or say --topic"
        )
    return found


def _selector(
    rule: str | None, asset: str | None, asset_class: str | None, area: str | None, device: str | None
) -> Any:
    given = {"rule": rule, "asset_id": asset, "asset_class": asset_class, "area": area, "device_id": device}
    return {name: value for name, value in given.items() if value}


# ---- who and when


def _who(actor: str | None) -> str:
    from grocery.settings import settings

    found = actor or settings().actor
    if not found:
        raise ValueError("who gives this? --as ROLE, or GROCERY_ACTOR: a role or work number, not a name")
    return found


def _ask(name: str) -> str | None:
    """What must be told and was not, from the person at the terminal; None where nobody is there."""
    import sys

    if not sys.stdin.isatty():
        return None
    asked = {"cause": "What had failed?", "action": "What was done?", "goods": "The goods: kept, moved or discarded?"}
    return typer.prompt(asked[name], default="", show_default=False) or None


def clock_ms() -> int:
    """Now, epoch milliseconds: commands count from the wall clock, which the log of a live store follows."""
    return round(time.time() * 1000)


# ---- giving it


@dataclass(frozen=True, slots=True)
class _Person:
    """Who gives commands, when, with what there is, and how long they wait for an answer (0: not at all)."""

    desk: Desk
    reference: Reference
    who: str
    now_ms: int
    wait_s: float

    def zone(self, store: str) -> str:
        """Time zone of a store. Raises LookupError."""
        known = self.reference.stores.get(store)
        if known is None:
            raise LookupError(f"{store}: no such store; there are {', '.join(sorted(self.reference.stores))}")
        return known["time_zone"]

    def give_about(self, life: Life, what: str, **words: Any) -> None:
        """A command about one alert."""
        self.give(what, life.now["store_id"], [life.now["topic"]], alert_id=life.alert_id, **words)

    def give(self, what: str, store: str, topics: Sequence[str], **words: Any) -> None:
        """The same command to the jobs of some topics."""
        from grocery.alerts.orders import make

        self.hand_in(make(what, store, topics, self.who, self.now_ms, **words))

    def hand_in(self, commands: Sequence[dict[str, Any]]) -> None:
        """Hand commands in and print what comes of them. Exit code 1 unless each was obeyed."""
        from rich.console import Console

        from grocery.alerts.orders import NoAnswer, give
        from grocery.alerts.words import line
        from grocery.gateway import open_gate

        console, errors = Console(), Console(stderr=True)
        names = ", ".join(command["event_id"] for command in commands)
        missing = ""
        with console.status(f"Waiting for the answer to {names}…"):
            try:
                answered = give(self.desk, open_gate(self.reference), commands, self.now_ms, self.wait_s)
            except NoAnswer as error:
                answered, missing = error.answered, str(error)
        for event in answered:
            console.print(line(event), soft_wrap=True, highlight=False)
        if not self.wait_s:
            console.print(f"{names} given; `grocery alerts watch` shows the answer.", highlight=False, soft_wrap=True)
        if missing:
            errors.print(missing, style="red", markup=False, highlight=False, soft_wrap=True)
        if missing or any(event["event"] == "rejected" for event in answered):
            raise typer.Exit(1)


def _person(actor: str | None, wait_s: float) -> _Person:
    from grocery.alerts.desk import open_desk

    who, desk = _who(actor), open_desk()
    return _Person(desk, desk.reference(), who, clock_ms(), wait_s)


def _errors() -> AbstractContextManager[None]:
    from grocery.gateway import clear_errors

    return clear_errors()
