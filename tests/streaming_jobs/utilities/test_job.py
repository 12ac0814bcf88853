"""The job's description and its query."""

import re

from streaming_jobs.submit import job_named
from streaming_jobs.utilities.deriver import HEARTBEAT
from streaming_jobs.utilities.meters import KINDS
from tests.streaming_jobs.utilities.test_cases import shipped


def test_the_query_lets_through_what_the_deriver_and_the_rules_are_about():
    through = set(re.findall(r'"metric":"(\w+)"', job_named("utilities").query))
    assert through == {*KINDS, HEARTBEAT}
    about_devices = [rule for rule in shipped().rules if rule.absent_for or rule.bad_for_ms]
    read = {metric for rule in about_devices for metric in rule.select.metric}
    assert read <= through
