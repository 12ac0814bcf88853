"""`grocery alerts`."""

import typer

app = typer.Typer(help="Alerts: list, watch.", no_args_is_help=True)
