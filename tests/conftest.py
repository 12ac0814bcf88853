"""Fixtures live in tests/fixtures, one module a real part."""

import os

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
