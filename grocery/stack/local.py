"""The local stack as one object: start it, ask it, give it jobs, stop it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from grocery.settings import settings
from grocery.stack import ports, state
from grocery.stack.config import BROKER_HEAP, BROKER_LOG4J2, HOST, Program, broker_properties, supervisord_conf
from grocery.stack.errors import StackError, last_lines
from grocery.stack.supervision import Process, Supervisor, launch

DISK_NEEDED = 2 * 1024**3
START_S = 90
STOP_S = 40
BROKER = ("broker",)
FLINK = ("jobmanager", "taskmanager")
MARK = "GROCERY_STACK"

Progress = Callable[[str], None]


def _quiet(_: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Status:
    """What runs now. kafka, flink_rest: None when that part is not up."""

    running: bool
    kafka: str | None
    flink_rest: str | None
    processes: list[Process]


class Stack:
    """A Kafka broker and a Flink cluster under one folder.

    home: data, configuration and state; survives `down`, so the next `up` goes on with the same topics and jobs.
    logs: one log file a process.
    Everything listens on this machine's loopback address only.
    """

    def __init__(self, home: Path, logs: Path) -> None:
        self.home = home.absolute()
        self.logs = logs.absolute()

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(
        self,
        flink: bool = True,
        *,
        kafka_port: int | None = None,
        ui_port: int | None = None,
        owner: int | None = None,
        progress: Progress = _quiet,
    ) -> bool:
        """Start what does not run yet and wait until it answers; topics exist when this returns.

        flink: the Flink cluster as well, not only the broker.
        kafka_port, ui_port: ports wished for; by default those of the last time, else free ones.
        owner: a process id; when that process is gone, the stack stops itself.

        Returns False when everything ran already. Raises StackError: a port in use, too little disk, a process that
        does not come up (with the end of its log).
        """
        with state.locked(self.home, "up"):
            before = self.status()
            wanted = BROKER + (FLINK if flink else ())
            running = {process.name for process in before.processes if process.state == "RUNNING"}
            if before.running and running.issuperset(wanted):
                return False
            self._check_disk()
            if not before.running:
                self._end_strays()
                self._configure(kafka_port, ui_port)
                launch(self.home / "supervisord.conf", self._environment())
            try:
                self._start_broker(progress)
                if flink:
                    self._start_flink(progress)
            except BaseException:
                if not before.running:
                    self._stop()
                raise
            return True

    def down(self) -> bool:
        """Stop everything and wait for its end; data and jobs stay remembered. Returns False when nothing ran."""
        with state.locked(self.home, "up"):
            return self._stop()

    def wipe(self) -> None:
        """Stop everything and forget it all: topics, checkpoints, jobs."""
        self.down()
        shutil.rmtree(self.home, ignore_errors=True)

    def status(self) -> Status:
        remembered = state.read(self.home)
        supervisor = self._supervisor()
        if remembered is None or supervisor is None:
            return Status(False, None, None, [])
        processes = supervisor.processes()
        up = {process.name for process in processes if process.state in ("RUNNING", "STARTING")}
        return Status(
            running=True,
            kafka=_address(remembered.ports["kafka"]) if "broker" in up else None,
            flink_rest=f"http://{_address(remembered.ports['rest'])}" if "jobmanager" in up else None,
            processes=processes,
        )

    @property
    def kafka(self) -> str:
        """Bootstrap servers. Raises StackError when no broker runs."""
        address = self.status().kafka
        if address is None:
            raise StackError("no broker is running; start one: grocery stack up")
        return address

    @property
    def flink_rest(self) -> str:
        """Address of Flink's REST API and web page. Raises StackError when no cluster runs."""
        address = self.status().flink_rest
        if address is None:
            raise StackError("no Flink cluster is running; start one: grocery stack up")
        return address

    def pid(self, name: str) -> int:
        """Process id of `broker`, `jobmanager`, `taskmanager` or `keeper`; 0 while it is not running."""
        supervisor = self._supervisor()
        if supervisor is None:
            raise StackError("the stack is not running; start it: grocery stack up")
        return supervisor.process(name).pid

    def kill(self, name: str) -> int:
        """kill -9 one process, as a fault would; returns the process id that died. supervisord starts it again."""
        pid = self.pid(name)
        if not pid:
            raise StackError(f"{name} is not running, there is nothing to kill")
        os.kill(pid, signal.SIGKILL)
        return pid

    # ---- how

    def _supervisor(self) -> Supervisor | None:
        remembered = state.read(self.home)
        if remembered is None or "supervisor" not in remembered.ports:
            return None
        supervisor = Supervisor(remembered.ports["supervisor"], remembered.password)
        return supervisor if supervisor.alive else None

    def _check_disk(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.home).free
        if free < DISK_NEEDED:
            raise StackError(
                f"{self.home}: {free / 1024**3:.1f} GB free, the stack needs {DISK_NEEDED / 1024**3:.0f} GB. "
                "Make room, or let GROCERY_HOME name a folder on another disk."
            )

    def _configure(self, kafka_port: int | None, ui_port: int | None) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        with state.edit(self.home) as remembered:
            wanted = {"kafka": kafka_port, "rest": ui_port, "controller": None, "rpc": None, "supervisor": None}
            remembered.ports = ports.choose(wanted, remembered.ports)
        broker = self.home / "broker"
        broker.mkdir(exist_ok=True)
        properties = broker / "server.properties"
        properties.write_text(
            broker_properties(broker / "data", remembered.ports["kafka"], remembered.ports["controller"])
        )
        (broker / "log4j2.yaml").write_text(BROKER_LOG4J2)
        if not (broker / "data" / "meta.properties").exists():
            self._format_broker(properties)
        conf = self.home / "supervisord.conf"
        conf.touch(mode=0o600)
        conf.write_text(
            supervisord_conf(
                self.home, self.logs, remembered.ports["supervisor"], remembered.password, self._programs()
            )
        )

    def _programs(self) -> list[Program]:
        broker = self.home / "broker"
        return [Program("broker", [*self._kafka_java(), "kafka.Kafka", str(broker / "server.properties")], 10)]

    def _kafka_java(self) -> list[str]:
        jars = settings().jars / "kafka"
        if not any(jars.glob("kafka_*.jar")):
            raise StackError(f"no Kafka jars in {jars}; get them: make setup")
        return [
            _java(),
            f"-Xmx{BROKER_HEAP}",
            f"-Xms{BROKER_HEAP}",
            "-XX:+UseG1GC",
            f"-Dlog4j2.configurationFile={self.home / 'broker' / 'log4j2.yaml'}",
            "-cp",
            f"{jars}/*",
        ]

    def _format_broker(self, properties: Path) -> None:
        import base64
        import uuid

        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        tool = [
            *self._kafka_java(),
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={cluster}",
            f"--config={properties}",
        ]
        done = subprocess.run(tool, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StackError(f"the broker's folder cannot be prepared: {(done.stderr or done.stdout).strip()}")

    def _environment(self) -> dict[str, str]:
        return os.environ | {MARK: str(self.home)}

    def _start_broker(self, progress: Progress) -> None:
        from ingestion.topics import ensure_topics

        progress("starting the Kafka broker")
        port = self._ports()["kafka"]
        self._start("broker", lambda: ports.answers(port))
        ensure_topics(_address(port))

    def _start_flink(self, progress: Progress) -> None:
        raise StackError("not built yet")

    def _ports(self) -> dict[str, int]:
        remembered = state.read(self.home)
        assert remembered is not None
        return remembered.ports

    def _start(self, name: str, ready: Callable[[], bool]) -> None:
        """Start one process and wait until it is ready. Raises StackError when it ends, restarts or takes too long."""
        supervisor = self._supervisor()
        if supervisor is None:
            raise StackError(f"supervisord ended; see {self.logs / 'supervisord.log'}")
        supervisor.start(name)
        pid, end = 0, time.monotonic() + START_S
        while True:
            now = supervisor.process(name)
            pid = pid or now.pid
            if now.state in ("BACKOFF", "FATAL", "EXITED", "STOPPED") or (now.pid and now.pid != pid):
                raise self._failed(name, "ended while starting")
            if ready():
                return
            if time.monotonic() > end:
                raise self._failed(name, f"did not answer within {START_S} s")
            time.sleep(0.1)

    def _failed(self, name: str, what: str) -> StackError:
        log = self.logs / f"{name}.log"
        return StackError(f"the {name} {what}. Its log {log} ends:\n{last_lines(log)}")

    def _stop(self) -> bool:
        supervisor = self._supervisor()
        if supervisor is not None:
            pid = supervisor.pid
            supervisor.shutdown()
            end = time.monotonic() + STOP_S
            while _exists(pid) and time.monotonic() < end:
                time.sleep(0.1)
        return self._end_strays() or supervisor is not None

    def _end_strays(self) -> bool:
        """End processes of this stack whose supervisord is gone. They carry the stack's folder in their environment."""
        import psutil

        strays = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.home) and process.pid != os.getpid():
                    strays.append(process)
        for process in strays:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(strays, timeout=10)
        return bool(strays)


def _address(port: int) -> str:
    return f"{HOST}:{port}"


def _exists(pid: int) -> bool:
    import psutil

    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _java() -> str:
    """The java to run. Raises StackError when there is none."""
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if not found or not Path(found).exists():
        raise StackError(f"no java at {found or 'any folder of PATH'}; see: grocery doctor")
    return found
