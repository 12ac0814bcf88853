"""Fixtures live in tests/fixtures, one module a real part."""

import os
from typing import Any

import pytest

from grocery.settings import settings

os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(settings().home / "hypothesis"))

pytest_plugins = [
    "tests.fixtures.stack",
    "tests.fixtures.spark",
    "tests.fixtures.gold",
    "tests.fixtures.redshift",
    "tests.fixtures.athena",
    "tests.fixtures.added",
    "tests.fixtures.aws",
]


SPARK, GOLD = ("batch_jobs/", "glue/", "schemas/"), "batch_jobs/test_gold"
"""Tests that share one Spark; the others share the stack and the gold tables, which need no Spark, or nothing."""
LAST = ("glue/", "schemas/", "batch_jobs/test_landing", "batch_jobs/test_suites", "batch_jobs/test_volumes")
"""Of those that need Spark, what is left for the end, a module at a time, for whoever has nothing else to do."""


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`-n 2 --dist loadscope`: one process starts Spark, the other starts the stack and builds gold, so that of these
    nothing starts twice; the first to be done takes from what is left, with a Spark of its own where it has none.
    (xdist's own groups do nothing with pytest 9.2, which keeps a test's id elsewhere.)"""
    if config.getoption("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Halves(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.removeprefix("tests/")
            if path.startswith(LAST):
                return path.partition("::")[0]
            return "spark" if path.startswith(SPARK) and not path.startswith(GOLD) else "stack"

    return Halves(config, log)
