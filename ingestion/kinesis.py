"""Records to Kinesis Data Streams: one stream a topic, partition key = record key, one event a Kinesis record.

Kinesis stamps the arrival itself; the arrival times of a replay or a simulation cannot be given. Use Kafka for those.
"""

from __future__ import annotations

import random
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any

from ingestion.record import Record
from ingestion.sinks import Closing, DeliveryFailed

MAX_RECORDS = 500  # of one PutRecords request
MAX_REQUEST_BYTES = 5 * 1024 * 1024
MAX_RECORD_BYTES = 1024 * 1024  # data and partition key
# An original of this size, encrypted and encoded, still fits into one record: for Gate(max_kept_bytes=…).
MAX_KEPT_BYTES = 700_000


class KinesisSink(Closing):
    """At least once, and each store's events of a topic in order.

    PutRecords may take a later record and refuse an earlier one, so no request carries two records of one key: a
    store's next event is sent after the one before it was taken. A request thus carries as many events as there are
    stores with something to say, which live traffic of a chain fills; a backfill of few stores is slow.

    client: boto3's Kinesis client. prefix: what the stream names begin with, before the topic.
    max_waiting: records held back before `send` starts sending.
    give_up_s: how long a stream may refuse everything before DeliveryFailed.
    """

    def __init__(
        self,
        client: Any,
        prefix: str = "",
        *,
        max_waiting: int = MAX_RECORDS,
        give_up_s: float = 60,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client, self._prefix = client, prefix
        self._max_waiting, self._give_up_s, self._sleep = max_waiting, give_up_s, sleep
        # stream -> key -> its records, oldest first. Keys take turns.
        self._waiting: dict[str, OrderedDict[str, deque[Record]]] = {}
        self._count = 0
        self.retried = 0

    def send(self, record: Record) -> None:
        """Take one record. Raises DeliveryFailed where it is too large, or a stream refuses for too long."""
        size = len(record.value) + len(record.key.encode())
        if size > MAX_RECORD_BYTES:
            error = f"{size} bytes, Kinesis takes {MAX_RECORD_BYTES}"
            raise DeliveryFailed([(record, error)], "Kinesis")
        stream = self._prefix + record.topic
        self._waiting.setdefault(stream, OrderedDict()).setdefault(record.key, deque()).append(record)
        self._count += 1
        if self._count >= self._max_waiting:
            self._send_while(lambda: self._count >= self._max_waiting)

    def flush(self) -> None:
        """Send all that waits. Raises DeliveryFailed naming what was not taken."""
        self._send_while(lambda: self._count > 0)

    def close(self) -> None:
        self._client.close()

    def _send_while(self, wanted: Callable[[], bool]) -> None:
        tries, refused_s = 0, 0.0
        while wanted():
            # The stream with most keys waiting: the fullest request.
            stream = max(self._waiting, key=lambda name: len(self._waiting[name]))
            taken, errors = self._put(stream)
            if not errors:
                tries, refused_s = 0, 0.0
                continue
            self.retried += errors.total()
            tries, refused_s = (0, 0.0) if taken else (tries + 1, refused_s)
            if refused_s >= self._give_up_s:
                kind = errors.most_common(1)[0][0]
                self._fail(stream, f"{kind}, for {refused_s:.0f} s")
            pause = min(0.1 * 2**tries, 5) * random.uniform(0.5, 1)  # noqa: S311  spreads the producers
            refused_s += pause
            self._sleep(pause)

    def _put(self, stream: str) -> tuple[int, Counter[str]]:
        """One request; returns (records taken, errors of those refused)."""
        from botocore.exceptions import BotoCoreError, ClientError

        queues = self._waiting[stream]
        batch: list[Record] = []
        size = 0
        for queue in queues.values():
            size += len(queue[0].value) + len(queue[0].key.encode())
            if len(batch) == MAX_RECORDS or size > MAX_REQUEST_BYTES:
                break
            batch.append(queue[0])
        entries = [{"Data": record.value, "PartitionKey": record.key} for record in batch]
        try:
            answer = self._client.put_records(StreamName=stream, Records=entries)["Records"]
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("ProvisionedThroughputExceededException", "LimitExceededException", "InternalFailure"):
                return 0, Counter({code: len(batch)})
            self._fail(stream, f"{code}: {error.response['Error'].get('Message', '')}")
        except BotoCoreError as error:
            self._fail(stream, str(error))
        errors: Counter[str] = Counter()
        for record, result in zip(batch, answer, strict=True):
            if result.get("ErrorCode"):
                errors[result["ErrorCode"]] += 1
                continue
            queue = queues[record.key]
            queue.popleft()
            self._count -= 1
            if queue:
                queues.move_to_end(record.key)
            else:
                del queues[record.key]
        if not queues:
            del self._waiting[stream]
        return len(batch) - errors.total(), errors

    def _fail(self, stream: str, error: str) -> None:
        """Raises DeliveryFailed for all that waits for this stream, and holds on to it no longer."""
        queues = self._waiting.pop(stream)
        failed = [(record, error) for queue in queues.values() for record in queue]
        self._count -= len(failed)
        raise DeliveryFailed(failed, f"Kinesis stream {stream}")
