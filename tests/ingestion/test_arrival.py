from pathlib import Path

import pytest

from ingestion.arrival import Arrival, read_arrivals, to_ms, write_arrivals
from schemas.instants import to_rfc3339

AT = to_ms("2026-10-05T06:00:00.250Z")

PAYLOADS = [
    b'{"value":-18.0}',
    b'{ "value" : 1e400 }',
    b'{"value":NaN}',
    b'{"value":Infinity,"x":[1,2]}',
    b'{"value":',
    b'{"value":1}\n{"value":2}',
    b'{"value":1,"value":2}',
    b"[1, 2]",
    b"",
    b"\xff\xfe\x00",
    '{"name":"Käse"}'.encode(),
    b'{"name":"\\ud800"}',
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_comes_back_from_a_file_byte_for_byte(tmp_path: Path, payload: bytes) -> None:
    file = tmp_path / "a.ndjson"
    assert write_arrivals([Arrival("sensor-readings", AT, payload, "x")], file) == 1
    assert list(read_arrivals(file)) == [Arrival("sensor-readings", AT, payload, "a.ndjson:1")]


def test_a_nan_inside_an_event_of_a_written_line_stays_under_its_contract(tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    file.write_text('{"contract":"sensor-readings","arrived_at":"2026-10-05T06:00:00.250Z","event":{"value": NaN}}\n')
    assert list(read_arrivals(file)) == [Arrival("sensor-readings", AT, b'{"value": NaN}', "a.ndjson:1")]


def test_a_line_that_is_no_arrival_is_kept_whole_as_unknown(tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    lines = [
        b'{"contract":"sensor-readings","arrived_at":"2026-10-05T06:00:00.250Z","event":{}}',
        b"something else",
        b'{"contract":"sensor-readings","event":{}}',
        b'{"contract":"sensor-readings","arrived_at":"yesterday","event":{}}',
        b'{"contract":"sensor-readings","arrived_at":"2026-10-05T06:00:00","event":{}}',
        b'{"contract":"sensor-readings","arrived_at":"2026-10-05T06:00:00.250Z"}',
    ]
    file.write_bytes(b"\r\n".join(lines) + b"\n\n")
    first, *others = read_arrivals(file)
    assert first.contract == "sensor-readings"
    assert [other.contract for other in others] == ["unknown"] * 5
    assert [other.payload for other in others] == lines[1:]
    assert [other.source for other in others] == [f"a.ndjson:{number}" for number in range(2, 7)]
    assert {other.arrived_ms for other in others} == {AT}


def test_instants_are_written_in_utc_with_milliseconds() -> None:
    assert to_rfc3339(AT) == "2026-10-05T06:00:00.250Z"
    assert to_ms("2026-10-05T08:00:00.250+02:00") == AT
    assert to_rfc3339(to_ms("1969-12-31T23:59:59.999Z")) == "1969-12-31T23:59:59.999Z"
