"""Keyed hashes in place of personal data, and the files their keys lie in.

The same loyalty number always gets the same customer id, so sales of one household can be joined, and the same plate
the same vehicle id; without the key nobody can go back, nor try all numbers.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import unicodedata
from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet


class KeyFileError(RuntimeError):
    """A key file that cannot be used: unreadable, empty, or open to others."""


CUSTOMER, CAR = "cust", "car"


def spelled(value: str, kind: str) -> str:
    """The value in the one way that is hashed: without blanks around it; of a plate its letters and digits alone, in
    capitals, because a person writes `m-ab 1234` where a camera reads `MAB1234`. Empty where there is nothing to hash.
    """
    if kind == CAR:
        return "".join(sign for sign in unicodedata.normalize("NFC", value) if sign.isalnum()).upper()
    return value.strip()


class Pseudonyms:
    """key: at least 16 secret bytes. Raises ValueError for a shorter one."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError(
                f"pseudonym key: {len(key)} bytes, at least 16 are needed; `openssl rand -hex 32` makes 32"
            )
        self._key = key

    def of(self, value: str, kind: str = CUSTOMER) -> str:
        """The kind, `_` and 32 hex digits: the pseudonym of a loyalty number or household, or of another kind's value.

        The same value has unlike digits in each kind, so that a plate that is also somebody's number joins nothing.
        """
        key = self._key
        if kind != CUSTOMER:  # the first kind there was; its pseudonyms stay what they are
            key = hmac.digest(key, b"pseudonym " + kind.encode(), hashlib.sha256)
        return f"{kind}_" + hmac.digest(key, value.encode(), hashlib.sha256).hex()[:32]

    def fingerprint(self, *parts: bytes) -> str:
        """24 hex digits that name these bytes, and tell nothing about them to somebody without the key."""
        mac = hmac.new(self._key, b"fingerprint", hashlib.sha256)
        for part in parts:
            mac.update(len(part).to_bytes(8, "big") + part)
        return mac.hexdigest()[:24]


def pseudonym_key(path: Path) -> bytes:
    """The pseudonym key in this file; made at the first call. A second call gives the same key."""
    return _key(path, lambda: secrets.token_hex(32).encode())


def dead_letter_key(path: Path) -> bytes:
    """The Fernet key in this file; made at the first call. A second call gives the same key."""
    return _key(path, Fernet.generate_key)


def _key(path: Path, make: Callable[[], bytes]) -> bytes:
    """Read a key, or make it: whole or not at all, readable by its owner only, never written over."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(make())
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # somebody else made it in the meantime: theirs counts
        finally:
            draft.unlink()
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise KeyFileError(f"{path}: mode {mode:o} lets others read this key; `chmod 600 {path}`")
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read ({error.strerror}); run as the user who owns it") from error
    if not key:
        raise KeyFileError(f"{path}: empty; restore it from your backup, or delete it to make a new one")
    return key
