"""A store's state as text: versioned JSON, so that a later release can read an earlier one's savepoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from alerting.engine import VERSION

UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""version -> function from that version's state to the next one's."""


class UnknownState(ValueError):
    """A state of a version this release does not know: it was written by a later one."""


def dump(state: dict[str, Any] | None) -> str | None:
    return None if state is None else msgspec.json.encode(state).decode()


def load(text: str | None) -> dict[str, Any] | None:
    """State of a text, upgraded to this release's version. Raises UnknownState."""
    if text is None:
        return None
    state = msgspec.json.decode(text)
    while state["v"] != VERSION:
        if state["v"] not in UPGRADES:
            raise UnknownState(f"state of version {state['v']}; this release reads up to {VERSION}: deploy a later one")
        state = UPGRADES[state["v"]](state)
    return state
