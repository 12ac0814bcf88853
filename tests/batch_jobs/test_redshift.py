"""What is told to Redshift's COPY: the files of one snapshot, and columns that take what is in them."""

import json

import pytest

from batch_jobs.errors import LakeError
from batch_jobs.gold import import_delta
from batch_jobs.redshift import load_of
from tests.fixtures.gold import example_events
from tests.fixtures.silver import write_silver


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    import_delta()
    folder = tmp_path_factory.mktemp("redshift-load") / "lake"
    write_silver(folder, (event for event in example_events() if event[0] == "pos-transactions"))
    return folder


def test_a_manifest_names_the_files_of_the_newest_snapshot_and_none_that_were_removed(lake):
    folder = lake / "silver/pos_transactions"
    (folder / "part-1.parquet").write_bytes((folder / "part-0.parquet").read_bytes())
    replaced = json.loads((folder / "_delta_log" / f"{0:020d}.json").read_text().splitlines()[-1])["add"]
    steps = [{"add": replaced | {"path": "part-1.parquet"}}, {"remove": {"path": "part-0.parquet", "dataChange": True}}]
    (folder / "_delta_log" / f"{1:020d}.json").write_text("\n".join(json.dumps(step) for step in steps))
    [entry] = load_of(lake, "pos_transactions").manifest(lake, "s3://bucket/lake")["entries"]
    assert entry == {
        "url": "s3://bucket/lake/silver/pos_transactions/part-1.parquet",
        "mandatory": True,
        "meta": {"content_length": (folder / "part-1.parquet").stat().st_size},
    }


def test_nested_columns_become_super_and_texts_have_room(lake):
    load = load_of(lake, "pos_transactions")
    assert {kind for name, kind in load.columns if name in ("lines", "tenders")} == {"super"}
    assert dict(load.columns)["transaction_id"] == "varchar(65535)"
    assert dict(load.columns)["event_time"] == "timestamp"
    assert '"lines" super' in load.create("silver")
    assert load.copy("silver", "s3://bucket/m.json", "arn:aws:iam::1:role/copy").endswith(
        "parquet serializetojson manifest"
    )


def test_a_table_that_is_not_there_is_named(lake):
    with pytest.raises(LakeError, match="silver/nothing"):
        load_of(lake, "nothing")
