"""`grocery alerts`: read alerts. grocery/commands/attend.py has what answers them."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grocery.commands import attend

if TYPE_CHECKING:
    from alerting.fold import Life

app = typer.Typer(
    help="Alerts: see them (list, watch, show, silences) and answer them (ack, silence, maintenance, close, …).",
    no_args_is_help=True,
)


class Severity(StrEnum):
    info = "info"
    warning = "warning"
    critical = "critical"


class Status(StrEnum):
    firing = "firing"
    acknowledged = "acknowledged"
    silenced = "silenced"
    masked = "masked"
    to_be_closed = "to-be-closed"
    over = "over"


_Store = Annotated[str | None, typer.Option("--store", "-s", help="Only this store, e.g. store-001.")]
_Severity = Annotated[
    list[Severity] | None, typer.Option("--severity", help="Only this severity; may be given several times.")
]
_Rule = Annotated[str | None, typer.Option("--rule", help="Only this rule, e.g. freezer_too_warm.")]
_Topic = Annotated[str | None, typer.Option("--topic", help="Only this topic: alerts.cold-chain, or cold-chain.")]


@app.command("list")
def list_alerts(
    store: _Store = None,
    severity: _Severity = None,
    rule: _Rule = None,
    status: Annotated[
        list[Status] | None, typer.Option("--status", help="Only this status; may be given several times.")
    ] = None,
    topic: _Topic = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also those that are over.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Each alert's newest event, one JSON object a line.")] = False,
) -> None:
    """Show the alerts that are open, the worst first, then those that are over and wait to be closed.

    Open is what fires, is acknowledged, silenced or masked. Each alert counts once, however often its events were read.
    The beginning of an id is enough wherever an ALERT is asked for.

    Examples:

      grocery alerts list

      grocery alerts list --severity critical --status firing

      grocery alerts list --all --store store-001 --json
    """
    from rich.console import Console

    from alerting.fold import WATCHDOG_RULE, lives, worst_first
    from grocery.alerts.desk import open_desk
    from grocery.alerts.words import table
    from grocery.gateway import clear_errors

    console = Console()
    wanted = _wanted(store, severity, rule, topic)
    with clear_errors():
        desk = open_desk()
        with console.status("Reading alerts…"):
            everyone = [
                life
                for life in lives(desk.told())
                if not life.is_answer and (life.now["rule"] != WATCHDOG_RULE or everything or rule == WATCHDOG_RULE)
            ]
    fitting = [life for life in everyone if wanted(life.now)]
    if status:
        shown = [life for life in fitting if _status(life) in status]
    else:
        shown = [life for life in fitting if everything or life.is_open or life.waits_for_closing]
    if as_json:
        import json

        for life in sorted(shown, key=worst_first):
            typer.echo(json.dumps(life.now, ensure_ascii=False))
        return
    if shown:
        console.print(table(shown, everyone))
    still_open = sum(life.is_open for life in fitting)
    waiting = sum(life.waits_for_closing for life in fitting)
    over = len(fitting) - still_open - waiting
    console.print(
        f"{still_open:,} open, "
        + (f"{waiting:,} over and to be closed, " if waiting else "")
        + f"{over:,} over"
        + (" (add --all)" if over and not everything and not status else ""),
        highlight=False,
    )


@app.command()
def watch(
    store: _Store = None,
    severity: _Severity = None,
    rule: _Rule = None,
    topic: _Topic = None,
    beginning: Annotated[
        bool, typer.Option("--from-beginning", "-b", help="First print what the topics hold already.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also the watchdog, every half minute.")] = False,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="Stop after so many events.")] = None,
) -> None:
    """Print alert events, and answers to commands, as they become readable, each once, until Ctrl-C.

    A line: when it was decided, what happened, how bad, where, and the rule's own words; for what a person did: until
    when, who, and their comment.

    Examples:

      grocery alerts watch

      grocery alerts watch --severity critical --store store-001

      grocery alerts watch --from-beginning --count 20
    """
    from contextlib import closing

    from rich.console import Console

    from alerting.fold import WATCHDOG_RULE, Fresh
    from grocery.alerts.desk import open_desk
    from grocery.alerts.words import line
    from grocery.gateway import clear_errors
    from ingestion.topics import ALERT_TOPICS

    console = Console()
    wanted = _wanted(store, severity, rule, topic)
    fresh, printed = Fresh(), 0
    with clear_errors(), closing(open_desk().follow(ALERT_TOPICS, beginning)) as follower:
        if not beginning:
            console.print("[dim]Waiting for alerts; Ctrl-C ends.[/dim]")
        try:
            while count is None or printed < count:
                for event in follower.poll(1.0):
                    if not wanted(event) or (event["rule"] == WATCHDOG_RULE and not everything):
                        continue
                    if fresh.is_new(event) and printed != count:
                        console.print(line(event), soft_wrap=True, highlight=False)
                        printed += 1
        except KeyboardInterrupt:
            console.print()


@app.command()
def show(
    alert: attend.Alert,
    as_json: Annotated[bool, typer.Option("--json", help="Its events, one JSON object a line.")] = False,
) -> None:
    """Show one alert's whole life: what it is about, its evidence and limit, each step, and what can be done now.

    Examples:

      grocery alerts show 3f2a9c81

      grocery alerts show 3f2a9c81 --json
    """
    from rich.console import Console

    from grocery.alerts.desk import open_desk
    from grocery.alerts.find import find
    from grocery.alerts.words import story
    from grocery.gateway import clear_errors

    console = Console()
    with clear_errors():
        everyone, life = find(open_desk(), alert)
    if as_json:
        import json

        for event in life.events:
            typer.echo(json.dumps(event, ensure_ascii=False))
        return
    for part in story(life, everyone):
        console.print(part, highlight=False, soft_wrap=not hasattr(part, "columns"))


@app.command()
def silences(
    store: _Store = None,
    topic: _Topic = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The commands that asked for them, one JSON object a line.")
    ] = False,
) -> None:
    """Show the silences and maintenance windows that are in force: what they are about, until when, who asked for them.

    One that recurs is in force between its windows too. `grocery alerts cancel ID` ends one.
    """
    from rich.console import Console

    from grocery.alerts.desk import open_desk
    from grocery.alerts.find import silences_in_force
    from grocery.alerts.words import silences_table
    from grocery.gateway import clear_errors

    console = Console()
    wanted = _wanted(store, None, None, topic)
    with clear_errors():
        desk = open_desk()
        found = [life for life in silences_in_force(desk) if wanted(life.now)]
        commands = desk.given() if found else {}
        zones = {name: item["time_zone"] for name, item in desk.reference().stores.items()} if found else {}
    if as_json:
        import json

        for life in found:
            typer.echo(json.dumps(commands.get(life.now["command_id"], life.now), ensure_ascii=False))
        return
    if found:
        console.print(silences_table(found, commands, zones, attend.clock_ms()))
    console.print(f"{len(found):,} in force", highlight=False)


for _name, _command in (
    ("ack", attend.acknowledge),
    ("unack", attend.unacknowledge),
    ("silence", attend.silence),
    ("maintenance", attend.maintenance),
    ("cancel", attend.cancel),
    ("close", attend.close),
):
    app.command(_name)(_command)


def _wanted(
    store: str | None, severity: list[Severity] | None, rule: str | None, topic: str | None
) -> Callable[[dict[str, Any]], bool]:
    """Which events are asked for. An answer to a command has no severity of its own and passes that filter."""
    from alerting.language import COMMAND_RULE
    from grocery.alerts.find import topic_named
    from grocery.gateway import clear_errors

    with clear_errors():
        on = topic_named(topic) if topic else None
    return lambda event: (
        store in (None, event["store_id"])
        and rule in (None, event["rule"])
        and on in (None, event["topic"])
        and (not severity or event["severity"] in severity or event["rule"] == COMMAND_RULE)
    )


def _status(life: Life) -> str:
    if life.is_open:
        return life.now["status"]
    return Status.to_be_closed if life.waits_for_closing else Status.over
