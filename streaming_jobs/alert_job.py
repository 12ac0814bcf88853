"""What every alert job is made of: a store's events gathered by SQL, decided by the engine, written exactly once.

A job is a folder: `job.py` names the topics, `query.sql` gathers. Connector options stand here and nowhere else.
Rules come as a file's text, read by the client that submits the job.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path

from pyflink.common import Row, Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.state import ValueStateDescriptor
from pyflink.table import Schema, StreamTableEnvironment, TableDescriptor
from pyflink.table.types import DataTypes

from alerting.engine import Engine
from alerting.events import Unreadable, read_batch
from alerting.instants import to_ms
from alerting.rules import parse_rules
from alerting.state import dumps, loads

FOLDER = Path(__file__).parent
MAX_PARALLELISM = 128
"""Fixed for good: key groups, and so savepoints, depend on it."""
TRANSACTION_TIMEOUT_MS = 24 * 3600 * 1000
"""A stop shorter than this loses no alert that a checkpoint had already handed to the broker."""

OUT = Types.ROW_NAMED(["k", "v", "ts"], [Types.STRING(), Types.STRING(), Types.LONG()])


class Decide(KeyedProcessFunction):
    """One store's batch in, its alert events out: (store_id, JSON, decided_at in epoch ms)."""

    def __init__(self, rules: str, source: str) -> None:
        self.rules, self.source = rules, source

    def open(self, runtime_context: RuntimeContext) -> None:
        self.engine = Engine(parse_rules(self.rules, self.source))
        self.state = runtime_context.get_state(ValueStateDescriptor("store", Types.STRING()))
        metrics = runtime_context.get_metrics_group().add_group("alerts")
        self.unreadable, self.told = metrics.counter("unreadable_records"), metrics.counter("alert_events")

    def process_element(self, row: Row, _context: KeyedProcessFunction.Context) -> Iterator[Row]:
        store_id, batch = row[0], row[1]
        before, unreadable = self.state.value(), []
        state = self.engine.start(store_id) if before is None else loads(before)
        state, alerts = self.engine.advance(state, read_batch(batch, unreadable))
        self.state.update(dumps(state))
        self._note(store_id, unreadable)
        for alert in alerts:
            self.told.inc()
            text = json.dumps(alert, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            yield Row(store_id, text, to_ms(alert["decided_at"]))

    def _note(self, store_id: str, unreadable: list[Unreadable]) -> None:
        """Not lost: bronze keeps such a record as it is, and silver puts it into quarantine with its reasons."""
        for record in unreadable:
            self.unreadable.inc()
            logging.warning("%s: the record at offset %s cannot be read: %s", store_id, record.offset, record.why)


def build(env: StreamExecutionEnvironment, name: str, topic_in: str, bootstrap: str, rules: str, source: str) -> None:
    """Wire one alert job into the environment. rules: a rule file's text; source: its name, for messages.

    Raises RuleError where the rules cannot be used.
    """
    topic_out = parse_rules(rules, source).topic
    env.set_max_parallelism(MAX_PARALLELISM)
    tables = StreamTableEnvironment.create(env)
    options = tables.get_config()
    options.set("table.exec.uid.generation", "ALWAYS")
    options.set("table.local-time-zone", "UTC")
    options.set("pipeline.name", name)
    options.set("python.state.cache-size", "100000")
    tables.create_temporary_table("source", _source(name, topic_in, bootstrap))
    tables.create_temporary_table("sink", _sink(name, topic_out, bootstrap))

    batches = tables.sql_query((FOLDER / name / "query.sql").read_text("utf-8"))
    decided = (
        tables.to_data_stream(batches)
        .key_by(lambda row: row[0], Types.STRING())
        .process(Decide(rules, source), OUT)
        .name("engine")
        .uid("engine")
    )
    tables.create_temporary_view("decided", tables.from_data_stream(decided))
    statements = tables.create_statement_set()
    statements.add_insert_sql("INSERT INTO sink SELECT k, v, TO_TIMESTAMP_LTZ(ts, 3) FROM decided")
    statements.attach_as_datastream()


def _source(name: str, topic: str, bootstrap: str) -> TableDescriptor:
    columns = (
        Schema.new_builder()
        .column("k", DataTypes.STRING())
        .column("v", DataTypes.STRING())
        .column_by_metadata("o", DataTypes.BIGINT(), "offset", True)
        .column_by_metadata("ts", DataTypes.TIMESTAMP_LTZ(3), "timestamp", True)
        .column_by_expression("pt", "PROCTIME()")
        .build()
    )
    return (
        _kafka(topic, bootstrap, columns)
        .option("properties.group.id", name)
        .option("properties.isolation.level", "read_committed")
        .option("scan.startup.mode", "earliest-offset")
        .build()
    )


def _sink(name: str, topic: str, bootstrap: str) -> TableDescriptor:
    columns = (
        Schema.new_builder()
        .column("k", DataTypes.STRING())
        .column("v", DataTypes.STRING())
        .column_by_metadata("ts", DataTypes.TIMESTAMP_LTZ(3), "timestamp", False)
        .build()
    )
    return (
        _kafka(topic, bootstrap, columns)
        .option("sink.delivery-guarantee", "exactly-once")
        .option("sink.transactional-id-prefix", f"grocery-{name}")
        .option("properties.transaction.timeout.ms", str(TRANSACTION_TIMEOUT_MS))
        .build()
    )


def _kafka(topic: str, bootstrap: str, columns: Schema) -> TableDescriptor.Builder:
    return (
        TableDescriptor.for_connector("kafka")
        .schema(columns)
        .option("topic", topic)
        .option("properties.bootstrap.servers", bootstrap)
        .option("key.format", "raw")
        .option("key.fields", "k")
        .option("value.format", "raw")
        .option("value.fields-include", "EXCEPT_KEY")
    )


def main(name: str, topic_in: str) -> None:
    """Entry point of `<job>/job.py` under `flink run`."""
    parser = argparse.ArgumentParser(description=f"Alert job {name}.")
    parser.add_argument("--bootstrap", required=True, help="Kafka bootstrap servers")
    parser.add_argument("--rules", required=True, type=Path, help="rule file (YAML)")
    args = parser.parse_args()
    env = StreamExecutionEnvironment.get_execution_environment()
    build(env, name, topic_in, args.bootstrap, args.rules.read_text("utf-8"), str(args.rules))
    env.execute(name)
