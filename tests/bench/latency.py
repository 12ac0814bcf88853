"""From a reading sent to its alert readable: `latency.py BOOTSTRAP TOPIC_IN TOPIC_OUT WARM_S SECONDS RATE`.

Runs in the peers' environment. Sends RATE readings/s of 100 stores with 50 devices each, as they would come, and among
them each tenth of a second a reading that makes an alert due: of a freezer that was too warm 32 and 16 min ago. A
reader of committed records waits for its alert. The last line gives the seconds from just before each was handed to the
producer until it was in the reader's hands.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from datetime import UTC, datetime

from confluent_kafka import Consumer, Producer

STORES, DEVICES = 100, 50
PROBES_A_SECOND = 10
LATE_S = 30
"""After the last reading: what has not come by then is counted as missing."""


def reading(device: str, store: str, at: float, value: float) -> tuple[str, bytes]:
    """(event_id, payload). at: epoch seconds."""
    time_ = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event_id = f"{device}-{round(at * 1000)}"
    payload = (
        f'{{"event_id":"{event_id}","event_time":"{time_}","store_id":"{store}","schema_version":1,"kind":"reading",'
        f'"device_id":"{device}","asset_id":"{device[:-2]}","asset_class":"freezer","metric":"temperature",'
        f'"value":{value},"unit":"Cel"}}'
    )
    return event_id, payload.encode()


def tick(store: str, at: float, roster: list[dict] | None) -> bytes:
    time_ = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = {"event_id": f"tick-{store}-{round(at * 1000)}", "event_time": time_, "store_id": store}
    event |= {"schema_version": 1, "kind": "tick"} | ({"roster": roster} if roster else {})
    return json.dumps(event, separators=(",", ":")).encode()


def roster(store: str) -> list[dict]:
    about = {"asset_class": "freezer", "metric": "temperature", "interval_s": 10}
    return [
        about | {"asset_id": f"{store}-{number:02d}", "device_id": f"{store}-{number:02d}-t"}
        for number in range(DEVICES)
    ]


class Reader(threading.Thread):
    """Notes when each alert came, by the reading that decided it."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        super().__init__(daemon=True)
        self.came: dict[str, float] = {}
        self.stop = False
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"latency-{uuid.uuid4()}",
                "isolation.level": "read_committed",
                "auto.offset.reset": "latest",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 20,
            }
        )
        self._consumer.subscribe([topic])

    def run(self) -> None:
        while not self.stop:
            message = self._consumer.poll(0.2)
            if message is None or message.error():
                continue
            now = time.time()
            alert = json.loads(message.value())
            last = alert.get("evidence", {}).get("last", {}).get("event_id")
            if alert["event"] == "raised" and last:
                self.came.setdefault(last, now)
        self._consumer.close()


def main(bootstrap: str, topic_in: str, topic_out: str, warm_s: str, seconds: str, rate: str) -> None:
    run = uuid.uuid4().hex[:6]
    reader = Reader(bootstrap, topic_out)
    reader.start()
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "acks": "all"})
    stores = [f"late-{number:03d}" for number in range(STORES)]

    def send(store: str, payload: bytes) -> None:
        producer.produce(topic_in, payload, store.encode(), timestamp=round(time.time() * 1000))

    began = time.time()
    for store in stores:
        send(store, tick(store, began, roster(store)))
    probes = round(float(seconds) * PROBES_A_SECOND)
    for number in range(probes):
        device, store = f"probe-{run}-{number}-t", stores[number % STORES]
        for minutes in (32, 16):
            send(store, reading(device, store, began - minutes * 60, -10)[1])
    producer.flush()

    sent: dict[str, float] = {}
    count, probed, ticked, end = 0, 0, began, began + float(warm_s) + float(seconds)
    while (now := time.time()) < end:
        while count < (now - began) * float(rate):
            store = stores[count % STORES]
            device = f"{store}-{count // STORES % DEVICES:02d}-t"
            send(store, reading(device, store, now, -20 + count % 7 / 10)[1])
            count += 1
        while probed < min(probes, (now - began - float(warm_s)) * PROBES_A_SECOND):
            store = stores[probed % STORES]
            at = time.time()
            event_id, payload = reading(f"probe-{run}-{probed}-t", store, at, -10)
            sent[event_id] = at
            send(store, payload)
            probed += 1
        if now - ticked >= 10:
            ticked = now
            for store in stores:
                send(store, tick(store, now, None))
        producer.poll(0.002)
    producer.flush()
    deadline = time.time() + LATE_S
    while len(reader.came.keys() & sent.keys()) < len(sent) and time.time() < deadline:
        time.sleep(0.1)
    reader.stop = True
    reader.join()
    took = sorted(reader.came[event_id] - at for event_id, at in sent.items() if event_id in reader.came)
    print(json.dumps({"seconds": took, "missing": len(sent) - len(took), "sent_per_s": count / (end - began)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
