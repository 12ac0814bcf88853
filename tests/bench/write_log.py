"""Write a scenario's log to a topic: `write_log.py BOOTSTRAP TOPIC SCENARIO_JSON UNTIL_MS`.

Runs in the peers' environment, for its producer: 141k records/s against the 20k of the one in the project's. A process
a core, each with its own partitions. The last line says, by partition, how many records were written before the
scenario's end, how many in all, and how many of all are readings.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys

from confluent_kafka import Producer

from tests.bench.load import PARTITIONS, Scenario, shard, store_id


def write(bootstrap: str, topic: str, scenario: Scenario, partition: int, until_ms: int) -> tuple[int, int, int]:
    """(records before the scenario's end, records, readings)."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 50,
            "batch.size": 256 * 1024,
            "queue.buffering.max.messages": 500_000,
        }
    )
    before = records = readings = 0
    keys = {number: store_id(number).encode() for number in scenario.stores_of(partition)}
    for line in shard(scenario, partition):
        if line.arrived_ms >= until_ms:
            break
        while True:
            try:
                producer.produce(topic, line.payload, keys[line.store], partition, timestamp=line.arrived_ms)
                break
            except BufferError:
                producer.poll(0.1)
        before += line.arrived_ms < scenario.end_ms
        records += 1
        readings += line.is_reading
        if records % 5000 == 0:
            producer.poll(0)
    left = producer.flush(120)
    if left:
        raise RuntimeError(f"{left} records of partition {partition} were not delivered to {bootstrap}")
    return before, records, readings


def main(bootstrap: str, topic: str, scenario_json: str, until_ms: str) -> None:
    scenario = Scenario(**json.loads(scenario_json))
    work = [(bootstrap, topic, scenario, partition, int(until_ms)) for partition in range(PARTITIONS)]
    with multiprocessing.Pool(min(PARTITIONS, os.cpu_count() or 1)) as pool:
        written = pool.starmap(write, work, chunksize=1)
    names = ("before", "records", "readings")
    print(json.dumps({name: [part[place] for part in written] for place, name in enumerate(names)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
