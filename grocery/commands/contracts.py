"""`grocery contracts`: what an event looks like."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from grocery.settings import PROJECT
from schemas import UnknownContract, all_contracts, contract
from schemas.contract import Contract

if TYPE_CHECKING:
    from schemas.validate import Reason

app = typer.Typer(help="What an event looks like: list, show, check, generate.", no_args_is_help=True)
console = Console()

SHOWN = 20
"""Broken events that are told one by one; the rest is counted."""
WHOLE_FILE = 16 * 1024 * 1024
"""Bytes up to which a file is tried as one event over several lines."""


@app.command("list")
def list_contracts() -> None:
    """Every contract: its topic, key, and what it is."""
    table = _table("contract", "topic", "key", "what it is")
    for item in all_contracts():
        what = item.description.split(". ")[0].rstrip(".").replace("`", "")
        table.add_row(*map(escape, (f"{item.name} {_versions(item)}", item.topic, "\n".join(item.key_fields), what)))
    console.print(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Contract or topic, e.g. sensor-readings or alerts.cold-chain.")],
    as_json: Annotated[bool, typer.Option("--json", help="The JSON Schema itself.")] = False,
    flink: Annotated[bool, typer.Option("--flink", help="As Flink SQL columns.")] = False,
    example: Annotated[bool, typer.Option("--example", help="An event that keeps it.")] = False,
    version: Annotated[
        int | None, typer.Option("--version", help="This version alone; else the newest, and how older ones differ.")
    ] = None,
) -> None:
    """One contract: its columns with their limits and units, and what holds between them."""
    from schemas.dictionary import entries, rules

    item = _contract(name, version)
    if as_json:
        print(json.dumps(item.schema, indent=2, ensure_ascii=False))
        return
    if flink:
        from schemas.flink import columns

        print(columns(item))
        return
    newest = contract(item.name)
    passing = [path for path, passes in item.examples() if passes and _version(path, newest) == item.version]
    if example:
        print(passing[0].read_text("utf-8"), end="")
        return
    _say(f"{item.name} {_versions(item)}: {item.description}", style="bold")
    _say(
        f"topic {item.topic}, key {', '.join(item.key_fields)}, late by at most {item.max_lateness}, "
        f"kept for {item.retention}\n"
    )
    table = _table("column", "type", "must", "what it is, and its limits")
    for entry in entries(item):
        text = f"{entry.description} ({entry.limits})" if entry.limits else entry.description
        table.add_row(*map(escape, (entry.name, entry.type, entry.must, text.replace("`", ""))))
    console.print(table)
    for rule in rules(item):
        _say(f"- {rule.replace('`', '')}")
    _say(f"\nEvents that keep it: {', '.join(map(_shown, passing))}")


@app.command()
def check(
    file: Annotated[
        Path | None,
        typer.Argument(help="A JSON event, NDJSON with an event a line, or arrivals as `grocery simulate` writes."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--contract", "-c", help="Hold events against this one; arrivals name their own.")
    ] = None,
) -> None:
    """Hold a file's events against their contract. Exit code 1 when one breaks it.

    An event is held against the version that it names. What a newer version must not change (a field's name, type or
    unit) is refused before anything is looked at.
    Without a file, the contracts' own examples: pass-*.json must keep it, fail-*.json must break it.
    Arrivals are judged as the gate passes them on: numbers of persons replaced, values in their metric's own unit.
    Whether stores and devices are known, and clocks right, only the gate itself can say: grocery ingest file.
    """
    given = _contract(name) if name else None
    if file is None:
        _check_examples((given,) if given else all_contracts())
        return
    checked, broken, codes = 0, 0, Counter[str]()
    for place, found in _judged(file, given):
        checked += 1
        if not found:
            continue
        broken += 1
        codes.update(code for code, _ in found)
        if broken <= SHOWN:
            for code, message in found:
                _say(f"{file}:{place}: {code}: {message}")
    if broken > SHOWN:
        _say(f"… and {broken - SHOWN:,} more events that break their contract")
    if checked == 0:
        _say(f"{file}: no event in it", style="red")
        raise typer.Exit(1)
    by_code = f" ({', '.join(f'{code} {number:,}' for code, number in codes.most_common())})" if codes else ""
    _say(f"{checked:,} events checked, {broken:,} break their contract{by_code}", style="red" if broken else "green")
    raise typer.Exit(1 if broken else 0)


_EXAMPLES = ((True, "pass", "keeps"), (False, "fail", "breaks"))


def _check_examples(contracts: tuple[Contract, ...]) -> None:
    """Raises typer.Exit where an example is not what its name says, or a version of a contract has none of a kind."""
    checked, wrong = 0, 0
    for item in contracts:
        kinds: set[tuple[int, bool]] = set()
        for path, passes in item.examples():
            checked += 1
            kinds.add((_version(path, item), passes))
            found = _breaches(path.read_bytes(), item)
            if bool(found) == passes:
                wrong += 1
                why = "; ".join(f"{code}: {message}" for code, message in found)
                _say(f"{_shown(path)}: {why or 'keeps the contract, though by its name it must not'}")
        for number, (passes, word, does) in product((one.version for one in item.versions), _EXAMPLES):
            if (number, passes) not in kinds:
                wrong += 1
                of = f" of version {number}" if item.older else ""
                _say(f"{_shown(item.folder)}: no {word}-*.json{of}; write an event that {does} it")
    _say(f"{checked:,} examples of {len(contracts)} contracts, {wrong:,} to correct", style="red" if wrong else "green")
    if wrong:
        raise typer.Exit(1)


@app.command()
def generate(
    check_only: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 when a file is not current.")
    ] = False,
) -> None:
    """Write the files that are derived from the contracts: the data dictionary, dbt's sources, the rule schema."""
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
    from alerting.language import json_schema
    from batch_jobs import tables
    from schemas.dbt_sources import audit_sources, sources
    from schemas.dictionary import dictionary, marts

    contracts = all_contracts()
    of_gold = (
        tables.dispositions_layout,
        tables.quality_layout,
        tables.findings_layout,
        tables.volumes_layout,
        tables.expiries_layout,
    )
    return {
        PROJECT / "chain" / "rules" / "rules.schema.json": json.dumps(json_schema(), indent=2, ensure_ascii=False)
        + "\n",
        PROJECT / "docs" / "data-dictionary.md": dictionary(contracts) + marts(_models("marts")),
        PROJECT / "dbt" / "models" / "staging" / "_sources.yml": sources(contracts),
        PROJECT / "dbt" / "models" / "staging" / "_audit_sources.yml": audit_sources(layout("") for layout in of_gold),
    }


def _models(layer: str) -> list[dict[str, Any]]:
    """dbt's models of a layer, as its yml files describe them."""
    from ruamel.yaml import YAML

    files = sorted((PROJECT / "dbt" / "models" / layer).glob("*.yml"))
    return [model for path in files for model in YAML(typ="safe").load(path).get("models", ())]


def _table(*columns: str) -> Table:
    """The last column takes what width is left; names are never cut."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns[:-1]:
        table.add_column(column, no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    return table


def _shown(path: Path) -> str:
    """From the project's folder; whole where it lies elsewhere, as a chain's own contracts do."""
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)


def _say(text: str, style: str | None = None) -> None:
    """Whatever an event or a contract says, brackets and all, is printed as it is."""
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def _versions(item: Contract) -> str:
    return ", ".join(f"v{one.version}" for one in item.versions)


def _version(example: Path, newest: Contract) -> int:
    """Which version an example is of: the one it names; the newest where it names none."""
    event = _object(example.read_bytes())
    return newest.of(event if isinstance(event, dict) else {}).version


def _contract(name: str, version: int | None = None) -> Contract:
    try:
        return contract(name, version)
    except UnknownContract as error:
        _say(str(error), style="red")
        raise typer.Exit(2) from error


Found = list[tuple[str, str]]
"""(code, message) of each breach of one event."""


def _judged(file: Path, given: Contract | None) -> Iterator[tuple[int, Found]]:
    """(line number, its breaches) of every event in the file."""
    try:
        with file.open("rb") as lines:
            first = next((line for line in lines if line.strip()), b"")
    except OSError as error:
        _say(f"{file}: cannot be read: {error.strerror}; name a JSON or NDJSON file", style="red")
        raise typer.Exit(2) from error
    start = _object(first)
    if isinstance(start, dict) and {"contract", "arrived_at"} <= start.keys():
        yield from _judged_arrivals(file, given)
        return
    if given is None:
        _say(f"{file}: which contract? Name it, e.g. --contract sensor-readings; there are", style="red")
        _say("  " + ", ".join(item.name for item in all_contracts()))
        raise typer.Exit(2)
    if isinstance(start, str) and file.stat().st_size <= WHOLE_FILE:
        whole = file.read_bytes()
        if not isinstance(_object(whole), str):  # one event, written over several lines
            yield 1, _breaches(whole, given)
            return
    with file.open("rb") as lines:
        for number, line in enumerate(_track(lines, file), 1):
            if line.strip():
                yield number, _breaches(line, given)


def _judged_arrivals(file: Path, given: Contract | None) -> Iterator[tuple[int, Found]]:
    from ingestion.arrival import read_arrivals

    for arrival in _track(read_arrivals(file), file):
        number = int(arrival.source.rpartition(":")[2])
        try:
            item = given or contract(arrival.contract)
        except UnknownContract as error:
            yield number, [("contract", f"{error}; a line is {{contract, arrived_at, event}}")]
            continue
        yield number, _breaches(arrival.payload, item, before_gate=True)


def _track(steps: Iterable[Any], file: Path) -> Iterator[Any]:
    """The same, with a running count on a terminal."""
    from rich.progress import Progress, SpinnerColumn, TextColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed:,.0f} lines"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(f"Checking {escape(file.name)}", total=None)
        for number, step in enumerate(steps, 1):
            if number % 5000 == 0:
                progress.update(task, completed=number)
            yield step


@cache
def _validator(name: str, version: int) -> Callable[[dict[str, Any]], list[Reason]]:
    from schemas.validate import validator

    return validator(contract(name, version))


def _breaches(text: bytes, item: Contract, *, before_gate: bool = False) -> Found:
    """before_gate: the event is as a device or till sent it, so what the gate makes of it is judged."""
    event = _object(text)
    if isinstance(event, str):
        return [("json", event)]
    if before_gate:
        event = _as_gate_does(event, item)
    return [(reason.code, reason.message) for reason in _validator(item.name, item.version)(event)]


def _as_gate_does(event: dict[str, Any], item: Contract) -> dict[str, Any]:
    """With some keyed hash where a plain number or plate will get its own, and the value in its metric's own unit."""
    from ingestion.units import UnitDoesNotFit, converter

    event = dict(event)
    for plain, hashed, kind in _pseudonyms(item.name):
        if plain in event:
            del event[plain]
            event.setdefault(hashed, f"{kind}_{'0' * 32}")
    unit, value, wanted = event.get("unit"), event.get("value"), _units().get(str(event.get("metric")))
    if item.name == "sensor-readings" and isinstance(unit, str) and isinstance(value, int | float) and wanted:
        try:
            convert = converter(unit, wanted)
        except UnitDoesNotFit:
            return event
        if convert is not None:
            event |= {"value": convert(value), "unit": wanted, "reported_value": value, "reported_unit": unit}
    return event


@cache
def _pseudonyms(name: str) -> list[tuple[str, str, str]]:
    """(plain name, name of its hash, kind of hash)"""
    found = [(field.name, field.pseudonym) for field in contract(name).fields]
    return [(given[0], hashed, given[1]) for hashed, given in found if given]


@cache
def _units() -> dict[str, str]:
    from ingestion.units import metric_units

    return metric_units(contract("sensor-readings"))


def _object(text: bytes) -> dict[str, Any] | str:
    """The JSON object, or what is wrong with the text."""
    try:
        event = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    return event if isinstance(event, dict) else f"a JSON {type(event).__name__}; an event is an object"


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON number; leave the field out where there is no value")
