"""`grocery report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grocery.settings import settings


def report(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write it; default: report.html of the workspace.")
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=31, help="How many of each store's newest business dates it shows.")
    ] = 2,
) -> None:
    """Write the report page: temperatures, alerts, queues and the cold-chain record of every store.

    One HTML file that holds all it needs, so it opens offline and can be mailed. It reads gold: run
    `grocery batch run` first.

    Examples:

      grocery report

      grocery -w demo report --out /tmp/stores.html --days 7
    """
    from rich.console import Console

    from batch_jobs.gold import GoldError
    from grocery.report.page import write

    path = out or settings().report_path
    try:
        size = write(settings().gold_path, path, days)
    except GoldError as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False)
        raise typer.Exit(1) from None
    except OSError as error:
        why = f"{path}: cannot be written ({error.strerror}); say another place with --out"
        Console(stderr=True).print(why, markup=False, highlight=False)
        raise typer.Exit(1) from None
    Console().print(f"{path} ({size / 1e6:.1f} MB): open it in a browser", highlight=False, soft_wrap=True)
