"""Spark's side of a contract: column types, parsing, and row checks that say the same as the validator.

All row checks are Spark expressions: no row leaves the JVM. A payload is parsed twice, once into typed columns and once
into a map of raw texts; a field that is in the second and null in the first has the wrong type.

One leniency: a string field that holds a JSON number or boolean is taken as its text (the validator refuses it).
"""

from __future__ import annotations

from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from schemas.contract import Contract

OPTIONS = {"allowNonNumericNumbers": "false", "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSX"}
_RAW = T.MapType(T.StringType(), T.StringType())

Schema = dict[str, Any]


def struct_type(contract: Contract) -> T.StructType:
    """The contract's columns, in its order, all nullable; a field's description and unit stand in its metadata."""
    return _struct(contract.schema)


def _struct(schema: Schema) -> T.StructType:
    return T.StructType(
        [
            T.StructField(name, _type(field), True, {"comment": field.get("description", "")})
            for name, field in schema["properties"].items()
        ]
    )


def _type(schema: Schema) -> T.DataType:
    kind, form = schema["type"], schema.get("format")
    if kind == "object":
        return (
            _struct(schema)
            if "properties" in schema
            else T.MapType(T.StringType(), _type(schema["additionalProperties"]))
        )
    if kind == "array":
        return T.ArrayType(_type(schema["items"]))
    if kind == "string" and form:
        return {"date-time": T.TimestampType(), "date": T.DateType()}[form]
    return {"string": T.StringType(), "integer": T.LongType(), "number": T.DoubleType(), "boolean": T.BooleanType()}[
        kind
    ]


def parse(df: DataFrame, contract: Contract, column: str = "payload") -> DataFrame:
    """The frame with `event` (struct_type of the contract) and `raw` (field -> JSON text; null where the payload is no
    JSON object) added. The session's time zone must be UTC."""
    return df.withColumn("event", F.from_json(column, struct_type(contract), OPTIONS)).withColumn(
        "raw", F.from_json(column, _RAW, OPTIONS)
    )


def reasons(contract: Contract, event: str = "event", raw: str = "raw") -> Column:
    """array<string>: each breach of a row that `parse` made, as `code:path`, empty where it keeps the contract.

    Codes are the validator's; paths are JSON pointers with `*` for an entry of an array. `json:` alone where the
    payload is no JSON object.
    """
    found = _object(contract.schema, F.col(event), F.col(raw), "")
    return F.when(F.col(raw).isNull(), F.array(F.lit("json:"))).otherwise(F.array_distinct(_all(found)))


def _all(arrays: list[Column]) -> Column:
    return F.concat(*arrays) if arrays else F.array().cast("array<string>")


def _flags(flags: list[tuple[Column, str]]) -> Column:
    """array<string> of the reasons whose condition holds; a condition that is null does not."""
    return F.array_compact(F.array(*[F.when(condition, F.lit(reason)) for condition, reason in flags]))


def _object(schema: Schema, value: Column, raw: Column, path: str) -> list[Column]:
    """Reasons of one object. value: its typed struct; raw: its map of raw texts."""
    flags: list[tuple[Column, str]] = []
    nested: list[Column] = []
    fields = schema["properties"]
    for name in schema.get("required", []):
        flags.append((~F.map_contains_key(raw, name), f"required:{path}/{name}"))
    for name, field in fields.items():
        here = f"{path}/{name}"
        typed, text = value[name], raw[name]
        is_text_time = field.get("format") in ("date-time", "date")
        code = "format" if is_text_time else "type"
        flags.append((F.map_contains_key(raw, name) & typed.isNull(), f"{code}:{here}"))
        flags += _scalar(field, text if is_text_time else typed, here)
        nested += _inside(field, typed, text, here)
    for part in schema.get("allOf", []):
        flags += _part(part, fields, value, raw, path)
    unknown = F.array_except(F.map_keys(raw), F.array(*[F.lit(name) for name in fields]))
    nested.append(F.transform(unknown, lambda name: F.concat(F.lit(f"unknown_field:{path}/"), name)))
    return [_flags(flags), *nested]


def _inside(field: Schema, typed: Column, text: Column, path: str) -> list[Column]:
    """Reasons inside an object or an array of objects; nothing where it is absent."""
    none = F.array().cast("array<string>")
    if field["type"] == "object" and "properties" in field:
        inner = _all(_object(field, typed, F.from_json(text, _RAW, OPTIONS), path))
        return [F.when(typed.isNotNull(), inner).otherwise(none)]
    if field["type"] == "array" and field["items"]["type"] == "object":
        raws = F.from_json(text, T.ArrayType(_RAW), OPTIONS)

        def entry(one: Column, its_raw: Column) -> Column:
            found = _all(_object(field["items"], one, its_raw, f"{path}/*"))
            return F.when(its_raw.isNull(), F.array(F.lit(f"type:{path}/*"))).otherwise(found)

        found = F.flatten(F.zip_with(typed, raws, entry))
        return [F.when(typed.isNotNull(), F.coalesce(found, F.array(F.lit(f"type:{path}")))).otherwise(none)]
    return []


def _scalar(field: Schema, value: Column, path: str) -> list[tuple[Column, str]]:
    """Bounds on one value; null passes."""
    flags = []
    unit = path.rpartition("/")[2] == "unit"
    if "const" in field:
        code = "unit" if unit else "version" if path == "/schema_version" else "const"
        flags.append((value != F.lit(field["const"]), f"{code}:{path}"))
    if "enum" in field:
        flags.append((~value.isin(field["enum"]), f"{'unit' if unit else 'enum'}:{path}"))
    if "pattern" in field:
        flags.append((~value.rlike(field["pattern"]), f"pattern:{path}"))
    if "minimum" in field:
        flags.append((value < F.lit(field["minimum"]), f"minimum:{path}"))
    if "exclusiveMinimum" in field:
        flags.append((value <= F.lit(field["exclusiveMinimum"]), f"minimum:{path}"))
    if "maximum" in field:
        flags.append((value > F.lit(field["maximum"]), f"maximum:{path}"))
    if "maxLength" in field:
        flags.append((F.length(value) > field["maxLength"], f"length:{path}"))
    if "minItems" in field:
        flags.append((F.size(value) < field["minItems"], f"items:{path}"))
    return flags


def _part(part: Schema, fields: Schema, value: Column, raw: Column, path: str) -> list[tuple[Column, str]]:
    """One entry of allOf: if/then, or anyOf of required fields."""
    if "anyOf" in part:
        branches = [
            reduce(Column.__and__, [F.map_contains_key(raw, name) for name in branch["required"]])
            for branch in part["anyOf"]
        ]
        return [(~reduce(Column.__or__, branches), f"required:{path}")]
    holds = F.lit(True)
    for name, test in part["if"]["properties"].items():
        wanted = test["enum"] if "enum" in test else [test["const"]]
        holds = holds & F.coalesce(value[name].isin(wanted), F.lit(False))
    then = part["then"]
    flags = [(~F.map_contains_key(raw, name), f"required:{path}/{name}") for name in then.get("required", [])]
    for name, limits in then.get("properties", {}).items():
        flags += _scalar(limits, value[name], f"{path}/{name}")
    return [(holds & condition, reason) for condition, reason in flags]
