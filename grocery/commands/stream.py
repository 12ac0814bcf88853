"""`grocery stream`."""

import typer

app = typer.Typer(help="Flink jobs: submit, status, cancel.", no_args_is_help=True)
