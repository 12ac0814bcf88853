"""Commands on their way from the topic `alert-commands` into the stores' logs.

The ticker relays them; what it has relayed, the consumer group `ticker` remembers.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from ingestion.record import Record
from ingestion.sinks import Offsets
from schemas.contract import contract
from schemas.validate import validator

COMMANDS = "alert-commands"
GROUP = "ticker"
_RELAYED = ("relayed", b"1")
_AT_ONCE = 100  # with the longest comments, 100 commands make a tick of half a megabyte
_LOG = logging.getLogger(__name__)


def already_relayed(record: Record) -> Record:
    """The record of a command, marked as one that stands in a tick already: a replay brings its own ticks, and a live
    ticker must not tell its commands again, with another time."""
    return record._replace(headers=(*record.headers, _RELAYED))


class CommandFollower:
    """Reads `alert-commands` from where the group has come to, at first from the beginning.

    read: how far it has come, to be committed with the ticks that relay what was read.

    It takes every partition for itself and joins no group: there is one ticker, by its sink's transactional id. So
    nothing waits for a killed one's session to run out.
    """

    def __init__(self, bootstrap: str) -> None:
        from kafka import KafkaConsumer, TopicPartition

        self._consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=GROUP,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        numbers = self._consumer.partitions_for_topic(COMMANDS)
        if not numbers:
            self._consumer.close()
            raise LookupError(
                f"topic {COMMANDS}: not on the broker at {bootstrap}; `grocery stack up` makes the topics"
            )
        self._consumer.assign([TopicPartition(COMMANDS, number) for number in sorted(numbers)])
        self._reasons = validator(contract(COMMANDS))
        self.read: Offsets = {}

    def poll(self, timeout_s: float) -> dict[str, list[dict[str, Any]]]:
        """store_id -> commands in the topic's order; waits at most so long for some.

        Left out are those that a replay has relayed, and what is no command by its contract: nothing such passes the
        gate, so somebody wrote past it. It is logged with its coordinates, and silver puts it into quarantine.
        """
        from kafka.structs import OffsetAndMetadata

        found: dict[str, list[dict[str, Any]]] = {}
        for part, batch in self._consumer.poll(round(timeout_s * 1000), max_records=_AT_ONCE).items():
            for record in batch:
                self.read[part] = OffsetAndMetadata(record.offset + 1, "", -1)
                if _RELAYED in record.headers:
                    continue
                command = self._command(record.value)
                if command is None:
                    _LOG.warning("%s-%d@%d: not a command, left out", part.topic, part.partition, record.offset)
                else:
                    found.setdefault(command["store_id"], []).append(command)
        return found

    def _command(self, value: bytes | None) -> dict[str, Any] | None:
        try:
            command = msgspec.json.decode(value or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return command if isinstance(command, dict) and not self._reasons(command) else None

    def close(self) -> None:
        self._consumer.close()
