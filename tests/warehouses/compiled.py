"""What dbt compiles for a target, without speaking to a warehouse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from batch_jobs.gold import DBT

CLI = "from dbt.cli.main import cli; cli()"
# An incremental model asks whether its table is there. Nobody is asked; the answer is given.
ANSWERED = """
from dbt.adapters.{target}.impl import {name}Adapter as Adapter
def get_relation(self, database, schema, identifier, **others):
    if {built}:
        return self.Relation.create(database=database, schema=schema, identifier=identifier, type="table")
Adapter.get_relation = get_relation
"""


def dbt(work: Path, target: str, env: dict[str, str], *arguments: str, before: str = "") -> subprocess.CompletedProcess:
    """One command of dbt; its target folder is <work>/<target>. What this machine has set for itself is left out.

    before: Python that runs before dbt does.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith(("GROCERY_", "DBT_"))}
    paths = {"DBT_TARGET_PATH": str(work / target), "DBT_LOG_PATH": str(work / "logs")}
    command = [sys.executable, "-c", before + CLI, "--no-use-colors", *arguments]
    places = ["--target", target, "--project-dir", DBT, "--profiles-dir", DBT]
    return subprocess.run([*command, *places], env=own | paths | env, cwd=work, capture_output=True, text=True)


def compiled(work: Path, target: str, env: dict[str, str], *, built: bool) -> dict[str, str]:
    """SQL by name of every model, question and data test. built: as it is for tables that are there already."""
    before = ANSWERED.format(target=target, name=target.capitalize(), built=built)
    run = dbt(work, target, env, "compile", "--no-populate-cache", "--no-introspect", before=before)
    assert run.returncode == 0, run.stdout[-4000:]
    found = work / target / "compiled"
    return {path.stem: path.read_text("utf-8") for path in sorted(found.rglob("*.sql"))}
