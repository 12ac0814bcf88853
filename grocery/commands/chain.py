"""`grocery chain`."""

import typer

app = typer.Typer(help="The chain's own facts: check and publish stores, assets, products.", no_args_is_help=True)
