"""`grocery query`."""

import typer


def query() -> None:
    """Not built yet."""
    raise typer.Exit(2)
