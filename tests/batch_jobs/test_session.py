"""The session of a long run: it can be started again in the same process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from grocery.settings import settings

_KILLED = """
import os, signal, sys
from pathlib import Path
from pyspark import SparkContext
from batch_jobs.session import end, session

jars, logs = Path(sys.argv[1]), Path(sys.argv[2])
first = session(jars, logs, short=True)
assert first.range(3).count() == 3
os.kill(SparkContext._gateway.proc.pid, signal.SIGKILL)
SparkContext._gateway.proc.wait()
end(first)
second = session(jars, logs, short=True)
print(second.range(4).count(), "rows")
end(second)
"""


@pytest.mark.system
@pytest.mark.integration
def test_a_session_whose_jvm_was_killed_makes_way_for_another(tmp_path):
    """In a process of its own: the other tests share one."""
    words = [sys.executable, "-c", _KILLED, settings().jars / "spark", tmp_path]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert "4 rows" in run.stdout, run.stderr[-3000:]
    assert run.returncode == 0
