import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerting.fold import answers
from alerting.language import COMMAND_RULE
from alerting.life import alert_id
from grocery.settings import PROJECT
from ingestion.arrival import Arrival, dumps
from ingestion.gate import READINGS
from ingestion.record import Record
from ingestion.reference import Reference
from ingestion.topics import ALERT_TOPICS, DEAD_LETTERS, JOB_ALERTS, JOBLESS_ALERTS
from schemas.contract import all_contracts, contract
from schemas.instants import to_rfc3339
from schemas.validate import validator
from streaming_jobs.submit import jobs
from tests.alerting.logs import rules_of
from tests.ingestion.example import CIPHER, NOON, PSEUDONYMS, arrival, asset, chain, command, gate, reading, sale, store

LINE = {
    "line_no": 1,
    "gtin": "04012345678901",
    "department": "dairy",
    "quantity": 1,
    "unit_price": 199,
    "discount": 0,
    "tax": 0,
    "amount": 199,
    "voided": False,
}
GOOD_SALE = sale(lines=[LINE], total=199, tenders=[{"kind": "card", "amount": 199}])


CHECKS = {name: validator(contract(name)) for name in (READINGS, DEAD_LETTERS, "pos-transactions", "geofence-events")}


def body(record: Record) -> dict[str, Any]:
    return json.loads(record.value)


def refusal(event: dict[str, Any] | bytes, name: str = READINGS, **options: Any) -> tuple[dict[str, Any], list[Record]]:
    """The letter of an event that must be refused, and all records; both follow their contracts."""
    records = gate(**options).admit(arrival(event, name))
    assert records[0].topic == DEAD_LETTERS
    for record in records:
        assert validator(contract("alert" if record.topic in ALERT_TOPICS else record.topic))(body(record)) == []
    letter = body(records[0])
    payload = event if isinstance(event, bytes) else dumps(event)
    assert CIPHER.decrypt(letter["payload"]) == payload
    assert letter["payload_bytes"] == len(payload)
    return letter, records


def codes(letter: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in letter["reasons"]]


def test_a_good_reading_goes_on_keyed_by_store_at_its_arrival_time() -> None:
    the_gate = gate()
    (record,) = the_gate.admit(arrival(reading()))
    assert record[:2] == (READINGS, "store-001")
    assert record.timestamp_ms == NOON
    assert body(record) == reading()
    assert the_gate.accepted == {READINGS: 1}
    assert not the_gate.refused


def test_the_same_arrival_gives_the_same_bytes() -> None:
    assert gate().admit(arrival(reading())) == gate().admit(arrival(reading()))
    spaced = json.dumps(reading(), indent=1).encode()
    assert gate().admit(arrival(spaced)) == gate().admit(arrival(reading()))


def test_of_a_key_given_twice_only_one_value_goes_on() -> None:
    doubled = dumps(reading()).replace(b'"value":', b'"value":-2.5,"value":')
    (record,) = gate().admit(arrival(doubled))
    assert record.value.count(b'"value"') == 1
    assert b"-2.5" not in record.value


@pytest.mark.parametrize(
    ("event", "code", "path"),
    [
        (reading(kind="rading"), "enum", "/kind"),
        (reading(value="cold"), "type", "/value"),
        (reading(value=71), "maximum", "/value"),
        (reading(event_time="2026-10-05 12:00"), "pattern", "/event_time"),
        (reading(shelf=3), "unknown_field", None),
        (b'{"event_id":', "json", ""),
        (b"[1,2]", "json", ""),
        (b"\xff\xfe", "json", ""),
        (b"", "json", ""),
        (b"[" * 50_000, "json", ""),
        (dumps(reading()).replace(b"-18.5", b"NaN"), "not_a_number", "/value"),
        (dumps(reading()).replace(b"-18.5", b"-Infinity"), "not_a_number", "/value"),
        (dumps(reading()).replace(b"-18.5", b"1e999"), "not_a_number", "/value"),
        (reading(sequence=2**63), "range", "/sequence"),
        (reading(store_id="store-009"), "unknown_store", "/store_id"),
        (reading(asset_id="s001-freezer-99"), "unknown_asset", "/asset_id"),
        (reading(asset_id="s002-freezer-01"), "unknown_asset", "/asset_id"),
        (reading(asset_class="cooler"), "asset_class", "/asset_class"),
        (reading(device_id="nobody"), "unknown_device", "/device_id"),
        (reading(asset_id="s001-cooler-01", asset_class="cooler"), "device", "/device_id"),
        (reading(metric="humidity", unit="%", value=40), "metric", "/metric"),
        (reading(unit="kW"), "unit", "/unit"),
        (reading(unit="[degF]"), "unit", "/unit"),
        (reading(unit="Celsius"), "unit", "/unit"),
        (reading(event_time=to_rfc3339(NOON + 24 * 3600_000)), "clock", "/event_time"),
        (reading(kind="tick"), "kind", "/kind"),
        (reading(kind="bad-reading", bad_reason="I say so"), "kind", "/kind"),
        (reading(roster=[]), "kind", "/roster"),
        (reading(commands=[command()]), "kind", "/commands"),
    ],
)
def test_what_cannot_be_used_becomes_a_letter_that_names_it(
    event: dict[str, Any] | bytes, code: str, path: str | None
) -> None:
    letter, _ = refusal(event)
    assert code in codes(letter)
    assert letter["contract"] == READINGS
    assert letter["source"] == "test:1"
    assert letter["event_time"] == to_rfc3339(NOON)
    if path is not None:
        assert path in [reason["path"] for reason in letter["reasons"] if reason["code"] == code]


@pytest.mark.parametrize(
    "name", ["alert", "alerts.cold-chain", "derived-metrics", "stores", "dead-letters", "nonsense", "unknown", ""]
)
def test_what_is_not_let_in_from_outside_is_refused(name: str) -> None:
    letter, records = refusal(reading(), name)
    assert codes(letter) == ["contract"]
    assert len(records) == 1


def test_a_payload_of_one_megabyte_is_refused_and_kept() -> None:
    letter, _ = refusal(b'{"event_id":"' + b"x" * 1_000_000 + b'"}')
    assert codes(letter) == ["size"]
    assert "1000015 bytes" in letter["reasons"][0]["message"]
    assert "262144" in letter["reasons"][0]["message"]


def test_an_original_too_large_for_a_record_is_named_but_not_kept() -> None:
    (record,) = gate(max_kept_bytes=1000).admit(arrival(b"x" * 300_000))
    letter = body(record)
    assert codes(letter) == ["size", "not_kept"]
    assert "payload" not in letter
    assert validator(contract("dead-letters"))(letter) == []


def test_a_device_one_hour_ahead_passes_and_so_does_a_late_one() -> None:
    for hours in (1, 2, -48):
        (record,) = gate().admit(arrival(reading(event_time=to_rfc3339(NOON + hours * 3600_000))))
        assert record.topic == READINGS


def test_an_event_a_year_ahead_becomes_a_letter_that_names_its_clock() -> None:
    ahead = to_rfc3339(NOON + 365 * 24 * 3600_000)
    for event, name in ((reading(event_time=ahead), READINGS), (seen_by_camera(event_time=ahead), "geofence-events")):
        letter, _ = refusal(event, name)
        [reason] = letter["reasons"]
        assert (reason["code"], reason["path"]) == ("clock", "/event_time")
        assert (letter["event_time"], letter["contract"]) == (to_rfc3339(NOON), name)


def test_all_reasons_are_told_not_only_the_first() -> None:
    letter, _ = refusal(reading(store_id="store-009", value="cold", event_time=to_rfc3339(NOON + 10**8)))
    assert {"type", "clock", "unknown_store"} <= set(codes(letter))


def test_a_device_in_fahrenheit_is_converted_and_what_it_said_is_noted() -> None:
    ids = {"device_id": "s001-cooler-01-t", "asset_id": "s001-cooler-01", "asset_class": "cooler"}
    (record,) = gate().admit(arrival(reading(value=41, unit="[degF]", **ids)))
    event = body(record)
    assert (event["value"], event["unit"]) == (5.0, "Cel")
    assert (event["reported_value"], event["reported_unit"]) == (41, "[degF]")
    assert validator(contract(READINGS))(event) == []


def test_the_limits_of_a_metric_hold_after_conversion() -> None:
    ids = {"device_id": "s001-cooler-01-t", "asset_id": "s001-cooler-01", "asset_class": "cooler"}
    letter, records = refusal(reading(value=170, unit="[degF]", **ids))
    assert codes(letter) == ["maximum"]
    assert body(records[1])["raw_value"] == "170"


def test_a_loyalty_number_is_gone_before_anything_is_written() -> None:
    (record,) = gate().admit(arrival(GOOD_SALE | {"loyalty_number": "4711-0815-99"}, "pos-transactions"))
    event = body(record)
    assert event["customer_id"] == PSEUDONYMS.of("4711-0815-99")
    assert b"4711-0815-99" not in record.value
    assert b"loyalty_number" not in record.value
    assert validator(contract("pos-transactions"))(event) == []


def seen_by_camera(**changes: Any) -> dict[str, Any]:
    """A car comes into the car park; a change to None takes the field away."""
    event = {
        "event_id": "geo-1",
        "event_time": to_rfc3339(NOON - 1000),
        "store_id": "store-001",
        "schema_version": 1,
        "zone_id": "s001-car-park",
        "event": "arrived",
        "seen_by": "camera",
        "camera_id": "s001-camera-01",
        "plate": "M-AB 1234",
    }
    return {name: value for name, value in (event | changes).items() if value is not None}


def test_a_plate_is_gone_before_anything_is_written() -> None:
    (record,) = gate().admit(arrival(seen_by_camera(loyalty_number="4711-0815-99"), "geofence-events"))
    event = body(record)
    assert event["vehicle_id"] == PSEUDONYMS.of("MAB1234", "car")
    assert event["customer_id"] == PSEUDONYMS.of("4711-0815-99")
    assert not [said for said in (b"plate", b"1234", b"AB", b"loyalty_number", b"4711") if said in record.value]
    assert validator(contract("geofence-events"))(event) == []


def test_a_car_is_the_same_to_the_order_and_to_the_camera() -> None:
    order = {
        "event_id": "ord-1-8",
        "event_time": to_rfc3339(NOON - 1000),
        "store_id": "store-001",
        "schema_version": 1,
        "order_id": "ord-1",
        "event": "on_the_way",
        "plate": " m ab-1234",
    }
    (ordered,) = gate().admit(arrival(order, "orders"))
    (seen,) = gate().admit(arrival(seen_by_camera(), "geofence-events"))
    assert (ordered.topic, seen.topic) == ("orders", "geofence-events")
    assert body(ordered)["vehicle_id"] == body(seen)["vehicle_id"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"vehicle_id": "M-AB 1234", "plate": None},
        {"vehicle_id": "car_" + "0" * 32},
        {"plate": ["M-AB 1234"]},
        {"plate": " - "},
        {"licensePlate": "M-AB 1234"},
        {"zone_id": None},
        {"camera_id": "s001-lane-01"},
    ],
)
def test_a_refused_arrival_at_the_car_park_tells_no_plate(wrong: dict[str, Any]) -> None:
    _, records = refusal(seen_by_camera(**wrong), "geofence-events")
    assert len(records) == 1
    assert b"1234" not in records[0].value


def test_a_position_is_refused_and_not_repeated() -> None:
    letter, records = refusal(seen_by_camera(position=[-104.9903, 39.7392]), "geofence-events")
    assert codes(letter) == ["unknown_field"]
    assert b"104.99" not in records[0].value


def test_no_contract_lets_direct_personal_data_in() -> None:
    for item in all_contracts():
        if item.kind == "event":
            assert not [field.name for field in item.fields if field.pii == "direct"]
        for field in item.fields:
            if field.pseudonym:
                _, kind = field.pseudonym
                assert re.fullmatch(field.schema["pattern"], PSEUDONYMS.of("4711", kind))


def test_a_loyalty_number_given_as_a_number_is_the_same_person() -> None:
    as_text, as_number = (
        body(gate().admit(arrival(GOOD_SALE | {"loyalty_number": given}, "pos-transactions"))[0])["customer_id"]
        for given in ("471108", 471108)
    )
    assert as_text == as_number


@pytest.mark.parametrize(
    "wrong",
    [
        {"customer_id": "4711081599"},
        {"loyalty_number": "4711081599", "customer_id": "cust_" + "0" * 32},
        {"loyalty_number": ["4711081599"]},
        {"loyaltyNumber": "4711081599"},
        {"loyalty_number": "4711081599", "total": "free"},
        {"tenders": [{"kind": "card 4711081599", "amount": 199}]},
        {"4711081599": "me"},
        {"tenders": [{"kind": "card", "amount": 199, "4711 0815 99": 1}]},
    ],
)
def test_a_refused_sale_tells_no_personal_number_in_plain(wrong: dict[str, Any]) -> None:
    _, records = refusal(GOOD_SALE | wrong, "pos-transactions")
    assert len(records) == 1
    assert b"4711" not in records[0].value


def test_broken_json_with_a_personal_number_tells_none_of_it() -> None:
    _, records = refusal(b'{"loyalty_number":"4711081599",', "pos-transactions")
    assert b"4711" not in records[0].value


def test_a_known_sensor_that_speaks_wrongly_leaves_a_marker() -> None:
    letter, records = refusal(dumps(reading()).replace(b"-18.5", b"NaN"))
    marker = body(records[1])
    assert records[1][:2] == (READINGS, "store-001")
    assert records[1].timestamp_ms == NOON
    assert marker["kind"] == "bad-reading"
    assert marker["event_id"] == letter["event_id"].replace("dl-", "bad-")
    assert marker["bad_reason"] == "not_a_number /value"
    assert marker["raw_value"] == "NaN"
    assert marker["event_time"] == reading()["event_time"]
    assert (marker["device_id"], marker["asset_id"], marker["metric"]) == (
        "s001-freezer-01-t",
        "s001-freezer-01",
        "temperature",
    )


FAHRENHEIT = reading(
    device_id="s001-cooler-01-t", asset_id="s001-cooler-01", asset_class="cooler", unit="[degF]", value=38
)


@pytest.mark.parametrize(
    ("event", "why", "said"),
    [
        (dumps(reading()).replace(b"-18.5", b"NaN"), "not_a_number /value", "NaN"),
        (dumps(reading()).replace(b"-18.5", b"Infinity"), "not_a_number /value", "Infinity"),
        (reading(value=None), "type /value", None),
        ({name: value for name, value in reading().items() if name != "value"}, "required /value", None),
        (reading(value="ERR"), "type /value", '"ERR"'),
        (reading(value=""), "type /value", '""'),
        (reading(value=True), "type /value", "true"),
        (reading(unit="kW"), "unit /unit", "-18.5"),
        (reading(unit=None), "type /unit", "-18.5"),
        (reading(unit="[degF]"), "unit /unit", "-18.5"),
        # DS18B20: -127 is what its driver says of a probe that does not answer, 85 its register after power-on.
        (reading(value=-127), "minimum /value", "-127"),
        (reading(value=-127.0), "minimum /value", "-127.0"),
        (reading(value=85), "maximum /value", "85"),
        (FAHRENHEIT | {"value": -196.6}, "minimum /value", "-196.6"),
        (FAHRENHEIT | {"value": 185}, "maximum /value", "185"),
        (reading(asset_id="s001-freezer-99"), "unknown_asset /asset_id", "-18.5"),
    ],
)
def test_what_a_known_sensor_says_wrongly_is_a_letter_and_a_marker_with_what_it_said(
    event: dict[str, Any] | bytes, why: str, said: str | None
) -> None:
    _, (_, marker) = refusal(event)
    told = body(marker)
    assert (told["kind"], told["bad_reason"].split(", ")[0], told.get("raw_value")) == ("bad-reading", why, said)
    assert "value" not in told


def test_a_marker_of_a_device_with_a_wrong_clock_takes_the_arrival_time() -> None:
    _, records = refusal(reading(event_time=to_rfc3339(NOON + 10**9)))
    assert body(records[1])["event_time"] == to_rfc3339(NOON)


@pytest.mark.parametrize(
    "event",
    [
        reading(device_id="nobody"),
        reading(device_id=7),
        reading(store_id="store-002", value="cold"),
        reading(kind="tick"),
        b'{"device_id":"s001-freezer-01-t"',
    ],
)
def test_who_cannot_be_told_for_sure_leaves_no_marker(event: dict[str, Any] | bytes) -> None:
    _, records = refusal(event)
    assert len(records) == 1


def test_an_unknown_device_on_an_unknown_asset_is_a_letter_alone() -> None:
    letter, records = refusal(reading(device_id="s001-freezer-99-t", asset_id="s001-freezer-99"))
    assert codes(letter) == ["unknown_asset", "unknown_device"]
    assert len(records) == 1


def test_commands_pass_and_must_name_what_there_is() -> None:
    for good in (
        command(),
        command(asset_id=None),
        command(asset_id="store-001", topic="alerts.queue"),
        command(asset_id=None, device_id="store-001/lanes_short"),
    ):
        (record,) = gate().admit(arrival(good, "alert-commands"))
        assert (record.topic, record.key, body(record)) == ("alert-commands", "store-001", good)
    for wrong, code in (
        ({"store_id": "store-009"}, "unknown_store"),
        ({"asset_id": "s001-freezer-99"}, "unknown_asset"),
        ({"asset_id": "s002-freezer-01"}, "unknown_asset"),
        ({"until": None}, "required"),
        ({"actor": None}, "required"),
        ({"until": "2026-10-05T13:00:00Z"}, "pattern"),
        ({"topic": "alerts.curbside"}, "topic"),
        ({"topic": "alerts.coldchain"}, "enum"),
    ):
        letter, (_, answer) = refusal(command(**wrong), "alert-commands")
        assert codes(letter) == [code]
        told, topic = body(answer), wrong.get("topic", "alerts.cold-chain")
        assert answer.topic == told["topic"] == (topic if topic in JOB_ALERTS else "alerts.platform")
        assert (told["event"], told["status"], told["sequence"]) == ("rejected", "resolved", 1)
        assert answers(told, command())
        assert letter["reasons"][0]["message"][:100] in told["reason"]
        assert (answer.key, answer.timestamp_ms) == (told["store_id"], NOON)
        assert told["store_id"] == ("chain" if code == "unknown_store" else "store-001")
        assert told.get("actor") == ("store-manager" if "actor" not in wrong else None)


def test_each_wrong_command_is_answered_by_itself_and_what_is_let_in_later_gets_its_jobs_answer() -> None:
    """Readers tell answers apart by alert_id: the job makes its own from the command's id."""
    wrong = arrival(command(until=None), "alert-commands")
    again, later = (arrival(command(until=None), "alert-commands", at_ms=NOON + ms) for ms in (0, 1))
    ids = [body(gate().admit(item)[1])["alert_id"] for item in (wrong, again, later)]
    assert len(set(ids)) == 2
    assert ids[0] == ids[1]
    assert alert_id(COMMAND_RULE, "", command()["event_id"]) not in ids


@pytest.mark.parametrize(
    "payload",
    [
        dumps(command(event_id=None)),
        dumps(command(event_id="#1")),
        dumps(command(event_id=7)),
        b'{"event_id":"command-1"',
        b"[]",
        b" " * 300_000,
    ],
)
def test_a_wrong_command_that_cannot_be_named_is_a_dead_letter_only(payload: bytes) -> None:
    _, records = refusal(payload, "alert-commands")
    assert len(records) == 1


@pytest.mark.parametrize("more", [b',"lasts_s":NaN}', b',"lasts_s":123456789012345678901}', b',"area":"\\ud800"}'])
def test_of_a_wrong_command_that_is_no_json_only_what_names_it_is_told(more: bytes) -> None:
    payload = dumps(command(comment="x" * 1001))[:-1] + more
    _, (_, answer) = refusal(payload, "alert-commands")
    told = body(answer)
    assert (told["command_id"], told["topic"]) == ("command-1", "alerts.cold-chain")
    assert not told.keys() & {"actor", "comment"}


def test_topics_without_a_job_are_those_that_no_shipped_rules_tell_on() -> None:
    told = {rules_of(PROJECT / "chain" / "rules" / job.rules).topic for job in jobs().values()}
    assert told == set(JOB_ALERTS) - set(JOBLESS_ALERTS)


def test_stock_on_the_books_passes_below_zero_and_not_in_halves() -> None:
    stock = {name: reading()[name] for name in ("event_id", "event_time", "store_id", "schema_version")} | {
        "product_id": "04012345678901",
        "on_hand": -2,
        "unit": "1",
        "counted": False,
        "source": "store-erp",
    }
    assert gate().admit(arrival(stock, "inventory"))[0].topic == "inventory"
    assert codes(refusal(stock | {"on_hand": 1.5}, "inventory")[0]) == ["type"]


def test_a_retired_asset_is_refused_from_its_last_day_on() -> None:
    retired = asset(status="retired", event_time="2026-10-05T00:00:00.000Z")
    the_gate = gate()
    the_gate.reference = Reference.of([*chain(), ("assets", retired)])
    assert codes(body(the_gate.admit(arrival(reading()))[0])) == ["retired_asset"]
    before = arrival(reading(event_time="2026-10-04T23:59:00.000Z"))
    assert the_gate.admit(before)[0].topic == READINGS


def test_a_retired_store_is_refused_from_its_last_day_on() -> None:
    the_gate = gate()
    the_gate.reference = Reference.of(
        [*chain(), ("stores", store(status="retired", event_time="2026-10-05T00:00:00.000Z"))]
    )
    assert codes(body(the_gate.admit(arrival(GOOD_SALE, "pos-transactions"))[0])) == ["retired_store"]
    assert the_gate.admit(arrival(reading(event_time="2026-10-04T23:59:00.000Z")))[0].topic == READINGS


def test_a_newly_published_device_is_known_at_once() -> None:
    the_gate = gate()
    event = arrival(reading(device_id="s001-freezer-09-t", asset_id="s001-freezer-09"))
    assert the_gate.admit(event)[0].topic == DEAD_LETTERS
    the_gate.reference = Reference.of([*chain(), ("assets", asset("s001-freezer-09"))])
    assert the_gate.admit(event)[0].topic == READINGS


def test_cameras_and_lanes_must_be_known_too() -> None:
    seen = {
        "event_id": "c-1",
        "event_time": to_rfc3339(NOON),
        "store_id": "store-001",
        "schema_version": 1,
        "camera_id": "s001-camera-01",
        "zone_id": "queue-1",
        "zone_kind": "queue",
        "asset_id": "s001-lane-01",
        "seen": "person",
        "count": 3,
        "confidence": 0.9,
        "model": "people",
        "model_version": "1",
    }
    assert gate().admit(arrival(seen, "cv-detections"))[0].topic == "cv-detections"
    for wrong, code in (
        ({"camera_id": "s001-camera-77"}, "unknown_asset"),
        ({"camera_id": "s001-lane-01"}, "asset_class"),
        ({"asset_id": "s001-lane-77"}, "unknown_asset"),
    ):
        assert codes(refusal(seen | wrong, "cv-detections")[0]) == [code]
    lane = {name: seen[name] for name in ("event_id", "event_time", "store_id", "schema_version")} | {
        "lane_id": "s001-lane-01",
        "lane_kind": "staffed",
        "status": "open",
    }
    assert gate().admit(arrival(lane, "lane-status"))[0].topic == "lane-status"
    assert codes(refusal(seen_by_camera(camera_id="s001-lane-01"), "geofence-events")[0]) == ["asset_class"]
    assert codes(refusal(lane | {"lane_id": "s001-freezer-01"}, "lane-status")[0]) == ["asset_class"]


def test_the_counts_add_up() -> None:
    the_gate = gate()
    for event in (reading(1), reading(2, unit="kW"), reading(3, value="cold"), b"{"):
        the_gate.admit(arrival(event))
    assert the_gate.accepted.total() + the_gate.refused.total() == 4
    assert the_gate.refused == {"unit": 1, "type": 1, "json": 1}
    assert the_gate.markers == 2


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(
    [
        *(*reading(), *GOOD_SALE, *seen_by_camera()),
        *("loyalty_number", "sequence", "roster", "store", "assets", "commands", "eta_s", "confidence"),
    ]
)


_FUZZ = settings(database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_FUZZ
@given(
    st.sampled_from([reading(), GOOD_SALE, seen_by_camera()]),
    st.dictionaries(_NAMES, _JSON, max_size=4),
    st.integers(0, 200),
)
def test_whatever_arrives_the_gate_answers_with_records_that_keep_their_contracts(
    start: dict[str, Any], changes: dict[str, Any], cut: int
) -> None:
    name = READINGS if "value" in start else "geofence-events" if "zone_id" in start else "pos-transactions"
    whole = json.dumps(start | changes).encode()
    for payload in (whole, whole[cut:], whole[:cut]):
        records = gate().admit(arrival(payload, name))
        assert records
        for record in records:
            assert CHECKS[record.topic](body(record)) == []
            assert record.timestamp_ms == NOON


@_FUZZ
@given(
    st.text(st.characters(exclude_categories=[])), st.binary(max_size=64), st.text(st.characters(exclude_categories=[]))
)
def test_any_bytes_of_any_contract_from_anywhere_become_a_letter(name: str, payload: bytes, source: str) -> None:
    (record,) = gate().admit(Arrival(name, NOON, payload, source))
    assert CHECKS[record.topic](body(record)) == []
    assert CIPHER.decrypt(body(record)["payload"]) == payload
