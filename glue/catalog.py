"""The lake's tables in the Glue Data Catalog, so that Athena, Redshift Spectrum and Glue find them by name.

A database a layer (<prefix>_bronze, _silver, _quarantine, _audit), each table with its place on S3, its columns with
the types and comments of its contract, and what makes it a native Delta table to Athena and Spark. Both read schema and
rows by Delta's log; the columns here are for people, for tools and for Lake Formation.

Only a table that the lake has is registered: a query of one that was never written fails, and dbt's models for Athena
ask the catalog whether the audit has a table. One that we registered and the lake has no more leaves the catalog.

A second run changes nothing. A contract that has grown adds its columns; a column that is no longer in it stays, as it
stays in the lake. What somebody else has defined, or what would move to another lake, is refused by name, and then
nothing is changed at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batch_jobs.s3 import is_on_s3, tables_under, url
from batch_jobs.tables import Layout, layouts
from schemas.contract import Contract

if TYPE_CHECKING:
    import boto3

OWNER = ("managed_by", "smart-grocery")
"""The table parameter that says whose definition it is."""
LONGEST_COMMENT = 255
"""Bytes of a column's comment that Glue takes."""
_LAYERS = {
    "bronze": "Records as received, one row a record",
    "silver": "Events, typed, one row per event id and event date",
    "quarantine": "Records that are no event of their contract, with the reasons",
    "audit": "What became of each bronze row, and what the quality gate found",
}


class CatalogError(ValueError):
    """The catalog cannot take the lake's tables as they are."""


@dataclass(slots=True)
class Registered:
    """What one database of the catalog gained. changed: table -> what; columns by name. unwritten: tables that the lake
    does not have yet; dropped: those that had been registered all the same."""

    database: str
    created: list[str] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    unchanged: int = 0
    unwritten: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def register(session: boto3.Session, lake: str, prefix: str, contracts: Iterable[Contract]) -> list[Registered]:
    """Bring the catalog to what the contracts say; what was done, by database.

    session: where it speaks to, region and endpoint included. lake: an s3:// or s3a:// address. prefix: what the
    databases' names begin with. Raises CatalogError, S3Error where the lake cannot be looked at, and botocore's errors
    where AWS does not answer or allow it.
    """
    import awswrangler as wr

    client = session.client("glue")
    known = {one["Name"] for one in wr.catalog.get_databases(boto3_session=session)}
    wanted: dict[str, list[dict[str, Any]]] = {layer: [] for layer in _LAYERS}
    for layout in layouts(on_s3(lake), contracts):
        wanted[layout.path.split("/")[-2]].append(definition(layout))
    plans, refused = [], []
    for layer, tables in wanted.items():
        database = f"{prefix}_{layer}"
        found = {}
        if database in known:
            found = {one["Name"]: one for one in wr.catalog.get_tables(database=database, boto3_session=session)}
        refused += [
            f"{database}.{one['Name']} {why}" for one in tables if (why := _conflict(one, found.get(one["Name"])))
        ]
        plans.append((layer, database, tables, found))
    if refused:
        raise CatalogError(
            f"{'; '.join(refused)}. Nothing was changed: drop what stands in the way, or let GROCERY_GLUE_PREFIX "
            f"choose other databases than {prefix}_*"
        )
    there = {layer: tables_under(f"{on_s3(lake)}/{layer}", session) for layer in _LAYERS}
    done = []
    for layer, database, tables, found in plans:
        result = Registered(database)
        if database not in known:
            # Spark makes no path of a database without a place.
            place = {"LocationUri": f"{on_s3(lake)}/{layer}/"}
            wr.catalog.create_database(database, _LAYERS[layer], database_input_args=place, boto3_session=session)
        for table in tables:
            name = table["Name"]
            if name in there[layer]:
                _put(client, database, table, found.get(name), result)
                continue
            result.unwritten.append(name)
            if name in found:
                client.delete_table(DatabaseName=database, Name=name)
                result.dropped.append(name)
        done.append(result)
    return done


def on_s3(lake: str) -> str:
    """The lake's address as Athena and Glue write it: s3://, no slash at the end. Raises CatalogError."""
    if not is_on_s3(lake) or url(lake) == "s3://":
        raise CatalogError(
            f"lake {lake}: not on S3, and the Glue catalog is for what is; let GROCERY_LAKE name it: s3a://bucket/folder"
        )
    return url(lake)


def definition(layout: Layout) -> dict[str, Any]:
    """A table as Glue's TableInput."""
    columns = [
        {
            "Name": one.name,
            "Type": one.dataType.simpleString(),
            "Comment": _shortened(one.metadata.get("comment", ""), LONGEST_COMMENT),
        }
        for one in layout.columns.fields
    ]
    return {
        "Name": layout.path.rpartition("/")[2],
        "Description": layout.comment,
        "TableType": "EXTERNAL_TABLE",
        "PartitionKeys": [one for one in columns if one["Name"] in layout.partitioned_by],
        "Parameters": dict([OWNER])
        | {
            "EXTERNAL": "TRUE",
            "classification": "delta",
            "table_type": "DELTA",  # what Athena goes by
            "spark.sql.sources.provider": "delta",  # what Spark goes by
        },
        "StorageDescriptor": {
            "Columns": [one for one in columns if one["Name"] not in layout.partitioned_by],
            "Location": layout.path,
            # Hive knows no Delta: these stand where it wants something, and nobody reads by them.
            "InputFormat": "org.apache.hadoop.mapred.SequenceFileInputFormat",
            "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveSequenceFileOutputFormat",
            "SerdeInfo": {
                "SerializationLibrary": "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
                "Parameters": {"serialization.format": "1", "path": layout.path},
            },
        },
    }


def _conflict(wanted: dict[str, Any], found: dict[str, Any] | None) -> str | None:
    """Why the table that is there must not be touched; None where it may."""
    if found is None:
        return None
    key, owner = OWNER
    if (theirs := found.get("Parameters", {}).get(key)) != owner:
        return f"is not ours ({key} is {theirs or 'not set'})"
    place = found["StorageDescriptor"].get("Location", "").rstrip("/")
    if place != wanted["StorageDescriptor"]["Location"]:
        return f"lies in {place}, not in {wanted['StorageDescriptor']['Location']}"
    types = {one["Name"]: one["Type"] for one in _columns(wanted)}
    other = [one for one in _columns(found) if not _fits(one["Type"], types.get(one["Name"], one["Type"]))]
    if other:
        return "has " + ", ".join(f"{one['Name']} as {one['Type']}, now {types[one['Name']]}" for one in other)
    keys = [[one["Name"] for one in table.get("PartitionKeys", [])] for table in (found, wanted)]
    if keys[0] != keys[1]:
        return f"is partitioned by {', '.join(keys[0]) or 'nothing'}, now by {', '.join(keys[1]) or 'nothing'}"
    return None


def _fits(old: str, new: str) -> bool:
    """Whether a column may become of the new type: it is the same, or objects in it have gained fields."""
    for outer in ("array<", "map<string,"):
        if old.startswith(outer) and new.startswith(outer):
            return _fits(old[len(outer) : -1], new[len(outer) : -1])
    if old.startswith("struct<") and new.startswith("struct<"):
        there, now = _members(old), _members(new)
        return all(name in now and _fits(kind, now[name]) for name, kind in there.items())
    return old == new


def _members(struct: str) -> dict[str, str]:
    """`struct<a:int,b:array<int>>`: name -> type."""
    found, depth, begin = {}, 0, len("struct<")
    for at in range(begin, len(struct)):
        depth += (struct[at] == "<") - (struct[at] == ">")
        if depth < 0 or (struct[at] == "," and depth == 0):
            name, _, kind = struct[begin:at].partition(":")
            found[name] = kind
            begin = at + 1
    return found


def _put(client: Any, database: str, wanted: dict[str, Any], found: dict[str, Any] | None, result: Registered) -> None:
    name = wanted["Name"]
    if found is None:
        client.create_table(DatabaseName=database, TableInput=wanted)
        result.created.append(name)
        return
    there = found["StorageDescriptor"]["Columns"]
    # As in Delta's own schema: what was there first keeps its place, and stays.
    columns = {one["Name"]: one for one in there + wanted["StorageDescriptor"]["Columns"]}
    storage = wanted["StorageDescriptor"] | {"Columns": list(columns.values())}
    # What others have noted on the table stays.
    wanted = wanted | {"Parameters": found["Parameters"] | wanted["Parameters"], "StorageDescriptor": storage}
    if _says(found, wanted):
        result.unchanged += 1
        return
    client.update_table(DatabaseName=database, TableInput=wanted)
    added = list(columns)[len(there) :]
    result.changed[name] = f"new: {', '.join(added)}" if added else "described anew"


def _says(found: Any, wanted: Any) -> bool:
    """Whether what is there holds all that is wanted; Glue adds fields of its own."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_says(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        found = found or []
        return len(found) == len(wanted) and all(map(_says, found, wanted))
    return (found or "") == wanted  # Glue gives no empty texts back


def _columns(table: dict[str, Any]) -> list[dict[str, Any]]:
    return table["StorageDescriptor"].get("Columns", []) + table.get("PartitionKeys", [])


def _shortened(text: str, most: int) -> str:
    """At most so many bytes; the whole text stands in the data dictionary."""
    encoded = text.encode()
    return text if len(encoded) <= most else encoded[: most - len("…".encode())].decode(errors="ignore") + "…"
