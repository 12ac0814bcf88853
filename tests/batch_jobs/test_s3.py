"""The lake and the landing on S3, by the commands a person gives, against moto's server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import timedelta

import boto3
import pytest

from batch_jobs import s3
from batch_jobs.errors import LakeError
from batch_jobs.run import lease
from batch_jobs.session import MissingJars, session
from batch_jobs.sought import file_system
from grocery.settings import PROJECT, settings

LAKE = "s3a://grocery/lake"


@pytest.fixture
def bucket(aws):
    """Holds nothing yet."""
    client = boto3.client("s3")
    client.create_bucket(Bucket="grocery", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return client


def keys(client, prefix: str) -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="grocery", Prefix=prefix)
    return [one["Key"] for page in pages for one in page.get("Contents", [])]


# ---- whom to ask


def test_aws_own_settings_say_whom_to_ask(monkeypatch, tmp_path):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert s3.access() == s3.Access("eu-central-1", "https://s3.eu-central-1.amazonaws.com", True)
    hadoop = s3.spark_settings(tmp_path)
    assert hadoop["spark.hadoop.fs.s3a.endpoint.region"] == "eu-central-1"
    assert "spark.hadoop.fs.s3a.endpoint" not in hadoop
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://all:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://minio:9000")
    assert s3.access() == s3.Access("eu-central-1", "http://minio:9000", False)
    hadoop = s3.spark_settings(tmp_path)
    assert hadoop["spark.hadoop.fs.s3a.endpoint"] == "http://minio:9000"
    assert hadoop["spark.hadoop.fs.s3a.path.style.access"] == "true"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert s3.duckdb_secret() == {
        "key_id": "key",
        "secret": "secret",
        "session_token": "token",
        "region": "eu-central-1",
        "endpoint": "minio:9000",
        "url_style": "path",
        "use_ssl": "false",
    }


def test_without_the_s3_client_the_command_that_fetches_it_is_named(tmp_path):
    with pytest.raises(MissingJars, match=r"s3a: no S3 client for Spark there.*`make s3` fetches it"):
        session(settings().jars / "spark", tmp_path, s3=tmp_path / "s3a")


# ---- one run at a time


def test_two_runs_at_once_on_a_lake_on_s3_are_refused(bucket):
    with lease(LAKE):
        with pytest.raises(LakeError, match=rf"another run is at work on it \(process {os.getpid()} on "):
            lease(LAKE).__enter__()
        assert keys(bucket, "lake/") == ["lake/.lease"]
    assert keys(bucket, "lake/") == []
    with lease(LAKE):
        pass


def test_a_patient_run_on_s3_goes_on_once_the_other_has_ended(bucket):
    told, first = [], lease(LAKE)
    first.__enter__()

    def end(words: str) -> None:
        told.append(words)
        threading.Thread(target=first.__exit__, args=(None, None, None)).start()

    with lease(LAKE, timedelta(minutes=1), end):
        assert keys(bucket, "lake/") == ["lake/.lease"]
    assert len(told) == 1 and "waiting until it has ended" in told[0]


def test_the_lease_of_a_killed_run_is_taken_over_and_one_that_was_taken_over_is_told(bucket, monkeypatch):
    monkeypatch.setattr(s3, "_RENEW_S", 0.05)
    taken = threading.Event()
    refused = s3._refused

    def told(error) -> bool:
        taken.set()
        return refused(error)

    with pytest.raises(LakeError, match="the lease could not be renewed"), lease(LAKE):
        monkeypatch.setattr(s3, "LEASED", timedelta(seconds=-10))  # as if two minutes had gone by
        other = s3._Lease(LAKE)
        while not other.take():  # a renewal may come in between
            pass
        monkeypatch.setattr(s3, "_refused", told)
        assert taken.wait(10)
    assert keys(bucket, "lake/") == ["lake/.lease"]  # the other's


def test_a_bucket_that_is_not_there_is_named(aws):
    with pytest.raises(LakeError, match=r"s3a://nobody/lake: .*NoSuchBucket"):
        lease("s3a://nobody/lake").__enter__()


def test_old_versions_that_a_bucket_keeps_are_counted(bucket):
    bucket.put_bucket_versioning(Bucket="grocery", VersioningConfiguration={"Status": "Enabled"})
    for _ in range(3):
        bucket.put_object(Bucket="grocery", Key="lake/a", Body=b"1")
    bucket.put_object(Bucket="grocery", Key="lakeside", Body=b"1")
    assert s3.old_versions(LAKE) == 2
    bucket.delete_object(Bucket="grocery", Key="lake/a")
    assert s3.old_versions(LAKE) == 3


def test_arrow_reads_where_aws_settings_point(bucket):
    bucket.put_object(Bucket="grocery", Key="lake/bronze/a", Body=b"1")
    system, folder = file_system(LAKE)
    assert folder == "grocery/lake"
    assert system.get_file_info(f"{folder}/bronze/a").size == 1


# ---- a day of the lake


@pytest.mark.system
@pytest.mark.integration
@pytest.mark.timeout(1800)
def test_what_works_on_a_folder_works_on_s3(bucket, tmp_path):
    """In a process of its own: Spark's class path is fixed once its JVM runs."""
    if not (settings().jars / "s3a").is_dir():
        pytest.skip(f"no {settings().jars / 's3a'}: `make s3` fetches it")
    call = [sys.executable, "-m", "tests.batch_jobs.s3_day", str(tmp_path)]
    done = subprocess.run(call, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    assert done.stdout.splitlines()[-1] == "erased"
