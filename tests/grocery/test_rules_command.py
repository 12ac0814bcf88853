"""`grocery rules` as a person meets it, and the JSON Schema that editors use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from alerting.language import json_schema
from alerting.rules import parse_rules
from grocery.cli import app
from grocery.settings import PROJECT
from tests.alerting.test_rules import SOUND

runner = CliRunner()
FILES = sorted((PROJECT / "chain" / "rules").glob("*.yaml"))


def test_the_shipped_rules_are_shown_with_the_devices_they_judge():
    done = runner.invoke(app, ["rules", "check"])
    assert done.exit_code == 0
    assert "cold_chain.yaml: 11 rules, no problem" in done.stdout
    assert "freezer_too_warm, judges 15 devices" in done.stdout
    assert "warning above -15 °C for 30m" in done.stdout
    assert "warning at a rise of 3 K within 10m" in done.stdout


def test_every_problem_of_every_file_is_one_line_and_the_exit_code_says_so(tmp_path):
    wrong, sound, broken = (tmp_path / name for name in ("a.yaml", "b.yaml", "c.yaml"))
    wrong.write_text(SOUND.replace("clear_below: -16", "clear_below: -14"), "utf-8")
    sound.write_text(SOUND, "utf-8")
    broken.write_text("rules: [", "utf-8")
    done = runner.invoke(app, ["rules", "check", str(wrong), str(sound), str(broken)])
    assert done.exit_code == 1
    first, second, count = done.stderr.splitlines()
    assert first == f"{wrong}:8: clear_below (-14) must be under raise_above (-15)"
    assert second.startswith(f"{broken}:1: not YAML as expected here")
    assert count == "2 problems"


def test_a_rule_that_judges_no_device_of_the_chain_is_pointed_out(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(SOUND.replace("asset_class: freezer,", "asset_class: freezer, area: Attic,"), "utf-8")
    done = runner.invoke(app, ["rules", "check", str(file)])
    assert "too_warm, judges no device of this chain" in done.stdout
    assert done.exit_code == 0


def test_a_rule_about_a_derived_metric_judges_the_assets_it_is_derived_for(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(
        "version: 1\ntopic: alerts.queue\nrules:\n"
        "  - {alert: wait, select: {asset_class: lane, metric: estimated_wait}, raise_above: 300}\n"
        "  - {alert: short, select: {asset_class: store, metric: lanes_short}, raise_above: 0}\n",
        "utf-8",
    )
    lanes = sum(asset["asset_class"] == "lane" for asset in YAML(typ="safe").load(PROJECT / "chain" / "assets.yaml"))
    shown = runner.invoke(app, ["rules", "check", str(file)]).stdout
    assert f"wait, judges {lanes} devices" in shown
    assert "short, judges 3 devices" in shown
    assert (
        "short on store-001/lanes_short"
        in runner.invoke(app, ["rules", "show", "--asset", "store-001", str(file)]).stdout
    )


def test_a_missing_file_is_named_without_a_traceback(tmp_path):
    done = runner.invoke(app, ["rules", "check", str(tmp_path / "none.yaml")])
    assert done.exit_code == 1
    assert "none.yaml: cannot be read" in done.stderr
    assert isinstance(done.exception, SystemExit)


# ---- the rules that hold for an asset


def test_an_assets_rules_are_shown_as_its_overrides_make_them(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(
        SOUND + "    overrides:\n"
        "      - {where: {asset: s001-freezer-01}, raise_above: -13, escalate: []}\n"
        "      - {where: {store: store-002}, off: true}\n",
        "utf-8",
    )

    def shown(asset: str) -> str:
        return runner.invoke(app, ["rules", "show", "--asset", asset, str(file)]).stdout

    assert "changed here by an override\n    warning above -13 °C for 30m\n" in shown("s001-freezer-01")
    assert "critical" not in shown("s001-freezer-01")
    assert "too_warm on s001-freezer-02-t, to alerts.cold-chain\n    warning above -15 °C" in shown("s001-freezer-02")
    assert "off here, by an override" in shown("s002-freezer-01")
    assert shown("s001-cooler-01") == "No rule judges s001-cooler-01.\n"


def test_an_asset_that_is_not_in_the_chain_is_named():
    done = runner.invoke(app, ["rules", "show", "--asset", "s009-freezer-01"])
    assert done.exit_code == 1
    assert "s009-freezer-01: no asset of" in done.stderr


# ---- the schema


@pytest.fixture(scope="module")
def takes():
    """Whether the schema takes a rule file's text."""
    validator = jsonschema_rs.Draft7Validator(json.loads(runner.invoke(app, ["rules", "schema"]).stdout))
    return lambda text: validator.is_valid(YAML(typ="safe").load(text))


def test_the_schema_is_what_editors_find_beside_the_rules():
    assert json.loads((PROJECT / "chain" / "rules" / "rules.schema.json").read_text("utf-8")) == json_schema()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_shipped_rule_file_keeps_the_schema_and_names_it(file: Path, takes: Any):
    text = file.read_text("utf-8")
    assert takes(text)
    assert text.startswith("# yaml-language-server: $schema=rules.schema.json\n")


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("raise_above: -15", "raise_over: -15"),
        ("raise_above: -15", "raise_above: warm"),
        ("raise_above: -15", "raise_above: -15\n    raise_below: -30"),
        ("    raise_above: -15\n", ""),
        ("for: 30m", "for: 30"),
        ("for: 30m", "for: half an hour"),
        ("asset_class: freezer", "asset_class: fridge"),
        ("metric: temperature", "metric: [temperature, warmth]"),
        (", metric: temperature", ""),
        ("severity: critical", "severity: bad"),
        ("while: defrost", "while: sleeping"),
        ("{while: defrost, longest: 1h}", "{longest: 1h}"),
        ("{while: defrost, longest: 1h}", "{while: defrost, longest: 1h, hours: closed}"),
        ("alert: too_warm", "alert: Too warm"),
        ("labels: {team: cold}", "labels: {team: 7}"),
        ("version: 1", "version: 2"),
        ("topic: alerts.cold-chain", "topic: cold-chain"),
    ],
)
def test_what_is_no_word_of_the_language_the_schema_refuses(was: str, becomes: str, takes: Any):
    assert takes(SOUND)
    assert was in SOUND
    assert not takes(SOUND.replace(was, becomes, 1))


@pytest.mark.parametrize(
    "words",
    [
        "absent_for: 5m",
        "absent_for: {reports: 3, group: store}",
        "stuck_for: 2h",
        "rate: {rise: 3, within: 10m}",
        "raise_above: 0\n    mask: [{at: '22:00', lasts: 45m, days: mon}]",
        "raise_above: 0\n    overrides: [{where: {store: a}, absent_for: 5m}, {where: {asset: [b]}, off: true}]",
        "raise_above: 0\n    annotations: {summary: {en: Warm, de: Warm}, action: Look}",
    ],
)
def test_short_forms_that_the_language_takes_the_schema_takes_too(words: str, takes: Any):
    text = f"version: 1\ntopic: alerts.x\nrules:\n  - alert: one\n    select: {{metric: temperature}}\n    {words}\n"
    assert takes(text)
    if "overrides" not in words:
        parse_rules(text, "r.yaml")
