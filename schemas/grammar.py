"""What a contract may say: the part of JSON Schema draft-07 and the annotations that every derivation covers.

Held against each contract when it is read, so that nothing is passed over in silence: a keyword that one derivation
knows and another does not would let through here what is refused there.

    type, const, enum, pattern (its `$` the end of the text), format (with a pattern beside it), minimum, maximum,
    exclusiveMinimum, minLength (1: not empty), maxLength, minItems, properties, required, dependencies on fields,
    additionalProperties (false, or texts: a map), items, allOf of if/then and of anyOf-required, also within then.

    A field's name is letters, digits and `_`, and of the whole none that silver has for itself: LINEAGE, EVENT_DATE.

    Of the whole: x-topic; x-key, fields joined to the record's key; x-kind; x-event-time; x-max-lateness and
    x-retention, ISO 8601 durations; and, where it can be said, x-fresh-within, another: how old a store's newest event
    may be while all is well, nights and days of rest included. Of a field: x-unit, UCUM; x-pii, none, pseudonymous or
    direct; x-pseudonym-of, the name under which the plain value comes in, which the gate replaces by this field's keyed
    hash; x-asset, the class of the asset that it names, or `any`, which the gate looks up; x-encrypted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

ENVELOPE = ("event_id", "event_time", "store_id", "schema_version")
"""What every event has."""
KINDS = ("event", "derived", "reference", "dead-letter")
LINEAGE = {
    "topic": "string",
    "topic_id": "string",
    "partition": "integer",
    "offset": "long",
    "arrived_at": "timestamp",
    "loaded_at": "timestamp",
    "run_id": "string",
}
"""Columns of the lake's own that stand beside a contract's in silver, with Spark's types: where a row comes from."""
EVENT_DATE = "event_date"
"""Another: what silver is partitioned by."""
LEFT_TO_CONTRACTS = "topic"
"""Of those the one that silver does without where a contract has such a field itself, from its first version on."""
_OF_SILVER = {*LINEAGE, EVENT_DATE} - {LEFT_TO_CONTRACTS}
PSEUDONYM = re.compile(r"\^([a-z]+)_\[0-9a-f\]\{32\}\$")
"""The pattern of a keyed hash; the word is its kind."""
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""What Delta, Athena and Redshift all take for a column without quoting; they know no capitals."""
# Annotation of the whole contract -> what it must look like.
_SAID: dict[str, re.Pattern[str]] = {
    "description": re.compile(r".+", re.DOTALL),
    "x-topic": re.compile(r"[a-z][a-z0-9.-]*\*?"),
    "x-key": re.compile(r"[a-z_]+(,[a-z_]+)*"),
    "x-kind": re.compile("|".join(KINDS)),
    "x-event-time": re.compile("event_time"),
    "x-max-lateness": re.compile(r"P(?=.)(\d+D)?(T(?=.)(\d+H)?(\d+M)?)?"),
    "x-retention": re.compile(r"P\d+D"),
}
_MAY_SAY = {"x-fresh-within": _SAID["x-max-lateness"]}
_TOP = {"$schema", "$id", "title", *_SAID, *_MAY_SAY}
_WORDS = {
    "any": {"type", "description", "x-pii", "x-unit"},
    "string": {
        *("const", "enum", "pattern", "format", "maxLength", "minLength"),
        *("x-pseudonym-of", "x-asset", "x-encrypted"),
    },
    "integer": {"const", "minimum", "maximum", "exclusiveMinimum"},
    "number": {"minimum", "maximum", "exclusiveMinimum"},
    "boolean": {"const"},
    "array": {"items", "minItems"},
    "object": {"properties", "required", "additionalProperties", "allOf", "dependencies"},
}

Schema = dict[str, Any]


def faults(name: str, version: int, schema: Any) -> Iterator[str]:
    """What is wrong with a contract, each as `field: fault`; nothing where it can be derived from.

    name: of its folder. version: the number in its file's name.
    """
    if not _NAME.fullmatch(name):
        yield f"{name}: a contract's name is small letters, digits and single hyphens"
    if not isinstance(schema, dict) or schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
        yield f"{name}: an object with properties is expected"
        return
    for word, like in _SAID.items():
        if not like.fullmatch(str(schema.get(word, ""))):
            yield f"{name}: {word} must be given, like {like.pattern}"
    for word, like in _MAY_SAY.items():
        if word in schema and not like.fullmatch(str(schema[word])):
            yield f"{name}: {word} must be like {like.pattern}"
    inner = list(_object(schema, name, _TOP))
    yield from inner
    if inner:
        return
    fields, required = schema["properties"], set(schema["required"])
    for field in ENVELOPE:
        if field not in fields or field not in required:
            yield f"{name}.{field}: every event has it; declare and require it"
    if missing := {*str(schema.get("x-key")).split(",")} - required:
        yield f"{name}: x-key names {', '.join(sorted(missing))}, which must be required"
    if fields.get("schema_version", {}).get("const") != version:
        yield f"{name}.schema_version: its const must be {version}, as the file's name says"
    if fields.get("event_time", {}).get("format") != "date-time":
        yield f"{name}.event_time: its format must be date-time"
    for field in fields:
        if field.lower() in _OF_SILVER:
            yield f"{name}.{field}: silver has a column {field.lower()} of its own beside the contract's; rename it"
    yield from _persons(name, schema)


def _persons(name: str, schema: Schema) -> Iterator[str]:
    """Plain ids of persons come in through a pseudonym alone."""
    fields = schema["properties"]
    for field, about in fields.items():
        plain = about.get("x-pseudonym-of")
        if plain in fields:
            yield f"{name}.{field}: x-pseudonym-of {plain}, which is a field too, so it would be kept in plain"
        if plain and not PSEUDONYM.fullmatch(about.get("pattern", "")):
            yield f"{name}.{field}: x-pseudonym-of needs a pattern like ^cust_[0-9a-f]{{32}}$"
    if schema.get("x-kind") == "event":
        for at, about in _all_fields(schema, name):
            if about.get("x-pii") == "direct":
                yield f"{at}: direct personal data would be kept in plain; declare its hash with x-pseudonym-of"
            if "x-pseudonym-of" in about and at.count(".") + at.count("[") > 1:
                yield f"{at}: x-pseudonym-of works on a field of the event itself, not inside another"


def _all_fields(schema: Schema, at: str) -> Iterator[tuple[str, Schema]]:
    for name, field in schema.get("properties", {}).items():
        yield f"{at}.{name}", field
        yield from _all_fields(field, f"{at}.{name}")
        yield from _all_fields(field.get("items", {}), f"{at}.{name}[]")


def _object(schema: Schema, at: str, extra: set[str] = frozenset()) -> Iterator[str]:
    """One object, array or value, and what lies in it."""
    kind = schema.get("type")
    if kind not in _WORDS or kind == "any":
        yield f"{at}: type must be one of {', '.join(word for word in _WORDS if word != 'any')}"
        return
    yield from (f"{at}: {word} is not known" for word in sorted(schema.keys() - _WORDS["any"] - _WORDS[kind] - extra))
    if "format" in schema and not (schema["format"] in ("date-time", "date") and "pattern" in schema):
        yield f"{at}: format must be date-time or date, with a pattern beside it"
    if kind == "array":
        if "items" not in schema:
            yield f"{at}: items must be given"
        else:
            yield from _object(schema["items"], f"{at}[]")
    if kind == "object":
        wanted = False if "properties" in schema else {"type": "string"}
        if schema.get("additionalProperties") != wanted:
            yield f"{at}: additionalProperties must be false, or without properties a map of texts"
        if "properties" in schema and "required" not in schema:
            yield f"{at}: required must be given, if only as []"
        yield from _between(schema, at)
    names: dict[str, str] = {}
    for name, field in schema.get("properties", {}).items():
        if not _FIELD.fullmatch(name):
            yield f"{at}.{name}: a field's name is letters, digits and _, a letter first; rename it"
        if (other := names.setdefault(name.lower(), name)) != name:
            yield f"{at}.{name}: is the same column as {other}, which knows no capitals; rename one"
        yield from _object(field, f"{at}.{name}")


def _between(schema: Schema, at: str) -> Iterator[str]:
    """What holds between fields; each must be one of the object's."""
    fields = schema.get("properties", {})
    named = [*schema.get("required", [])]
    for name, others in schema.get("dependencies", {}).items():
        named += [name, *others]
    for part in schema.get("allOf", []):
        if part.keys() not in ({"anyOf"}, {"if", "then"}):
            yield f"{at}: allOf of {' and '.join(sorted(part))}; if and then, or anyOf are known"
            continue
        for branch in [*part.get("anyOf", []), *part.get("then", {}).get("anyOf", [])]:
            if branch.keys() != {"required"}:
                yield f"{at}: anyOf of {' and '.join(sorted(branch))}; required alone is known"
            named += branch.get("required", [])
        if "if" in part:
            tests, then = part["if"].get("properties", {}), part["then"]
            if set(part["if"].get("required", [])) != tests.keys():
                yield f"{at}: an if must require what it tests, or it holds where the field is missing"
            if any(test.keys() not in ({"const"}, {"enum"}) for test in tests.values()):
                yield f"{at}: an if tests by const or by enum"
            if not then.keys() <= {"required", "properties", "anyOf"}:
                yield f"{at}: then of {' and '.join(sorted(then))}; required, properties and anyOf are known"
            named += [*tests, *then.get("required", []), *then.get("properties", {})]
    if unknown := set(named) - fields.keys():
        yield f"{at}: {', '.join(sorted(unknown))} is named in a rule, but is no field"
