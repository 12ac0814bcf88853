"""A facing that is empty or low for too long, and a product that no longer sells though its stock is on the books,
become alerts.

In: `cv-detections` (facings), `pos-transactions` (what was sold), `inventory` (stock on the books) and the ticks of
`sensor-readings` (which product belongs on which facing), from their beginning. Out, exactly once: `derived-metrics`
(facing empty and low as seen, stock as booked, and every five minutes how long each product has not sold against its
own usual gap), `alerts.shelf`. Rules: chain/rules/shelf.yaml.

Clock: the log's (arrival time) for the five minutes, the cameras' own for what they saw. A product's gaps are counted
in the store's receipts, so nights, holidays and slow hours make no product look dead.
Lateness: records wait 5 s for those of the other topics; the rules take what was seen late as they do any reading.
State: one JSON text a store, bounded by its planogram (the facings among its assets) and the newest 100 receipt ids.
A second run over the same log writes the same events again; readers know them by their ids.
"""

import sys

from streaming_jobs.runtime import Job, run

JOB = Job(
    name="shelf",
    reads={
        "sensor_readings": "sensor-readings",
        "cv_detections": "cv-detections",
        "pos_transactions": "pos-transactions",
        "inventory": "inventory",
    },
    rules="shelf.yaml",
    deriver="streaming_jobs.shelf.shelves:Shelves",
)

if __name__ == "__main__":
    run(JOB, sys.argv[1:])
