"""Exports written by hand, with everything that goes wrong in them: every cell is accounted for."""

import json
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from grocery.settings import PROJECT
from ingestion.arrival import to_ms
from ingestion.dead_letters import Cipher
from ingestion.gate import Gate
from ingestion.pseudonym import Pseudonyms
from ingestion.reference import Reference
from ingestion.replay import MappingError, Summary, load_mapping, replay
from ingestion.replay.reader import SumsDoNotAddUp
from schemas.contract import contract
from schemas.validate import validator

EXPORTS = Path(__file__).parent / "exports"
MAPPINGS = PROJECT / "chain" / "mappings"


@pytest.fixture(scope="module")
def chain() -> Reference:
    return Reference.from_folder(PROJECT / "chain")


def read(file: Path, mapping: Path, reference: Reference | None, **more):
    """(summary, readings, rejections) of an export."""
    with replay(file, load_mapping(mapping, reference), reference, **more) as found:
        arrived = [json.loads(arrival.payload) for arrival in found]
        assert len(arrived) == found.summary.arrivals
        readings = [event for event in arrived if not isinstance(event["value"], str)]
        return found.summary, readings, list(found.rejects())


def export(folder: Path, text: str, mapping: str, encoding: str = "utf-8") -> tuple[Path, Path]:
    (folder / "export.csv").write_bytes(text.encode(encoding))
    (folder / "mapping.yaml").write_text(mapping, "utf-8")
    return folder / "export.csv", folder / "mapping.yaml"


ONE_SENSOR = """
time: {column: t, format: iso, zone: UTC}
values: [{column: v, device: s002-freezer-01-t, unit: Cel}]
"""


# --- the nasty one: latin-1, decimal commas, thousands, both clock changes, doubled column, broken rows


SPOKEN = ("number", "not_finite", "range")


@pytest.fixture(scope="module")
def nasty(chain):
    return read(EXPORTS / "nasty_wide_latin1.csv", EXPORTS / "nasty_wide_latin1.yaml", chain)


def test_the_sum_of_the_nasty_export_adds_up(nasty):
    summary, events, rejects = nasty
    assert (summary.rows, summary.cells) == (23, 69)
    assert (summary.readings, summary.missing, summary.rejected) == (38, 5, 26)
    assert len(events) == 38
    assert sum(item["cells"] for item in rejects) == 26


def test_every_line_of_the_nasty_export_is_accounted_for(nasty):
    lines = {"lines": 28, "rows": 23, "skipped": 1, "header": 1, "repeated header": 1, "blank": 1, "comment": 1}
    assert nasty[0].lines == lines


def test_each_rejection_has_its_reason(nasty):
    summary, _, rejects = nasty
    assert summary.reasons == {
        "fields": 9,
        "quote": 3,
        "time": 3,
        "ambiguous_hour": 3,
        "number": 3,
        "not_finite": 2,
        "range": 2,
        "conflict": 1,
    }
    where = [(item["line"], item["column"], item["code"], item["cells"]) for item in rejects]
    assert where == [
        (18, None, "fields", 3),
        (19, None, "fields", 3),
        (20, None, "quote", 3),
        (21, "Datum + Zeit", "time", 3),
        (22, "Fühler [°C]", "not_finite", 1),
        (22, "Fühler [°C]", "not_finite", 1),
        (22, "Zähler [kWh]", "number", 1),
        (23, "Fühler [°C]", "range", 1),
        (23, "Fühler [°C]", "number", 1),
        (23, "Zähler [kWh]", "range", 1),
        (24, "Fühler [°C]", "number", 1),
        (25, "Fühler [°C]", "conflict", 1),
        (26, "Datum + Zeit", "ambiguous_hour", 3),
        (28, None, "fields", 3),
    ]
    assert all(item["file"] == "nasty_wide_latin1.csv" and item["next_step"] for item in rejects)
    assert rejects[7]["value"] == "-120,0"


def test_both_clock_changes_are_told_by_the_order_of_the_rows(nasty):
    summary, events, _ = nasty
    assert summary.resolved == {"skipped": 2, "ambiguous": 4}
    freezer = [(e["event_time"][5:16], e["value"]) for e in events if e["device_id"] == "s002-freezer-01-t"]
    assert freezer[:5] == [
        ("03-29T00:30", -18.5),
        ("03-29T00:45", -18.4),
        ("03-29T01:00", -18.3),
        ("03-29T01:15", -18.2),
        ("03-29T01:30", -18.1),
    ]
    assert freezer[5:10] == [
        ("10-24T23:30", -18.5),
        ("10-25T00:00", -18.6),
        ("10-25T00:30", -18.7),
        ("10-25T01:00", -18.8),
        ("10-25T01:30", -18.9),
    ]


def test_thousands_and_decimal_commas_are_read(nasty):
    energy = [event["value"] for event in nasty[1] if event["metric"] == "energy"]
    assert energy[:3] == [1234567.8, 1234568.0, 1234568.5]
    assert 1300000.5 in energy


def test_an_exact_repeat_is_a_resend_and_a_contradiction_is_rejected(nasty):
    summary, events, _ = nasty
    assert summary.repeats == 4
    same = [e for e in events if (e["device_id"], e["event_time"]) == ("s002-cooler-01-t", "2026-10-25T02:00:00.000Z")]
    assert len(same) == 2
    assert same[0] == same[1]
    at_five = [e for e in events if e["event_time"] == "2026-10-25T04:00:00.000Z" and e["metric"] == "temperature"]
    assert [(e["device_id"], e["value"]) for e in at_five] == [("s002-freezer-01-t", -18.0), ("s002-cooler-01-t", 2.5)]


@pytest.mark.parametrize("name", ["nasty_wide_latin1", "newest_first_bom"])
def test_the_size_of_the_chunks_changes_nothing(chain, name):
    file, mapping = EXPORTS / f"{name}.csv", EXPORTS / f"{name}.yaml"
    whole = read(file, mapping, chain)
    for lines in (1, 2, 3, 7):
        assert read(file, mapping, chain, chunk_lines=lines) == whole


def test_running_twice_gives_the_same_bytes(chain, tmp_path):
    seen = []
    for run in (1, 2):
        mapping = load_mapping(EXPORTS / "nasty_wide_latin1.yaml", chain)
        with replay(EXPORTS / "nasty_wide_latin1.csv", mapping, chain) as found:
            found.write_rejects(tmp_path / f"{run}.ndjson")
            seen.append((list(found), (tmp_path / f"{run}.ndjson").read_bytes()))
    assert seen[0] == seen[1]


# --- newest first, byte order mark, CRLF, quoted names, Fahrenheit, a minus that is none, two sensors interleaved


def test_each_sensor_has_its_own_order(chain):
    summary, events, rejects = read(EXPORTS / "newest_first_bom.csv", EXPORTS / "newest_first_bom.yaml", chain)
    assert (summary.cells, summary.readings, summary.missing, summary.rejected) == (9, 8, 0, 1)
    milk = [(e["event_time"][11:16], e["reported_value"]) for e in events if e["asset_class"] == "cooler"]
    assert milk == [
        ("04:30", 36.8),
        ("05:00", 36.9),
        ("05:30", 37.0),
        ("06:00", 37.1),
        ("06:30", 37.2),
        ("07:30", 37.4),
    ]
    assert [(item["line"], item["code"]) for item in rejects] == [(5, "ambiguous_hour")]


def test_fahrenheit_is_converted_and_what_the_device_said_is_kept(chain):
    _, events, _ = read(EXPORTS / "newest_first_bom.csv", EXPORTS / "newest_first_bom.yaml", chain)
    ice = [e for e in events if e["asset_class"] == "freezer"]
    assert [(e["value"], e["unit"], e["reported_value"], e["reported_unit"]) for e in ice] == [
        (-20.111111, "Cel", -4.2, "[degF]"),
        (-20.0, "Cel", -4.0, "[degF]"),
    ]


# --- what goes on is good


@pytest.mark.parametrize(
    ("file", "mapping"),
    [
        (EXPORTS / "nasty_wide_latin1.csv", EXPORTS / "nasty_wide_latin1.yaml"),
        (EXPORTS / "newest_first_bom.csv", EXPORTS / "newest_first_bom.yaml"),
        (MAPPINGS / "samples" / "wide_german_logger.csv", MAPPINGS / "wide_german_logger.yaml"),
        (MAPPINGS / "samples" / "long_fahrenheit_logger.csv", MAPPINGS / "long_fahrenheit_logger.yaml"),
    ],
    ids=lambda path: path.stem,
)
def test_every_reading_follows_the_contract_passes_the_gate_and_comes_in_order(chain, file, mapping):
    reasons = validator(contract("sensor-readings"))
    gate = Gate(chain, Pseudonyms(b"k" * 32), Cipher(Fernet.generate_key()))
    with replay(file, load_mapping(mapping, chain), chain) as found:
        arrivals = list(found)
    events = [json.loads(arrival.payload) for arrival in arrivals]
    assert sum(not isinstance(event["value"], str) for event in events) == found.summary.readings > 0
    for arrival, event in zip(arrivals, events, strict=True):
        if isinstance(event["value"], str):
            continue
        assert reasons(event) == []
        assert to_ms(event["event_time"]) == arrival.arrived_ms
        assert [record.topic for record in gate.admit(arrival)] == ["sensor-readings"]
    times = [arrival.arrived_ms for arrival in arrivals]
    assert times == sorted(times)


def test_what_a_known_sensor_said_wrongly_arrives_too_and_leaves_a_marker(chain):
    """An empty logger is silent; one that writes ERR is not."""
    gate = Gate(chain, Pseudonyms(b"k" * 32), Cipher(Fernet.generate_key()))
    file, mapping = EXPORTS / "nasty_wide_latin1.csv", EXPORTS / "nasty_wide_latin1.yaml"
    with replay(file, load_mapping(mapping, chain), chain) as found:
        wrong = [arrival for arrival in found if isinstance(json.loads(arrival.payload)["value"], str)]
        spoken = [(item["line"], item["value"]) for item in found.rejects() if item["code"] in SPOKEN]
    assert found.summary.spoke == len(wrong) == len(spoken) == 7
    said = []
    for arrival in wrong:
        letter, marker = (json.loads(record.value) for record in gate.admit(arrival))
        assert [reason["code"] for reason in letter["reasons"]] == ["type"]
        assert (marker["kind"], to_ms(marker["event_time"])) == ("bad-reading", arrival.arrived_ms)
        assert (marker["device_id"], marker["metric"]) in {
            (device["device_id"], device["metric"]) for asset in chain.assets.values() for device in asset["devices"]
        }
        said.append((int(arrival.source.rpartition(":")[2]), json.loads(marker["raw_value"])))
    assert sorted(said) == sorted(spoken)


def test_a_logger_that_only_ever_says_err_is_among_the_devices(chain, tmp_path):
    text = "t,v\n2026-10-05 12:00,ERR\n2026-10-05 12:05,ERR\n"
    summary, readings, _ = read(*export(tmp_path, text, ONE_SENSOR), chain)
    assert (summary.readings, summary.spoke, readings) == (0, 2, [])
    assert len(summary.devices) == 1


def test_the_shipped_samples_show_what_their_mappings_say(chain):
    summary, _, _ = read(MAPPINGS / "samples" / "wide_german_logger.csv", MAPPINGS / "wide_german_logger.yaml", chain)
    assert (summary.cells, summary.readings, summary.missing, summary.rejected) == (48, 38, 3, 7)
    summary, _, _ = read(
        MAPPINGS / "samples" / "long_fahrenheit_logger.csv", MAPPINGS / "long_fahrenheit_logger.yaml", chain
    )
    assert (summary.cells, summary.readings, summary.missing, summary.rejected) == (16, 12, 2, 2)
    assert summary.stores == ("store-001", "store-003")


def test_the_event_id_depends_on_device_metric_and_time_only(chain, tmp_path):
    plain = read(*export(tmp_path, "t,v\n2026-10-05T06:00:00Z,-18\n", ONE_SENSOR), chain)[1]
    moved = read(*export(tmp_path, "x,t,v\n,2026-10-05T08:00:00+02:00,-18.0\n", ONE_SENSOR), chain)[1]
    assert plain == moved
    later = read(*export(tmp_path, "t,v\n2026-10-05T06:00:00.001Z,-18\n", ONE_SENSOR), chain)[1]
    assert later[0]["event_id"] != plain[0]["event_id"]


# --- Parquet


def test_parquet_reads_as_the_same_csv_does(chain, tmp_path):
    import pandas as pd

    frame = pd.DataFrame(
        {
            "t": pd.to_datetime(["2026-10-25 01:30", "2026-10-25 02:30", "2026-10-25 02:30", None, "2026-10-25 04:00"]),
            "freezer": [-18.5, -18.25, None, -18.0, 99.5],
            "cooler": ["2,5", "---", "2,75", "3,0", "x"],
        }
    )
    mapping = """
        csv: {decimal: ","}
        time: {column: t, format: iso, zone: Europe/Berlin}
        missing: ["", "---"]
        values:
          - {column: freezer, device: s002-freezer-01-t, unit: Cel}
          - {column: cooler, device: s002-cooler-01-t, unit: Cel}
    """
    file, mapping_file = export(tmp_path, "", mapping)
    frame.to_parquet(tmp_path / "export.parquet")
    summary, events, rejects = read(tmp_path / "export.parquet", mapping_file, chain)
    assert (summary.cells, summary.readings, summary.missing, summary.rejected) == (10, 4, 2, 4)
    assert summary.reasons == {"time": 2, "range": 1, "number": 1}
    assert [(e["event_time"][11:16], e["value"]) for e in events] == [
        ("23:30", -18.5),
        ("23:30", 2.5),
        ("00:30", -18.25),
        ("01:30", 2.75),
    ]
    frame["cooler"] = frame["cooler"].fillna("")
    frame["freezer"] = [str(v).replace(".", ",") if v == v else "" for v in frame["freezer"]]
    frame.to_csv(file, index=False)
    assert read(file, mapping_file, chain)[1] == events


def test_utc_timestamps_of_parquet_need_no_zone(chain, tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"t": pd.to_datetime(["2026-10-25T01:30Z"]), "v": [-18.5]})
    frame.to_parquet(tmp_path / "export.parquet")
    mapping = export(tmp_path, "", ONE_SENSOR.replace(", zone: UTC", ""))[1]
    assert read(tmp_path / "export.parquet", mapping, chain)[1][0]["event_time"] == "2026-10-25T01:30:00.000Z"


# --- single things


def test_without_thousands_a_point_under_a_decimal_comma_is_not_guessed(chain, tmp_path):
    text = "t;v\n2026-10-05T06:00:00Z;1.234\n"
    summary, _, rejects = read(*export(tmp_path, text, 'csv: {delimiter: ";", decimal: ","}' + ONE_SENSOR), chain)
    assert summary.rejected == 1
    assert "set csv.thousands: '.'" in rejects[0]["next_step"]


def test_a_time_without_offset_and_without_zone_is_rejected(chain, tmp_path):
    text = "t,v\n2026-10-05T06:00:00Z,-18\n2026-10-05T06:01:00,-18\n"
    summary, _, rejects = read(*export(tmp_path, text, ONE_SENSOR.replace(", zone: UTC", "")), chain)
    assert (summary.readings, summary.rejected) == (1, 1)
    assert "offset" in rejects[0]["reason"]


def test_an_unknown_sensor_in_a_row_is_rejected_with_what_there_is(chain, tmp_path):
    mapping = """
        time: {column: t, format: iso}
        device: {column: d}
        values: [{column: v, unit: Cel}]
    """
    text = "t,d,v\n2026-10-05T06:00:00Z,s002-freezer-99-t,-18\n2026-10-05T06:00:00Z,,-18\n2026-10-05T06:00:00Z,,\n"
    summary, _, rejects = read(*export(tmp_path, text, mapping), chain)
    assert (summary.missing, summary.reasons) == (1, {"unknown_device": 1, "unmapped": 1})
    assert "s002-freezer-05-t" in rejects[0]["reason"]


def test_a_long_export_can_carry_metric_and_unit_in_columns(chain, tmp_path):
    mapping = """
        time: {column: t, format: epoch_s}
        device: {column: d}
        metric: {column: m, map: {T: temperature, P: power}}
        unit: {column: u, map: {F: "[degF]", W: W}}
        values: [{column: v}]
    """
    rows = ["s002-freezer-01-t,T,F,0", "s002-rack-01-p,P,W,2500", "s002-rack-01-p,T,F,5"]
    text = "\n".join(["t,d,m,u,v", *(f"1791180000,{row}" for row in rows)])
    summary, events, rejects = read(*export(tmp_path, text, mapping), chain)
    assert [(e["value"], e["unit"]) for e in events] == [(-17.777778, "Cel"), (2.5, "kW")]
    assert [item["code"] for item in rejects] == ["device"]


def test_states_in_words_become_numbers(chain, tmp_path):
    mapping = """
        time: {column: t, format: iso}
        values: [{column: v, device: s002-freezer-01-o, unit: "1", states: {auf: 1, zu: 0}}]
    """
    text = "t,v\n2026-10-05T06:00:00Z,auf\n2026-10-05T06:01:00Z,zu\n2026-10-05T06:02:00Z,halb\n"
    summary, events, _ = read(*export(tmp_path, text, mapping), chain)
    assert [event["value"] for event in events] == [1.0, 0.0]
    assert summary.reasons == {"number": 1}


def test_a_quote_that_is_not_closed_spoils_its_own_line_only(chain, tmp_path):
    text = 't,v\n2026-10-05T06:00:00Z,"-18\n2026-10-05T06:01:00Z,-18\n2026-10-05T06:02:00Z,"-18"\n'
    summary, events, rejects = read(*export(tmp_path, text, ONE_SENSOR), chain)
    assert (len(events), [item["line"] for item in rejects]) == (2, [2])


def test_without_a_chain_the_mapping_says_everything(tmp_path):
    mapping = """
        time: {column: t, format: iso}
        values:
          - {column: v, store: shop-9, device: d1, asset: a1, asset_class: ambient, metric: humidity, unit: "%"}
    """
    summary, events, _ = read(*export(tmp_path, "t,v\n2026-10-05T06:00:00Z,55\n", mapping), None)
    assert (events[0]["store_id"], events[0]["value"], summary.stores) == ("shop-9", 55.0, ("shop-9",))


def test_utf_16_is_read(chain, tmp_path):
    text = "t\tv\n2026-10-05T06:00:00Z\t-18\n"
    mapping = "csv: {encoding: utf-16, delimiter: tab}" + ONE_SENSOR
    assert read(*export(tmp_path, text, mapping, "utf-16"), chain)[0].readings == 1


def test_a_file_of_rows_without_a_header_gets_names(chain, tmp_path):
    text = "2026-10-05T06:00:00Z,-18\n"
    assert read(*export(tmp_path, text, "csv: {names: [t, v]}" + ONE_SENSOR), chain)[0].readings == 1


def test_a_sum_that_does_not_add_up_is_an_error_of_the_program():
    summary = Summary("export.csv", 2, readings=3, missing=0, rejected=0)
    summary.lines.update(lines=2, rows=2)
    with pytest.raises(SumsDoNotAddUp, match="4 cells, but 3 readings"):
        summary.check()


# --- a file and a mapping that do not fit


def problem(file: Path, mapping: Path, chain: Reference) -> str:
    with pytest.raises(MappingError) as error:
        read(file, mapping, chain)
    return str(error.value)


def test_a_wrong_column_is_named_with_what_there_is(chain, tmp_path):
    file, mapping = export(tmp_path, "time,Temp\n", ONE_SENSOR)
    told = problem(file, mapping, chain)
    assert f"{mapping}:2: column 't' is not in {file}; there are 'time', 'Temp'" in told
    assert f"{mapping}:3: column 'v'" in told


def test_a_column_that_stands_twice_must_be_numbered(chain, tmp_path):
    assert "columns 2 and 3); write v#1 or v#2" in problem(*export(tmp_path, "t,v,v\n", ONE_SENSOR), chain)


def test_a_wrong_delimiter_is_suspected(chain, tmp_path):
    assert "reads as one column with csv.delimiter ','" in problem(*export(tmp_path, "t;v\n1;2\n", ONE_SENSOR), chain)


def test_a_wrong_encoding_names_line_and_byte(chain, tmp_path):
    file, mapping = export(tmp_path, "t,v\n2026-10-05T06:00:00Z,Fühler\n", ONE_SENSOR, "latin-1")
    assert f"{file}:2: byte 0xfc at position 23 is not utf-8" in problem(file, mapping, chain)


def test_a_byte_order_mark_under_another_encoding_is_noticed(chain, tmp_path):
    told = problem(*export(tmp_path, "t,v\n", "csv: {encoding: cp1252}" + ONE_SENSOR, "utf-8-sig"), chain)
    assert "begins with UTF-8's byte order mark" in told


def test_a_time_format_that_no_row_has_stops_at_once(chain, tmp_path):
    mapping = ONE_SENSOR.replace("iso", '"%d.%m.%Y %H:%M"')
    told = problem(*export(tmp_path, "t,v\n10/05/2026 06:00,-18\n", mapping), chain)
    assert "mapping.yaml:2: none of the first 1 rows" in told
    assert "line 2, column 't' is '10/05/2026 06:00'" in told


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("export.xlsx", b"PK", "neither CSV nor Parquet"),
        ("export.csv", b"", "is the file empty"),
        ("export.csv", b"a\0b", "zero bytes"),
        ("export.parquet", b"not", "not a Parquet file"),
    ],
)
def test_a_file_that_is_none_is_told(chain, tmp_path, name, content, expected):
    mapping = export(tmp_path, "", ONE_SENSOR)[1]
    (tmp_path / name).write_bytes(content)
    assert expected in problem(tmp_path / name, mapping, chain)


def test_a_missing_file_is_told(chain, tmp_path):
    mapping = export(tmp_path, "", ONE_SENSOR)[1]
    assert "there is no such file" in problem(tmp_path / "none.csv", mapping, chain)
