"""How an alert is decided: rules, engine, life of an alert. Pure: no Flink, Spark, Kafka, clock or I/O."""
