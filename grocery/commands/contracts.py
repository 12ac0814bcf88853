"""`grocery contracts`."""

import typer

app = typer.Typer(help="What an event looks like: list, show, check.", no_args_is_help=True)
