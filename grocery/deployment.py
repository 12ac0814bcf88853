"""What a deploy would change: the rules, the code, and the alerts that are open under rules that vanish."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from alerting.fold import lives
from alerting.rules import parse_rules
from grocery.stack import Stack, StackError
from grocery.stack.deploy import Change
from ingestion.topics import read_topic
from streaming_jobs.changes import RuleChange, compare
from streaming_jobs.runtime import rules_of, with_rules
from streaming_jobs.submit import job_named


@dataclass(frozen=True, slots=True)
class Plan:
    """One job's next version. rules: its file. open_alerts: by rule, of those that vanish."""

    change: Change
    rules: Path
    differences: list[RuleChange]
    open_alerts: dict[str, int]


def plan(stack: Stack, name: str, rules: Path) -> Plan:
    """What a job would be with this rule file and the code as it is now. Changes nothing.

    Raises LookupError for an unknown job, RuleError where the rules cannot be used, OSError where there is no such
    file, StackError where the job does not run.
    """
    job = job_named(name)
    text = rules.read_text("utf-8")
    topic = parse_rules(text, str(rules)).topic
    now = stack.job(name)
    if now is None or now.state != "RUNNING":
        raise StackError(
            f"{name} is {now.state if now else 'not submitted'}, and a deploy replaces what runs; start it: "
            f"grocery stream submit {name}"
        )
    given = stack.given(name)
    differences = compare(rules_of(given)[0], text)
    gone = {item.name for item in differences if item.kind == "gone"}
    change = Change(name, job.folder / "job.py", with_rules(given, text, str(rules)))
    return Plan(change, rules, differences, _open_alerts(stack.kafka, topic, gone) if gone else {})


def _open_alerts(bootstrap: str, topic: str, rules: set[str]) -> dict[str, int]:
    told = []
    for record in read_topic(bootstrap, topic):
        with suppress(ValueError):  # no alert event; a job writes none
            told.append(json.loads(record.value))
    return Counter(life.now["rule"] for life in lives(told) if life.is_open and life.now["rule"] in rules)
