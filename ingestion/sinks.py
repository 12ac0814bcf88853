"""Where records go: a Kafka topic, a file. (Kinesis: ingestion/kinesis.py.)

Every sink has send, flush and close. `flush` returns once all that was sent is safe, or raises DeliveryFailed.
"""

from __future__ import annotations

import base64
import json
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

from ingestion.record import Record


class DeliveryFailed(RuntimeError):
    """Some records are not where they should be. failed: (record, error) for each."""

    def __init__(self, failed: list[tuple[Record, str]], where: str) -> None:
        self.failed = failed
        kinds = Counter(f"{record.topic}: {error}" for record, error in failed)
        first = failed[0][0]
        super().__init__(
            f"{len(failed)} records were not delivered to {where} "
            f"({'; '.join(f'{number} x {kind}' for kind, number in kinds.most_common(3))}). "
            f"The first is for {first.topic}, key {first.key}, arrived {first.timestamp_ms}, "
            f"{first.value[:80].decode('utf-8', 'replace')}… Bring the target back and send from there again; "
            "readers drop what comes twice by event_id."
        )


class Sink(Protocol):
    def send(self, record: Record) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class Closing:
    """`with sink:` flushes and closes; after an error inside it only closes."""

    def __enter__(self):
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        try:
            if kind is None:
                self.flush()
        finally:
            self.close()


class KafkaSink(Closing):
    """Idempotent, acks=all: a retry or a broker's restart loses nothing and doubles nothing.

    At most `max_waiting` records and `max_waiting_bytes` are unacknowledged; then `send` waits for the oldest.
    delivery_timeout_s: how long a record may wait for a broker that is away before `send` or `flush` raises
        DeliveryFailed.
    transactional_id: with it, records go on within `with sink.transaction():` only, all or none; without it, each by
        itself.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        delivery_timeout_s: float = 300,
        max_waiting: int = 50_000,
        max_waiting_bytes: int = 64 * 1024 * 1024,
        transactional_id: str | None = None,
    ) -> None:
        from kafka import KafkaProducer

        self._bootstrap = bootstrap
        self._timeout_s = delivery_timeout_s
        self._max_waiting, self._max_bytes = max_waiting, max_waiting_bytes
        self._waiting: deque = deque()
        self._waiting_bytes = 0
        self._failed: list[tuple[Record, str]] = []
        extra = {"transactional_id": transactional_id} if transactional_id else {}
        self._producer = KafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=True,
            max_in_flight_requests_per_connection=5,
            delivery_timeout_ms=round(delivery_timeout_s * 1000),
            max_block_ms=min(60_000, round(delivery_timeout_s * 1000)),
            request_timeout_ms=min(30_000, round(delivery_timeout_s * 1000) // 2),
            reconnect_backoff_max_ms=1_000,
            # kafka-python sums up the checksum in Python, so fewer bytes cost less than their compression:
            # 16.7k records/s with gzip, 11.4k without, one core.
            compression_type="gzip",
            linger_ms=20,
            batch_size=256 * 1024,
            max_request_size=16 * 1024 * 1024,
            allow_auto_create_topics=False,
            metrics_enabled=False,
            **extra,
        )
        if transactional_id:
            self._producer.init_transactions()

    def send(self, record: Record) -> None:
        """Hand over one record. Raises DeliveryFailed once an earlier one is known to be lost."""
        from kafka.errors import KafkaError

        self._sweep()
        while self._waiting and (len(self._waiting) >= self._max_waiting or self._waiting_bytes >= self._max_bytes):
            self._wait_for_oldest()
        self._raise_failed()
        try:
            future = self._producer.send(
                record.topic, record.value, key=record.key.encode(), timestamp_ms=record.timestamp_ms
            )
        except KafkaError as error:
            self._failed.append((record, str(error)))
            self._raise_failed()
        self._waiting.append((record, future))
        self._waiting_bytes += len(record.value)

    def flush(self) -> None:
        """Wait until all is acknowledged. Raises DeliveryFailed naming what is not."""
        from kafka.errors import KafkaError

        with suppress(KafkaError):  # each record's own future says what became of it
            self._producer.flush(timeout=self._timeout_s)
        while self._waiting:
            self._wait_for_oldest()
        self._raise_failed()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All records sent inside become readable together, or none does."""
        self._producer.begin_transaction()
        try:
            yield
            self.flush()
        except BaseException:
            self._producer.abort_transaction()
            self._waiting.clear()
            self._waiting_bytes = 0
            self._failed.clear()
            raise
        self._producer.commit_transaction()

    def close(self) -> None:
        self._producer.close(timeout=5)

    def _sweep(self) -> None:
        waiting = self._waiting
        while waiting and waiting[0][1].is_done:
            self._settle(*waiting.popleft())

    def _wait_for_oldest(self) -> None:
        from kafka.errors import KafkaError

        record, future = self._waiting[0]
        try:
            future.get(timeout=self._timeout_s + 5)
        except KafkaError as error:
            if not future.is_done:
                self._failed.append((record, f"no answer in {self._timeout_s:.0f} s ({error})"))
                self._waiting.popleft()
                self._waiting_bytes -= len(record.value)
                return
        self._sweep()

    def _settle(self, record: Record, future) -> None:
        self._waiting_bytes -= len(record.value)
        if future.failed():
            self._failed.append((record, f"{type(future.exception).__name__}: {future.exception}"))

    def _raise_failed(self) -> None:
        if self._failed:
            failed, self._failed = self._failed, []
            raise DeliveryFailed(failed, f"Kafka at {self._bootstrap}")


class FileSink(Closing):
    """NDJSON, one record a line: {"topic", "key", "timestamp_ms", "value"}; for looking at, and for tests.

    A value that is not UTF-8 stands as `value_base64`. The file is written over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._out = path.open("w", encoding="utf-8")

    def send(self, record: Record) -> None:
        line = {"topic": record.topic, "key": record.key, "timestamp_ms": record.timestamp_ms}
        try:
            line["value"] = json.loads(record.value)
        except ValueError:
            line["value_base64"] = base64.b64encode(record.value).decode()
        self._out.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")

    def flush(self) -> None:
        self._out.flush()

    def close(self) -> None:
        self._out.close()
