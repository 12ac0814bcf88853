"""Handing a job to a cluster."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from alerting.rules import RuleError
from grocery.settings import PROJECT
from streaming_jobs.submit import jobs, submit, submit_all
from tests.alerting.logs import RULES


class Cluster:
    """Remembers what it was given."""

    kafka = "127.0.0.1:9"

    def __init__(self) -> None:
        self.given = []

    def submit(self, name, py_file, args, *, start_from=None):
        self.given.append((name, py_file, args))
        return "an id"

    def submit_all(self, wanted):
        self.given += [(name, *how) for name, how in wanted.items()]
        return dict.fromkeys(wanted, "an id")


def test_the_rules_travel_with_the_job_as_data(tmp_path):
    cluster, file = Cluster(), tmp_path / "rules.yaml"
    file.write_text(RULES.read_text("utf-8"), "utf-8")
    assert submit(cluster, "cold_chain", file) == "an id"
    file.unlink()
    ((name, py_file, args),) = cluster.given
    assert (name, py_file.name, py_file.parent.name) == ("cold_chain", "job.py", "cold_chain")
    assert json.loads(args[0])["rules"] == RULES.read_text("utf-8")
    assert "\n" not in args[0]


def test_rules_that_contradict_themselves_are_never_submitted(tmp_path):
    cluster, file = Cluster(), tmp_path / "rules.yaml"
    file.write_text(RULES.read_text("utf-8").replace("clear_below: -16", "clear_below: -14"), "utf-8")
    with pytest.raises(RuleError, match=r"rules.yaml:11: clear_below \(-14\) must be under raise_above \(-15\)"):
        submit(cluster, "cold_chain", file)
    assert cluster.given == []


def test_all_jobs_begin_with_the_chains_rules_or_none_does(tmp_path):
    rules, cluster = tmp_path / "rules", Cluster()
    shutil.copytree(PROJECT / "chain" / "rules", rules)
    assert submit_all(cluster, rules) == dict.fromkeys(jobs(), "an id")
    assert [name for name, *_ in cluster.given] == list(jobs())
    (rules / jobs()["shelf"].rules).write_text("rules: 5", "utf-8")
    with pytest.raises(RuleError):
        submit_all(Cluster(), rules)


def test_an_unknown_job_is_refused_with_those_there_are():
    with pytest.raises(LookupError, match=f"warm_chain: no such job; there are {', '.join(jobs())}"):
        submit(Cluster(), "warm_chain", RULES)


def test_every_job_is_named_as_its_folder_and_has_a_query():
    for name, job in jobs().items():
        assert job.name == name == job.folder.name
        assert all(table in job.query for table in job.reads)


def test_the_guide_to_jobs_counts_each_jobs_lines():
    guide, folder = (PROJECT / "docs" / "jobs.md").read_text("utf-8"), PROJECT / "streaming_jobs"
    told = dict(re.findall(r"^\| `(\w+)` \|.*\| (\d+ \+ \d+) \|", guide, re.MULTILINE))
    lines = {
        job: " + ".join(
            str(len((folder / job / name).read_text("utf-8").splitlines())) for name in ("job.py", "query.sql")
        )
        for job in jobs()
    }
    assert told == lines
