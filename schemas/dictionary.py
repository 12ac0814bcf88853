"""The data dictionary: every contract, every table that analysts query, and their columns, on one page for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from schemas.contract import Contract

HEAD = """\
# Data dictionary

Generated from `schemas/` and `dbt/models/marts/` by `grocery contracts generate`; change a contract or a model's
description, not this page. First the events as they come in, by contract; then [gold](#gold), what analysts query.

An event has the columns of its contract and no others. In the lake, `silver.<table>` has the same columns, typed, and
after them `topic`, `topic_id`, `partition` and `offset` (which record it came from), `arrived_at`, `loaded_at`,
`run_id` and `event_date` (UTC, the partition). Units are UCUM codes. Money is in minor units of the row's currency.
Instants are UTC. Lateness and retention are ISO 8601 durations.
"""

GOLD_HEAD = """\

# Gold

Tables that dbt builds from silver. `dim_` describes what there is, a row a version; `fct_` tells what happened; `rpt_`
answers a question. Columns that end in `_utc` are UTC instants; `business_date` and `local_hour` are the store's own.
Money is in whole units of the row's currency. `key` is what no two rows share. A type is that of the local target;
other warehouses have their own names for it.
"""

_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
_TYPES |= {"date-time": "instant", "date": "date"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One column, or a field inside one. name: with its path, e.g. `lines[].gtin`; must: yes, empty, or the versions in
    which it must be there; limits: in words, may be empty."""

    name: str
    type: str
    must: str
    description: str
    limits: str


def dictionary(contracts: tuple[Contract, ...]) -> str:
    """The page, in Markdown."""
    rows = "\n".join(
        f"| [{c.name}](#{c.name}) | {_numbers(c)} | `{c.topic}` | {', '.join(c.key_fields)} "
        f"| {c.max_lateness} | {c.retention} |"
        for c in contracts
    )
    index = f"| contract | version | topic | key | lateness at most | kept for |\n|---|---|---|---|---|---|\n{rows}\n"
    return "\n".join([HEAD, index, *(_page(contract) for contract in contracts)])


def marts(models: Iterable[dict[str, Any]]) -> str:
    """The part of the page that tells of dbt's marts, in Markdown.

    models: as dbt's yml files have them: name, description (its first sentence is the grain), columns, data_tests.
    """
    listed = sorted(models, key=lambda model: model["name"])
    rows = "\n".join(
        f"| [{m['name']}](#{m['name']}) | {_escaped(_grain(m))} | {', '.join(f'`{name}`' for name in _key(m))} |"
        for m in listed
    )
    index = f"| table | what it has | key |\n|---|---|---|\n{rows}\n"
    return "\n".join([GOLD_HEAD, index, *(_mart(model) for model in listed)])


def entries(contract: Contract) -> Iterator[Entry]:
    """Every column of the contract, those inside others after them. What only some of its versions say is told with
    their number."""
    by_version = {one.version: {entry.name: entry for entry in _entries(one.schema, "")} for one in contract.versions}
    for name, newest in by_version[contract.version].items():
        if len(by_version) == 1:
            yield newest
        elif name == "schema_version":
            yield replace(newest, limits=f"one of {_numbers(contract)}")
        else:
            yield _of_all(newest, {number: found.get(name) for number, found in by_version.items()})


def _of_all(newest: Entry, by_version: dict[int, Entry | None]) -> Entry:
    """One column, as each version has it; None of one that has it not."""
    must = [number for number, entry in by_version.items() if entry and entry.must]
    limits = [newest.limits] if newest.limits else []
    for number, entry in by_version.items():
        if entry is None:
            limits.append(f"not in version {number}")
        elif entry.limits != newest.limits:
            limits.append(f"in version {number}: {entry.limits or 'any'}")
    every = len(must) == len(by_version)
    return replace(newest, must="yes" if every else _in_versions(must), limits="; ".join(limits))


def rules(contract: Contract) -> Iterator[str]:
    """What holds between columns, a sentence each. What only some of its versions say begins with their number."""
    by_version = {one.version: list(_rules(one.schema, "")) for one in contract.versions}
    for rule in dict.fromkeys(rule for found in reversed(by_version.values()) for rule in found):
        saying = [number for number, found in by_version.items() if rule in found]
        yield rule if len(saying) == len(by_version) else f"{_in_versions(saying)}: {rule}"


def _numbers(contract: Contract) -> str:
    return ", ".join(str(one.version) for one in contract.versions)


def _in_versions(numbers: list[int]) -> str:
    """`in version 2`, `in version 2 and 3`; empty for none."""
    return f"in version {_listed([*map(str, numbers)])}" if numbers else ""


def _page(contract: Contract) -> str:
    rows = [f"\n## {contract.name}\n\n{contract.description}\n"]
    if between := list(rules(contract)):
        rows += [*(f"- {_escaped(rule)}" for rule in between), ""]
    rows += ["| column | type | must | what it is |", "|---|---|---|---|"]
    for entry in entries(contract):
        text = f"{entry.description} ({entry.limits})" if entry.limits else entry.description
        rows.append(f"| `{entry.name}` | {entry.type} | {entry.must} | {_escaped(text)} |")
    return "\n".join(rows) + "\n"


def _mart(model: dict[str, Any]) -> str:
    rows = [f"\n## {model['name']}\n\n{_one_line(model['description'])}\n"]
    rows += ["| column | type | what it is |", "|---|---|---|"]
    for column in model.get("columns", ()):
        text = _escaped(_one_line(column.get("description", "")))
        rows.append(f"| `{column['name']}` | {column.get('data_type', '')} | {text} |")
    return "\n".join(rows) + "\n"


def _grain(model: dict[str, Any]) -> str:
    return re.split(r"(?<=\.)\s|: ", _one_line(model["description"]), maxsplit=1)[0].rstrip(".")


def _key(model: dict[str, Any]) -> list[str]:
    """Columns of the first test that no two rows share them."""
    for test in model.get("data_tests", ()):
        if "unique_combination" in test:
            return test["unique_combination"]["arguments"]["columns"]
    return []


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _entries(schema: dict[str, Any], prefix: str) -> Iterator[Entry]:
    for name, field in schema["properties"].items():
        must = "yes" if name in schema.get("required", []) else ""
        yield Entry(f"{prefix}{name}", _type(field), must, field.get("description", ""), "; ".join(_limits(field)))
        if "properties" in field:
            yield from _entries(field, f"{prefix}{name}.")
        elif field["type"] == "array" and "properties" in field["items"]:
            yield from _entries(field["items"], f"{prefix}{name}[].")


def _type(field: dict[str, Any]) -> str:
    if field["type"] == "object":
        return "object" if "properties" in field else "map of texts"
    if field["type"] == "array":
        return f"list of {_type(field['items'])}s"
    return _TYPES[field.get("format", field["type"])]


def _limits(field: dict[str, Any]) -> Iterator[str]:
    if "const" in field:
        yield f"always {field['const']}"
    if "enum" in field:
        yield "one of " + ", ".join(f"`{value}`" for value in field["enum"])
    if "pattern" in field and "format" not in field:
        yield f"like `{field['pattern']}`"
    for keyword, words in (
        ("minimum", "at least {}"),
        ("exclusiveMinimum", "above {}"),
        ("maximum", "at most {}"),
        ("maxLength", "up to {} characters"),
        ("minItems", "at least {} of them"),
    ):
        if keyword in field:
            yield words.format(field[keyword])
    if "minLength" in field:
        yield "not empty"
    if kind := field.get("x-asset"):
        yield "names an asset" if kind == "any" else f"names an asset of class {kind}"
    if "x-unit" in field:
        yield f"unit {field['x-unit']}"
    if field.get("x-pii", "none") != "none":
        yield f"personal data: {field['x-pii']}"


def _rules(schema: dict[str, Any], prefix: str) -> Iterator[str]:
    for part in schema.get("allOf", []):
        if "anyOf" in part:
            yield f"{_either(prefix, part['anyOf'])} is there"
            continue
        tests = part["if"]["properties"].items()
        where = " and ".join(f"`{prefix}{name}` is {' or '.join(_values(test))}" for name, test in tests)
        needed, limited = part["then"].get("required", []), part["then"].get("properties", {})
        said = [f"{_listed(_ticked(prefix, needed))} must be there"] if needed else []
        if "anyOf" in part["then"]:
            said.append(f"{_either(prefix, part['then']['anyOf'])} must be there")
        said += [f"`{prefix}{name}` is {' and '.join(_limits(limits))}" for name, limits in limited.items()]
        yield f"where {where}: {', '.join(said)}"
    for name, others in schema.get("dependencies", {}).items():
        yield f"`{prefix}{name}` only together with {_listed(_ticked(prefix, others))}"
    for name, field in schema["properties"].items():
        if "properties" in field:
            yield from _rules(field, f"{prefix}{name}.")
        elif field["type"] == "array" and "properties" in field["items"]:
            yield from _rules(field["items"], f"{prefix}{name}[].")


def _values(test: dict[str, Any]) -> list[str]:
    return [
        str(value).lower() if isinstance(value, bool) else str(value) for value in test.get("enum") or [test["const"]]
    ]


def _either(prefix: str, branches: list[dict[str, Any]]) -> str:
    return " or ".join(" and ".join(_ticked(prefix, branch["required"])) for branch in branches)


def _ticked(prefix: str, names: list[str]) -> list[str]:
    return [f"`{prefix}{name}`" for name in names]


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
