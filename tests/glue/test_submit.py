"""The entry scripts by spark-submit, as far from here as a laptop can be: own environment, S3 by moto's server.

The environment holds the package's wheel with what it depends on, Spark and Delta at Glue 6.0's versions, PyArrow and
boto3, which Glue has too, and nothing of the project. Its Python is what GLUE_PYTHON names (`make test-glue` looks for
Glue 6.0's, 3.13), else this one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import boto3
import pytest

from batch_jobs.session import JOB_SETTINGS, _new_to_spark
from glue.package import build, read_pins
from grocery.settings import settings
from grocery.setup import uv_environment
from ingestion.record import Record
from ingestion.sinks import KafkaSink
from schemas.contract import contract
from schemas.instants import to_ms
from tests.batch_jobs.s3_day import CUSTOMER, LAKE, LANDING, OTHER, VISITS, deliver, holding, logs, visit

pytestmark = pytest.mark.integration

PYTHON = os.environ.get("GLUE_PYTHON") or sys.executable
PYARROW = "pyarrow==21.0.0"
"""For another Python than this one: the project's own release, which apache-flink keeps back, has no wheel for 3.13."""

CONTRACT = "lane-status"
OF_LANES = ("--contracts", CONTRACT)
TABLES = ("bronze/lane_status", "silver/lane_status", "audit/dispositions", "audit/quality")


@pytest.fixture(scope="module")
def jars() -> list[str]:
    folders = [settings().jars / "spark", settings().jars / "s3a"]
    if not folders[1].is_dir():
        pytest.skip(f"no {folders[1]}: `make s3` fetches it")
    return [str(jar) for folder in folders for jar in _new_to_spark(folder)]


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> tuple[Path, Path]:
    """(environment with the wheel in it, folder of the entry scripts)"""
    folder = tmp_path_factory.mktemp("clean")
    tools = os.environ | uv_environment(Path(sys.executable))
    made = build(folder / "package", tools)
    uv, python = Path(sys.executable).parent / "uv", folder / "venv" / "bin" / "python"
    arrow = f"pyarrow=={version('pyarrow')}" if sys.executable == PYTHON else PYARROW
    others = [f"boto3=={version('boto3')}", arrow]
    pins = [f"{name}=={version}" for name, version in read_pins().items()]
    for words in (
        ["venv", "--python", PYTHON, folder / "venv"],
        ["pip", "install", "--python", python, "pyspark==4.1.1", "delta-spark==4.2.0", *others, made.wheel, *pins],
    ):
        subprocess.run([uv, *words], env=tools, check=True, capture_output=True)
    return folder / "venv", folder / "package"


@pytest.fixture
def submit(clean, jars, aws, tmp_path):
    """Runs one script as a job; returns what it printed, and on stderr what ended it where it failed."""
    venv, scripts = clean
    region = {"LocationConstraint": "eu-central-1"}
    boto3.client("s3").create_bucket(Bucket="grocery", CreateBucketConfiguration=region)
    conf = JOB_SETTINGS | {
        "spark.master": "local[2]",
        "spark.driver.memory": "1500m",
        "spark.driver.extraClassPath": ":".join(jars),
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
        "spark.hadoop.fs.s3a.endpoint": aws,
        "spark.hadoop.fs.s3a.endpoint.region": "eu-central-1",
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.access.key": "test",
        "spark.hadoop.fs.s3a.secret.key": "test",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GROCERY"))}
    environment |= {"PYSPARK_PYTHON": str(venv / "bin" / "python"), "PATH": f"{venv / 'bin'}:{os.environ['PATH']}"}

    def run(script: str, *words: str, fails: bool = False) -> str:
        given = [word for name, value in conf.items() for word in ("--conf", f"{name}={value}")]
        job = [scripts / script, "--JOB_NAME", "nightly", "--lake", LAKE, *words]
        done = subprocess.run(
            [venv / "bin" / "spark-submit", *given, *job],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert (done.returncode != 0) == fails, done.stderr[-3000:]
        return done.stdout + done.stderr * fails

    return run


def commits(table: str) -> int:
    """Versions of a table, as its log on S3 has them."""
    found = boto3.client("s3").list_objects_v2(Bucket="grocery", Prefix=f"lake/{table}/_delta_log/")
    return sum(one["Key"].endswith(".json") for one in found.get("Contents", []))


def test_the_package_is_all_that_the_scripts_need_and_a_second_run_changes_nothing(submit, broker):
    item = contract(CONTRACT)
    arrived = to_ms("2026-10-05T06:30:01.000Z")
    with KafkaSink(broker) as sink:
        for path, passes in item.examples():
            if passes:
                sink.send(Record(item.topic, "store-001", path.read_bytes(), arrived))
    # The broker is shared: others' records may lie there as well.
    load, curate = ("bronze.py", "--kafka", broker), ("silver.py",)
    new = int(re.search(rf"bronze {CONTRACT}: (\d+) new records", submit(*load, *OF_LANES))[1])
    assert new >= 2
    curated = submit(*curate, *OF_LANES, "--accept", "true")
    became = re.search(rf"silver {CONTRACT}: (\d+) new, (\d+) duplicate, (\d+) quarantined", curated)
    assert sum(map(int, became.groups())) == new
    assert int(became[1]) >= 2
    before = [commits(table) for table in TABLES]
    assert all(before)
    assert f"bronze {CONTRACT}: 0 new records" in submit(*load, *OF_LANES)
    submit(*curate, *OF_LANES)
    assert [commits(table) for table in TABLES] == before


def events() -> set[str]:
    """Every version of every table but the audit's, which may tell of a run that changed nothing."""
    return {key for key in logs() if not key.startswith("lake/audit/")}


@pytest.mark.timeout(3600)
def test_every_other_script_ends_its_job_and_a_second_run_changes_nothing(submit, tmp_path):
    """Landed files to an erasure, of one contract; one of the files is truncated."""
    hashes = "s3a://grocery/17.txt"
    boto3.client("s3").put_object(Bucket="grocery", Key="17.txt", Body=f"{CUSTOMER}\n".encode())
    boto3.client("s3").put_object(Bucket="grocery", Key=f"landing/{VISITS.topic}/cut.gz", Body=b"\x1f\x8b\x08\x00cut")
    deliver(tmp_path, [visit(1, CUSTOMER), visit(2, OTHER), visit(2, OTHER), visit(3, CUSTOMER, event="flew")], 1)
    only, landing = ("--contracts", VISITS.name), ("--landing", LANDING.replace("s3:", "s3a:"))

    landed = submit("files.py", *only, *landing, fails=True)
    assert f"files {VISITS.name}: 4 new records of 1 files" in landed, landed[-3000:]
    assert re.search(r"FilesSetAside: .*cut\.gz", landed)
    told = {
        ("files.py", *only, *landing, "--accept", "true"): f"files {VISITS.name}: 0 new records of 0 files",
        ("silver.py", *only, "--accept", "true"): f"silver {VISITS.name}: 2 new, 1 duplicate, 1 quarantined",
        ("replay.py", *only): f"replay {VISITS.name}: 0 replayed, 0 duplicate, 1 stay",
        ("backfill.py", *only, "--from", "2026-10-05", "--to", "2026-10-05"): f"backfill {VISITS.name}: 2 inserted, "
        "1 duplicate, 1 quarantined; silver: 0 added, 0 replaced, 0 removed",
        ("maintain.py", *only): "maintain bronze.geofence_events: 0 rows expired, 0 partitions compacted",
        ("erase.py", "--reference", "DSR-17", "--hashes", hashes): "erase bronze.geofence_events: 2 rows",
    }
    for call, words in told.items():
        if call[0] == "erase.py":
            assert holding(CUSTOMER)
        assert words in submit(*call)
        before = events()
        submit(*call)
        assert events() == before, call
    assert holding(CUSTOMER) == []
    assert holding(OTHER)
