"""docs/rules.md: its examples are read as they stand, and no word of the language is missing."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent

import jsonschema_rs
import pytest
from ruamel.yaml import YAML

from alerting.language import json_schema
from alerting.rules import OWN_LABELS, PLACEHOLDERS, parse_rules

GUIDE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text("utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
SCHEMA = json_schema()


def whole(example: str) -> str:
    """A rule file of an example, which may be rules only."""
    if example.startswith("- "):
        return f"version: 1\ntopic: alerts.guide\nrules:\n{indent(example, '  ')}"
    return example


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: re.search(r"alert: (\w+)", text)[1])
def test_an_example_is_taken_by_the_language_and_by_its_schema(example: str):
    assert parse_rules(whole(example), "docs/rules.md").rules
    assert jsonschema_rs.Draft7Validator(SCHEMA).is_valid(YAML(typ="safe").load(whole(example)))


def test_every_word_of_the_language_is_explained_and_shown():
    definitions = {"RuleFile": SCHEMA} | SCHEMA["$defs"]
    words = {word for definition in definitions.values() for word in definition.get("properties", {})}
    assert len(words) > 40
    headings = " ".join(line for line in GUIDE.splitlines() if line.startswith("#"))
    assert {word for word in words if f"`{word}" not in GUIDE and not re.search(rf"\b{word}\b", headings)} == set()
    shown = "\n".join(EXAMPLES)
    assert {word for word in words if not re.search(rf"\b{word}:", shown)} == {
        "below",
        "fall",
        "device",
        "zone_kind",
    }


def test_every_placeholder_and_every_label_of_the_engine_is_listed():
    assert {name for name in PLACEHOLDERS if f"`{{{name}}}`" not in GUIDE} == set()
    assert {name for name in OWN_LABELS if f"`{name}`" not in GUIDE} == set()
