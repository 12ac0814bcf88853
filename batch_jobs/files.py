"""Files beside the tables and in the landing, on whatever file system they lie."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from batch_jobs.errors import LakeError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SPACE_NEEDED = 1024**3
"""Bytes that must be free before a run: a day of a small chain needs some hundred MB with Spark's scratch files."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stat:
    """A file as its file system lists it. path: absolute, as Spark writes it; etag: where the store has one."""

    path: str
    size: int
    modified_at: datetime
    etag: str | None


def names(spark: SparkSession, folder: str) -> list[str]:
    """Names in a folder; none where it does not exist."""
    system, path = _open(spark, folder)
    return [status.getPath().getName() for status in system.listStatus(path)] if system.exists(path) else []


def text(spark: SparkSession, file: str) -> str:
    system, path = _open(spark, file)
    stream = system.open(path)
    try:
        return spark._jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8")
    finally:
        stream.close()


def remove(spark: SparkSession, folder: str) -> None:
    """Delete a folder and all in it."""
    system, path = _open(spark, folder)
    system.delete(path, True)


def listing(spark: SparkSession, folder: str) -> Iterator[Stat]:
    """Every file under a folder, at any depth. Raises FileNotFoundError."""
    system, path = _open(spark, folder)
    if not system.exists(path):
        raise FileNotFoundError(folder)
    found = system.listFiles(path, True)
    while found.hasNext():
        yield _stat(found.next())


def stat(spark: SparkSession, file: str) -> Stat | None:
    """None where there is no such file."""
    system, path = _open(spark, file)
    return _stat(system.getFileStatus(path)) if system.exists(path) else None


def absolute(spark: SparkSession, name: str) -> str:
    """A folder as the paths in it begin; no slash at the end."""
    system, path = _open(spark, name)
    return system.makeQualified(path).toString().rstrip("/")


def _stat(status) -> Stat:
    from py4j.protocol import Py4JError

    try:  # S3A has it; a folder has not
        etag = status.getEtag()
    except Py4JError:
        etag = None
    modified_at = _EPOCH + timedelta(milliseconds=status.getModificationTime())
    return Stat(status.getPath().toString(), status.getLen(), modified_at, etag.strip('"') if etag else None)


def _open(spark: SparkSession, name: str):
    path = spark._jvm.org.apache.hadoop.fs.Path(name)
    return path.getFileSystem(spark._jsc.hadoopConfiguration()), path


def check_writable(lake: str, space_needed: int = SPACE_NEEDED) -> None:
    """Raises LakeError where a lake that is a folder cannot be written or has too little space left."""
    if "://" in lake:
        return
    folder = Path(lake)
    probe = folder / f".probe-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise LakeError(
            f"lake {folder}: cannot be written ({os.strerror(error.errno or 0)}); "
            "give this user write access, or let GROCERY_LAKE name another folder"
        ) from error
    free = shutil.disk_usage(folder).free
    if free < space_needed:
        raise LakeError(
            f"lake {folder}: {free / 1024**2:,.0f} MB free, a run needs {space_needed / 1024**2:,.0f} MB; "
            "make room, or let GROCERY_LAKE name a folder on another disk"
        )
