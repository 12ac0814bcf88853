"""The same rules on Bytewax: `python -m bytewax.run "tests.bench.bytewax_peer:flow(…)"`, a cluster of processes.

It has no transactions: with recovery on, as here, a restart goes on from the last epoch and sends alerts again (at
least once). Bytes travel between the processes, each parses what it decides on.
It commits no offsets: how far it is, each process writes into a file of its own (records decided on).
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic

from tests.bench import rules


class Store(dict):
    """A store's state: the dictionary itself."""

    set = dict.__setitem__


class Decide(StatefulBatchLogic):
    done = 0

    def __init__(self, state: dict | None) -> None:
        self.state = Store() if state is None else Store(state)

    def on_batch(self, values):
        told = []
        for timestamp, value in values:
            told += rules.decide(self.state, timestamp, rules.decode(value))
        Decide.done += len(values)
        return told, StatefulBatchLogic.RETAIN

    def snapshot(self):
        # As bytes: quicker than a deep copy, and as much a copy.
        return orjson.dumps(self.state)


def flow(bootstrap: str, topic_in: str, topic_out: str, folder: str) -> Dataflow:
    threading.Thread(target=_tell, args=(Path(folder) / f"done-{os.getpid()}",), daemon=True).start()
    flow = Dataflow("cold_chain")
    source = KafkaSource([bootstrap], [topic_in], batch_size=1000)
    records = op.input("readings", flow, source)
    keyed = op.flat_map_batch(
        "key", records, lambda batch: [(record.key.decode(), (record.timestamp[1], record.value)) for record in batch]
    )
    alerts = op.stateful_batch("decide", keyed, lambda state: Decide(orjson.loads(state) if state else None))
    out = op.map("write", alerts, lambda item: KafkaSinkMessage(item[0].encode(), orjson.dumps(item[1])))
    op.output("alerts", out, KafkaSink([bootstrap], topic_out))
    return flow


def _tell(file: Path) -> None:
    while True:
        file.write_text(str(Decide.done))
        time.sleep(0.25)
