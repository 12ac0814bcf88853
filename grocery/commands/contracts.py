"""`grocery contracts`: what an event looks like."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from grocery.settings import PROJECT
from schemas import UnknownContract, all_contracts, contract
from schemas.contract import Contract

app = typer.Typer(help="What an event looks like: list, show, check, generate.", no_args_is_help=True)
console = Console()

SHOWN = 20


@app.command("list")
def list_contracts() -> None:
    """Every contract: its topic, key, and what it is."""
    table = Table("contract", "version", "topic", "key", "what it is")
    for item in all_contracts():
        what = item.description.split(". ")[0].rstrip(".")
        table.add_row(item.name, str(item.version), item.topic, ", ".join(item.key_fields), what)
    console.print(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Contract or topic, e.g. sensor-readings.")],
    as_json: Annotated[bool, typer.Option("--json", help="The JSON Schema itself.")] = False,
    flink: Annotated[bool, typer.Option("--flink", help="As Flink SQL columns.")] = False,
) -> None:
    """One contract: its columns, limits and units."""
    item = _contract(name)
    if as_json:
        print(json.dumps(item.schema, indent=2, ensure_ascii=False))
        return
    if flink:
        from schemas.flink import columns

        print(columns(item))
        return
    console.print(f"[bold]{item.name}[/bold] v{item.version}: {item.description}\n", highlight=False)
    console.print(
        f"topic {item.topic}, key {', '.join(item.key_fields)}, late by at most {item.max_lateness}, "
        f"kept for {item.retention}\n",
        highlight=False,
    )
    table = Table("column", "type", "must", "what it is")
    for field in item.fields:
        kind = field.schema.get("format", field.schema["type"])
        unit = f" [{field.unit}]" if field.unit else ""
        table.add_row(field.name, kind + unit, "yes" if field.required else "", field.description)
    console.print(table)
    examples = [f"{path.relative_to(PROJECT)}" for path, passes in item.examples() if passes]
    if examples:
        console.print("An event that keeps it: " + examples[0], highlight=False)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="One JSON event, NDJSON of events, or a file of arrivals.")],
    name: Annotated[
        str | None, typer.Option("--contract", help="Hold events against this one; arrivals name their own.")
    ] = None,
) -> None:
    """Hold a file's events against their contract. Exit code 1 when one breaks it.

    Only the contract is checked; whether stores and devices are known, the gate decides.
    """
    from schemas.validate import validator

    given = _contract(name) if name else None
    checked, broken, codes = 0, 0, Counter[str]()
    validators = {}
    for line, event, its_contract in _events(file, given):
        checked += 1
        if isinstance(event, str):
            found = [("json", event)]
        else:
            if its_contract.name not in validators:
                validators[its_contract.name] = validator(its_contract)
            found = [(reason.code, reason.message) for reason in validators[its_contract.name](event)]
        if not found:
            continue
        broken += 1
        codes.update(code for code, _ in found)
        if broken <= SHOWN:
            for code, message in found:
                console.print(f"{file}:{line}: {code}: {message}", highlight=False, markup=False, soft_wrap=True)
    if broken > SHOWN:
        console.print(f"… and {broken - SHOWN} more events that break their contract", highlight=False)
    if checked == 0:
        console.print(f"{file}: no event in it", highlight=False)
        raise typer.Exit(1)
    by_code = f" ({', '.join(f'{code} {number}' for code, number in codes.most_common())})" if codes else ""
    console.print(f"{checked:,} events checked, {broken:,} break their contract{by_code}", highlight=False)
    raise typer.Exit(1 if broken else 0)


@app.command()
def generate(
    check_only: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 when a file is not current.")
    ] = False,
) -> None:
    """Write the files that are derived from the contracts: the data dictionary and dbt's sources."""
    stale = []
    for path, text in derived().items():
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale.append(path)
        if not check_only:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    for path in stale:
        word = "is not current" if check_only else "written"
        console.print(f"{path.relative_to(PROJECT)} {word}", highlight=False)
    if not stale:
        console.print("All derived files are current.")
    elif check_only:
        console.print("Write them: make generate")
        raise typer.Exit(1)


def derived() -> dict[Path, str]:
    """Every derived file and what must stand in it."""
    from schemas.dbt_sources import sources
    from schemas.dictionary import dictionary

    contracts = all_contracts()
    return {
        PROJECT / "docs" / "data-dictionary.md": dictionary(contracts),
        PROJECT / "dbt" / "models" / "staging" / "_sources.yml": sources(contracts),
    }


def _contract(name: str) -> Contract:
    try:
        return contract(name)
    except UnknownContract as error:
        console.print(str(error), style="red", highlight=False)
        raise typer.Exit(2) from error


def _events(file: Path, given: Contract | None) -> Iterator[tuple[int, dict | str, Contract | None]]:
    """(line, event or what is wrong with the line, its contract)."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        console.print(f"{file}: cannot be read: {error}", style="red", highlight=False)
        raise typer.Exit(2) from error
    try:
        lines = [(1, json.loads(text, parse_constant=_no_constant))]
    except ValueError:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    for number, line in lines:
        try:
            doc = json.loads(line, parse_constant=_no_constant) if isinstance(line, str) else line
        except ValueError as error:
            yield number, f"not JSON: {error}", None
            continue
        if not isinstance(doc, dict):
            yield number, "not a JSON object; an event is one", None
            continue
        arrival = "arrived_at" in doc and "contract" in doc
        event = doc.get("event", doc.get("raw")) if arrival else doc
        item = given
        if item is None and arrival:
            item = _contract(doc["contract"])
        if item is None:
            console.print(f"{file}: which contract? name it: --contract sensor-readings", style="red", highlight=False)
            raise typer.Exit(2)
        yield number, (event if isinstance(event, dict) else f"not a JSON object: {str(event)[:80]}"), item


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON number")
