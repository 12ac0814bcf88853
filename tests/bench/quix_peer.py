"""The same rules on Quix Streams: `quix_peer.py BOOTSTRAP TOPIC_IN TOPIC_OUT STATE_FOLDER`; one process of several.

Exactly once (transactions, state in RocksDB with changelog topics), a commit each second as our checkpoints are. The
processes share the topic by their consumer group.
"""

from __future__ import annotations

import sys

from quixstreams import Application

from tests.bench import rules

GROUP = "quix"


def decide(value, key, timestamp, headers, state):
    return rules.decide(state, timestamp, rules.decode(value))


def main(bootstrap: str, topic_in: str, topic_out: str, folder: str) -> None:
    app = Application(
        broker_address=bootstrap,
        consumer_group=GROUP,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=1.0,
        state_dir=folder,
        loglevel="WARNING",
    )
    readings = app.topic(topic_in, key_deserializer="str", value_deserializer="bytes")
    alerts = app.topic(topic_out, key_serializer="str", value_serializer="json")
    app.dataframe(readings).apply(decide, stateful=True, expand=True, metadata=True).to_topic(alerts)
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
