"""S3 from where AWS is not the platform: whom Spark, Arrow and DuckDB speak to when a lake or landing lies there.

AWS' own settings say it, as for every tool of AWS (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL_S3, …): a MinIO,
LocalStack or moto is an endpoint. On Glue and EMR, Spark has S3 from the platform, and no `spark_settings` are needed.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batch_jobs.errors import LakeError

if TYPE_CHECKING:
    import boto3
    import duckdb
    from botocore.exceptions import ClientError
    from pyarrow.fs import FileSystem

SCHEMES = ("s3a", "s3")


LEASE = ".lease"
LEASED = timedelta(minutes=2)
"""A lease that was not renewed for so long belongs to nobody: its process is gone. S3's clock measures it."""
_RENEW_S = 20.0


class S3Error(LakeError, ValueError):
    """Whom AWS' own settings name cannot ask, or S3 says no."""


@dataclass(frozen=True, slots=True)
class Access:
    """Whom to ask. endpoint: with its scheme. own: it is AWS'; others seldom have names of buckets as hosts."""

    region: str
    endpoint: str
    own: bool


def is_on_s3(place: str) -> bool:
    return place.partition("://")[0] in SCHEMES and "://" in place


def bucket_and_key(place: str) -> tuple[str, str]:
    """The key has no slash at its end; it is empty for the whole bucket."""
    bucket, _, key = place.partition("://")[2].partition("/")
    return bucket, key.rstrip("/")


def url(place: str) -> str:
    """The address as all but Hadoop write it: s3://."""
    return f"s3://{place.partition('://')[2].rstrip('/')}"


def access() -> Access:
    import boto3
    from botocore.config import Config

    asked = boto3.client("s3").meta
    own = boto3.client("s3", config=Config(ignore_configured_endpoint_urls=True)).meta
    region = "us-east-1" if asked.region_name == "aws-global" else asked.region_name
    return Access(region, asked.endpoint_url, asked.endpoint_url == own.endpoint_url)


def spark_settings(scratch: Path) -> dict[str, str]:
    """What makes Hadoop's S3 client ask as AWS' own tools would. scratch: where it gathers what it uploads."""
    asked = access()
    hadoop = {
        "fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",  # s3:// is the same place
        "fs.s3a.aws.credentials.provider": "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider",
        "fs.s3a.endpoint.region": asked.region,
        "fs.s3a.buffer.dir": str(scratch / "s3a"),
    }
    if not asked.own:
        hadoop |= {"fs.s3a.endpoint": asked.endpoint, "fs.s3a.path.style.access": "true"}
    return {f"spark.hadoop.{name}": value for name, value in hadoop.items()}


def arrow() -> FileSystem:
    """Arrow's S3, which finds credentials as AWS' own tools do."""
    from pyarrow.fs import S3FileSystem

    asked = access()
    if asked.own:
        return S3FileSystem(region=asked.region)
    parts = urlsplit(asked.endpoint)
    return S3FileSystem(region=asked.region, endpoint_override=parts.netloc, scheme=parts.scheme)


def open_to_duckdb(connection: duckdb.DuckDBPyConnection) -> None:
    """Let DuckDB read s3:// addresses, as long as the connection lives. Raises S3Error."""
    given = duckdb_secret()
    load_duckdb_extensions()
    connection.execute("LOAD httpfs")
    listed = ", ".join(f"{name.upper()} '{value.replace(chr(39), chr(39) * 2)}'" for name, value in given.items())
    connection.execute(f"CREATE OR REPLACE TEMPORARY SECRET lake (TYPE s3, {listed})")


def duckdb_secret() -> dict[str, str]:
    """DuckDB's words for who asks and whom: key_id, secret, … Raises S3Error."""
    import boto3

    found = boto3.Session().get_credentials()
    if found is None:
        raise S3Error("AWS: no credentials found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    keys, asked = found.get_frozen_credentials(), access()
    parts = urlsplit(asked.endpoint)
    given = {"key_id": keys.access_key, "secret": keys.secret_key, "region": asked.region, "endpoint": parts.netloc}
    given |= {"url_style": "vhost" if asked.own else "path", "use_ssl": str(parts.scheme == "https").lower()}
    return given | ({"session_token": keys.token} if keys.token else {})


def load_duckdb_extensions() -> None:
    """Put DuckDB's httpfs extension, which PyPI brought, where DuckDB looks for extensions."""
    import duckdb_extensions

    duckdb_extensions.import_extension("httpfs")


def tables_under(folder: str, session: boto3.Session | None = None) -> set[str]:
    """Names of the Delta tables that lie in the folder. session: who asks, where it is not as ever. Raises S3Error."""
    import boto3

    client = (session or boto3.Session()).client("s3")
    bucket, key = bucket_and_key(folder)
    begin = f"{key}/" if key else ""

    def is_there(name: str) -> bool:
        log = f"{begin}{name}/_delta_log/"
        return client.list_objects_v2(Bucket=bucket, Prefix=log, MaxKeys=1)["KeyCount"] > 0

    with _named(folder):
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=begin, Delimiter="/")
        names = [one["Prefix"][len(begin) : -1] for page in pages for one in page.get("CommonPrefixes", [])]
        return {name for name in names if is_there(name)}


def old_versions(folder: str) -> int:
    """Objects under the folder that the bucket keeps though they were overwritten or deleted."""
    import boto3

    bucket, key = bucket_and_key(folder)
    pages = (
        boto3.client("s3").get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=f"{key}/" * bool(key))
    )
    return sum(not one["IsLatest"] for page in pages for one in page.get("Versions", []))


@contextmanager
def _named(place: str) -> Iterator[None]:
    """What AWS says no to, or that nobody answers, in one line."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise S3Error(
            f"{place}: {error}; AWS' own settings say who asks and where (AWS_PROFILE, AWS_REGION …)"
        ) from error


# ---- one run at a time


@contextmanager
def lease(
    lake: str,
    patience: timedelta,
    on_wait: Callable[[str], None] | None,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Be the only run on a lake on S3: `<lake>/.lease` is written under conditions that S3 checks, and renewed as long
    as we are at work. A process that was killed leaves it behind for two minutes. See `run.lease`."""
    with _named(lake):
        held = _Lease(lake)
        until = time.monotonic() + patience.total_seconds()
        while not held.take():
            other = f"another run is at work on it ({held.other})"
            if time.monotonic() >= until:
                raise LakeError(
                    f"lake {lake}: {other}; wait until it has ended, and run again. If it was killed, it gives way "
                    f"{LEASED.total_seconds() / 60:.0f} minutes later"
                )
            if on_wait:
                on_wait(f"lake {lake}: {other}; waiting until it has ended")
                on_wait = None
            pause(1)
    stop = threading.Event()
    keeper = threading.Thread(target=held.keep, args=(stop,), name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stop.set()
        keeper.join()
        held.give_back()
    if held.lost:
        raise LakeError(
            f"lake {lake}: the lease could not be renewed ({held.lost}); another run may have written meanwhile: run "
            "again, what is done is not done twice"
        )


class _Lease:
    """other: who has it instead. lost: why we have it no more."""

    def __init__(self, lake: str) -> None:
        import boto3

        bucket, key = bucket_and_key(lake)
        self._client = boto3.client("s3")
        self._place = {"Bucket": bucket, "Key": f"{key}/{LEASE}".lstrip("/")}
        self._etag = ""
        self.other = self.lost = ""

    def take(self) -> bool:
        """Whether it is ours now."""
        from botocore.exceptions import ClientError

        try:
            self._write(IfNoneMatch="*")
            return True
        except ClientError as error:
            if not _refused(error):
                raise
        try:
            found = self._client.get_object(**self._place)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":  # it was given back this moment
                return False
            raise
        self.other = found["Body"].read().decode("utf-8", "replace").partition(";")[0]
        if _age(found) < LEASED:
            return False
        try:
            self._write(IfMatch=found["ETag"])
            return True
        except ClientError as error:
            if not _refused(error):
                raise
            return False

    def keep(self, stop: threading.Event) -> None:
        """Renew it until stopped."""
        from botocore.exceptions import BotoCoreError, ClientError

        while not stop.wait(_RENEW_S):
            try:
                self._write(IfMatch=self._etag)
                self.lost = ""
            except (BotoCoreError, ClientError) as error:
                self.lost = str(error)
                if isinstance(error, ClientError) and _refused(error):  # it is another's
                    return

    def give_back(self) -> None:
        """A lease that is another's by now is left alone."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if self._client.head_object(**self._place)["ETag"] == self._etag:
                self._client.delete_object(**self._place)
        except (BotoCoreError, ClientError):
            return  # it ends by itself

    def _write(self, **condition: str) -> None:
        # The time makes each renewal another object: its etag says that nobody else has written since.
        text = f"process {os.getpid()} on {socket.gethostname()}; {time.time_ns()}"
        self._etag = self._client.put_object(**self._place, Body=text.encode(), **condition)["ETag"]


def _refused(error: ClientError) -> bool:
    return error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


def _age(found: dict) -> timedelta:
    from email.utils import parsedate_to_datetime

    return parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"]) - found["LastModified"]
