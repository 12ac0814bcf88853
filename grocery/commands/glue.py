"""`grocery glue`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from glue.catalog import Registered

app = typer.Typer(
    help="The lakehouse on AWS Glue: the catalog. Credentials, region and endpoint are those of AWS' own settings "
    "(AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, …).",
    no_args_is_help=True,
)


@app.callback()
def glue() -> None:
    """Keeps the group a group while it has one command."""


@app.command("register")
def register() -> None:
    """Register the lake's tables in the Glue catalog, with columns, types and comments from the contracts.

    The lake is GROCERY_LAKE, on S3. A database a layer: <prefix>_bronze, _silver, _quarantine and _audit, the prefix
    being GROCERY_GLUE_PREFIX. Run it again whenever a contract has grown; a run that finds nothing new changes nothing.
    A table that somebody else has defined is refused by name. A table can be queried once a batch run has written it.
    """
    import boto3
    from rich.console import Console

    from glue.catalog import register
    from grocery.gateway import clear_errors
    from grocery.settings import settings
    from schemas.contract import all_contracts

    where = settings()
    with clear_errors(), _aws():
        done = register(boto3.Session(), where.lake_path, where.glue_prefix, all_contracts())
    show_registered(Console(), done)


@contextlib.contextmanager
def _aws() -> Iterator[None]:
    """What AWS answers, or that it does not, in one line."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise ValueError(f"AWS: {error}") from error


def show_registered(console: Console, done: list[Registered]) -> None:
    """What each database gained; each table that was changed, with what changed in it."""
    from rich.table import Table

    table = Table("database", "created", "changed", "unchanged", title="Glue catalog", title_justify="left")
    for one in done:
        table.add_row(one.database, str(len(one.created)), str(len(one.changed)), str(one.unchanged))
    console.print(table)
    for one in done:
        for name, what in one.changed.items():
            console.print(f"  {one.database}.{name}: {what}", highlight=False, soft_wrap=True)
