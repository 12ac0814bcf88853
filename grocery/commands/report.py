"""`grocery report`."""

import typer


def report() -> None:
    """Not built yet."""
    raise typer.Exit(2)
