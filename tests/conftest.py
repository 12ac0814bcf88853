"""Fixtures live in tests/fixtures, one module a real part."""

pytest_plugins = ["tests.fixtures.stack", "tests.fixtures.spark", "tests.fixtures.gold"]
