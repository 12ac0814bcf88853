from pathlib import Path

import pytest

from ingestion.reference import (
    ChainError,
    Reference,
    ReferenceFollower,
    chain_events,
    publish,
    published,
    read_entries,
)
from ingestion.topics import read_topic
from schemas.contract import contract
from schemas.validate import validator
from tests.ingestion.example import asset, chain, store

STORES = """\
- store_id: store-001
  name: High Street
  status: active
  time_zone: America/Denver
  locale: en-US
  display_unit: "[degF]"
  currency: USD
  country: US
  opening_hours:
    - {day: mon, opens: "06:00", closes: "23:00"}
  holidays:
    - {date: 2026-12-25, name: Christmas, closed: true}
  valid_from: 2026-01-01T00:00:00Z
"""


def test_the_newest_version_of_a_key_wins_in_whatever_order_it_comes() -> None:
    old, new = asset(name="old"), asset(name="new", event_time="2026-01-01T00:00:00.000Z")
    for events in ([old, new], [new, old]):
        reference = Reference.of([("assets", event) for event in events])
        assert reference.assets["s001-freezer-01"]["name"] == "new"


def test_of_two_versions_with_the_same_time_the_later_one_is_a_correction() -> None:
    reference = Reference.of([("assets", asset(name="wrong")), ("assets", asset(name="right"))])
    assert reference.assets["s001-freezer-01"]["name"] == "right"


def test_a_device_belongs_to_the_newest_version_of_its_asset() -> None:
    without = asset(devices=[], event_time="2026-01-01T00:00:00.000Z")
    assert Reference.of([("assets", asset()), ("assets", without)]).devices == {}


def test_an_entry_becomes_an_event_that_keeps_its_contract_and_its_id(tmp_path: Path) -> None:
    (tmp_path / "stores.yaml").write_text(STORES)
    for name in ("assets", "products"):
        (tmp_path / f"{name}.yaml").write_text("[]\n")
    once, again = chain_events(tmp_path), chain_events(tmp_path)
    assert once == again
    ((name, event),) = once
    assert validator(contract(name))(event) == []
    assert event["event_time"] == "2026-01-01T00:00:00.000Z"
    assert event["holidays"][0]["date"] == "2026-12-25"
    (tmp_path / "stores.yaml").write_text(STORES.replace("High", "Low"))
    assert chain_events(tmp_path)[0][1]["event_id"] != event["event_id"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("store_id: store-001\n", "stores.yaml:1: a list of entries"),
        ("- a: 1\n- [\n", "stores.yaml:3: not YAML"),
        ("", "stores.yaml:1: a list of entries"),
    ],
)
def test_a_file_that_is_no_list_of_entries_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "stores.yaml").write_text(text)
    with pytest.raises(ChainError, match=told):
        read_entries(tmp_path / "stores.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ChainError, match="stores.yaml: no such file"):
        Reference.from_folder(tmp_path)


def own(count: int) -> list:
    """Entries of stores that no other test on the shared broker uses."""
    return [("stores", store(f"store-96{number}")) for number in range(count)]


def versions(broker: str, key: str) -> list[str]:
    return [record.value.decode() for record in read_topic(broker, "stores") if record.key == key.encode()]


@pytest.mark.integration
def test_publishing_again_writes_nothing_and_only_changes_are_written(broker: str) -> None:
    assert publish(own(3), broker).written == 3
    again = publish(own(3), broker)
    assert (again.written, again.unchanged) == (0, 3)
    changed = own(3)
    changed[1] = ("stores", store("store-961", name="Renamed", event_time="2026-01-01T00:00:00.000Z", event_id="s-2"))
    assert publish(changed, broker).written == 1
    assert Reference.from_topics(broker).stores["store-961"]["name"] == "Renamed"
    assert len(versions(broker, "store-961")) == 2


@pytest.mark.integration
def test_an_older_version_that_comes_late_does_not_end_last(broker: str) -> None:
    """Compaction keeps a key's last record: that must be the newest version."""
    new = store("store-970", name="new", event_time="2026-02-01T00:00:00.000Z", event_id="new")
    old = store("store-970", name="old", event_time="2026-01-01T00:00:00.000Z", event_id="old")
    publish([("stores", new)], broker)
    assert publish([("stores", old)], broker).written == 1
    found = versions(broker, "store-970")
    assert len(found) == 3
    assert found[0] == found[-1]
    assert '"new"' in found[-1]
    assert publish([("stores", old), ("stores", new)], broker).written == 0
    assert Reference.from_topics(broker).stores["store-970"]["name"] == "new"


@pytest.mark.integration
def test_a_correction_with_the_same_valid_from_wins_and_can_be_taken_back(broker: str) -> None:
    first = ("stores", store("store-971", name="first", event_id="first"))
    second = ("stores", store("store-971", name="second", event_id="second"))
    for entry in (first, second, first):
        assert publish([entry], broker).written == 1
        assert Reference.from_topics(broker).stores["store-971"]["name"] == entry[1]["name"]


@pytest.mark.integration
def test_what_is_published_but_no_longer_given_is_named_and_stays(broker: str) -> None:
    publish([("stores", store("store-972"))], broker)
    done = publish([("stores", store("store-973"))], broker)
    assert "stores store-972" in done.left_over
    assert "store-972" in Reference.from_topics(broker).stores
    retired = store("store-972", status="retired", event_time="2026-01-01T00:00:00.000Z", event_id="r")
    publish([("stores", retired)], broker)
    assert "stores store-972" not in publish([("stores", store("store-973"))], broker).left_over


@pytest.mark.integration
def test_nothing_is_written_where_one_entry_breaks_its_contract(broker: str) -> None:
    before = len(published(broker))
    with pytest.raises(ValueError, match="/time_zone"):
        publish([("stores", store("store-974")), ("stores", store("store-975", time_zone=7))], broker)
    assert len(published(broker)) == before


@pytest.mark.integration
def test_a_follower_knows_what_was_published_before_and_after_it_began(broker: str) -> None:
    publish([("stores", store("store-976"))], broker)
    follower = ReferenceFollower(broker)
    try:
        assert "store-976" in follower.reference.stores
        publish([("stores", store("store-977"))], broker)
        assert any(follower.poll(5) for _ in range(5))
        assert "store-977" in follower.reference.stores
    finally:
        follower.close()


def test_the_example_chain_keeps_its_contracts() -> None:
    for name, event in chain():
        assert validator(contract(name))(event) == []
