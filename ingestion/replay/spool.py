"""Where usable cells and rejections wait until the whole file was read: a temporary DuckDB file.

A reading is its numbers only, some 40 bytes; DuckDB sorts what does not fit into memory on disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ingestion.replay.cells import Bad

WHOLE_ROW = -1  # position of a rejection that is about a row and not about one column
_BATCH = 50_000
_MEMORY = "1GB"


class Account(NamedTuple):
    """What is in the spool. spoke: rejected cells whose sensor and time are known; streams: numbers of the (device,
    metric) pairs that have readings or spoke."""

    readings: int
    repeats: int
    rejected: int
    spoke: int
    first_ms: int | None
    last_ms: int | None
    streams: tuple[int, ...]


# ms, lines, position, stream, values, reported values or None, unit: of one column of one sensor
_Readings = tuple[np.ndarray, np.ndarray, int, int, np.ndarray, np.ndarray | None, str]


def _table(parts: list[_Readings]) -> pa.Table:
    """Many parts as one table: arrays are joined once, since a chunk may hold thousands of sensors."""
    sizes = [len(part[0]) for part in parts]
    converted = np.repeat([part[5] is not None for part in parts], sizes)
    reported = np.concatenate([part[4] if part[5] is None else part[5] for part in parts])
    units, numbers = np.unique([part[6] for part in parts], return_inverse=True)
    unit_of_row = pa.DictionaryArray.from_arrays(
        pa.array(np.repeat(numbers, sizes), pa.int32(), mask=~converted), pa.array(units.tolist(), pa.string())
    )
    return pa.table(
        {
            "ms": pa.array(np.concatenate([part[0] for part in parts]), pa.int64()),
            "line": pa.array(np.concatenate([part[1] for part in parts]), pa.int64()),
            "position": pa.array(np.repeat([part[2] for part in parts], sizes), pa.int32()),
            "stream": pa.array(np.repeat([part[3] for part in parts], sizes), pa.int32()),
            "value": pa.array(np.concatenate([part[4] for part in parts]), pa.float64()),
            "reported": pa.array(reported, pa.float64(), mask=~converted),
            "unit": unit_of_row.cast(pa.string()),
        }
    )


class Spool:
    """Readings: (ms, line, position, stream, value, reported, unit). Rejections: one per cell, or per row."""

    def __init__(self) -> None:
        import duckdb

        self._folder = tempfile.TemporaryDirectory(prefix="grocery-replay-")
        self._db = duckdb.connect(f"{self._folder.name}/spool.duckdb")
        self._db.execute(f"SET memory_limit='{_MEMORY}'; SET temp_directory='{self._folder.name}'; SET threads=2")
        self._db.execute(
            "CREATE TABLE readings (ms BIGINT, line BIGINT, position INTEGER, stream INTEGER, value DOUBLE,"
            " reported DOUBLE, unit VARCHAR)"
        )
        self._db.execute(
            "CREATE TABLE rejects (line BIGINT, position INTEGER, name VARCHAR, value VARCHAR, code VARCHAR,"
            " reason VARCHAR, next_step VARCHAR, cells BIGINT, ms BIGINT, stream INTEGER)"
        )
        self._readings: list[_Readings] = []
        self._rejects: list[tuple[Any, ...]] = []

    def close(self) -> None:
        self._db.close()
        self._folder.cleanup()

    def add(
        self,
        ms: np.ndarray,
        lines: np.ndarray,
        position: int,
        stream: int,
        values: np.ndarray,
        reported: np.ndarray | None,
        unit: str,
    ) -> None:
        """Readings of one column. reported: as the device wrote them in `unit`, where they were converted."""
        if len(ms):
            self._readings.append((ms, lines, position, stream, values, reported, unit))

    def reject(
        self,
        line: int,
        position: int,
        name: str | None,
        value: str,
        bad: Bad,
        cells: int,
        spoke: tuple[int, int] | None = None,
    ) -> None:
        """spoke: (ms, stream) where a known sensor said this at a known time."""
        self._rejects.append(
            (line, position, name, value, bad.code, bad.reason, bad.next_step, cells, *(spoke or (None, None)))
        )

    def flush(self) -> None:
        """Put what was added into the file."""
        if self._readings:
            self._db.from_arrow(_table(self._readings)).insert_into("readings")
            self._readings = []
        if self._rejects:
            names = ["line", "position", "name", "value", "code", "reason", "next_step", "cells", "ms", "stream"]
            columns = zip(*self._rejects, strict=True)
            kinds = [pa.int64(), pa.int32(), *[pa.string()] * 5, pa.int64(), pa.int64(), pa.int32()]
            arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
            self._db.from_arrow(pa.table(arrays, names)).insert_into("rejects")
            self._rejects = []

    def take_conflicts(self) -> list[tuple[int, int, str, str]]:
        """Take out readings that differ from an earlier one of the same sensor and time.

        Returns (line, position, value, what the earlier one says) for each.
        """
        self._db.execute(
            """
            CREATE TEMP TABLE several AS
            SELECT * FROM readings SEMI JOIN (SELECT stream, ms FROM readings GROUP BY ALL HAVING count(*) > 1)
            USING (stream, ms)
            """
        )
        found = self._db.execute(
            """
            SELECT line, position, coalesce(reported, value), coalesce(reported_1, value_1), line_1 FROM (
                SELECT *, first(value) OVER same AS value_1, first(reported) OVER same AS reported_1,
                    first(unit) OVER same AS unit_1, first(line) OVER same AS line_1
                FROM several WINDOW same AS (PARTITION BY stream, ms ORDER BY line, position))
            WHERE (value, reported, unit) IS DISTINCT FROM (value_1, reported_1, unit_1)
            ORDER BY line, position
            """
        ).fetchall()
        if found:
            gone = pa.table({"line": [row[0] for row in found], "position": [row[1] for row in found]})
            self._db.register("gone", gone)
            self._db.execute(
                "DELETE FROM readings USING gone WHERE readings.line = gone.line AND readings.position = gone.position"
            )
            self._db.unregister("gone")
        return [
            (line, at, f"{value:.15g}", f"{first:.15g} in line {first_line}")
            for line, at, value, first, first_line in found
        ]

    def account(self) -> Account:
        first, last, count = self._db.execute("SELECT min(ms), max(ms), count(*) FROM readings").fetchone()
        repeats = self._db.execute(
            "SELECT coalesce(sum(n - 1), 0)::BIGINT FROM (SELECT count(*) n FROM several"
            " SEMI JOIN readings USING (line, position) GROUP BY stream, ms)"
        ).fetchone()[0]
        rejected, spoke = self._db.execute(
            "SELECT coalesce(sum(cells), 0)::BIGINT, count(stream) FROM rejects"
        ).fetchone()
        streams = self._db.execute(
            "SELECT stream FROM readings UNION SELECT stream FROM rejects WHERE stream IS NOT NULL ORDER BY stream"
        ).fetchall()
        return Account(count, repeats, rejected, spoke, first, last, tuple(stream for (stream,) in streams))

    def examples(self) -> dict[str, dict[str, Any]]:
        """The first rejection of each code."""
        rows = self._db.execute(
            "SELECT code, line, name, value, reason, next_step FROM rejects"
            " QUALIFY row_number() OVER (PARTITION BY code ORDER BY line, position) = 1 ORDER BY code"
        ).fetchall()
        names = ("line", "column", "value", "reason", "next_step")
        return {code: dict(zip(names, rest, strict=True)) for code, *rest in rows}

    def spoken(self) -> Iterator[tuple[int, int, int, float | None, float | None, str | None, str | None]]:
        """(ms, line, stream, value, reported, unit, None) of each reading, and (ms, line, stream, None, None, None,
        text) of each rejected cell whose sensor and time are known; by time and then as in the file."""
        yield from self._rows(
            "SELECT ms, line, stream, value, reported, unit, text FROM ("
            " SELECT ms, line, position, stream, value, reported, unit, NULL AS text FROM readings UNION ALL"
            " SELECT ms, line, position, stream, NULL, NULL, NULL, value FROM rejects WHERE stream IS NOT NULL)"
            " ORDER BY ms, line, position",
            _BATCH,
        )

    def rejects(self) -> Iterator[tuple[Any, ...]]:
        """(line, column, value, code, reason, next_step, cells), as in the file."""
        yield from self._rows(
            "SELECT line, name, value, code, reason, next_step, cells FROM rejects ORDER BY line, position, code",
            _BATCH,
        )

    def _rows(self, query: str, size: int) -> Iterator[tuple[Any, ...]]:
        cursor = self._db.cursor()
        try:
            batches = cursor.execute(query).to_arrow_reader(size)
            for batch in batches:
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
        finally:
            cursor.close()
