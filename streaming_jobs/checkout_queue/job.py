"""Shoppers who wait too long at the checkouts, and lanes that are missing now or soon, become alerts.

In: `cv-detections` (people in the queue, self-checkout and entrance zones), `lane-status`, `pos-transactions` (only
when and where somebody paid) and the ticks of `sensor-readings`, from their beginning. Out, exactly once:
`derived-metrics` each minute (people per open lane, estimated wait, lanes open, needed now, in 15 and in 30 min and
short of that, share of time within 1+1), `alerts.queue`. Rules: chain/rules/checkout_queue.yaml.

Clock: the log's (arrival time): a minute is told once the clock has passed it, from what had arrived by then.
Lateness: records wait 5 s for those of the other topics; a zone not heard of for two minutes is unknown, never empty.
State: one JSON text a store, bounded by its lanes, its entrances of the last hour and 120 minutes of entrance counts.
A second run over the same log writes the same events again; readers know them by their ids.
"""

import sys

from streaming_jobs.runtime import Job, run

JOB = Job(
    name="checkout_queue",
    reads={
        "sensor_readings": "sensor-readings",
        "cv_detections": "cv-detections",
        "lane_status": "lane-status",
        "pos_transactions": "pos-transactions",
    },
    rules="checkout_queue.yaml",
    deriver="streaming_jobs.checkout_queue.queues:Queues",
)

if __name__ == "__main__":
    run(JOB, sys.argv[1:])
