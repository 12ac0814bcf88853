from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.fernet import Fernet

from batch_jobs.sought import ERASED, Sought, scan
from ingestion.dead_letters import Cipher
from ingestion.pseudonym import Pseudonyms

KEYS = Pseudonyms(b"sixteen secret bytes")
NUMBER, PLATE = "90210-4711", "M-AB 1234"
CUSTOMER, VEHICLE = KEYS.of(NUMBER), KEYS.of("MAB1234", "car")
CIPHER = Cipher(Fernet.generate_key())
SOUGHT = Sought((CUSTOMER, VEHICLE), ((NUMBER, "cust"), (PLATE, "car")), KEYS, (CIPHER,))


def parquet(path: Path, *values: object) -> None:
    pq.write_table(pa.table({"a": pa.array(values)}), path, compression="zstd")


def letter(original: bytes, cipher: Cipher = CIPHER) -> str:
    return json.dumps({"event_id": "letter-1", "payload": cipher.encrypt(original, 0)})


@pytest.mark.parametrize(
    "value",
    [
        CUSTOMER,
        f"x{VEHICLE}x",
        [{"deep": [{"er": f"plate {PLATE}."}]}],
        "mab 1234",
        "base64:" + base64.b64encode(b"\xff" + NUMBER.encode()).decode(),
        letter(json.dumps({"loyalty_number": f" {NUMBER} "}).encode()),
        letter(b'{"plate": "\\u004d-AB1234"}'),
        letter(b"till;m ab-1234;broken"),
    ],
)
def test_it_is_found_however_deep_and_packed_it_lies(tmp_path, value):
    parquet(tmp_path / "part-0.parquet", value, value)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/.hidden").write_bytes(b"nothing")
    found = scan(str(tmp_path), SOUGHT)
    assert (found.files, found.hits, found.unread) == (2, [str(tmp_path / "part-0.parquet")], [])


def test_it_is_found_in_gzip_and_across_the_pieces_a_file_is_read_in(tmp_path, monkeypatch):
    monkeypatch.setattr("batch_jobs.sought.CHUNK", 16)
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(f'{{"customer_id": "{CUSTOMER}"}}'.encode()))
    (tmp_path / "_delta_log.json").write_text("x" * 40 + CUSTOMER)
    assert len(scan(str(tmp_path), SOUGHT).hits) == 2


@pytest.mark.parametrize(
    "value",
    [
        KEYS.of("another"),
        f"1{NUMBER}",
        f"cust_{ERASED}",
        4711,
        letter(b'{"loyalty_number": "4711"}'),
        letter(NUMBER.encode(), Cipher(Fernet.generate_key())),
    ],
)
def test_what_only_looks_like_it_is_not(tmp_path, value):
    parquet(tmp_path / "part-0.parquet", value)
    assert scan(str(tmp_path), SOUGHT).hits == []


def test_a_short_number_is_sought_by_its_hash_alone(tmp_path):
    short = Sought((KEYS.of("4011"),), (("4011", "cust"),), KEYS, (CIPHER,))
    parquet(tmp_path / "bananas.parquet", '{"product_id": "4011"}')
    parquet(tmp_path / "letter.parquet", letter(b'{"loyalty_number": 4011}'))
    assert scan(str(tmp_path), short).hits == [str(tmp_path / "letter.parquet")]


def test_a_file_that_cannot_be_decoded_is_named(tmp_path):
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and then the disk was full")
    assert scan(str(tmp_path), SOUGHT).unread == [str(tmp_path / "cut.parquet")]


def test_a_payload_keeps_its_form_and_an_event_keeps_numbers_that_may_be_another_thing():
    text = json.dumps({"customer_id": CUSTOMER, "note": NUMBER})
    assert json.loads(SOUGHT.cleaned(text, plain=False)) == {"customer_id": f"cust_{ERASED}", "note": NUMBER}
    assert json.loads(SOUGHT.cleaned(text, plain=True)) == {"customer_id": f"cust_{ERASED}", "note": "erased"}
    about, other = letter(f'["{NUMBER}"]'.encode()), letter(b"[]")
    assert json.loads(SOUGHT.cleaned(about, plain=True)) == {"event_id": "letter-1", "payload": "erased"}
    assert SOUGHT.cleaned(other, plain=True) == other
