"""What stands in a manifest, and on which side of the split. The lines are as AWS' page on output data has them."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import boto3
import pytest

from batch_jobs.training import NotExported, check_target, training_set, write

AT = datetime.fromisoformat


def row(number: int = 1, **fields: Any) -> dict[str, Any]:
    """One of fct_detection_outcome: an empty facing that sales confirmed."""
    return {
        "store_id": "store-001",
        "camera_id": "camera-3",
        "business_date": date(2026, 10, 5),
        "detection_id": f"d{number}",
        "event_time_utc": AT("2026-10-05 08:00:00"),
        "model": "shelf-watch",
        "model_version": "1.8.0",
        "confidence": Decimal("0.97"),
        "claimed": "empty",
        "proved": "empty",
        "proof": "sales",
        "proved_at_utc": AT("2026-10-05 12:00:00"),
        "frame_ref": f"s3://frames/store-001/camera-3/{number}.jpg",
    } | fields


def days(count: int) -> list[dict[str, Any]]:
    return [row(n, business_date=date.fromordinal(740_000 + n)) for n in range(count)]


def lines(*rows: dict[str, Any], label: str = "shelf") -> list[dict[str, Any]]:
    made = training_set(label, rows, split=1)
    assert made.validation == []
    return [json.loads(line) for line in made.train]


def test_a_line_is_as_ground_truth_writes_it_with_what_the_model_had_said_beside_it():
    assert lines(row()) == [
        {
            "source-ref": "s3://frames/store-001/camera-3/1.jpg",
            "shelf": 1,
            "shelf-metadata": {
                "class-name": "empty",
                "confidence": 0.97,
                "type": "groundtruth/image-classification",
                "job-name": "labeling-job/smart-grocery-shelf-sales",
                "human-annotated": "no",
                "creation-date": "2026-10-05T12:00:00.000",
            },
            "detected": 1,
            "detected-metadata": {
                "class-name": "empty",
                "confidence": 0.97,
                "type": "groundtruth/image-classification",
                "job-name": "labeling-job/shelf-watch-1-8-0",
                "human-annotated": "no",
                "creation-date": "2026-10-05T08:00:00.000",
            },
        }
    ]


def test_where_the_model_was_wrong_the_label_is_what_proved_true_and_its_confidence_low():
    [line] = lines(row(claimed="queue", proved="no_queue", proof="person"), label="queue")
    assert (line["queue"], line["queue-metadata"]["class-name"]) == (0, "no_queue")
    assert line["queue-metadata"]["confidence"] == 0.03
    assert line["queue-metadata"]["human-annotated"] == "yes"
    assert (line["detected"], line["detected-metadata"]["class-name"]) == (1, "queue")
    assert line["detected-metadata"]["confidence"] == 0.97


def test_what_has_no_proof_or_no_frame_on_s3_is_left_out_and_counted():
    made = training_set(
        "shelf",
        [
            row(1),
            row(2, proved=None, proof=None, proved_at_utc=None),
            row(3, frame_ref=None),
            row(4, frame_ref="premises://camera-3/1"),
            row(5, frame_ref="s3://frames/a.jpg?X-Amz-Signature=abc"),
            row(6, frame_ref="s3://frames/folder/"),
        ],
        split=1,
    )
    assert len(made.train) == 1
    assert made.left_out == {"not proven so far": 1, "no frame": 1, "frame not on S3": 3}


def test_a_frame_with_several_zones_is_one_line_or_none_where_they_disagree():
    one, other = "s3://frames/1.jpg", "s3://frames/2.jpg"
    made = training_set(
        "shelf",
        [
            row(1, frame_ref=one),
            row(2, frame_ref=other),
            row(3, frame_ref=one),
            row(4, frame_ref=other, proved="stocked"),
        ],
        split=1,
    )
    assert [json.loads(line)["source-ref"] for line in made.train] == [one]
    assert made.left_out == {"further zone of a frame": 1, "frame shows zones that disagree": 2}


def test_lines_keep_their_side_when_more_comes_and_a_cameras_day_is_on_one():
    before = training_set("shelf", days(200))
    after = training_set("shelf", days(400))
    assert set(before.train) <= set(after.train)
    assert set(before.validation) <= set(after.validation)
    assert 0.7 < len(after.train) / 400 < 0.9
    wider = training_set("shelf", days(400), split=0.9)
    assert set(after.train) < set(wider.train)
    same_day = training_set("shelf", [row(n) for n in range(50)])
    assert 0 in (len(same_day.train), len(same_day.validation))


def test_nothing_of_people_is_in_a_line():
    told = json.dumps(lines(row(customer_id="cus_1", actor="on-call", comment="Mr X was there")))
    assert "cus_1" not in told and "on-call" not in told and "Mr X" not in told


def test_a_second_export_takes_the_first_ones_place(tmp_path):
    made = training_set("shelf", days(40))
    written = write(made, str(tmp_path))
    assert sum(written.values()) == 40
    first = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.name for path in first} == {"train.manifest", "validation.manifest"}
    assert write(made, str(tmp_path)) == written
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == first


def test_manifests_go_to_s3(aws):
    client = boto3.client("s3")
    client.create_bucket(Bucket="sets", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    made = training_set("shelf", days(40))
    written = write(made, "s3://sets/oct/")
    assert written == {
        "s3://sets/oct/shelf/train.manifest": len(made.train),
        "s3://sets/oct/shelf/validation.manifest": len(made.validation),
    }
    body = client.get_object(Bucket="sets", Key="oct/shelf/train.manifest")["Body"].read().decode()
    assert body.splitlines() == made.train


@pytest.mark.parametrize("to", ["http://sets/oct", "s3://", "s3a://sets"])
def test_a_place_that_is_neither_folder_nor_s3_is_refused(to):
    with pytest.raises(NotExported, match="neither a folder nor an address"):
        check_target(to)
    check_target("a/folder")
