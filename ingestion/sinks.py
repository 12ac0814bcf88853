"""Where records go: a Kafka topic, a file. (Kinesis: ingestion/kinesis.py.)

Every sink has send, flush and close. `flush` returns once all that was sent is safe, or raises DeliveryFailed.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from ingestion.record import Record

if TYPE_CHECKING:
    from kafka import TopicPartition
    from kafka.structs import OffsetAndMetadata

Offsets = dict["TopicPartition", "OffsetAndMetadata"]


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
    """Idempotent, acks=all, in transactions: a retry or a broker's restart loses nothing and doubles nothing.

    Why transactions: after a restart the broker forgets a producer whose newest record is older than a day by its
    timestamp, and then takes a retried batch for a new one. A replay's timestamps are the arrival times of long ago. A
    producer with an open transaction is never forgotten.

    Records become readable (read_committed) together, at the latest `COMMIT_AFTER` records, bytes or seconds after the
    first of them that is sent, and with `flush`. That also bounds what waits in memory.
    delivery_timeout_s: how long a broker may be away before DeliveryFailed. As long may readers have to wait after
        this process was killed outright, until the broker gives up its transaction.
    transactional_id: where there is one such process at a time. A new one ends at once what the last one left open,
        and a last one that is alive after all gets DeliveryFailed.
    """

    COMMIT_AFTER = (10_000, 16 * 1024 * 1024, 1.0)

    def __init__(self, bootstrap: str, *, delivery_timeout_s: float = 120, transactional_id: str | None = None) -> None:
        from kafka import KafkaProducer

        self._bootstrap = bootstrap
        self._timeout_s = delivery_timeout_s
        self._open: list[tuple[Record, Any]] = []  # records of the open transaction, each with its future
        self._consumed: dict[str, Offsets] = {}  # of the open transaction: consumer group -> offsets
        self._bytes = 0
        self._began = 0.0
        self._held = False
        timeout_ms = round(delivery_timeout_s * 1000)
        self._producer = KafkaProducer(
            bootstrap_servers=bootstrap,
            transactional_id=transactional_id or f"grocery-ingestion-{uuid.uuid4()}",
            transaction_timeout_ms=timeout_ms,
            acks="all",
            enable_idempotence=True,
            # With more, a lost connection puts a partition's batches back in the wrong order.
            max_in_flight_requests_per_connection=1,
            delivery_timeout_ms=timeout_ms,
            request_timeout_ms=min(30_000, timeout_ms // 2),
            max_block_ms=min(60_000, timeout_ms),
            reconnect_backoff_max_ms=1_000,
            # kafka-python sums up the checksum in Python, so fewer bytes cost less than their compression:
            # 16.7k records/s with gzip, 11.4k without, one core.
            compression_type="gzip",
            linger_ms=20,
            batch_size=256 * 1024,
            max_request_size=16 * 1024 * 1024,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        _keep_asking(self._producer)
        self._producer.init_transactions()

    def send(self, record: Record) -> None:
        """Hand over one record; now and then this commits. Raises DeliveryFailed."""
        from kafka.errors import KafkaError

        try:
            if not self._open:
                self._producer.begin_transaction()
                self._began = time.monotonic()
            future = self._producer.send(
                record.topic,
                record.value,
                key=record.key.encode(),
                timestamp_ms=record.timestamp_ms,
                headers=list(record.headers),
            )
        except KafkaError as error:
            self._open.append((record, None))
            self._fail(error)
        self._open.append((record, future))
        self._bytes += len(record.value)
        records, size, seconds = self.COMMIT_AFTER
        if not self._held and (
            len(self._open) >= records or self._bytes >= size or time.monotonic() - self._began >= seconds
        ):
            self.flush()

    def flush(self) -> None:
        """Commit: wait until all is acknowledged and readable. Raises DeliveryFailed naming what is not."""
        from kafka.errors import KafkaError, KafkaTimeoutError

        if not self._open:
            return
        try:
            self._producer.flush(timeout=self._timeout_s)
            for _, future in self._open:
                if not future.succeeded():
                    raise future.exception or KafkaTimeoutError(f"no answer in {self._timeout_s:.0f} s")
            for group, offsets in self._consumed.items():
                self._producer.send_offsets_to_transaction(offsets, group)
            self._producer.commit_transaction()
        except KafkaError as error:
            self._fail(error)
        self._forget()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All records sent inside become readable together, or none does."""
        self.flush()
        self._held = True
        try:
            yield
            self.flush()
        except BaseException:
            self._abort()
            raise
        finally:
            self._held = False

    def consumed(self, offsets: Offsets, group: str) -> None:
        """These offsets of a consumer group become committed together with the records sent in this transaction."""
        self._consumed.setdefault(group, {}).update(offsets)

    def close(self) -> None:
        """Let go of the broker. What was not flushed is not delivered."""
        from kafka.errors import KafkaError

        self._abort()
        with suppress(KafkaError):
            self._producer.close(timeout=5)

    def _fail(self, error: Exception) -> NoReturn:
        """Nothing of the open transaction is delivered: say so."""
        # What is sent after the first error fails with an error that only quotes it.
        error = self._producer._transaction_manager.last_error or error
        failed = [(record, f"{type(error).__name__}: {error}") for record, _ in self._open]
        self._abort()
        raise DeliveryFailed(failed, f"Kafka at {self._bootstrap}") from error

    def _abort(self) -> None:
        from kafka.errors import KafkaError

        if self._open:
            self._forget()
            with suppress(KafkaError):
                self._producer.abort_transaction()

    def _forget(self) -> None:
        self._open.clear()
        self._consumed.clear()
        self._bytes = 0


def _keep_asking(producer: Any) -> None:
    """Make up for a fault of kafka-python 3.0.12: where the connection is lost just when a request of a transaction is
    about to be sent, the request is forgotten. The transaction never gets its partitions, and what waits for them
    expires `delivery_timeout_s` later. A coordinator that is told not to be ready, instead of failing, is asked again.
    """
    from kafka.errors import KafkaConnectionError

    client = producer._sender._client
    await_ready = client.await_ready

    def is_ready(*args: Any, **options: Any) -> bool:
        try:
            return await_ready(*args, **options)
        except KafkaConnectionError:
            return False

    client.await_ready = is_ready


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
