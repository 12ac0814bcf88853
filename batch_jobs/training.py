"""Training sets for SageMaker: what cameras saw, with what later proved true, as Ground Truth's augmented manifests.

A manifest is JSON Lines, a line a frame, as Ground Truth writes it after a job of image classification:
https://docs.aws.amazon.com/sagemaker/latest/dg/sms-data-output.html. What is true comes from gold's
fct_detection_outcome; a line holds the frame's address and nothing of who was in the store.

A second run writes the same lines, and those proven since; a camera's day stays on its side of the split.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from batch_jobs.gold import GoldError, connect

CLASSES = {"queue": ("no_queue", "queue"), "shelf": ("stocked", "empty")}
"""Label -> its classes; a class's place is the number that the manifest has for it."""
SPLIT = 0.8
TYPE = "groundtruth/image-classification"
_ON_S3 = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^?#]*[^?#/]")  # no question mark: nothing that is signed


class NotExported(ValueError):
    """The training set cannot be written; the message says why and what to do."""


@dataclass(slots=True)
class TrainingSet:
    """One label's lines. left_out: why -> how many detections; classes: how many lines of each."""

    label: str
    train: list[str] = field(default_factory=list)
    validation: list[str] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


def outcomes(gold: Path, label: str, since: date | None = None, until: date | None = None) -> list[dict[str, Any]]:
    """Rows of fct_detection_outcome, in the order of time. since: first business date; until: the one after the last.

    Raises GoldError where there is no gold, or an older one without the table.
    """
    import duckdb

    sql = "FROM fct_detection_outcome WHERE label = ? AND business_date >= ? AND business_date < ?"
    span = [since or date.min.replace(year=1900), until or date.max]
    try:
        with connect(gold) as connection:
            found = connection.execute(f"{sql} ORDER BY event_time_utc, detection_id", [label, *span])
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    except duckdb.CatalogException as error:
        raise GoldError(f"{gold} has no fct_detection_outcome; build it with `grocery batch gold`") from error


def training_set(label: str, rows: Iterable[Mapping[str, Any]], split: float = SPLIT) -> TrainingSet:
    """The lines that rows of fct_detection_outcome make.

    Left out, and counted: what nothing has proven so far, what has no frame or one that is not on S3, and further
    zones of a frame, because such a line is about a whole picture: where they disagree, all of them.
    """
    made = TrainingSet(label)
    frames: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if (why := _unfit(row)) is not None:
            made.left_out[why] += 1
        else:
            frames.setdefault(row["frame_ref"], []).append(row)
    for shown in frames.values():
        if len({row["proved"] for row in shown}) > 1:
            made.left_out["frame shows zones that disagree"] += len(shown)
            continue
        made.left_out["further zone of a frame"] += len(shown) - 1
        row = shown[0]
        made.classes[row["proved"]] += 1
        (made.train if _share(row) < split else made.validation).append(_line(label, row))
    made.left_out = +made.left_out  # without zeros
    return made


def write(made: TrainingSet, to: str) -> dict[str, int]:
    """Write <to>/<label>/train.manifest and validation.manifest, in the old ones' place; address -> lines.

    to: a folder, or s3://bucket/prefix. Raises OSError, or what AWS answers.
    """
    written = {}
    for name, lines in (("train", made.train), ("validation", made.validation)):
        address = f"{to.rstrip('/')}/{made.label}/{name}.manifest"
        content = "".join(f"{line}\n" for line in lines).encode()
        if address.startswith("s3://"):
            import awswrangler as wr

            wr.s3.upload(io.BytesIO(content), address)
        else:
            path = Path(address)
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(".part")
            fresh.write_bytes(content)
            os.replace(fresh, path)
        written[address] = len(lines)
    return written


def check_target(to: str) -> None:
    """Raises NotExported for what is neither a folder nor a place on S3."""
    scheme, mark, rest = to.partition("://")
    if mark and (scheme != "s3" or not rest.strip("/")):
        raise NotExported(f"{to}: neither a folder nor an address like s3://bucket/training")


def _unfit(row: Mapping[str, Any]) -> str | None:
    if row["proved"] is None:
        return "not proven so far"
    if not row["frame_ref"]:
        return "no frame"
    return None if _ON_S3.fullmatch(row["frame_ref"]) else "frame not on S3"


def _share(row: Mapping[str, Any]) -> float:
    """0 to 1, the same for ever. By camera and day: frames minutes apart are nearly the same picture."""
    key = f"{row['store_id']}|{row['camera_id']}|{row['business_date']}"
    return int(hashlib.sha256(key.encode()).hexdigest()[:13], 16) / 16**13


def _line(label: str, row: Mapping[str, Any]) -> str:
    """What proved true under the label's own name; what the model had said as `detected`, like an earlier job's."""
    import json

    classes = CLASSES[label]
    sure = Decimal(row["confidence"])
    by_person = row["proof"] == "person"
    return json.dumps(
        {"source-ref": row["frame_ref"]}
        | {
            label: classes.index(row["proved"]),
            f"{label}-metadata": _metadata(
                row["proved"],
                sure if row["proved"] == row["claimed"] else 1 - sure,
                f"smart-grocery-{label}-{row['proof']}",
                "yes" if by_person else "no",
                row["proved_at_utc"],
            ),
            "detected": classes.index(row["claimed"]),
            "detected-metadata": _metadata(
                row["claimed"], sure, f"{row['model']}-{row['model_version']}", "no", row["event_time_utc"]
            ),
        }
    )


def _metadata(name: str, confidence: Decimal, job: str, human: str, at: datetime) -> dict[str, Any]:
    """Ground Truth's metadata of one label. A job's name has letters, digits and hyphens."""
    return {
        "class-name": name,
        "confidence": round(float(confidence), 6),
        "type": TYPE,
        "job-name": "labeling-job/" + re.sub(r"[^A-Za-z0-9]+", "-", job).strip("-"),
        "human-annotated": human,
        "creation-date": at.isoformat(timespec="milliseconds"),
    }
