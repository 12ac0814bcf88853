"""Use out of hours, a jump against past weeks, a meter that begins anew or is silent, a screen that is off, bad data.

In: topic `sensor-readings` (meters, heartbeats, ticks), from its beginning. Out: topics `alerts.utility` and
`derived-metrics`, exactly once. Rules: chain/rules/utilities.yaml, handed over when the job is submitted.

Clock: use is derived in the meters' own event time, the store's hours and zone come with the ticks; silence runs in
arrival time.
Lateness: a meter's readings may be four minutes out of order; a later one is left out of what is derived.
State: one JSON text a store: of each meter its use of the last four weeks by the hour and of its last 84 closed hours,
some 10 kB a store; what leaves the roster leaves the state.
A second run over the same log writes the same events again; readers know derived metrics by event_id, alerts by
(alert_id, sequence).
"""

import sys

from streaming_jobs.runtime import Job, run

JOB = Job(
    name="utilities",
    reads={"sensor_readings": "sensor-readings"},
    rules="utilities.yaml",
    deriver="streaming_jobs.utilities.deriver:Utilities",
)

if __name__ == "__main__":
    run(JOB, sys.argv[1:])
