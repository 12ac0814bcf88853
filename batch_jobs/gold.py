"""Gold: runs dbt over silver into a DuckDB file, and knows the questions that analysts ask of it.

A second run rebuilds the same tables from the same silver. dbt builds into a file of its own; only a build without a
failed test takes the old file's place, so readers never see half a gold or a wrong one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from schemas.contract import all_contracts

DBT = Path(__file__).resolve().parent.parent / "dbt"


class GoldError(Exception):
    """Gold was not built; the message says why and what to do."""


class MissingSilver(GoldError):
    """Silver tables that gold reads do not exist."""


class NoGold(GoldError):
    """There is no gold to ask yet."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A dbt node that did not end well. name: model or test; status: `error`, `fail` or `warn`."""

    name: str
    status: str
    message: str


@dataclass(slots=True)
class GoldResult:
    """models: built; tests: passed; warnings: tests of severity warn that found rows; failures: what stopped gold.

    replaced: whether the new tables took the old ones' place. seconds: the whole run. log: dbt's log file.
    """

    models: int = 0
    tests: int = 0
    warnings: list[Failure] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    replaced: bool = False
    seconds: float = 0.0
    log: Path = Path()


Progress = Callable[[int, int, str], None]
"""(done, of how many, name of the model or test that ended)"""


def build(lake: str, gold_path: Path, logs: Path, on_progress: Progress | None = None) -> GoldResult:
    """Run `dbt build` over <lake>/silver into gold_path.

    Raises MissingSilver, or GoldError where dbt could not run at all; failed models and tests are in the result.
    """
    _check_silver(lake)
    started = time.monotonic()
    work = gold_path.parent.resolve() / "dbt"
    fresh = work / "build" / gold_path.name  # the same name: DuckDB's views carry the file's name as their catalog
    shutil.rmtree(fresh.parent, ignore_errors=True)
    fresh.parent.mkdir(parents=True)
    result = GoldResult(log=logs.resolve() / "dbt" / "dbt.log")
    result.log.parent.mkdir(parents=True, exist_ok=True)
    outcome = work / "target" / "run_results.json"
    outcome.unlink(missing_ok=True)
    last_lines = _run_dbt(lake, fresh, work / "target", result.log, on_progress)
    if not outcome.exists():
        raise GoldError(f"dbt did not run; its log is {result.log}. It said:\n" + "\n".join(last_lines))
    _take_results(outcome, result)
    if not result.failures:
        os.replace(fresh, gold_path)
        result.replaced = True
    result.seconds = time.monotonic() - started
    return result


def _check_silver(lake: str) -> None:
    if "://" in lake:
        raise GoldError(
            f"{lake}: the local gold is built from a folder; for a lake on S3 use a warehouse target, "
            "or set GROCERY_LAKE to a local copy"
        )
    silver = Path(lake) / "silver"
    missing = [
        c.table for c in all_contracts() if c.kind != "dead-letter" and not (silver / c.table / "_delta_log").is_dir()
    ]
    if missing:
        raise MissingSilver(f"{silver}: no table {', '.join(missing)}; run `grocery batch silver` first")


def _run_dbt(lake: str, gold: Path, target: Path, log: Path, on_progress: Progress | None) -> deque[str]:
    """Run it and tell of each node that ended; returns dbt's last warnings and errors.

    A process of its own, because dbt keeps DuckDB's file open for as long as its process lives.
    """
    command = [
        *(sys.executable, "-c", "from dbt.cli.main import cli; cli()", "--log-format", "json"),
        *("build", "--exclude-resource-type", "unit_test", "--exclude-resource-type", "exposure"),
        *("--project-dir", str(DBT), "--profiles-dir", str(DBT)),
    ]
    env = os.environ | {
        "GROCERY_LAKE": str(Path(lake).resolve()),
        "GROCERY_GOLD": str(gold),
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(log.parent),
    }
    import_delta()
    last_lines: deque[str] = deque(maxlen=12)
    with subprocess.Popen(
        command, env=env, cwd=log.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            try:
                event = json.loads(line)
            except ValueError:
                last_lines.append(line.rstrip())
                continue
            info, data = event["info"], event["data"]
            if info["level"] in ("warn", "error"):
                last_lines.append(info["msg"])
            if on_progress and info["name"] in ("LogModelResult", "LogTestResult"):
                total = data.get("total") or data.get("num_models")
                on_progress(data["index"], total, data["node_info"]["node_name"])
    return last_lines


def _take_results(outcome: Path, result: GoldResult) -> None:
    """Count what dbt's run_results.json says."""
    for node in json.loads(outcome.read_text("utf-8"))["results"]:
        name = node["unique_id"].split(".")[2]
        if node["status"] == "pass":
            result.tests += 1
        elif node["status"] == "success":
            result.models += 1
        elif node["status"] == "warn":
            result.warnings.append(Failure(name, "warn", node["message"] or ""))
        elif node["status"] in ("error", "fail", "runtime error"):
            result.failures.append(Failure(name, node["status"], node["message"] or ""))


def import_delta() -> None:
    """Put DuckDB's delta extension, which PyPI brought, where DuckDB looks for extensions."""
    import duckdb_extensions

    duckdb_extensions.import_extension("delta")


def connect(gold_path: Path) -> duckdb.DuckDBPyConnection:
    """Gold, read only, with UTC as the session's zone. Raises NoGold."""
    if not gold_path.exists():
        raise NoGold(f"{gold_path}: no gold yet; run `grocery batch run` (or `make demo` and add `-w demo`)")
    import_delta()
    connection = duckdb.connect(str(gold_path), read_only=True)
    connection.execute("LOAD delta; SET TimeZone = 'UTC'")
    return connection


@dataclass(frozen=True, slots=True)
class Question:
    """One of dbt/analyses. name: file name without suffix; text: the question in plain words; sql: ready for DuckDB."""

    name: str
    text: str
    sql: str


_REF = re.compile(r"\{\{\s*ref\('(\w+)'\)\s*\}\}")


def questions() -> tuple[Question, ...]:
    """The analysts' questions, by name. Their first line is the question, as a comment."""
    found = []
    for path in sorted((DBT / "analyses").glob("*.sql")):
        first, _, rest = path.read_text("utf-8").partition("\n")
        found.append(Question(path.stem, first.removeprefix("--").strip(), _REF.sub(r"\1", rest).strip()))
    return tuple(found)
