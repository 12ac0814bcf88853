"""The configuration files of broker, Flink and supervisord. Pure: values in, text out."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
DAY_MS = 24 * 3600 * 1000
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

# Memory of each process. Python code in thread mode lives in the task manager beside these.
BROKER_HEAP = "512m"
JOBMANAGER_MEMORY = "1024m"
TASKMANAGER_MEMORY = "1792m"
SLOTS = 8
# A JVM that lives shortly or does little starts with half the work when it compiles less.
SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
# A task manager's heap is small: its collections are short with either, and this one costs the rest less.
THROUGHPUT = "-XX:+UseParallelGC"


def broker_properties(data: Path, kafka_port: int, controller_port: int) -> str:
    """A single KRaft node that is broker and controller.

    One replica, since there is one node. Few internal partitions: they are opened at every start. Transactions may stay
    open for a day, so that a long downtime of a job loses none of its pre-committed alerts.
    """
    return _properties(
        {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{HOST}:{controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{HOST}:{kafka_port},CONTROLLER://{HOST}:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{kafka_port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(data),
            "auto.create.topics.enable": "false",
            "default.replication.factor": "1",
            "min.insync.replicas": "1",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.max.timeout.ms": str(DAY_MS),
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "1",
            # A killed broker can register again once its old session is over; the default is 9 s.
            "broker.session.timeout.ms": "5000",
            "broker.heartbeat.interval.ms": "1000",
            "group.initial.rebalance.delay.ms": "0",
            "log.retention.ms": "-1",
            "log.message.timestamp.after.max.ms": str(2**63 - 1),
            "message.max.bytes": str(MAX_MESSAGE_BYTES),
            "replica.fetch.max.bytes": str(MAX_MESSAGE_BYTES),
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
            "num.network.threads": "2",
            "num.io.threads": "4",
        }
    )


BROKER_LOG4J2 = """\
Configuration:
  status: WARN
  Appenders:
    Console:
      name: STDOUT
      PatternLayout:
        pattern: "%d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %c{1} - %m%n"
  Loggers:
    Root:
      level: WARN
      AppenderRef:
        ref: STDOUT
    Logger:
      - name: kafka.server.KafkaRaftServer
        level: INFO
"""


def flink_config(home: Path, logs: Path, rest_port: int, rpc_port: int, python: str, java_options: str) -> str:
    """Flink's config.yaml. home: the stack's folder; python: the interpreter that has the project and its packages.

    Checkpoints every second, exactly once, kept when a job is cancelled: an alert is readable about half a second
    after its reading, and a restart goes on from there. Heartbeats are short so that a killed process is noticed in
    seconds instead of the default's 50.
    """
    values = {
        "env.java.opts.all": java_options,
        "env.java.opts.client": SHORT_LIVED,
        "env.java.opts.jobmanager": SHORT_LIVED,
        "env.java.opts.taskmanager": THROUGHPUT,
        "jobmanager.rpc.address": HOST,
        "jobmanager.bind-host": HOST,
        "jobmanager.rpc.port": rpc_port,
        "jobmanager.memory.process.size": JOBMANAGER_MEMORY,
        "taskmanager.host": HOST,
        "taskmanager.bind-host": HOST,
        "taskmanager.numberOfTaskSlots": SLOTS,
        "taskmanager.load-balance.mode": "SLOTS",
        "taskmanager.memory.process.size": TASKMANAGER_MEMORY,
        "taskmanager.memory.managed.fraction": 0.2,
        "taskmanager.memory.network.min": "64mb",
        "taskmanager.memory.network.max": "128mb",
        "taskmanager.memory.jvm-metaspace.size": "384m",
        "taskmanager.log.path": str(logs / "taskmanager.log"),
        "web.log.path": str(logs / "jobmanager.log"),
        "web.upload.dir": str(home / "flink" / "tmp"),
        "io.tmp.dirs": str(home / "flink" / "tmp"),
        "parallelism.default": 2,
        "pipeline.object-reuse": "true",
        "rest.address": HOST,
        "rest.bind-address": HOST,
        "rest.port": rest_port,
        "rest.flamegraph.enabled": True,
        "metrics.fetcher.update-interval": 1000,
        "metrics.reporter.prom.factory.class": "org.apache.flink.metrics.prometheus.PrometheusReporterFactory",
        "heartbeat.interval": "2s",
        "heartbeat.timeout": "30s",
        "cluster.registration.error-delay": "1s",
        "cluster.registration.refused-registration-delay": "1s",
        "cluster.io-pool.size": 4,
        "classloader.parent-first-patterns.additional": "pemja.",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "1s",
        "restart-strategy.exponential-delay.max-backoff": "10s",
        "execution.checkpointing.dir": (home / "checkpoints").as_uri(),
        "execution.checkpointing.savepoint-dir": (home / "savepoints").as_uri(),
        "execution.checkpointing.interval": "1s",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.min-pause": "500ms",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": 3,
        "execution.checkpointing.tolerable-failed-checkpoints": 10,
        "python.executable": python,
        "python.client.executable": python,
        "python.execution-mode": "thread",
    }
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())


FLINK_LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %-60c %x - %m%n
logger.pekko.name = org.apache.pekko
logger.pekko.level = WARN
logger.kafka.name = org.apache.kafka
logger.kafka.level = WARN
logger.checkpoints.name = org.apache.flink.runtime.checkpoint
logger.checkpoints.level = WARN
logger.netty.name = org.jboss.netty.channel.DefaultChannelPipeline
logger.netty.level = OFF
"""


def _properties(values: Mapping[str, str]) -> str:
    return "".join(f"{key}={_escape(value)}\n" for key, value in values.items())


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\")


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised process. priority: lower starts earlier and stops later."""

    name: str
    command: list[str]
    priority: int
    stop_wait_s: int = 15


def supervisord_conf(home: Path, logs: Path, port: int, password: str, programs: list[Program]) -> str:
    """supervisord's configuration: every program restarts whenever it ends, none starts by itself."""
    parts = [
        f"""\
[supervisord]
logfile={_percent(logs / "supervisord.log")}
logfile_maxbytes=5MB
logfile_backups=1
pidfile={_percent(home / "supervisord.pid")}
childlogdir={_percent(logs)}
directory={_percent(home)}
nodaemon=false
minfds=1024

[inet_http_server]
port={HOST}:{port}
username=grocery
password={password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
    ]
    for program in programs:
        parts.append(f"""\
[program:{program.name}]
command={_percent(shlex.join(program.command))}
priority={program.priority}
autostart=false
autorestart=true
startsecs=1
startretries=5
stopwaitsecs={program.stop_wait_s}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={_percent(logs / f"{program.name}.log")}
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=2
""")
    return "\n".join(parts)


def _percent(value: object) -> str:
    """supervisord expands %(name)s, so a percent sign in a path is doubled."""
    return str(value).replace("%", "%%")
