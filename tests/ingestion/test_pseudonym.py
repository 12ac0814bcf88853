import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from ingestion.pseudonym import CAR, KeyFileError, Pseudonyms, dead_letter_key, pseudonym_key, spelled


def test_the_same_number_gets_the_same_pseudonym_and_another_key_another_one() -> None:
    one, other = Pseudonyms(b"k" * 32), Pseudonyms(b"l" * 32)
    assert one.of("4711") == one.of("4711") != one.of("4712")
    assert one.of("4711") != other.of("4711")
    assert re.fullmatch("cust_[0-9a-f]{32}", one.of("4711"))


def test_a_plate_is_the_same_car_however_it_is_written_and_joins_no_customer() -> None:
    pseudonyms = Pseudonyms(b"k" * 32)
    assert {spelled(plate, CAR) for plate in ("M-AB 1234", "mab1234", " m ab·1234 ")} == {"MAB1234"}
    assert spelled(" 4711-08 ", "cust") == "4711-08"
    assert spelled(" - ", CAR) == ""
    assert re.fullmatch("car_[0-9a-f]{32}", pseudonyms.of("4711", CAR))
    assert pseudonyms.of("4711", CAR)[-32:] != pseudonyms.of("4711")[-32:]


def test_a_customers_pseudonym_stays_what_it_was_in_earlier_versions() -> None:
    assert Pseudonyms(b"k" * 32).of("4711") == "cust_17eff22d8cdece90ba41638c9e94a573"


def test_a_fingerprint_tells_apart_how_its_parts_are_cut() -> None:
    pseudonyms = Pseudonyms(b"k" * 32)
    assert pseudonyms.fingerprint(b"ab", b"c") != pseudonyms.fingerprint(b"a", b"bc")


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "pseudonym.key"
    key = pseudonym_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert pseudonym_key(path) == key
    assert [file.name for file in path.parent.iterdir()] == ["pseudonym.key"]
    Fernet(dead_letter_key(tmp_path / "keys" / "letters.key"))


def test_many_that_make_a_key_at_once_get_the_same_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: pseudonym_key(tmp_path / "pseudonym.key"), range(32)))
    assert len(keys) == 1


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pseudonym.key"
    pseudonym_key(path)
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="mode 644.*chmod 600"):
        pseudonym_key(path)


def test_an_empty_key_file_is_not_silently_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pseudonym.key"
    path.touch(mode=0o600)
    with pytest.raises(KeyFileError, match="empty"):
        pseudonym_key(path)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="5 bytes"):
        Pseudonyms(b"short")
