"""`grocery glue`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from glue.catalog import Registered
    from glue.package import Package

app = typer.Typer(
    help="The lakehouse on AWS Glue: the catalog, and what a job needs with it. Credentials, region and endpoint are "
    "those of AWS' own settings (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, …).",
    no_args_is_help=True,
)


@app.command("register")
def register() -> None:
    """Register the lake's tables in the Glue catalog, with columns, types and comments from the contracts.

    The lake is GROCERY_LAKE, on S3. A database a layer: <prefix>_bronze, _silver, _quarantine and _audit, the prefix
    being GROCERY_GLUE_PREFIX. Run it again whenever a contract has grown; a run that finds nothing new changes nothing.
    A table that somebody else has defined is refused by name. A table that no run has written yet is left out by
    name, because no query of it could be answered: run this again once it is there.
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


@app.command("package")
def package(
    to: Annotated[Path | None, typer.Option(help="Folder to build into; default <home>/glue.")] = None,
    at: Annotated[
        str | None, typer.Option(help="Where the files will lie, e.g. s3://bucket/jobs; the manifest names them there.")
    ] = None,
) -> None:
    """Build what a Glue 6.0 job needs: the wheel of the batch jobs, the archive of all wheels, the entry scripts.

    Prints the manifest, which is also written beside them (manifest.json): the job's arguments, sizes and hashes, and
    the commit it was made from. The same tree gives the same bytes. Nothing is uploaded.
    """
    import json
    import os
    import sys

    from rich.console import Console

    from glue.package import build, manifest
    from grocery.gateway import clear_errors
    from grocery.settings import settings
    from grocery.setup import uv_environment

    said = Console(stderr=True)  # the manifest alone goes to stdout
    folder = to or settings().home / "glue"
    with clear_errors(), said.status("…") as status:
        environment = os.environ | uv_environment(Path(sys.executable))
        made = build(folder, environment, lambda step: status.update(f"{step}…"))
        text = json.dumps(manifest(made, at), indent=2)
        (folder / "manifest.json").write_text(text + "\n", "utf-8")
    show_package(said, made)
    print(text)


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
        for words, names in (("not written yet", one.unwritten), ("no longer there, taken out", one.dropped)):
            if names:
                console.print(f"  {one.database}, {words}: {', '.join(names)}", highlight=False, soft_wrap=True)


def show_package(console: Console, made: Package) -> None:
    """The files and their sizes, and which of the wheels are large."""
    for one in (*made.scripts, made.wheel, made.archive):
        console.print(f"{one.stat().st_size / 1e3:10,.0f} kB  {one}", highlight=False, soft_wrap=True)
    large = sorted(made.wheels.items(), key=lambda item: -item[1])[:5]
    told = ", ".join(f"{name.split('-')[0]} {size / 1e6:.0f} MB" for name, size in large)
    console.print(f"{len(made.wheels)} wheels in the archive, the largest: {told}", highlight=False, soft_wrap=True)
