"""The exit codes of `grocery batch` as a scheduler gets them: command line, Spark and dbt on a lake of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from grocery.settings import PROJECT, settings
from schemas.contract import contract
from tests.batch_jobs.bronze_rows import reading
from tests.fixtures.landing import LONG_AGO, land

pytestmark = [pytest.mark.integration, pytest.mark.system]

Grocery = Callable[..., tuple[int, str]]


@pytest.fixture
def grocery(tmp_path) -> Grocery:
    """Runs `grocery batch …` in a process of its own; returns its exit code and what it said, blanks made one."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "jars").symlink_to(settings().jars)
    env = os.environ | {"GROCERY_HOME": str(home), "GROCERY_LANDING": str(tmp_path / "in"), "NO_COLOR": "1"}

    def run(*words: str) -> tuple[int, str]:
        command = [sys.executable, "-c", "from grocery.cli import app; app()", "batch", *words]
        done = subprocess.run(command, env=env, cwd=PROJECT, capture_output=True, text=True, check=False)
        return done.returncode, re.sub(r"\s+", " ", done.stdout + done.stderr)

    return run


def example(name: str, file: str, **changes) -> dict:
    return json.loads((contract(name).folder / file).read_text("utf-8")) | changes


def lake(tmp_path: Path, layer: str, table: str) -> Path:
    return tmp_path / "home" / "main" / "lake" / layer / table


def test_bad_input_is_named_all_else_is_in_gold_and_each_commands_exit_code_says_so(grocery, tmp_path):
    landing = tmp_path / "in"
    land(landing, [reading(1), reading(2), reading(3, event_time="2027-10-05T12:03:00.000Z")])
    cut = land(landing, [reading(number) for number in range(10, 40)], 2)
    cut.write_bytes(cut.read_bytes()[:-30])
    os.utime(cut, (LONG_AGO, LONG_AGO))
    young = land(landing, [reading(4, value="cold"), reading(5)], 3)
    os.utime(young, (time.time(), time.time()))
    ice_cream = example("products", "pass-ice-cream.json")
    unknown = example("products", "pass-bananas.json", event_id="price-of-nothing", store_id="store-001")
    land(landing, [ice_cream, unknown], topic="products")

    code, said = grocery("run", "--by", "files")
    assert code == 3, said
    for words in (
        f"set aside {cut.relative_to(landing)} truncated: the gzip ends in the middle",
        f"waiting {young.relative_to(landing)} young: written to less than 2 minutes ago",
        "quarantine sensor-readings: clock:/event_time (1)",
        "warn no_price_of_an_unknown_product",
        "set aside: 1 records in quarantine (`grocery quarantine list`), 1 files (`grocery batch files`), 1 files that "
        "may still be written (the next run takes them), 1 changes of stores, assets or products",
    ):
        assert words in said, said
    assert "gold: built" in said, said

    os.utime(young, (LONG_AGO, LONG_AGO))
    code, said = grocery("files")
    assert code == 3, said
    assert "files: 2 new records" in said and f"set aside before {cut.relative_to(landing)}" in said, said
    assert grocery("files", "--accept")[0] == 0

    code, said = grocery("silver")
    assert code == 3, said
    assert "set aside: 1 records in quarantine" in said and "quarantine sensor-readings: type:/value (1)" in said, said
    assert grocery("silver")[0] == 0, "it was told"

    shutil.rmtree(lake(tmp_path, "quarantine", "sensor_readings"))
    words = ("backfill", "-t", "sensor-readings", "-t", "products", "--from", "2026-10-05", "--to")
    code, said = grocery(*words, "2026-10-05")
    assert code == 3, said
    assert "set aside: 2 records in quarantine" in said and "gold: built" in said, said
    code, said = grocery(*words[:-3], "--from", "2026-10-01", "--to", "2026-10-05")
    assert code == 1, said
    assert "begin with --from 2026-10-05 or later; nothing was changed" in said, said
