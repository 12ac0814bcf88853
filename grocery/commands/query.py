"""`grocery query`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from grocery.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb
    from rich.console import Console

ROWS_SHOWN = 1000
UNBROKEN = 18  # characters up to which a value is kept on one line
PIPED_WIDTH = 160  # where there is no terminal to ask


class Format(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"


def query(
    sql: Annotated[str | None, typer.Argument(help="One SQL query, in DuckDB's dialect.", show_default=False)] = None,
    question: Annotated[
        str | None,
        typer.Option("--question", "-q", help="Ask one of the questions of dbt/analyses, by name.", show_default=False),
    ] = None,
    out: Annotated[
        Format,
        typer.Option("--format", "-f", help="table is for people and shows 1000 rows at most; csv and json show all."),
    ] = Format.table,
) -> None:
    """Ask the gold tables. Without a query: which tables and ready questions there are.

    Gold is opened read only. Columns that end in _utc are UTC instants; every fact has business_date and local_hour in
    its store's own zone.

    Examples:

      grocery query "SELECT store_id, rule, count(*) FROM fct_alert GROUP BY ALL"

      grocery query "DESCRIBE fct_sale_line"

      grocery query --question cold_chain_out_of_range

      grocery -w demo query --format csv "FROM rpt_cold_chain_compliance" > compliance.csv
    """
    import duckdb
    from rich.console import Console

    from batch_jobs.errors import LakeError
    from batch_jobs.gold import GoldError, connect, questions

    errors = Console(stderr=True)
    if sql and question:
        errors.print("give a query or --question, not both")
        raise typer.Exit(2)
    if question:
        known = {q.name: q for q in questions()}
        if question not in known:
            errors.print(f"{question}: no such question; there are {', '.join(known)}", markup=False)
            raise typer.Exit(2)
        sql = known[question].sql
    try:
        with connect(settings().gold_path, settings().lake_path) as gold:
            if sql:
                show(gold, sql, out, None if question is None else known[question].text)
            else:
                _show_contents(gold)
    except (GoldError, LakeError) as error:
        errors.print(str(error), markup=False, highlight=False)
        raise typer.Exit(1) from None
    except duckdb.Error as error:
        errors.print(f"the query failed: {error}", markup=False, highlight=False)
        errors.print('`grocery query` lists the tables; `grocery query "DESCRIBE fct_alert"` a table\'s columns')
        raise typer.Exit(1) from None


def show(gold: duckdb.DuckDBPyConnection, sql: str, out: Format = Format.table, title: str | None = None) -> None:
    """Run one query and print its rows. Raises duckdb.Error, also where there are several statements."""
    import duckdb

    if len(statements := gold.extract_statements(sql)) != 1:
        raise duckdb.InvalidInputException(f"one query at a time, please; these are {len(statements)}")
    result = gold.execute(statements[0])
    names = [column[0] for column in result.description or ()]
    if out is Format.csv:
        _print_csv(names, result.fetchall())
    elif out is Format.json:
        _print_json(names, result.fetchall())
    else:
        _print_table(names, result.fetchmany(ROWS_SHOWN + 1), title)


def _print_table(names: list[str], rows: list[tuple], title: str | None) -> None:
    from decimal import Decimal

    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for at, name in enumerate(names):
        numeric = all(isinstance(row[at], int | float | Decimal | None) for row in rows)
        widest = max((len(_cell(row[at])) for row in rows), default=0)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold", min_width=min(widest, UNBROKEN))
    for row in rows[:ROWS_SHOWN]:
        table.add_row(*(Text(_cell(value), style="dim" if value is None else "") for value in row))
    console = _console()
    console.print(table)
    if len(rows) > ROWS_SHOWN:
        console.print(f"the first {ROWS_SHOWN} rows; add a LIMIT, or take all with --format csv")
    elif not rows:
        console.print("no rows")


def _console() -> Console:
    import sys

    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)


def _cell(value: object) -> str:
    from decimal import Decimal

    if value is None:
        return "null"
    return format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)


def _print_csv(names: list[str], rows: Iterable[tuple]) -> None:
    import csv
    import sys

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)


def _print_json(names: list[str], rows: Iterable[tuple]) -> None:
    import json
    from decimal import Decimal

    def plain(value: object) -> object:
        return float(value) if isinstance(value, Decimal) else str(value)

    found = [dict(zip(names, row, strict=True)) for row in rows]
    typer.echo(json.dumps(found, default=plain, ensure_ascii=False, indent=1))


def _show_contents(gold: duckdb.DuckDBPyConnection) -> None:
    from rich import box
    from rich.table import Column, Table

    from batch_jobs.gold import questions

    tables = Table("table", Column("rows", justify="right"), "what a row is", box=box.SIMPLE_HEAD)
    listed = "SELECT table_name, comment FROM duckdb_tables() WHERE schema_name = 'main' ORDER BY 1"
    for name, comment in gold.execute(listed).fetchall():
        rows = gold.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
        tables.add_row(name, f"{rows:,}", " ".join((comment or "").split()).partition(". ")[0])
    asked = Table("question", "", box=box.SIMPLE_HEAD)
    for question in questions():
        asked.add_row(question.name, question.text)
    console = _console()
    console.print(tables, asked)
    console.print('ask: grocery query "SELECT …" or grocery query --question NAME')
