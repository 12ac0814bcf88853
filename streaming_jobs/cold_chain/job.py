"""Cold chain: tells when a freezer or cooler is too warm for too long, and when its sensor has fallen silent.

Inputs: `sensor-readings` (readings, ticks, bad-reading markers), keyed by store.
Output: `alerts.cold-chain`, exactly once.
Clock: the log's own (record timestamps and ticks); limits run in each device's event time. No watermark, no timer.
Lateness: a reading older than its device's newest is not decided on; the lake keeps it.
State: one JSON text a store, bounded by the store's devices (retired ones leave it with the next roster).
"""

from streaming_jobs.alert_job import main

if __name__ == "__main__":
    main("cold_chain", topic_in="sensor-readings")
