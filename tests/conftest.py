"""Fixtures live in tests/fixtures, one module a real part."""

import os

import pytest

from grocery.settings import settings

os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(settings().home / "hypothesis"))

pytest_plugins = [
    "tests.fixtures.stack",
    "tests.fixtures.spark",
    "tests.fixtures.gold",
    "tests.fixtures.redshift",
    "tests.fixtures.added",
    "tests.fixtures.aws",
]


# What is made once and shared, dearest first: the tests of one of these follow one another in one process.
SHARED = {"stack": "stack", "broker": "stack", "spark": "spark", "gold": "gold", "day": "day"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes share the work (`-n 2 --dist loadgroup`) and start nothing twice: tests of one shared part belong
    together, the others by file."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        group = next((group for name, group in SHARED.items() if name in names), str(item.path))
        item.add_marker(pytest.mark.xdist_group(group))
