from __future__ import annotations

import contextlib
import gzip
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cryptography.fernet import Fernet, InvalidToken
from pyspark.errors import AnalysisException

from batch_jobs import erasure, maintenance, silver, tables
from batch_jobs.erasure import Erasure
from batch_jobs.errors import LakeError
from batch_jobs.quality import _gained
from batch_jobs.sought import ERASED, Sought
from ingestion.dead_letters import Cipher
from ingestion.pseudonym import Pseudonyms
from schemas.contract import contract
from tests.batch_jobs.bronze_rows import NOON, a_run, receive, versions

pytestmark = [pytest.mark.integration, pytest.mark.system]

VISITS, LETTERS = CONTRACTS = contract("geofence-events"), contract("dead-letters")
KEYS = Pseudonyms(b"sixteen secret bytes")
FERNET = Fernet(Fernet.generate_key())
NUMBER = "90210-4711"
CUSTOMER, OTHER = KEYS.of(NUMBER), KEYS.of("someone else")
REFERENCE = "DSR 17"


def visit(number: int, customer: str, **more: str) -> dict:
    event = {"event_id": f"visit-{number}", "event_time": "2026-10-05T11:00:00.000Z", "store_id": "store-001"}
    event |= {"schema_version": 1, "zone_id": "car-park", "zone_kind": "car_park", "event": "arrived"}
    return event | {"seen_by": "phone", "customer_id": customer} | more


def letter(number: int, original: dict, fernet: Fernet = FERNET) -> dict:
    event = {"event_id": f"letter-{number}", "event_time": "2026-10-05T12:00:00.000Z", "store_id": "unknown"}
    event |= {"schema_version": 1, "contract": "orders", "source": "till", "payload_bytes": 9, "key_id": "k"}
    reasons = [{"code": "required", "path": "/order_id", "message": "order_id is missing"}]
    return event | {"reasons": reasons, "payload": fernet.encrypt(json.dumps(original).encode()).decode()}


def tables_that_hold(lake: Path, *values: str) -> set[str]:
    """A walk of its own: every byte, every Parquet file as text, every gzip, every letter opened."""
    found = set()
    for path in lake.rglob("*"):
        if not path.is_file():
            continue
        data = path.read_bytes()
        texts = [data.decode("latin-1")]
        if data[:4] == b"PAR1":
            texts.append(str(pq.ParquetFile(path).read().to_pylist()))
        if data[:2] == b"\x1f\x8b":
            texts.append(gzip.decompress(data).decode("latin-1"))
        for token in re.findall(r"gAAAA[\w=-]+", " ".join(texts)):
            with contextlib.suppress(InvalidToken):  # cut by Parquet's own packing
                texts.append(FERNET.decrypt(token.encode()).decode())
        if any(value in text for value in values for text in texts):
            found.add("/".join(path.relative_to(lake).parts[:2]))
    return found


class Killed(Exception):
    pass


@dataclass
class Erased:
    lake: Path
    held_before: set[str]
    rows_before: int
    counted: Erasure
    versions_after_count: dict[str, int]
    versions_before: dict[str, int]
    done: Erasure


@pytest.fixture(scope="module")
def erased(spark, tmp_path_factory) -> Erased:
    """A lake from which a customer was erased, by a run that was killed and one that finished it."""
    lake = tmp_path_factory.mktemp("erased")
    receive(spark, lake, [visit(1, CUSTOMER), visit(2, OTHER)], item=VISITS)
    receive(spark, lake, [letter(1, {"loyalty_number": NUMBER}), letter(2, {"loyalty_number": "4012"})], item=LETTERS)
    silver.silver(spark, a_run(lake, "r1"), CONTRACTS)
    plain = visit(4, OTHER) | {"loyalty_number": NUMBER}
    receive(spark, lake, [visit(3, CUSTOMER), plain, f"{{broken {CUSTOMER}"], item=VISITS, first_offset=2)
    silver.silver(spark, a_run(lake, "r2"), CONTRACTS)
    layout = tables.quality_layout(str(lake))
    tables.ensure(spark, layout)
    seen = ("r2", VISITS.name, "customer_id", "critical", False, 2, 1, f"{CUSTOMER}, x", False, NOON, "id", 1)
    spark.createDataFrame([seen], layout.columns).write.format("delta").mode("append").save(layout.path)

    held, before = tables_that_hold(lake, CUSTOMER, NUMBER), versions(spark, lake)
    rows = tables.read(spark, tables.path_of(str(lake), "silver", VISITS.table)).count()
    sought = Sought((CUSTOMER,), ((NUMBER, "cust"),), KEYS, (_cipher(),))
    counted = erasure.erase(spark, a_run(lake, "count"), CONTRACTS, sought, REFERENCE, dry_run=True)
    after_count = versions(spark, lake)
    with pytest.MonkeyPatch.context() as patched:

        def die(*_):
            raise Killed

        patched.setattr(erasure, "vacuum", die)
        with pytest.raises(Killed):
            erasure.erase(spark, a_run(lake, "killed"), CONTRACTS, sought, REFERENCE)
    done = erasure.erase(spark, a_run(lake, "next"), CONTRACTS, sought, REFERENCE)
    return Erased(lake, held, rows, counted, after_count, before, done)


def _cipher() -> Cipher:
    cipher = Cipher(Fernet.generate_key())
    cipher._fernet = FERNET
    return cipher


HELD = {"bronze/geofence_events", "silver/geofence_events", "quarantine/geofence_events"}
HELD |= {"bronze/dead_letters", "silver/dead_letters", "audit/quality"}


def test_no_byte_under_the_lake_holds_them_afterwards(erased):
    assert erased.held_before == HELD
    assert tables_that_hold(erased.lake, CUSTOMER, NUMBER) == set()
    assert erased.done.complete
    assert erased.done.proof.files == sum(path.is_file() for path in erased.lake.rglob("*"))


def test_what_a_killed_run_erased_and_expired_is_counted_though_silver_ran_before_the_next_one(
    spark, tmp_path, monkeypatch
):
    old = NOON - timedelta(days=400)
    receive(spark, tmp_path, ["{old"], item=VISITS, arrived_at=old)
    receive(spark, tmp_path, [visit(1, CUSTOMER)], item=VISITS, first_offset=1)
    silver.silver(spark, a_run(tmp_path, "r1"), [VISITS])
    sought = Sought((CUSTOMER,), (), KEYS, (_cipher(),))

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(maintenance, "record_bronze", die)
        maintenance.maintain(spark, a_run(tmp_path, "m1"), [VISITS])
        patched.setattr(erasure, "record_bronze", die)
        with pytest.raises(Killed):
            erasure.erase(spark, a_run(tmp_path, "killed"), [VISITS], sought, REFERENCE)
    receive(spark, tmp_path, [visit(2, OTHER)], item=VISITS, first_offset=2)
    silver.silver(spark, a_run(tmp_path, "r2"), [VISITS])
    assert erasure.erase(spark, a_run(tmp_path, "next"), [VISITS], sought, REFERENCE).complete
    rows = tables.read(spark, tables.dispositions_layout(str(tmp_path)).path).where("rows > 0").collect()
    assert {(row.run_id, row.disposition, row["rows"]) for row in rows} == {
        ("r1", "inserted", 1),
        ("r1", "quarantined", 1),
        ("r2", "inserted", 1),
        ("next", "expired", 1),
        ("next", "erased", 1),
    }


def test_a_dry_run_counts_and_writes_nothing(erased):
    counted = {one.table: one.rows for one in erased.counted.tables}
    assert counted == {
        "bronze.geofence_events": 4,
        "silver.geofence_events": 2,
        "quarantine.geofence_events": 2,
        "bronze.dead_letters": 1,
        "silver.dead_letters": 1,
        "audit.quality": 1,
    }
    assert erased.versions_after_count == erased.versions_before


def test_the_rows_stay_and_the_others_keep_their_names(spark, erased):
    rows = tables.read(spark, tables.path_of(str(erased.lake), "silver", VISITS.table)).orderBy("event_id").collect()
    assert len(rows) == erased.rows_before
    assert [row.customer_id for row in rows] == [f"cust_{ERASED}", OTHER, f"cust_{ERASED}"]
    # What follows silver by loaded_at, as a warehouse does, takes the changed rows again.
    assert [row.run_id for row in rows] == ["next", "r1", "next"]
    payloads = tables.read(spark, tables.path_of(str(erased.lake), "bronze", VISITS.table)).orderBy("offset").collect()
    assert json.loads(payloads[0].payload) == visit(1, f"cust_{ERASED}")
    assert json.loads(payloads[3].payload)["loyalty_number"] == "erased"
    letters = tables.read(spark, tables.path_of(str(erased.lake), "silver", LETTERS.table)).orderBy("event_id")
    first, second = [row.payload for row in letters.collect()]
    assert first == "erased" and second.startswith("gAAAA")


def test_no_old_version_can_be_read(spark, erased):
    path = tables.path_of(str(erased.lake), "bronze", VISITS.table)
    for version in range(tables.snapshot(spark, path).version):
        with pytest.raises(AnalysisException, match="Cannot time travel"):
            tables.read(spark, path, version).count()


def test_what_was_erased_is_on_record_once_and_not_of_whom(spark, erased):
    found = tables.read(spark, tables.erasures_layout(str(erased.lake)).path).collect()
    assert {(row.run_id, row.reference, row.table_name, row["rows"]) for row in found} == {
        ("killed", REFERENCE, "bronze.geofence_events", 4),
        ("next", REFERENCE, "silver.geofence_events", 2),
        ("next", REFERENCE, "quarantine.geofence_events", 2),
        ("next", REFERENCE, "bronze.dead_letters", 1),
        ("next", REFERENCE, "silver.dead_letters", 1),
        ("next", REFERENCE, "audit.quality", 1),
    }
    assert len(found) == 6
    counted = tables.read(spark, tables.dispositions_layout(str(erased.lake)).path).where("disposition = 'erased'")
    rows = counted.groupBy("contract").sum("rows").collect()
    assert {row.contract: row[1] for row in rows} == {VISITS.name: 4, LETTERS.name: 1}


def test_every_table_can_still_be_read_by_athena(spark, erased):
    for path in versions(spark, erased.lake):
        assert tables.snapshot(spark, str(erased.lake / path)).reader_version == 1


def test_the_gate_checks_the_whole_of_a_table_whose_changes_are_gone(spark, erased):
    path = tables.path_of(str(erased.lake), "silver", VISITS.table)
    now = tables.snapshot(spark, path).version
    with pytest.raises(LakeError, match="no longer in its log"):
        tables.added(spark, path, 1, now)
    assert _gained(spark, path, 1, now).count() == erased.rows_before


def test_the_same_again_changes_nothing_and_silver_goes_on_with_what_is_new(spark, erased):
    before = versions(spark, erased.lake)
    sought = Sought((CUSTOMER,), ((NUMBER, "cust"),), KEYS, (_cipher(),))
    again = erasure.erase(spark, a_run(erased.lake, "again"), CONTRACTS, sought, REFERENCE)
    assert again.complete and again.tables == []
    assert versions(spark, erased.lake) == before

    receive(spark, erased.lake, [visit(5, OTHER), visit(1, OTHER)], item=VISITS, first_offset=9)
    done = silver.silver(spark, a_run(erased.lake, "r3"), CONTRACTS)
    assert [(one.rows, one.inserted, one.duplicate) for one in done] == [(2, 1, 1), (0, 0, 0)]


def test_a_letter_that_no_key_opens_is_named(spark, erased):
    receive(spark, erased.lake, [letter(9, {}, Fernet(Fernet.generate_key()))], item=LETTERS, first_offset=9)
    sought = Sought((CUSTOMER,), (), KEYS, (_cipher(),))
    found = erasure.erase(spark, a_run(erased.lake, "locked"), CONTRACTS, sought, REFERENCE, dry_run=True)
    assert found.locked == ["letter-9"]
    assert not found.complete


def test_a_bronze_that_silver_has_not_taken_is_refused(spark, erased):
    receive(spark, erased.lake, [visit(7, OTHER)], item=VISITS, first_offset=20)
    sought = Sought((OTHER,), (), KEYS, (_cipher(),))
    with pytest.raises(LakeError, match="silver has not taken its newest rows; run `grocery batch silver` first"):
        erasure.erase(spark, a_run(erased.lake, "early"), [VISITS], sought, REFERENCE)
