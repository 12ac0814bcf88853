"""The one Spark session of a batch run: made here on a laptop, given by Glue or EMR."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOG_NAME = "spark.log"
_LOG4J = """\
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {log}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %p %c{{1}}: %m%n%ex
logger.kafka.name = org.apache.kafka
logger.kafka.level = error
"""
_ARTIFACT = re.compile(r"(.+?)-\d[\w.+-]*\.jar")


JOB_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
"""What a session must be started with to know Delta; on Glue and EMR they are parameters of the job."""
RUN_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    # Athena reads reader version 1; deletion vectors would raise it to 3.
    "spark.databricks.delta.properties.defaults.enableDeletionVectors": "false",
}
"""What every run needs, wherever it runs, and can set itself."""
LISTING = {"spark.sql.sources.parallelPartitionDiscovery.parallelism": "64"}
"""In how many tasks a vacuum lists a table's folders, where nobody said. With Spark's default of 10,000 those of a
handful of files take two cores minutes."""


class MissingSettings(RuntimeError):
    """The session was started without what it must be started with."""


class MissingJars(FileNotFoundError):
    """The jars that Spark needs for Delta and Kafka, or for S3, are not there."""


def session(jars: Path, logs: Path, *, s3: Path | None = None, short: bool = False, memory: str = "2g") -> SparkSession:
    """A local Spark session with Delta and Kafka, made for small batches on a small machine; a cold start takes 10 s.

    jars: folder of the jars that pom.xml's profile `spark` names. logs: folder for Spark's log (`spark.log`); nothing
    of it goes to the terminal. s3: where a lake or landing on S3 is worked on, the folder of profile `s3a`'s jars.
    short: for less than about a million rows, where compiling hot code thoroughly costs more than it brings; it halves
    the CPU time of such a run. memory: the whole of Spark's here, the driver's.

    Called again while a session is alive, it gives that session. Raises MissingJars.
    """
    if not any(jars.glob("delta-spark_*.jar")):
        raise MissingJars(f"{jars}: no Delta jar there; run `make setup`")
    if s3 is not None and not (any(s3.glob("hadoop-aws-*.jar")) and any(s3.glob("bundle-*.jar"))):
        raise MissingJars(
            f"{s3}: no S3 client for Spark there, which an s3a:// address needs; `make s3` fetches it, 650 MB, once"
        )
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # not whatever `python3` is on the PATH
    logs.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="grocery-spark-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    log4j = scratch / "log4j2.properties"
    log = (logs / LOG_NAME).resolve()
    log4j.write_text(_LOG4J.format(log=log), "utf-8")
    ours = [jar for folder in (jars, s3) if folder is not None for jar in _new_to_spark(folder)]
    java = f"-Dlog4j2.configurationFile=file:{log4j} -XX:+UseParallelGC"
    settings = {
        "spark.master": "local[*]",
        "spark.app.name": "grocery",
        "spark.driver.memory": memory,
        "spark.driver.extraClassPath": ":".join(str(jar) for jar in ours),
        "spark.driver.extraJavaOptions": java + " -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m" * short,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.local.dir": str(scratch),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        # A day of a small chain is some MB: more tasks would cost more than the work in them.
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.adaptive.enabled": "true",
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "8",
    }
    settings |= JOB_SETTINGS | RUN_SETTINGS
    if s3 is not None:
        from batch_jobs.s3 import spark_settings

        settings |= spark_settings(scratch)
    builder = SparkSession.builder
    for name, value in settings.items():
        builder = builder.config(name, value)
    with _jvm_complains_to(log):
        return builder.getOrCreate()


def given() -> SparkSession:
    """The session of the Glue or EMR job that this process is. Size, jars and places are the job's.

    Raises MissingSettings where it was started without Delta.
    """
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.getOrCreate()
    missing = {name: value for name, value in JOB_SETTINGS.items() if value not in spark.conf.get(name, "")}
    if missing:
        raise MissingSettings(
            f"the session was started without {as_conf(missing)}; it cannot be set later: give it as the job's --conf, "
            "as `grocery glue package` prints it"
        )
    for name, value in RUN_SETTINGS.items():
        spark.conf.set(name, value)
    for name, value in LISTING.items():
        spark.conf.set(name, spark.conf.get(name, value))
    return spark


def as_conf(settings: dict[str, str]) -> str:
    """Settings as the one value of a Glue job's --conf."""
    return " --conf ".join(f"{name}={value}" for name, value in settings.items())


def end(spark: SparkSession) -> None:
    """Stop the session and its JVM, which would keep its memory until this process ends; it may be gone already."""
    from py4j.protocol import Py4JError
    from pyspark import SparkContext

    try:
        spark.stop()
    except (Py4JError, OSError):
        SparkContext._active_spark_context = None  # else the next session is made with it
    gateway = SparkContext._gateway
    if gateway is None:
        return
    with contextlib.suppress(Py4JError, OSError):
        gateway.shutdown()
    if process := getattr(gateway, "proc", None):
        process.stdin.close()  # it lives as long as its stdin
        process.wait()
    SparkContext._gateway = SparkContext._jvm = None


def _new_to_spark(jars: Path) -> list[Path]:
    """The jars that pyspark does not bring itself: an older slf4j before Spark's own would switch its log off."""
    import pyspark

    own = {_artifact(jar) for jar in (Path(pyspark.__file__).parent / "jars").glob("*.jar")}
    return sorted(jar.resolve() for jar in jars.glob("*.jar") if _artifact(jar) not in own)


def _artifact(jar: Path) -> str:
    match = _ARTIFACT.fullmatch(jar.name)
    return match[1] if match else jar.stem


@contextlib.contextmanager
def _jvm_complains_to(log: Path) -> Iterator[None]:
    """The JVM that starts in here inherits the log as its output: what it says on start means nothing to a person."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with log.open("ab") as out:
        for number in (1, 2):
            os.dup2(out.fileno(), number)
    try:
        yield
    finally:
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)
            os.close(old)
