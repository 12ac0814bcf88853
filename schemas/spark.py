"""Spark's side of a contract: column types, parsing, and row checks that say the same as the validator.

All row checks are Spark expressions: no row leaves the JVM.

A payload is parsed once, instants and dates as text, so that their patterns can be checked. Spark's parser is lenient:
it drops fields it doesn't know, takes 5 for "5" where a text is wanted, and gives null for whatever it cannot read. So
a row counts as clean only if it has exactly as many names and texts as its typed values account for; that costs two
passes over the bytes. The few other rows are parsed again, in a way that shows everything, and each breach is named.

The newest version of a contract has the columns of all, so a row is parsed by that one; it is checked by the version
that it names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import reduce
from operator import add, and_, or_
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from schemas.contract import Contract

# JSON as RFC 8259 has it: neither NaN nor 'single quotes'.
OPTIONS = {"allowNonNumericNumbers": "false", "allowSingleQuotes": "false"}
_RAW = T.MapType(T.StringType(), T.StringType())
_TYPES = {"string": T.StringType, "integer": T.LongType, "number": T.DoubleType, "boolean": T.BooleanType}
_FORMATS = {"date-time": T.TimestampType, "date": T.DateType}
_MARK = "="
# Possessive throughout: Java neither backtracks nor recurses, however long the text.
_JSON_STRING = r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'

Schema = dict[str, Any]
Flag = tuple[Column, str]
OfField = Callable[[str], Column]


def struct_type(contract: Contract) -> T.StructType:
    """The contract's columns, in its order, all nullable; a field's description stands in its metadata as comment.

    They are those of all its versions: an older one has none that this one has not."""
    return _struct(contract.schema, typed=True)


def _struct(schema: Schema, *, typed: bool) -> T.StructType:
    return T.StructType(
        [
            T.StructField(name, _type(field, typed=typed), True, {"comment": field.get("description", "")})
            for name, field in schema["properties"].items()
        ]
    )


def _type(schema: Schema, *, typed: bool) -> T.DataType:
    """typed: instants and dates as such, else as text."""
    kind = schema["type"]
    if kind == "object":
        if "properties" in schema:
            return _struct(schema, typed=typed)
        return T.MapType(T.StringType(), _type(schema["additionalProperties"], typed=typed))
    if kind == "array":
        return T.ArrayType(_type(schema["items"], typed=typed))
    return (_FORMATS[schema["format"]] if typed and "format" in schema else _TYPES[kind])()


def parse(df: DataFrame, contract: Contract, column: str = "payload") -> DataFrame:
    """The frame with `event` (struct_type of the contract) and `raw` added, which `reasons` reads.

    Where the payload is no JSON object, or more than one, event is null. The session's time zone must be UTC.
    """
    # In brackets, so that whatever follows the object is seen too: Spark's parser stops at the end of the first value.
    bracketed = F.concat(F.lit("["), F.col(column), F.lit("]"))
    documents = F.from_json(bracketed, T.ArrayType(_struct(contract.schema, typed=False)), OPTIONS)
    raw = _let(documents, lambda found: F.when(F.size(found) == 1, found[0]))
    return df.withColumn("raw", raw).withColumn("event", _typed(contract.schema, F.col("raw")))


def reasons(contract: Contract, event: str = "event", raw: str = "raw", column: str = "payload") -> Column:
    """array<string>: each breach of a row that `parse` made, as `code:path`, empty where it keeps the contract.

    Codes are the validator's; paths are JSON pointers with `*` for an entry of an array. `json:` alone where the
    payload is no JSON object. A row is held against the version it names, and where it names none of them, against
    this one.
    """
    one, text = F.col(raw), F.col(column)

    def by_version(of: Callable[[Schema], Column]) -> Column:
        found = of(contract.schema)
        for older in contract.older:
            found = F.when(one["schema_version"] == older.version, of(older.schema)).otherwise(found)
        return found

    def detailed(documents: Column) -> Column:
        found = _let(
            documents[0],
            lambda texts: by_version(lambda schema: F.array_distinct(_joined(_object(schema, one, texts, "")))),
        )
        is_object = (F.size(documents) == 1) & documents[0].isNotNull()
        return F.when(is_object, found).otherwise(F.array(F.lit("json:")))

    bracketed = F.concat(F.lit("["), _marked(text), F.lit("]"))
    told = _let(F.from_json(bracketed, T.ArrayType(_RAW), OPTIONS), detailed)
    return F.when(by_version(lambda schema: _clean(schema, one, text)), _none()).otherwise(told)


def _let(value: Column, body: Callable[[Column], Column]) -> Column:
    """body(value), with the value worked out once however often the body uses it.

    Nor is a lambda's body compiled into the row loop, which would become too long for the JVM to optimise.
    """
    return F.transform(F.array(value), body)[0]


# ---- typed columns


def _has_times(schema: Schema) -> bool:
    if schema["type"] == "array":
        return _has_times(schema["items"])
    return "format" in schema or any(map(_has_times, schema.get("properties", {}).values()))


def _typed(schema: Schema, value: Column) -> Column:
    """The value with its texts of instants and dates made into such; null where they are none."""
    if not _has_times(schema):
        return value
    if schema["type"] == "array":
        return F.transform(value, lambda one: _typed(schema["items"], one))
    if "format" in schema:
        return _time(schema, value)
    fields = [
        _typed(field, value[name]).alias(name, metadata={"comment": field.get("description", "")})
        for name, field in schema["properties"].items()
    ]
    return F.when(value.isNotNull(), F.struct(*fields))


def _time(schema: Schema, text: Column) -> Column:
    # Without the pattern first, Spark's cast would take what the contract does not.
    return F.when(text.rlike(_java(schema["pattern"])), _read(schema, text))


def _read(schema: Schema, text: Column) -> Column:
    """As an instant or a date; null where there is none such, as of a 30th of February."""
    return text.try_cast(_FORMATS[schema["format"]]())


# ---- is a row clean? Only the typed values and the bytes are looked at.


def _clean(schema: Schema, one: Column, text: Column) -> Column:
    names, texts = _counts(schema, one)
    # Written without escapes and without blanks after a name, as machines write JSON, every string has two quotation
    # marks and every name stands before `":`. All other rows go the long way.
    compact = ~reduce(or_, [text.contains(part) for part in ("\\", '" ', '"\t', '"\n', '"\r')])
    quotes = F.octet_length(text) - F.octet_length(F.replace(text, F.lit('"')))
    colons = F.octet_length(text) - F.octet_length(F.replace(text, F.lit('":')))
    adds_up = (colons == 2 * names) & (quotes == 2 * (names + texts))
    return F.coalesce(one.isNotNull() & compact & adds_up & ~_broken(schema, one), F.lit(False))


def _counts(schema: Schema, value: Column) -> tuple[Column, Column]:
    """(names, texts) that a payload with exactly these typed values has."""
    names, texts = [F.lit(0)], [F.lit(0)]
    for name, field in schema["properties"].items():
        here = value[name]
        inner_names, inner_texts = _counts_inside(field, here)
        names.append(F.when(here.isNotNull(), F.lit(1) + inner_names).otherwise(F.lit(0)))
        texts.append(F.when(here.isNotNull(), inner_texts).otherwise(F.lit(0)))
    return reduce(add, names), reduce(add, texts)


def _counts_inside(field: Schema, value: Column) -> tuple[Column, Column]:
    if field["type"] == "object":
        return _counts(field, value) if "properties" in field else (F.size(value), F.size(value))
    if field["type"] == "array":
        entry = lambda number: lambda so_far, one: so_far + _counts_inside(field["items"], one)[number]  # noqa: E731
        return F.aggregate(value, F.lit(0), entry(0)), F.aggregate(value, F.lit(0), entry(1))
    return F.lit(0), F.lit(1 if field["type"] == "string" else 0)


def _broken(schema: Schema, value: Column) -> Column:
    """Does the typed value break a rule, at any depth? Names and types are counted elsewhere."""
    rules = _rules(schema, lambda name: value[name], lambda name: value[name].isNotNull(), "")
    flags = [F.coalesce(wrong, F.lit(False)) for wrong, _ in rules]
    for name, field in schema["properties"].items():
        here = value[name]
        if field["type"] == "object" and "properties" in field:
            flags.append(here.isNotNull() & _broken(field, here))
        elif field["type"] == "object":
            flags.append(F.coalesce(F.exists(F.map_values(here), _is_array), F.lit(False)))
        elif field["type"] == "array":
            flags.append(F.coalesce(F.exists(here, _entry_broken(field["items"])), F.lit(False)))
        elif _may_hide_array(field):
            flags.append(F.coalesce(_is_array(here), F.lit(False)))
    return reduce(or_, flags, F.lit(False))


def _may_hide_array(field: Schema) -> bool:
    """May the value be what Spark makes of an array where a text is wanted? Nothing else lets one through."""
    if field["type"] != "string" or field.keys() & {"enum", "const", "format"}:
        return False
    begins = re.match(r"\^(\[[\w-]+\])(?![*?]|\{0)", field.get("pattern", ""))
    return begins is None or re.match(begins[1], "[") is not None


def _is_array(text: Column) -> Column:
    """Of a row written without escapes. An array of one text has as many quotation marks as a text, but inside."""
    return text.contains('"')


def _entry_broken(items: Schema) -> Callable[[Column], Column]:
    def broken(one: Column) -> Column:
        if items["type"] == "object":
            return one.isNull() | _broken(items, one)
        flags = [F.coalesce(wrong, F.lit(False)) for wrong, _ in _values(items, one, "")]
        return reduce(or_, [*flags, _is_array(one)] if _may_hide_array(items) else flags, one.isNull())

    return broken


# ---- what exactly is wrong with a row? Strings are marked, so that "5" can be told from 5.


def _marked(payload: Column) -> Column:
    """The JSON text with `=` put before each name and string."""
    return F.regexp_replace(payload, _JSON_STRING, f'"{_MARK}$1"')


def _object(schema: Schema, value: Column, raw: Column, path: str) -> list[Column]:
    """Reasons of one object. value: its struct; raw: its map of marked names and raw texts."""

    def has(name: str) -> Column:
        return F.map_contains_key(raw, _MARK + name)

    fields = schema["properties"]

    def read(name: str) -> Column:
        """The value, null where it is of another type: no limit is told to be broken by it as well."""
        wrong = _wrong_type(fields[name], value[name], raw[_MARK + name])
        return F.when(~wrong, value[name]) if fields[name]["type"] in ("string", "number") else value[name]

    flags: list[Flag] = []
    nested: list[Column] = []
    for name, field in fields.items():
        here, text = f"{path}/{name}", raw[_MARK + name]
        flags.append((has(name) & _wrong_type(field, value[name], text), f"type:{here}"))
        nested += _inside(field, value[name], text, here)
    flags += _rules(schema, read, has, path)
    unknown = F.array_except(F.map_keys(raw), F.array(*[F.lit(_MARK + name) for name in fields]))
    nested.append(F.transform(unknown, lambda key: F.concat(F.lit(f"unknown_field:{path}/"), _step(key))))
    return [*_told(flags), *nested]


def _wrong_type(field: Schema, value: Column, text: Column) -> Column:
    """Is a value that is there of another type? text: its raw text, null where it is JSON's null."""
    if field["type"] == "string":
        return ~_is_text(text)
    if field["type"] == "array":
        return F.from_json(text, T.ArrayType(T.StringType()), OPTIONS).isNull()
    # A number that no double can hold becomes infinite.
    return value.isNull() | (value.isin(float("inf"), float("-inf")) if field["type"] == "number" else F.lit(False))


def _inside(field: Schema, value: Column, text: Column, path: str) -> list[Column]:
    """Reasons inside an object, a map or an array; nothing where it is absent."""
    if field["type"] == "object":

        def found(raw: Column) -> Column:
            if "properties" in field:
                inner = _joined(_object(field, value, raw, path))
            else:
                wrong = F.map_keys(F.map_filter(raw, lambda _, one: ~_is_text(one)))
                inner = F.transform(wrong, lambda key: F.concat(F.lit(f"type:{path}/"), _step(key)))
            return F.when(value.isNotNull() & raw.isNotNull(), inner).otherwise(_none())

        return [F.when(text.isNull(), _none()).otherwise(_let(F.from_json(text, _RAW, OPTIONS), found))]
    if field["type"] == "array":
        texts = F.from_json(text, T.ArrayType(T.StringType()), OPTIONS)
        items, here = field["items"], f"{path}/*"
        wrong = F.array(F.lit(f"type:{here}"))

        def entry(one: Column, its_text: Column) -> Column:
            if items["type"] != "object":
                is_wrong = _wrong_type(items, one, its_text)
                limits = _values(items, F.when(~is_wrong, one), here)
                return _joined(_told([(is_wrong, f"type:{here}"), *limits]))

            def found(raw: Column) -> Column:
                return F.when(raw.isNull(), wrong).otherwise(_joined(_object(items, one, raw, here)))

            return _let(F.from_json(its_text, _RAW, OPTIONS), found)

        # Spark gives no array at all where one entry is of another kind than the others.
        found = F.when(value.isNull(), wrong).otherwise(F.flatten(F.zip_with(value, texts, entry)))
        return [F.when(texts.isNull(), _none()).otherwise(found)]
    return []


def _none() -> Column:
    return F.array().cast("array<string>")


def _joined(arrays: list[Column]) -> Column:
    return F.concat(*arrays) if arrays else _none()


def _told(flags: list[Flag]) -> list[Column]:
    """array<string> of the reasons whose condition holds; a condition that is null does not."""
    if not flags:
        return []
    return [F.array_compact(F.array(*[F.when(condition, F.lit(reason)) for condition, reason in flags]))]


def _is_text(text: Column) -> Column:
    return F.coalesce(text.startswith(_MARK), F.lit(False))


def _step(key: Column) -> Column:
    """A marked name as a step of a JSON pointer."""
    return F.replace(F.replace(F.substr(key, F.lit(2)), F.lit("~"), F.lit("~0")), F.lit("/"), F.lit("~1"))


# ---- the contract's rules, for both


def _rules(schema: Schema, read: OfField, has: OfField, path: str) -> list[Flag]:
    """What an object must have and within which limits; a null value is within all of them.

    read: field -> its value; has: field -> whether it is there.
    """
    fields = schema["properties"]
    flags = [(~has(name), f"required:{path}/{name}") for name in schema.get("required", [])]
    for name, field in fields.items():
        flags += _values(field, read(name), f"{path}/{name}")
    for part in schema.get("allOf", []):
        flags += _part(part, fields, read, has, path)
    for name, others in schema.get("dependencies", {}).items():
        missing = reduce(or_, [~has(other) for other in others])
        flags.append((has(name) & missing, f"incomplete:{path}/{name}"))
    return flags


def _part(part: Schema, fields: Schema, read: OfField, has: OfField, path: str) -> list[Flag]:
    """One entry of allOf: if/then, or anyOf of required fields."""
    if "anyOf" in part:
        return [_neither(part["anyOf"], has, path)]
    holds = F.lit(True)
    for name, test in part["if"]["properties"].items():
        wanted = test["enum"] if "enum" in test else [test["const"]]
        holds = holds & F.coalesce(read(name).isin(wanted), F.lit(False))
    then = part["then"]
    flags = [(~has(name), f"required:{path}/{name}") for name in then.get("required", [])]
    for name, limits in then.get("properties", {}).items():
        flags += _values({"type": fields[name]["type"]} | limits, read(name), f"{path}/{name}")
    if "anyOf" in then:
        flags.append(_neither(then["anyOf"], has, path))
    return [(holds & condition, reason) for condition, reason in flags]


def _neither(branches: list[Schema], has: OfField, path: str) -> Flag:
    """None of the branches has all that it requires."""
    there = [reduce(and_, [has(name) for name in branch["required"]]) for branch in branches]
    return ~reduce(or_, there), f"required:{path}"


def _values(field: Schema, value: Column, path: str) -> list[Flag]:
    """Limits on one value; null passes."""
    flags: list[Flag] = []
    unit = path.endswith("/unit")
    if "const" in field:
        code = "unit" if unit else "version" if path == "/schema_version" else "const"
        flags.append((value != F.lit(field["const"]), f"{code}:{path}"))
    if "enum" in field:
        flags.append((~value.isin(field["enum"]), f"{'unit' if unit else 'enum'}:{path}"))
    if "pattern" in field:
        flags.append((~value.rlike(_java(field["pattern"])), f"pattern:{path}"))
    if "format" in field:
        of_its_form = value.rlike(_java(field["pattern"]))
        flags.append((of_its_form & _read(field, value).isNull(), f"format:{path}"))
    if "minimum" in field:
        flags.append((value < F.lit(field["minimum"]), f"minimum:{path}"))
    if "exclusiveMinimum" in field:
        flags.append((value <= F.lit(field["exclusiveMinimum"]), f"minimum:{path}"))
    if "maximum" in field:
        flags.append((value > F.lit(field["maximum"]), f"maximum:{path}"))
    if "maxLength" in field:
        flags.append((F.length(value) > field["maxLength"], f"length:{path}"))
    if "minLength" in field:
        flags.append((F.length(value) < field["minLength"], f"length:{path}"))
    if "minItems" in field:
        flags.append((F.size(value) < field["minItems"], f"items:{path}"))
    if field["type"] == "number":
        flags.append((value.isin(float("inf"), float("-inf")), f"type:{path}"))
    return flags


def _java(pattern: str) -> str:
    r"""JSON Schema's `$` is the end of the text; Java's also stands before a line break at the end: `\z` does not."""
    return pattern[:-1] + r"\z" if pattern.endswith("$") else pattern
