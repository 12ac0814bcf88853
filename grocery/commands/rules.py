"""`grocery rules`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from alerting.language import Rule
    from alerting.rules import RuleSet
    from ingestion.reference import Event, Reference

app = typer.Typer(help="Alert rules: check, show, schema.", no_args_is_help=True)

_Files = Annotated[
    list[Path] | None, typer.Argument(metavar="[FILE]...", help="Rule files; default: all of the chain's rules/.")
]


@app.command()
def check(files: _Files = None) -> None:
    """Check rule files: every problem with its line, its value and what to do. Exit code 1 where there is one.

    Then shows what each rule says, and how many of the chain's devices it judges: a rule that judges none is a warning.
    docs/rules.md explains the words.

    Examples:

      grocery rules check

      grocery rules check my_rules.yaml
    """
    from rich.console import Console

    console = Console()
    reference = _reference()
    for rules in _rule_sets(files):
        count = f"{len(rules.rules)} rules, no problem"
        console.print(f"{rules.source}: {count}", markup=False, highlight=False, soft_wrap=True)
        for rule in rules.rules:
            console.print(f"  [bold]{rule.alert}[/bold], judges {_judged(rule, reference)}", highlight=False)
            _say(console, rule)


@app.command()
def show(
    asset: Annotated[
        str, typer.Option("--asset", help="An asset of the chain, or a store for what is about all of it.")
    ],
    files: _Files = None,
) -> None:
    """Show the rules that hold for one asset, as its overrides make them.

    Examples:

      grocery rules show --asset s001-freezer-01

      grocery rules show --asset store-001
    """
    from rich.console import Console

    from grocery.gateway import clear_errors
    from grocery.settings import settings
    from ingestion.reference import Reference

    console = Console()
    with clear_errors():
        reference = Reference.from_folder(settings().chain)
        thing = reference.assets.get(asset) or _store_as_asset(reference, asset)
        if thing is None:
            raise LookupError(f"{asset}: no asset of {settings().chain / 'assets.yaml'}, and no store")
    found = 0
    for rules in _rule_sets(files):
        for rule in rules.rules:
            devices = _devices(rule, thing)
            if not devices:
                continue
            found += 1
            console.print(
                f"[bold]{rule.alert}[/bold] on {', '.join(devices)}, to {rules.topic}", highlight=False, soft_wrap=True
            )
            _say_for(console, rule, thing, devices)
    if not found:
        console.print(f"No rule judges {asset}.", highlight=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the rule language, with which editors complete and check rule files as they are typed.

    chain/rules/rules.schema.json is this; a rule file names it in its first line:
    `# yaml-language-server: $schema=rules.schema.json`.

    Example:

      grocery rules schema > my_chain/rules/rules.schema.json
    """
    import json

    from alerting.language import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def _rule_sets(files: list[Path] | None) -> list[RuleSet]:
    """The files' rules. Tells every problem of all of them, and raises typer.Exit, where there is one."""
    from rich.console import Console

    from alerting.rules import RuleError, parse_rules
    from grocery.settings import settings

    errors = Console(stderr=True)
    folder = settings().chain / "rules"
    chosen = files or sorted(folder.glob("*.yaml"))
    if not chosen:
        errors.print(f"{folder}: no rule file (*.yaml) is there; chain/rules of the project has one to copy")
        raise typer.Exit(1)
    found, problems = [], []
    for file in chosen:
        try:
            found.append(parse_rules(file.read_text("utf-8"), str(file)))
        except RuleError as error:
            problems += error.problems
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{file}: cannot be read: {error}")
    for problem in problems:
        errors.print(problem, markup=False, highlight=False, soft_wrap=True)
    if problems:
        errors.print(f"[red]{len(problems)} {'problem' if len(problems) == 1 else 'problems'}[/red]", highlight=False)
        raise typer.Exit(1)
    return found


def _reference() -> Reference | None:
    """The chain, to count devices; None where its files cannot be used (`grocery chain check` says why)."""
    from grocery.settings import settings
    from ingestion.reference import ChainError, Reference

    try:
        return Reference.from_folder(settings().chain)
    except (ChainError, OSError):
        return None


def _say(console: Console, rule: Rule) -> None:
    for words in _words(rule):
        console.print(f"    {words}", markup=False, highlight=False, soft_wrap=True)


def _words(rule: Rule) -> Iterator[str]:
    """The rule as sentences."""
    from alerting.language import span

    ours = rule.severity
    if rule.absent_for is not None:
        silence = rule.absent_for
        reports = f"after {silence.reports} missed reports" if silence.reports else ""
        least = f"not before {span(silence.at_least_ms)}" if silence.at_least_ms else ""
        whom = f"when nothing of the {silence.group} is heard" if silence.group else "when silent"
        yield f"{ours} {whom}: {', '.join(filter(None, (reports, least)))}; back when heard"
    elif rule.stuck_for_ms is not None:
        yield f"{ours} when the value stays the same for {span(rule.stuck_for_ms)}; back when it changes"
    elif rule.bad_for_ms is not None:
        yield f"{ours} when nothing usable comes for {span(rule.bad_for_ms)}; back at the first usable value"
    elif rule.rate is not None:
        word = "rise" if rule.above else "fall"
        yield f"{ours} at a {word} of {_amount(rule)} within {span(rule.rate.within_ms)}"
        for level in rule.escalate:
            yield f"{level.severity} at a {word} of {_amount(rule, getattr(level, word))}"
        yield f"back when it is less for {span(rule.keep_ms)}"
    else:
        yield from _limit_words(rule)
    for mask in rule.mask:
        if mask.state is not None:
            lasting = f"while {mask.state} lasts (at most {span(mask.longest_ms)}) and {span(mask.after_ms)} after it"
        elif mask.hours is not None:
            lasting = "while the store is closed"
        else:
            days = f" on {', '.join(mask.days)}" if mask.days else ""
            lasting = f"from {mask.at} for {span((mask.lasts_ms or 0) + mask.after_ms)}{days}, local time"
        yield f"no warning {lasting}"
    if rule.depends_on:
        yield f"a member of {', '.join(rule.depends_on)} while that is open"
    for override in rule.overrides:
        place = ", ".join(name for names in override.where.model_dump().values() for name in names)
        yield f"otherwise in {place}" + (": off" if override.off else "")
    if rule.closing is not None:
        yield f"closing a {rule.closing.when} one asks for {', '.join(rule.closing.asks)}"


def _limit_words(rule: Rule) -> Iterator[str]:
    from alerting.language import span

    word = "above" if rule.above else "below"
    total = rule.cumulative
    lasting = span(rule.for_ms) if total is None else f"{span(total.for_ms)} in all within {span(total.within_ms)}"
    yield f"{rule.severity} {word} {_amount(rule)} for {lasting}"
    for level in rule.escalate:
        limit = level.above if rule.above else level.below
        back = level.clear_below if rule.above else level.clear_above
        eased = "" if back is None else f", eased {'below' if rule.above else 'above'} {_amount(rule, back)}"
        yield f"{level.severity} {word} {_amount(rule, limit)} for {span(level.for_ms)}{eased}"
    if total is None:
        given = rule.clear_below if rule.above else rule.clear_above
        side = "at" if given is None else "below" if rule.above else "above"
        back = f"back {side} {_amount(rule, given)}"
        yield back + (f" for {span(rule.keep_ms)}" if rule.keep_ms else "")
    else:
        yield "back when the sum is less"


def _amount(rule: Rule, value: float | None = None) -> str:
    """A limit (the rule's own where none is named) in its unit, as people write it; a change of temperature in K."""
    from alerting.events import StoreInfo
    from alerting.words import shown_unit

    unit = "K" if rule.rate is not None and rule.unit == "Cel" else shown_unit(rule.unit, StoreInfo())
    return f"{rule.limit if value is None else value:g} {unit}".rstrip()


def _judged(rule: Rule, reference: Reference | None) -> str:
    if reference is None:
        return "?"
    stores = [_store_as_asset(reference, store_id) for store_id in reference.stores]
    count = sum(len(_devices(rule, thing)) for thing in (*reference.assets.values(), *filter(None, stores)))
    return f"{count:,} devices" if count else "[yellow]no device of this chain[/yellow]"


def _store_as_asset(reference: Reference, store_id: str) -> Event | None:
    """A store as derived metrics are about it: an asset of its own name and of class store."""
    if store_id not in reference.stores:
        return None
    return {"store_id": store_id, "asset_id": store_id, "asset_class": "store", "devices": []}


def _devices(rule: Rule, asset: Event) -> list[str]:
    """The asset's devices that a rule judges. A derived metric has a device that is called `<asset>/<metric>`."""
    derived = _derived_metrics()
    candidates = [(device["device_id"], device["metric"]) for device in asset["devices"]]
    candidates += [(f"{asset['asset_id']}/{metric}", metric) for metric in rule.select.metric if metric in derived]
    zones = rule.select.zone_kind[:1] or ("",)  # what a camera's zone is for, the chain's files do not say
    return [
        device_id
        for device_id, metric in candidates
        if rule.select.fits(
            asset["store_id"],
            asset["asset_id"],
            asset["asset_class"],
            metric,
            asset.get("area", ""),
            device_id,
            zones[0],
        )
    ]


def _derived_metrics() -> tuple[str, ...]:
    from schemas import contract

    return tuple(contract("derived-metrics").schema["properties"]["metric"]["enum"])


def _say_for(console: Console, rule: Rule, asset: Event, devices: list[str]) -> None:
    """The rule as it holds for some devices of an asset; devices for which it holds alike are told once."""
    alike: dict[str, tuple[Rule | None, list[str]]] = {}
    for device_id in devices:
        place = asset["store_id"], asset["asset_id"], asset["asset_class"], asset.get("area", "")
        holds = rule.at(*place, device_id)
        alike.setdefault("off" if holds is None else holds.version, (holds, []))[1].append(device_id)
    for holds, these in alike.values():
        here = f"on {', '.join(these)}: " if len(alike) > 1 else ""
        if holds is None:
            console.print(f"    {here}off here, by an override", markup=False, highlight=False)
            continue
        if holds != rule:
            console.print(f"    {here}changed here by an override", markup=False, highlight=False)
        elif here:
            console.print(f"    {here.rstrip(': ')}", markup=False, highlight=False)
        _say(console, holds.model_copy(update={"overrides": ()}))
