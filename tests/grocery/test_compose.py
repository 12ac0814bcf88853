"""docker-compose.yml is not run here, so it is held against the specification, the pins and the local stack."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from grocery.setup import PROJECT
from grocery.stack.config import broker_properties, flink_config

COMPOSE = PROJECT / "docker-compose.yml"
# What lies in another place in a container than on a laptop.
PLACES = {"controller.quorum.voters", "listeners", "advertised.listeners", "log.dirs", "listener.security.protocol.map"}


@pytest.fixture(scope="module")
def compose() -> dict:
    return YAML(typ="safe").load(COMPOSE)


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    return dict(re.match(r"([a-z0-9-]+)(?:\[[^]]*])?==([^ ;]+)", line).groups() for line in lines if "==" in line[:60])


def settings_of(service: dict) -> dict[str, str]:
    return dict(re.findall(r"-D ([\w.-]+)=(\S+)", " ".join(service["command"])))


def test_it_follows_the_compose_specification():
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_it_has_every_part_of_the_stack(compose):
    assert set(compose["services"]) == {"kafka", "jobmanager", "taskmanager", "guard", "spark", "mosquitto", "s3"}


def test_every_image_names_an_exact_version(compose):
    images = {name: service["image"] for name, service in compose["services"].items() if "build" not in service}
    assert images
    for name, image in images.items():
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+", image), f"{name}: {image}"


def test_kafkas_image_is_the_version_of_the_brokers_jars(compose):
    pom = {"": "http://maven.apache.org/POM/4.0.0"}
    version = next(
        dependency.find("version", pom).text
        for dependency in ElementTree.parse(PROJECT / "pom.xml").iterfind(".//dependency", pom)
        if dependency.find("artifactId", pom).text == "kafka_2.13"
    )
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{version}"


def test_the_s3_apis_image_is_the_version_the_tests_use(compose, pins):
    assert compose["services"]["s3"]["image"] == f"motoserver/moto:{pins['moto']}"


def test_flink_and_spark_come_from_the_pinned_packages(compose, pins):
    assert {"apache-flink", "pyspark"} <= set(pins)
    for name in ("jobmanager", "taskmanager", "spark"):
        recipe = compose["services"][name]["build"]["dockerfile_inline"]
        assert "RUN make setup" in recipe
        assert re.search(r"^FROM python:3\.1[12]-", recipe)
    assert ".grocery" in (PROJECT / ".dockerignore").read_text().splitlines()


def test_the_broker_is_configured_like_the_local_one(compose):
    lines = broker_properties(Path("/data"), 1, 2).splitlines()
    local = dict(line.split("=", 1) for line in lines)
    given = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in compose["services"]["kafka"]["environment"].items()
    }
    wanted = {key: value for key, value in local.items() if key not in PLACES}
    assert {key: given.get(key) for key in wanted} == wanted


def test_the_guard_is_called_as_its_command_line_has_it(compose):
    from grocery.cli import app

    command = compose["services"]["guard"]["command"]
    assert command[0] == "grocery"
    asked = CliRunner().invoke(app, [*command[1:], "--help"])
    assert asked.exit_code == 0
    wrong = CliRunner().invoke(app, [*command[1:], "--no-such-option"])
    assert "No such option: --no-such-option" in wrong.output


@pytest.mark.parametrize("name", ["jobmanager", "taskmanager"])
def test_flink_is_configured_like_the_local_cluster(compose, name):
    local = YAML(typ="safe").load(flink_config(Path("/home"), Path("/logs"), 1, 2, "python", ""))
    given = settings_of(compose["services"][name])
    places = {key for key in given if key.endswith(("address", "host", ".dir"))}
    assert len(given) - len(places) >= 10
    for key in given.keys() - places:
        assert given[key] == str(local[key]), key
