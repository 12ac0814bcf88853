"""Set-up: `python -m grocery.setup`, on a bare Python (standard library only). `make setup` calls it.

`python -m grocery.setup s3a` gets as well what only some need, see EXTRAS; `make s3` calls it.

Makes <home>/venv with the pinned packages and <home>/jars with what Maven brings, side by side, and remembers what they
were made from: a second run that finds nothing changed does nothing. Registries, proxies and certificates are those of
the user's own pip and Maven configuration.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from grocery import prerequisites
from grocery.prerequisites import PROJECT

UV = "uv>=0.9"
PROFILES = ("flink", "kafka", "spark")
EXTRAS = ("s3a",)
"""Jars of 650 MB that only an s3a:// address needs."""
PACKAGE_SOURCES = ("requirements.txt", "pyproject.toml", "grocery/setup.py")
JAR_SOURCES = ("pom.xml",)
REPORT_S = 15


class SetupError(RuntimeError):
    """A step failed; the message ends with the last lines of its log."""


def home() -> Path:
    """The folder for everything that is made; the same as settings().home, which needs packages to be read."""
    return Path(os.environ.get("GROCERY_HOME") or PROJECT / ".grocery").absolute()


def fingerprint(sources: tuple[str, ...], *also: str) -> str:
    """Changes whenever one of the project's files, or one of the given values, changes."""
    digest = hashlib.sha256()
    for text in (*[(PROJECT / name).read_text() for name in sources], *also):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def stale(where: Path, python: str | None = None, extras: tuple[str, ...] = ()) -> list[str]:
    """Which parts are missing or made from something else: `packages`, `jars`, and the extras asked for.

    python: version that the packages must have been made for; None accepts any.
    """
    try:
        done = json.loads((where / "setup.json").read_text())
    except (FileNotFoundError, ValueError):
        done = {}
    parts = []
    version = python or done.get("python", "")
    if done.get("packages") != fingerprint(PACKAGE_SOURCES, version) or not (where / "venv/bin/grocery").exists():
        parts.append("packages")
    if done.get("jars") != fingerprint(JAR_SOURCES) or not all((where / "jars" / name).is_dir() for name in PROFILES):
        parts.append("jars")
    made_from = fingerprint(JAR_SOURCES)
    parts += [name for name in extras if done.get(name) != made_from or not (where / "jars" / name).is_dir()]
    return parts


def main(*extras: str) -> int:
    if unknown := set(extras) - set(EXTRAS):
        print(f"{', '.join(unknown)}: no such extra; there is {', '.join(EXTRAS)}", file=sys.stderr)
        return 2
    where = home()
    version = "{}.{}".format(*sys.version_info)
    parts = stale(where, version, extras)
    if not parts:
        return 0
    print(f"Setting up in {where}: {' and '.join(parts)}", flush=True)
    lacking = prerequisites.missing(prerequisites.checks(where))
    if lacking:
        print(f"\nBefore set-up, this machine needs:\n\n{lacking}\n\nThen again: make setup", file=sys.stderr)
        return 1
    logs = where / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with (where / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        parts = stale(where, version, extras)  # another set-up may have done it while this one waited
        makers: dict[str, Callable[[Step], None]] = {"packages": packages, "jars": jars}
        makers |= {name: partial(jars_of, profile=name) for name in extras}
        steps = [Step(part, makers[part], logs / f"setup-{part}.log") for part in parts]
        started = time.monotonic()
        failed = run_together(steps)
        remember(where, version, [step.name for step in steps if step.error is None])
    for step in failed:
        print(f"\n{step.name} failed: {step.error}\nThe whole log: {step.log}", file=sys.stderr)
    if failed:
        print("\nMend what it names, then again: make setup", file=sys.stderr)
        return 1
    print(f"Set up in {time.monotonic() - started:.0f} s." + " Next: make demo" * (not extras), flush=True)
    return 0


def remember(where: Path, version: str, parts: list[str]) -> None:
    """Note what the finished parts were made from."""
    file = where / "setup.json"
    done = json.loads(file.read_text()) if file.exists() else {}
    if "packages" in parts:
        done |= {"packages": fingerprint(PACKAGE_SOURCES, version), "python": version}
    if "jars" in parts:
        done |= {"jars": fingerprint(JAR_SOURCES)}
    done |= {name: fingerprint(JAR_SOURCES) for name in parts if name in EXTRAS}
    file.write_text(json.dumps(done, indent=2))


@dataclass
class Step:
    """One part of the set-up, with its log. doing: what it is at now."""

    name: str
    make: Callable[[Step], None]
    log: Path
    doing: str = "starting"
    error: str | None = None
    started: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        self.log.write_text("")
        try:
            self.make(self)
            self.say("done")
        except (SetupError, OSError) as error:
            self.error = str(error)
            self.say("failed")

    def say(self, doing: str) -> None:
        self.doing = doing
        print(f"  {time.monotonic() - self.started:4.0f} s  {self.name}: {doing}", flush=True)

    def command(self, doing: str, *command: str | Path, env: dict[str, str] | None = None) -> None:
        """Run one command, its output to the log. Raises SetupError with the log's end when it fails."""
        self.say(doing)
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(map(str, command))}\n")
            log.flush()
            code = subprocess.run(
                command,
                cwd=PROJECT,
                env=os.environ | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            ).returncode
        if code != 0:
            end = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise SetupError(f"{doing} ended with code {code}\n{end}")


def run_together(steps: list[Step]) -> list[Step]:
    """Run all steps at once and say how far they are; returns those that failed."""
    threads = {step.name: threading.Thread(target=step.run, daemon=True) for step in steps}
    for thread in threads.values():
        thread.start()
    while running := [step for step in steps if threads[step.name].is_alive()]:
        threads[running[0].name].join(REPORT_S)
        for step in running:
            if threads[step.name].is_alive():
                step.say(step.doing)
    return [step for step in steps if step.error is not None]


def packages(step: Step) -> None:
    """The virtual environment, from requirements.txt, with the project itself in it."""
    where = home()
    venv, python = where / "venv", where / "venv" / "bin" / "python"
    if not _same_python(python):
        shutil.rmtree(venv, ignore_errors=True)
        step.command("making the virtual environment", sys.executable, "-m", "venv", venv)
    step.command("getting uv, which installs quickly", python, "-m", "pip", "install", "--quiet", UV)
    uv = [venv / "bin" / "uv", "pip", "install", "--python", python]
    env = uv_environment(python)
    count = sum("==" in line for line in (PROJECT / "requirements.txt").read_text().splitlines())
    step.command(f"installing {count} packages", *uv, "-r", "requirements.txt", env=env)
    step.command("installing the project", *uv, "--no-deps", "--editable", ".", env=env)
    # The build leaves this in the tree; the installed copy of it is what counts.
    shutil.rmtree(PROJECT / "smart_grocery.egg-info", ignore_errors=True)
    load = "from duckdb_extensions import import_extension as load; load('delta'); load('httpfs')"
    step.command("DuckDB's extensions", python, "-c", load)
    step.command("trying the command line", python, "-c", "import grocery.cli")


def jars(step: Step) -> None:
    """One folder a class path."""
    for profile in PROFILES:
        jars_of(step, profile)


def jars_of(step: Step, profile: str) -> None:
    """The folder is made anew, so that no older jar stays in it."""
    target, fresh = home() / "jars" / profile, home() / "jars" / f"{profile}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={fresh}"]
    step.command(f"jars for {profile}", "mvn", "-q", "-B", f"-P{profile}", *goal)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def uv_environment(python: Path) -> dict[str, str]:
    """pip's own configuration, said to uv, which does not read it. What is set for uv already stays."""
    listed = subprocess.run(
        [python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    names = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "find-links": "UV_FIND_LINKS",
        "trusted-host": "UV_INSECURE_HOST",
        "cert": "SSL_CERT_FILE",
        "proxy": "ALL_PROXY",
        "timeout": "UV_HTTP_TIMEOUT",
        "default-timeout": "UV_HTTP_TIMEOUT",
    }
    env = {}
    for line in listed:
        key, _, quoted = line.partition("=")
        name = names.get(key.rpartition(".")[2])
        if name and name not in os.environ:
            values = str(ast.literal_eval(quoted)).split()
            env[name] = ("," if name == "UV_FIND_LINKS" else " ").join(values)
    if "UV_INDEX" in env or "UV_DEFAULT_INDEX" in env:
        env.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")  # as pip does: all indexes are equal
    return env


def _same_python(python: Path) -> bool:
    """Whether an environment is there that was made for this version of Python and still works."""
    try:
        said = subprocess.run(
            [python, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    return said.stdout.strip() == str(tuple(sys.version_info[:2]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
