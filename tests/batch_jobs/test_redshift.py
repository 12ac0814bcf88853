"""What is told to Redshift's COPY: the files of one snapshot, and columns that take what is in them."""

import json

import pyarrow.parquet as pq
import pytest

from batch_jobs.errors import LakeError
from batch_jobs.gold import import_delta
from batch_jobs.redshift import load_of
from tests.fixtures.gold import example_events
from tests.fixtures.silver import append_silver, write_silver


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    import_delta()
    folder = tmp_path_factory.mktemp("redshift-load") / "lake"
    write_silver(folder, (event for event in example_events() if event[0] == "pos-transactions"))
    return folder


def receipt():
    return next(event for event in example_events() if event[0] == "pos-transactions")


def without_column(lake, table, column):
    """A silver with one receipt, written before the contract had the column; the table has it."""
    write_silver(lake, [receipt()])
    file = lake / "silver" / table / "part-0.parquet"
    pq.write_table(pq.read_table(file).drop_columns([column]), file)
    log = lake / "silver" / table / "_delta_log" / f"{0:020d}.json"
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    steps[-1]["add"]["size"] = file.stat().st_size
    log.write_text("\n".join(json.dumps(step) for step in steps))


def test_a_manifest_names_the_files_of_the_newest_snapshot_and_none_that_were_removed(lake):
    folder = lake / "silver/pos_transactions"
    (folder / "part-1.parquet").write_bytes((folder / "part-0.parquet").read_bytes())
    replaced = json.loads((folder / "_delta_log" / f"{0:020d}.json").read_text().splitlines()[-1])["add"]
    steps = [{"add": replaced | {"path": "part-1.parquet"}}, {"remove": {"path": "part-0.parquet", "dataChange": True}}]
    (folder / "_delta_log" / f"{1:020d}.json").write_text("\n".join(json.dumps(step) for step in steps))
    [part] = load_of(lake, "pos_transactions").parts
    [entry] = part.manifest(lake, "s3://bucket/lake")["entries"]
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
    [part] = load.parts
    assert part.copy("silver", "s3://bucket/m.json", "arn:aws:iam::1:role/copy").endswith(
        "parquet serializetojson manifest"
    )


def test_files_of_before_a_column_came_are_copied_by_themselves_and_the_table_has_it(tmp_path):
    without_column(tmp_path, "pos_transactions", "channel")
    append_silver(tmp_path, [receipt() for _ in range(2)], "2026-10-06T00:00:00Z")
    load = load_of(tmp_path, "pos_transactions")
    new, old = sorted(load.parts, key=lambda part: "channel" not in part.columns)
    assert [file.name for file in (*old.files, *new.files)] == ["part-0.parquet", "part-1.parquet"]
    assert set(new.columns) - set(old.columns) == {"channel"}
    for part in (old, new):
        (file,) = part.files
        assert list(part.columns) == pq.read_schema(file).names, "COPY goes by their place"
        told = ", ".join(f'"{name}"' for name in part.columns)
        assert part.copy("silver", "s3://bucket/m.json", "arn:…").startswith(f"copy silver.pos_transactions ({told})\n")
    assert '"channel" varchar(65535)' in load.create("silver")


def test_a_table_of_before_gains_the_column_though_no_file_has_it_yet(tmp_path):
    without_column(tmp_path, "pos_transactions", "lines")
    load = load_of(tmp_path, "pos_transactions")
    (part,) = load.parts
    assert "lines" not in part.columns
    assert load.gain("silver", part.columns) == ['alter table silver.pos_transactions add column "lines" super']
    assert load.gain("silver", [name for name, _ in load.columns]) == []


def test_a_table_that_is_not_there_is_named(lake):
    with pytest.raises(LakeError, match="silver/nothing"):
        load_of(lake, "nothing")
