"""Which version runs with which savepoint, whatever goes wrong in a deploy: without a cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grocery.rehearsal import stores_in
from grocery.stack import Stack, StackError, deploy, flink, release, state
from grocery.stack.deploy import Change, NotDeployed
from grocery.stack.local import JobStatus
from tests.grocery.test_stack import snapshot
from tests.streaming_jobs.test_savepoints import FIXTURES


class Cluster(Stack):
    """A stack whose Flink is a table of states by job id.

    broken: versions (by their argument) that do not come up, with the name of what they cannot begin with, None: any.
    """

    flink_rest = "http://127.0.0.1:9"

    def __init__(self, home: Path) -> None:
        super().__init__(home, home)
        self.states: dict[str, str] = {}
        self.began: list[tuple[str, str | None]] = []
        self.broken: dict[str, Path | None] = {}
        self.killed: list[str] = []

    def start(self, *names: str) -> None:
        with state.edit(self.home) as remembered:
            remembered.ports = {"rest": 9}
        for name in names:
            with state.edit(self.home) as remembered:
                remembered.jobs[name] = state.Job(py_file="job.py", args=["old"])
            self.begin(name)
        self.began.clear()

    def known(self, name: str) -> JobStatus:
        job = state.read(self.home).jobs[name]
        return JobStatus(name, job.job_id, self.states.get(job.job_id, "UNKNOWN"), job.wanted)

    def begin(self, name: str, start_from: Path | None = None) -> str:
        start_from = start_from or self.newest(name)
        with state.edit(self.home) as remembered:
            job = remembered.jobs[name]
            job_id = f"{name}-{len(job.runs)}"
            job.runs.append(state.Run(job_id=job_id, began_from=start_from and str(start_from)))
        self.states[job_id] = "RUNNING"
        self.began.append((job.args[0], start_from and start_from.name))
        return job_id

    def kill(self, name: str) -> int:
        self.killed.append(name)
        return 1


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Cluster:
    made = Cluster(tmp_path)

    def stop(_: str, job_id: str, folder: Path, *, stop: bool) -> Path:
        made.states[job_id] = "FINISHED"
        return snapshot(tmp_path, "savepoints", job_id, f"savepoint-of-{job_id}", 7)

    def come_up(_: str, job_id: str, name: str) -> None:
        job = state.read(tmp_path).jobs[name]
        unfit = made.broken.get(job.args[0], Path("nothing"))
        if unfit is None or unfit.name == Path(job.runs[-1].began_from).name:
            raise StackError("it is broken")

    monkeypatch.setattr(flink, "savepoint", stop)
    monkeypatch.setattr(Stack, "end_clients", lambda _: None)
    monkeypatch.setattr(
        flink,
        "live",
        lambda _, name: {one for one, state in made.states.items() if one[:-2] == name and state == "RUNNING"},
    )
    monkeypatch.setattr(flink, "cancel", lambda _, job_id: made.states.update({job_id: "CANCELED"}))
    monkeypatch.setattr(deploy, "come_up", come_up)
    return made


def changes(*names: str) -> list[Change]:
    return [Change(name, Path("job.py"), ["new"]) for name in names]


def quiet(_: str) -> None:
    pass


def test_the_new_version_begins_with_the_savepoint_that_stopped_the_old_one(cluster):
    cluster.start("a")
    deploy.deploy(cluster, changes("a"), quiet)
    assert cluster.began == [("new", "savepoint-of-a-0")]
    assert state.read(cluster.home).jobs["a"].previous is None


def test_of_several_jobs_all_are_put_back_when_one_does_not_come_up(cluster):
    cluster.start("a", "b")
    cluster.broken["new"] = Path("savepoint-of-b-0")
    with pytest.raises(NotDeployed, match="the old version of a runs again; the old version of b runs again"):
        deploy.deploy(cluster, changes("a", "b"), quiet)
    assert cluster.began[2:] == [("old", "savepoint-of-a-0"), ("old", "savepoint-of-b-0")]
    assert {job.args[0] for job in state.read(cluster.home).jobs.values()} == {"old"}


def test_what_the_new_version_has_committed_is_gone_on_from(cluster, monkeypatch):
    """From the savepoint, the steps that it told would be told again."""
    cluster.start("a")
    fails = deploy.come_up

    def after_a_checkpoint(rest: str, job_id: str, name: str) -> None:
        if job_id == "a-1":
            snapshot(cluster.home, "checkpoints", "a-1", "chk-9", 9)
        fails(rest, job_id, name)

    monkeypatch.setattr(deploy, "come_up", after_a_checkpoint)
    cluster.broken["new"] = None
    with pytest.raises(NotDeployed, match="the old version of a runs again.\nit is broken"):
        deploy.deploy(cluster, changes("a"), quiet)
    assert cluster.began == [("new", "savepoint-of-a-0"), ("old", "chk-9")]
    # ... unless the old version cannot read it.
    cluster.began.clear()
    cluster.broken["old"] = Path("chk-9")
    monkeypatch.setattr(
        deploy,
        "come_up",
        lambda rest, job_id, name: (
            snapshot(cluster.home, "checkpoints", job_id, "chk-9", 9) if job_id == "a-3" else None,
            fails(rest, job_id, name),
        ),
    )
    with pytest.raises(NotDeployed, match="steps that the new version told may be told again"):
        deploy.deploy(cluster, changes("a"), quiet)
    assert cluster.began == [("new", "savepoint-of-a-2"), ("old", "chk-9"), ("old", "savepoint-of-a-2")]


def test_a_job_that_could_not_be_stopped_goes_on_as_it_was(cluster, monkeypatch):
    cluster.start("a")

    def refused(*_: object, **__: object) -> Path:
        raise StackError("no space left")

    monkeypatch.setattr(flink, "savepoint", refused)
    with pytest.raises(NotDeployed, match="a goes on as it was.\nno space left"):
        deploy.deploy(cluster, changes("a"), quiet)
    assert cluster.began == []
    assert state.read(cluster.home).jobs["a"].args == ["old"]


def test_an_old_version_that_does_not_come_up_either_is_left_to_the_keeper(cluster, monkeypatch):
    cluster.start("a")
    cluster.broken |= {"new": None, "old": None}
    with pytest.raises(NotDeployed, match="the old version does not come up either: it is broken"):
        deploy.deploy(cluster, changes("a"), quiet)
    monkeypatch.setattr(flink, "job_states", lambda _: {})
    assert cluster.forgotten_jobs() == [], "the keeper must not simply resume it"
    cluster.broken.clear()
    said = []
    deploy.recover(cluster, said.append)
    assert said[-1] == "a deploy was interrupted: the old version of a runs again"
    assert cluster.began[-1] == ("old", "savepoint-of-a-0")


def test_a_run_that_a_killed_deploy_started_unnoted_is_ended_and_what_it_committed_counts(cluster):
    cluster.start("a")
    with state.edit(cluster.home) as remembered:
        job = remembered.jobs["a"]
        job.previous, job.args = state.Replaced(py_file="job.py", args=["old"], job_id="a-0"), ["new"]
    snapshot(cluster.home, "savepoints", "a-0", "savepoint-of-a-0", 7)
    cluster.states |= {"a-0": "FINISHED", "a-9": "RUNNING"}
    snapshot(cluster.home, "checkpoints", "a-9", "chk-8", 8)
    deploy.recover(cluster, quiet)
    assert cluster.states["a-9"] == "CANCELED"
    assert cluster.began == [("old", "chk-8")]


def test_the_keeper_leaves_a_deploy_that_goes_on_alone(cluster):
    cluster.start("a")
    with state.edit(cluster.home) as remembered:
        remembered.jobs["a"].previous = state.Replaced(py_file="job.py", args=["old"], job_id="a-0")
    with state.locked(cluster.home, "submit"):
        deploy.recover(cluster, quiet)
        assert cluster.began == []
        assert cluster.resume("a") is None


def test_after_three_deploys_the_savepoints_of_the_last_two_are_there_to_go_back_to(cluster):
    cluster.start("a")
    for _ in range(3):
        deploy.deploy(cluster, changes("a"), quiet)
    assert sorted(folder.name for folder in (cluster.home / "savepoints").iterdir()) == ["a-1", "a-2"]


def test_a_job_that_does_not_run_is_not_replaced(cluster):
    cluster.start("a")
    cluster.states["a-0"] = "CANCELED"
    with pytest.raises(StackError, match="job a is CANCELED, only a running job is replaced"):
        deploy.deploy(cluster, changes("a"), quiet)
    assert state.read(cluster.home).jobs["a"].args == ["old"]


def test_a_cause_is_what_the_innermost_exception_says_with_the_line_of_python():
    trace = """java.lang.RuntimeException: Failed
\tat org.apache.flink.Task.run(Task.java:569)
Caused by: java.lang.RuntimeException: outer
\tat org.apache.flink.Task.run(Task.java:570)
Caused by: pemja.core.PythonException: <class 'ValueError'>: zip() argument 2 is shorter than argument 1
\tat /code/alerting/limits.calmed(limits.py:190)
\t... 8 more
"""
    assert flink.root_cause(trace) == (
        "pemja.core.PythonException: <class 'ValueError'>: zip() argument 2 is shorter than argument 1 "
        "(at /code/alerting/limits.calmed(limits.py:190))"
    )
    assert flink.root_cause("org.apache.flink.FlinkException: gone\n\tat x(y.java:1)") == (
        "org.apache.flink.FlinkException: gone"
    )
    assert flink.root_cause("") == "no cause given"


def test_every_store_of_a_savepoint_is_found_for_its_probe():
    for folder in FIXTURES:
        before = {json.loads(line)["event"]["store_id"] for line in (folder / "before.ndjson").open()}
        assert stores_in(folder) == sorted(before)


# ---- releases


@pytest.fixture
def project(tmp_path) -> Path:
    """A project whose jobs are a few lines."""
    for package in release.PACKAGES:
        (tmp_path / "project" / package / "job" / "__pycache__").mkdir(parents=True)
        (tmp_path / "project" / package / "job" / "job.py").write_text("print('first')")
        (tmp_path / "project" / package / "job" / "__pycache__" / "job.pyc").touch()
    return tmp_path / "project"


def test_the_same_code_is_kept_once_and_a_changed_file_makes_another_release(project, tmp_path):
    first = release.keep(project, tmp_path / "releases")
    assert release.keep(project, tmp_path / "releases") == first
    (project / "schemas" / "job" / "job.py").write_text("print('second')")
    second = release.keep(project, tmp_path / "releases")
    assert second != first
    assert (first / "schemas" / "job" / "job.py").read_text() == "print('first')"
    assert not list(second.rglob("__pycache__"))


def test_only_the_release_in_use_is_left(project, tmp_path):
    first = release.keep(project, tmp_path / "releases")
    (project / "alerting" / "job" / "job.py").unlink()
    second = release.keep(project, tmp_path / "releases")
    release.use(tmp_path, first)
    release.use(tmp_path, second)
    release.drop_others(tmp_path, tmp_path / "releases")
    assert release.used(tmp_path) == second
    assert list((tmp_path / "releases").iterdir()) == [second]


def test_a_job_beside_others_of_another_release_is_refused_and_deployed_with_them(project, cluster, monkeypatch):
    monkeypatch.setattr("grocery.stack.local.PROJECT", project)
    first = release.keep(project, cluster.home / "releases")
    release.use(cluster.home, first)
    with state.edit(cluster.home) as remembered:
        remembered.jobs["a"] = state.Job(py_file=str(first / "streaming_jobs" / "job" / "job.py"))
    py_file = project / "streaming_jobs" / "job" / "job.py"
    assert cluster.keep_code(["b"], [py_file]) == first
    py_file.write_text("print('second')")
    with pytest.raises(StackError, match="the code was changed since a began.*grocery stream deploy"):
        cluster.keep_code(["b"], [py_file])
    second = cluster.keep_code(["a", "b"], [py_file])
    assert cluster.in_code(py_file, second) == second / "streaming_jobs" / "job" / "job.py"
    assert cluster.keep_code(["c"], [Path("/elsewhere/job.py")]) is None
