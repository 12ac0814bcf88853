"""`grocery doctor`."""

import typer


def doctor() -> None:
    """Check that this machine has what is needed: Python, Java, Maven, memory, disk, and the set-up itself.

    Each missing thing is named with how to get it on Debian, Fedora and macOS. Exit code 1 when one is missing.
    """
    from rich.console import Console
    from rich.table import Table

    from grocery import prerequisites
    from grocery.settings import settings
    from grocery.setup import stale

    home = settings().home
    found = prerequisites.checks(home)
    old = stale(home)
    found.append(
        prerequisites.Check(
            "Set-up",
            f"{' and '.join(old)} missing or older than the sources" if old else "current",
            "packages and jars current",
            not old,
            ("make setup",) if old else (),
        )
    )
    table = Table(box=None, pad_edge=False)
    for column in ("", "", "found", "needed"):
        table.add_column(column)
    for check in found:
        mark = "[green]ok[/]" if check.ok else "[red]missing[/]"
        table.add_row(mark, check.name, check.found, check.needed)
    console = Console()
    console.print(table)
    lacking = prerequisites.missing(found)
    if lacking:
        Console(stderr=True).print(f"\n{lacking}", markup=False, highlight=False)
        raise typer.Exit(1)
