"""What a Glue or EMR job needs with it: a wheel of the batch jobs, and an archive of it with all wheels it depends on.

Which of our modules, and which packages of others, is found by following the imports of the entry scripts. What Glue
6.0 has itself (Spark, Delta) is left out; all others have their versions in glue/requirements.txt. uv builds the wheel
from the working tree. The same tree gives the same bytes: times and modes are fixed, and the order is by name.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import packages_distributions
from pathlib import Path

from schemas.contract import MORE, BadContract, all_contracts

PROJECT = Path(__file__).resolve().parent.parent
PINS = PROJECT / "glue" / "requirements.txt"
SCRIPTS = tuple(f"glue/{name}.py" for name in ("bronze", "files", "silver", "replay", "backfill", "maintain", "erase"))
PYTHON = "3.13"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
"""Glue 6.0's Python, and what its workers' Linux can load."""
PROVIDED = frozenset({"boto3", "botocore", "delta-spark", "py4j", "pyarrow", "pyspark"})
"""Glue 6.0 has them, Spark and Delta at the versions of pyproject.toml. PyArrow is what Spark speaks to Python with:
any version that Spark takes will do; boto3 is AWS' own, on EMR too."""
LOOKED_AT_HERE = frozenset({"batch_jobs.gold", "duckdb", "duckdb_extensions"})
"""What a laptop lists quarantine and reads gold with: imported where it is used, and no job uses it."""
ROOMS = ("batch_jobs", "glue", "ingestion", "schemas")
NAME = "smart-grocery-batch"
_STAMP = (1980, 1, 1, 0, 0, 0)  # the first moment a zip can name
_PYPROJECT = """\
[build-system]
requires = ["setuptools>=80"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "{version}"
description = "Smart Grocery's batch jobs, for AWS Glue and EMR."
requires-python = ">=3.11"
dependencies = {dependencies}

[tool.setuptools]
packages = {packages}

[tool.setuptools.package-data]
"*" = ["**/*.json"]
"""


class PackageError(ValueError):
    """The package cannot be made; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What the entry scripts import, directly or through others. modules: our files, scripts left out, by path.

    packages: distributions of others, by name, without what Glue provides.
    """

    modules: tuple[str, ...]
    packages: tuple[str, ...]


@dataclass(slots=True)
class Package:
    """What was built, in one folder. wheels: name -> bytes, of all in the archive, ours included."""

    scripts: list[Path]
    wheel: Path
    archive: Path
    wheels: dict[str, int] = field(default_factory=dict)


def reach(scripts: Collection[str] = SCRIPTS) -> Reach:
    """Follow the imports, those within functions too. Raises PackageError for one that nothing installed gives."""
    owners = packages_distributions()
    waiting, modules, packages = list(scripts), set(), set()
    while waiting:
        path = waiting.pop()
        if path in modules:
            continue
        modules.add(path)
        for name in _imports((PROJECT / path).read_text("utf-8")):
            if name in LOOKED_AT_HERE:
                continue
            room = name.partition(".")[0]
            if room in ROOMS:
                waiting += _files(name)
            elif room not in sys.stdlib_module_names:
                if room not in owners:
                    raise PackageError(f"{path}: import {name}: no installed package has it; run `make setup`")
                packages.update(_canonical(one) for one in owners[room])
    return Reach(tuple(sorted(modules.difference(scripts))), tuple(sorted(packages - PROVIDED)))


def build(to: Path, environment: Mapping[str, str], progress: Callable[[str], None] = lambda _: None) -> Package:
    """Build into this folder, over what an earlier build left.

    environment: of uv and pip, which get from the registry what is not in their caches. progress: told what is done.
    Raises PackageError where uv or pip fails; the message ends with what they said.
    """
    found, pins = reach(), read_pins()
    if unpinned := [name for name in found.packages if name not in pins]:
        raise PackageError(f"{', '.join(unpinned)}: not in {PINS.relative_to(PROJECT)}; its head says how to make it")
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="grocery-glue-") as scratch:
        progress("Building the wheel")
        built = _build_wheel(found, pins, Path(scratch), environment)
        progress(f"Getting {len(pins)} wheels for Python {PYTHON}")
        others = _download(Path(scratch) / "wheels", environment)
        progress("Writing the archive")
        wheel = to / built.name
        shutil.copyfile(built, wheel)
        archive = to / f"{built.name.split('-py3')[0]}.gluewheels.zip"  # Glue goes by this ending
        wheels = sorted([built, *others], key=lambda path: path.name)
        _zip(archive, wheels)
        result = Package([], wheel, archive, {one.name: one.stat().st_size for one in wheels})
    for script in SCRIPTS:
        result.scripts.append(Path(shutil.copyfile(PROJECT / script, to / Path(script).name)))
    return result


def manifest(made: Package, at: str | None) -> dict:
    """What to give a job, once the files lie at this address (`s3://bucket/folder`), what they are, and made from what.

    at: None leaves the bare names.
    """
    from batch_jobs.session import JOB_SETTINGS, as_conf

    at = at.rstrip("/") + "/" if at else ""
    return {
        "glue_version": "6.0",
        "python": PYTHON,
        "made_from": _state(),
        "scripts": [at + one.name for one in made.scripts],
        "default_arguments": {
            "--additional-python-modules": at + made.archive.name,
            "--python-modules-installer-option": "--no-index",
            "--datalake-formats": "delta",
            "--conf": as_conf(JOB_SETTINGS),
        },
        "files": {
            one.name: {"bytes": one.stat().st_size, "sha256": hashlib.sha256(one.read_bytes()).hexdigest()}
            for one in (*made.scripts, made.wheel, made.archive)
        },
        "wheels": made.wheels,
    }


def read_pins() -> dict[str, str]:
    """name -> version, of glue/requirements.txt."""
    lines = (line.strip() for line in PINS.read_text("utf-8").splitlines())
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def _imports(source: str) -> set[str]:
    """Modules that the source imports at run time: what stands under `if TYPE_CHECKING` is not."""
    found: set[str] = set()

    class Visitor(ast.NodeVisitor):
        def visit_If(self, node: ast.If) -> None:  # noqa: N802
            if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
                self.generic_visit(node)

        def visit_Import(self, node: ast.Import) -> None:  # noqa: N802
            found.update(one.name for one in node.names)

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:  # noqa: N802
            found.add(node.module)
            found.update(f"{node.module}.{one.name}" for one in node.names)  # a module too, or a name in it

    Visitor().visit(ast.parse(source))
    return found


def _files(module: str) -> list[str]:
    """The module's file and those of the packages it lies in; none for a name that is no module."""
    parts = module.split(".")
    packages = ["/".join([*parts[: n + 1], "__init__.py"]) for n in range(len(parts))]
    return [path for path in (*packages, "/".join(parts) + ".py") if (PROJECT / path).is_file()]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _state() -> str | None:
    """The commit, with `+changes` where the working tree is not what it says; None without git."""
    try:
        commit, changes = (
            subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", *ROOMS))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + "+changes" * bool(changes)


def _contracts() -> dict[str, Path]:
    """Where each version of a contract goes, and where it lies: a chain's own (GROCERY_SCHEMAS) go beside ours. Raises
    PackageError for one that is none."""
    try:
        all_contracts()
    except BadContract as error:
        raise PackageError(str(error)) from error
    folders = [PROJECT / "schemas", *(Path(more) for more in [os.environ.get(MORE)] if more)]
    found = [path for folder in folders for path in folder.glob("*/v*.json")]
    return {f"schemas/{path.parent.name}/{path.name}": path for path in sorted(found)}


def _build_wheel(found: Reach, pins: dict[str, str], scratch: Path, environment: Mapping[str, str]) -> Path:
    tree = scratch / "tree"
    for path, source in ({path: PROJECT / path for path in found.modules} | _contracts()).items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, tree / path)
        (tree / path).chmod(0o644)  # a wheel keeps the mode
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    (tree / "pyproject.toml").write_text(
        _PYPROJECT.format(
            name=NAME,
            version=project["version"],
            dependencies=[f"{name}=={pins[name]}" for name in found.packages],
            packages=sorted({str(Path(path).parent).replace("/", ".") for path in found.modules}),
        ),
        "utf-8",
    )
    # setuptools is in this environment: isolated, uv would fetch the newest one, and the bytes would follow it.
    how = ("--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", scratch / "out")
    stamped = dict(environment) | {"SOURCE_DATE_EPOCH": "315532800"}
    _run(stamped, Path(sys.executable).parent / "uv", "build", *how, tree)
    (wheel,) = (scratch / "out").glob("*.whl")
    return wheel


def _download(to: Path, environment: Mapping[str, str]) -> list[Path]:
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    target = ["--only-binary", ":all:", "--python-version", PYTHON, "--implementation", "cp", *platforms]
    pip = (sys.executable, "-m", "pip", "download")
    _run(environment, *pip, "--disable-pip-version-check", "--no-deps", "-r", PINS, "--dest", to, *target)
    return list(to.glob("*.whl"))


def _run(environment: Mapping[str, str], *words: str | Path) -> None:
    try:
        done = subprocess.run(words, env=environment, umask=0o022, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise PackageError(f"{words[0]}: not there; run `make setup`") from error
    if done.returncode:
        end = "\n".join((done.stderr or done.stdout).splitlines()[-8:])
        raise PackageError(f"{' '.join(map(str, words[:4]))} … ended with code {done.returncode}\n{end}")


def _zip(archive: Path, wheels: list[Path]) -> None:
    """Wheels are compressed already, so they are stored as they are."""
    names = "".join(f"{wheel.name.split('-')[0]}=={wheel.name.split('-')[1]}\n" for wheel in wheels)
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr(zipfile.ZipInfo("wheels/requirements.txt", _STAMP), names)
        for wheel in wheels:
            out.writestr(zipfile.ZipInfo(f"wheels/{wheel.name}", _STAMP), wheel.read_bytes())
