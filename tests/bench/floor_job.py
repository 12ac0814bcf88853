"""Flink's floor: `floor_job.py BOOTSTRAP TOPIC raw|gathered|parsed`. Reads the topic, and throws it away.

raw: the payload as text, its offset and time, as cold_chain takes it. gathered: that, in the batches that cold_chain's
query makes of it: all of the job but its Python. parsed: the JSON by SQL, and one comparison.
Both checkpoint each second; their group's committed offsets tell how far they are.
"""

from __future__ import annotations

import sys

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment

PARSED = """
  event_id STRING, event_time TIMESTAMP_LTZ(3), store_id STRING, kind STRING, device_id STRING, asset_id STRING,
  asset_class STRING, metric STRING, `value` DOUBLE
"""


def main(bootstrap: str, topic: str, how: str) -> None:
    from streaming_jobs import kafka
    from streaming_jobs.submit import job_named

    group = f"floor_{how}"
    config = Configuration()
    config.set_string("pipeline.name", group)
    env = StreamExecutionEnvironment.get_execution_environment(config)
    tables = StreamTableEnvironment.create(env)
    if how == "raw":
        tables.execute_sql(kafka.source("readings", topic, bootstrap, group))
        what = "record_key, payload, record_offset, arrived_at FROM readings"
        columns = "a STRING, b STRING, c BIGINT, d TIMESTAMP_LTZ(3)"
    elif how == "gathered":
        job = job_named("cold_chain")
        (table,) = job.reads
        tables.execute_sql(kafka.source(table, topic, bootstrap, group))
        what, columns = f"* FROM ({job.query})", "a STRING, b STRING"
    else:
        tables.execute_sql(
            f"CREATE TEMPORARY TABLE readings ({PARSED}) WITH ("
            "'connector' = 'kafka', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json', "
            "'json.timestamp-format.standard' = 'ISO-8601', "
            f"'topic' = '{topic}', 'properties.bootstrap.servers' = '{bootstrap}', 'properties.group.id' = '{group}', "
            "'properties.isolation.level' = 'read_committed')"
        )
        what = (
            "store_id, device_id, event_time, `value` FROM readings "
            "WHERE kind = 'reading' AND metric = 'temperature' AND `value` > CAST(-15 AS DOUBLE)"
        )
        columns = "a STRING, b STRING, c TIMESTAMP_LTZ(3), d DOUBLE"
    tables.execute_sql(f"CREATE TEMPORARY TABLE nowhere ({columns}) WITH ('connector' = 'blackhole')")
    tables.execute_sql(f"INSERT INTO nowhere SELECT {what}")


if __name__ == "__main__":
    main(*sys.argv[1:])
