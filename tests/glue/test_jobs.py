"""The entry scripts, called as Glue calls them. What they do with Spark is tests/glue/test_submit.py's."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

import glue
from batch_jobs.backfill import Backfilled, Span
from batch_jobs.broker import Broker
from batch_jobs.bronze import Loaded, RecordsLost
from batch_jobs.erasure import Cleaned, Erasure, NotErased
from batch_jobs.errors import LakeError
from batch_jobs.landing import SET_ASIDE, WAITING, Fate, FilesSetAside, Landed, Taken
from batch_jobs.maintenance import Kept
from batch_jobs.quality import Checked, Finding, GateClosed, Verdict
from batch_jobs.quarantine import Choice, Replayed
from batch_jobs.run import new_run
from batch_jobs.session import JOB_SETTINGS, LISTING, RUN_SETTINGS, MissingSettings, given
from batch_jobs.silver import Curated
from glue import backfill, bronze, erase, files, maintain, replay, silver
from schemas.contract import UnknownContract, all_contracts

LAKE = "s3://grocery-lake/main"
FROM_GLUE = ["--JOB_NAME", "nightly", "--job-language", "python", "--JOB_RUN_ID", "jr_1", "--TempDir", "s3://t/"]
SCRIPTS = [Path(one.__file__) for one in (bronze, files, silver, replay, backfill, maintain, erase)]


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No S3 is asked for the lease; the lakes that a run had for itself."""
    taken = []

    @contextlib.contextmanager
    def one_run(lake: str):
        taken.append(lake)
        yield new_run(lake)

    for script in (bronze, files, silver, replay, backfill, maintain, erase):
        monkeypatch.setattr(script, "alone", one_run)
    return taken


@pytest.fixture
def bronze_calls(monkeypatch):
    calls = []

    def load(spark, broker, run, contracts):
        calls.append((spark, broker, run.lake, [one.name for one in contracts]))
        return [Loaded("stores", 3, recreated=1, notes=["topic stores was recreated"])]

    monkeypatch.setattr(bronze, "given", lambda: "session")
    monkeypatch.setattr(bronze, "survey", lambda where, topics: Broker(where, "c", dict.fromkeys(topics, "id"), {}, {}))
    monkeypatch.setattr(bronze, "bronze", load)
    return calls


def test_bronze_takes_its_arguments_from_among_glues(bronze_calls, capsys):
    bronze.main([*FROM_GLUE, "--lake", LAKE, "--kafka", "b-1:9092,b-2:9092"])
    ((spark, broker, lake, names),) = bronze_calls
    assert (spark, lake, names) == ("session", LAKE, [one.name for one in all_contracts()])
    assert broker.bootstrap == "b-1:9092,b-2:9092"
    assert {"sensor-readings", "alerts.cold-chain"} <= set(broker.ids)
    assert capsys.readouterr().out == "bronze stores: 3 new records\n  topic stores was recreated\n"


def test_bronze_of_some_contracts(bronze_calls):
    bronze.main(["--lake", LAKE, "--kafka", "b:9092", "--contracts", "stores,lane-status", *FROM_GLUE])
    assert bronze_calls[0][3] == ["stores", "lane-status"]
    assert set(bronze_calls[0][1].ids) == {"stores", "lane-status"}


def test_what_kafka_lost_unread_fails_the_bronze_job_once_the_rest_is_loaded(bronze_calls, monkeypatch, capsys):
    monkeypatch.setattr(bronze, "bronze", lambda *_: [Loaded("stores", 3), Loaded("orders", 1, lost=2)])
    with pytest.raises(RecordsLost, match="orders: 2 records expired unread"):
        bronze.main(["--lake", LAKE, "--kafka", "b:9092"])
    assert "bronze stores: 3 new records" in capsys.readouterr().out


def test_a_contract_that_is_not_there_ends_the_job_by_name(bronze_calls):
    with pytest.raises(UnknownContract, match="reading: no such contract"):
        bronze.main(["--lake", LAKE, "--kafka", "b:9092", "--contracts", "reading"])


@pytest.mark.parametrize(
    ("script", "words"),
    [
        *((one, ["--lake", LAKE]) for one in (bronze, files, backfill, erase)),
        *((one, FROM_GLUE) for one in (silver, replay, maintain)),
    ],
)
def test_an_argument_that_is_missing_is_named(script, words, capsys):
    with pytest.raises(SystemExit):
        script.main(words)
    assert "the following arguments are required: --" in capsys.readouterr().err


def test_a_file_that_is_set_aside_fails_the_job_by_name_once_the_others_are_loaded(monkeypatch, capsys):
    file = Landed("stores/a.gz", "s3://landing/stores/a.gz", 9, datetime(2026, 10, 5, tzinfo=UTC), "etag")
    asked, waits = [], []

    def load(spark, run, landing, contracts, *, strays, accept):
        asked.append((spark, run.lake, landing, [one.name for one in contracts], strays, accept))
        return [Taken("stores", [Fate(file, SET_ASIDE, reason="truncated: …", accepted=accept), *waits])]

    monkeypatch.setattr(files, "given", lambda: "session")
    monkeypatch.setattr(files, "land", load)
    words = [*FROM_GLUE, "--lake", LAKE, "--landing", "s3://landing", "--contracts", "stores"]
    with pytest.raises(FilesSetAside, match="stores/a.gz truncated: …"):
        files.main(words)
    assert capsys.readouterr().out == "files stores: 0 new records of 0 files\n"
    files.main([*words, "--accept", "true"])
    assert asked[1] == ("session", LAKE, "s3://landing", ["stores"], False, True)
    waits.append(Fate(replace(file, key="stores/b.gz"), WAITING, reason="changed: …"))
    with pytest.raises(FilesSetAside, match=r"^stores/b.gz changed: …$"):
        files.main([*words, "--accept", "true"])


@pytest.fixture
def curate(monkeypatch):
    """Runs silver with one finding of this severity."""

    def call(severity: str, *words: str):
        done = []
        finding = Finding("stores", "name: always there", severity, 2, "")

        def check(spark, run, contracts, docs, *, written, accept):
            assert written == (Path("suites") if "--suites" in words else None)
            done.append(("quality", docs.is_dir()))
            return Verdict([Checked("stores", 5, 20, [finding])], accepted=accept)

        monkeypatch.setattr(silver, "given", lambda: "session")
        monkeypatch.setattr(silver, "silver", lambda *_: done.append("silver") or [Curated("stores", 5, 4, 1, 0)])
        monkeypatch.setattr(silver, "quality", check)
        silver.main([*FROM_GLUE, "--lake", LAKE, *words])
        assert done == ["silver", ("quality", True)]

    return call


def test_a_critical_finding_fails_the_job_by_name(curate):
    with pytest.raises(GateClosed, match=r"stores: name: always there \(2 rows\)"):
        curate("critical")


def test_a_warning_is_told_and_lets_the_job_end_well(curate, capsys):
    curate("warning")
    told = capsys.readouterr().out
    assert "silver stores: 4 new, 1 duplicate, 0 quarantined" in told
    assert "warning: stores: name: always there (2 rows)" in told


def test_what_fails_can_be_let_pass_and_is_still_told(curate, capsys):
    curate("critical", "--accept", "true", "--suites", "suites")
    assert "critical: stores: name: always there" in capsys.readouterr().out


def test_replay_takes_what_was_chosen(monkeypatch, capsys, alone):
    asked = []

    def work(spark, run, contracts, choice):
        asked.append((spark, run.lake, [one.name for one in contracts], choice))
        return [Replayed("stores", 3, 1, 1, 1)]

    monkeypatch.setattr(replay, "given", lambda: "session")
    monkeypatch.setattr(replay, "replay", work)
    replay.main([*FROM_GLUE, "--lake", LAKE, "--contracts", "stores", "--reason", "unit", "--run", "r1"])
    assert asked == [("session", LAKE, ["stores"], Choice("unit", run="r1"))]
    assert alone == [LAKE]
    assert capsys.readouterr().out == "replay stores: 1 replayed, 1 duplicate, 1 stay\n"


def test_backfill_takes_days_and_refuses_what_is_none(monkeypatch, capsys, alone):
    asked = []

    def work(spark, run, contracts, span):
        asked.append((spark, run.lake, [one.name for one in contracts], span))
        return [Backfilled("stores", 6, 3, 2, 1, added=1)]

    monkeypatch.setattr(backfill, "given", lambda: "session")
    monkeypatch.setattr(backfill, "backfill", work)
    words = [*FROM_GLUE, "--lake", LAKE, "--contracts", "stores", "--from", "2026-10-01", "--to"]
    backfill.main([*words, "2026-10-07"])
    assert asked == [("session", LAKE, ["stores"], Span(date(2026, 10, 1), date(2026, 10, 7)))]
    assert alone == [LAKE]
    assert "3 inserted, 2 duplicate, 1 quarantined; silver: 1 added" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        backfill.main([*words, "October"])
    assert "argument --to: invalid fromisoformat value: 'October'" in capsys.readouterr().err


def test_a_table_that_could_not_be_maintained_fails_the_job_by_name(monkeypatch, capsys, alone):
    kept = [Kept("silver.stores", expired=2, compacted=1), Kept("bronze.stores", fault="bronze.stores: somebody wrote")]
    monkeypatch.setattr(maintain, "given", lambda: "session")
    monkeypatch.setattr(maintain, "maintain", lambda spark, run, contracts: kept)
    with pytest.raises(LakeError, match="bronze.stores: somebody wrote"):
        maintain.main([*FROM_GLUE, "--lake", LAKE])
    assert alone == [LAKE]
    assert "maintain silver.stores: 2 rows expired, 1 partitions compacted" in capsys.readouterr().out


def test_an_erasure_reads_the_hashes_from_a_file_and_fails_while_something_is_left(monkeypatch, capsys, alone):
    hashes = [f"cust_{'a' * 32}", f"car_{'b' * 32}"]
    done = Erasure([Cleaned("silver.stores", 2)])
    asked = []

    def work(spark, run, contracts, sought, reference):
        asked.append((run.lake, sought.pseudonyms, reference))
        return done

    monkeypatch.setattr(erase, "given", lambda: "session")
    monkeypatch.setattr(erase.files, "text", lambda spark, name: {"s3://b/17.txt": "\n".join(hashes) + "\n"}[name])
    monkeypatch.setattr(erase, "silver", lambda *_: asked.append("silver"))
    monkeypatch.setattr(erase, "erase", work)
    words = [*FROM_GLUE, "--lake", LAKE, "--reference", "DSR-17", "--hashes", "s3://b/17.txt"]
    erase.main(words)
    assert asked == ["silver", (LAKE, tuple(hashes), "DSR-17")]
    assert alone == [LAKE]
    told = capsys.readouterr().out
    assert "erase silver.stores: 2 rows" in told and "aaaa" not in told
    done.proof.hits.append("s3://b/lake/x")
    done.locked.append("letter-1")
    with pytest.raises(NotErased, match="still in s3://b/lake/x\ndead letter letter-1: no key here opens it"):
        erase.main(words)
    monkeypatch.setattr(erase.files, "text", lambda spark, name: "4711\n")
    with pytest.raises(ValueError, match="1 of 1 lines are no pseudonym"):
        erase.main(words)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_only_reads_its_arguments_and_calls_batch_jobs(script):
    assert len(script.read_text().splitlines()) < 40


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_can_be_imported_without_awsglue_and_starts_no_spark(script):
    look = (
        f"import sys, glue.{script.stem}\n"
        "assert 'awsglue' not in sys.modules\n"
        "from pyspark import SparkContext\n"
        "assert SparkContext._gateway is None and SparkContext._active_spark_context is None"
    )
    subprocess.run([sys.executable, "-c", look], cwd=Path(glue.__file__).parent.parent, check=True)


class _Session:
    """A session as far as `given` looks at it."""

    def __init__(self, started_with: dict[str, str]) -> None:
        self.settings = dict(started_with)
        self.builder = self.conf = self

    def getOrCreate(self):  # noqa: N802  Spark's name
        return self

    def get(self, name: str, default: str) -> str:
        return self.settings.get(name, default)

    def set(self, name: str, value: str) -> None:
        self.settings[name] = value


def started(monkeypatch, settings: dict[str, str]) -> _Session:
    session = _Session(settings)
    monkeypatch.setattr("pyspark.sql.SparkSession", session)
    return session


def test_the_jobs_session_gets_utc_and_stays_readable_by_athena(monkeypatch):
    # EMR starts Spark with extensions of its own beside.
    others = JOB_SETTINGS | {"spark.sql.extensions": "com.x.Theirs," + JOB_SETTINGS["spark.sql.extensions"]}
    session = started(monkeypatch, others)
    assert given() is session
    assert session.settings == others | RUN_SETTINGS | LISTING


def test_in_how_many_tasks_a_vacuum_lists_may_be_said(monkeypatch):
    (name,) = LISTING
    session = started(monkeypatch, JOB_SETTINGS | {name: "500"})
    assert given().settings[name] == session.settings[name] == "500"


def test_a_session_without_delta_is_refused_with_what_the_job_must_be_given(monkeypatch):
    started(monkeypatch, {"spark.sql.extensions": JOB_SETTINGS["spark.sql.extensions"]})
    with pytest.raises(MissingSettings, match="without spark.sql.catalog.spark_catalog=org.*DeltaCatalog; .*--conf"):
        given()
