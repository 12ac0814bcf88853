"""Try whether a job's next version can go on from the state of the one that runs, before that is stopped.

A savepoint of the running job is restored in a Flink of its own: every operator's state as Flink reads it, then each
store's own state as the engine reads it, since that happens only when the store's next record comes. So each store gets
a probe, on a topic made for it: a tick from long ago, which moves no clock. What is decided meanwhile goes nowhere.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from grocery.stack import Stack, StackError
from grocery.stack.beside import Beside, beside
from grocery.stack.deploy import Change, come_up
from schemas.instants import to_rfc3339
from streaming_jobs import progress
from streaming_jobs.runtime import rehearsing

PROBED_S = 120
LONG_AGO_MS = 1
_STORE = re.compile(rb'"store_id":"((?:[^"\\]|\\.){1,200})"')


class Unfit(StackError):
    """The next version cannot go on from the state there is; the message says why. The running job was not touched."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """stores: whose state was restored and read. seconds: how long it took."""

    stores: int
    seconds: float


def rehearse(stack: Stack, change: Change, code: Path, savepoint: Path) -> Rehearsed:
    """Restore a savepoint with the next version of its job. Raises Unfit.

    code: the release that the next version runs.
    """
    began = time.monotonic()
    stores = stores_in(savepoint)
    with _probes(stack.kafka, stores) as probes:
        py_file = stack.in_code(change.py_file, code)
        try:
            with beside(stack, py_file, code, savepoint, lambda flink: rehearsing(change.args, probes, flink)) as there:
                if stores:
                    _probed(there, probes, len(stores))
                else:
                    come_up(there.rest, there.job_id, change.name, there.still_there)
        except StackError as error:
            raise Unfit(f"{change.name}: the new version cannot go on from the state there is: {error}") from error
    return Rehearsed(len(stores), time.monotonic() - began)


def stores_in(savepoint: Path) -> list[str]:
    """The stores whose states a savepoint holds: the engine writes them as JSON text, which stands in it as it is."""
    found = set()
    for file in savepoint.iterdir():
        found.update(match[1] for match in _STORE.finditer(file.read_bytes()))
    return sorted(msgspec.json.decode(b'"' + store + b'"') for store in found)


@contextmanager
def _probes(bootstrap: str, stores: list[str]) -> Iterator[str]:
    """A topic with a probe for each store; deleted after the block."""
    from kafka import KafkaProducer
    from kafka.admin import KafkaAdminClient

    topic = f"rehearsal-{uuid.uuid4()}"
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.create_topics({topic: {"num_partitions": 1, "replication_factor": -1}})
        admin.wait_for_topics([topic])
        producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
        try:
            for store in stores:
                probe = {
                    "event_id": f"probe-{store}",
                    "event_time": to_rfc3339(LONG_AGO_MS),
                    "store_id": store,
                    "schema_version": 1,
                    "kind": "tick",
                }
                producer.send(topic, msgspec.json.encode(probe), key=store.encode(), timestamp_ms=LONG_AGO_MS)
            producer.flush(timeout=60)
        finally:
            producer.close()
        yield topic
    finally:
        admin.delete_topics([topic])
        admin.close()


def _probed(there: Beside, probes: str, count: int) -> None:
    """Return once all probes were read, and the batches they lay in were decided and are in a checkpoint."""
    end = time.monotonic() + PROBED_S
    read_at = None
    while time.monotonic() < end:
        there.still_there()
        done = progress.completed_checkpoints(there.rest, there.job_id)
        if read_at is None and sum(progress.taken(there.rest, there.job_id, probes).values()) >= count:
            read_at = done
        if read_at is not None and done >= read_at + 3:
            return
        time.sleep(0.2)
    raise StackError(f"the stores' states were not read within {PROBED_S} s")
