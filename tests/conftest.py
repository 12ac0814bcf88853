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


LAKE = (
    *("batch_jobs/", "dbt/", "glue/", "schemas/", "warehouses/"),
    *("grocery/test_export", "grocery/test_query", "grocery/test_report"),
)
"""Tests of the lakehouse; the others are the stack's or need nothing that is shared."""


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`-n 2 --dist loadscope`: one process starts Spark and builds gold, the other starts the stack, so that nothing of
    it starts twice. (xdist's own groups do nothing with pytest 9.2, which keeps a test's id elsewhere.)"""
    if config.getoption("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Halves(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "lake" if nodeid.removeprefix("tests/").startswith(LAKE) else "stack"

    return Halves(config, log)
