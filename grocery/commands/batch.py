"""`grocery batch`."""

import typer

app = typer.Typer(help="The lakehouse: bronze, silver, gold, run.", no_args_is_help=True)
