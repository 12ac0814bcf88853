"""What `grocery batch maintain` and `erase` ask for and print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.contract import all_contracts

if TYPE_CHECKING:
    from rich.console import Console

    from batch_jobs.erasure import Erasure
    from batch_jobs.maintenance import Kept
    from batch_jobs.sought import Scan, Sought

HASH = "pseudonym"
"""What is given where the plain value is not known: the hash itself."""


def plain_names() -> dict[str, str]:
    """The plain values that contracts take in, with the kind of their hash, e.g. loyalty_number -> cust."""
    fields = [one for item in all_contracts() for one in item.fields]
    return {plain: kind for one in fields if one.pseudonym for plain, kind in [one.pseudonym]}


def ask(given: str) -> list[str]:
    """The values, one a line: typed without being shown, or from a pipe. Never an argument: those stand in the shell's
    history and in the list of processes. Raises ValueError where there are none."""
    import getpass

    if sys.stdin.isatty():
        lines = []
        while line := getpass.getpass(f"{given} (not shown; empty: that is all): ").strip():
            lines.append(line)
    else:
        lines = [line.strip() for line in sys.stdin]
    values = list(dict.fromkeys(filter(None, lines)))
    if not values:
        raise ValueError(f"no {given} given: type it when asked, or pipe one a line into the command")
    return values


def sought(given: str, values: list[str], reference: str) -> Sought:
    """Raises ValueError for a kind of value that no contract takes, and for one that would stay on record."""
    from batch_jobs.sought import Sought, of_hashes
    from ingestion.pseudonym import spelled

    names = plain_names()
    if given not in names and given != HASH:
        raise ValueError(f"--given {given}: there are {', '.join([*sorted(names), HASH])}")
    if any(value.lower() in reference.lower() for value in values):
        raise ValueError("--reference holds the value that shall be erased, and is kept; give the request's own number")
    if not reference.strip():
        raise ValueError("--reference is empty; give the request's own number")
    keys = _pseudonyms(needed=given != HASH)
    if given == HASH:
        return of_hashes(values, keys, _ciphers())
    kind = names[given]
    if empty := sum(not spelled(value, kind) for value in values):
        raise ValueError(f"{empty} of {len(values)} lines hold no {given}")
    hashes = tuple(dict.fromkeys(keys.of(spelled(value, kind), kind) for value in values))
    return Sought(hashes, tuple((value, kind) for value in values), keys, _ciphers())


def _pseudonyms(*, needed: bool):
    """The gate's. A key that is not there must not be made now: it would find nobody. Raises ValueError."""
    from grocery.gateway import pseudonyms
    from grocery.settings import settings

    file = settings().home / "keys" / "pseudonym.key"
    if settings().pseudonym_key is not None or file.exists():
        return pseudonyms()
    if needed:
        raise ValueError(
            f"{file}: the gate's pseudonym key is not here, so nobody's hash can be known; give it in "
            f"GROCERY_PSEUDONYM_KEY, or give the hash itself with --given {HASH}"
        )
    return None


def _ciphers() -> tuple:
    """What opens dead letters; nothing where there is no key, which the letters that need one then tell."""
    from grocery.gateway import cipher
    from grocery.settings import settings

    there = settings().dead_letter_key is not None or (settings().home / "keys" / "dead-letters.key").exists()
    return (cipher(),) if there else ()


def drop_pages(docs: Path, found: Sought) -> int:
    """Delete the Data Docs' pages that show a sought value; the next run of the gate writes the index anew."""
    from batch_jobs.sought import scan

    hits = scan(str(docs), found).hits if docs.exists() else []
    for page in hits:
        Path(page).unlink()
    return len(hits)


def drop_gold(gold: Path, lake: str) -> bool:
    """Delete the DuckDB file and what dbt left beside it; whether there was one. Erased values must not outlive a
    rebuild that fails, so it goes first. Where days have expired from silver, only that file has their facts: it is set
    aside, where nobody reads it, until the next gold has taken them over without the persons in them."""
    import shutil

    from batch_jobs.gold import first_kept, set_aside_as

    aside = set_aside_as(gold)
    there = gold.exists() or aside.exists()
    if gold.exists() and first_kept(lake):
        gold.replace(aside)
    for file in (gold, gold.with_name(f"{gold.name}.wal")):
        file.unlink(missing_ok=True)
    shutil.rmtree(gold.parent / "dbt", ignore_errors=True)
    return there


def elsewhere(places: list[Path], found: Sought) -> Scan:
    """Read what else this workspace has made of the lake: gold with its tables opened, logs, pages."""
    from batch_jobs.sought import Scan, scan

    total = Scan()
    for place in places:
        if not place.exists():
            continue
        one = scan(str(place), found)
        if place.suffix == ".duckdb" and not one.hits and _in_gold(place, found):
            one.hits.append(str(place))
        total.files += one.files
        total.bytes += one.bytes
        total.hits += one.hits
        total.unread += one.unread
    return total


def _in_gold(gold: Path, found: Sought) -> bool:
    """Whether a row of a table holds it; DuckDB packs its columns, so the file's bytes alone prove nothing."""
    import duckdb

    with duckdb.connect(str(gold), read_only=True) as connection:
        names = connection.execute("SELECT database_name, schema_name, table_name FROM duckdb_tables()").fetchall()
        for name in names:
            table = ".".join(f'"{part}"' for part in name)
            query = f"SELECT 1 FROM {table} AS row_ WHERE regexp_matches(CAST(row_ AS VARCHAR), ?) LIMIT 1"
            if connection.execute(query, [found.re2]).fetchone():
                return True
    return False


def show_kept(console: Console, found: list[Kept], seconds: float, *, dry_run: bool) -> None:
    from rich.table import Table

    table = Table(
        *("table", "partitions", "compacted", "files before", "files", "size", "freed", "rows expired"),
        title=f"maintain{': what would be done' if dry_run else ''}, {seconds:.0f} s",
        title_justify="left",
    )
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    for one in found:
        numbers = (one.partitions, one.compacted, one.files_before, one.files)
        freed = "-" if dry_run else _size(one.freed)
        table.add_row(one.table, *(f"{n:,}" for n in numbers), _size(one.bytes), freed, f"{one.expired:,}")
    console.print(table)
    for one in found:
        if one.note:
            console.print(f"  [yellow]note[/yellow] {one.table}: {one.note}", highlight=False, soft_wrap=True)
    _faults(console, [one.fault for one in found if one.fault])


def show_erased(console: Console, erased: Erasure, rest: Scan | None, pages: int, *, dry_run: bool) -> None:
    """What was erased, where, and what the scan after it proves."""
    from rich.table import Table

    if erased.tables:
        table = Table(
            *("table", "rows", "files that held it"),
            title="erase: what would be changed" if dry_run else "erase: what was changed",
            title_justify="left",
        )
        for column in table.columns[1:]:
            column.justify = "right"
        for one in erased.tables:
            table.add_row(one.table, f"{one.rows:,}", f"{one.files:,}")
        console.print(table)
    else:
        console.print("erase: no table holds it", highlight=False)
    if pages:
        console.print(f"Data Docs: {pages} pages deleted", highlight=False)
    for name, found in (("the lake", erased.proof), ("gold, reports and logs", rest)):
        if found is not None:
            console.print(
                f"read {found.files:,} files of {name}, {_size(found.bytes)}: {len(found.hits)} hold it",
                highlight=False,
                soft_wrap=True,
            )
    if dry_run:
        return
    left = [found for found in (erased.proof, rest) if found is not None]
    _faults(
        console,
        [
            *(f"still in {file}" for found in left for file in found.hits),
            *(f"could not be read to the end: {file}" for found in left for file in found.unread),
            *(f"dead letter {one}: no key here opens it; set GROCERY_DEAD_LETTER_KEY" for one in erased.locked),
        ],
    )


def _faults(console: Console, faults: list[str]) -> None:
    from rich.markup import escape

    for fault in faults:
        console.print(f"  [red]error[/red] {escape(fault)}", highlight=False, soft_wrap=True)


def _size(count: int) -> str:
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:,.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
