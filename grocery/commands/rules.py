"""`grocery rules`."""

import typer

app = typer.Typer(help="Alert rules: check.", no_args_is_help=True)
