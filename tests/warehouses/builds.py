"""What dbt did on a target, and what its rows have that DuckDB's have not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb

from tests.warehouses.compiled import dbt

EVERYTHING = ("build", "--exclude-resource-type", "unit_test", "--exclude-resource-type", "exposure")


def build(work: Path, target: str, env: dict[str, str], *command: str, before: str = "") -> list[dict]:
    """What dbt did with each model and test; the command is dbt's, EVERYTHING where none is given."""
    outcome = work / target / "run_results.json"
    outcome.unlink(missing_ok=True)
    run = dbt(work, target, env, *(command or EVERYTHING), before=before)
    assert outcome.exists(), run.stdout[-4000:]
    return json.loads(outcome.read_text("utf-8"))["results"]


def wrong(results: list[dict]) -> dict[str, str]:
    """Message by node, of those that did not end well."""
    return {one["unique_id"]: one["message"] for one in results if one["status"] not in ("success", "pass", "warn")}


def marts(work: Path, target: str) -> dict[str, list[str]]:
    """Each mart's columns by its name."""
    nodes = json.loads((work / target / "manifest.json").read_text("utf-8"))["nodes"].values()
    models = [node for node in nodes if node["resource_type"] == "model"]
    return {node["name"]: list(node["columns"]) for node in models if node["path"].startswith("marts/")}


def query(name: str, columns: Sequence[str]) -> str:
    return f"SELECT {', '.join(columns)} FROM {name}"


def differences(
    ours: duckdb.DuckDBPyConnection, name: str, columns: Sequence[str], target: str, theirs: Sequence[tuple]
) -> Iterator[str]:
    """Rows that only DuckDB's table has, or only the target's. theirs: the target's rows."""
    here, there = Counter(ours.sql(query(name, columns)).fetchall()), Counter(theirs)
    for which, rows in (("local", here - there), (target, there - here)):
        yield from (f"{name}, only {which}: {dict(zip(columns, row, strict=True))}" for row in rows)


def assert_same(found: list[str]) -> None:
    assert not found, f"{len(found)} rows differ\n" + "\n".join(found[:20])
