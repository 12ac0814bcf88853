"""What works on a folder, on S3: `python -m tests.batch_jobs.s3_day FOLDER`, with AWS' settings leading to a store that
has the bucket `grocery`, empty. Says each step that held; tests/batch_jobs/test_s3.py runs it."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import boto3
import pyarrow.parquet as pq

from batch_jobs import landing, maintenance, quarantine, silver, tables
from batch_jobs.backfill import Span, backfill
from batch_jobs.erasure import erase
from batch_jobs.landing import LOADED, SET_ASIDE
from batch_jobs.quality import quality
from batch_jobs.run import Run, lease, new_run
from batch_jobs.session import end, session
from batch_jobs.sought import of_hashes
from grocery.settings import settings
from ingestion.pseudonym import Pseudonyms
from schemas.contract import contract
from tests.fixtures.landing import land

LAKE, LANDING = "s3a://grocery/lake", "s3://grocery/landing"
VISITS = contract("geofence-events")
CUSTOMER, OTHER = map(Pseudonyms(b"sixteen secret bytes").of, ("90210-4711", "someone else"), ("cust", "cust"))


def visit(number: int, customer: str, **more: str) -> dict:
    event = {"event_id": f"visit-{number}", "event_time": "2026-10-05T11:00:00.000Z", "store_id": "store-001"}
    event |= {"schema_version": 1, "zone_id": "car-park", "zone_kind": "car_park", "event": "arrived"}
    return event | {"seen_by": "phone", "customer_id": customer} | more


def deliver(folder: Path, payloads: list, number: int) -> None:
    file = land(folder / "in", payloads, number, topic=VISITS.topic)
    boto3.client("s3").upload_file(str(file), "grocery", f"landing/{file.relative_to(folder / 'in')}")


def objects() -> dict[str, bytes]:
    found = boto3.resource("s3").Bucket("grocery").objects.filter(Prefix="lake/")
    return {one.key: one.get()["Body"].read() for one in found}


def logs() -> set[str]:
    """Every version of every table."""
    return {key for key in objects() if "/_delta_log/" in key and key.endswith(".json")}


def holding(value: str) -> list[str]:
    """Objects that hold it, by a walk of its own."""
    found = []
    for key, data in objects().items():
        text = data.decode("latin-1")
        if data[:4] == b"PAR1":
            text += str(pq.ParquetFile(io.BytesIO(data)).read().to_pylist())
        if value in text:
            found.append(key)
    return found


def day(folder: Path) -> None:
    spark = session(settings().jars / "spark", folder / "logs", s3=settings().jars / "s3a", short=True, memory="1500m")

    def a_run() -> Run:
        """The day after the records came."""
        return replace(new_run(LAKE), at=datetime(2026, 10, 6, 12, tzinfo=UTC))

    def take() -> landing.Taken:
        taken, *strays = landing.land(spark, a_run(), LANDING, [VISITS])
        assert not strays, strays
        return taken

    def curate() -> silver.Curated:
        return silver.silver(spark, a_run(), [VISITS])[0]

    with lease(LAKE):
        deliver(folder, [visit(1, CUSTOMER), visit(2, OTHER), visit(2, OTHER), visit(3, CUSTOMER, event="flew")], 1)
        boto3.client("s3").put_object(
            Bucket="grocery", Key=f"landing/{VISITS.topic}/cut.gz", Body=b"\x1f\x8b\x08\x00cut"
        )
        taken = take()
        assert (taken.rows, taken.count(LOADED), taken.count(SET_ASIDE)) == (4, 1, 1)
        before = logs()
        assert all(fate.known for fate in take().fates) and logs() == before
        print("files", flush=True)

        done = curate()
        assert (done.inserted, done.duplicate, done.quarantined) == (2, 1, 1), done
        deliver(folder, [visit(4, OTHER)], 2)
        assert (take().rows, curate().inserted) == (1, 1)
        print("silver", flush=True)

        assert quality(spark, a_run(), [VISITS], folder / "docs", accept=True).checked[0].rows == 3
        print("quality", flush=True)

        (group,), records = quarantine.groups(LAKE, [VISITS])
        assert (records, group.reason) == (1, "enum:/event")
        assert quarantine.find(LAKE, [VISITS], "visit-3").place == group.example
        (replayed,) = quarantine.replay(spark, a_run(), [VISITS])
        assert (replayed.rows, replayed.quarantined) == (1, 1)
        print("quarantine", flush=True)

        path = tables.path_of(LAKE, "silver", VISITS.table)
        spark.sql(f"DELETE FROM delta.`{path}` WHERE event_id = 'visit-2'")
        (mended,) = backfill(spark, a_run(), [VISITS], Span(date(2026, 10, 5), date(2026, 10, 5)))
        assert (mended.rows, mended.added) == (5, 1), mended
        print("backfill", flush=True)

        maintenance.MANY_FILES = 1
        kept = {one.table: one for one in maintenance.maintain(spark, a_run(), [VISITS])}
        assert not [one.fault for one in kept.values() if one.fault]
        assert (kept["bronze.geofence_events"].compacted, kept["bronze.geofence_events"].files) == (1, 1)
        print("maintain", flush=True)

        assert holding(CUSTOMER)
        erased = erase(spark, a_run(), [VISITS], of_hashes([CUSTOMER]), "DSR 17")
        assert erased.complete, erased
        assert holding(CUSTOMER) == [] and holding(OTHER)
        assert {row.table_name for row in tables.read(spark, tables.erasures_layout(LAKE).path).collect()} == {
            *("bronze.geofence_events", "silver.geofence_events", "quarantine.geofence_events")
        }
        again = erase(spark, a_run(), [VISITS], of_hashes([CUSTOMER]), "DSR 17")
        assert again.complete and not again.tables
    end(spark)
    print("erased", flush=True)


if __name__ == "__main__":
    day(Path(sys.argv[1]))
