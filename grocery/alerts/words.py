"""Alerts as people read them: lines, tables, one alert's story. Times are UTC and end in Z, unless a zone is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.table import Table
from rich.text import Text

from alerting import hours
from alerting.events import StoreInfo
from alerting.fold import Life, worst_first
from alerting.rules import OWN_LABELS
from alerting.words import duration, shown_unit
from schemas.instants import to_ms, to_rfc3339

Event = dict[str, Any]
COLOURS = {"info": "cyan", "warning": "yellow", "critical": "red"}
SHORT = 8
"""Characters of an alert's id that are shown, more where two would look the same."""


def minute(instant: str, beside: str = "") -> str:
    """`10-05 08:40Z`; with the year where another instant that stands beside it has another."""
    return instant[0 if beside and beside[:4] != instant[:4] else 5 : 16].replace("T", " ") + "Z"


def short_ids(lives: Sequence[Life]) -> dict[str, str]:
    """The shortest beginning of each id, `SHORT` at least, that names it alone among these."""
    ids = sorted(life.alert_id for life in lives)
    found = {}
    for place, named in enumerate(ids):
        around = ids[max(place - 1, 0) : place] + ids[place + 1 : place + 2]
        shared = max((_common(named, other) for other in around), default=0)
        found[named] = named[: max(SHORT, shared + 1)]
    return found


def _common(one: str, other: str) -> int:
    return next(
        (n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )


def line(event: Event) -> Text:
    """One alert event, or one answer to a command, as a line: when it was decided, what happened, how bad, where, and
    the rule's own words."""
    colour = "green" if event["status"] == "resolved" else COLOURS[event["severity"]]
    if event["event"] == "rejected":
        colour = "red"
    return Text.assemble(
        (event["decided_at"][:19].replace("T", " ") + "Z ", "dim"),
        (f"{event['event']:<13}", colour),
        (f"{event['severity']:<9}", colour),
        f"{event['store_id']} {event['asset_id']} {event['rule']}  ",
        (said(event), "" if event["event"] == "resolved" else "bold"),
        *(((" (told after the fact)", "dim"),) if event.get("retrospective") else ()),
    )


def said(event: Event) -> str:
    """Why, until when, and by whom; else the rule's own words."""
    what = event["event"]
    by_people = " ".join(_by_people(event))
    if what in ("acknowledged", "silenced", "masked", "unsilenced", "ack_expired", "closed") and by_people:
        return by_people
    if "reason" in event:
        return event["reason"]
    if what == "resolved":
        return f"{event.get('device_id', event['asset_id'])} is back" + (
            "; to be closed with cause, action and goods" if event.get("needs_closing") else ""
        )
    if what == "updated" and "members" in event:
        return "members: " + ", ".join(member["asset_id"] for member in event["members"])
    return event["annotations"].get("summary", "")


def _by_people(event: Event) -> Iterator[str]:
    if "resolution" in event:
        yield ", ".join(f"{name} {value}" for name, value in event["resolution"].items())
    elif "reason" in event:
        yield event["reason"]
    if "until" in event:
        yield f"until {minute(event['until'], event['decided_at'])}"
    if "actor" in event:
        yield f"by {event['actor']}"
    if "comment" in event:
        yield f"({event['comment']})"


def standing(life: Life, short: dict[str, str] | None = None) -> str:
    """`acknowledged until 10-05 10:30Z by shift-lead`, `over, to be closed`, ..."""
    if life.is_closed:
        return "closed"
    if not life.is_open:
        return "over, to be closed" if life.waits_for_closing else "over"
    words = [life.now["status"]]
    if "part_of" in life.now:
        parent = life.now["part_of"]
        words.append(f"as part of {(short or {}).get(parent, parent[:SHORT])}")
    if life.until:
        words.append(f"until {minute(life.until, life.now['decided_at'])}")
    if life.now["status"] in ("acknowledged", "silenced") and "actor" in life.told_by:
        words.append(f"by {life.told_by['actor']}")
    return " ".join(words)


def table(lives: Sequence[Life], everyone: Sequence[Life]) -> Table:
    """One row an alert, the worst first. everyone: all there are, so that a shown id names one alert only."""
    short = short_ids(everyone)
    found = Table(box=None, pad_edge=False)
    for name in ("id", "severity", "status", "since (UTC)", "asset", "rule", "worst"):
        found.add_column(name, no_wrap=name not in ("status", "worst"))
    for life in sorted(lives, key=worst_first):
        now = life.now
        members = f" +{len(now['members'])}" if now.get("members") else ""
        found.add_row(
            short[life.alert_id],
            Text(now["severity"], COLOURS[now["severity"]] if life.is_open else "green"),
            standing(life, short),
            _since(life),
            now["asset_id"] + members,
            now["rule"],
            _worst(now),
        )
    return found


def _since(life: Life) -> str:
    """`10-05 03:26`, and its end where it is over: `10-05 03:26 - 09:53`."""
    ended = (life.over or {}).get("ends_at", "")
    start, end = (text[5:16].replace("T", " ") for text in (life.now["starts_at"], ended))
    if not end:
        return start
    return f"{start} - {end[6:] if end[:5] == start[:5] else end}"


def _worst(event: Event) -> str:
    """What was furthest past the limit: `-9.5 > -12`; for silence the metric that is missed."""
    limit, worst = event.get("limit"), event.get("evidence", {}).get("worst")
    if worst is None or limit is None:
        return event.get("metric", "")
    if limit["kind"] not in ("above", "below"):
        return f"{worst['value']:g}"
    return f"{worst['value']:.1f} {'>' if limit['kind'] == 'above' else '<'} {limit['value']:g}"


def story(life: Life, everyone: Sequence[Life]) -> Iterator[Text | Table | str]:
    """All there is to say of one alert: what it is, its evidence, its life step by step, and what can be done next."""
    now, short = life.now, short_ids(everyone)
    colour = COLOURS[now["severity"]] if life.is_open else "green"
    yield Text.assemble((now["rule"], "bold"), "  ", (now["severity"], colour), "  ", standing(life, short))
    summary = now["annotations"].get("summary")
    if summary:
        yield Text(summary, "bold")
    yield ""
    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, text in _facts(life, short):
        facts.add_row(name, Text(text))
    yield facts
    yield ""
    steps = Table(box=None, pad_edge=False, title="What happened", title_justify="left", title_style="bold")
    for name in ("", "decided (UTC)", "event", "severity", "status", "why"):
        steps.add_column(name, no_wrap=name != "why", overflow="fold")
    for event in life.events:
        steps.add_row(
            str(event["sequence"]),
            event["decided_at"][:19].replace("T", " "),
            event["event"],
            Text(event["severity"], COLOURS[event["severity"]]),
            event["status"],
            Text(said(event)),
        )
    yield steps
    yield ""
    yield Text("What can be done", "bold")
    for command, why in next_steps(life, short[life.alert_id]):
        yield Text.assemble("  ", command, (f"  # {why}", "dim")) if command else Text(f"  {why}")


def _facts(life: Life, short: dict[str, str]) -> Iterator[tuple[str, str]]:
    now = life.now
    yield "id", life.alert_id
    device = f" ({now['device_id']}, {now['metric']})" if "device_id" in now and "metric" in now else ""
    yield "where", f"{now['asset_id']}{device}, {now['store_id']}"
    limit = now.get("limit")
    if limit is not None:
        yield "limit", limit_words(limit)
    yield "began", now["starts_at"]
    if life.over is not None and "ends_at" in life.over:
        lasted = duration(to_ms(life.over["ends_at"]) - to_ms(now["starts_at"]))
        yield "ended", f"{life.over['ends_at']}, after {lasted}"
    for name, spot in _evidence(life).items():
        value = _value(spot["value"], _measured_in(limit)) + "  " if "value" in spot else ""
        yield name, f"{value}{spot['event_time']}" + (f"  {spot['event_id']}" if "event_id" in spot else "")
    if now.get("retrospective"):
        yield "note", "told after the fact, from readings that were delivered late"
    if now.get("members"):
        yield "members", ", ".join(member.get("device_id", member["asset_id"]) for member in now["members"])
    if "part_of" in now:
        yield "part of", short.get(now["part_of"], now["part_of"])
    for name, text in now["annotations"].items():
        if name not in ("summary", "runbook_url"):
            yield name, text
    if "runbook_url" in now["annotations"]:
        yield "runbook", now["annotations"]["runbook_url"]
    labels = {name: value for name, value in now["labels"].items() if name not in OWN_LABELS}
    if labels:
        yield "labels", ", ".join(f"{name}={value}" for name, value in labels.items())
    yield "told on", f"{now['topic']}, rule version {now['rule_version']}"


def _evidence(life: Life) -> dict[str, Any]:
    """Of the newest step that has some: an answer to a closing has none."""
    return next((event["evidence"] for event in reversed(life.events) if "evidence" in event), {})


def limit_words(limit: dict[str, Any]) -> str:
    """`above -12 °C`, `not heard for 5 min`, ..."""
    kind, value = limit["kind"], limit.get("value", 0)
    if kind in ("above", "below"):
        return f"{kind} {_value(value, limit.get('unit', ''))}"
    if kind == "rate":
        return f"a change of {_value(value, limit.get('unit', ''))}"
    lasted = duration(round(value * 1000))
    said = {
        "cumulative": "past the limit for {} in all",
        "absent_for": "not heard for {}",
        "stuck_for": "the same for {}",
    }
    return said.get(kind, "nothing usable for {}").format(lasted)


def _measured_in(limit: dict[str, Any] | None) -> str:
    """The unit of the readings, where the limit is in it."""
    return limit.get("unit", "") if limit is not None and limit["kind"] in ("above", "below") else ""


def _value(value: float, unit: str) -> str:
    return f"{value:g} {shown_unit(unit, StoreInfo())}".rstrip()


def next_steps(life: Life, short: str) -> Iterator[tuple[str, str]]:
    """(command, what it does) of all that makes sense now; no command where there is none."""
    now, status = life.now, life.now["status"]
    if now["store_id"] == "chain":
        yield "", "It is about the platform, not a store: see to its cause, and it ends by itself."
        return
    if life.is_closed:
        yield "", "Nothing: it is closed."
        return
    if not life.is_open:
        if life.waits_for_closing:
            told = '--cause "…" --action "…" --goods kept|moved|discarded'
            yield f"grocery alerts close {short} {told}", "it is over; say what was wrong and what was done"
        else:
            yield "", "Nothing: it is over."
        return
    if "part_of" in now:
        yield f"grocery alerts show {now['part_of'][:SHORT]}", "the alert that it is part of; see to that one"
    again = " for longer" if status == "acknowledged" else ""
    yield f'grocery alerts ack {short} --for 2h --comment "…"', f"you see to it{again}"
    if status == "acknowledged":
        yield f"grocery alerts unack {short}", "nobody sees to it any more"
    if status == "silenced" and "command_id" in life.told_by:
        yield f"grocery alerts cancel {life.told_by['command_id']}", "end the silence"
    if status != "silenced":
        # One alert for a whole area is about no asset of the chain.
        asset = "" if now.get("asset_class") == "area" else f" --asset {now['asset_id']}"
        where = f"--store {now['store_id']}{asset} --rule {now['rule']}"
        yield f'grocery alerts silence {where} --for 4h --comment "…"', "keep this rule quiet there"


def silences_table(silences: Sequence[Life], commands: dict[str, Event], zones: dict[str, str], now_ms: int) -> Table:
    """One row a silence or maintenance window. commands: by id, for what they are about; zones: by store."""
    found = Table(box=None, pad_edge=False)
    for name in ("id", "what", "store", "about", "until (UTC)", "by", "why"):
        found.add_column(name, no_wrap=name not in ("about", "why"), overflow="fold")
    for life in silences:
        now = life.now
        command = commands.get(now["command_id"], {})
        recurs = _recurrence(command, zones.get(now["store_id"], "UTC"), now_ms)
        found.add_row(
            now["command_id"],
            command.get("command", now.get("reason") or "silence"),
            now["store_id"],
            about(command) + (f"; {recurs}" if recurs else ""),
            now["until"][:16].replace("T", " "),
            now.get("actor", ""),
            now.get("comment", ""),
        )
    return found


def about(command: Event) -> str:
    """What a silence's selector says."""
    words = [
        f"{label} {command[field]}"
        for field, label in (
            ("rule", "rule"),
            ("asset_id", "asset"),
            ("asset_class", "class"),
            ("area", "area"),
            ("device_id", "device"),
        )
        if field in command
    ]
    return ", ".join(words) or "the whole store"


def _recurrence(command: Event, zone: str, now_ms: int) -> str:
    if "rrule" not in command:
        begins = command.get("from")
        return f"from {minute(begins)}" if begins and to_ms(begins) > now_ms else ""
    first, until = to_ms(command["from"]), to_ms(command["until"])
    lasts_ms = command["lasts_s"] * 1000
    end, begins = hours.occurrence(command["rrule"], first, until, zone, lasts_ms, now_ms)
    if end is not None:
        when = f"holds now, until {minute(to_rfc3339(end))}"
    elif begins is not None:
        local = datetime.fromtimestamp(begins / 1000, UTC).astimezone(ZoneInfo(zone))
        when = f"next {local:%a %m-%d %H:%M} {zone}"
    else:
        when = "has no next time"
    return f"{command['rrule']} for {duration(lasts_ms)}, {when}"
