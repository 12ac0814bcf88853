"""A freezer or cooler that is too warm for too long, or a sensor on it that has gone silent, becomes an alert.

In: topic `sensor-readings` (readings, bad-readings, ticks), from its beginning. Out: topic `alerts.cold-chain`,
exactly once. Rules: chain/rules/cold_chain.yaml, handed over when the job is submitted.

Clock: the log's. Limits run in the device's event time, silence in the records' timestamps (arrival time); the
quarter-second windows only decide how many records one call gets, never what is decided.
Lateness: a reading takes its place among its device's 16 newest; an older one is counted and decides nothing.
State: one JSON text a store, bounded by its devices; what leaves the roster leaves the state.
A second run over the same log writes the same events again; readers know them by (alert_id, sequence).
"""

import sys

from streaming_jobs.runtime import Job, run

JOB = Job(name="cold_chain", reads={"sensor_readings": "sensor-readings"}, rules="cold_chain.yaml")

if __name__ == "__main__":
    run(JOB, sys.argv[1:])
