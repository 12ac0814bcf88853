"""The state machine of docs/alert-life.md, read from its table."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

DOC = Path(__file__).parents[2] / "docs" / "alert-life.md"


@cache
def table() -> dict[tuple[str, str], frozenset[str]]:
    """(status, event) -> the statuses that may hold afterwards."""
    lines = DOC.read_text("utf-8").split("## The state machine")[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    head, _, *body = rows
    assert head[:3] == ["from", "event", "to"]
    found = {(one, event): frozenset(to.split(", ")) for one, event, to, _ in body}
    assert len(found) == len(body), "a row stands twice"
    return found


def follows_the_table(life: list[dict[str, Any]]) -> bool:
    """Whether an alert's events, in their order, are a way through the table; says which step is not."""
    status = "pending"
    for number, alert in enumerate(life, 1):
        assert alert["sequence"] == number, [item["event"] for item in life]
        allowed = table().get((status, alert["event"]), frozenset())
        assert alert["status"] in allowed, f"{status} -> {alert['event']} -> {alert['status']} is not in {DOC.name}"
        status = alert["status"]
    return True
