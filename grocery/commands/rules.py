"""`grocery rules`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from alerting.language import Rule
    from ingestion.reference import Reference

app = typer.Typer(help="Alert rules: check.", no_args_is_help=True)


@app.command()
def check(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Rule files; default: all of the chain's rules/.")
    ] = None,
) -> None:
    """Check rule files: every problem with its line, its value and what to do. Exit code 1 where there is one.

    Then shows what each rule says, and how many of the chain's devices it judges: a rule that judges none is a warning.

    Examples:

      grocery rules check

      grocery rules check my_rules.yaml
    """
    from rich.console import Console
    from rich.markup import escape

    from alerting.rules import RuleError, parse_rules
    from grocery.settings import settings

    console, errors = Console(), Console(stderr=True)
    folder = settings().chain / "rules"
    found = files or sorted(folder.glob("*.yaml"))
    if not found:
        errors.print(f"{folder}: no rule file (*.yaml) is there; chain/rules of the project has one to copy")
        raise typer.Exit(1)
    problems = 0
    reference = _reference()
    for file in found:
        try:
            rules = parse_rules(file.read_text("utf-8"), str(file))
        except RuleError as error:
            problems += len(error.problems)
            for problem in error.problems:
                errors.print(escape(problem), highlight=False, soft_wrap=True)
        except (OSError, UnicodeDecodeError) as error:
            problems += 1
            errors.print(escape(f"{file}: cannot be read: {error}"), highlight=False, soft_wrap=True)
        else:
            _show(console, str(file), rules.rules, reference)
    if problems:
        errors.print(f"[red]{problems} {'problem' if problems == 1 else 'problems'}[/red]", highlight=False)
        raise typer.Exit(1)


def _reference() -> Reference | None:
    """The chain, to count devices; None where its files cannot be used (`grocery chain check` says why)."""
    from grocery.settings import settings
    from ingestion.reference import ChainError, Reference

    try:
        return Reference.from_folder(settings().chain)
    except (ChainError, OSError):
        return None


def _show(console: Console, file: str, rules: tuple[Rule, ...], reference: Reference | None) -> None:
    from rich.markup import escape

    console.print(escape(f"{file}: {len(rules)} rules, no problem"), highlight=False, soft_wrap=True)
    for rule in rules:
        console.print(f"  [bold]{rule.alert}[/bold], judges {_judged(rule, reference)}", highlight=False)
        for words in _words(rule):
            console.print(f"    {words}", highlight=False)


def _words(rule: Rule) -> Iterator[str]:
    """The rule as sentences."""
    from alerting.language import span

    unit, ours = rule.unit, rule.severity
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
        yield f"{ours} at a {word} of {rule.limit:g} {unit} within {span(rule.rate.within_ms)}"
        for level in rule.escalate:
            yield f"{level.severity} at a {word} of {getattr(level, word) or 0:g} {unit}"
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
    yield f"{rule.severity} {word} {rule.limit:g} {rule.unit} for {lasting}"
    for level in rule.escalate:
        limit = level.above if rule.above else level.below
        limit = rule.limit if limit is None else limit
        back = level.clear_below if rule.above else level.clear_above
        eased = "" if back is None else f", eased at {back:g}"
        yield f"{level.severity} {word} {limit:g} {rule.unit} for {span(level.for_ms)}{eased}"
    if total is None:
        given = rule.clear_below if rule.above else rule.clear_above
        back = f"{'below' if rule.above else 'above'} {given:g}" if given is not None else f"at {rule.limit:g}"
        yield f"back {back} {rule.unit}" + (f" for {span(rule.keep_ms)}" if rule.keep_ms else "")
    else:
        yield "back when the sum is less"


def _judged(rule: Rule, reference: Reference | None) -> str:
    if reference is None:
        return "?"
    count = sum(
        1
        for asset in reference.assets.values()
        for device in asset["devices"]
        if rule.select.fits(asset["store_id"], asset["asset_id"], asset["asset_class"], device["metric"])
    )
    return f"{count:,} devices" if count else "[yellow]no device of this chain[/yellow]"
