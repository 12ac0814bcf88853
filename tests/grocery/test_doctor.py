from collections import namedtuple
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grocery import prerequisites
from grocery.cli import app
from grocery.settings import settings

Usage = namedtuple("Usage", "total used free")


def program(folder: Path, name: str, says: str) -> None:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
    file.chmod(0o755)


@pytest.fixture
def path(tmp_path, monkeypatch) -> Path:
    """An otherwise empty PATH with one folder for made-up programs."""
    folder = tmp_path / "bin"
    program(folder, "unused", "")
    (folder / "cat").symlink_to("/bin/cat")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


@pytest.mark.parametrize(
    ("said", "ok"),
    [
        ('openjdk version "17.0.15" 2025-04-15', True),
        ('openjdk version "21.0.2" 2024-01-16 LTS', True),
        ('openjdk version "1.8.0_402"', False),
        ('openjdk version "11.0.22" 2024-01-16', False),
        ('openjdk version "25" 2025-09-16', False),
    ],
)
def test_java_is_taken_from_17_to_21(path, said, ok):
    program(path, "java", said)
    check = prerequisites.java()
    assert check.ok is ok
    assert check.found == said.split('"')[1]


def test_a_missing_java_is_named_with_how_to_get_it(path):
    check = prerequisites.java()
    text = prerequisites.missing([check])
    assert "Java: found none, needed 17 to 21" in text
    for system in ("Debian", "Fedora", "macOS"):
        assert system in text


def test_a_wrong_java_home_is_named(path, monkeypatch):
    program(path, "java", 'openjdk version "17.0.15"')
    monkeypatch.setenv("JAVA_HOME", "/not/here")
    assert prerequisites.java().found == "no /not/here/bin/java"


def test_an_old_maven_is_refused(path):
    program(path, "mvn", "Apache Maven 3.5.4 (1edded0938998edf8bf061f1ceb3cfdeccf443fe)")
    assert not prerequisites.maven().ok
    program(path, "mvn", "Apache Maven 3.9.9 (8e8579a9e76f7d015ee5ec7bfcdc97d260186937)")
    assert prerequisites.maven() == prerequisites.Check("Maven", "3.9.9", "3.6 or newer", True)


def test_other_pythons_are_refused(monkeypatch):
    monkeypatch.setattr(prerequisites.sys, "version_info", (3, 13, 0))
    assert not prerequisites.python().ok
    assert "python3.11-venv" in prerequisites.missing([prerequisites.python()])


def test_a_python_without_venv_is_told_which_package_brings_it(monkeypatch):
    monkeypatch.setattr(prerequisites.sys, "version_info", (3, 12, 4))
    monkeypatch.setattr(prerequisites, "_has_venv", lambda: False)
    assert "sudo apt-get install python3.12-venv" in prerequisites.missing([prerequisites.python()])


def test_too_little_disk_names_the_disk_and_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(prerequisites.shutil, "disk_usage", lambda _: Usage(10**11, 10**11, 10**9))
    text = prerequisites.missing([prerequisites.disk(tmp_path / "not" / "there")])
    assert "0.9 GB free" in text
    assert str(tmp_path) in text
    assert "GROCERY_HOME" in text


@pytest.mark.parametrize(
    ("total", "free", "ok"),
    [(16e9, 12e9, True), (7.8e9, 6e9, True), (4e9, 3e9, False), (16e9, 2e9, False), (16e9, None, True)],
)
def test_memory_counts_what_is_free_too(monkeypatch, total, free, ok):
    monkeypatch.setattr(prerequisites, "memory_bytes", lambda: (total, free))
    assert prerequisites.memory().ok is ok


def test_a_blank_in_the_path_is_refused_because_flink_breaks_at_it():
    assert not prerequisites.folder(Path("/home/me/my projects/.grocery")).ok


def test_doctor_lists_everything_and_fails_when_something_is_missing(path, tmp_path, monkeypatch):
    monkeypatch.setenv("GROCERY_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    try:
        result = CliRunner().invoke(app, ["doctor"])
    finally:
        settings.cache_clear()
    assert result.exit_code == 1
    for name in ("Python", "Java", "Maven", "Memory", "Disk", "Folder", "Set-up"):
        assert name in result.output
    assert "make setup" in result.output
