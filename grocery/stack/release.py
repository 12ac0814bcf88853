"""The code that a stack's jobs run: a copy of it, so that editing the project changes no running job, and a deploy can
put back what ran before.

All jobs of a stack run one release. In Flink's thread mode the jobs of a task manager share one Python interpreter, and
what it has imported stays imported: two releases side by side would get the modules of whichever came first.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

PACKAGES = ("alerting", "schemas", "streaming_jobs")
"""What a job imports of the project."""


def keep(project: Path, releases: Path) -> Path:
    """Copy the jobs' code as it is now into `releases`; returns its folder, named by its content.

    A second call with the same code copies nothing.
    """
    kept = releases / fingerprint(project)
    if not kept.exists():
        fresh = releases / f"{kept.name}.new-{os.getpid()}"
        for package in PACKAGES:
            shutil.copytree(project / package, fresh / package, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            fresh.rename(kept)
        except OSError:
            shutil.rmtree(fresh)
            if not kept.exists():  # else another process was quicker
                raise
    return kept


def fingerprint(project: Path) -> str:
    """Twelve hex digits that change whenever a file of the jobs' code does."""
    hashed = hashlib.sha256()
    for package in PACKAGES:
        for file in sorted((project / package).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                content = file.read_bytes()
                hashed.update(f"{file.relative_to(project)} {len(content)}\n".encode() + content)
    return hashed.hexdigest()[:12]


def use(home: Path, folder: Path) -> None:
    """Let <home>/code, which every Python process of the stack imports from first, lead to a kept release."""
    fresh = home / "code.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder, target_is_directory=True)
    os.replace(fresh, home / "code")


def used(home: Path) -> Path | None:
    """The release that is in use; None before the first."""
    code = home / "code"
    return code.resolve() if code.is_symlink() else None


def drop_others(home: Path, releases: Path) -> None:
    """Remove kept releases that are not in use."""
    for folder in releases.glob("*"):
        if folder != used(home):
            shutil.rmtree(folder, ignore_errors=True)
