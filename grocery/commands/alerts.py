"""`grocery alerts`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

app = typer.Typer(help="Alerts: list, watch.", no_args_is_help=True)

_COLOURS = {"info": "cyan", "warning": "yellow", "critical": "red"}
_Store = Annotated[str | None, typer.Option("--store", "-s", help="Only this store, e.g. store-001.")]


@app.command("list")
def list_alerts(
    store: _Store = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also those that are over.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Each alert's newest event, one JSON object a line.")] = False,
) -> None:
    """Show the alerts that are open now, the worst first. Each counts once, however often its events were read.

    Examples:

      grocery alerts list

      grocery alerts list --all --store store-001 --json
    """
    from rich.console import Console

    from alerting.fold import newest
    from grocery.gateway import bootstrap, clear_errors

    console = Console()
    with clear_errors():
        broker = bootstrap()
        with console.status(f"Reading alerts from {broker}…"):
            alerts = newest(event for event in _read(broker) if store in (None, event["store_id"]))
    over = sum(1 for alert in alerts if alert["status"] == "resolved")
    shown = alerts if everything else [alert for alert in alerts if alert["status"] != "resolved"]
    if as_json:
        import json

        for alert in shown:
            typer.echo(json.dumps(alert, ensure_ascii=False))
        return
    if shown:
        _table(console, shown)
    more = "" if everything or not over else " (add --all)"
    console.print(f"{len(alerts) - over:,} open, {over:,} over{more}", highlight=False)


@app.command()
def watch(
    store: _Store = None,
    beginning: Annotated[
        bool, typer.Option("--from-beginning", "-b", help="First print what the topics hold already.")
    ] = False,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="Stop after so many events.")] = None,
) -> None:
    """Print alert events as they become readable, each once, until Ctrl-C.

    A line: when it was decided, what happened, how bad, where, and the rule's own words.
    """
    from rich.console import Console

    from alerting.fold import Fresh
    from grocery.gateway import bootstrap, clear_errors

    console = Console()
    fresh, printed = Fresh(), 0
    with clear_errors():
        consumer = _consumer(bootstrap(), beginning)
        if not beginning:
            console.print("[dim]Waiting for alerts; Ctrl-C ends.[/dim]")
        try:
            while count is None or printed < count:
                for event in _decoded(record for batch in consumer.poll(timeout_ms=1000).values() for record in batch):
                    if store in (None, event["store_id"]) and fresh.is_new(event) and printed != count:
                        console.print(line(event), soft_wrap=True, highlight=False)
                        printed += 1
        except KeyboardInterrupt:
            console.print()
        finally:
            consumer.close()


def line(event: dict[str, Any]) -> Text:
    """One alert event as a line for people."""
    from rich.text import Text

    colour = "green" if event["status"] == "resolved" else _COLOURS[event["severity"]]
    said = event.get("reason") or event["annotations"].get("summary", "")
    if event["event"] == "resolved" and "reason" not in event:
        said = f"{event.get('device_id', event['asset_id'])} is back"
    return Text.assemble(
        (event["decided_at"][:19].replace("T", " ") + "Z ", "dim"),
        (f"{event['event']:<10}", colour),
        (f"{event['severity']:<9}", colour),
        f"{event['store_id']} {event['asset_id']} {event['rule']}  ",
        (said, "" if event["event"] == "resolved" else "bold"),
        *(((" (told after the fact)", "dim"),) if event.get("retrospective") else ()),
    )


def _table(console: Console, alerts: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    rank = {"critical": 0, "warning": 1, "info": 2}
    table = Table(box=None, pad_edge=False)
    for name in ("severity", "since (UTC)", "asset", "rule", "worst"):
        table.add_column(name, no_wrap=name != "worst")
    for alert in sorted(alerts, key=lambda a: (a["status"] == "resolved", rank[a["severity"]], a["starts_at"])):
        table.add_row(
            Text(alert["severity"], _COLOURS[alert["severity"]]),
            _since(alert),
            alert["asset_id"],
            alert["rule"],
            _worst(alert),
        )
    console.print(table)


def _since(alert: dict[str, Any]) -> str:
    """`10-05 03:26`, and its end where it is over: `10-05 03:26 - 09:53`."""
    start, end = (alert.get(name, "")[5:16].replace("T", " ") for name in ("starts_at", "ends_at"))
    if not end:
        return start
    return f"{start} - {end[6:] if end[:5] == start[:5] else end}"


def _worst(alert: dict[str, Any]) -> str:
    """What was furthest past the limit: `-9.5 > -12`; for silence the metric that is missed."""
    limit, worst = alert.get("limit"), alert.get("evidence", {}).get("worst")
    if worst is None:
        return alert.get("metric", "")
    sign = ">" if limit and limit["kind"] == "above" else "<"
    return f"{worst['value']:.1f}" + (f" {sign} {limit['value']:g}" if limit and "value" in limit else "")


def _read(broker: str) -> Iterable[dict[str, Any]]:
    from ingestion.topics import ALERT_TOPICS, read_topic

    for topic in ALERT_TOPICS:
        yield from _decoded(read_topic(broker, topic))


def _decoded(records: Iterable[Any]) -> Iterable[dict[str, Any]]:
    """Alert events; a record that is none is named and left out."""
    import msgspec
    from rich.console import Console

    for record in records:
        try:
            event = msgspec.json.decode(record.value)
            event["alert_id"], event["sequence"]
        except (msgspec.DecodeError, TypeError, KeyError) as error:
            where = f"{record.topic} partition {record.partition} offset {record.offset}"
            Console(stderr=True).print(f"{where}: no alert event, left out: {error}", markup=False, highlight=False)
        else:
            yield event


def _consumer(broker: str, beginning: bool) -> Any:
    from kafka import KafkaConsumer, TopicPartition

    from ingestion.topics import ALERT_TOPICS

    consumer = KafkaConsumer(
        bootstrap_servers=broker, group_id=None, enable_auto_commit=False, isolation_level="read_committed"
    )
    parts = [
        TopicPartition(topic, number)
        for topic in ALERT_TOPICS
        for number in sorted(consumer.partitions_for_topic(topic) or ())
    ]
    if not parts:
        consumer.close()
        raise LookupError(f"no alert topic on the broker at {broker}; `grocery stack up` makes the topics")
    consumer.assign(parts)
    if beginning:
        consumer.seek_to_beginning(*parts)
    else:
        consumer.seek_to_end(*parts)
        for part in parts:
            consumer.position(part)  # seeks are lazy: without this, what comes before the first poll would be missed
    return consumer
