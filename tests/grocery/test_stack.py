import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from grocery.cli import app
from grocery.settings import PROJECT, settings
from grocery.stack import Stack, StackError, flink, ports, state
from grocery.stack.config import Program, supervisord_conf
from grocery.stack.local import Status

COUNTING_JOB = Path(__file__).with_name("counting_job.py")
Usage = namedtuple("Usage", "total used free")


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 180) -> object:
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {timeout_s} s for {what}"
        time.sleep(0.1)
    return found


@pytest.fixture
def listener() -> Iterator[int]:
    """A port that somebody holds."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held.getsockname()[1]


def snapshot(home: Path, kind: str, job_id: str, name: str, number: int) -> Path:
    """A complete checkpoint or savepoint as far as this stack reads it."""
    made = home / kind / job_id / name
    made.mkdir(parents=True)
    (made / "_metadata").write_bytes(struct.pack(">IIq", flink.SNAPSHOT_MAGIC, 6, number))
    return made


def begins_from(home: Path, *runs: state.Run) -> Path | None:
    with state.edit(home) as remembered:
        remembered.jobs["counting"] = state.Job(py_file="job.py", runs=list(runs))
    return Stack(home, home).newest("counting")


# ---- ports


def test_a_port_that_was_asked_for_and_is_taken_is_named_with_its_holder(listener):
    with pytest.raises(StackError, match=rf"port {listener} \(kafka\) is in use by .+ \(process {os.getpid()}\)"):
        ports.choose({"kafka": listener}, {})


def test_the_ports_of_the_last_time_are_taken_again():
    (free,) = ports.free_ports(1)
    assert ports.choose({"kafka": None}, {"kafka": free}) == {"kafka": free}


def test_a_remembered_port_that_is_taken_now_gives_way(listener):
    assert ports.choose({"kafka": None}, {"kafka": listener})["kafka"] != listener


def test_free_ports_are_all_different():
    assert len(set(ports.free_ports(20))) == 20


# ---- where a job goes on


def test_the_newest_complete_checkpoint_is_found_by_number_not_by_name(tmp_path):
    snapshot(tmp_path, "checkpoints", "a", "chk-9", 9)
    newest = snapshot(tmp_path, "checkpoints", "a", "chk-10", 10)
    assert begins_from(tmp_path, state.Run(job_id="a")) == newest


def test_a_checkpoint_without_metadata_is_incomplete_and_passed_over(tmp_path):
    complete = snapshot(tmp_path, "checkpoints", "a", "chk-4", 4)
    (tmp_path / "checkpoints" / "a" / "chk-5").mkdir()
    assert begins_from(tmp_path, state.Run(job_id="a")) == complete


def test_a_savepoint_that_stopped_a_run_goes_before_its_checkpoints(tmp_path):
    snapshot(tmp_path, "checkpoints", "a", "chk-9", 9)
    savepoint = snapshot(tmp_path, "savepoints", "a", "savepoint-a-1", 10)
    assert begins_from(tmp_path, state.Run(job_id="a")) == savepoint


def test_a_savepoint_that_a_run_outlived_does_not(tmp_path):
    snapshot(tmp_path, "savepoints", "a", "savepoint-a-1", 10)
    later = snapshot(tmp_path, "checkpoints", "a", "chk-11", 11)
    assert begins_from(tmp_path, state.Run(job_id="a")) == later


def test_a_later_run_without_any_checkpoint_begins_where_it_began(tmp_path):
    snapshot(tmp_path, "checkpoints", "a", "chk-7", 7)
    given = snapshot(tmp_path, "elsewhere", "x", "savepoint-x", 3)
    runs = state.Run(job_id="a"), state.Run(job_id="b", began_from=str(given)), state.Run(job_id="c")
    assert begins_from(tmp_path, *runs) == given


def test_a_later_runs_checkpoint_goes_before_an_earlier_runs(tmp_path):
    snapshot(tmp_path, "checkpoints", "a", "chk-12", 12)
    later = snapshot(tmp_path, "checkpoints", "b", "chk-3", 3)
    assert begins_from(tmp_path, state.Run(job_id="a"), state.Run(job_id="b")) == later


def test_a_job_that_never_completed_a_checkpoint_begins_anew(tmp_path):
    assert begins_from(tmp_path, state.Run(job_id="a")) is None


def test_a_folder_that_is_no_savepoint_is_refused_before_anything_is_submitted(tmp_path):
    with pytest.raises(StackError, match="elsewhere: not a checkpoint or savepoint"):
        Stack(tmp_path, tmp_path).submit("counting", COUNTING_JOB, start_from=tmp_path / "elsewhere")
    assert state.read(tmp_path) is None


def test_the_state_of_the_first_release_is_read(tmp_path):
    job = {"py_file": "job.py", "job_ids": ["a", "b"], "resumed_from": "/chk-3"}
    (tmp_path / "stack.json").write_text(json.dumps({"version": 1, "password": "secret", "jobs": {"counting": job}}))
    assert state.read(tmp_path).jobs["counting"].runs == [
        state.Run(job_id="a"),
        state.Run(job_id="b", began_from="/chk-3"),
    ]


# ---- state and configuration


def test_a_change_of_state_that_fails_changes_nothing(tmp_path):
    with state.edit(tmp_path) as remembered:
        remembered.ports = {"kafka": 1}
    with pytest.raises(ZeroDivisionError), state.edit(tmp_path) as remembered:
        remembered.ports = {"kafka": 2}
        raise ZeroDivisionError
    assert state.read(tmp_path).ports == {"kafka": 1}


def test_only_its_user_may_read_the_state_because_it_holds_a_password(tmp_path):
    with state.edit(tmp_path):
        pass
    assert (tmp_path / "stack.json").stat().st_mode & 0o077 == 0


def test_a_percent_sign_in_a_path_does_not_break_supervisord(tmp_path):
    from configparser import ConfigParser

    home = tmp_path / "100% fresh"
    conf = ConfigParser()
    conf.read_string(supervisord_conf(home, home, 1, "secret", [Program("broker", ["java", str(home)], 10)]))
    assert conf["program:broker"]["command"] == f"java '{home}'"


def test_a_job_that_ended_though_nobody_cancelled_it_is_expected_until_somebody_does(tmp_path, monkeypatch):
    stack = Stack(tmp_path / "stack", tmp_path / "logs")
    with state.edit(stack.home) as remembered:
        remembered.ports = {"rest": 1}
        remembered.jobs = {
            name: state.Job(py_file="job.py", runs=[state.Run(job_id=name)]) for name in ("failed", "runs", "cancelled")
        }
    now = {"failed": "FAILED", "runs": "RUNNING", "cancelled": "CANCELED"}
    monkeypatch.setattr("grocery.stack.local.flink.job_states", lambda _: now)
    monkeypatch.setattr(Stack, "status", lambda _: Status(True, None, "http://127.0.0.1:1", [], {}))
    monkeypatch.setattr("grocery.stack.local.flink.cancel", lambda *_: None)
    stack.cancel("cancelled")
    stack.retire_ended_jobs()
    assert stack.expected_jobs() == {"failed", "runs"}
    assert {job.name for job in stack.jobs() if job.wanted} == {"runs"}
    stack.cancel("failed")
    assert stack.expected_jobs() == {"runs"}


# ---- without anything running


def test_too_little_disk_is_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr("grocery.stack.local.shutil.disk_usage", lambda _: Usage(10**11, 10**11, 10**9))
    with pytest.raises(StackError, match=r"0\.9 GB free, the stack needs 2 GB"):
        Stack(tmp_path / "stack", tmp_path / "logs").up(flink=False)


def test_a_stack_that_is_down_says_how_to_start_it(tmp_path):
    stack = Stack(tmp_path / "stack", tmp_path / "logs")
    assert not stack.status().running
    for ask in (lambda: stack.kafka, lambda: stack.flink_rest, lambda: stack.pid("broker")):
        with pytest.raises(StackError, match="grocery stack up"):
            ask()
    assert stack.down() is False


def test_missing_jars_are_named_with_the_next_step(tmp_path, monkeypatch):
    monkeypatch.setenv("GROCERY_HOME", str(tmp_path))
    settings.cache_clear()
    try:
        with pytest.raises(StackError, match="no Kafka jars in .*make setup"):
            Stack(tmp_path / "stack", tmp_path / "logs").up(flink=False)
    finally:
        settings.cache_clear()


def test_the_command_line_says_a_stacks_error_without_a_traceback(tmp_path, monkeypatch, listener):
    monkeypatch.setenv("GROCERY_WORKSPACE", "test-of-a-taken-port")
    monkeypatch.setattr("grocery.settings.Settings.work", property(lambda _: tmp_path))
    settings.cache_clear()
    try:
        result = CliRunner().invoke(app, ["stack", "up", "--kafka-port", str(listener)])
    finally:
        settings.cache_clear()
    assert result.exit_code == 1
    assert f"port {listener} (kafka) is in use" in result.output
    assert "Traceback" not in result.output


# ---- real parts


@pytest.fixture
def own_stack(tmp_path) -> Iterator[Stack]:
    """A stack that a test may break; the shared one serves the others."""
    stack = Stack(tmp_path / "stack", tmp_path / "logs")
    yield stack
    stack.wipe()


@pytest.mark.integration
def test_a_second_up_changes_nothing_and_down_keeps_topics_and_ports(own_stack):
    from kafka import KafkaConsumer, KafkaProducer

    assert own_stack.up(flink=False) is True
    address, pid = own_stack.kafka, own_stack.pid("broker")
    assert own_stack.up(flink=False) is False
    assert own_stack.pid("broker") == pid
    with pytest.raises(StackError, match="stop it first: grocery stack down"):
        own_stack.up(flink=False, kafka_port=1)
    producer = KafkaProducer(bootstrap_servers=address)
    producer.send("sensor-readings", b"kept").get(timeout=30)
    producer.close()

    assert own_stack.down() is True
    assert not psutil.pid_exists(pid)
    own_stack.up(flink=False)
    assert own_stack.kafka == address
    consumer = KafkaConsumer("sensor-readings", bootstrap_servers=address, auto_offset_reset="earliest")
    assert next(iter(consumer)).value == b"kept"
    consumer.close()


@pytest.mark.integration
def test_the_guard_watches_the_stack_and_goes_on_when_it_is_killed(own_stack):
    """One watchdog alert, whichever process beats."""
    from ingestion.topics import PLATFORM_ALERTS, read_topic

    own_stack.up(flink=False, guard=True)

    def looks() -> float:
        """Looks since the guard began; 0 while it does not answer."""
        try:
            with urllib.request.urlopen(own_stack.status().metrics["guard"], timeout=5) as page:
                found = re.search(r"^grocery_guard_looks_total ([\d.]+)$", page.read().decode(), re.M)
        except OSError:
            return 0
        return float(found[1]) if found else 0

    wait_for(looks, "a look")
    dead = own_stack.kill("guard")
    wait_for(lambda: own_stack.pid("guard") not in (0, dead) and looks(), "a look of the next guard")
    beats = [json.loads(record.value) for record in read_topic(own_stack.kafka, PLATFORM_ALERTS)]
    assert {(beat["rule"], beat["status"]) for beat in beats} == {("watchdog", "firing")}
    assert len({beat["alert_id"] for beat in beats}) == 1


@pytest.mark.integration
def test_a_process_that_does_not_come_up_is_named_with_the_end_of_its_log(own_stack):
    data = own_stack.home / "broker" / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("node.id=7\nversion=1\ncluster.id=other\n")
    with pytest.raises(StackError, match="(?s)the broker ended while starting.*broker.log ends:.*node.id"):
        own_stack.up(flink=False)
    assert not own_stack.status().running


@pytest.mark.integration
def test_a_killed_supervisor_is_started_anew_with_what_it_ran_and_without_what_it_did_not(own_stack):
    own_stack.up(flink=False, owner=os.getpid())
    address, broker = own_stack.kafka, psutil.Process(own_stack.pid("broker"))
    dead = own_stack.kill("supervisord")
    wait_for(lambda: own_stack.status().kafka and not broker.is_running(), "another broker")
    assert own_stack.pid("supervisord") != dead
    assert own_stack.kafka == address
    wait_for(lambda: own_stack.pid("keeper"), "another keeper")
    assert own_stack.pid("taskmanager") == 0


@pytest.mark.integration
def test_nothing_is_left_over_by_a_killed_supervisor_or_by_an_owner_that_is_gone(own_stack):
    own_stack.up(flink=False)
    left, keeper = psutil.Process(own_stack.pid("broker")), own_stack.pid("keeper")
    own_stack.kill("supervisord")
    os.kill(keeper, 9)  # which would start it anew
    wait_for(lambda: not own_stack.status().running, "supervisord to be gone")
    owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    own_stack.up(flink=False, owner=owner.pid)
    assert not left.is_running()

    broker = psutil.Process(own_stack.pid("broker"))
    owner.kill()
    owner.wait()
    wait_for(lambda: not own_stack.status().running, "the stack to end")
    wait_for(lambda: not broker.is_running(), "the broker to end")


class Counted:
    """The counting job's topics: sends records, reads what was numbered and committed."""

    def __init__(self, bootstrap: str) -> None:
        from kafka import KafkaConsumer, KafkaProducer
        from kafka.admin import KafkaAdminClient

        stamp = time.monotonic_ns()
        self.topic_in, self.topic_out = f"counting-in-{stamp}", f"counting-out-{stamp}"
        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        shape = {"num_partitions": 1, "replication_factor": 1}
        admin.create_topics({self.topic_in: shape, self.topic_out: shape})
        admin.wait_for_topics([self.topic_in, self.topic_out])
        admin.close()
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
        self._consumer = KafkaConsumer(
            self.topic_out,
            bootstrap_servers=bootstrap,
            group_id=None,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        self._sent = 0
        self._got: list[str] = []

    def send(self, count: int) -> None:
        for _ in range(count):
            self._producer.send(self.topic_in, str(self._sent).encode())
            self._sent += 1
        self._producer.flush(timeout=60)

    def expect_all(self) -> None:
        """Waits until as many came out as went in, and holds that each was numbered once and in order."""

        def read() -> bool:
            for records in self._consumer.poll(timeout_ms=200).values():
                self._got += [record.value.decode() for record in records]
            return len(self._got) >= self._sent

        wait_for(read, f"{self._sent} records")
        assert self._got == [f"{n + 1} {n}" for n in range(self._sent)]

    def close(self) -> None:
        self._producer.close()
        self._consumer.close()


@pytest.fixture
def counted(stack) -> Iterator[Counted]:
    topics = Counted(stack.kafka)
    stack.submit("counting", COUNTING_JOB, [stack.kafka, topics.topic_in, topics.topic_out])
    yield topics
    topics.close()
    stack.forget("counting")


@pytest.mark.integration
@pytest.mark.timeout(400)
def test_a_job_goes_on_exactly_once_when_each_process_is_killed(stack, counted):
    counted.send(20)
    counted.expect_all()
    for victim in ("taskmanager", "jobmanager", "broker"):
        counted.send(20)
        dead = stack.kill(victim)
        counted.send(20)
        counted.expect_all()
        assert stack.pid(victim) not in (0, dead)
    job = stack.job("counting")
    assert job.resumed_from is not None, "the job manager's death made the keeper submit it again"
    assert job.state == "RUNNING"


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_jobs_are_cancelled_resumed_and_named_in_errors(stack, counted):
    counted.send(10)
    counted.expect_all()
    with pytest.raises(StackError, match="job counting runs already"):
        stack.submit("counting", COUNTING_JOB)
    with pytest.raises(StackError, match="no job nothing was submitted to this stack; there are: counting"):
        stack.cancel("nothing")
    with pytest.raises(StackError, match="(?s)not_there.py was not accepted by Flink"):
        stack.submit("broken", Path("not_there.py"))
    assert not stack.job("broken").wanted

    stack.cancel("counting")
    assert stack.job("counting").state == "CANCELED"
    counted.send(10)
    stack.submit("counting", COUNTING_JOB, [stack.kafka, counted.topic_in, counted.topic_out])
    counted.expect_all()
    stack.forget("broken")


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_jobs_run_again_after_down_and_up_and_the_web_page_and_metrics_are_there(stack, counted):
    counted.send(10)
    counted.expect_all()
    stack.down()
    stack.up(owner=os.getpid())
    counted.send(10)
    counted.expect_all()
    assert stack.job("counting").resumed_from is not None
    with urllib.request.urlopen(stack.flink_rest, timeout=10) as page:
        assert "Flink" in page.read().decode()
    named = set(re.findall(r"`(flink_\w+)`", (PROJECT / "docs" / "operations.md").read_text("utf-8")))
    assert named

    def scraped() -> set[str]:
        """Flink's metrics, as Prometheus reads them; a job's only where they are this job's."""
        names = set()
        for process in ("jobmanager", "taskmanager"):
            with urllib.request.urlopen(stack.status().metrics[process], timeout=10) as page:
                for family in text_string_to_metric_families(page.read().decode()):
                    for sample in family.samples:
                        if "_job_" not in sample.name or sample.labels["job_name"] == "counting":
                            names.add(sample.name)
        return names

    wait_for(lambda: named <= scraped(), f"{named} at {stack.status().metrics}", 60)
