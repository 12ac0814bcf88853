"""`grocery rules check` as a person meets it."""

from __future__ import annotations

from typer.testing import CliRunner

from grocery.cli import app
from tests.alerting.logs import RULES

runner = CliRunner()


def test_the_shipped_rules_are_shown_with_the_devices_they_judge():
    done = runner.invoke(app, ["rules", "check"])
    assert done.exit_code == 0
    assert "cold_chain.yaml: 11 rules, no problem" in done.stdout
    assert "freezer_too_warm, judges 15 devices" in done.stdout
    assert "warning above -15 Cel for 30m" in done.stdout


def test_every_problem_is_one_line_and_the_exit_code_says_so(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(RULES.read_text("utf-8").replace("clear_below: -16", "clear_below: -14"), "utf-8")
    done = runner.invoke(app, ["rules", "check", str(file)])
    assert done.exit_code == 1
    assert f"{file}:11: clear_below (-14) must be under raise_above (-15)" in done.stderr
    assert "1 problem" in done.stderr


def test_a_rule_that_judges_no_device_of_the_chain_is_pointed_out(tmp_path):
    file = tmp_path / "r.yaml"
    text = RULES.read_text("utf-8").replace("asset_class: freezer,", "asset_class: freezer, store: store-009,", 1)
    file.write_text(text, "utf-8")
    assert (
        "freezer_too_warm, judges no device of this chain" in runner.invoke(app, ["rules", "check", str(file)]).stdout
    )


def test_a_missing_file_is_named_without_a_traceback(tmp_path):
    done = runner.invoke(app, ["rules", "check", str(tmp_path / "none.yaml")])
    assert done.exit_code == 1
    assert "none.yaml: cannot be read" in done.stderr
    assert isinstance(done.exception, SystemExit)
