"""The local stack as one object: start it, ask it, give it jobs, stop it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from grocery.settings import PROJECT, settings
from grocery.stack import flink, ports, release, state
from grocery.stack.config import (
    BROKER_HEAP,
    BROKER_LOG4J2,
    FLINK_LOG4J,
    HOST,
    SHORT_LIVED,
    Program,
    broker_properties,
    flink_config,
    supervisord_conf,
)
from grocery.stack.errors import StackError, last_lines
from grocery.stack.supervision import Process, Supervisor, SupervisorGone, launch

if TYPE_CHECKING:
    import psutil

DISK_NEEDED = 2 * 1024**3
START_S = 180
STOP_S = 40
BROKER = ("broker",)
JOBMANAGER = ("jobmanager",)
KEEPER = ("keeper",)
GUARD = ("guard",)
METRICS = ("guard", "jobmanager")
"""Processes that Prometheus can ask, besides the task managers. Each has a port of its own, `<process>_metrics`."""
MARK, CLIENT = "GROCERY_STACK", "GROCERY_CLIENT"
"""In the environment of the stack's processes: which stack, and that it is a client of Flink's, not a part of it."""

Progress = Callable[[str], None]


def _quiet(_: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Status:
    """What runs now. kafka, flink_rest: None when that part is not up. metrics: address by process, for Prometheus."""

    running: bool
    kafka: str | None
    flink_rest: str | None
    processes: list[Process]
    metrics: dict[str, str]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job by name. state: Flink's word, or UNKNOWN while no job manager answers or it has forgotten the job.

    wanted: whether it shall run, so that it is resumed. resumed_from: the checkpoint or savepoint this run began with.
    """

    name: str
    job_id: str | None
    state: str
    wanted: bool
    resumed_from: str | None = None
    error: str | None = None


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
        guard: bool = False,
        task_managers: int | None = None,
        kafka_port: int | None = None,
        ui_port: int | None = None,
        owner: int | None = None,
        progress: Progress = _quiet,
    ) -> bool:
        """Start what does not run yet and wait until it answers; topics exist when this returns.

        flink: the Flink cluster as well, not only the broker. guard: watch both, and tell on alerts.platform when they
        stand still; it begins once everything answers.
        task_managers: how many; each has one Python interpreter for jobs in thread mode, so as many as there are cores
        decide the most. By default as many as the last time, else one.
        kafka_port, ui_port: ports wished for; by default those of the last time, else free ones.
        owner: a process id; when that process is gone, the stack stops itself.

        Returns False when everything ran already. Raises StackError: a port in use, too little disk, a process that
        does not come up (with the end of its log).
        """
        with state.locked(self.home, "up"):
            before = self.status()
            if before.running:
                self._check_ports(kafka=kafka_port, rest=ui_port)
                self._check_task_managers(task_managers)
            managers = task_manager_names(task_managers or len(self.task_managers))
            parts = BROKER + KEEPER + ((*JOBMANAGER, *managers) if flink else ())
            wanted = parts + (GUARD if guard else ())
            running = {process.name for process in before.processes if process.state == "RUNNING"}
            if before.running and running.issuperset(wanted):
                return False
            self._check_disk()
            if not before.running:
                self._end_strays()
                self._configure(kafka_port, ui_port, owner, managers)
                launch(self.home / "supervisord.conf", self.environment())
            try:
                for name in parts:
                    self._running().start(name)
                self._await_broker(progress)
                if flink:
                    self._await_flink(progress)
                if guard:
                    self._running().start("guard")
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
        try:
            processes = supervisor.processes() if supervisor else []
        except SupervisorGone:
            supervisor = None
        if remembered is None or supervisor is None:
            return Status(False, None, None, [], {})
        up = {process.name for process in processes if process.state in ("RUNNING", "STARTING")}
        return Status(
            running=True,
            kafka=_address(remembered.ports["kafka"]) if "broker" in up else None,
            flink_rest=f"http://{_address(remembered.ports['rest'])}" if "jobmanager" in up else None,
            processes=processes,
            metrics={
                name: f"http://{_address(remembered.ports[_metrics_port(name)])}/metrics"
                for name in (*METRICS, *task_manager_names(remembered.task_managers))
                if name in up
            },
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

    @property
    def task_managers(self) -> tuple[str, ...]:
        """Their names; the first is `taskmanager`."""
        remembered = state.read(self.home)
        return task_manager_names(remembered.task_managers if remembered is not None else 1)

    def pid(self, name: str) -> int:
        """Process id of `broker`, `jobmanager`, one of `task_managers`, `keeper` or `guard`, 0 while it is not running;
        or of the `supervisord` that runs them."""
        supervisor = self._running()
        return supervisor.pid if name == "supervisord" else supervisor.process(name).pid

    def kill(self, name: str) -> int:
        """kill -9 one process, as a fault would; returns the process id that died. supervisord starts it again, and the
        keeper starts supervisord with all the rest."""
        pid = self.pid(name)
        if not pid:
            raise StackError(f"{name} is not running, there is nothing to kill")
        os.kill(pid, signal.SIGKILL)
        return pid

    # ---- jobs

    def submit(
        self,
        name: str,
        py_file: Path,
        args: list[str] | None = None,
        env: dict[str, str] | None = None,
        start_from: Path | None = None,
    ) -> str:
        """Run a Python job under a name that stays, and return Flink's job id.

        A job that was cancelled, or whose stack was down, goes on from its newest checkpoint or savepoint; use `forget`
        to begin anew. From now on it is resumed whenever the job manager has lost it.

        env: for the client that builds the job. start_from: a savepoint to begin with instead, which is only read.
        Raises StackError: it runs already, Flink refuses it, or there is no such savepoint.
        """
        if start_from is not None:
            start_from = start_from.absolute()
            flink.number(start_from)
        with state.locked(self.home, "submit"):
            self._take_on({name: (py_file, list(args or []))}, env or {})
            return self.begin(name, start_from)

    def submit_all(self, wanted: Mapping[str, tuple[Path, list[str]]]) -> dict[str, str]:
        """Run several jobs as `submit` does, side by side: each waits for a client of its own. wanted: file and
        arguments by name. Returns Flink's job ids by name."""
        with state.locked(self.home, "submit"):
            self._take_on(wanted, {})
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                return dict(zip(wanted, pool.map(self.begin, wanted), strict=True))

    def _take_on(self, wanted: Mapping[str, tuple[Path, list[str]]], env: dict[str, str]) -> None:
        """Remember what shall run, in the release that is kept of it now; the caller holds the lock `submit`."""
        running = {job.name: job for job in self.jobs()}
        for name in wanted:
            now = running.get(name)
            if now is not None and now.state not in flink.TERMINAL and now.state != "UNKNOWN":
                raise StackError(f"job {name} runs already ({now.job_id}, {now.state}); cancel it first")
        code = self.keep_code(list(wanted), [py_file for py_file, _ in wanted.values()])
        self.use_code(code)
        with state.edit(self.home) as remembered:
            for name, (py_file, args) in wanted.items():
                before = remembered.jobs.get(name)
                remembered.jobs[name] = state.Job(
                    py_file=str(self.in_code(py_file, code)),
                    args=args,
                    env=env,
                    wanted=False,
                    runs=before.runs if before else [],
                    ended=before.ended if before else None,
                )

    def resume(self, name: str) -> JobStatus | None:
        """Submit a remembered job again from where it was; None when it runs, is not wanted, or somebody else sees to
        it just now."""
        with state.tried(self.home, "submit") as mine:
            if not mine or name not in self.forgotten_jobs():
                return None
            self.begin(name)
            return self.job(name)

    def cancel(self, name: str) -> None:
        """End a job; its newest checkpoint stays, so a later `submit` goes on from it.

        Raises StackError for a name that was never submitted.
        """
        with state.locked(self.home, "submit"):
            job = self.known(name)
            with state.edit(self.home) as remembered:
                remembered.jobs[name].wanted = False
                remembered.jobs[name].ended = None
                remembered.jobs[name].go_back()
            if not job.job_id or not self.status().flink_rest:
                return
            flink.cancel(self.flink_rest, job.job_id)
            self.wait(lambda: self.known(name).state in (*flink.TERMINAL, "UNKNOWN"), f"job {name} to end")

    def forget(self, name: str) -> None:
        """Forget a job and its checkpoints: the next `submit` begins at the beginning. Cancels it when it runs."""
        self.cancel(name)
        with state.locked(self.home, "submit"), state.edit(self.home) as remembered:
            gone = remembered.jobs.pop(name)
        for run in gone.runs:
            for folder in self._snapshots:
                shutil.rmtree(folder / run.job_id, ignore_errors=True)

    def job(self, name: str) -> JobStatus | None:
        """One job's state now; None for a name that was never submitted."""
        return {job.name: job for job in self.jobs()}.get(name)

    def jobs(self) -> list[JobStatus]:
        """Every job this stack remembers."""
        remembered = state.read(self.home)
        if remembered is None or not remembered.jobs:
            return []
        rest = self.status().flink_rest
        states = (rest and flink.job_states(rest)) or {}
        return [
            JobStatus(
                name=name,
                job_id=job.job_id,
                state=states.get(job.job_id, "UNKNOWN"),
                wanted=job.wanted,
                resumed_from=job.runs[-1].began_from if job.runs else None,
                error=job.error,
            )
            for name, job in remembered.jobs.items()
        ]

    def given(self, name: str) -> list[str]:
        """The arguments a job runs with. Raises StackError for a name that was never submitted."""
        self.known(name)
        return state.read(self.home).jobs[name].args

    def forgotten_jobs(self) -> list[str]:
        """Names of jobs that shall run and that the job manager, though it answers, does not know. Without those that a
        deploy was about to replace, see deploy.recover."""
        remembered = state.read(self.home)
        if remembered is None or not any(job.wanted for job in remembered.jobs.values()):
            return []
        states = flink.job_states(f"http://{_address(remembered.ports['rest'])}")
        if states is None:
            return []
        return [
            name
            for name, job in remembered.jobs.items()
            if job.wanted and job.previous is None and job.job_id not in states
        ]

    def retire_ended_jobs(self) -> None:
        """A job that finished, failed for good or was cancelled on Flink's web page is not wanted any more."""
        ended = {job.name: job for job in self.jobs() if job.wanted and job.state in flink.TERMINAL}
        if ended:
            with state.edit(self.home) as remembered:
                for name, then in ended.items():
                    job = remembered.jobs[name]
                    # Else it was cancelled here meanwhile, or a deploy ended that run and may have begun the next one.
                    if job.wanted and job.previous is None and job.job_id == then.job_id:
                        job.wanted = False
                        job.ended = then.state

    def expected_jobs(self) -> frozenset[str]:
        """Names of jobs that shall run, and of those that ended though nobody cancelled them here."""
        remembered = state.read(self.home)
        jobs = remembered.jobs if remembered is not None else {}
        return frozenset(name for name, job in jobs.items() if job.wanted or job.ended)

    def shut_down(self) -> None:
        """Ask supervisord to end everything, and do not wait: for a caller that is itself supervised."""
        supervisor = self._supervisor()
        if supervisor is not None:
            supervisor.shutdown()

    def savepoint(self, name: str, to: Path | None = None) -> Path:
        """Take a savepoint of a running job and return its folder; the job runs on.

        to: a folder to put it under; by default the stack's own, where it goes when the job is forgotten.
        Raises StackError: the job does not run, or Flink's cause why there is none.
        """
        job = self.known(name)
        if job.job_id is None or job.state != "RUNNING":
            raise StackError(
                f"job {name} is {job.state}, only a running job gives a savepoint; see: grocery stream status"
            )
        folder = (to or self.home / "savepoints" / job.job_id).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return flink.savepoint(self.flink_rest, job.job_id, folder)

    @property
    def _snapshots(self) -> tuple[Path, Path]:
        """Folders with a folder a run: Flink's checkpoints, and the savepoints that this stack took."""
        return self.home / "checkpoints", self.home / "savepoints"

    def newest(self, name: str) -> Path | None:
        """Where a job would go on: the newest checkpoint or savepoint of its last run that made one. What a run began
        with goes before anything of earlier runs."""
        for run in reversed(state.read(self.home).jobs[name].runs):
            found = self.newest_of(run.job_id)
            if found or run.began_from:
                return found or Path(run.began_from)
        return None

    def newest_of(self, job_id: str) -> Path | None:
        """The newest checkpoint or savepoint of one run."""
        return flink.newest_snapshot(job_id, *self._snapshots)

    def drop_old_savepoints(self, name: str) -> None:
        """Remove this stack's savepoints of a job but those of the two last runs that have any: one to go back to."""
        runs = [self.home / "savepoints" / run.job_id for run in state.read(self.home).jobs[name].runs]
        for folder in [folder for folder in runs if folder.exists()][:-2]:
            shutil.rmtree(folder)

    # ---- the code that jobs run

    @property
    def code(self) -> Path | None:
        """The release that the jobs run; None where this stack was never up."""
        return release.used(self.home)

    def keep_code(self, names: Sequence[str], py_files: Sequence[Path]) -> Path | None:
        """The release that these jobs will run: the project's code as it is now, kept. None where none of them is of
        the project.

        Raises StackError where other jobs run another release: they would share one Python interpreter.
        """
        if not any(_of_project(file) for file in py_files):
            return None
        code = release.keep(PROJECT, self._releases)
        remembered = state.read(self.home)
        others = [
            name
            for name, job in (remembered.jobs if remembered else {}).items()
            if name not in names and job.wanted and Path(job.py_file).is_relative_to(self._releases)
        ]
        if others and code != self.code:
            raise StackError(
                f"the code was changed since {', '.join(others)} began, and all jobs of a stack run the same; replace "
                "them all: grocery stream deploy"
            )
        return code

    def in_code(self, py_file: Path, code: Path | None) -> Path:
        """Where a job's file stands in a kept release; a file that is not of the project stays where it is."""
        if code is None or not _of_project(py_file):
            return Path(py_file).absolute()
        return code / Path(py_file).absolute().relative_to(PROJECT)

    def use_code(self, code: Path | None) -> None:
        """Let the cluster run this release: a task manager that has imported another one is started anew."""
        if code is None or code == self.code:
            return
        release.use(self.home, code)
        running = [name for name in self.task_managers if self.pid(name)]
        if running:
            rest = self.flink_rest
            before = flink.task_managers(rest)
            for name in running:
                self.kill(name)
            self.wait(lambda: len(flink.task_managers(rest) - before) >= len(running), "new task managers")

    def code_of(self, py_file: str) -> Path | None:
        """The kept release that a remembered job's file lies in."""
        if not Path(py_file).is_relative_to(self._releases):
            return None
        return self._releases / Path(py_file).relative_to(self._releases).parts[0]

    def drop_old_code(self) -> None:
        """Remove kept releases that are not in use."""
        release.drop_others(self.home, self._releases)

    @property
    def _releases(self) -> Path:
        return self.home / "releases"

    def begin(self, name: str, start_from: Path | None = None) -> str:
        """Submit a remembered job, by default from where it was; the caller holds the lock `submit`."""
        job = state.read(self.home).jobs[name]
        start_from = start_from or self.newest(name)
        error = None
        try:
            job_id = flink.run(
                self.flink_rest,
                job.py_file,
                job.args,
                self.environment() | {CLIENT: "1"} | job.env,
                flink.connector(settings().jars),
                sys.executable,
                start_from,
                # A savepoint stays: whoever took it may want to go back to it.
                claim=start_from is not None and start_from.is_relative_to(self.home / "checkpoints"),
            )
        except StackError as refused:
            error = str(refused)
            raise
        finally:
            with state.edit(self.home) as remembered:
                known = remembered.jobs[name]
                known.error = error
                if error is None:
                    known.wanted = True
                    known.ended = None
                    known.runs.append(state.Run(job_id=job_id, began_from=start_from and str(start_from)))
        return job_id

    def end_clients(self) -> None:
        """End Flink's clients that go on though who started them was killed. The caller holds the lock `submit`, so
        there is no other."""
        _kill(lambda: self._strays(clients=True))

    def note_unknown_runs(self, name: str) -> None:
        """Remember the runs of a job that were submitted without anybody noting it: what they have committed counts."""
        found = flink.live(self.flink_rest, name)
        start = self.newest(name)
        with state.edit(self.home) as remembered:
            job = remembered.jobs[name]
            for job_id in sorted(found - {run.job_id for run in job.runs}):
                job.runs.append(state.Run(job_id=job_id, began_from=start and str(start)))

    def known(self, name: str) -> JobStatus:
        job = self.job(name)
        if job is None:
            names = ", ".join(job.name for job in self.jobs()) or "none yet"
            raise StackError(f"no job {name} was submitted to this stack; there are: {names}")
        return job

    # ---- how

    def _supervisor(self) -> Supervisor | None:
        remembered = state.read(self.home)
        if remembered is None or "supervisor" not in remembered.ports:
            return None
        supervisor = Supervisor(remembered.ports["supervisor"], remembered.password)
        return supervisor if supervisor.alive else None

    def _running(self) -> Supervisor:
        supervisor = self._supervisor()
        if supervisor is None:
            raise SupervisorGone("the stack is not running; start it: grocery stack up")
        return supervisor

    def _check_disk(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.home).free
        if free < DISK_NEEDED:
            raise StackError(
                f"{self.home}: {free / 1024**3:.1f} GB free, the stack needs {DISK_NEEDED / 1024**3:.0f} GB. "
                "Make room, or let GROCERY_HOME name a folder on another disk."
            )

    def _check_ports(self, **asked: int | None) -> None:
        has = self._ports()
        for name, port in asked.items():
            if port not in (None, has[name]):
                raise StackError(
                    f"the stack runs with port {has[name]} ({name}), not {port}; stop it first: grocery stack down"
                )

    def _check_task_managers(self, asked: int | None) -> None:
        if asked not in (None, len(self.task_managers)):
            raise StackError(
                f"the stack runs with {len(self.task_managers)} task managers, not {asked}; stop it first: "
                "grocery stack down"
            )

    def _configure(
        self, kafka_port: int | None, ui_port: int | None, owner: int | None, managers: tuple[str, ...]
    ) -> None:
        import psutil

        self.logs.mkdir(parents=True, exist_ok=True)
        with state.edit(self.home) as remembered:
            wanted = {"kafka": kafka_port, "rest": ui_port, "controller": None, "rpc": None, "supervisor": None}
            wanted |= dict.fromkeys(map(_metrics_port, (*METRICS, *managers)))
            remembered.task_managers = len(managers)
            remembered.ports = ports.choose(wanted, remembered.ports)
            remembered.owner = owner and state.Owner(pid=owner, started_at=psutil.Process(owner).create_time())
            bound = any(job.wanted and self.code_of(job.py_file) for job in remembered.jobs.values())
        if self.code is None or not bound:
            release.use(self.home, release.keep(PROJECT, self._releases))
        broker = self.home / "broker"
        broker.mkdir(exist_ok=True)
        properties = broker / "server.properties"
        properties.write_text(
            broker_properties(broker / "data", remembered.ports["kafka"], remembered.ports["controller"])
        )
        (broker / "log4j2.yaml").write_text(BROKER_LOG4J2)
        if not (broker / "data" / "meta.properties").exists():
            self._format_broker(properties)
        self._configure_flink(remembered.ports)
        conf = self.home / "supervisord.conf"
        conf.touch(mode=0o600)
        conf.write_text(
            supervisord_conf(
                self.home,
                self.logs,
                remembered.ports["supervisor"],
                remembered.password,
                self._programs(remembered.ports),
            )
        )

    def _configure_flink(self, taken: dict[str, int]) -> None:
        from ruamel.yaml import YAML

        conf = self.home / "flink" / "conf"
        shutil.copytree(flink.package() / "conf", conf, dirs_exist_ok=True)
        (self.home / "flink" / "tmp").mkdir(exist_ok=True)
        _link_libraries(self.home / "flink" / "lib")
        shipped = YAML(typ="safe").load(flink.package() / "conf" / "config.yaml")
        (conf / "config.yaml").write_text(
            flink_config(
                self.home,
                self.logs,
                taken["rest"],
                taken["rpc"],
                sys.executable,
                shipped["env"]["java"]["opts"]["all"],
            )
        )
        (conf / "log4j-console.properties").write_text(FLINK_LOG4J)

    def _programs(self, taken: dict[str, int]) -> list[Program]:
        bin_folder = flink.package() / "bin"
        broker = self._kafka_java(f"-Xmx{BROKER_HEAP}", f"-Xms{BROKER_HEAP}", "-XX:+UseG1GC")
        keeper, guard = (
            [sys.executable, "-m", f"grocery.stack.{name}", str(self.home), str(self.logs)]
            for name in ("keeper", "guard")
        )

        def flink_process(script: str, name: str, *options: str) -> list[str]:
            options = (f"metrics.reporter.prom.port={taken[_metrics_port(name)]}", *options)
            given = [part for option in options for part in ("-D", option)]
            return [str(bin_folder / f"{script}.sh"), "start-foreground", *given]

        return [
            Program("broker", [*broker, "kafka.Kafka", str(self.home / "broker" / "server.properties")], 10),
            Program("jobmanager", flink_process("jobmanager", "jobmanager"), 20),
            # It keeps its id, so that its next life replaces the last.
            *(
                Program(name, flink_process("taskmanager", name, f"taskmanager.resource-id={name}"), 30)
                for name in self.task_managers
            ),
            Program("keeper", keeper, 40),
            Program("guard", guard, 50),
        ]

    def _kafka_java(self, *options: str) -> list[str]:
        jars = settings().jars / "kafka"
        if not any(jars.glob("kafka_*.jar")):
            raise StackError(f"no Kafka jars in {jars}; get them: make setup")
        return [
            _java(),
            *options,
            f"-Dlog4j2.configurationFile={self.home / 'broker' / 'log4j2.yaml'}",
            "-cp",
            f"{jars}/*",
        ]

    def _format_broker(self, properties: Path) -> None:
        import base64
        import uuid

        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        tool = [
            *self._kafka_java(*SHORT_LIVED.split()),
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={cluster}",
            f"--config={properties}",
        ]
        done = subprocess.run(tool, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StackError(f"the broker's folder cannot be prepared: {(done.stderr or done.stdout).strip()}")

    def environment(self) -> dict[str, str]:
        """For every supervised process and for Flink's client.

        Python in Flink's thread mode looks for packages in PYTHONPATH only, so that names this interpreter's packages,
        the release in use, and the project for what is not of a job.
        """
        folder = self.home / "flink"
        return os.environ | {
            MARK: str(self.home),
            "FLINK_CONF_DIR": str(folder / "conf"),
            "FLINK_LIB_DIR": str(folder / "lib"),
            "FLINK_LOG_DIR": str(self.logs),
            "FLINK_PID_DIR": str(folder),
            "FLINK_IDENT_STRING": "grocery",
            "PYTHONPATH": os.pathsep.join([sysconfig.get_path("purelib"), str(self.home / "code"), str(PROJECT)]),
        }

    def _await_broker(self, progress: Progress) -> None:
        from ingestion.topics import ensure_topics

        progress("Kafka broker: starting")
        port = self._ports()["kafka"]
        self._await("broker", lambda: ports.answers(port))
        ensure_topics(_address(port))

    def _await_flink(self, progress: Progress) -> None:
        rest = f"http://{_address(self._ports()['rest'])}"
        progress("Flink: job manager starting")
        self._await("jobmanager", lambda: flink.get(rest, "/overview") is not None)
        managers = self.task_managers
        progress(f"Flink: task manager{'s' if managers[1:] else ''} starting")
        for number, name in enumerate(managers, 1):
            self._await(name, lambda n=number: (flink.get(rest, "/overview") or {}).get("taskmanagers", 0) >= n)

    def _ports(self) -> dict[str, int]:
        remembered = state.read(self.home)
        assert remembered is not None
        return remembered.ports

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until a started process is ready. Raises StackError when it ends, restarts or takes too long."""
        supervisor = self._running()
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

    def wait(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + START_S
        while not done():
            if time.monotonic() > end:
                raise StackError(f"waited {START_S} s for {what}; see the logs in {self.logs}")
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
        """End processes of this stack whose supervisord is gone."""
        return _kill(self._strays)

    def _strays(self, clients: bool = False) -> list[psutil.Process]:
        """Processes that carry this stack's folder in their environment. clients: only Flink's clients."""
        import psutil

        strays = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                env = process.environ()
                mine = env.get(MARK) == str(self.home) and (CLIENT in env or not clients)
                if mine and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    strays.append(process)
        return strays


def _kill(strays: Callable[[], list[psutil.Process]]) -> bool:
    """Kill processes, and those they start meanwhile, until there are none; returns whether there were any."""
    import psutil

    found = False
    while left := strays():
        found = True
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=10)
    return found


def _link_libraries(folder: Path) -> None:
    """Flink's own jars and the one for Python, as links.

    Python's has to be on the cluster's class path: shipped with each job it is loaded anew for each, its native library
    can be loaded only once, and a job resumed on a living task manager would fail for ever.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shipped = flink.package()
    for jar in [*(shipped / "lib").glob("*.jar"), *(shipped / "opt").glob("flink-python-*.jar")]:
        (folder / jar.name).symlink_to(jar)


def task_manager_names(count: int) -> tuple[str, ...]:
    return ("taskmanager", *(f"taskmanager-{number}" for number in range(2, count + 1)))


def _metrics_port(process: str) -> str:
    """The name under which the stack remembers the port of a process' metrics."""
    return f"{process}_metrics"


def _of_project(py_file: Path) -> bool:
    """Whether a job's file is one of those that a release holds."""
    return any(Path(py_file).absolute().is_relative_to(PROJECT / package) for package in release.PACKAGES)


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
