"""`grocery ingest`."""

import typer

app = typer.Typer(help="Let events in: files, ticker, dead letters.", no_args_is_help=True)
