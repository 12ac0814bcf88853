"""Gold: runs dbt over silver into a DuckDB file, and knows the questions that analysts ask of it.

A run goes on from the gold that is there: it recomputes what new rows of silver touch, and a second one finds nothing
new and changes nothing. It builds from nothing where that would not do: no gold yet, another dbt project than the one
that built it, rows gone from silver, or asked for. dbt works on a copy; only a build without a failed test takes the
old file's place, so readers never see half a gold or a wrong one.

Days that expired from silver (audit.expiries) are not gone in that sense: their facts stay as they are, and a build
from nothing brings them over (dbt/macros/expired.sql).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb

from batch_jobs import s3
from batch_jobs.errors import LakeError
from batch_jobs.tables import path_of
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
    there, empty where it did. brought_over: from nothing, but with the facts of days that expired from silver, of which
    contract before which date. findings: events about stores, assets and products that nobody can have meant so
    (rpt_reference_quality) and that the gold before did not tell of, how many of each kind. seconds: the whole run.
    log: dbt's log file.
    """

    models: int = 0
    tests: int = 0
    warnings: list[Failure] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    replaced: bool = False
    from_nothing: str = ""
    brought_over: dict[str, date] = field(default_factory=dict)
    findings: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    log: Path = Path()


Progress = Callable[[int, int, str], None]
"""(done, of how many, name of the model or test that ended)"""


def build(
    lake: str, gold_path: Path, logs: Path, on_progress: Progress | None = None, full: bool = False
) -> GoldResult:
    """Run `dbt build` over <lake>/silver into gold_path. full: from nothing, but for days that have expired.

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
    expired = first_kept(lake)
    aside = set_aside_as(gold_path)
    old = gold_path if gold_path.exists() or not aside.exists() else aside
    result.from_nothing = "asked for" if full else _why_from_nothing(old, lake, made_by, expired)
    if old == aside:
        result.from_nothing = "an erasure set the old one aside"
    if result.from_nothing and expired and old.exists():
        _check_bringable(old, lake, expired)
        result.brought_over = expired
    result.log.parent.mkdir(parents=True, exist_ok=True)
    outcome = work / "target" / "run_results.json"
    outcome.unlink(missing_ok=True)
    if result.brought_over or not result.from_nothing:
        shutil.copyfile(old, fresh)
    command = ["build", "--exclude-resource-type", "unit_test", "--exclude-resource-type", "exposure"]
    command += ["--full-refresh"] if result.from_nothing else []
    last_lines = _run_dbt(command, lake, fresh, work / "target", result.log, on_progress)
    if not outcome.exists():
        raise GoldError(f"dbt did not run; its log is {result.log}. It said:\n" + "\n".join(last_lines))
    _take_results(outcome, result)
    if not result.failures:
        _sign(fresh, made_by, lake)
        if result.brought_over:
            _rewrite(fresh, lake, work / "target" / "manifest.json")
        result.findings = _new_findings(fresh, old)
        os.replace(fresh, gold_path)
        aside.unlink(missing_ok=True)
        result.replaced = True
    result.seconds = time.monotonic() - started
    return result


def document(lake: str, gold_path: Path, logs: Path, page: Path) -> None:
    """Write dbt's documentation of gold as one HTML page: models, columns as they are there, tests, what reads what.

    Raises NoGold, or GoldError where dbt could not write it.
    """
    _check_gold(gold_path)
    work = gold_path.parent.resolve() / "dbt"
    target, log = work / "target-of-docs", logs.resolve() / "dbt" / "dbt.log"
    copy = work / "docs" / gold_path.name  # dbt opens it for writing, and nobody else could read it meanwhile
    copy.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    made = target / "static_index.html"
    made.unlink(missing_ok=True)
    try:
        shutil.copyfile(gold_path, copy)
        last_lines = _run_dbt(["docs", "generate", "--static"], lake, copy, target, log)
    finally:
        shutil.rmtree(copy.parent)
    if not made.exists():
        raise GoldError(f"dbt wrote no documentation; its log is {log}. It said:\n" + "\n".join(last_lines))
    page.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(made, page)


_SIGNED = "main_intermediate.made_by"
_READ = "main_intermediate.int_silver_read"


def _fingerprint(lake: str) -> str:
    """Of what makes gold but silver's rows: the dbt project, DuckDB (with its time zones) and where silver lies."""
    digest = hashlib.sha256(f"{duckdb.__version__} {seen_by_duckdb(lake)}".encode())
    for path in sorted(DBT.rglob("*")):
        if path.suffix in (".sql", ".yml"):
            digest.update(f"\0{path.relative_to(DBT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def first_kept(lake: str) -> dict[str, date]:
    """The first date that silver keeps, of each contract of which days have expired."""
    if "expiries" not in table_names(lake, "audit"):
        return {}
    import_delta()
    with duckdb.connect() as connection:
        connection.execute("LOAD delta")
        if s3.is_on_s3(lake):
            s3.open_to_duckdb(connection)
        return dict(connection.execute(_FIRST_KEPT, [path_of(seen_by_duckdb(lake), "audit", "expiries")]).fetchall())


_FIRST_KEPT = "SELECT contract, max(kept_from) FROM delta_scan(?) GROUP BY contract ORDER BY contract"


def set_aside_as(gold_path: Path) -> Path:
    """Where an erasure puts a gold that has facts of expired days, until the next one has brought them over."""
    return gold_path.with_name(f"{gold_path.stem}-before-erasure{gold_path.suffix}")


def _check_bringable(old: Path, lake: str, expired: dict[str, date]) -> None:
    """Raises GoldError: what is only in there must not be replaced by what is without it, nor mixed with another's."""
    days = ", ".join(f"{contract} before {first}" for contract, first in expired.items())
    try:
        with connect(old) as gold:
            of_lake = gold.execute(_OF_LAKE).fetchall() and gold.execute(f"SELECT lake FROM {_SIGNED}").fetchall()
    except duckdb.Error as error:
        raise GoldError(
            f"{old}: cannot be read ({str(error).splitlines()[0]}), and only it has the facts of days that expired "
            f"from silver: {days}; restore it, or move it away to build gold without them"
        ) from error
    here = seen_by_duckdb(lake)
    if of_lake and of_lake != [(here,)]:
        raise GoldError(
            f"{old}: is of the lake {of_lake[0][0]}, not of {here}, from whose silver days have expired ({days}): "
            "their facts can only come from a gold of the same lake. Move it away, or use another workspace (-w)"
        )


_OF_LAKE = "SELECT 1 FROM duckdb_columns() WHERE table_name = 'made_by' AND column_name = 'lake'"


def _rewrite(gold: Path, lake: str, manifest: Path) -> None:
    """Leave out what another release's models left, and the old rows that DuckDB keeps until their room is needed."""
    nodes = json.loads(manifest.read_text("utf-8"))["nodes"].values()
    made = {(one["schema"], one["alias"]) for one in nodes if one["resource_type"] == "model"}
    with duckdb.connect(str(gold)) as connection:
        there = connection.execute(
            "SELECT table_schema, table_name, table_type FROM information_schema.tables"
        ).fetchall()
        for schema, name, kind in there:
            if (schema, name) not in made and f"{schema}.{name}" != _SIGNED:
                connection.execute(f'DROP {"VIEW" if kind == "VIEW" else "TABLE"} {schema}."{name}"')
    copy = gold.parent / "rewritten" / gold.name
    copy.parent.mkdir()
    with duckdb.connect() as connection:
        name = f'"{gold.stem}"'
        if s3.is_on_s3(lake):
            s3.open_to_duckdb(connection)
        connection.execute(f"LOAD delta; ATTACH '{gold}' AS {name} (READ_ONLY); ATTACH '{copy}' AS rewritten")
        connection.execute(f"COPY FROM DATABASE {name} TO rewritten")
    os.replace(copy, gold)


def _new_findings(fresh: Path, old: Path) -> dict[str, int]:
    """How many rows of rpt_reference_quality the old gold does not have, by finding."""
    told = "SELECT DISTINCT finding, event_id FROM main.rpt_reference_quality"
    before = set()
    if old.exists():
        # A file that is no gold, or one of a release without the report, told of nothing.
        with contextlib.suppress(duckdb.Error), duckdb.connect(str(old), read_only=True) as gold:
            before = set(gold.sql(told).fetchall())
    with duckdb.connect(str(fresh), read_only=True) as gold:
        found = set(gold.sql(told).fetchall())
    return dict(Counter(finding for finding, _ in sorted(found - before)))


def _why_from_nothing(gold_path: Path, lake: str, made_by: str, expired: dict[str, date]) -> str:
    """Why a run cannot go on from this gold; empty where it can."""
    if not gold_path.exists():
        return "there was none"
    try:
        with connect(gold_path, lake) as gold:
            if gold.sql(f"SELECT fingerprint FROM {_SIGNED}").fetchall() != [(made_by,)]:
                return "the models, DuckDB or the lake are others"
            gone = [source.removeprefix("stg_") for source in _shrunk(gold, expired)]
    except duckdb.Error as error:
        return f"the old one cannot be read: {str(error).splitlines()[0]}"
    return f"rows are gone from silver's {', '.join(gone)}" if gone else ""


def _shrunk(gold: duckdb.DuckDBPyConnection, expired: dict[str, date]) -> list[str]:
    """Staging models that have fewer rows of some batch and day than were read: nobody knows any more which facts had
    them. Days that have expired are not asked about."""
    first = {_staging(contract): day for contract, day in expired.items()}
    sources = [source for (source,) in gold.sql(f"SELECT DISTINCT source FROM {_READ} ORDER BY 1").fetchall()]
    fewer = """
        SELECT 1
        FROM (
            SELECT loaded_at, event_date, row_count FROM {read} WHERE source = '{source}' AND event_date >= '{first}'
        ) AS known
        LEFT JOIN (
            SELECT loaded_at, event_date, count(*) AS n
            FROM main_staging.{source}
            WHERE event_date >= '{first}'
            GROUP BY ALL
        ) AS there USING (loaded_at, event_date)
        WHERE coalesce(there.n, 0) < known.row_count
        LIMIT 1
    """
    return [
        source
        for source in sources
        if gold.sql(fewer.format(read=_READ, source=source, first=first.get(source, date(1900, 1, 1)))).fetchall()
    ]


def _staging(contract: str) -> str:
    """The staging model of a contract; dbt/macros/expired.sql has the same list."""
    return "stg_alert_events" if contract == "alert" else f"stg_{contract.replace('-', '_')}"


def _sign(fresh: Path, made_by: str, lake: str) -> None:
    with duckdb.connect(str(fresh)) as gold:
        says = [made_by, seen_by_duckdb(lake)]
        gold.execute(f"CREATE OR REPLACE TABLE {_SIGNED} AS SELECT ? AS fingerprint, ? AS lake", says)


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


def _run_dbt(
    words: list[str], lake: str, gold: Path, target: Path, log: Path, on_progress: Progress | None = None
) -> deque[str]:
    """Run it and tell of each node that ended; returns dbt's last warnings and errors.

    A process of its own, because dbt keeps DuckDB's file open for as long as its process lives; and a session of its
    own, so that Ctrl-C is for us to judge.
    """
    command = [
        *(sys.executable, "-c", "from dbt.cli.main import cli; cli()", "--log-format", "json"),
        *words,
        *("--project-dir", str(DBT), "--profiles-dir", str(DBT)),
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
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=env, cwd=log.parent, start_new_session=True, **pipes) as process:
        try:
            for line in process.stdout or ():
                _hear(line, last_lines, on_progress)
        except BaseException:
            process.terminate()
            raise
    return last_lines


def _hear(line: str, last_lines: deque[str], on_progress: Progress | None) -> None:
    """One line of what dbt says."""
    try:
        event = json.loads(line)
    except ValueError:
        last_lines.append(line.rstrip())
        return
    info, data = event["info"], event["data"]
    if info["level"] in ("warn", "error"):
        last_lines.append(info["msg"])
    if on_progress and info["name"] in ("LogModelResult", "LogTestResult"):
        total = data.get("total") or data.get("num_models")
        on_progress(data["index"], total, data["node_info"]["node_name"])


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
    _check_gold(gold_path)
    import_delta()
    connection = duckdb.connect(str(gold_path), read_only=True)
    connection.execute("LOAD delta; SET TimeZone = 'UTC'")
    if s3.is_on_s3(lake):
        s3.open_to_duckdb(connection)
    return connection


def _check_gold(gold_path: Path) -> None:
    if not gold_path.exists():
        raise NoGold(f"{gold_path}: no gold yet; run `grocery batch run` (or `make demo` and add `-w demo`)")


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
