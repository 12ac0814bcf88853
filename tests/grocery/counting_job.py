"""Numbers each record of a topic: a job small enough for tests, with state, Python in thread mode, exactly once.

Usage: counting_job.py BOOTSTRAP TOPIC_IN TOPIC_OUT. Writes `<n> <record>`, n counting from 1.
"""

import sys

from pyflink.common import SimpleStringSchema, Types, WatermarkStrategy
from pyflink.datastream import KeyedProcessFunction, StreamExecutionEnvironment
from pyflink.datastream.connectors.base import DeliveryGuarantee
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetsInitializer,
    KafkaRecordSerializationSchema,
    KafkaSink,
    KafkaSource,
)
from pyflink.datastream.state import ValueStateDescriptor


class Number(KeyedProcessFunction):
    def open(self, context):
        self.count = context.get_state(ValueStateDescriptor("count", Types.LONG()))

    def process_element(self, value, _context):
        count = (self.count.value() or 0) + 1
        self.count.update(count)
        yield f"{count} {value}"


def main(bootstrap: str, topic_in: str, topic_out: str) -> None:
    env = StreamExecutionEnvironment.get_execution_environment()
    source = (
        KafkaSource.builder()
        .set_bootstrap_servers(bootstrap)
        .set_topics(topic_in)
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
        .set_value_only_deserializer(SimpleStringSchema())
        .build()
    )
    to_topic = (
        KafkaRecordSerializationSchema.builder()
        .set_topic(topic_out)
        .set_value_serialization_schema(SimpleStringSchema())
        .build()
    )
    sink = (
        KafkaSink.builder()
        .set_bootstrap_servers(bootstrap)
        .set_record_serializer(to_topic)
        .set_delivery_guarantee(DeliveryGuarantee.EXACTLY_ONCE)
        .set_transactional_id_prefix(f"counting-{topic_out}")
        .set_property("transaction.timeout.ms", "3600000")
        .build()
    )
    (
        env.from_source(source, WatermarkStrategy.no_watermarks(), "in")
        .uid("in")
        .key_by(lambda _: "all", Types.STRING())
        .process(Number(), Types.STRING())
        .uid("number")
        .sink_to(sink)
        .uid("out")
    )
    env.execute("counting")


if __name__ == "__main__":
    main(*sys.argv[1:])
