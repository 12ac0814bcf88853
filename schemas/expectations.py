"""What a batch of a contract's events must look like as a whole: the expectation suite, derived from the contract.

The row checks have already set aside every row that breaks its contract, so a critical expectation that fails says that
a check or a table is wrong, and nothing must be built on it. Warnings say that the batch is unusual.

Only what stands in columns of its own is checked here; the row checks see to what lies inside arrays and objects. Where
a contract has several versions, what not all of them say is expected of the rows of those that do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.contract import Contract, Field

CRITICAL, WARNING = "critical", "warning"
KEY = ("event_id", "event_date")
NOT_NULL = "expect_column_values_to_not_be_null"
_SIMPLE = {"string", "integer", "number", "boolean"}


@dataclass(frozen=True, slots=True)
class Expectation:
    """One expectation, in Great Expectations' words.

    kind: its name there, e.g. `expect_column_values_to_not_be_null`. arguments: what it takes. where: column -> values,
    a row is held against it only where all of them are so. text: what it says, for people.
    """

    kind: str
    arguments: dict[str, Any]
    severity: str
    text: str
    where: dict[str, Any] = field(default_factory=dict)

    @property
    def column(self) -> str:
        """What it is about; with a `where` not the column itself, but what a column of that name would say of these
        rows: its values for them, or, as `x required`, null only where one of them has none."""
        required = " required" if self.kind == NOT_NULL and self.where else ""
        # Spark takes a dot in a name for a way into a struct.
        return self.arguments["column"] + required + _under(self.where).replace(".", "\N{MIDDLE DOT}")


def suite(item: Contract) -> list[Expectation]:
    """Every expectation of the contract, in its columns' order; those of older versions alone come last."""
    simple = _simple(item)
    found = [
        Expectation(
            "expect_table_columns_to_match_set",
            {"column_set": [*simple, "event_date", "arrived_at"], "exact_match": False},
            CRITICAL,
            "every column of the contract is there",
        ),
        Expectation("expect_table_row_count_to_be_between", {"min_value": 1}, WARNING, "something new arrived"),
        Expectation(
            "expect_compound_columns_to_be_unique",
            {"column_list": list(KEY)},
            CRITICAL,
            "event_id, event_date: one row per event",
        ),
    ]
    versions = {one.version: list(_of_rows(one, item)) for one in reversed(item.versions)}
    for expected in versions.values():
        for one in expected:
            saying = sorted(number for number, others in versions.items() if one in others)
            if len(saying) < len(versions):
                one = _only(one, saying)
            if one not in found:
                found.append(one)
    return found


def _simple(item: Contract) -> dict[str, Field]:
    return {one.name: one for one in item.fields if one.schema["type"] in _SIMPLE}


def _of_rows(version: Contract, item: Contract) -> Iterator[Expectation]:
    """What this version of the item says of its rows."""
    simple = _simple(version)
    for name, one in simple.items():
        if one.required:
            yield _not_null(name)
        schema = one.schema
        if name == "schema_version" and len(item.versions) > 1:
            schema = {"enum": [known.version for known in item.versions]}
        yield from _values(name, schema)
    for part in version.schema.get("allOf", []):
        if "if" in part:
            yield from _conditional(part, simple)


def _only(one: Expectation, versions: list[int]) -> Expectation:
    """The same, of the rows of these versions."""
    where = one.where | {"schema_version": versions}
    text = one.text.removesuffix(_under(one.where)) + _under(where)
    return replace(one, where=where, text=text)


def _not_null(name: str, where: dict[str, Any] | None = None) -> Expectation:
    text = f"{name}: always there{_under(where or {})}"
    return Expectation(NOT_NULL, {"column": name}, CRITICAL, text, where or {})


def _values(name: str, schema: dict[str, Any], where: dict[str, Any] | None = None) -> Iterator[Expectation]:
    """What one column's values must be like; null passes. Instants and dates are typed already: no pattern for them."""
    where = where or {}
    under = _under(where)

    def expect(kind: str, arguments: dict[str, Any], text: str) -> Expectation:
        return Expectation(kind, {"column": name} | arguments, CRITICAL, f"{name}: {text}{under}", where)

    if (values := _allowed(schema)) is not None:
        text = ", ".join(map(str, values)) if len(values) < 5 else f"one of {len(values)} values"
        yield expect("expect_column_values_to_be_in_set", {"value_set": values}, text)
    if limits := _limits(schema):
        low, high = limits.get("min_value"), limits.get("max_value")
        bounds = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
        yield expect("expect_column_values_to_be_between", limits, ", ".join(bounds))
    if "maxLength" in schema:
        most = schema["maxLength"]
        yield expect("expect_column_value_lengths_to_be_between", {"max_value": most}, f"at most {most} characters")
    if "pattern" in schema and "format" not in schema:
        yield expect("expect_column_values_to_match_regex", {"regex": schema["pattern"]}, f"like {schema['pattern']}")


def _allowed(schema: dict[str, Any]) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _limits(schema: dict[str, Any]) -> dict[str, Any]:
    names = {"minimum": "min_value", "maximum": "max_value", "exclusiveMinimum": "min_value"}
    found = {ours: schema[theirs] for theirs, ours in names.items() if theirs in schema}
    if "exclusiveMinimum" in schema:
        found["strict_min"] = True
    return found


def _conditional(part: dict[str, Any], simple: dict[str, Field]) -> Iterator[Expectation]:
    """An `if` on columns' values, `then` what must be there and within which limits."""
    tests = part["if"]["properties"]
    if not tests.keys() <= simple.keys():
        return
    where = {name: _allowed(test) for name, test in tests.items()}
    for name in part["then"].get("required", []):
        if name in simple:
            yield _not_null(name, where)
    for name, schema in part["then"].get("properties", {}).items():
        if name in simple:
            yield from _values(name, schema, where)


def _under(where: dict[str, Any]) -> str:
    if not where:
        return ""
    return " where " + " and ".join(f"{name} is {' or '.join(map(str, values))}" for name, values in where.items())
