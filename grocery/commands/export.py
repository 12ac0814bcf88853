"""`grocery export`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from batch_jobs.training import TrainingSet

app = typer.Typer(help="What others' tools take from gold.", no_args_is_help=True)


class Label(StrEnum):
    queue = "queue"
    shelf = "shelf"


@app.callback()
def export() -> None:
    """What others' tools take from gold."""


@app.command("training")
def training(
    to: Annotated[str, typer.Option(help="Folder, or s3://bucket/prefix.", show_default=False)],
    label: Annotated[Label | None, typer.Option(help="Only this one; both, unless told.")] = None,
    from_: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First business date.", show_default=False),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Business date after the last.", show_default=False),
    ] = None,
    split: Annotated[
        float, typer.Option(min=0, max=1, help="Share of cameras' days that goes to training; the rest validates.")
    ] = 0.8,
) -> None:
    """Write detections with what later proved true as SageMaker Ground Truth manifests (JSON Lines).

    A label a folder: queue (queue, no_queue) and shelf (empty, stocked), each with train.manifest and
    validation.manifest. A camera's day is on one side, and stays there when you export again. Frames that are not on
    S3, and detections that nothing has proven so far, are left out and counted. Reads gold; run `grocery batch run`
    first. docs/training.md says what counts as proof.

    Examples:

      grocery -w demo export training --to /tmp/training

      grocery export training --to s3://bucket/training --label shelf --from 2026-10-01 --until 2026-11-01
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from rich.console import Console

    from batch_jobs.gold import GoldError
    from batch_jobs.training import NotExported, check_target, outcomes, training_set, write
    from grocery.settings import settings

    errors = Console(stderr=True)
    try:
        check_target(to)
        some = False
        for each in [label] if label else list(Label):
            rows = outcomes(settings().gold_path, each, from_ and from_.date(), until and until.date())
            made = training_set(str(each), rows, split)
            written = write(made, to) if made.classes else {}
            show(Console(), made, written)
            some = some or bool(written)
    except (GoldError, NotExported) as error:
        errors.print(str(error), markup=False, highlight=False)
        raise typer.Exit(1) from None
    except OSError as error:
        errors.print(f"{to}: cannot be written ({error.strerror}); say another place with --to", markup=False)
        raise typer.Exit(1) from None
    except (BotoCoreError, ClientError) as error:
        errors.print(f"AWS: {error}", markup=False, highlight=False)
        raise typer.Exit(1) from None
    if not some:
        errors.print("nothing was written: no detection has both a frame on S3 and a proof (docs/training.md)")
        raise typer.Exit(1)


def show(console: Console, made: TrainingSet, written: dict[str, int]) -> None:
    """What went where, and what was left out why."""
    classes = ", ".join(f"{name} {count:,}" for name, count in sorted(made.classes.items()))
    console.print(f"{made.label}: {classes or 'no lines'}", highlight=False)
    for address, lines in written.items():
        empty = "; empty: a camera's day is on one side, and there are few" if lines == 0 else ""
        console.print(f"  {lines:8,} lines  {address}{empty}", highlight=False, soft_wrap=True)
    for why, count in made.left_out.most_common():
        console.print(f"  {count:8,} left out: {why}", highlight=False, soft_wrap=True)
