"""`grocery stack`."""

import typer

app = typer.Typer(help="The local stack: broker and Flink cluster.", no_args_is_help=True)
