"""What the commands that let events in have in common: the broker, the keys, the gate. Reads the settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape

from grocery.settings import settings

if TYPE_CHECKING:
    from ingestion.dead_letters import Cipher
    from ingestion.gate import Gate
    from ingestion.pseudonym import Pseudonyms
    from ingestion.reference import Reference


class NoBroker(RuntimeError):
    """No broker is set, and no local stack runs."""


def bootstrap() -> str:
    """GROCERY_KAFKA, or the running local stack's broker. Raises NoBroker."""
    where = settings()
    if where.kafka:
        return where.kafka
    from grocery.stack import Stack, StackError

    hint = f"workspace {where.workspace}: no broker runs; `grocery stack up` starts one, or set GROCERY_KAFKA"
    try:
        running = Stack(where.stack_home, where.logs).status()
    except StackError as error:
        raise NoBroker(f"{hint} ({error})") from error
    if running.kafka is None:
        raise NoBroker(hint)
    return running.kafka


def pseudonyms() -> Pseudonyms:
    """With GROCERY_PSEUDONYM_KEY, or the key in <home>/keys, made at the first call."""
    from ingestion.pseudonym import Pseudonyms, pseudonym_key

    where = settings()
    if where.pseudonym_key is not None:
        return Pseudonyms(where.pseudonym_key.get_secret_value().encode())
    return Pseudonyms(pseudonym_key(where.home / "keys" / "pseudonym.key"))


def cipher() -> Cipher:
    """With GROCERY_DEAD_LETTER_KEY, or the key in <home>/keys, made at the first call."""
    from ingestion.dead_letters import Cipher
    from ingestion.pseudonym import dead_letter_key

    where = settings()
    if where.dead_letter_key is not None:
        return Cipher(where.dead_letter_key.get_secret_value().encode())
    return Cipher(dead_letter_key(where.home / "keys" / "dead-letters.key"))


def open_gate(reference: Reference, max_kept_bytes: int | None = None) -> Gate:
    """A gate with this installation's keys. Raises KeyFileError, ValueError for a key that cannot be used."""
    from ingestion.dead_letters import MAX_KEPT_BYTES
    from ingestion.gate import Gate

    return Gate(reference, pseudonyms(), cipher(), max_kept_bytes=max_kept_bytes or MAX_KEPT_BYTES)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn what a user can set right into one line and exit code 1; leave the rest a traceback."""
    import typer
    from kafka.errors import KafkaError
    from rich.console import Console

    from grocery.stack import StackError
    from ingestion.pseudonym import KeyFileError
    from ingestion.sinks import DeliveryFailed
    from ingestion.ticker import AnotherTicker

    try:
        yield
    except KafkaError as error:
        message = f"Kafka: {type(error).__name__}: {error}; is the broker up? `grocery stack status` tells"
    except (KeyError, IndexError):  # our own mistake, not the user's
        raise
    except (
        NoBroker,
        StackError,
        KeyFileError,
        DeliveryFailed,
        AnotherTicker,
        LookupError,
        ValueError,
        OSError,
    ) as error:
        named = isinstance(error, OSError) and error.filename is not None
        message = f"{error.filename}: {error.strerror}" if named else str(error)
    else:
        return
    Console(stderr=True).print(f"[red]error[/red] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)
