"""What brings silver into Redshift: each table's DDL, manifests of its current snapshot, and the COPYs that load them.

COPY of a Delta table's folder would read files that Delta has removed; so it is told the files of one snapshot by name.
It takes a Parquet file's columns by their place and refuses one that has another number of them than it was told. A
table that gained a column has files of before, so there is a COPY for each set of columns that its files have, and what
a file lacks is null.

Silver on Redshift has a table's columns without its partition column, which stands in no Parquet file. The audit's
tables that gold reads (dispositions, quality, findings, volumes, expiries) come the same way; without them their models
have no rows, and days that expired look lost.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from batch_jobs.errors import LakeError
from batch_jobs.tables import path_of


@dataclass(frozen=True, slots=True)
class Part:
    """Parquet files of a table's snapshot that have the same columns, in the same order."""

    table: str
    columns: tuple[str, ...]
    files: tuple[Path, ...]

    def copy(self, schema: str, manifest: str, role: str) -> str:
        """manifest: where it lies, s3://; role: ARN of the role that may read the lake."""
        columns = ", ".join(f'"{name}"' for name in self.columns)
        return (
            f"copy {schema}.{self.table} ({columns})\nfrom '{manifest}'\niam_role '{role}'\n"
            "format as parquet serializetojson manifest"
        )

    def manifest(self, root: Path, url: str) -> dict[str, Any]:
        """The files, as COPY wants them. root: the lake's folder, which is known to Redshift as url."""
        entries = [
            {
                "url": f"{url}/{file.relative_to(root).as_posix()}",
                "mandatory": True,
                "meta": {"content_length": file.stat().st_size},
            }
            for file in self.files
        ]
        return {"entries": entries}


@dataclass(frozen=True, slots=True)
class Load:
    """One table to load. columns: the table's, in their order, by Redshift's types; parts: what there is to COPY."""

    table: str
    columns: tuple[tuple[str, str], ...]
    parts: tuple[Part, ...]

    def create(self, schema: str) -> str:
        columns = ",\n".join(f'    "{name}" {kind}' for name, kind in self.columns)
        return f"create table {schema}.{self.table} (\n{columns}\n)"

    def gain(self, schema: str, there: Collection[str]) -> list[str]:
        """What gives a table of before the columns it lacks; `there` are those it has. Redshift adds one at a time."""
        return [
            f'alter table {schema}.{self.table} add column "{name}" {kind}'
            for name, kind in self.columns
            if name not in there
        ]


def load_of(lake: Path, table: str, layer: str = "silver") -> Load:
    """What there is to load of <lake>/<layer>/<table>, by the newest version in Delta's log.

    Raises LakeError for a table with deletion vectors, whose files have rows that are gone, and one without files.
    """
    path = path_of(str(lake.resolve()), layer, table)
    with duckdb.connect() as connection:
        connection.execute("LOAD delta")
        try:
            files = "SELECT data_file, have_deletes, map_keys(partitions) FROM delta_list_files(?) ORDER BY 1"
            rows = connection.execute(files, [path]).fetchall()
            schema = connection.execute("SELECT * FROM delta_scan(?) LIMIT 0", [path]).to_arrow_table().schema
        except duckdb.Error as error:
            raise LakeError(f"{path}: not read as a Delta table: {error}") from error
    if marked := [file for file, deletes, _ in rows if deletes]:
        raise LakeError(f"{path}: {marked[0]} has deletion vectors, which COPY cannot follow; run OPTIMIZE … purge")
    if not rows:
        raise LakeError(f"{path}: no files in its snapshot, so nothing to COPY")
    partitioned_by = rows[0][2]
    alike: dict[tuple[str, ...], list[Path]] = {}
    for file, _, _ in rows:
        alike.setdefault(tuple(pq.read_schema(file).names), []).append(Path(file))
    columns = tuple((field.name, _type(field.type)) for field in schema if field.name not in partitioned_by)
    return Load(table, columns, tuple(Part(table, names, tuple(files)) for names, files in sorted(alike.items())))


def _type(kind: pa.DataType) -> str:
    if pa.types.is_nested(kind):
        return "super"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_date(kind):
        return "date"
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "bigint" if kind.bit_width == 64 else "integer"
    if pa.types.is_floating(kind):
        return "double precision"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "varchar(65535)"  # Redshift's plain VARCHAR holds 256 bytes, and COPY of a longer text fails
    raise LakeError(f"no type of Redshift for {kind}")
