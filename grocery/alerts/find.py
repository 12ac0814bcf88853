"""Which alert, silence or topic a person means by what they type."""

from __future__ import annotations

from collections.abc import Sequence

from alerting.fold import Life, lives
from grocery.alerts.desk import Desk
from grocery.alerts.words import SHORT, short_ids, standing
from ingestion.topics import ALERT_TOPICS, PLATFORM_ALERTS

LISTED = 10
"""Alerts that are listed where several are meant; the rest is counted."""


def find(desk: Desk, named: str) -> tuple[list[Life], Life]:
    """(every alert, the one whose id begins so). Raises LookupError for none and for several."""
    everything = lives(desk.told())
    everyone = [life for life in everything if not life.is_answer]
    found = [life for life in everyone if named and life.alert_id.startswith(named)]
    exact = [life for life in found if life.alert_id == named]
    if len(exact or found) == 1:
        return everyone, (exact or found)[0]
    if not found:
        if any(life.now.get("command_id", "").startswith(named) for life in everything if life.is_answer):
            raise LookupError(f"{named}: names a command, not an alert; see `grocery alerts silences`")
        raise LookupError(f"{named}: none of {len(everyone):,} alerts begins so; see `grocery alerts list --all`")
    short = short_ids(everyone)
    listed = [
        f"\n  {short[life.alert_id]}  {now['severity']} {now['rule']} on {now['asset_id']}, {standing(life)}"
        for life in found[:LISTED]
        for now in [life.now]
    ]
    more = f"\n  and {len(found) - LISTED:,} more" if len(found) > LISTED else ""
    raise LookupError(f"{named}: {len(found):,} alerts begin so; give more of the id{''.join(listed)}{more}")


def silences_in_force(desk: Desk) -> list[Life]:
    """The silences and maintenance windows that have not ended, oldest first."""
    return [life for life in lives(desk.told()) if life.is_answer and life.is_open]


def silences_named(desk: Desk, named: str) -> list[Life]:
    """Those whose command's id begins so; several only where one order asked for all of them."""
    found = [life for life in silences_in_force(desk) if life.now["command_id"].startswith(named)]
    if not found:
        raise LookupError(f"{named}: no silence or maintenance in force begins so; see `grocery alerts silences`")
    orders = {life.now["command_id"].partition(".")[0] for life in found}
    if len(orders) > 1:
        raise LookupError(f"{named}: {len(orders)} silences begin so, {', '.join(sorted(orders))}; give more of the id")
    return found


def open_alert(desk: Desk, named: str) -> Life:
    _, life = find(desk, named)
    must_be_a_stores(life)
    if life.is_open:
        return life
    ended = life.over
    since = f" since {ended['ends_at']}" if ended is not None and "ends_at" in ended else ""
    if life.is_closed:
        raise ValueError(f"{title(life)} is over{since}, and closed")
    todo = f"; close it: grocery alerts close {life.alert_id[:SHORT]}" if life.waits_for_closing else ""
    raise ValueError(f"{title(life)} is over{since}{todo}")


def must_be_a_stores(life: Life) -> None:
    if life.now["topic"] == PLATFORM_ALERTS or life.now["store_id"] == "chain":
        raise ValueError(f"{title(life)} is about the platform and takes no commands; see to its cause, and it ends")


def title(life: Life) -> str:
    return f"alert {life.alert_id[:SHORT]} ({life.now['rule']} on {life.now['asset_id']})"


def topic_named(name: str, topics: Sequence[str] = ALERT_TOPICS) -> str:
    """`cold-chain` or `alerts.cold-chain` as one of the topics. Raises LookupError."""
    topic = name if name.startswith("alerts.") else f"alerts.{name}"
    if topic not in topics:
        raise LookupError(f"--topic {name}: no such alert topic; there are {', '.join(topics)}")
    return topic
