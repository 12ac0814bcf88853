"""`grocery simulate`."""

import typer


def simulate() -> None:
    """Not built yet."""
    raise typer.Exit(2)
