"""Replays one export: cells in, arrivals out in the order of their time, and an account of every cell.

Two passes. The first streams the file in chunks and keeps each usable cell as six numbers in a temporary DuckDB file
(exports may be sorted by sensor, or newest first, and larger than memory); what cannot be used is kept beside it with
the reason. The second reads them back in order and writes the events. Nothing is sent before the whole file was read.

What a cell is: one row times one mapped value column. A row is a line that is not above the header, not a header, not
blank and not a comment. A row whose fields cannot be told apart counts all its cells as rejected. So

    cells = rows x value columns = readings + missing + rejected

and `Replay` refuses to exist where that does not hold. A cell is judged in this order: row broken, nothing measured,
time unreadable or undecided, sensor unknown, number unreadable, out of the contract's range, in conflict with another
cell of the same sensor and time.

A second run over the same file gives the same bytes: event ids are hash(device, metric, device time).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from ingestion.arrival import Arrival, dumps
from ingestion.reference import Reference
from ingestion.replay.cells import Bad, Limits, limits, number_reader
from ingestion.replay.local_time import (
    AMBIGUOUS,
    HELD,
    MARKS,
    NO_OFFSET,
    SKIPPED,
    UNREADABLE,
    Doubt,
    RowOrder,
    doubt,
    localise,
    read_times,
    zone,
)
from ingestion.replay.mapping import IDENTITY, READINGS, Mapping, MappingError, choices, device_metric
from ingestion.replay.spool import WHOLE_ROW, Spool
from ingestion.replay.tables import Chunk, Column, Table, open_table, positions
from ingestion.units import UnitDoesNotFit, converter
from schemas.contract import contract
from schemas.instants import to_rfc3339
from schemas.validate import validator

CHUNK_LINES = 50_000
_SHOWN = 200  # characters of a rejected value that are kept
_NO_ORDER = "and the order of the rows does not tell which one is meant"
_TIME_PROBLEMS = {
    AMBIGUOUS: Bad(
        "ambiguous_hour",
        f"this local hour comes twice that night, {_NO_ORDER}",
        "export with an offset or in UTC, or leave the hour out",
    ),
    SKIPPED: Bad(
        "skipped_hour",
        f"this local hour is left out that night, {_NO_ORDER}",
        "check the logger's clock; if it never changes to summer time, set time.zone to an offset like +01:00",
    ),
    NO_OFFSET: Bad(
        "time",
        "this time says no offset, and the mapping says no zone",
        "set time.zone for the rows without an offset",
    ),
}
_MARK_OF = {"ambiguous": AMBIGUOUS, "skipped": SKIPPED}

Progress = Callable[[int, int, int], None]


@dataclass(slots=True)
class Summary:
    """The account of one replay.

    lines: what the file's lines were; value_columns: cells per row; readings, missing, rejected: cells; repeats: how
    many of the readings repeat another one, byte for byte; spoke: rejected cells whose sensor and time are known, which
    arrive too; reasons: rejected cells by code; resolved: rows of doubtful local hours whose order decided, by kind;
    examples: the first rejection of each code; first_ms, last_ms: epoch milliseconds of the first and last reading.
    """

    file: str
    value_columns: int
    lines: Counter[str] = field(default_factory=Counter)
    readings: int = 0
    repeats: int = 0
    missing: int = 0
    rejected: int = 0
    spoke: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    resolved: Counter[str] = field(default_factory=Counter)
    examples: dict[str, dict[str, Any]] = field(default_factory=dict)
    stores: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    first_ms: int | None = None
    last_ms: int | None = None

    @property
    def rows(self) -> int:
        return self.lines["rows"]

    @property
    def cells(self) -> int:
        return self.rows * self.value_columns

    @property
    def arrivals(self) -> int:
        return self.readings + self.spoke

    def check(self) -> None:
        """Raises SumsDoNotAddUp."""
        if self.cells != self.readings + self.missing + self.rejected:
            raise SumsDoNotAddUp(
                f"{self.file}: {self.cells} cells, but {self.readings} readings + {self.missing} missing "
                f"+ {self.rejected} rejected"
            )
        if self.rejected != self.reasons.total():
            raise SumsDoNotAddUp(f"{self.file}: {self.rejected} rejected, but {self.reasons.total()} have a reason")
        if self.lines["lines"] != self.lines.total() - self.lines["lines"]:
            raise SumsDoNotAddUp(f"{self.file}: lines do not add up: {dict(self.lines)}")


class SumsDoNotAddUp(RuntimeError):
    """A cell or line was lost or counted twice: a fault of this program, never of the file."""


@dataclass(frozen=True, slots=True)
class Series:
    """What one value column of one kind of row measures. stream: number of (device, metric); fields: the event's."""

    stream: int
    device_id: str
    metric: str
    fields: dict[str, Any]
    unit: str
    limits: Limits
    convert: Callable[[float], float] | None


class Replay:
    """A file that was read. Iterate for its arrivals; close (or `with`) to let the temporary file go."""

    def __init__(self, summary: Summary, spool: Spool, series: list[Series], source: str) -> None:
        self.summary = summary
        self._spool, self._series, self._source = spool, series, source

    def __iter__(self) -> Iterator[Arrival]:
        return self.arrivals()

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._spool.close()

    def arrivals(self) -> Iterator[Arrival]:
        """One `sensor-readings` arrival per reading, in the order of device time, then of the file.

        A file does not say when a reading arrived, so it arrives at the moment it was measured. A rejected cell whose
        sensor and time are known arrives too, its text in place of a value: the gate refuses it and leaves a
        `bad-reading` marker, so that a logger that writes ERR for hours is told to be wrong, and not to be silent.
        """
        for ms, line, stream, value, reported, unit, text in self._spool.spoken():
            series = self._series[stream]
            when = to_rfc3339(ms)
            event: dict[str, Any] = {
                "event_id": reading_id(series.device_id, series.metric, when),
                "event_time": when,
                **series.fields,
                "value": value if text is None else text,
                "unit": series.limits.unit,
            }
            if reported is not None:
                event["reported_value"], event["reported_unit"] = reported, unit
            yield Arrival(READINGS, ms, dumps(event), f"{self._source}:{line}")

    def rejects(self) -> Iterator[dict[str, Any]]:
        """What could not be read, in the file's order: file, line, column, value, code, reason, next_step, cells."""
        for line, column, value, code, reason, next_step, cells in self._spool.rejects():
            yield {
                "file": self.summary.file,
                "line": line,
                "column": column,
                "value": value,
                "code": code,
                "reason": reason,
                "next_step": next_step,
                "cells": cells,
            }

    def write_rejects(self, path: Path) -> int:
        """Write the dead-letter file (NDJSON); returns how many cells it accounts for."""
        cells = 0
        with path.open("w", encoding="utf-8") as out:
            for item in self.rejects():
                cells += item["cells"]
                out.write(json.dumps(item, ensure_ascii=False) + "\n")
        return cells


def reading_id(device_id: str, metric: str, when: str) -> str:
    """The id of a reading of a device that gives none: hash(device, metric, device time)."""
    return "r-" + hashlib.sha256(f"{device_id}|{metric}|{when}".encode()).hexdigest()[:24]


def replay(
    file: Path,
    mapping: Mapping,
    reference: Reference | None = None,
    *,
    on_progress: Progress | None = None,
    chunk_lines: int = CHUNK_LINES,
) -> Replay:
    """Read an export as its mapping says.

    reference: the chain; sensors it does not know are rejected, and what the mapping leaves out is looked up in it.
    on_progress: called with (bytes read, bytes in all, rows read).

    Raises MappingError where file and mapping do not fit, SumsDoNotAddUp where this program is wrong.
    """
    table = open_table(file, mapping)
    spool = Spool()
    try:
        reading = _Reading(table, mapping, reference, spool)
        for chunk in table.chunks(reading.needed, chunk_lines):
            reading.take(chunk)
            if on_progress:
                on_progress(table.position, table.total_bytes, table.counts["rows"])
        summary = reading.finish()
    except BaseException:
        spool.close()
        raise
    finally:
        table.close()
    return Replay(summary, spool, reading.streams, file.name)


class _Reading:
    """The first pass over one file."""

    def __init__(self, table: Table, mapping: Mapping, reference: Reference | None, spool: Spool) -> None:
        self.table, self.mapping, self.reference, self.spool = table, mapping, reference, spool
        at = positions(table, mapping)
        self.summary = Summary(table.file.name, len(mapping.values))
        self.streams: list[Series] = []
        self._stream_of: dict[tuple[str, str], int] = {}
        self._limits = limits()
        self._reasons = validator(contract(READINGS))
        sources = [mapping.source(i, name) for i in range(len(mapping.values)) for name in IDENTITY]
        self._key_names = list(dict.fromkeys(source.column for source in sources if source and source.column))
        self._key_positions = [at[name] for name in self._key_names]
        self._time_positions = [at[name] for name in mapping.time.columns]
        self._time_name = " + ".join(mapping.time.columns)
        self._value_positions = [at[value.column] for value in mapping.values]
        self.needed = list(dict.fromkeys([*self._time_positions, *self._key_positions, *self._value_positions]))
        self._groups: dict[tuple[str, ...], int] = {}  # texts of the key columns -> number
        self._keys: list[dict[str, str]] = []  # by group: column -> text
        self._members: dict[tuple[int, int], Series | _Misfit] = {}  # by (group, value column)
        self._orders: dict[int, RowOrder] = {}  # by group
        self._held: dict[int, _Held] = {}  # by line
        self._some_time = False
        csv = mapping.csv
        self._readers = {
            (i, native): number_reader(
                "." if native else csv.decimal, None if native else csv.thousands, mapping.missing, value.states
            )
            for i, value in enumerate(mapping.values)
            for native in (True, False)
        }
        self._check_fixed_series()

    def _check_fixed_series(self) -> None:
        """A sensor that the mapping itself names must fit: else every cell of its column would be rejected."""
        problems = []
        for i in range(len(self.mapping.values)):
            sources = [self.mapping.source(i, name) for name in IDENTITY]
            if all(source is None or source.column is None for source in sources):
                found = self._resolve(i, {})
                if isinstance(found, _Misfit):
                    where = self.mapping.origin.at(("values", i))
                    problems.append(f"{where}: values.{i}: {found.bad.reason}; {found.bad.next_step}")
        if problems:
            raise MappingError("\n".join(problems))

    def take(self, chunk: Chunk) -> None:
        """Account for every cell of a chunk; only rows whose hour is still in doubt are carried over."""
        for row in chunk.broken:
            self._reject(
                row.line,
                WHOLE_ROW,
                None,
                row.text,
                Bad(row.code, row.reason, row.next_step),
                len(self._value_positions),
            )
        if len(chunk.lines):
            groups = self._group_rows(chunk)
            instants, texts = self._instants(chunk, groups)
            self._take_cells(chunk, groups, instants, texts)
        self.spool.flush()

    def finish(self) -> Summary:
        """Decide what is still in doubt, settle conflicts, and add up. Raises SumsDoNotAddUp."""
        for order in self._orders.values():
            self._settle(order.end())
        self.spool.flush()
        names = self.table.names
        for line, position, value, first in self.spool.take_conflicts():
            bad = Bad(
                "conflict",
                f"the same sensor has another value at the same time, {first}",
                "keep one of the two; the first in the file was taken",
            )
            self._reject(line, position, names[position], value, bad, 1)
        self.spool.flush()
        summary = self.summary
        summary.lines = self.table.counts
        account = self.spool.account()
        summary.readings, summary.repeats, summary.spoke = account.readings, account.repeats, account.spoke
        summary.first_ms, summary.last_ms = account.first_ms, account.last_ms
        summary.devices = tuple(sorted({self.streams[i].device_id for i in account.streams}))
        summary.stores = tuple(sorted({self.streams[i].fields["store_id"] for i in account.streams}))
        summary.examples = self.spool.examples()
        if summary.rejected != account.rejected:
            raise SumsDoNotAddUp(f"{summary.file}: {summary.rejected} rejected, but {account.rejected} are kept")
        summary.check()
        return summary

    # --- time

    def _group_rows(self, chunk: Chunk) -> np.ndarray:
        """A number per row: rows with the same texts in all columns that name a sensor."""
        if not self._key_positions:
            return np.full(len(chunk.lines), self._group(()))
        columns = [chunk.columns[position] for position in self._key_positions]
        codes = np.stack([column.codes for column in columns], axis=1)
        distinct, of_row = np.unique(codes, axis=0, return_inverse=True)
        numbers = [
            self._group(tuple(column.text(code) for column, code in zip(columns, row, strict=True))) for row in distinct
        ]
        return np.array(numbers)[of_row.reshape(-1)]

    def _group(self, texts: tuple[str, ...]) -> int:
        texts = tuple(text.strip() for text in texts)
        if (number := self._groups.get(texts)) is None:
            number = self._groups[texts] = len(self._groups)
            self._keys.append(dict(zip(self._key_names, texts, strict=True)))
        return number

    def _instants(self, chunk: Chunk, groups: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Epoch milliseconds per row, or one of the marks; and the time's text per row."""
        columns = [chunk.columns[position] for position in self._time_positions]
        rows = [[column.text(code) for code in column.codes] for column in columns]
        texts = [" ".join(parts).strip() for parts in zip(*rows, strict=True)]
        codes, distinct = pd.factorize(np.array(texts, dtype=object))
        known, wall = read_times(list(distinct), self.mapping.time.format)
        if not self._some_time and any(distinct):
            if np.all(np.isnat(wall) & (known == UNREADABLE)):
                raise MappingError(self._no_time(chunk, texts))
            self._some_time = True
        instants = known[codes]
        if np.isnat(wall).all():
            return instants, texts
        if self.mapping.time.zone is None:  # iso texts without an offset, and nobody said where
            instants[~np.isnat(wall)[codes]] = NO_OFFSET
            return instants, texts
        for name in {self._zone_name(int(group)) for group in np.unique(groups)}:
            where = zone(name)
            here = np.isin(groups, [g for g in np.unique(groups) if self._zone_name(int(g)) == name])
            local, doubtful = localise(wall, where)
            rows_here = np.flatnonzero(here & ~np.isnat(wall)[codes])
            instants[rows_here] = local[codes[rows_here]]
            if isinstance(where, ZoneInfo):
                self._put_in_order(chunk, groups, np.flatnonzero(here), codes, instants, wall, doubtful, where, texts)
        return instants, texts

    def _put_in_order(
        self,
        chunk: Chunk,
        groups: np.ndarray,
        rows: np.ndarray,
        codes: np.ndarray,
        instants: np.ndarray,
        wall: np.ndarray,
        doubtful: np.ndarray,
        where: tzinfo,
        texts: list[str],
    ) -> None:
        """Let the order of each sensor's rows decide the doubtful hours; changes `instants`."""
        in_doubt = doubtful[codes]
        row_of_line = {int(chunk.lines[row]): int(row) for row in rows[in_doubt[rows]]}
        for line, row in row_of_line.items():
            instants[row] = HELD
            self._held[line] = _Held(texts[row], [])
        for group_rows in split(rows, groups):
            order = self._orders.setdefault(int(groups[group_rows[0]]), RowOrder())
            usable = group_rows[(instants[group_rows] > MARKS) | in_doubt[group_rows]]
            if not len(usable):
                continue
            if not in_doubt[usable].any():
                self._settle(order.certain_rows(instants[usable]), row_of_line, instants)
                continue
            for row in usable:
                if in_doubt[row]:
                    moment = pd.Timestamp(wall[codes[row]]).to_pydatetime(warn=False)
                    told = order.doubtful(doubt(int(chunk.lines[row]), moment, where))
                else:
                    told = order.certain(int(instants[row]))
                self._settle(told, row_of_line, instants)

    def _settle(
        self,
        told: Iterable[tuple[Doubt, int | None]],
        row_of_line: dict[int, int] | None = None,
        instants: np.ndarray | None = None,
    ) -> None:
        """Rows whose hour is no longer in doubt: in this chunk, or held back from an earlier one."""
        for item, ms in told:
            if ms is not None:
                self.summary.resolved[item.kind] += 1
            held = self._held.pop(item.row)
            if row_of_line and instants is not None and (row := row_of_line.get(item.row)) is not None:
                instants[row] = ms if ms is not None else _MARK_OF[item.kind]
            elif ms is None:
                if held.cells:
                    bad = _TIME_PROBLEMS[_MARK_OF[item.kind]]
                    self._reject(item.row, WHOLE_ROW, self._time_name, held.time, bad, len(held.cells))
            else:
                for cell in held.cells:
                    if isinstance(cell.outcome, Bad):
                        name = self.table.names[cell.position]
                        spoke = (ms, cell.stream) if cell.stream >= 0 else None
                        self._reject(item.row, cell.position, name, cell.text, cell.outcome, 1, spoke)
                    else:
                        value, reported, unit = cell.outcome
                        converted = None if reported is None else np.array([reported])
                        self.spool.add(
                            np.array([ms]),
                            np.array([item.row]),
                            cell.position,
                            cell.stream,
                            np.array([value]),
                            converted,
                            unit,
                        )

    def _zone_name(self, group: int) -> str:
        name = self.mapping.time.zone or "UTC"
        if name != "store" or self.reference is None:
            return name
        zones = {}
        for i in range(len(self._value_positions)):
            member = self._member(group, i)
            if isinstance(member, Series):
                store = member.fields["store_id"]
                zones[self.reference.stores[store]["time_zone"]] = store
        if len(zones) > 1:
            raise MappingError(
                f"{self.mapping.origin.at(('time', 'zone'))}: zone: store, but one row holds stores of several zones "
                f"({', '.join(f'{store} {name}' for name, store in sorted(zones.items()))}); write the logger's zone"
            )
        return next(iter(zones), "UTC")  # none: every sensor of these rows is unknown, so every cell is rejected

    def _no_time(self, chunk: Chunk, texts: list[str]) -> str:
        where = self.mapping.origin.at(("time", "format"))
        row = next(row for row, text in enumerate(texts) if text)
        return (
            f"{where}: none of the first {len(texts)} rows of {self.table.file} has a time written like "
            f"{self.mapping.time.format!r}: line {chunk.lines[row]}, column {self._time_name!r} "
            f"is {texts[row][:60]!r}; correct time.format or time.columns"
        )

    # --- cells

    def _take_cells(self, chunk: Chunk, groups: np.ndarray, instants: np.ndarray, texts: list[str]) -> None:
        lost = np.zeros(len(chunk.lines), dtype=np.int64)  # cells of rows that have no usable time
        parts = split(np.arange(len(chunk.lines)), groups)
        for i, position in enumerate(self._value_positions):
            column = chunk.columns[position]
            parsed = _Parsed(column, self._readers[i, column.native])
            for rows in parts:
                measured = rows[parsed.measured[column.codes[rows]]]
                self.summary.missing += len(rows) - len(measured)
                timeless = instants[measured] < MARKS
                held = instants[measured] == HELD
                lost[measured[timeless & ~held]] += 1
                member = self._member(int(groups[rows[0]]), i)
                self._take_measured(chunk, measured[~timeless], position, column, parsed, member, instants)
                for row in measured[held]:
                    outcome = parsed.outcome(int(column.codes[row]), member)
                    stream = member.stream if isinstance(member, Series) else -1
                    text = column.text(column.codes[row])
                    self._held[int(chunk.lines[row])].cells.append(_Cell(position, stream, text, outcome))
        for row in np.flatnonzero(lost):
            bad = _TIME_PROBLEMS.get(int(instants[row])) or self._unreadable_time(texts[row])
            self._reject(int(chunk.lines[row]), WHOLE_ROW, self._time_name, texts[row], bad, int(lost[row]))

    def _take_measured(
        self,
        chunk: Chunk,
        rows: np.ndarray,
        position: int,
        column: Column,
        parsed: _Parsed,
        member: Series | _Misfit,
        instants: np.ndarray,
    ) -> None:
        """Cells in which something stands, in rows whose time is known."""
        if not len(rows):
            return
        lines = chunk.lines
        codes = column.codes[rows]
        fits = np.zeros(len(rows), dtype=bool)
        if isinstance(member, Series):
            usable, values, reported = parsed.converted(member)
            fits = usable[codes]
            good = rows[fits]
            self.spool.add(
                instants[good],
                lines[good],
                position,
                member.stream,
                values[codes[fits]],
                reported[codes[fits]] if member.convert else None,
                member.unit,
            )
        for row in rows[~fits]:
            code = int(column.codes[row])
            outcome = parsed.outcome(code, member)
            name = member.column if isinstance(member, _Misfit) and member.column else self.table.names[position]
            text = member.text if isinstance(member, _Misfit) and member.column else column.text(code)
            spoke = (int(instants[row]), member.stream) if isinstance(member, Series) else None
            self._reject(int(lines[row]), position, name, text, outcome, 1, spoke)

    def _unreadable_time(self, text: str) -> Bad:
        pattern = self.mapping.time.format
        return Bad("time", f"{text[:60]!r} is no time written like {pattern!r}", "correct the cell, or time.format")

    def _reject(
        self,
        line: int,
        position: int,
        column: str | None,
        value: str,
        bad: Bad,
        cells: int,
        spoke: tuple[int, int] | None = None,
    ) -> None:
        self.summary.rejected += cells
        self.summary.reasons[bad.code] += cells
        self.spool.reject(line, position, column, value[:_SHOWN], bad, cells, spoke)

    # --- which sensor

    def _member(self, group: int, i: int) -> Series | _Misfit:
        if (found := self._members.get((group, i))) is None:
            found = self._members[group, i] = self._resolve(i, self._keys[group])
        return found

    def _resolve(self, i: int, key: dict[str, str]) -> Series | _Misfit:
        """The sensor that value column `i` measures in rows with these texts (column -> text)."""
        said: dict[str, str] = {}
        for name in IDENTITY:
            source = self.mapping.source(i, name)
            if source is None:
                continue
            if source.column is None:
                said[name] = source.value or ""
                continue
            text = key[source.column]
            given = text if source.map is None else source.map.get(text)
            if not given:
                if source.map is None:
                    bad = Bad(
                        "unmapped", f"column {source.column!r} is empty, so the {name} is not known", "fill it in"
                    )
                else:
                    there = choices(text, list(source.map))
                    bad = Bad(
                        "unmapped", f"{text[:60]!r} is not in {name}.map; there are {there}", "add it to the mapping"
                    )
                return _Misfit(source.column, text, bad)
            said[name] = given
        bad = self._look_up(said) if self.reference is not None else None
        limit = self._limits.get(said.get("metric", ""))
        if bad is None and limit is None:
            there = ", ".join(sorted(self._limits))
            bad = Bad("metric", f"metric {said.get('metric')!r} is unknown; there are {there}", "correct the metric")
        convert = None
        if bad is None and limit is not None:
            try:
                convert = converter(said["unit"], limit.unit)
            except UnitDoesNotFit as error:
                bad = Bad(
                    "unit", f"{said['metric']} in {said['unit']!r}: {error}", f"write a unit of {limit.unit}'s kind"
                )
        if bad is not None or limit is None:
            return _Misfit(None, "", bad)
        return self._series(said, limit, convert)

    def _series(self, said: dict[str, str], limit: Limits, convert: Convert | None) -> Series | _Misfit:
        fields = {
            "store_id": said["store"],
            "schema_version": 1,
            "kind": "reading",
            "device_id": said["device"],
            "asset_id": said["asset"],
            "asset_class": said["asset_class"],
            "metric": said["metric"],
        }
        key = (said["device"], said["metric"])
        stream = self._stream_of.get(key, len(self.streams))
        found = Series(stream, *key, fields, said["unit"], limit, convert)
        if stream < len(self.streams):
            if self.streams[stream].fields != fields:
                other = self.streams[stream].fields
                reason = f"device {key[0]} is mapped to {fields['asset_id']} and to {other['asset_id']}"
                return _Misfit(None, "", Bad("device", reason, "a device watches one asset; correct the mapping"))
            return found
        when = to_rfc3339(0)
        probe = {"event_id": reading_id(*key, when), "event_time": when, **fields, "value": max(limit.minimum, 0.0)}
        if reasons := self._reasons(probe | {"unit": limit.unit}):
            return _Misfit(None, "", Bad("contract", f"{reasons[0].path}: {reasons[0].message}", "correct the mapping"))
        self._stream_of[key] = stream
        self.streams.append(found)
        return found

    def _look_up(self, said: dict[str, str]) -> Bad | None:
        """Fill in from the chain what was not said; what was said must agree with it."""
        assert self.reference is not None
        device = said["device"]
        asset = self.reference.devices.get(device)
        if asset is None:
            there = choices(device, sorted(self.reference.devices))
            return Bad(
                "unknown_device", f"device {device[:60]!r} is unknown; the chain has {there}", "add it to assets.yaml"
            )
        if asset["store_id"] not in self.reference.stores:
            return Bad("unknown_store", f"store {asset['store_id']!r} is unknown", "add it to stores.yaml")
        known = {
            "store": asset["store_id"],
            "asset": asset["asset_id"],
            "asset_class": asset["asset_class"],
            "metric": device_metric(self.reference, device),
        }
        for name, value in known.items():
            if said.setdefault(name, value) != value:
                reason = f"the chain says that device {device} has {name} {value}, not {said[name][:60]}"
                return Bad("device", reason, f"correct the {name}, or leave it out: it is looked up")
        return None


Convert = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class _Misfit:
    """No sensor. column, text: what in the row is to blame, where something in it is."""

    column: str | None
    text: str
    bad: Bad


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell held back. outcome: (value, reported value, unit), or why it cannot be used."""

    position: int
    stream: int
    text: str
    outcome: tuple[float, float | None, str] | Bad


@dataclass(frozen=True, slots=True)
class _Held:
    """A row whose hour is in doubt. time: its text."""

    time: str
    cells: list[_Cell]


class _Parsed:
    """The distinct texts of one value column in one chunk, each read once. Code -1 (null) means nothing measured."""

    def __init__(self, column: Column, read: Callable[[str], float | Bad | None]) -> None:
        self._found = [*(read(text) for text in column.texts), None]
        self.measured = np.array([item is not None for item in self._found])
        self._converted: dict[tuple[str, str], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def converted(self, series: Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per text: whether it is a reading of this series, its value in the contract's unit, the value as written."""
        key = (series.metric, series.unit)
        if key not in self._converted:
            outcomes = [self.outcome(code, series) for code in range(len(self._found) - 1)]
            fits = [not isinstance(outcome, Bad) for outcome in outcomes]
            values = [outcome[0] if ok else 0.0 for ok, outcome in zip(fits, outcomes, strict=True)]
            reported = [item if isinstance(item, float) else 0.0 for item in self._found[:-1]]
            self._converted[key] = (np.array(fits, dtype=bool), np.array(values), np.array(reported))
        return self._converted[key]

    def outcome(self, code: int, member: Series | _Misfit) -> tuple[float, float | None, str] | Bad:
        """(value, reported value, unit) of a cell in which something stands, or why it cannot be used."""
        found = self._found[code]
        if isinstance(member, _Misfit):
            return member.bad
        if found is None or isinstance(found, Bad):
            return found or Bad("number", "nothing stands here", "")
        value = found if member.convert is None else member.convert(found) + 0.0
        limit = member.limits
        if limit.minimum <= value <= limit.maximum:
            return value, None if member.convert is None else found, member.unit
        return Bad(
            "range",
            f"{value:g} {limit.unit} is no {member.metric} of a {member.fields['asset_class']}: "
            f"the contract allows {limit.minimum:g} to {limit.maximum:g}",
            "if it is the logger's mark for a fault, add it to missing; else check the unit",
        )


def split(rows: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
    """Rows (positions, ascending) parted by their group, each part in the file's order."""
    if not len(rows):
        return []
    order = rows[np.argsort(groups[rows], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
