"""Gold: runs dbt over silver into a DuckDB file, and knows the questions that analysts ask of it.

A run goes on from the gold that is there: it recomputes what new rows of silver touch, and a second one finds nothing
new and changes nothing. It builds from nothing where that would not do: no gold yet, another dbt project than the one
that built it, rows gone from silver, or asked for. dbt works on a copy; only a build without a failed test takes the
old file's place, so readers never see half a gold or a wrong one.
"""

from __future__ import annotations

import hashlib
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

from batch_jobs import s3
from batch_jobs.errors import LakeError
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

    replaced: whether the new tables took the old ones' place. from_nothing: why it did not go on from the gold that was
    there, empty where it did. seconds: the whole run. log: dbt's log file.
    """

    models: int = 0
    tests: int = 0
    warnings: list[Failure] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    replaced: bool = False
    from_nothing: str = ""
    seconds: float = 0.0
    log: Path = Path()


Progress = Callable[[int, int, str], None]
"""(done, of how many, name of the model or test that ended)"""


def build(
    lake: str, gold_path: Path, logs: Path, on_progress: Progress | None = None, full: bool = False
) -> GoldResult:
    """Run `dbt build` over <lake>/silver into gold_path. full: from nothing, whatever is there.

    Raises MissingSilver, LakeError, or GoldError where dbt could not run at all; what failed in it is in the result.
    """
    _check_silver(lake)
    started = time.monotonic()
    work = gold_path.parent.resolve() / "dbt"
    fresh = work / "build" / gold_path.name  # the same name: DuckDB's views carry the file's name as their catalog
    shutil.rmtree(fresh.parent, ignore_errors=True)
    fresh.parent.mkdir(parents=True)
    made_by = _fingerprint(lake)
    result = GoldResult(log=logs.resolve() / "dbt" / "dbt.log")
    result.from_nothing = "asked for" if full else _why_from_nothing(gold_path, lake, made_by)
    result.log.parent.mkdir(parents=True, exist_ok=True)
    outcome = work / "target" / "run_results.json"
    outcome.unlink(missing_ok=True)
    if not result.from_nothing:
        shutil.copyfile(gold_path, fresh)
    last_lines = _run_dbt(lake, fresh, work / "target", result.log, on_progress, full=bool(result.from_nothing))
    if not outcome.exists():
        raise GoldError(f"dbt did not run; its log is {result.log}. It said:\n" + "\n".join(last_lines))
    _take_results(outcome, result)
    if not result.failures:
        _sign(fresh, made_by)
        os.replace(fresh, gold_path)
        result.replaced = True
    result.seconds = time.monotonic() - started
    return result


_SIGNED = "main_intermediate.made_by"
_READ = "main_intermediate.int_silver_read"


def _fingerprint(lake: str) -> str:
    """Of what makes gold but silver's rows: the dbt project, DuckDB (with its time zones) and where silver lies."""
    digest = hashlib.sha256(f"{duckdb.__version__} {seen_by_duckdb(lake)}".encode())
    for path in sorted(DBT.rglob("*")):
        if path.suffix in (".sql", ".yml"):
            digest.update(f"\0{path.relative_to(DBT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _why_from_nothing(gold_path: Path, lake: str, made_by: str) -> str:
    """Why a run cannot go on from this gold; empty where it can."""
    if not gold_path.exists():
        return "there was none"
    try:
        with connect(gold_path, lake) as gold:
            if gold.sql(f"SELECT fingerprint FROM {_SIGNED}").fetchall() != [(made_by,)]:
                return "the models, DuckDB or the lake are others"
            gone = [source.removeprefix("stg_") for source in _shrunk(gold)]
    except duckdb.Error as error:
        return f"the old one cannot be read: {str(error).splitlines()[0]}"
    return f"rows are gone from silver's {', '.join(gone)}" if gone else ""


def _shrunk(gold: duckdb.DuckDBPyConnection) -> list[str]:
    """Staging models that have fewer rows of some batch than were read: nobody knows any more which facts had them."""
    sources = [source for (source,) in gold.sql(f"SELECT DISTINCT source FROM {_READ} ORDER BY 1").fetchall()]
    fewer = """
        SELECT 1
        FROM (SELECT loaded_at, row_count FROM {read} WHERE source = '{source}') AS known
        LEFT JOIN (SELECT loaded_at, count(*) AS n FROM main_staging.{source} GROUP BY 1) AS there USING (loaded_at)
        WHERE coalesce(there.n, 0) < known.row_count
        LIMIT 1
    """
    return [source for source in sources if gold.sql(fewer.format(read=_READ, source=source)).fetchall()]


def _sign(fresh: Path, made_by: str) -> None:
    with duckdb.connect(str(fresh)) as gold:
        gold.execute(f"CREATE OR REPLACE TABLE {_SIGNED} AS SELECT ? AS fingerprint", [made_by])


def _check_silver(lake: str) -> None:
    there = table_names(lake, "silver")
    missing = [c.table for c in all_contracts() if c.kind != "dead-letter" and c.table not in there]
    if missing:
        raise MissingSilver(f"{lake}/silver: no table {', '.join(missing)}; run `grocery batch silver` first")


def table_names(lake: str, layer: str) -> set[str]:
    """Tables that the layer has. Raises LakeError for a place that cannot be looked at."""
    if s3.is_on_s3(lake):
        return s3.tables_under(f"{lake.rstrip('/')}/{layer}")
    if "://" in lake:
        raise LakeError(f"lake {lake}: DuckDB reads folders and s3a:// addresses; ask a warehouse for another")
    return {log.parent.name for log in (Path(lake) / layer).glob("*/_delta_log")}


def seen_by_duckdb(lake: str) -> str:
    return s3.url(lake) if s3.is_on_s3(lake) else str(Path(lake).resolve())


def _run_dbt(lake: str, gold: Path, target: Path, log: Path, on_progress: Progress | None, *, full: bool) -> deque[str]:
    """Run it and tell of each node that ended; returns dbt's last warnings and errors.

    A process of its own, because dbt keeps DuckDB's file open for as long as its process lives.
    """
    command = [
        *(sys.executable, "-c", "from dbt.cli.main import cli; cli()", "--log-format", "json"),
        *("build", "--exclude-resource-type", "unit_test", "--exclude-resource-type", "exposure"),
        *("--project-dir", str(DBT), "--profiles-dir", str(DBT)),
        *(["--full-refresh"] if full else []),
    ]
    env = os.environ | {
        "GROCERY_LAKE": seen_by_duckdb(lake),
        "GROCERY_GOLD": str(gold),
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(log.parent),
    }
    import_delta()
    if s3.is_on_s3(lake):
        s3.load_duckdb_extensions()
        command += ["--target", "local_s3"]
        for name, value in s3.duckdb_secret().items():
            # dbt keeps the values of variables that are called so out of its log, and words like `path` shall stay.
            secret = name in ("key_id", "secret", "session_token")
            env[f"{'DBT_ENV_SECRET' if secret else 'GROCERY'}_S3_{name.upper()}"] = value
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


def connect(gold_path: Path, lake: str = "") -> duckdb.DuckDBPyConnection:
    """Gold, read only, with UTC as the session's zone. lake: named where more than marts is read of one on S3: staging
    looks into the lake. Raises NoGold, LakeError."""
    if not gold_path.exists():
        raise NoGold(f"{gold_path}: no gold yet; run `grocery batch run` (or `make demo` and add `-w demo`)")
    import_delta()
    connection = duckdb.connect(str(gold_path), read_only=True)
    connection.execute("LOAD delta; SET TimeZone = 'UTC'")
    if s3.is_on_s3(lake):
        s3.open_to_duckdb(connection)
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
