"""`grocery replay`."""

import typer


def replay() -> None:
    """Not built yet."""
    raise typer.Exit(2)
