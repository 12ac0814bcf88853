"""What every job has in common: from a job's description to a running Flink job.

Imports Flink inside functions only, so that the command line can read the descriptions without it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyflink.datastream.data_stream import KeyedStream
    from pyflink.table import StreamTableEnvironment, TableResult

    from alerting.rules import RuleSet

FOLDER = Path(__file__).parent
MAX_PARALLELISM = 128
"""Fixed for good: state is kept in so many key groups, and a savepoint with another number does not restore."""
ENGINE = "engine"
"""Uid and name of the operator that decides."""
COUNTED = ("unreadable", "other_store", "unusable", "duplicate", "too_late")
"""What the engine could not use, as metrics of that operator."""
DERIVED_COUNTED = ("disordered", "crowded")
"""What came, or went on, out of its place; of jobs that derive."""
WAITING = "waiting"
"""Records that only wait until the other topics have been read as far; of jobs that derive."""
READINGS = "sensor-readings"
"""The topic that carries the ticks, which every job reads."""
BUNDLE_MS, BUNDLE_SIZE = 5000, 100_000
"""How long, and how many batches, process mode gathers what goes to Python and comes back. A checkpoint ends a bundle,
and only a checkpoint lets readers see an alert, so this delays none; each bundle writes each store's state once."""
STATE_CACHE = 100_000
"""Keys a task keeps on Python's side in process mode; the default of 1000 makes a task with more stores 4x slower."""


@dataclass(frozen=True, slots=True)
class Job:
    """One streaming job: a folder with this description in job.py, and query.sql.

    name: of the folder, the Flink job, the consumer group and the transactional prefix: never change it.
    reads: topic by the table name that the query uses. rules: file in the chain's rules folder.
    deriver: `package.module:Class` of a streaming_jobs.derive.Deriver, for a job that judges what it derives from its
    topics; its query tags each record with its topic.
    """

    name: str
    reads: dict[str, str]
    rules: str
    deriver: str | None = None

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def query(self) -> str:
        """The gathering: rows of (store_id, batch)."""
        return (self.folder / "query.sql").read_text("utf-8")


def arguments(bootstrap: str, rules: str, source: str, flink: dict[str, str] | None = None) -> list[str]:
    """What `run` is called with: where Kafka is, the rules' text, and the name of their file. The rules travel with
    the job as data, so that a job goes on with the rules it was given whatever becomes of the file.

    flink: settings of this job, before the cluster's; `python.execution-mode` is one (thread, or process as on Managed
    Service for Apache Flink)."""
    return [json.dumps({"bootstrap": bootstrap, "rules": rules, "source": source, "flink": flink or {}})]


def with_rules(args: list[str], rules: str, source: str) -> list[str]:
    """The arguments of a running job, with other rules."""
    return [json.dumps(json.loads(args[0]) | {"rules": rules, "source": source})]


def rules_of(args: list[str]) -> tuple[str, str]:
    """The rules' text and the name of their file, out of a job's arguments."""
    given = json.loads(args[0])
    return given["rules"], given["source"]


def rehearsing(args: list[str], probes: str, flink: dict[str, str]) -> list[str]:
    """A job's arguments, changed so that it only rehearses: it reads what the job reads and the topic `probes`, and
    writes nowhere. flink: settings of the Flink that it starts in its own process."""
    given = json.loads(args[0])
    return [json.dumps(given | {"probes": probes, "flink": given.get("flink", {}) | flink})]


def run(job: Job, args: list[str]) -> None:
    """Build the job and hand it to the cluster that Flink's client is connected to; does not wait for its end.

    A rehearsal starts a Flink of its own in this process, and waits. Raises RuleError.
    """
    from pyflink.common import Configuration
    from pyflink.datastream import StreamExecutionEnvironment
    from pyflink.table import StreamTableEnvironment

    from alerting.rules import parse_rules
    from streaming_jobs import kafka

    given = json.loads(args[0])
    rules = parse_rules(given["rules"], given["source"])
    config = Configuration()
    for key, value in {
        "pipeline.name": job.name,
        "pipeline.max-parallelism": MAX_PARALLELISM,
        "python.state.cache-size": STATE_CACHE,
        "python.fn-execution.bundle.time": BUNDLE_MS,
        "python.fn-execution.bundle.size": BUNDLE_SIZE,
        # The SQL operators' ids are made from the query's shape; with the engine's own uid below all are fixed.
        "table.exec.uid.generation": "ALWAYS",
        "table.local-time-zone": "UTC",
        **given.get("flink", {}),
    }.items():
        config.set_string(key, str(value))
    env = StreamExecutionEnvironment.get_execution_environment(config)
    tables = StreamTableEnvironment.create(env)
    bootstrap, probes, aligned = given["bootstrap"], given.get("probes"), job.deriver is not None
    for table, topic in job.reads.items():
        also = probes if topic == READINGS else None
        tables.execute_sql(kafka.source(table, topic, bootstrap, job.name, aligned=aligned, probes=also))
    if probes is None:
        tables.execute_sql(kafka.alert_sink("alerts", rules.topic, bootstrap, job.name))
        tables.execute_sql(kafka.metric_sink("derived_metrics", bootstrap, job.name))
    else:
        tables.execute_sql(kafka.nowhere("alerts", "alert", "decided_at"))
        tables.execute_sql(kafka.nowhere("derived_metrics", "metric", "derived_at"))
    result = _decide(job, rules, tables) if job.deriver is None else _derive(job, rules, tables)
    if probes is not None:
        result.wait()


def _decide(job: Job, rules: RuleSet, tables: StreamTableEnvironment) -> TableResult:
    """The rest of a job that judges readings."""
    from streaming_jobs.decide import ALERT, Decide

    decided = _by_store(tables, job.query).process(Decide(rules), output_type=ALERT).uid(ENGINE).name(ENGINE)
    tables.create_temporary_view("decided", tables.from_data_stream(decided))
    return tables.execute_sql(
        "INSERT INTO alerts SELECT store_id, alert, TO_TIMESTAMP_LTZ(decided_ms, 3) AS decided_at FROM decided"
    )


def _by_store(tables: StreamTableEnvironment, query: str) -> KeyedStream:
    """The query's rows of (store_id, batch) keyed by store, as batches alone; see `text_of`.

    PyFlink's own `key_by` calls Python for each row's key, so that every batch would cross into Python and back before
    it crosses again to be decided on.
    """
    from pyflink.common.typeinfo import Types
    from pyflink.datastream.data_stream import KeyedStream
    from pyflink.java_gateway import get_gateway

    crossing = Types.PRIMITIVE_ARRAY(Types.BYTE())
    as_bytes = f"SELECT store_id, CAST(batch AS BYTES) AS batch FROM ({query})"
    rows = tables.to_append_stream(tables.sql_query(as_bytes), Types.ROW([Types.STRING(), crossing]))
    key = Types.ROW([Types.STRING()]).get_java_type_info()
    keyed = rows._j_data_stream.keyBy(get_gateway().jvm.KeyByKeySelector(), key)
    return KeyedStream(keyed, crossing, rows)


def text_of(batch: bytes) -> str:
    """A batch as it came into Python: bytes are the cheaper way between processes and within one
    (docs/streaming-performance.md). What is no UTF-8 spoils only its own record."""
    return batch.decode(errors="replace")


def _derive(job: Job, rules: RuleSet, tables: StreamTableEnvironment) -> TableResult:
    """The rest of a job that derives: two sinks behind one operator."""
    from streaming_jobs.deriving import TOLD, DeriveAndDecide

    told = (
        _by_store(tables, job.query)
        .process(DeriveAndDecide(job.name, job.deriver, rules), output_type=TOLD)
        .uid(ENGINE)
        .name(ENGINE)
    )
    tables.create_temporary_view("told", tables.from_data_stream(told))
    inserts = tables.create_statement_set()
    for sink, column, stamp in (("alerts", "alert", "decided_at"), ("derived_metrics", "metric", "derived_at")):
        inserts.add_insert_sql(
            f"INSERT INTO {sink} SELECT store_id, {column}, TO_TIMESTAMP_LTZ(at_ms, 3) AS {stamp} FROM told "
            f"WHERE {column} IS NOT NULL"
        )
    return inserts.execute()
