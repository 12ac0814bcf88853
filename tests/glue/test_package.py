from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from glue import package
from glue.package import Package, PackageError, build, manifest, reach, read_pins
from grocery.cli import app
from grocery.setup import uv_environment
from schemas.contract import all_contracts
from tests.fixtures.added import NAME, TABLE, own_contracts, write

NAMES = ("bronze", "files", "silver", "replay", "backfill", "maintain", "erase")
get_wheels = package._download


@pytest.fixture(scope="module")
def make():
    """Builds into a folder. The wheels of others are stand-ins of one line; ours is really built."""

    def download(to: Path, environment) -> list[Path]:
        to.mkdir()
        wheels = [to / f"{name.replace('-', '_')}-{version}-py3-none-any.whl" for name, version in read_pins().items()]
        for wheel in wheels:
            wheel.write_text(wheel.name)
        return wheels[::-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(package, "_download", download)
        yield lambda to: build(to, os.environ)


@pytest.fixture(scope="module")
def made(make, tmp_path_factory) -> Package:
    return make(tmp_path_factory.mktemp("made"))


def unpacked(wheel: Path, to: Path) -> Path:
    with zipfile.ZipFile(wheel) as file:
        file.extractall(to)
    return to


def test_imports_are_followed_into_functions_and_no_further_than_the_jobs_need():
    found = reach()
    assert {"batch_jobs/silver.py", "batch_jobs/tables.py", "schemas/spark.py", "ingestion/topics.py"} <= set(
        found.modules
    )
    # Gold is dbt's, and the gate is not a batch job's: what they import has no place on Glue.
    assert not {"batch_jobs/gold.py", "ingestion/gate.py"} & set(found.modules)
    assert {"batch_jobs/quarantine.py", "batch_jobs/erasure.py"} <= set(found.modules)
    of_the_others = {"great-expectations", "jsonschema-rs", "kafka-python", "pandas", "ruamel-yaml"}
    assert set(found.packages) == of_the_others | {"cryptography", "msgspec"}  # erasure opens dead letters


def test_an_import_that_nothing_installed_has_is_named(tmp_path, monkeypatch):
    (tmp_path / "job.py").write_text("def later():\n    import nothing_has_this\n")
    monkeypatch.setattr(package, "PROJECT", tmp_path)
    with pytest.raises(PackageError, match="job.py: import nothing_has_this: no installed package has it"):
        reach(["job.py"])


def test_a_package_without_a_pinned_version_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(package, "read_pins", lambda: {"jsonschema-rs": "1", "kafka-python": "1"})
    with pytest.raises(
        PackageError,
        match="cryptography, great-expectations, msgspec, pandas, ruamel-yaml: not in glue/requirements.txt",
    ):
        build(tmp_path, os.environ)


def test_glue_gets_the_versions_that_are_tested_here():
    lines = (package.PROJECT / "requirements.txt").read_text().splitlines()
    ours = {line.split(" ")[0] for line in lines if "==" in line and not line.startswith(" ")}
    assert {f"{name}=={version}" for name, version in read_pins().items()} <= ours
    # Glue's own are never put beside them.
    assert not {"pyspark", "delta-spark", "py4j"} & set(read_pins())


def test_the_same_tree_gives_the_same_bytes_to_another_user_at_another_time(made, make, tmp_path):
    before = os.umask(0o077)
    try:
        again = make(tmp_path)
    finally:
        os.umask(before)
    assert made.wheel.read_bytes() == again.wheel.read_bytes()
    assert made.archive.read_bytes() == again.archive.read_bytes()


def test_the_archive_is_what_glue_takes_for_a_zip_of_wheels(made):
    assert made.archive.name.endswith(".gluewheels.zip")
    with zipfile.ZipFile(made.archive) as file:
        wanted = file.read("wheels/requirements.txt").decode().split()
        held = {Path(name).name for name in file.namelist() if name.endswith(".whl")}
    assert held == set(made.wheels)
    assert len(wanted) == len(held) == len(read_pins()) + 1
    assert "smart_grocery_batch==0.1.0" in wanted


def test_scripts_run_on_the_wheel_alone_and_find_every_contract(made, tmp_path):
    wheel = unpacked(made.wheel, tmp_path / "wheel")
    look = "import schemas, json; print(json.dumps([schemas.__file__, [one.name for one in schemas.all_contracts()]]))"
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    told = subprocess.run([sys.executable, "-c", look], cwd=tmp_path, env=environment, capture_output=True, check=True)
    place, names = json.loads(told.stdout)
    assert place.startswith(str(wheel))
    assert names == [one.name for one in all_contracts()]
    for script in made.scripts:
        said = subprocess.run([sys.executable, script, "--help"], cwd=tmp_path, env=environment, capture_output=True)
        assert b"--lake" in said.stdout, said.stderr


def test_a_chains_own_contracts_are_in_the_wheel(make, tmp_path, monkeypatch):
    write(tmp_path / "own")
    with own_contracts(tmp_path / "own", monkeypatch):
        wheel = unpacked(make(tmp_path / "made").wheel, tmp_path / "wheel")
    look = f"from schemas.contract import contract; print(contract('{NAME}').table)"
    own = {name: value for name, value in os.environ.items() if name != "GROCERY_SCHEMAS"} | {"PYTHONPATH": str(wheel)}
    told = subprocess.run([sys.executable, "-c", look], cwd=tmp_path, env=own, capture_output=True, text=True)
    assert told.stdout.strip() == TABLE, told.stderr


def test_a_contract_that_is_none_is_named(make, tmp_path, monkeypatch):
    write(tmp_path / "own")
    (tmp_path / "own" / NAME / "v1.json").write_text("{")
    with own_contracts(tmp_path / "own", monkeypatch), pytest.raises(PackageError, match="v1.json: cannot be read"):
        make(tmp_path / "made")


def test_the_wheel_can_be_installed_on_glues_python(made, tmp_path):
    wheel = unpacked(made.wheel, tmp_path / "wheel")
    (metadata,) = wheel.glob("*.dist-info/METADATA")
    lines = metadata.read_text().splitlines()
    assert "Requires-Python: >=3.11" in lines  # the project's own stops before 3.13, for Flink
    assert sorted(line.split("==")[0] for line in lines if line.startswith("Requires-Dist")) == [
        "Requires-Dist: cryptography",
        "Requires-Dist: great-expectations",
        "Requires-Dist: jsonschema-rs",
        "Requires-Dist: kafka-python",
        "Requires-Dist: msgspec",
        "Requires-Dist: pandas",
        "Requires-Dist: ruamel-yaml",
    ]


def test_the_manifest_alone_goes_to_stdout_and_names_everything_where_it_will_lie(made, tmp_path, monkeypatch):
    monkeypatch.setattr(package, "build", lambda *_: made)
    words = ["glue", "package", "--to", str(tmp_path), "--at", "s3://jobs/grocery/"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said == json.loads((tmp_path / "manifest.json").read_text())
    assert said["scripts"] == [f"s3://jobs/grocery/{name}.py" for name in NAMES]
    arguments = said["default_arguments"]
    assert arguments["--additional-python-modules"] == "s3://jobs/grocery/smart_grocery_batch-0.1.0.gluewheels.zip"
    assert arguments["--conf"].startswith("spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension --conf spark.")
    for name, file in said["files"].items():
        assert file["bytes"] == (made.wheel.parent / name).stat().st_size
    assert f"{len(read_pins()) + 1} wheels in the archive" in result.stderr


def test_the_manifest_says_what_it_was_made_from(made, tmp_path, monkeypatch):
    monkeypatch.setattr(package, "PROJECT", tmp_path)
    assert manifest(made, None)["made_from"] is None  # a download without git's folder
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    (tmp_path / "batch_jobs").mkdir()
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True).stdout.strip()
    assert manifest(made, None)["made_from"] == commit
    (tmp_path / "batch_jobs" / "new.py").write_text("")
    assert manifest(made, None)["made_from"] == f"{commit}+changes"


def test_a_tool_that_fails_is_named_with_what_it_said(tmp_path, monkeypatch):
    monkeypatch.setattr(package, "PINS", tmp_path / "pins.txt")
    (tmp_path / "pins.txt").write_text("nobody-made-this==0\n")
    with pytest.raises(PackageError, match=r"-m pip download … ended with code 1\n(?s:.*)nobody-made-this"):
        get_wheels(tmp_path / "wheels", os.environ | {"PIP_NO_INDEX": "1"})


@pytest.mark.system
def test_the_archive_installs_for_glues_python_without_a_registry(tmp_path, monkeypatch):
    """Gets the real wheels; resolved and unpacked for Python 3.13, which need not be here, and so not run."""
    monkeypatch.setattr(package, "_download", get_wheels)
    environment = os.environ | uv_environment(Path(sys.executable))
    made = build(tmp_path / "out", environment)
    wheels = unpacked(made.archive, tmp_path / "archive") / "wheels"
    platform = ["--python-version", package.PYTHON, "--python-platform", "x86_64-manylinux_2_28"]
    uv = [Path(sys.executable).parent / "uv", "pip", "install", "--no-index", "--no-build", "--find-links", wheels]
    done = subprocess.run(
        [*uv, *platform, "--target", tmp_path / "glue", "-r", wheels / "requirements.txt"],
        env={name: value for name, value in environment.items() if name != "UV_FIND_LINKS"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "glue" / "great_expectations").is_dir()
