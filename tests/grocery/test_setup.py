import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from grocery import setup
from grocery.setup import PROJECT, Step


def make(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *args], cwd=PROJECT, env=os.environ | env, capture_output=True, text=True, check=False
    )


def finished(home: Path) -> Path:
    """A folder as a finished set-up leaves it."""
    (home / "venv" / "bin").mkdir(parents=True)
    (home / "venv" / "bin" / "grocery").touch()
    for profile in setup.PROFILES:
        (home / "jars" / profile).mkdir(parents=True)
    setup.remember(home, "3.11", ["packages", "jars"])
    return home


def test_set_up_needs_nothing_but_the_standard_library():
    code = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import grocery.setup, grocery.prerequisites"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


def test_everything_is_stale_before_the_first_set_up(tmp_path):
    assert setup.stale(tmp_path) == ["packages", "jars"]


def test_nothing_is_stale_after_a_set_up(tmp_path):
    assert setup.stale(finished(tmp_path), "3.11") == []


def test_another_python_makes_the_packages_stale(tmp_path):
    assert setup.stale(finished(tmp_path), "3.12") == ["packages"]


@pytest.mark.parametrize(("source", "part"), [("requirements.txt", "packages"), ("pom.xml", "jars")])
def test_a_changed_source_makes_its_part_stale(tmp_path, monkeypatch, source, part):
    project = tmp_path / "project"
    for name in (*setup.PACKAGE_SOURCES, *setup.JAR_SOURCES):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("as it was")
    monkeypatch.setattr(setup, "PROJECT", project)
    home = finished(tmp_path / "home")
    assert setup.stale(home) == []
    (project / source).write_text("changed")
    assert setup.stale(home) == [part]


def test_a_removed_environment_is_made_again(tmp_path):
    home = finished(tmp_path)
    (home / "venv" / "bin" / "grocery").unlink()
    assert setup.stale(home) == ["packages"]


def test_what_only_some_need_is_fetched_when_it_is_asked_for_and_kept_after(tmp_path):
    home = finished(tmp_path)
    assert setup.stale(home) == []
    assert setup.stale(home, extras=("s3a",)) == ["s3a"]
    (home / "jars" / "s3a").mkdir()
    assert setup.stale(home, extras=("s3a",)) == ["s3a"]  # somebody's, or half of it
    setup.remember(home, "3.11", ["s3a"])
    assert setup.stale(home, extras=("s3a",)) == []


def test_an_extra_that_is_not_there_is_named(capsys):
    assert setup.main("s4") == 2
    assert "s4: no such extra; there is s3a" in capsys.readouterr().err


def test_a_set_up_that_was_cut_off_is_not_remembered(tmp_path):
    home = finished(tmp_path)
    (home / "setup.json").write_text('{"packa')
    assert setup.stale(home) == ["packages", "jars"]


def test_a_finished_part_is_kept_when_the_other_fails(tmp_path):
    (tmp_path / "setup.json").write_text("{}")
    setup.remember(tmp_path, "3.11", ["jars"])
    assert set(json.loads((tmp_path / "setup.json").read_text())) == {"jars"}


def test_a_failing_step_shows_the_end_of_its_log(tmp_path, capsys):
    def fails(step: Step) -> None:
        step.command("asking the registry", sys.executable, "-c", "print('no route to host'); raise SystemExit(3)")

    step = Step("packages", fails, tmp_path / "log")
    assert setup.run_together([step]) == [step]
    assert "asking the registry ended with code 3" in step.error
    assert "no route to host" in step.error
    assert "packages: asking the registry" in capsys.readouterr().out


def test_steps_run_side_by_side(tmp_path):
    """Each waits for the file that the other writes, so one after the other neither would end."""

    def meet(mine: str, other: str):
        wait = (
            f"import pathlib, time; pathlib.Path({mine!r}).touch()\n"
            f"while not pathlib.Path({other!r}).exists(): time.sleep(0.01)"
        )
        return lambda step: step.command("waiting", sys.executable, "-c", wait)

    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert setup.run_together([Step("a", meet(a, b), tmp_path / "1"), Step("b", meet(b, a), tmp_path / "2")]) == []


def test_uv_is_told_what_pip_is_configured_with(tmp_path, monkeypatch):
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://packages.example/simple\nextra-index-url = https://more.example/simple\n"
        "cert = /etc/our.pem\ntrusted-host = packages.example\n"
    )
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_CERT"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("UV_INDEX", "https://mine.example/simple")
    env = setup.uv_environment(Path(sys.executable))
    assert env["UV_DEFAULT_INDEX"] == "https://packages.example/simple"
    assert env["SSL_CERT_FILE"] == "/etc/our.pem"
    assert env["UV_INSECURE_HOST"] == "packages.example"
    assert "UV_INDEX" not in env, "what the user set for uv stays as it is"


def test_make_names_a_missing_python():
    result = make("setup", "PYTHON=")
    assert result.returncode != 0
    assert "No Python 3.11 or 3.12 found" in result.stderr
    assert "make setup PYTHON=" in result.stderr


def test_make_names_a_python_that_does_not_exist():
    result = make("setup", "PYTHON=/not/here/python")
    assert result.returncode != 0
    assert "PYTHON=/not/here/python: no such program" in result.stderr


def test_a_second_set_up_says_and_does_nothing():
    if setup.stale(setup.home()):
        pytest.skip("the set-up is not current: make setup")
    result = make("--silent", "setup", f"PYTHON={setup.home() / 'venv/bin/python'}")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_make_alone_lists_the_targets():
    listed = make("--silent").stdout
    for target in ("setup", "demo", "test", "clean"):
        assert f"make {target} " in listed


def test_ci_runs_make_test():
    script = PROJECT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text()
