"""What this machine must have before anything else works. Runs on a bare Python: standard library only.

`make setup` asks this first, `grocery doctor` shows all of it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PYTHONS = ((3, 11), (3, 12))
JAVAS = range(17, 22)
MAVEN_NEEDED = (3, 6)
GB = 1024**3
# The demo at its peak: broker, Flink cluster, Spark driver and dbt stay under 8 GB together.
MEMORY_NEEDED = 8 * 10**9
MEMORY_FREE_NEEDED = 5 * 10**9
# Packages 2 GB, their downloads 1 GB, jars 0.1 GB, and room for the stack's own 2 GB limit.
DISK_NEEDED = 6 * GB


@dataclass(frozen=True, slots=True)
class Check:
    """One thing needed. found, needed: for people. fix: how to get it, one line a system; empty when it is there."""

    name: str
    found: str
    needed: str
    ok: bool
    fix: tuple[str, ...] = ()


def checks(home: Path) -> list[Check]:
    """Everything that must be there before set-up. home: the folder that will hold what is made."""
    return [python(), java(), maven(), memory(), disk(home), folder(home)]


def python() -> Check:
    version = sys.version_info[:2]
    fix = (
        "Debian/Ubuntu: sudo apt-get install python3.11 python3.11-venv   (or 3.12)",
        "Fedora: sudo dnf install python3.12",
        "macOS: brew install python@3.12",
        "then: make setup PYTHON=python3.12",
    )
    found = platform.python_version()
    if version in PYTHONS and not _has_venv():
        found += " without its venv module"
        fix = (f"Debian/Ubuntu: sudo apt-get install python{version[0]}.{version[1]}-venv", *fix[1:])
        return Check("Python", found, "3.11 or 3.12", False, fix)
    ok = version in PYTHONS
    return Check("Python", found, "3.11 or 3.12", ok, () if ok else fix)


def java() -> Check:
    needed = f"{JAVAS[0]} to {JAVAS[-1]}"
    fix = (
        "Debian/Ubuntu: sudo apt-get install openjdk-17-jdk-headless",
        "Fedora: sudo dnf install java-21-openjdk-headless",
        "macOS: brew install openjdk@17",
        "another one is installed? Let JAVA_HOME name its folder.",
    )
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home) / "bin" / "java") if home else "java"
    said = _run(program, "-version")
    match = re.search(r'version "(?:1\.)?(\d+)[^"]*"', said or "")
    if match is None:
        return Check("Java", f"no {program}" if home else "none", needed, False, fix)
    ok = int(match[1]) in JAVAS
    return Check("Java", match[0].removeprefix("version ").strip('"'), needed, ok, () if ok else fix)


def maven() -> Check:
    needed = ".".join(map(str, MAVEN_NEEDED)) + " or newer"
    fix = (
        "Debian/Ubuntu: sudo apt-get install maven",
        "Fedora: sudo dnf install maven",
        "macOS: brew install maven",
    )
    match = re.search(r"Apache Maven (\d+)\.(\d+)[.\w-]*", _run("mvn", "-version") or "")
    if match is None:
        return Check("Maven", "none", needed, False, fix)
    ok = (int(match[1]), int(match[2])) >= MAVEN_NEEDED
    return Check("Maven", match[0].removeprefix("Apache Maven "), needed, ok, () if ok else fix)


def memory() -> Check:
    total, free = memory_bytes()
    needed = f"{MEMORY_NEEDED / 1e9:.0f} GB, {MEMORY_FREE_NEEDED / 1e9:.0f} GB of it free"
    found = f"{total / 1e9:.1f} GB" + (f", {free / 1e9:.1f} GB free" if free is not None else "")
    # A machine sold with 8 GB shows a little less.
    ok = total >= 0.9 * MEMORY_NEEDED and (free is None or free >= MEMORY_FREE_NEEDED)
    return Check("Memory", found, needed, ok, () if ok else ("Close other programs, or give the machine more memory.",))


def disk(home: Path) -> Check:
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    ok = free >= DISK_NEEDED or (home / "venv").exists() and free >= 2 * GB
    fix = () if ok else (f"Make room on the disk of {there}, or let GROCERY_HOME name a folder on another one.",)
    return Check("Disk", f"{free / GB:.1f} GB free", f"{DISK_NEEDED / GB:.0f} GB", ok, fix)


def folder(home: Path) -> Check:
    """Flink's own scripts break at a blank in a path."""
    spoilt = [str(path) for path in (PROJECT, home) if re.search(r"\s", str(path))]
    fix = () if not spoilt else ("Flink's scripts cannot read such a path: move the clone to a folder without blanks.",)
    return Check("Folder", spoilt[0] if spoilt else str(home), "no blanks in its path", not spoilt, fix)


def memory_bytes() -> tuple[int, int | None]:
    """Total memory, and what is available now (None where the system does not say); a container's limit counts."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except FileNotFoundError:  # macOS
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
    total, free = values["MemTotal"], values["MemAvailable"]
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
    except (FileNotFoundError, ValueError, PermissionError):
        return total, free
    return min(total, limit), min(free, max(0, limit - used))


def missing(found: list[Check]) -> str:
    """What is missing and how to get it, as text; empty when nothing is."""
    parts = []
    for check in found:
        if not check.ok:
            parts.append(f"{check.name}: found {check.found}, needed {check.needed}")
            parts += [f"    {line}" for line in check.fix]
    return "\n".join(parts)


def _has_venv() -> bool:
    from importlib.util import find_spec

    return find_spec("venv") is not None and find_spec("ensurepip") is not None


def _run(*command: str) -> str | None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr if done.returncode == 0 else None
