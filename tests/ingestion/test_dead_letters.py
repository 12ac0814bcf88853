import json

import pytest
from cryptography.fernet import Fernet

from ingestion.arrival import dumps
from ingestion.dead_letters import Cipher, Letter, LetterNotReadable, fold, read_letters, replay_letters
from ingestion.feed import feed
from ingestion.gate import READINGS, Gate
from ingestion.reference import Reference
from ingestion.sinks import KafkaSink
from ingestion.topics import DEAD_LETTERS, read_topic
from tests.ingestion.example import CIPHER, NOON, PSEUDONYMS, ListSink, arrival, asset, chain, gate, reading


def letters(*events: dict | bytes) -> dict[str, Letter]:
    the_gate = gate()
    records = [record for event in events for record in the_gate.admit(arrival(event))]
    return fold(record.value for record in records if record.topic == DEAD_LETTERS)


def test_a_letter_gives_back_what_arrived_byte_for_byte() -> None:
    (item,) = letters(b'{"broken": \xff').values()
    assert item.arrival(CIPHER) == arrival(b'{"broken": \xff')
    assert item.codes == ("json",)
    assert not item.replayed


def test_the_original_cannot_be_read_in_the_letter() -> None:
    (record,) = gate().admit(arrival(b'{"name":"Jane Doe",'))
    assert b"Jane" not in record.value


def test_another_key_does_not_open_a_letter_and_says_which_would() -> None:
    (item,) = letters(b"{").values()
    other = Cipher(Fernet.generate_key())
    with pytest.raises(LetterNotReadable, match=f"{CIPHER.key_id}.*{other.key_id}.*GROCERY_DEAD_LETTER_KEY"):
        item.arrival(other)


def test_a_letter_without_its_original_says_where_to_find_it() -> None:
    (record,) = gate(max_kept_bytes=10).admit(arrival(b"x" * 300_000))
    (item,) = fold([record.value]).values()
    with pytest.raises(LetterNotReadable, match="300000 bytes.*test:1"):
        item.arrival(CIPHER)


def test_the_same_arrival_refused_twice_is_one_letter() -> None:
    assert len(letters(b"{", b"{", b"{ ")) == 2


def test_a_key_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not a Fernet key"):
        Cipher(b"short")


class TransactionSink(ListSink):
    """Notes which records went on together."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions: list[list[str]] = []

    def transaction(self) -> "TransactionSink":
        return self

    def __enter__(self) -> None:
        self.began = len(self.records)

    def __exit__(self, *_: object) -> None:
        self.transactions.append([record.topic for record in self.records[self.began :]])


def fixed_gate() -> Gate:
    """The gate once the missing freezer was published."""
    return Gate(Reference.of([*chain(), ("assets", asset("s001-freezer-09"))]), PSEUDONYMS, CIPHER)


def test_after_the_cause_is_gone_a_letter_is_let_in_with_its_mark_and_the_rest_stays() -> None:
    event = reading(device_id="s001-freezer-09-t", asset_id="s001-freezer-09")
    found = letters(event, b"{")
    sink = TransactionSink()
    done = replay_letters(found.values(), CIPHER, fixed_gate(), sink)
    first, second = found
    assert done.accepted == [first]
    assert [reason.code for reason in done.refused[second]] == ["json"]
    assert sink.transactions == [[READINGS, DEAD_LETTERS]]
    let_in, mark = sink.records
    assert (let_in.value, let_in.timestamp_ms) == (dumps(event), NOON)
    assert json.loads(mark.value)["replayed"] is True
    assert "payload" not in json.loads(mark.value)


def test_a_letter_that_was_let_in_is_not_let_in_again() -> None:
    event = reading(device_id="s001-freezer-09-t", asset_id="s001-freezer-09")
    values = [record.value for record in gate().admit(arrival(event))]
    sink = TransactionSink()
    replay_letters(fold(values).values(), CIPHER, fixed_gate(), sink)
    again = fold([*values, sink.records[-1].value])
    assert [item.replayed for item in again.values()] == [True]
    done = replay_letters(again.values(), CIPHER, fixed_gate(), TransactionSink())
    assert (len(done.already), done.accepted) == (1, [])


@pytest.mark.integration
def test_letters_survive_the_broker_and_are_let_in_once(broker: str) -> None:
    events = [
        reading(number, event_id=f"letter-{number}", device_id="s001-freezer-09-t", asset_id="s001-freezer-09")
        for number in range(5)
    ]
    arrivals = [arrival(event) for event in events]
    with KafkaSink(broker) as sink:
        feed(arrivals, gate(), sink)

    def mine() -> list[Letter]:
        found = [item for item in read_letters(broker).values() if item.event.get("key_id") == CIPHER.key_id]
        return [item for item in found if b'"letter-' in item.arrival(CIPHER).payload]

    waiting = mine()
    assert [item.arrival(CIPHER) for item in waiting] == arrivals
    for _ in range(2):
        with KafkaSink(broker) as sink:
            replay_letters(mine(), CIPHER, fixed_gate(), sink)
    assert all(item.replayed for item in mine())
    found = [record.value for record in read_topic(broker, READINGS) if b'"letter-' in record.value]
    assert found == [dumps(event) for event in events]
